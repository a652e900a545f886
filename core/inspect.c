#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/engine.h"
#include "core/inspect.h"
#include "core/job.h"
#include "lib/cleanup-json.h"
#include "registry/manifest.h"
#include "registry/reference.h"

#define ZERO_TIME "0001-01-01T00:00:00Z"

int64_t
inspect_time(const char *rfc3339)
{
	struct tm tm = { 0 };
	int hours, minutes;
	const char *end;
	int64_t t;

	end = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
	if (end == NULL)
		return 0;
	t = timegm(&tm);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if ((*end == '+' || *end == '-') &&
	    sscanf(end + 1, "%2d:%2d", &hours, &minutes) == 2)
		t -= (*end == '+' ? 1 : -1) * (hours * 3600 + minutes * 60);
	return t;
}

static struct json_object *
text(const char *s)
{
	return json_object_new_string(s != NULL ? s : "");
}

/* A JSON text of the config, parsed again; NULL where there is none. */
static struct json_object *
parsed(const char *json)
{
	return json != NULL ? json_tokener_parse(json) : NULL;
}

struct name_lists {
	struct json_object *tags, *digests;
};

static int
add_name(void *ctx, const struct image_name *n)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *full = NULL, *familiar = NULL;
	struct name_lists *lists = ctx;
	bool is_tag = n->tag[0] != '\0';

	if (asprintf(&full, "%s%s%s", n->repository, is_tag ? ":" : "@",
		is_tag ? n->tag : n->manifest_digest) < 0)
		return -ENOMEM;
	if (reference_parse(full, 0, &ref, NULL) >= 0)
		familiar = reference_familiar(&ref);
	(void)json_object_array_add(is_tag ? lists->tags : lists->digests,
	    text(familiar != NULL ? familiar : full));
	return 0;
}


static int
layer_sizes(struct store *s, const struct image *img, const char *driver,
    uint64_t *sizes, struct imgd_error **err)
{
	size_t i;

	for (i = 0; i < img->n_layers; i++) {
		cleanup(layer_row_done) struct layer_row row = { 0 };
		int r = tagstore_layer(s->tags, driver,
		    img->layers[i].chain_id, &row, err);

		if (r < 0)
			return r;
		sizes[i] = row.size_bytes;
	}
	return 0;
}

/* Image, config, the driver that is asked about it, and layer sizes there. */
struct facts {
	struct image img;
	struct image_config *config;
	char *driver;  /* the one that verbs would use */
	char *drivers; /* all, comma-separated */
	uint64_t *sizes;
};

static void
facts_done(struct facts *f)
{
	image_done(&f->img);
	image_config_free(f->config);
	free(f->driver);
	free(f->drivers);
	free(f->sizes);
}

