/*
 * The migrate job: images from one driver into another.
 *
 * A pull whose source is this store: threads of the engine let packers write
 * the layers' tars, from tree and recipe, into the pipes of the unpackers.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/images.h"
#include "core/inner-source.h"
#include "core/job.h"
#include "core/layer-pack.h"
#include "core/protocol.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/session.h"

/* What is migrated; a pull's ctx. */
struct origin {
	struct inner_source source; /* the first: it is cast back */
	struct engine *engine;
	struct driver *from;
	struct image image;
	char (*keys)[65]; /* of its layers in from */
	uint64_t *tar_bytes;
};

static void
origin_free(void *ctx)
{
	struct origin *o = ctx;

	if (o == NULL)
		return;
	inner_source_done(&o->source);
	image_done(&o->image);
	free(o->keys);
	free(o->tar_bytes);
	free(o);
}

static int
write_layer(struct inner_source *s, uint32_t layer, int out_fd,
    uint64_t *ret_bytes, struct imgd_error **err)
{
	struct origin *o = (struct origin *)s;
	char diff_id[DIGEST_STR_SIZE];
	int r;

	if (layer >= o->image.n_layers)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "there is no such layer");
	r = layer_pack(o->engine, o->from, o->keys[layer], out_fd, diff_id,
	    err);
	if (r < 0)
		return r;
	/* Here already, so that the message names the damaged copy. */
	if (strcmp(diff_id, o->image.layers[layer].diff_id) != 0)
		return imgd_error_set(err, EUCLEAN,
		    "its copy in %s does not have its diff_id (run fsck)",
		    driver_name(o->from));
	*ret_bytes = o->tar_bytes[layer];
	return 0;
}

static int
send_documents(struct inner_source *s, struct imgd_error **err)
{
	struct origin *o = (struct origin *)s;
	struct message m;
	size_t i;
	int r;

	message_init(&m, PULLER_DOC);
	message_put_u32(&m, REGISTRY_DOC_CONFIG);
	message_put_str(&m, "");
	message_put_str(&m, o->image.id);
	message_put_bytes(&m, o->image.config, o->image.config_len);
	r = inner_source_send(s, &m, err);
	if (r < 0)
		return r;
	message_init(&m, PULLER_SIZES);
	message_put_u32(&m, (uint32_t)o->image.n_layers);
	for (i = 0; i < o->image.n_layers; i++)
		message_put_u64(&m, o->tar_bytes[i]);
	r = inner_source_send(s, &m, err);
	return r < 0 ? r : inner_source_resolved(s, err);
}

static int
start_origin(struct pull *p, struct imgd_error **err)
{
	struct origin *o = p->ctx;

	return inner_source_start(&o->source, p, err);
}

static void
end_origin(struct pull *p)
{
	struct origin *o = p->ctx;

	inner_source_end(&o->source);
}

static const struct pull_source migrate_source = {
	.name = "migration",
	.waiting = "Waiting",
	.fetching = "Copying",
	.fetched = "Copied",
	.done = "Migrated",
	.may_lack_manifest = true,
	.gives_tars = true,
	.is_copy = true,
	.start = start_origin,
	.end = end_origin,
	.ctx_free = origin_free,
};

/* ---- one image ---- */

static int
load_origin(struct origin *o, const char *id, struct imgd_error **err)
{
	struct tagstore *tags = o->engine->store->tags;
	size_t i;
	int r;

	r = tagstore_image(tags, id, &o->image, err);
	if (r < 0)
		return r;
	o->keys = calloc(o->image.n_layers + 1, sizeof(*o->keys));
	o->tar_bytes = calloc(o->image.n_layers + 1, sizeof(*o->tar_bytes));
	if (o->keys == NULL || o->tar_bytes == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < o->image.n_layers && r >= 0; i++) {
		cleanup(layer_row_done) struct layer_row row = { 0 };

		r = tagstore_layer(tags, driver_name(o->from),
		    o->image.layers[i].chain_id, &row, err);
		if (r < 0)
			break;
		(void)snprintf(o->keys[i], sizeof(o->keys[i]), "%s", row.key);
		o->tar_bytes[i] = row.tar_bytes;
	}
	return r;
}

static void
origin_freep(struct origin **o)
{
	origin_free(*o);
}

