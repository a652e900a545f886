#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "core/gc-limits.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

struct printer {
	bool is_dry, is_quiet;
};

/* "image NAME, NAME (ID)", or "partial blob ID". */
static void
print_what(struct json_object *o, struct json_object *names)
{
	struct json_object *kind = NULL, *id = NULL;
	size_t i;

	(void)json_object_object_get_ex(o, "Kind", &kind);
	(void)json_object_object_get_ex(o, "Id", &id);
	(void)printf("%s ", json_object_get_string(kind));
	for (i = 0; i < json_object_array_length(names); i++) {
		(void)fputs(i > 0 ? ", " : "", stdout);
		print_escaped(json_object_get_string(
		    json_object_array_get_idx(names, i)));
	}
	(void)printf(i > 0 ? " (%.12s)" : "%.12s",
	    digest_hex(json_object_get_string(id)));
}

static void
print_record(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *names, *used, *size;
	const struct printer *p = ctx;
	char when[40], text[32];

	o = json_tokener_parse(json);
	if (p->is_quiet || !json_object_object_get_ex(o, "Names", &names) ||
	    !json_object_object_get_ex(o, "LastUsed", &used) ||
	    !json_object_object_get_ex(o, "Size", &size))
		return;
	(void)fputs(p->is_dry ? "Would remove " : "Removed ", stdout);
	print_what(o, names);
	(void)printf(", used %s, of %s\n",
	    ago(json_object_get_int64(used), when),
	    str_size((uint64_t)json_object_get_int64(size), text));
}

static void
print_result(const char *json, bool is_dry)
{
	cleanup_json struct json_object *o = json_tokener_parse(json);
	struct json_object *freed = NULL, *size = NULL, *met = NULL;
	char text[32];

	(void)json_object_object_get_ex(o, "SpaceReclaimed", &freed);
	(void)json_object_object_get_ex(o, "Size", &size);
	(void)json_object_object_get_ex(o, "IsMet", &met);
	(void)printf("Total reclaim%s space: %s\n", is_dry ? "able" : "ed",
	    str_size((uint64_t)json_object_get_int64(freed), text));
	(void)printf("The store %s %s%s\n", is_dry ? "would take" : "takes",
	    str_size((uint64_t)json_object_get_int64(size), text),
	    json_object_get_boolean(met)
		? ""
		: ": what is still above the limits is in use, or kept");
}

/* The engine reads them again; this is for a better message. */
static int
check(struct cli *cli, const char *const values[])
{
	size_t i;

	for (i = 0; gc_limit_keys[i] != NULL; i++) {
		cleanup_error struct imgd_error *err = NULL;
		struct gc_limits l = { .has_max_size = false };

		if (values[i] != NULL && gc_limits_set(&l, gc_limit_keys[i],
					     values[i], &err) < 0)
			return usage_error(cli, "--%s", imgd_error_msg(err));
	}
	return 0;
}

int
cmd_gc(struct cli *cli, int argc, char **argv)
{
	const char *values[4] = { NULL };
	bool is_json = false, is_dry = false;
	const struct option_spec specs[] = {
		{ 0, "max-size", NULL, &values[0] },
		{ 0, "min-free", NULL, &values[1] },
		{ 0, "keep-last", NULL, &values[2] },
		{ 0, "keep-since", NULL, &values[3] },
		{ 0, "dry-run", &is_dry, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0 ||
	    check(cli, values) != 0)
		return EXIT_USAGE;
	{
		struct printer p = { is_dry, is_json };
		const char *const env[][2] = {
			{ "max-size", values[0] },
			{ "min-free", values[1] },
			{ "keep-last", values[2] },
			{ "keep-since", values[3] },
			{ "dry-run", is_dry ? "1" : NULL },
		};
		const struct job_request request = {
			.name = "gc",
			.env = env,
			.n_env = 5,
		};

		if (cli_run(cli, &request, print_record, &p, &result, &err) <
		    0)
			return report(cli, NULL, err);
	}
	if (is_json)
		(void)puts(result);
	else
		print_result(result, is_dry);
	return 0;
}
