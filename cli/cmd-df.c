#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "core/space.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

static const struct format_field fields[] = {
	{ "Type", "TYPE" },
	{ "TotalCount", "TOTAL" },
	{ "Active", "ACTIVE" },
	{ "Size", "SIZE" },
	{ "Reclaimable", "RECLAIMABLE" },
	{ NULL, NULL },
};

#define PLAIN "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}" \
	"\t{{.Reclaimable}}"

static struct json_object *
get(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static uint64_t
get_u64(struct json_object *o, const char *key)
{
	return (uint64_t)json_object_get_int64(get(o, key));
}

static void
put_row(struct format *f, const char *type, uint64_t total, uint64_t active,
    uint64_t size, uint64_t reclaimable)
{
	char totals[24], actives[24], sizes[32], text[32], amounts[48];
	const char *const values[] = { type, totals, actives, sizes, amounts };

	(void)snprintf(totals, sizeof(totals), "%ju", (uintmax_t)total);
	(void)snprintf(actives, sizeof(actives), "%ju", (uintmax_t)active);
	(void)str_size(size, sizes);
	if (size > 0)
		(void)snprintf(amounts, sizeof(amounts), "%s (%ju%%)",
		    str_size(reclaimable, text),
		    (uintmax_t)((double)reclaimable * 100 / (double)size));
	else
		(void)snprintf(amounts, sizeof(amounts), "%s",
		    str_size(reclaimable, text));
	format_row(f, values, NULL);
}

/* docker's sum: what images with containers do not share is needed. */
static void
put_images(struct format *f, struct json_object *df)
{
	struct json_object *images = get(df, "Images");
	uint64_t size = get_u64(df, "LayersSize"), used = 0, n_active = 0;
	size_t i, n = json_object_array_length(images);

	for (i = 0; i < n; i++) {
		struct json_object *img = json_object_array_get_idx(images, i);

		if (get_u64(img, "Containers") == 0)
			continue;
		n_active++;
		used += get_u64(img, "Size") - get_u64(img, "SharedSize");
	}
	put_row(f, "Images", n, n_active, size, size > used ? size - used : 0);
}

/* They are all needed: only who made them can tell. */
static void
put_writable(struct format *f, struct json_object *store)
{
	struct json_object *layers = get(store, "WritableLayers");
	size_t i, n = json_object_array_length(layers);
	uint64_t bytes = 0;

	for (i = 0; i < n; i++)
		bytes += get_u64(json_object_array_get_idx(layers, i),
		    "Bytes");
	put_row(f, "Writable layers", n, n, bytes, 0);
}

static void
put_rows(struct format *f, struct json_object *df)
{
	struct json_object *store = get(df, "Store");
	uint64_t partial = get_u64(store, "PartialBytes");

	put_images(f, df);
	put_writable(f, store);
	put_row(f, "Partial blobs", get_u64(store, "PartialBlobs"), 0,
	    partial, partial);
	put_row(f, "Recipes", 1, 1, get_u64(store, "Recipes"), 0);
	put_row(f, "Database", 1, 1, get_u64(store, "Database"), 0);
}

static void
put_image(struct table *t, struct json_object *img)
{
	struct json_object *names = get(img, "RepoTags");
	const char *name = json_object_array_length(names) > 0
	    ? json_object_get_string(json_object_array_get_idx(names, 0))
	    : "<none>:<none>";
	uint64_t size = get_u64(img, "Size");
	uint64_t shared = get_u64(img, "SharedSize");
	const char *colon = strrchr(name, ':');
	char when[40], text[32];

	table_cell(t, "%.*s", (int)(colon - name), name);
	table_cell(t, "%s", colon + 1);
	table_cell(t, "%.12s",
	    digest_hex(json_object_get_string(get(img, "Id"))));
	table_cell(t, "%s",
	    ago(json_object_get_int64(get(img, "Created")), when));
	table_cell(t, "%s", str_size(size, text));
	table_cell(t, "%s", str_size(shared, text));
	table_cell(t, "%s", str_size(size - shared, text));
	table_cell(t, "%ju", (uintmax_t)get_u64(img, "Containers"));
}

/* Bytes on the disk; "-" if nobody knows. */
static void
put_bytes(struct table *t, struct json_object *layer)
{
	if (json_object_is_type(get(layer, "Bytes"), json_type_null))
		table_cell(t, "%s", "-");
	else
		table_cell(t, "%ju", (uintmax_t)get_u64(layer, "Bytes"));
}

static void
print_writable(struct json_object *layers)
{
	static const char *const headings[] = { "NAME", "IMAGE ID", "DRIVER",
		"BYTES", NULL };
	struct table t;
	size_t i;

	table_init(&t, headings);
	for (i = 0; i < json_object_array_length(layers); i++) {
		struct json_object *l = json_object_array_get_idx(layers, i);

		table_cell(&t, "%s", json_object_get_string(get(l, "Name")));
		table_cell(&t, "%.12s",
		    digest_hex(json_object_get_string(get(l, "Image"))));
		table_cell(&t, "%s", json_object_get_string(get(l, "Driver")));
		put_bytes(&t, l);
	}
	(void)printf("\nWritable layers space usage:\n\n");
	(void)table_print(&t);
}

static void
print_layers(struct json_object *layers)
{
	static const char *const headings[] = { "CHAIN ID", "DRIVER", "KEY",
		"STATE", "IMAGES", "CONTENT", "BYTES", NULL };
	struct table t;
	char text[32];
	size_t i;

	table_init(&t, headings);
	for (i = 0; i < json_object_array_length(layers); i++) {
		struct json_object *l = json_object_array_get_idx(layers, i);
		const char *chain = json_object_get_string(get(l, "ChainId"));

		table_cell(&t, "%.12s", *chain != '\0' ? digest_hex(chain)
						       : "-");
		table_cell(&t, "%s", json_object_get_string(get(l, "Driver")));
		table_cell(&t, "%.12s", json_object_get_string(get(l, "Key")));
		table_cell(&t, "%s", json_object_get_string(get(l, "State")));
		table_cell(&t, "%ju", (uintmax_t)get_u64(l, "Images"));
		table_cell(&t, "%s",
		    str_size(get_u64(l, "ContentBytes"), text));
		put_bytes(&t, l);
	}
	(void)printf("\nLayers space usage:\n\n");
	(void)table_print(&t);
}

/* The pool's used bytes, of a driver that has one. */
static void
put_pool(struct table *t, struct json_object *driver)
{
	if (get(driver, "PoolBytes") != NULL)
		table_cell(t, "%ju",
		    (uintmax_t)get_u64(driver, "PoolBytes"));
	else
		table_cell(t, "%s", "");
}

/* Whole bytes: they add up. */
static void
put_disk(struct json_object *store)
{
	static const char *const parts[] = { "Recipes", "Spool", "Database",
		"Other", "Total", NULL };
	static const char *const headings[] = { "ON DISK", "BYTES", "LAYERS",
		"LAYERS' CONTENT", "POOL", NULL };
	struct table t;
	char text[32];
	size_t i, k;

	table_init(&t, headings);
	json_object_object_foreach(get(store, "Drivers"), name, d) {
		table_cell(&t, "driver %s", name);
		table_cell(&t, "%ju", (uintmax_t)get_u64(d, "Bytes"));
		table_cell(&t, "%ju", (uintmax_t)get_u64(d, "Layers"));
		table_cell(&t, "%s", str_size(get_u64(d, "LayerBytes"), text));
		put_pool(&t, d);
	}
	for (i = 0; parts[i] != NULL; i++) {
		table_cell(&t, "%s", parts[i]);
		table_cell(&t, "%ju", (uintmax_t)get_u64(store, parts[i]));
		for (k = 0; k < 3; k++)
			table_cell(&t, "%s", "");
	}
	(void)printf("\nStore space usage:\n\n");
	(void)table_print(&t);
}

static int
print_verbose(struct json_object *df)
{
	static const char *const headings[] = { "REPOSITORY", "TAG",
		"IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
		"CONTAINERS", NULL };
	struct json_object *images = get(df, "Images");
	struct table t;
	size_t i;

	(void)printf("Images space usage:\n\n");
	table_init(&t, headings);
	for (i = 0; i < json_object_array_length(images); i++)
		put_image(&t, json_object_array_get_idx(images, i));
	if (table_print(&t) < 0)
		return 1;
	print_writable(get(get(df, "Store"), "WritableLayers"));
	print_layers(get(get(df, "Store"), "Layers"));
	put_disk(get(df, "Store"));
	return 0;
}

static int
gather(struct cli *cli, struct json_object **ret, struct imgd_error **err)
{
	static const char *const env[][2] = { { "disk", "1" } };
	cleanup(strbuf_done) struct strbuf text = STRBUF_INIT;
	cleanup(store_closep) struct store *s = NULL;
	int r;

	if (cli->host != NULL)
		return cli_ask(cli, "df", NULL, env, 1, ret, err);
	r = cli_store(cli, &s, err);
	if (r >= 0)
		r = space_usage(s, /* with_disk= */ true, &text, err);
	if (r >= 0)
		*ret = json_tokener_parse(text.data);
	return r;
}

int
cmd_df(struct cli *cli, int argc, char **argv)
{
	cleanup(format_freep) struct format *f = NULL;
	cleanup_json struct json_object *df = NULL;
	cleanup_error struct imgd_error *err = NULL;
	bool is_verbose = false, is_json = false;
	const char *format = NULL;
	const struct option_spec specs[] = {
		{ 'v', "verbose", &is_verbose, NULL },
		{ 0, "format", NULL, &format },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	r = format_parse(format != NULL && strcmp(format, "table") != 0
		? format
		: PLAIN,
	    fields, &f, &err);
	if (r >= 0)
		r = gather(cli, &df, &err);
	if (r < 0)
		return report(cli, NULL, err);
	if (is_json) {
		print_json(df, false);
		return 0;
	}
	if (is_verbose)
		return print_verbose(df);
	put_rows(f, df);
	return format_end(f) < 0;
}
