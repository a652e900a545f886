#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"

static void
print_problem(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *driver, *layer, *text, *repaired;
	const bool *is_json = ctx;

	if (*is_json) {
		(void)puts(json);
		return;
	}
	o = json_tokener_parse(json);
	if (!json_object_object_get_ex(o, "driver", &driver) ||
	    !json_object_object_get_ex(o, "layer", &layer) ||
	    !json_object_object_get_ex(o, "problem", &text) ||
	    !json_object_object_get_ex(o, "repaired", &repaired))
		return;
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

int
cmd_fsck(struct cli *cli, int argc, char **argv)
{
	bool is_deep = false, is_repair = false, is_json = false;
	const struct option_spec specs[] = {
		{ 0, "deep", &is_deep, NULL },
		{ 0, "repair", &is_repair, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	uint64_t layers = 0, problems = 0, repaired = 0;
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	{
		const char *const env[][2] = {
			{ "deep", is_deep ? "1" : NULL },
			{ "repair", is_repair ? "1" : NULL },
		};
		const struct job_request request = {
			.name = "fsck",
			.env = env,
			.n_env = 2,
		};

		if (cli_run(cli, &request,
			print_problem, &is_json, &result, &err) < 0)
			return report(cli, NULL, err);
	}
	(void)sscanf(result, "%" SCNu64 " %" SCNu64 " %" SCNu64, &layers,
	    &problems, &repaired);
	if (!is_json && repaired > 0)
		(void)printf("%" PRIu64 " layers checked, %" PRIu64
			     " problems, %" PRIu64 " repaired\n",
		    layers, problems, repaired);
	else if (!is_json)
		(void)printf("%" PRIu64 " layers checked, %" PRIu64
			     " problems\n",
		    layers, problems);
	return problems > 0;
}
