#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/credentials.h"
#include "core/salvage.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

static void
print_problem(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *driver, *layer, *text, *repaired;
	const bool *is_json = ctx;

	/* What mends tells of its progress, too. */
	o = json_tokener_parse(json);
	if (!json_object_object_get_ex(o, "driver", &driver) ||
	    !json_object_object_get_ex(o, "layer", &layer) ||
	    !json_object_object_get_ex(o, "problem", &text) ||
	    !json_object_object_get_ex(o, "repaired", &repaired))
		return;
	if (*is_json) {
		(void)puts(json);
		return;
	}
	/* What belongs to no driver belongs to the store. */
	print_escaped(json_object_get_string_len(driver) > 0
		? json_object_get_string(driver)
		: "store");
	if (json_object_get_string_len(layer) > 0)
		(void)printf(": layer %.12s", json_object_get_string(layer));
	(void)fputs(": ", stdout);
	print_escaped(json_object_get_string(text));
	(void)puts(json_object_get_boolean(repaired) ? " (repaired)" : "");
}

struct options {
	bool is_deep, is_repair, is_json, is_salvaged;
	const char *from;
	int archive_fd; /* -EBADF: from is a registry, or NULL */
};

/* What is there is an archive; else it names a registry. */
static int
take_from(struct options *o, struct imgd_error **err)
{
	if (o->from == NULL)
		return 0;
	o->archive_fd = open(o->from, O_RDONLY | O_CLOEXEC);
	if (o->archive_fd >= 0 || errno == ENOENT || errno == ENOTDIR)
		return 0;
	return imgd_error_set(err, errno, "%s: %s", o->from, strerror(errno));
}

/* For whatever repository of the registry. */
static int
find_credentials(const char *registry, struct credentials *ret,
    struct imgd_error **err)
{
	cleanup_free char *name = NULL;

	if (asprintf(&name, "%s/repository", registry) < 0) {
		name = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	return credentials_find(name, ret, err);
}

static int
run(struct cli *cli, struct options *o, char **ret_result,
    struct imgd_error **err)
{
	cleanup(credentials_done) struct credentials cred = { 0 };
	bool has_archive = o->archive_fd >= 0;
	int r = 0;

	if (o->from != NULL && !has_archive)
		r = find_credentials(o->from, &cred, err);
	if (r >= 0) {
		const char *const env[][2] = {
			{ "deep", o->is_deep ? "1" : NULL },
			{ "repair", o->is_repair ? "1" : NULL },
			{ "salvaged", o->is_salvaged ? "1" : NULL },
			{ "from", has_archive ? NULL : o->from },
			{ "username", cred.username },
			{ "password", cred.password },
			{ "identity-token", cred.identity_token },
		};
		const struct job_request request = {
			.name = "fsck",
			.env = env,
			.n_env = sizeof(env) / sizeof(env[0]),
			.fds = &o->archive_fd,
			.n_fds = has_archive,
		};

		r = cli_run(cli, &request, print_problem, &o->is_json,
		    ret_result, err);
	}
	return r;
}

/* The database itself is damaged: nothing else can be checked before that is
 * made good. */
static int
salvage(struct cli *cli, struct options *o, const char *problem,
    struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	cleanup_json struct json_object *told = NULL;
	int r = store_salvage(cli->root, &cli->config, &text, err);

	if (r < 0)
		return imgd_error_prefix(err, "%s", problem);
	o->is_salvaged = true;
	told = json_object_new_object();
	(void)json_object_object_add(told, "problem",
	    json_object_new_string(problem));
	(void)json_object_object_add(told, "driver",
	    json_object_new_string(""));
	(void)json_object_object_add(told, "layer",
	    json_object_new_string(""));
	(void)json_object_object_add(told, "repaired",
	    json_object_new_boolean(true));
	print_problem(&o->is_json, json_object_to_json_string(told));
	(void)json_object_object_add(told, "problem",
	    json_object_new_string(text));
	print_problem(&o->is_json, json_object_to_json_string(told));
	return 0;
}

/* Run the job, and once more if it is the database that must be mended. */
static int
run_mending(struct cli *cli, struct options *o, char **ret_result,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = run(cli, o, ret_result, &why);

	if (r >= 0)
		return r;
	if (r != -EUCLEAN || !o->is_repair || cli->host != NULL ||
	    !str_starts(imgd_error_msg(why), "imgd.db: "))
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	r = salvage(cli, o, imgd_error_msg(why), err);
	return r < 0 ? r : run(cli, o, ret_result, err);
}

int
cmd_fsck(struct cli *cli, int argc, char **argv)
{
	struct options o = { .archive_fd = -EBADF };
	const struct option_spec specs[] = {
		{ 0, "deep", &o.is_deep, NULL },
		{ 0, "repair", &o.is_repair, NULL },
		{ 0, "from", NULL, &o.from },
		{ 0, "json", &o.is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	uint64_t layers = 0, problems = 0, repaired = 0;
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	if (o.from != NULL && !o.is_repair)
		return usage_error(cli, "--from is for --repair");
	r = take_from(&o, &err);
	if (r >= 0)
		r = run_mending(cli, &o, &result, &err);
	close_fd(&o.archive_fd);
	if (r < 0)
		return report(cli, NULL, err);
	(void)sscanf(result, "%" SCNu64 " %" SCNu64 " %" SCNu64, &layers,
	    &problems, &repaired);
	if (!o.is_json && repaired > 0)
		(void)printf("%" PRIu64 " layers checked, %" PRIu64
			     " problems, %" PRIu64 " repaired\n",
		    layers, problems, repaired);
	else if (!o.is_json)
		(void)printf("%" PRIu64 " layers checked, %" PRIu64
			     " problems\n",
		    layers, problems);
	return problems > 0;
}
