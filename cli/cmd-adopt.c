#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/cleanup.h"

static int
adopt(struct cli *cli, const struct job_request *request,
    enum progress_style style)
{
	cleanup(progress_freep) struct progress *progress =
	    progress_new(style);
	cleanup_error struct imgd_error *err = NULL;

	if (cli_run(cli, request, progress_output,
		progress, NULL, &err) < 0)
		return report(cli, NULL, err);
	return 0;
}

int
cmd_adopt(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *dir = NULL;
	const char *driver = NULL;
	bool is_quiet = false, is_json = false;
	const struct option_spec specs[] = {
		{ 0, "driver", NULL, &driver },
		{ 'q', "quiet", &is_quiet, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	const char *args[256];
	int i, n;

	if (parse_options(cli, argc, argv, specs, 1, 256, &n) < 0)
		return EXIT_USAGE;
	/* The engine lives in another directory. */
	dir = realpath(argv[1], NULL);
	if (dir == NULL) {
		(void)imgd_error_set(&err, errno, "%s", strerror(errno));
		return report(cli, argv[1], err);
	}
	args[0] = dir;
	for (i = 1; i < n; i++)
		args[i] = argv[i + 1];
	{
		const char *const env[][2] = {
			{ "driver", driver },
		};
		const struct job_request request = {
			.name = "adopt",
			.args = args,
			.n_args = (size_t)n,
			.env = env,
			.n_env = sizeof(env) / sizeof(env[0]),
		};

		return adopt(cli, &request,
		    is_json	   ? PROGRESS_JSON
			: is_quiet ? PROGRESS_QUIET
				   : PROGRESS_PLAIN);
	}
}
