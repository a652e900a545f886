#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "cli/cli.h"
#include "core/partials.h"
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

struct counts {
	int64_t images, layers, containers;
	uint64_t layer_bytes;
};

static int
count_image(void *ctx, const struct image_summary *s)
{
	struct counts *c = ctx;

	(void)s;
	c->images++;
	return 0;
}

static int
count_layer(void *ctx, const struct layer_row *row)
{
	struct counts *c = ctx;

	c->layers++;
	c->layer_bytes += row->size_bytes;
	return 0;
}

static int
count_container(void *ctx, const struct container_row *row)
{
	struct counts *c = ctx;

	c->containers += strcmp(row->state, "ready") == 0;
	return 0;
}

static void
add_status(void *ctx, const char *key, const char *value)
{
	json_object_object_add(ctx, key, json_object_new_string(value));
}

/* Each driver that the store uses, opened only to be asked. */
static int
add_drivers(struct store *s, struct json_object *o, struct imgd_error **err)
{
	struct json_object *drivers = json_object_new_object();
	cleanup_free char *names = NULL;
	char *name, *save = NULL;
	int r;

	json_object_object_add(o, "Drivers", drivers);
	r = tagstore_drivers(s->tags, &names, err);
	if (r < 0)
		return r;
	for (name = strtok_r(names, ",", &save); name != NULL;
	    name = strtok_r(NULL, ",", &save)) {
		cleanup_error struct imgd_error *e = NULL;
		struct json_object *status = json_object_new_object();
		struct driver *d;

		json_object_object_add(drivers, name, status);
		if (store_driver(s, name, &d, &e) < 0 ||
		    driver_status(d, add_status, status, &e) < 0)
			add_status(status, "Error", imgd_error_msg(e));
	}
	return 0;
}

static int
gather(struct store *s, struct json_object *o, struct imgd_error **err)
{
	struct partials_usage partials = { 0 };
	struct counts c = { 0 };
	int r = 0;

	if (s->tags != NULL) {
		r = tagstore_images(s->tags, count_image, &c, err);
		if (r >= 0)
			r = tagstore_layers(s->tags, NULL, "ready",
			    count_layer, &c, err);
		if (r >= 0)
			r = tagstore_containers(s->tags, count_container, &c,
			    err);
		if (r >= 0)
			r = partials_count(s, &partials, err);
	}
	json_object_object_add(o, "Images", json_object_new_int64(c.images));
	json_object_object_add(o, "Layers", json_object_new_int64(c.layers));
	json_object_object_add(o, "Containers",
	    json_object_new_int64(c.containers));
	json_object_object_add(o, "LayerBytes",
	    json_object_new_int64((int64_t)c.layer_bytes));
	json_object_object_add(o, "PartialBlobs",
	    json_object_new_int64((int64_t)partials.n));
	json_object_object_add(o, "PartialBytes",
	    json_object_new_int64((int64_t)partials.bytes));
	if (r >= 0 && s->tags != NULL)
		r = add_drivers(s, o, err);
	return r;
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

int
cmd_info(struct cli *cli, int argc, char **argv)
{
	bool is_json = false;
	const struct option_spec specs[] = {
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup_json struct json_object *o = json_object_new_object();
	cleanup_error struct imgd_error *err = NULL;
	cleanup(store_closep) struct store *s = NULL;
	char platform[PLATFORM_STR_SIZE];
	struct platform host;
	struct utsname uts;
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	platform_host(&host);
	(void)uname(&uts);
	json_object_object_add(o, "Root", json_object_new_string(cli->root));
	json_object_object_add(o, "Version",
	    json_object_new_string(PACKAGE_VERSION));
	json_object_object_add(o, "Platform",
	    json_object_new_string(platform_format(&host, platform)));
	json_object_object_add(o, "Kernel",
	    json_object_new_string(uts.release));
	r = store_open(cli->root, &cli->config, /* is_readonly= */ true, &s,
	    &err);
	if (r >= 0)
		r = gather(s, o, &err);
	if (r < 0)
		return report(cli, NULL, err);
	if (is_json)
		print_json(o, false);
	else
		print_object(o, 0);
	return 0;
}
