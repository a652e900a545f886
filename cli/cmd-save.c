#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/outfile.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

struct options {
	const char *output, *format, *driver, *platform;
};

static int
save(struct cli *cli, const struct options *o, const char *const *images,
    size_t n, struct imgd_error **err)
{
	cleanup(outfile_done) struct outfile out = OUTFILE_INIT;
	const char *const env[][2] = {
		{ "driver", o->driver },
		{ "format", o->format },
		{ "platform", o->platform },
	};
	struct job_request request = {
		.name = "save",
		.args = images,
		.n_args = n,
		.env = env,
		.n_env = sizeof(env) / sizeof(env[0]),
		.fds = &out.fd,
		.n_fds = 1,
	};
	int r = outfile_open(o->output, &out, err);

	if (r >= 0)
		r = cli_run(cli, &request, NULL, NULL,
		    NULL, err);
	return r < 0 ? r : outfile_commit(&out, err);
}

int
cmd_save(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	struct options o = { .output = NULL };
	const struct option_spec specs[] = {
		{ 'o', "output", NULL, &o.output },
		{ 0, "format", NULL, &o.format },
		{ 0, "driver", NULL, &o.driver },
		{ 0, "platform", NULL, &o.platform },
		{ 0, NULL, NULL, NULL },
	};
	bool is_oci, is_dir;
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 256, &n) < 0)
		return EXIT_USAGE;
	is_oci = o.format != NULL && strcmp(o.format, "oci") == 0;
	if (o.format != NULL && !is_oci && strcmp(o.format, "docker") != 0)
		return usage_error(cli, "%s: not a format", o.format);
	if (o.output != NULL && strcmp(o.output, "-") == 0)
		o.output = NULL;
	is_dir = o.output != NULL && str_ends(o.output, "/");
	if (is_dir && !is_oci)
		return usage_error(cli,
		    "only --format oci can be a directory");
	if (o.output == NULL && isatty(STDOUT_FILENO))
		return usage_error(cli,
		    "an archive is not written to a terminal; use -o or redirect");
	if (save(cli, &o, (const char *const *)argv + 1, (size_t)n, &err) < 0)
		return report(cli, NULL, err);
	return 0;
}
