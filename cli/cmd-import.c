#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/cleanup.h"

struct options {
	const char *driver, *platform, *message;
	char *changes;
};

static int
import(struct cli *cli, const struct options *o, int fd, const char *name,
    struct imgd_error **err)
{
	const char *const args[] = { "-", name };
	const char *const env[][2] = {
		{ "driver", o->driver },
		{ "platform", o->platform },
		{ "message", o->message },
		{ "changes", o->changes },
	};
	const struct job_request request = {
		.name = "import",
		.args = args,
		.n_args = name != NULL ? 2 : 1,
		.env = env,
		.n_env = sizeof(env) / sizeof(env[0]),
		.fds = &fd,
		.n_fds = 1,
	};
	cleanup(progress_freep) struct progress *progress =
	    progress_new(PROGRESS_PLAIN);

	return cli_run(cli, &request, progress_output, progress, NULL, err);
}

int
cmd_import(struct cli *cli, int argc, char **argv)
{
	const char *changes[OPTION_LIST_MAX + 1] = { NULL };
	cleanup_error struct imgd_error *err = NULL;
	cleanup_close int file_fd = -EBADF;
	cleanup_free char *joined = NULL;
	struct options o = { .driver = NULL };
	bool has_changes = false;
	const struct option_spec specs[] = {
		{ 'c', "change", &has_changes, changes },
		{ 'm', "message", NULL, &o.message },
		{ 0, "driver", NULL, &o.driver },
		{ 0, "platform", NULL, &o.platform },
		{ 0, NULL, NULL, NULL },
	};
	int fd = STDIN_FILENO, n;

	if (parse_options(cli, argc, argv, specs, 1, 2, &n) < 0)
		return EXIT_USAGE;
	if (strcmp(argv[1], "-") != 0) {
		file_fd = fd = open(argv[1], O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			(void)imgd_error_set(&err, errno, "%s",
			    strerror(errno));
			return report(cli, argv[1], err);
		}
	} else if (isatty(fd)) {
		return usage_error(cli,
		    "the tar is read from standard input, which is a terminal");
	}
	if (lines_from_options(changes, &joined, &err) < 0)
		return report(cli, argv[1], err);
	o.changes = joined;
	if (import(cli, &o, fd, n > 1 ? argv[2] : NULL, &err) < 0)
		return report(cli, argv[1], err);
	return 0;
}