static int
load(struct store *s, const char *id, struct facts *f, struct imgd_error **err)
{
	int r;

	r = tagstore_image(s->tags, id, &f->img, err);
	if (r >= 0)
		r = image_config_parse(f->img.config, f->img.config_len,
		    &f->config, err);
	if (r >= 0)
		r = tagstore_image_drivers(s->tags, id, &f->drivers, err);
	if (r >= 0)
		r = store_image_driver(s, id, NULL, 0, &f->driver, err);
	if (r < 0)
		return r;
	f->sizes = calloc(f->img.n_layers + 1, sizeof(*f->sizes));
	if (f->sizes == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return layer_sizes(s, &f->img, f->driver, f->sizes, err);
}

static struct json_object *
split(const char *list)
{
	struct json_object *a = json_object_new_array();
	const char *p = list;

	while (*p != '\0') {
		size_t n = strcspn(p, ",");

		(void)json_object_array_add(a,
		    json_object_new_string_len(p, (int)n));
		p += n;
		p += *p == ',';
	}
	return a;
}

static void
add_facts(struct json_object *o, const struct facts *f)
{
	const struct image_config *c = f->config;
	struct json_object *layers = json_object_new_array();
	struct json_object *rootfs = json_object_new_object();
	struct json_object *graph = json_object_new_object();
	uint64_t size = 0;
	size_t i;

	for (i = 0; i < f->img.n_layers; i++) {
		size += f->sizes[i];
		(void)json_object_array_add(layers,
		    text(f->img.layers[i].diff_id));
	}
	json_object_object_add(o, "Parent", text(""));
	json_object_object_add(o, "Comment",
	    text(c->comment == NULL && c->n_history > 0
		    ? c->history[c->n_history - 1].comment
		    : c->comment));
	json_object_object_add(o, "Created",
	    text(c->created != NULL ? c->created : ZERO_TIME));
	json_object_object_add(o, "DockerVersion", text(c->docker_version));
	json_object_object_add(o, "Author", text(c->author));
	json_object_object_add(o, "Config", parsed(c->config_json));
	json_object_object_add(o, "Architecture", text(c->platform.arch));
	if (c->platform.variant[0] != '\0')
		json_object_object_add(o, "Variant",
		    text(c->platform.variant));
	json_object_object_add(o, "Os", text(c->platform.os));
	json_object_object_add(o, "Size",
	    json_object_new_int64((int64_t)size));
	json_object_object_add(graph, "Name", text(f->driver));
	json_object_object_add(graph, "Data", json_object_new_object());
	json_object_object_add(o, "GraphDriver", graph);
	json_object_object_add(rootfs, "Type", text("layers"));
	json_object_object_add(rootfs, "Layers", layers);
	json_object_object_add(o, "RootFS", rootfs);
	json_object_object_add(o, "Drivers", split(f->drivers));
}

static void
add_metadata(void *ctx, const char *key, const char *value)
{
	json_object_object_add(ctx, key, text(value));
}

/* What the driver tells of the top layer; that it tells nothing is no reason
 * not to show the rest. */
static void
add_driver_data(struct store *s, struct json_object *o, const struct facts *f)
{
	cleanup(layer_row_done) struct layer_row row = { 0 };
	struct json_object *graph, *data;
	struct driver *d;

	if (f->img.n_layers == 0 ||
	    !json_object_object_get_ex(o, "GraphDriver", &graph) ||
	    !json_object_object_get_ex(graph, "Data", &data) ||
	    tagstore_layer(s->tags, f->driver,
		f->img.layers[f->img.n_layers - 1].chain_id, &row, NULL) < 0 ||
	    store_driver(s, f->driver, &d, NULL) < 0)
		return;
	(void)driver_metadata(d, row.key, add_metadata, data, NULL);
}

int
inspect_image(struct store *s, const char *id, struct json_object **ret,
    struct imgd_error **err)
{
	cleanup(facts_done) struct facts f = { .config = NULL };
	cleanup_json struct json_object *o = NULL;
	struct name_lists lists;
	int r;

	r = load(s, id, &f, err);
	if (r < 0)
		return r;
	o = json_object_new_object();
	lists.tags = json_object_new_array();
	lists.digests = json_object_new_array();
	json_object_object_add(o, "Id", text(id));
	json_object_object_add(o, "RepoTags", lists.tags);
	json_object_object_add(o, "RepoDigests", lists.digests);
	r = tagstore_names(s->tags, id, add_name, &lists, err);
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	add_facts(o, &f);
	add_driver_data(s, o, &f);
	*ret = take_ptr(&o);
	return 0;
}

static struct json_object *
history_entry(const struct image_history *h, uint64_t size)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "Id", text("<missing>"));
	json_object_object_add(o, "Created",
	    json_object_new_int64(h != NULL && h->created != NULL
		    ? inspect_time(h->created)
		    : 0));
	json_object_object_add(o, "CreatedBy",
	    text(h != NULL ? h->created_by : NULL));
	json_object_object_add(o, "Tags", NULL);
	json_object_object_add(o, "Size",
	    json_object_new_int64((int64_t)size));
	json_object_object_add(o, "Comment",
	    text(h != NULL ? h->comment : NULL));
	return o;
}

/* Put the image's own id and tags on its newest entry. */
static int
mark_newest(struct store *s, const char *id, struct json_object *newest,
    struct imgd_error **err)
{
	struct name_lists lists = { json_object_new_array(),
		json_object_new_array() };
	int r = tagstore_names(s->tags, id, add_name, &lists, err);

	json_object_object_add(newest, "Id", text(id));
	json_object_object_add(newest, "Tags", lists.tags);
	(void)json_object_put(lists.digests);
	return r == -ENOMEM ? imgd_error_set(err, ENOMEM, "out of memory") : r;
}

int
inspect_history(struct store *s, const char *id, struct json_object **ret,
    struct imgd_error **err)
{
	cleanup(facts_done) struct facts f = { .config = NULL };
	cleanup_json struct json_object *a = NULL;
	struct json_object *entry = NULL;
	size_t i, layer;
	int r;

	r = load(s, id, &f, err);
	if (r < 0)
		return r;
	a = json_object_new_array();
	layer = f.img.n_layers;
	for (i = f.config->n_history; i > 0; i--) {
		const struct image_history *h = &f.config->history[i - 1];
		uint64_t size = 0;

		if (!h->is_empty_layer && layer > 0)
			size = f.sizes[--layer];
		entry = history_entry(h, size);
		(void)json_object_array_add(a, entry);
	}
	/* Layers that no history tells of get a row each. */
	while (layer > 0) {
		layer--;
		(void)json_object_array_add(a,
		    history_entry(NULL, f.sizes[layer]));
	}
	entry = json_object_array_get_idx(a, 0);
	r = entry != NULL ? mark_newest(s, id, entry, err) : 0;
	if (r < 0)
		return r;
	*ret = take_ptr(&a);
	return 0;
}

/* ---- jobs ---- */

static int
find_and(struct job *job,
    int (*what)(struct store *, const char *, struct json_object **,
	struct imgd_error **),
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	struct store *s = job->engine->store;
	cleanup_free char *id = NULL;
	int r = store_find_image(s, job->args[0], &id, NULL, err);

	if (r >= 0)
		r = what(s, id, &o, err);
	if (r >= 0)
		strbuf_puts(&job->result,
		    json_object_to_json_string_ext(o,
			JSON_C_TO_STRING_PLAIN |
			    JSON_C_TO_STRING_NOSLASHESCAPE));
	return r;
}

int
job_inspect(struct job *job, struct imgd_error **err)
{
	return find_and(job, inspect_image, err);
}

int
job_history(struct job *job, struct imgd_error **err)
{
	return find_and(job, inspect_history, err);
}
