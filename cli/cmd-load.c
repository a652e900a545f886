#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/cleanup.h"

struct options {
	const char *input, *driver, *platform;
	bool is_quiet, is_json;
};

static int
load(struct cli *cli, const struct options *o, int fd)
{
	/* As docker: bars are for terminals. */
	bool is_quiet = o->is_quiet ||
	    (!o->is_json && !isatty(STDOUT_FILENO));
	const char *const env[][2] = {
		{ "driver", o->driver },
		{ "platform", o->platform },
		{ "quiet", is_quiet ? "1" : NULL },
	};
	const struct job_request request = {
		.name = "load",
		.env = env,
		.n_env = sizeof(env) / sizeof(env[0]),
		.fds = &fd,
		.n_fds = 1,
	};
	cleanup(progress_freep) struct progress *progress = NULL;
	cleanup_error struct imgd_error *err = NULL;

	progress = progress_new(o->is_json ? PROGRESS_JSON : PROGRESS_PLAIN);
	if (cli_run(cli, &request, progress_output,
		progress, NULL, &err) < 0)
		return report(cli, o->input, err);
	return 0;
}

int
cmd_load(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_close int fd = -EBADF;
	struct options o = { .input = NULL };
	const struct option_spec specs[] = {
		{ 'i', "input", NULL, &o.input },
		{ 'q', "quiet", &o.is_quiet, NULL },
		{ 0, "json", &o.is_json, NULL },
		{ 0, "driver", NULL, &o.driver },
		{ 0, "platform", NULL, &o.platform },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	if (o.input == NULL || strcmp(o.input, "-") == 0) {
		if (isatty(STDIN_FILENO))
			return usage_error(cli,
			    "the archive is read from standard input, which is a terminal");
		o.input = NULL;
		return load(cli, &o, STDIN_FILENO);
	}
	fd = open(o.input, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		(void)imgd_error_set(&err, errno, "%s", strerror(errno));
		return report(cli, o.input, err);
	}
	return load(cli, &o, fd);
}
