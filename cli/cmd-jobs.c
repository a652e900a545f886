#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

struct listing {
	struct table table;
	bool is_json, is_any;
};

static const char *
text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v)
	    ? json_object_get_string(v)
	    : "";
}

static void
add_row(struct table *t, struct json_object *o)
{
	struct json_object *args, *since;
	struct strbuf what = STRBUF_INIT;
	char when[40];
	size_t i;

	strbuf_puts(&what, text(o, "Name"));
	if (json_object_object_get_ex(o, "Args", &args))
		for (i = 0; i < json_object_array_length(args); i++)
			strbuf_printf(&what, " %s",
			    json_object_get_string(
				json_object_array_get_idx(args, i)));
	(void)json_object_object_get_ex(o, "Since", &since);
	table_cell(t, "%s", text(o, "ID"));
	table_cell(t, "%s", what.data != NULL ? what.data : "");
	table_cell(t, "%s", ago(json_object_get_int64(since), when));
	table_cell(t, "%s", text(o, "Watchers"));
	table_cell(t, "%s", text(o, "Pid"));
	table_cell(t, "%s", text(o, "Uid"));
	table_cell(t, "%s", text(o, "Door"));
	strbuf_done(&what);
}

static void
show_job(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct listing *l = ctx;

	if (l->is_json) {
		(void)puts(json);
		return;
	}
	o = json_tokener_parse(json);
	l->is_any = true;
	add_row(&l->table, o);
}

static int
list(struct cli *cli, bool is_json)
{
	static const char *const headings[] = { "ID", "JOB", "BEGUN",
		"WATCHERS", "PID", "UID", "DOOR", NULL };
	cleanup_error struct imgd_error *err = NULL;
	struct listing l = { .is_json = is_json };
	const struct job_request request = { .name = "jobs",
		.is_timid = true };
	int r;

	table_init(&l.table, headings);
	r = cli_run(cli, &request, show_job, &l, NULL, &err);
	if (r >= 0 && l.is_any)
		return table_print(&l.table) < 0;
	table_done(&l.table);
	/* Without an engine there are none; but a daemon is expected. */
	return r < 0 && (r != -ENOENT || cli->host != NULL)
	    ? report(cli, NULL, err)
	    : 0;
}

int
cmd_jobs(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 2, &n) < 0)
		return EXIT_USAGE;
	if (n == 0)
		return list(cli, is_json);
	if (n == 1 || strcmp(argv[1], "cancel") != 0)
		return usage_error(cli, "cancel and a job's id are wanted");
	{
		const struct job_request request = {
			.name = "cancel",
			.args = (const char *const *)argv + 2,
			.n_args = 1,
			.is_timid = true,
		};

		if (cli_run(cli, &request, NULL, NULL, NULL, &err) < 0)
			return report(cli, NULL, err);
	}
	return 0;
}
