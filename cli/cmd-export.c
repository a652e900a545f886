#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/outfile.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

struct options {
	const char *output, *driver, *format, *size;
	bool has_verity, is_json;
};

static int
export(struct cli *cli, const char *name, const struct options *o,
    char **ret_result, struct imgd_error **err)
{
	cleanup(outfile_done) struct outfile out = OUTFILE_INIT;
	const char *const env[][2] = {
		{ "driver", o->driver },
		{ "format", o->format },
		{ "size", o->size },
		{ "verity", o->has_verity ? "1" : NULL },
	};
	struct job_request request = {
		.name = "export",
		.args = &name,
		.n_args = 1,
		.env = env,
		.n_env = sizeof(env) / sizeof(env[0]),
		.fds = &out.fd,
		.n_fds = 1,
	};
	int r = outfile_open(o->output, &out, err);

	if (r >= 0)
		r = cli_run(cli, &request, NULL, NULL, ret_result, err);
	return r < 0 ? r : outfile_commit(&out, err);
}

/* What opens the hash tree. */
static void
print_result(const struct options *o, const char *result)
{
	cleanup_json struct json_object *v = json_tokener_parse(result);
	struct json_object *hash, *offset;

	if (o->is_json) {
		print_json(v, false);
		return;
	}
	if (json_object_object_get_ex(v, "RootHash", &hash) &&
	    json_object_object_get_ex(v, "HashOffset", &offset))
		(void)printf("Root hash: %s\nHash offset: %" PRId64 "\n",
		    json_object_get_string(hash),
		    json_object_get_int64(offset));
}

static int
check_tar(struct cli *cli, const struct options *o)
{
	if (o->size != NULL || o->has_verity || o->is_json)
		return usage_error(cli,
		    "--size, --verity and --json are for filesystems");
	if (o->output == NULL && isatty(STDOUT_FILENO))
		return usage_error(cli,
		    "a tar is not written to a terminal; use -o or redirect");
	return 0;
}

/* Programs write it, and not from front to back: it must be a file. */
static int
check_filesystem(struct cli *cli, struct options *o, char size[32])
{
	uint64_t bytes;

	if (o->output == NULL)
		return usage_error(cli, "a filesystem is written to a file: "
					"use -o");
	if (o->size != NULL) {
		if (!str_to_size(o->size, &bytes) || bytes == 0)
			return usage_error(cli, "%s: not a size", o->size);
		(void)snprintf(size, 32, "%" PRIu64, bytes);
		o->size = size;
	}
	return 0;
}

int
cmd_export(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	struct options o = { .output = NULL };
	const struct option_spec specs[] = {
		{ 'o', "output", NULL, &o.output },
		{ 0, "driver", NULL, &o.driver },
		{ 0, "format", NULL, &o.format },
		{ 0, "json", &o.is_json, NULL },
		{ 0, "size", NULL, &o.size },
		{ 0, "verity", &o.has_verity, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_free char *result = NULL;
	char size[32];
	bool is_tar;
	int n, status;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	is_tar = o.format == NULL || strcmp(o.format, "tar") == 0;
	if (o.output != NULL && strcmp(o.output, "-") == 0)
		o.output = NULL;
	if (o.output != NULL && str_ends(o.output, "/"))
		return usage_error(cli, "what is exported is no directory");
	status = is_tar ? check_tar(cli, &o)
			: check_filesystem(cli, &o, size);
	if (status != 0)
		return status;
	if (export(cli, argv[1], &o, &result, &err) < 0)
		return report(cli, argv[1], err);
	if (!is_tar)
		print_result(&o, result);
	return 0;
}
