#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"

struct mount_list {
	struct table table;
	bool is_json;
};

static int
add_mount(void *ctx, const struct mount_row *row)
{
	struct mount_list *l = ctx;

	if (l->is_json) {
		cleanup_json struct json_object *o = json_object_new_object();

		json_object_object_add(o, "Target",
		    json_object_new_string(row->target));
		json_object_object_add(o, "Kind",
		    json_object_new_string(row->kind));
		json_object_object_add(o, "Image",
		    json_object_new_string(row->image));
		json_object_object_add(o, "Reference",
		    json_object_new_string(row->reference));
		json_object_object_add(o, "Driver",
		    json_object_new_string(row->driver));
		print_json(o, false);
		return 0;
	}
	table_cell(&l->table, "%s", row->reference);
	table_cell(&l->table, "%.12s", row->image + 7);
	table_cell(&l->table, "%s", row->driver);
	table_cell(&l->table, "%s", row->kind);
	table_cell(&l->table, "%s", row->target);
	return 0;
}

static int
list_mounts(struct cli *cli, bool is_json)
{
	static const char *const headings[] = { "NAME", "IMAGE ID", "DRIVER",
		"KIND", "TARGET", NULL };
	cleanup_error struct imgd_error *err = NULL;
	cleanup(store_closep) struct store *s = NULL;
	struct mount_list l = { .is_json = is_json };
	int r;

	r = cli_store(cli, &s, &err);
	if (r < 0)
		return report(cli, NULL, err);
	table_init(&l.table, headings);
	if (s->tags != NULL)
		r = tagstore_mounts(s->tags, add_mount, &l, &err);
	if (r < 0) {
		table_done(&l.table);
		return report(cli, NULL, err);
	}
	if (!is_json)
		return table_print(&l.table) < 0;
	table_done(&l.table);
	return 0;
}

int
cmd_mount(struct cli *cli, int argc, char **argv)
{
	const char *driver = NULL;
	bool is_block = false, is_json = false;
	const struct option_spec specs[] = {
		{ 0, "block", &is_block, NULL },
		{ 0, "driver", NULL, &driver },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *target = NULL, *result = NULL;
	struct job_request request = { .name = "mount" };
	const char *args[2];
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 2, &n) < 0)
		return EXIT_USAGE;
	if (n == 0)
		return list_mounts(cli, is_json);
	if (n == 2 && is_block)
		return usage_error(cli, "a block device has no target");
	if (n == 2 && (target = realpath(argv[2], NULL)) == NULL) {
		(void)imgd_error_set(&err, errno, "%s", strerror(errno));
		return report(cli, argv[2], err);
	}
	args[0] = argv[1];
	args[1] = target;
	request.args = args;
	request.n_args = (size_t)n;
	{
		const char *const chosen[][2] = {
			{ "driver", driver },
			{ "block", is_block ? "1" : NULL },
		};

		request.env = chosen;
		request.n_env = 2;
		if (cli_check_namespace(cli, &err) < 0 ||
		    cli_run(cli, &request, NULL, NULL,
			&result, &err) < 0)
			return report(cli, argv[1], err);
	}
	(void)puts(result);
	return 0;
}

int
cmd_umount(struct cli *cli, int argc, char **argv)
{
	int i, n, status = 0;

	if (parse_options(cli, argc, argv, NULL, 1, 256, &n) < 0)
		return EXIT_USAGE;
	for (i = 1; i <= n; i++) {
		cleanup_error struct imgd_error *err = NULL;
		/* A target may be named by any path that leads to it. */
		cleanup_free char *path = strchr(argv[i], '/') != NULL ||
			argv[i][0] == '.'
		    ? realpath(argv[i], NULL)
		    : NULL;
		const char *arg = path != NULL ? path : argv[i];
		const struct job_request request = {
			.name = "umount",
			.args = &arg,
			.n_args = 1,
		};

		if (cli_check_namespace(cli, &err) < 0 ||
		    cli_run(cli, &request, NULL, NULL,
			NULL, &err) < 0)
			status = report(cli, argv[i], err);
	}
	return status;
}
