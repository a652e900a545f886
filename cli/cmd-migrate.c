#include "config.h"

#include "cli/cli.h"
#include "lib/cleanup.h"

int
cmd_migrate(struct cli *cli, int argc, char **argv)
{
	cleanup(progress_freep) struct progress *progress = NULL;
	cleanup_error struct imgd_error *err = NULL;
	const char *from = NULL, *to = NULL;
	bool is_all = false, is_kept = false, is_quiet = false,
	     is_json = false;
	const struct option_spec specs[] = {
		{ 0, "from", NULL, &from },
		{ 0, "to", NULL, &to },
		{ 0, "all", &is_all, NULL },
		{ 0, "keep", &is_kept, NULL },
		{ 'q', "quiet", &is_quiet, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 256, &n) < 0)
		return EXIT_USAGE;
	if (from == NULL || to == NULL)
		return usage_error(cli, "--from and --to are needed");
	if (is_all == (n > 0))
		return usage_error(cli, "name images, or give --all");
	{
		const char *const env[][2] = {
			{ "from", from },
			{ "to", to },
			{ "all", is_all ? "1" : NULL },
			{ "keep", is_kept ? "1" : NULL },
		};
		const struct job_request request = {
			.name = "migrate",
			.args = (const char *const *)argv + 1,
			.n_args = (size_t)n,
			.env = env,
			.n_env = sizeof(env) / sizeof(env[0]),
		};

		progress = progress_new(is_json ? PROGRESS_JSON
			: is_quiet		? PROGRESS_QUIET
						: PROGRESS_PLAIN);
		if (cli_run(cli, &request,
			progress_output, progress, NULL, &err) < 0)
			return report(cli, NULL, err);
	}
	return 0;
}
