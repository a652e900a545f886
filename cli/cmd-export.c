#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/outfile.h"
#include "lib/cleanup.h"

static int
export(struct cli *cli, const char *name, const char *output,
    const char *driver, struct imgd_error **err)
{
	cleanup(outfile_done) struct outfile out = OUTFILE_INIT;
	const char *const env[][2] = { { "driver", driver } };
	struct job_request request = {
		.name = "export",
		.args = &name,
		.n_args = 1,
		.env = env,
		.n_env = sizeof(env) / sizeof(env[0]),
		.fds = &out.fd,
		.n_fds = 1,
	};
	int r = outfile_open(output, &out, err);

	if (r >= 0)
		r = client_run(cli->root, &cli->config, &request, NULL, NULL,
		    NULL, err);
	return r < 0 ? r : outfile_commit(&out, err);
}

int
cmd_export(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	const char *output = NULL, *driver = NULL;
	const struct option_spec specs[] = {
		{ 'o', "output", NULL, &output },
		{ 0, "driver", NULL, &driver },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	if (output != NULL && strcmp(output, "-") == 0)
		output = NULL;
	if (output != NULL && output[strlen(output) - 1] == '/')
		return usage_error(cli, "a tar is not a directory");
	if (output == NULL && isatty(STDOUT_FILENO))
		return usage_error(cli,
		    "a tar is not written to a terminal; use -o or redirect");
	if (export(cli, argv[1], output, driver, &err) < 0)
		return report(cli, argv[1], err);
	return 0;
}
