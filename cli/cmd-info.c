#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "core/info.h"
#include "lib/cleanup-json.h"
#include "registry/manifest.h"

int
cmd_version(struct cli *cli, int argc, char **argv)
{
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	char platform[PLATFORM_STR_SIZE];
	struct platform host;
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	platform_host(&host);
	(void)platform_format(&host, platform);
	if (is_json) {
		cleanup_json struct json_object *o = json_object_new_object();

		json_object_object_add(o, "Version",
		    json_object_new_string(PACKAGE_VERSION));
		json_object_object_add(o, "DriverApi",
		    json_object_new_int(IMGD_DRIVER_API));
		json_object_object_add(o, "Platform",
		    json_object_new_string(platform));
		print_json(o, false);
		return 0;
	}
	(void)printf("imgd %s\ndriver api %d\nplatform %s\n", PACKAGE_VERSION,
	    IMGD_DRIVER_API, platform);
	return 0;
}

static void
print_object(struct json_object *o, int indent)
{
	json_object_object_foreach(o, key, value) {
		(void)printf("%*s", indent, "");
		print_escaped(key);
		(void)fputs(": ", stdout);
		if (json_object_is_type(value, json_type_object)) {
			(void)putchar('\n');
			print_object(value, indent + 1);
			continue;
		}
		print_escaped(json_object_get_string(value));
		(void)putchar('\n');
	}
}

static int
gather(struct cli *cli, struct json_object **ret, struct imgd_error **err)
{
	cleanup(store_closep) struct store *s = NULL;
	int r;

	if (cli->host != NULL)
		return cli_ask(cli, "info", NULL, NULL, 0, ret, err);
	r = cli_store(cli, &s, err);
	return r < 0 ? r : info_gather(s, ret, err);
}

int
cmd_info(struct cli *cli, int argc, char **argv)
{
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_json struct json_object *o = NULL;
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	if (gather(cli, &o, &err) < 0)
		return report(cli, NULL, err);
	if (is_json)
		print_json(o, false);
	else
		print_object(o, 0);
	return 0;
}
