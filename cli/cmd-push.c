#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "lib/cleanup.h"

int
cmd_push(struct cli *cli, int argc, char **argv)
{
	cleanup(credentials_done) struct credentials cred = { 0 };
	cleanup(progress_freep) struct progress *progress = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	const char *driver = NULL, *compression = NULL;
	bool is_all = false, is_quiet = false, is_json = false;
	const struct option_spec specs[] = {
		{ 'a', "all-tags", &is_all, NULL },
		{ 'q', "quiet", &is_quiet, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, "driver", NULL, &driver },
		{ 0, "compression", NULL, &compression },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	if (credentials_find(argv[1], &cred, &err) < 0)
		return report(cli, argv[1], err);
	{
		const char *const env[][2] = {
			{ "driver", driver },
			{ "compression", compression },
			{ "all-tags", is_all ? "1" : NULL },
			{ "username", cred.username },
			{ "password", cred.password },
			{ "identity-token", cred.identity_token },
		};
		const struct job_request request = {
			.name = "push",
			.args = (const char *const *)argv + 1,
			.n_args = 1,
			.env = env,
			.n_env = sizeof(env) / sizeof(env[0]),
		};

		progress = progress_new(is_json ? PROGRESS_JSON
			: is_quiet		? PROGRESS_QUIET
						: PROGRESS_PLAIN);
		if (client_run(cli->root, &cli->config, &request,
			progress_output, progress, &result, &err) < 0)
			return report(cli, argv[1], err);
	}
	if (!is_json)
		(void)puts(result);
	return 0;
}
