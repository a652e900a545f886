#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

/* docker's question; a terminal that says nothing says no. */
static bool
is_sure(bool is_all)
{
	char answer[16];

	(void)printf("WARNING! This will remove all %s.\n"
		     "Are you sure you want to continue? [y/N] ",
	    is_all ? "images without at least one container associated to "
		     "them"
		   : "dangling images");
	(void)fflush(stdout);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	    (answer[0] == 'y' || answer[0] == 'Y') &&
	    (answer[1] == '\n' || answer[1] == '\0');
}

static void
print_result(struct json_object *result)
{
	struct json_object *list, *bytes;
	char text[32];
	size_t i;

	if (json_object_object_get_ex(result, "ImagesDeleted", &list) &&
	    list != NULL) {
		(void)puts("Deleted Images:");
		for (i = 0; i < json_object_array_length(list); i++) {
			json_object_object_foreach(
			    json_object_array_get_idx(list, i), key, value) {
				(void)printf("%s: ",
				    strcmp(key, "Deleted") == 0 ? "deleted"
								: "untagged");
				print_escaped(json_object_get_string(value));
				(void)putchar('\n');
			}
		}
		(void)putchar('\n');
	}
	(void)json_object_object_get_ex(result, "SpaceReclaimed", &bytes);
	(void)printf("Total reclaimed space: %s\n",
	    str_size((uint64_t)json_object_get_int64(bytes), text));
}

/* --all is a filter like others. */
static int
run(struct cli *cli, const char **filters, bool is_all, char **ret_result,
    struct imgd_error **err)
{
	cleanup_free char *json = NULL;
	size_t n = 0;
	int r;

	while (filters[n] != NULL)
		n++;
	if (is_all)
		filters[n] = "dangling=false";
	r = filters_from_options(filters, &json, err);
	if (r >= 0) {
		const char *const env[][2] = { { "filters", json } };
		const struct job_request request = {
			.name = "prune",
			.env = env,
			.n_env = 1,
		};

		r = cli_run(cli, &request, NULL, NULL, ret_result, err);
	}
	return r;
}

int
cmd_prune(struct cli *cli, int argc, char **argv)
{
	const char *filters[OPTION_LIST_MAX + 2] = { NULL };
	cleanup_json struct json_object *result = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *text = NULL;
	bool is_all = false, is_forced = false, is_json = false, has_filters;
	const struct option_spec specs[] = {
		{ 'a', "all", &is_all, NULL },
		{ 'f', "force", &is_forced, NULL },
		{ 0, "filter", &has_filters, filters },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	if (!is_forced && !is_sure(is_all)) {
		(void)putchar('\n');
		return 0;
	}
	if (run(cli, filters, is_all, &text, &err) < 0)
		return report(cli, NULL, err);
	result = json_tokener_parse(text);
	if (is_json)
		(void)puts(text);
	else
		print_result(result);
	return 0;
}
