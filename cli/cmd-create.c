#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

struct container_list {
	struct table table;
	bool is_json;
};

static void
print_container(const struct container_row *row)
{
	cleanup_json struct json_object *o = json_object_new_object();

	json_object_object_add(o, "Name", json_object_new_string(row->name));
	json_object_object_add(o, "Image", json_object_new_string(row->image));
	json_object_object_add(o, "Reference",
	    json_object_new_string(row->reference));
	json_object_object_add(o, "Driver",
	    json_object_new_string(row->driver));
	json_object_object_add(o, "SizeLimit",
	    json_object_new_int64((int64_t)row->quota_bytes));
	json_object_object_add(o, "Created",
	    json_object_new_int64(row->created_at));
	print_json(o, false);
}

static int
add_container(void *ctx, const struct container_row *row)
{
	struct container_list *l = ctx;
	char when[40], size[32];

	if (strcmp(row->state, "ready") != 0)
		return 0;
	if (l->is_json) {
		print_container(row);
		return 0;
	}
	table_cell(&l->table, "%s", row->name);
	table_cell(&l->table, "%s", row->reference);
	table_cell(&l->table, "%s", row->driver);
	table_cell(&l->table, "%s", ago(row->created_at, when));
	table_cell(&l->table, "%s",
	    row->quota_bytes > 0 ? str_size(row->quota_bytes, size) : "-");
	return 0;
}

static int
list_containers(struct cli *cli, bool is_json)
{
	static const char *const headings[] = { "NAME", "IMAGE", "DRIVER",
		"CREATED", "SIZE LIMIT", NULL };
	cleanup_error struct imgd_error *err = NULL;
	cleanup(store_closep) struct store *s = NULL;
	struct container_list l = { .is_json = is_json };
	int r;

	r = cli_store(cli, &s, &err);
	if (r < 0)
		return report(cli, NULL, err);
	table_init(&l.table, headings);
	if (s->tags != NULL)
		r = tagstore_containers(s->tags, add_container, &l, &err);
	if (r >= 0 && !is_json)
		return table_print(&l.table) < 0;
	table_done(&l.table);
	return r < 0 ? report(cli, NULL, err) : 0;
}

int
cmd_create(struct cli *cli, int argc, char **argv)
{
	const char *driver = NULL, *size = NULL;
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "driver", NULL, &driver },
		{ 0, "size", NULL, &size },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	uint64_t bytes = 0;
	char quota[32];
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 2, &n) < 0)
		return EXIT_USAGE;
	if (n == 0)
		return list_containers(cli, is_json);
	if (n == 1)
		return usage_error(cli, "an image is missing");
	if (size != NULL && (!str_to_size(size, &bytes) || bytes == 0))
		return usage_error(cli, "%s: not a size", size);
	(void)snprintf(quota, sizeof(quota), "%" PRIu64, bytes);
	{
		const char *const env[][2] = {
			{ "driver", driver },
			{ "quota", quota },
		};
		const struct job_request request = {
			.name = "create",
			.args = (const char *const *)argv + 1,
			.n_args = 2,
			.env = env,
			.n_env = 2,
		};

		if (cli_run(cli, &request, NULL, NULL,
			&result, &err) < 0)
			return report(cli, argv[1], err);
	}
	(void)puts(result);
	return 0;
}
