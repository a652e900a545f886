#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "lib/cleanup.h"

int
cmd_rm(struct cli *cli, int argc, char **argv)
{
	int i, n, status = 0;

	if (parse_options(cli, argc, argv, NULL, 1, 256, &n) < 0)
		return EXIT_USAGE;
	/* One job each: a name that is none keeps no other from going. */
	for (i = 1; i <= n; i++) {
		cleanup_error struct imgd_error *err = NULL;
		const struct job_request request = {
			.name = "rm",
			.args = (const char *const *)argv + i,
			.n_args = 1,
		};

		if (cli_run(cli, &request, NULL, NULL,
			NULL, &err) < 0) {
			status = report(cli, NULL, err);
			continue;
		}
		print_escaped(argv[i]);
		(void)putchar('\n');
	}
	return status;
}
