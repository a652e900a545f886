#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "imgd/driver.h"
#include "lib/cleanup-json.h"

static char
kind_letter(int kind)
{
	return kind == IMGD_CHANGE_ADD	  ? 'A'
	    : kind == IMGD_CHANGE_DELETE ? 'D'
					 : 'C';
}

/* {"Kind": 1, "Path": "/etc/motd"}, as the Engine API has it */
static void
print_change(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *kind, *path;
	const bool *is_json = ctx;

	if (*is_json) {
		(void)puts(json);
		return;
	}
	o = json_tokener_parse(json);
	if (!json_object_object_get_ex(o, "Kind", &kind) ||
	    !json_object_object_get_ex(o, "Path", &path))
		return;
	(void)printf("%c ", kind_letter(json_object_get_int(kind)));
	print_escaped(json_object_get_string(path));
	(void)putchar('\n');
}

int
cmd_diff(struct cli *cli, int argc, char **argv)
{
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	struct job_request request = { .name = "diff", .n_args = 1 };
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	request.args = (const char *const *)argv + 1;
	if (cli_run(cli, &request, print_change,
		&is_json, NULL, &err) < 0)
		return report(cli, NULL, err);
	return 0;
}
