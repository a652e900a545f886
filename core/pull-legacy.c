/*
 * Images from before there were diff_ids.
 *
 * Their layers are told by names that say nothing of the bytes: a layer gets
 * its diff_id and chain_id once it is unpacked, so the layers come one by one,
 * each on a parent that is known, and the config is made at the end.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hear.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/session.h"
#include "tagstore/legacy.h"

#define LAYER_TYPE "application/vnd.docker.image.rootfs.diff.tar.gzip"

struct legacy_row {
	char id[DIGEST_HEX_LEN + 1];
	struct descriptor blob; /* its digest is "" in version 1 */
	uint64_t told_bytes;    /* 0 = unknown */
};

struct pull_legacy {
	bool is_schema1;
	struct legacy_row *rows;
	struct v1_layer *v1; /* beside rows, for version 1 alone */
	size_t n, n_json_bytes;
};

int
legacy_new(struct pull *p, bool is_schema1, struct imgd_error **err)
{
	p->legacy = calloc(1, sizeof(*p->legacy));
	if (p->legacy == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	p->legacy->is_schema1 = is_schema1;
	return 0;
}

void
legacy_free(struct pull_legacy *legacy)
{
	size_t i;

	if (legacy == NULL)
		return;
	for (i = 0; i < legacy->n; i++) {
		descriptor_done(&legacy->rows[i].blob);
		free((void *)(uintptr_t)legacy->v1[i].json);
	}
	free(legacy->rows);
	free(legacy->v1);
	free(legacy);
}

const struct v1_layer *
legacy_v1_layers(const struct pull *p)
{
	return p->legacy != NULL && !p->legacy->is_schema1 ? p->legacy->v1
							   : NULL;
}

/* ---- what the source tells ---- */

static int
grow(struct pull_legacy *g, struct imgd_error **err)
{
	struct legacy_row *rows;
	struct v1_layer *v1;

	if (g->n >= LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d layers", LIMIT_LAYERS);
	rows = reallocarray(g->rows, g->n + 1, sizeof(*rows));
	if (rows != NULL)
		g->rows = rows;
	v1 = reallocarray(g->v1, g->n + 1, sizeof(*v1));
	if (v1 != NULL)
		g->v1 = v1;
	if (rows == NULL || v1 == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	rows[g->n] = (struct legacy_row) { .told_bytes = 0 };
	v1[g->n] = (struct v1_layer) { .id = NULL };
	g->n++;
	return 0;
}

int
legacy_take_layer(struct pull *p, struct message *m, struct imgd_error **err)
{
	struct pull_legacy *g = p->legacy;
	const char *id = message_get_str(m), *digest = message_get_str(m);
	uint64_t bytes = message_get_u64(m);
	size_t len;
	const void *json = message_get_bytes(m, &len);
	struct legacy_row *row;
	char *copy;
	int r;

	if (!digest_is_hex(id) ||
	    (g->is_schema1 ? !digest_is_valid(digest) : *digest != '\0') ||
	    (g->is_schema1 && len > 0))
		m->is_bad = true;
	r = message_end(m, err);
	if (r < 0)
		return r;
	g->n_json_bytes += len;
	if (g->n_json_bytes > LIMIT_LEGACY_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "the layers' image JSON is longer than %u bytes",
		    LIMIT_LEGACY_BYTES);
	r = grow(g, err);
	if (r < 0)
		return r;
	row = &g->rows[g->n - 1];
	memcpy(row->id, id, sizeof(row->id));
	(void)snprintf(row->blob.digest, sizeof(row->blob.digest), "%s",
	    digest);
	row->told_bytes = bytes;
	row->blob.media_type = strdup(LAYER_TYPE);
	copy = malloc(len + 1);
	if (copy != NULL)
		memcpy(copy, json, len);
	g->v1[g->n - 1].json = copy;
	g->v1[g->n - 1].json_len = len;
	return copy != NULL && row->blob.media_type != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

int
legacy_name_layers(struct pull *p, struct imgd_error **err)
{
	struct pull_legacy *g = p->legacy;
	size_t i;

	if (g->n == 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the image has no layers");
	p->layers = calloc(g->n + 1, sizeof(*p->layers));
	p->image.layers = calloc(g->n + 1, sizeof(*p->image.layers));
	if (p->layers == NULL || p->image.layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < g->n; i++) {
		struct pull_layer *l = &p->layers[i];
		struct legacy_row *row = &g->rows[i];

		g->v1[i].id = row->id;
		l->sock = l->pidfd = -EBADF;
		l->state = LAYER_UNPLANNED;
		l->blob = &row->blob;
		l->shown = g->is_schema1 ? digest_hex(row->blob.digest)
					 : row->id;
		l->expected_bytes = row->told_bytes;
		p->n_layers++;
	}
	return 0;
}

int
legacy_plan(struct pull *p, struct imgd_error **err)
{
	int r = str_random_key(p->id, err);

	if (r >= 0)
		r = tagstore_pull_begin(p->engine->store->tags, p->id,
		    p->label, driver_name(p->driver), NULL, 0, err);
	if (r >= 0)
		p->has_rows = true;
	return r;
}

/* ---- a layer whose chain is known ---- */

static const char *
parent_chain(const struct pull *p, size_t i)
{
	return i > 0 ? p->layers[i - 1].chain_id : NULL;
}

static void
flight_unref(struct engine *e, struct flight *f)
{
	struct flight **link;

	pthread_mutex_lock(&e->mutex);
	if (--f->n_refs == 0) {
		for (link = &e->flights; *link != f; link = &(*link)->next)
			;
		*link = f->next;
		free(f);
	}
	pthread_mutex_unlock(&e->mutex);
}

/*
 * Look for the layer of that chain: in flight (with a reference, in *ret_f) or
 * in the store; plan_mutex is held.  In this order: what leaves the one has
 * come into the other.
 * Returns 1 and its key, or 0.
 */
static int
find_chain(struct pull *p, const char *chain_id, struct flight **ret_f,
    char ret_key[65], struct imgd_error **err)
{
	cleanup(layer_row_done) struct layer_row row = { 0 };
	cleanup_error struct imgd_error *why = NULL;
	struct engine *e = p->engine;
	struct flight *f;
	int r;

	pthread_mutex_lock(&e->mutex);
	f = pull_find_flight(e, p->driver, chain_id);
	if (f != NULL) {
		f->n_refs++;
		memcpy(ret_key, f->key, sizeof(f->key));
	}
	pthread_mutex_unlock(&e->mutex);
	*ret_f = f;
	if (f != NULL)
		return 1;
	r = tagstore_layer(e->store->tags, driver_name(p->driver), chain_id,
	    &row, &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	(void)snprintf(ret_key, 65, "%s", row.key);
	return 1;
}

/* The layer is one that somebody else makes (f) or has made (NULL). */
static void
settle(struct pull *p, size_t i, const char *key, struct flight *f)
{
	struct pull_layer *l = &p->layers[i];

	memcpy(l->key, key, sizeof(l->key));
	l->flight = f;
	l->is_ready = l->is_fetched = l->is_unpacked = false;
	l->wants_parent = l->has_parent = false;
	l->state = f != NULL ? LAYER_FOREIGN : LAYER_PRESENT;
	pull_set_progress(p, i, f != NULL ? "Waiting" : "Already exists", 0,
	    0);
}

/* ---- the plan of one layer ---- */

/* The diff_id of a version 1 layer that has come before under this name, on
 * the very same parent. */
static int
remembered(struct pull *p, size_t i, struct imgd_error **err)
{
	cleanup(layer_row_done) struct layer_row row = { 0 };
	struct tagstore *tags = p->engine->store->tags;
	const struct v1_layer *v1 = &p->legacy->v1[i];
	char chain[DIGEST_STR_SIZE], known[DIGEST_STR_SIZE];
	struct pull_layer *l = &p->layers[i];
	int r;

	r = tagstore_v1_layer(tags, p->registry, v1->id, v1->json,
	    v1->json_len, known, NULL);
	if (r >= 0)
		r = tagstore_layer(tags, driver_name(p->driver), known, &row,
		    NULL);
	if (r < 0 || !digest_is_valid(row.diff_id))
		return 0;
	r = digest_chain(parent_chain(p, i), row.diff_id, chain, err);
	if (r < 0 || strcmp(chain, known) != 0)
		return r;
	memcpy(l->diff_id, row.diff_id, sizeof(l->diff_id));
	memcpy(l->chain_id, chain, sizeof(l->chain_id));
	return 0;
}

/* Fill diff_id and chain_id if what the registry says is enough to know
 * them. */
static int
recognise(struct pull *p, size_t i, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[i];
	struct descriptor *blob = &p->legacy->rows[i].blob;
	const struct image_layer *known = pull_known_layer(p, i);
	uint64_t bytes = 0;
	char diff_id[DIGEST_STR_SIZE];

	if (known != NULL) {
		(void)snprintf(l->diff_id, sizeof(l->diff_id), "%s",
		    known->diff_id);
		return digest_chain(parent_chain(p, i), l->diff_id,
		    l->chain_id, err);
	}
	if (!p->legacy->is_schema1)
		return remembered(p, i, err);
	if (tagstore_blob(p->engine->store->tags, p->registry, blob->digest,
		diff_id, &bytes, NULL) < 0)
		return 0;
	memcpy(l->diff_id, diff_id, sizeof(l->diff_id));
	blob->size_bytes = bytes;
	return digest_chain(parent_chain(p, i), l->diff_id, l->chain_id, err);
}

static int
prepare(struct pull *p, size_t i, struct imgd_error **err)
{
	struct legacy_row *row = &p->legacy->rows[i];
	struct pull_layer *l = &p->layers[i];
	struct engine *e = p->engine;
	struct flight *f;
	int r;

	r = pull_check_room(p, row->told_bytes > 0 ? row->told_bytes : 1,
	    &row->blob.size_bytes, err);
	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = str_random_key(f->key, err);
	if (r >= 0)
		r = tagstore_pull_add(e->store->tags, p->id,
		    driver_name(p->driver), f->key,
		    i > 0 ? p->layers[i - 1].key : NULL, err);
	if (r < 0) {
		free(f);
		return r;
	}
	f->driver = p->driver;
	f->n_refs = 1;
	pthread_mutex_lock(&e->mutex);
	f->next = e->flights;
	e->flights = f;
	pthread_mutex_unlock(&e->mutex);
	l->chain_id[0] = '\0';
	l->flight = f;
	memcpy(l->key, f->key, sizeof(l->key));
	l->state = LAYER_WAITING;
	return 0;
}

static int
plan_locked(struct pull *p, size_t i, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[i];
	struct flight *f = NULL;
	char key[65] = "";
	int r = 0;

	if (l->chain_id[0] != '\0')
		r = find_chain(p, l->chain_id, &f, key, err);
	if (r == 0)
		return prepare(p, i, err);
	if (r > 0)
		r = tagstore_pull_hold(p->engine->store->tags, p->id, key,
		    err);
	if (r < 0) {
		if (f != NULL)
			flight_unref(p->engine, f);
		return r;
	}
	settle(p, i, key, f);
	return 0;
}

int
legacy_plan_layer(struct pull *p, size_t index, struct imgd_error **err)
{
	int r = recognise(p, index, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&p->engine->plan_mutex);
	r = plan_locked(p, index, err);
	pthread_mutex_unlock(&p->engine->plan_mutex);
	return r;
}

/* ---- what was unpacked ---- */

/* What was made is there already: it goes. */
static void
drop_own(struct pull *p, const char *key)
{
	cleanup_error struct imgd_error *why = NULL;
	struct engine *e = p->engine;

	if (engine_remove_layer(e, driver_name(p->driver), key, &why) < 0 ||
	    tagstore_layer_gone(e->store->tags, key, &why) < 0)
		log_warn("%s; removed later, ignoring", imgd_error_msg(why));
}

/* Returns 1 if the layer turned out to be another one. */
static int
identify_locked(struct pull *p, size_t i, const char *chain_id,
    struct imgd_error **err)
{
	struct tagstore *tags = p->engine->store->tags;
	struct pull_layer *l = &p->layers[i];
	struct flight *f = NULL, *own = l->flight;
	char key[65] = "";
	int r;

	r = find_chain(p, chain_id, &f, key, err);
	if (r < 0)
		return r;
	if (r == 0) {
		r = tagstore_layer_identify(tags, l->key, l->diff_id, chain_id,
		    err);
		if (r < 0)
			return r;
		pthread_mutex_lock(&p->engine->mutex);
		memcpy(own->chain_id, chain_id, sizeof(own->chain_id));
		pthread_mutex_unlock(&p->engine->mutex);
		return 0;
	}
	r = tagstore_pull_swap(tags, p->id, l->key, key, err);
	if (r < 0) {
		if (f != NULL)
			flight_unref(p->engine, f);
		return r;
	}
	flight_unref(p->engine, own);
	settle(p, i, key, f);
	return 1;
}

int
legacy_identify(struct pull *p, size_t index, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	char chain_id[DIGEST_STR_SIZE], key[65];
	int r;

	p->legacy->rows[index].blob.size_bytes = l->blob_bytes;
	/* It was somebody else's, and named. */
	if (l->chain_id[0] != '\0')
		return 0;
	r = digest_chain(parent_chain(p, index), l->diff_id, chain_id, err);
	if (r < 0)
		return r;
	memcpy(key, l->key, sizeof(key));
	pthread_mutex_lock(&p->engine->plan_mutex);
	r = identify_locked(p, index, chain_id, err);
	pthread_mutex_unlock(&p->engine->plan_mutex);
	if (r < 0)
		return r;
	memcpy(l->chain_id, chain_id, sizeof(l->chain_id));
	if (r > 0)
		drop_own(p, key);
	return 0;
}

/* ---- the config ---- */

static int
ask_config(struct pull *p, struct imgd_error **err)
{
	struct message m;
	size_t i;

	message_init(&m, PULLER_CONFIG_WANTED);
	message_put_u32(&m, (uint32_t)p->n_layers);
	for (i = 0; i < p->n_layers; i++)
		message_put_str(&m, p->layers[i].diff_id);
	return message_send(p->source_sock, &m, err);
}

static int
check_diff_ids(struct pull *p, struct imgd_error **err)
{
	size_t i;

	for (i = 0; i < p->n_layers && p->config->n_diff_ids == p->n_layers &&
	     strcmp(p->config->diff_ids[i], p->layers[i].diff_id) == 0;
	     i++)
		;
	return i == p->n_layers
	    ? 0
	    : imgd_error_set(err, IMGD_E_PROTOCOL,
		  "%s: the config names other layers than have come",
		  p->source->name);
}

static int
take_config(struct pull *p, struct message *m, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	uint32_t kind = message_get_u32(m);
	const char *claimed;
	const void *data;
	size_t len;
	int r;

	(void)message_get_str(m);
	claimed = message_get_str(m);
	data = message_get_bytes(m, &len);
	if (kind != REGISTRY_DOC_CONFIG)
		m->is_bad = true;
	r = message_end(m, err);
	if (r >= 0)
		r = digest_of(data, len, digest, err);
	if (r >= 0 && strcmp(digest, claimed) != 0)
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: unexpected document %s", p->source->name, digest);
	if (r >= 0)
		r = pull_take_config(p, digest, data, len, err);
	return r < 0 ? r : check_diff_ids(p, err);
}

/* The config is not the source's: make it. */
static int
own_config(struct pull *p, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	cleanup_free char *config = NULL;
	int r;

	r = p->source->make_config(p, &config, err);
	if (r >= 0)
		r = digest_of(config, strlen(config), digest, err);
	if (r >= 0)
		r = pull_take_config(p, digest, config, strlen(config), err);
	return r < 0 ? r : check_diff_ids(p, err);
}

static int
hear_config(struct pull *p, struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		int r;

		message_init(&m, 0);
		r = pull_hear(p, &m, err);
		if (r < 0)
			return r;
		if (m.type == PULLER_DOC)
			return take_config(p, &m, err);
		if (m.type == PULLER_RATE) {
			r = pull_take_rate(p, &m, err);
			if (r < 0)
				return r;
			continue;
		}
		return hear_unexpected(p->source->name, &m, err);
	}
}

int
legacy_finish_image(struct pull *p, struct imgd_error **err)
{
	size_t i;
	int r;

	if (p->source->make_config != NULL)
		r = own_config(p, err);
	else if ((r = ask_config(p, err)) >= 0)
		r = hear_config(p, err);
	for (i = 0; r >= 0 && i < p->n_layers; i++)
		r = pull_add_image_layer(p, &p->layers[i], err);
	return r;
}
