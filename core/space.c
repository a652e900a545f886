#include "config.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "core/disk-usage.h"
#include "core/engine.h"
#include "core/images-list.h"
#include "core/job.h"
#include "core/partials.h"
#include "core/space.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tagstore/uses.h"

/* ---- what rows say ---- */

static int
add_content(void *ctx, const struct layer_row *row)
{
	uint64_t *bytes = ctx;

	*bytes += row->size_bytes;
	return 0;
}

/* ---- "Store" ---- */

static void
put_drivers(struct strbuf *sb, const struct disk_usage *u)
{
	size_t i;

	strbuf_puts(sb, "\"Drivers\":{");
	for (i = 0; i < u->n_drivers; i++) {
		const struct disk_driver *d = &u->drivers[i];

		strbuf_puts(sb, i > 0 ? "," : "");
		strbuf_json(sb, d->name);
		strbuf_printf(sb,
		    ":{\"Layers\":%ju,\"LayerBytes\":%ju,\"Bytes\":%ju",
		    (uintmax_t)d->n_layers, (uintmax_t)d->content_bytes,
		    (uintmax_t)d->bytes);
		if (d->has_pool)
			strbuf_printf(sb, ",\"PoolBytes\":%ju",
			    (uintmax_t)d->pool_bytes);
		strbuf_putc(sb, '}');
	}
	strbuf_putc(sb, '}');
}

static void
put_bytes(struct strbuf *sb, const struct disk_layer *l)
{
	if (l->is_measured)
		strbuf_printf(sb, ",\"Bytes\":%ju}", (uintmax_t)l->bytes);
	else
		strbuf_puts(sb, ",\"Bytes\":null}");
}

static void
put_layers(struct strbuf *sb, const struct disk_usage *u)
{
	bool is_first = true;
	size_t i;

	strbuf_puts(sb, ",\"Layers\":[");
	for (i = 0; i < u->n_layers; i++) {
		const struct disk_layer *l = &u->layers[i];

		if (l->name != NULL)
			continue;
		strbuf_printf(sb, "%s{\"Key\":\"%s\",\"Driver\":",
		    is_first ? "" : ",", l->key);
		is_first = false;
		strbuf_json(sb, l->driver);
		strbuf_printf(sb,
		    ",\"ChainId\":\"%s\",\"State\":\"%s\",\"Images\":%ju,"
		    "\"ContentBytes\":%ju",
		    l->chain_id, l->state, (uintmax_t)l->n_images,
		    (uintmax_t)l->content_bytes);
		put_bytes(sb, l);
	}
	strbuf_putc(sb, ']');
}

/* Returns how many there are. */
static uint64_t
put_writable(struct strbuf *sb, const struct disk_usage *u)
{
	uint64_t n = 0;
	size_t i;

	strbuf_puts(sb, ",\"WritableLayers\":[");
	for (i = 0; i < u->n_layers; i++) {
		const struct disk_layer *l = &u->layers[i];

		if (l->name == NULL || strcmp(l->state, "dying") == 0)
			continue;
		strbuf_puts(sb, n++ > 0 ? ",{\"Name\":" : "{\"Name\":");
		strbuf_json(sb, l->name);
		strbuf_puts(sb, ",\"Driver\":");
		strbuf_json(sb, l->driver);
		strbuf_puts(sb, ",\"Image\":");
		strbuf_json(sb, l->image);
		put_bytes(sb, l);
	}
	strbuf_putc(sb, ']');
	return n;
}

static int
count_image(void *ctx, const struct image_use *use)
{
	struct disk_layer *l = disk_usage_layer(ctx, use->key);

	if (l != NULL)
		l->n_images++;
	return 0;
}

static int
put_store(struct strbuf *sb, struct store *s, struct disk_usage *u,
    struct imgd_error **err)
{
	struct partials_usage partials = { 0 };
	uint64_t n_writable;
	int r;

	r = disk_usage_read(s, /* before= */ NULL, u, err);
	if (r >= 0 && s->tags != NULL)
		r = tagstore_image_uses(s->tags, count_image, u, err);
	if (r >= 0 && s->tags != NULL)
		r = partials_count(s, &partials, err);
	if (r < 0)
		return r;
	strbuf_puts(sb, ",\"Store\":{");
	put_drivers(sb, u);
	put_layers(sb, u);
	n_writable = put_writable(sb, u);
	strbuf_printf(sb,
	    ",\"Recipes\":%ju,\"Spool\":%ju,\"Database\":%ju,\"Other\":%ju,"
	    "\"Total\":%ju,\"PartialBlobs\":%ju,\"PartialBytes\":%ju,"
	    "\"Containers\":%ju}",
	    (uintmax_t)u->recipes, (uintmax_t)u->spool,
	    (uintmax_t)u->database, (uintmax_t)u->other, (uintmax_t)u->total,
	    (uintmax_t)partials.n, (uintmax_t)partials.bytes,
	    (uintmax_t)n_writable);
	return 0;
}

int
space_usage(struct store *s, bool with_disk, struct strbuf *ret,
    struct imgd_error **err)
{
	const struct images_query query = { .wants_shared_size = true,
		.wants_virtual_size = true };
	cleanup(disk_usage_done) struct disk_usage usage = { .layers = NULL };
	uint64_t content = 0;
	int r = 0;

	if (s->tags != NULL)
		r = tagstore_layers(s->tags, NULL, "ready", add_content,
		    &content, err);
	if (r < 0)
		return r;
	strbuf_puts(ret,
	    "{\"BuildCache\":[],\"BuilderSize\":0,\"Containers\":[],"
	    "\"Images\":");
	r = images_list(s, &query, ret, err);
	strbuf_printf(ret, ",\"LayersSize\":%ju,\"Volumes\":[]",
	    (uintmax_t)content);
	if (r >= 0 && with_disk)
		r = put_store(ret, s, &usage, err);
	strbuf_putc(ret, '}');
	if (r >= 0 && ret->is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

int
job_df(struct job *job, struct imgd_error **err)
{
	return space_usage(job->engine->store,
	    job_getenv(job, "disk") != NULL, &job->result, err);
}
