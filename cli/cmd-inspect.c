#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/inspect.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

/* What is known of one image, by a job of that name or by the function behind
 * it. */
static int
find_and(struct cli *cli, const char *job, const char *typed,
    int (*what)(struct store *, const char *, struct json_object **,
	struct imgd_error **),
    struct json_object **ret, struct imgd_error **err)
{
	cleanup(store_closep) struct store *s = NULL;
	cleanup_free char *id = NULL;
	int r;

	if (cli->host != NULL)
		return cli_ask(cli, job, typed, NULL, 0, ret, err);
	r = cli_store(cli, &s, err);
	if (r >= 0)
		r = store_find_image(s, typed, &id, NULL, err);
	return r < 0 ? r : what(s, id, ret, err);
}

int
cmd_inspect(struct cli *cli, int argc, char **argv)
{
	cleanup_json struct json_object *all = json_object_new_array();
	int i, n, status = 0;

	if (parse_options(cli, argc, argv, NULL, 1, 256, &n) < 0)
		return EXIT_USAGE;
	for (i = 1; i <= n; i++) {
		cleanup_error struct imgd_error *err = NULL;
		struct json_object *o = NULL;

		if (find_and(cli, "inspect", argv[i], inspect_image, &o,
			&err) < 0)
			status = report(cli, NULL, err);
		else
			(void)json_object_array_add(all, o);
	}
	print_json(all, true);
	return status;
}

static const char *
field(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;
	const char *s = NULL;

	if (json_object_object_get_ex(o, key, &v))
		s = json_object_get_string(v);
	return s != NULL ? s : "";
}

static int64_t
number(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return json_object_get_int64(v);
}

static int
print_history(struct json_object *list, bool is_long)
{
	static const char *const headings[] = { "IMAGE", "CREATED",
		"CREATED BY", "SIZE", "COMMENT", NULL };
	char size[32], when[40];
	struct table t;
	size_t i;

	table_init(&t, headings);
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *id = field(o, "Id"), *by = field(o, "CreatedBy");

		if (str_starts(id, "sha256:") && !is_long)
			table_cell(&t, "%.12s", digest_hex(id));
		else
			table_cell(&t, "%s", id);
		table_cell(&t, "%s", ago(number(o, "Created"), when));
		if (is_long || strlen(by) <= 45)
			table_cell(&t, "%s", by);
		else
			table_cell(&t, "%.44s…", by);
		table_cell(&t, "%s",
		    str_size((uint64_t)number(o, "Size"), size));
		table_cell(&t, "%s", field(o, "Comment"));
	}
	return table_print(&t) < 0;
}

int
cmd_history(struct cli *cli, int argc, char **argv)
{
	bool is_quiet = false, is_json = false, is_long = false;
	const struct option_spec specs[] = {
		{ 'q', "quiet", &is_quiet, NULL },
		{ 0, "no-trunc", &is_long, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_json struct json_object *list = NULL;
	size_t i;
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	if (find_and(cli, "history", argv[1], inspect_history, &list, &err) <
	    0)
		return report(cli, NULL, err);
	if (is_json) {
		print_json(list, false);
		return 0;
	}
	if (!is_quiet)
		return print_history(list, is_long);
	for (i = 0; i < json_object_array_length(list); i++)
		(void)puts(field(json_object_array_get_idx(list, i), "Id"));
	return 0;
}
