#include "config.h"

#include <json-c/json.h>
#include <stdio.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"

int
cmd_commit(struct cli *cli, int argc, char **argv)
{
	const char *changes[OPTION_LIST_MAX + 1] = { NULL };
	const char *author = NULL, *message = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_json struct json_object *answer = NULL;
	cleanup_free char *joined = NULL, *result = NULL;
	bool has_changes = false;
	const struct option_spec specs[] = {
		{ 'a', "author", NULL, &author },
		{ 'c', "change", &has_changes, changes },
		{ 'm', "message", NULL, &message },
		{ 0, NULL, NULL, NULL },
	};
	struct json_object *id;
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 2, &n) < 0)
		return EXIT_USAGE;
	if (lines_from_options(changes, &joined, &err) < 0)
		return report(cli, argv[1], err);
	{
		const char *const env[][2] = {
			{ "author", author },
			{ "changes", joined },
			{ "message", message },
		};
		const struct job_request request = {
			.name = "commit",
			.args = (const char *const *)argv + 1,
			.n_args = (size_t)n,
			.env = env,
			.n_env = sizeof(env) / sizeof(env[0]),
		};

		if (cli_run(cli, &request, NULL, NULL, &result, &err) < 0)
			return report(cli, argv[1], err);
	}
	answer = json_tokener_parse(result);
	if (json_object_object_get_ex(answer, "Id", &id))
		(void)puts(json_object_get_string(id));
	return 0;
}
