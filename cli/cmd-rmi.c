/* Verbs that change names: tag and rmi. */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"

int
cmd_tag(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	struct job_request request = { .name = "tag", .n_args = 2 };
	int n;

	if (parse_options(cli, argc, argv, NULL, 2, 2, &n) < 0)
		return EXIT_USAGE;
	request.args = (const char *const *)argv + 1;
	if (cli_run(cli, &request, NULL, NULL, NULL,
		&err) < 0)
		return report(cli, NULL, err);
	return 0;
}

/* {"Untagged": name} → "Untagged: name" */
static void
print_pair(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = json_tokener_parse(json);

	(void)ctx;
	if (!json_object_is_type(o, json_type_object))
		return;
	json_object_object_foreach(o, key, value) {
		print_escaped(key);
		(void)fputs(": ", stdout);
		print_escaped(json_object_get_string(value));
		(void)putchar('\n');
	}
}

int
cmd_rmi(struct cli *cli, int argc, char **argv)
{
	const char *driver = NULL;
	bool is_forced = false, is_kept;
	const struct option_spec specs[] = {
		{ 'f', "force", &is_forced, NULL },
		{ 0, "no-prune", &is_kept, NULL },
		{ 0, "driver", NULL, &driver },
		{ 0, NULL, NULL, NULL },
	};
	int i, n, status = 0;

	if (parse_options(cli, argc, argv, specs, 1, 256, &n) < 0)
		return EXIT_USAGE;
	/* One job each: a name that is none keeps no other from going. */
	for (i = 1; i <= n; i++) {
		cleanup_error struct imgd_error *err = NULL;
		const char *const env[][2] = {
			{ "driver", driver },
			{ "force", is_forced ? "1" : NULL },
		};
		const struct job_request request = {
			.name = "rmi",
			.args = (const char *const *)argv + i,
			.n_args = 1,
			.env = env,
			.n_env = 2,
		};

		int r = cli_run(cli, &request,
		    print_pair, NULL, NULL, &err);

		/* That it is not there is what was forced. */
		if (r < 0 && report(cli, NULL, err) != 0 &&
		    !(r == -ENOENT && is_forced))
			status = 1;
	}
	return status;
}
