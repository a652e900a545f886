#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/job.h"
#include "lib/cleanup-json.h"

/* The absolute path of a directory that may not be there yet, without links
 * above its last component; malloc'ed. */
static int
find_path(const char *typed, char **ret, struct imgd_error **err)
{
	cleanup_free char *copy = strdup(typed), *parent = NULL;
	const char *base;
	char *slash;
	size_t n;

	*ret = realpath(typed, NULL);
	if (*ret != NULL)
		return 0;
	if (errno != ENOENT || copy == NULL)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	for (n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	base = slash != NULL ? slash + 1 : copy;
	if (slash != NULL)
		*slash = '\0';
	parent = realpath(slash == NULL ? "."
		: slash == copy		? "/"
					: copy,
	    NULL);
	if (parent == NULL)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	if (asprintf(ret, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent,
		base) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

/* The engine mounts for us: it must be where we are. */
static int
prepare(struct cli *cli, const char *typed, char **ret, struct imgd_error **err)
{
	int r = cli_check_namespace(cli, err);

	return r < 0 ? r : find_path(typed, ret, err);
}

static int
make_bundle(struct cli *cli, char **argv, int n,
    const char *const (*env)[2], size_t n_env, bool is_json)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *path = NULL, *result = NULL;
	struct json_object *name;
	const struct job_request request = {
		.name = "bundle",
		.args = (const char *const *)argv + 1,
		.n_args = (size_t)n,
		.env = env,
		.n_env = n_env,
	};

	if (prepare(cli, argv[2], &path, &err) < 0)
		return report(cli, argv[2], err);
	argv[2] = path;
	if (cli_run(cli, &request, NULL, NULL, &result, &err) < 0)
		return report(cli, argv[1], err);
	o = json_tokener_parse(result);
	if (is_json)
		print_json(o, false);
	else if (json_object_object_get_ex(o, "Name", &name))
		(void)puts(json_object_get_string(name));
	return 0;
}

static int
use_bundles(struct cli *cli, const char *job, char **argv, int n)
{
	int i, status = 0;

	for (i = 1; i <= n; i++) {
		cleanup_error struct imgd_error *err = NULL;
		cleanup_free char *path = NULL;
		struct job_request request = { .name = job, .n_args = 1 };
		int r = prepare(cli, argv[i], &path, &err);

		request.args = (const char *const *)&path;
		if (r >= 0)
			r = cli_run(cli, &request, NULL, NULL, NULL, &err);
		if (r < 0)
			status = report(cli, argv[i], err);
	}
	return status;
}

int
cmd_bundle(struct cli *cli, int argc, char **argv)
{
	const char *driver = NULL, *name = NULL;
	bool mounts = false, removes = false, is_json = false, has_tty = false;
	const struct option_spec specs[] = {
		{ 0, "driver", NULL, &driver },
		{ 0, "json", &is_json, NULL },
		{ 0, "mount", &mounts, NULL },
		{ 0, "name", NULL, &name },
		{ 0, "rm", &removes, NULL },
		{ 't', "tty", &has_tty, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 1, JOB_MAX_ARGS, &n) < 0)
		return EXIT_USAGE;
	if (mounts || removes) {
		if (mounts && removes)
			return usage_error(cli,
			    "--mount and --rm exclude each other");
		if (driver != NULL || name != NULL || is_json || has_tty)
			return usage_error(cli,
			    "that option is for making a bundle");
		return use_bundles(cli, mounts ? "bundle-mount" : "bundle-rm",
		    argv, n);
	}
	if (n < 2)
		return usage_error(cli, "a directory is missing");
	{
		const char *const env[][2] = {
			{ "driver", driver },
			{ "name", name },
			{ "terminal", has_tty ? "1" : NULL },
		};

		return make_bundle(cli, argv, n, env,
		    sizeof(env) / sizeof(env[0]), is_json);
	}
}