int
pull_new_copy(struct engine *e, const char *image, struct driver *from,
    const char *to, struct pull **ret, struct imgd_error **err)
{
	cleanup(origin_freep) struct origin *o = calloc(1, sizeof(*o));
	struct pull *p;
	const char *id;
	int r;

	if (o == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->engine = e;
	o->from = from;
	o->source.tell = send_documents;
	o->source.write_layer = write_layer;
	inner_source_init(&o->source);
	r = load_origin(o, image, err);
	if (r < 0)
		return r;
	id = o->image.id;
	r = pull_new(e, &migrate_source, take_ptr(&o), to, &p, err);
	if (r < 0)
		return r;
	p->expected_id = id;
	if (asprintf(&p->label, "migrate %s", image) < 0) {
		pull_free(p);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	*ret = p;
	return 0;
}

static int
copy_image(struct job *job, const char *id, struct driver *from,
    const char *to, struct imgd_error **err)
{
	struct pull *p;
	int r = pull_new_copy(job->engine, id, from, to, &p, err);

	if (r < 0)
		return r;
	if (asprintf(&p->pool_key, "migrate %s %s %s", driver_name(from), to,
		id) < 0) {
		pull_free(p);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	return pull_run(job, p, NULL, err);
}

static void
say(struct job *job, const char *id, const char *text)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_puts(&sb, "{\"status\":");
	strbuf_json(&sb, text);
	strbuf_printf(&sb, ",\"id\":\"%.12s\"}", digest_hex(id));
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
}

/* Drop the copy that is left behind, unless somebody uses it: that is no
 * failure, and said. */
static int
drop_copy(struct job *job, const char *id, const char *from,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct engine *e = job->engine;
	char text[256];
	bool is_gone;
	int r;

	pthread_mutex_lock(&e->plan_mutex);
	r = image_check_unused(e, id, from, &why);
	if (r >= 0)
		r = tagstore_image_remove(e->store->tags, id, from, &is_gone,
		    err);
	pthread_mutex_unlock(&e->plan_mutex);
	if (why != NULL) {
		(void)snprintf(text, sizeof(text), "Kept in %s, too: %s", from,
		    imgd_error_msg(why));
		say(job, id, text);
		return 0;
	}
	FAIL_POINT("migrate-condemned");
	return r < 0 ? r : engine_reap(e, err);
}

struct migration {
	struct driver *from;
	const char *to;
	bool keeps;
};

static int
migrate_image(struct job *job, const struct migration *g, const char *id,
    struct imgd_error **err)
{
	int r;

	say(job, id, "Migrating");
	r = copy_image(job, id, g->from, g->to, err);
	FAIL_POINT("migrate-copied");
	if (r >= 0 && !g->keeps)
		r = drop_copy(job, id, driver_name(g->from), err);
	if (r >= 0)
		say(job, id, "Migration complete");
	return r;
}

/* ---- which images ---- */

struct held {
	const char *driver;
	struct strbuf ids; /* NUL after each */
};

static int
gather_held(void *ctx, const struct image_summary *s)
{
	struct held *h = ctx;

	if (str_csv_has(s->drivers, h->driver))
		strbuf_append(&h->ids, s->id, strlen(s->id) + 1);
	return h->ids.is_failed ? -ENOMEM : 0;
}

static int
migrate_all(struct job *job, const struct migration *g,
    struct imgd_error **err)
{
	struct held h = { driver_name(g->from), STRBUF_INIT };
	size_t pos = 0;
	int r;

	r = tagstore_images(job->engine->store->tags, gather_held, &h, err);
	if (r == -ENOMEM)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	while (r >= 0 && pos < h.ids.len) {
		r = migrate_image(job, g, h.ids.data + pos, err);
		if (r < 0)
			(void)imgd_error_prefix(err, "%.19s",
			    h.ids.data + pos);
		pos += strlen(h.ids.data + pos) + 1;
	}
	strbuf_done(&h.ids);
	return r;
}

static int
migrate_named(struct job *job, struct migration *g, const char *typed,
    struct imgd_error **err)
{
	struct store *s = job->engine->store;
	cleanup_free char *id = NULL, *name = NULL;
	int r;

	r = store_find_image(s, typed, &id, NULL, err);
	if (r >= 0)
		r = store_image_driver(s, id, driver_name(g->from),
		    /* caps= */ 0, &name, err);
	if (r >= 0)
		r = migrate_image(job, g, id, err);
	return r < 0 ? imgd_error_prefix(err, "%s", typed) : r;
}

int
job_migrate(struct job *job, struct imgd_error **err)
{
	struct migration g = { .keeps = job_getenv(job, "keep") != NULL };
	const char *from = job_getenv(job, "from"), *to = job_getenv(job, "to");
	struct store *s = job->engine->store;
	struct driver *target;
	size_t i;
	int r;

	if (from == NULL || to == NULL ||
	    (job->n_args == 0) == (job_getenv(job, "all") == NULL))
		return imgd_error_set(err, EINVAL,
		    "migrate needs from, to, and images or all");
	r = store_driver(s, from, &g.from, err);
	if (r >= 0)
		r = store_driver(s, to, &target, err);
	if (r < 0)
		return r;
	if (g.from == target)
		return imgd_error_set(err, EINVAL,
		    "%s and %s are the same driver", from, to);
	g.to = driver_name(target);
	if (job->n_args == 0)
		return migrate_all(job, &g, err);
	for (i = 0; i < job->n_args && r >= 0; i++)
		r = migrate_named(job, &g, job->args[i], err);
	return r;
}
