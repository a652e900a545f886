#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/credentials.h"
#include "lib/cleanup-json.h"
#include "registry/reference.h"

#define DESCRIPTION_CHARS 45

struct results {
	struct table table;
	bool is_json, is_whole;
};

static const char *
text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v)
	    ? json_object_get_string(v)
	    : "";
}

static bool
is_set(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) &&
	    json_object_get_boolean(v);
}

/* As many bytes of s as make up to max characters. */
static int
cut_at(const char *s, size_t max)
{
	size_t n = 0, i;

	for (i = 0; s[i] != '\0'; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80 && n++ == max)
			break;
	return (int)i;
}

static void
take_result(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct results *all = ctx;
	const char *description;
	int n;

	if (all->is_json) {
		(void)puts(json);
		return;
	}
	o = json_tokener_parse(json);
	description = text_of(o, "description");
	n = all->is_whole ? (int)strlen(description)
			  : cut_at(description, DESCRIPTION_CHARS);
	table_cell(&all->table, "%s", text_of(o, "name"));
	table_cell(&all->table, "%.*s%s", n, description,
	    description[n] != '\0' ? "..." : "");
	table_cell(&all->table, "%s", text_of(o, "star_count"));
	table_cell(&all->table, "%s", is_set(o, "is_official") ? "[OK]" : "");
}

/* "host/term" searches host, another term Docker Hub. */
static int
split(const char *typed, char **ret_name, const char **ret_term,
    struct imgd_error **err)
{
	size_t n = strcspn(typed, "/");
	bool has_host = typed[n] == '/' && n > 0 &&
	    (memchr(typed, '.', n) != NULL || memchr(typed, ':', n) != NULL ||
		strncmp(typed, "localhost/", 10) == 0);

	*ret_term = has_host ? typed + n + 1 : typed;
	if (**ret_term == '\0')
		return imgd_error_set(err, EINVAL, "nothing to look for");
	if (asprintf(ret_name, "%.*s/library/any",
		has_host ? (int)n : (int)strlen(REFERENCE_DEFAULT_DOMAIN),
		has_host ? typed : REFERENCE_DEFAULT_DOMAIN) < 0) {
		*ret_name = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

int
cmd_search(struct cli *cli, int argc, char **argv)
{
	static const char *const headings[] = { "NAME", "DESCRIPTION",
		"STARS", "OFFICIAL", NULL };
	cleanup(credentials_done) struct credentials cred = { 0 };
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *name = NULL;
	struct results all = { .is_json = false };
	const char *limit = NULL, *args[2];
	const struct option_spec specs[] = {
		{ 0, "limit", NULL, &limit },
		{ 0, "no-trunc", &all.is_whole, NULL },
		{ 0, "json", &all.is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n, r;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	table_init(&all.table, headings);
	r = split(argv[1], &name, &args[1], &err);
	if (r >= 0)
		r = credentials_find(name, &cred, &err);
	if (r >= 0) {
		const char *const env[][2] = {
			{ "limit", limit },
			{ "username", cred.username },
			{ "password", cred.password },
		};
		const struct job_request request = {
			.name = "search",
			.args = args,
			.n_args = 2,
			.env = env,
			.n_env = 3,
		};

		args[0] = name;
		r = cli_run(cli, &request, take_result,
		    &all, NULL, &err);
	}
	if (r < 0) {
		table_done(&all.table);
		return report(cli, argv[1], err);
	}
	if (!all.is_json)
		return table_print(&all.table) < 0;
	table_done(&all.table);
	return 0;
}
