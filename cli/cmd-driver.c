#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/driver-suite.h"
#include "lib/cleanup-json.h"

static const char *
thread_model(uint32_t threads)
{
	return threads == IMGD_THREADS_PARALLEL ? "parallel"
	    : threads == IMGD_THREADS_PER_LAYER ? "per-layer"
						: "serial";
}

static const struct {
	uint32_t bit;
	const char *name;
} cap_names[] = {
	{ IMGD_CAP_RW, "rw" },
	{ IMGD_CAP_INDEPENDENT, "independent" },
	{ IMGD_CAP_EXACT_DIFF, "exact-diff" },
	{ IMGD_CAP_QUOTA, "quota" },
	{ IMGD_CAP_LABEL, "label" },
	{ IMGD_CAP_LIVE_CHECK, "live-check" },
	{ IMGD_CAP_BLOCKDEV, "blockdev" },
};

static int
driver_info_verb(struct cli *cli, const char *name)
{
	cleanup(driver_info_done) struct driver_info info = { 0 };
	cleanup_error struct imgd_error *err = NULL;
	const struct imgd_driver *t = &info.table;
	size_t i;

	if (driver_load(name, &info, &err) < 0)
		return report(cli, NULL, err);
	(void)printf("name=%s\n", t->name);
	(void)printf("description=%s\n",
	    t->description != NULL ? t->description : "");
	(void)printf("path=%s\n", info.path);
	(void)printf("api=%u\n", (unsigned int)t->api);
	(void)printf("struct_size=%u\n", (unsigned int)t->struct_size);
	(void)printf("threads=%s\n", thread_model(t->threads));
	(void)printf("caps=");
	for (i = 0; i < sizeof(cap_names) / sizeof(cap_names[0]); i++)
		if (t->caps & cap_names[i].bit)
			(void)printf("%s%s",
			    t->caps & (cap_names[i].bit - 1) ? "," : "",
			    cap_names[i].name);
	(void)printf("\nmax_depth=%u\n", (unsigned int)t->max_depth);
	if (t->options_help != NULL)
		(void)printf("options:\n%s\n", t->options_help);
	return 0;
}

/* Whether the driver works on this store: "" or why not. */
static char *
trouble(struct cli *cli, const char *name)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup(store_closep) struct store *s = NULL;
	struct driver_open_params p;
	int r;

	r = cli_store(cli, &s, &err);
	if (r < 0)
		return strdup(imgd_error_msg(err));
	p = (struct driver_open_params) {
		.root_fd = s->root_fd,
		.root = s->root,
		.options = cli->config.storage_opts,
		.n_options = cli->config.n_storage_opts,
	};
	if (s->root_fd < 0)
		return strdup("no store yet");
	r = driver_probe(name, &p, &err);
	return strdup(r < 0 ? imgd_error_msg(err) : "");
}

static int
driver_ls(struct cli *cli, bool is_json)
{
	static const char *const headings[] = { "DRIVER", "WORKS HERE",
		"DESCRIPTION", NULL };
	cleanup_error struct imgd_error *err = NULL;
	struct table t;
	char **names;
	size_t i;

	if (driver_names(&names, &err) < 0)
		return report(cli, NULL, err);
	table_init(&t, headings);
	for (i = 0; names[i] != NULL; i++) {
		cleanup(driver_info_done) struct driver_info info = { 0 };
		cleanup_json struct json_object *o = json_object_new_object();
		cleanup_error struct imgd_error *e = NULL;
		cleanup_free char *why = NULL;
		const char *text;

		if (driver_load(names[i], &info, &e) < 0)
			why = strdup(imgd_error_msg(e));
		else
			why = trouble(cli, names[i]);
		text = why != NULL ? why : "out of memory";
		table_cell(&t, "%s", names[i]);
		table_cell(&t, "%s", *text == '\0' ? "yes" : text);
		table_cell(&t, "%s",
		    info.table.description != NULL ? info.table.description
						   : "");
		if (!is_json)
			continue;
		json_object_object_add(o, "Name",
		    json_object_new_string(names[i]));
		json_object_object_add(o, "Works",
		    json_object_new_boolean(*text == '\0'));
		json_object_object_add(o, "Reason",
		    json_object_new_string(text));
		json_object_object_add(o, "Path",
		    json_object_new_string(
			info.path != NULL ? info.path : ""));
		print_json(o, false);
	}
	driver_names_free(names);
	if (!is_json)
		return table_print(&t) < 0;
	table_done(&t);
	return 0;
}

/* Take each --driver-opt out of argv: that may be given many times, here as
 * before the verb. */
static int
take_driver_opts(struct cli *cli, int *argc, char **argv,
    struct imgd_error **err)
{
	static const char name[] = "--driver-opt";
	size_t len = strlen(name);
	int i, n = 1, r = 0;

	for (i = 1; i < *argc && r >= 0; i++) {
		const char *value = NULL;

		if (strcmp(argv[i], name) == 0 && i + 1 < *argc)
			value = argv[++i];
		else if (strncmp(argv[i], name, len) == 0 &&
		    argv[i][len] == '=')
			value = argv[i] + len + 1;
		else
			argv[n++] = argv[i];
		if (value != NULL)
			r = config_add_storage_opt(&cli->config, value, err);
	}
	*argc = n;
	return r;
}

static int
driver_test(struct cli *cli, int argc, char **argv)
{
	const char *root = NULL, *glob = NULL;
	bool is_list = false;
	const struct option_spec specs[] = {
		{ 0, "root", NULL, &root },
		{ 0, "case", NULL, &glob },
		{ 0, "list", &is_list, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	struct driver_suite suite;
	int n, r;

	if (take_driver_opts(cli, &argc, argv, &err) < 0)
		return report(cli, NULL, err);
	if (parse_options(cli, argc, argv, specs, 2, 2, &n) < 0)
		return EXIT_USAGE;
	suite = (struct driver_suite) {
		.driver = argv[2],
		.root = root,
		.glob = glob,
		.options = cli->config.storage_opts,
		.n_options = cli->config.n_storage_opts,
		.is_list = is_list,
	};
	r = driver_suite_run(&suite, &err);
	return r < 0 ? report(cli, NULL, err) : r;
}

int
cmd_driver(struct cli *cli, int argc, char **argv)
{
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (argc > 1 && strcmp(argv[1], "test") == 0)
		return driver_test(cli, argc, argv);
	if (parse_options(cli, argc, argv, specs, 1, 2, &n) < 0)
		return EXIT_USAGE;
	if (strcmp(argv[1], "ls") == 0 && n == 1)
		return driver_ls(cli, is_json);
	if (strcmp(argv[1], "info") == 0 && n == 2)
		return driver_info_verb(cli, argv[2]);
	return usage_error(cli, "%s: not like that", argv[1]);
}
