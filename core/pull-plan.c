/* From the source's documents to rows: what there is to do. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hear.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/session.h"

/* What the next document must be. */
struct expectation {
	char digest[DIGEST_STR_SIZE]; /* "" = any */
	uint64_t size_bytes;
	bool is_config;
	unsigned int n_docs;
};

static int
keep_bytes(char **to, size_t *to_len, const void *data, size_t len,
    struct imgd_error **err)
{
	char *copy = malloc(len + 1);

	if (copy == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	memcpy(copy, data, len);
	copy[len] = '\0';
	free(*to);
	*to = copy;
	*to_len = len;
	return 0;
}

static void
expect(struct expectation *x, const struct descriptor *d, bool is_config)
{
	memcpy(x->digest, d->digest, DIGEST_STR_SIZE);
	x->size_bytes = d->size_bytes;
	x->is_config = is_config;
}

int
pull_keep_manifest(struct pull *p, const char *media_type, const void *data,
    size_t len, struct imgd_error **err)
{
	p->image.manifest_type = strdup(media_type);
	if (p->image.manifest_type == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return keep_bytes(&p->image.manifest, &p->image.manifest_len, data,
	    len, err);
}

static int
take_manifest(struct pull *p, struct expectation *x, const char *media_type,
    const void *data, size_t len, struct imgd_error **err)
{
	cleanup(manifest_freep) struct manifest *m = NULL;
	const struct descriptor *entry;
	struct platform want;
	bool has_want = p->platform[0] != '\0';
	int r;

	r = manifest_parse(media_type, data, len, &m, err);
	if (r >= 0 && has_want)
		r = platform_parse(p->platform, &want, err);
	if (r < 0)
		return r;
	if (m->kind == MANIFEST_INDEX) {
		r = manifest_select(m, has_want ? &want : NULL, &entry, err);
		if (r >= 0)
			expect(x, entry, false);
		return r;
	}
	expect(x, &m->config, true);
	r = pull_keep_manifest(p, m->media_type, data, len, err);
	p->manifest = take_ptr(&m);
	return r;
}

int
pull_take_config(struct pull *p, const char *digest, const void *data,
    size_t len, struct imgd_error **err)
{
	int r;

	if (p->expected_id[0] != '\0' && strcmp(digest, p->expected_id) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "config: digest mismatch: expected %s, got %s",
		    p->expected_id, digest);
	r = image_config_parse(data, len, &p->config, err);
	/* Where it says nothing the manifest's word is taken. */
	if (r >= 0 && p->platform[0] != '\0')
		r = image_config_check_platform(p->config, p->platform, err);
	if (r >= 0 && p->manifest != NULL)
		r = manifest_check_config(p->manifest, p->config, err);
	if (r >= 0)
		r = keep_bytes(&p->image.config, &p->image.config_len, data,
		    len, err);
	if (r < 0)
		return r;
	if (p->image.manifest_type == NULL)
		p->image.manifest_type = strdup("");
	p->image.id = strdup(digest);
	return p->image.id != NULL && p->image.manifest_type != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

/* The source has checked these too; here it is done by somebody who cannot be
 * talked to from outside. */
static int
take_doc(struct pull *p, struct expectation *x, struct message *m,
    struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	const char *media_type, *claimed;
	const void *data;
	bool is_schema1;
	uint32_t kind;
	size_t len;
	int r;

	kind = message_get_u32(m);
	media_type = message_get_str(m);
	claimed = message_get_str(m);
	data = message_get_bytes(m, &len);
	r = message_end(m, err);
	if (r >= 0)
		r = digest_of(data, len, digest, err);
	if (r < 0)
		return r;
	if (x->n_docs++ > 4 || p->config != NULL || p->legacy != NULL ||
	    strcmp(claimed, digest) != 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: unexpected document %s", p->source->name, digest);
	if (x->n_docs == 1 && kind == REGISTRY_DOC_CONFIG &&
	    p->source->may_lack_manifest)
		x->is_config = true;
	if (x->digest[0] != '\0' && strcmp(digest, x->digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "%s: digest mismatch: expected %s, got %s",
		    x->is_config ? "config" : "manifest", x->digest, digest);
	is_schema1 = !x->is_config && p->source->may_be_legacy &&
	    p->manifest == NULL &&
	    strcmp(media_type, MEDIA_DOCKER_SCHEMA1) == 0;
	/* Lists count its signatures, which are not here. */
	if (x->size_bytes != 0 && x->size_bytes != len && !is_schema1)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "%s: %s has %zu bytes, not %ju",
		    x->is_config ? "config" : "manifest", x->digest, len,
		    (uintmax_t)x->size_bytes);
	if (x->n_docs == 1 && !x->is_config)
		memcpy(p->top_digest, digest, DIGEST_STR_SIZE);
	if (x->is_config)
		return pull_take_config(p, digest, data, len, err);
	if (p->keeps_signatures) {
		r = signed_docs_add(&p->trust.docs, data, len, err);
		if (r < 0)
			return r;
	}
	/* Only the source reads such a manifest; its digest holds it. */
	if (is_schema1) {
		r = legacy_new(p, /* is_schema1= */ true, err);
		return r < 0 ? r : pull_keep_manifest(p, media_type, data,
		    len, err);
	}
	return take_manifest(p, x, media_type, data, len, err);
}

static int
take_unchanged(struct pull *p, struct message *m, struct imgd_error **err)
{
	const char *digest = message_get_str(m);
	int r = message_end(m, err);

	if (r < 0)
		return r;
	if (p->known_digest[0] == '\0' ||
	    strcmp(digest, p->known_digest) != 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: unchanged, but nothing was known", p->source->name);
	memcpy(p->top_digest, digest, DIGEST_STR_SIZE);
	return 1;
}

/* How large the layers' tars are, where no manifest says how large blobs
 * are. */
static int
take_sizes(struct pull *p, struct message *m, struct imgd_error **err)
{
	uint32_t i, n = message_get_u32(m);

	if (p->sizes != NULL || n > LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: unexpected sizes", p->source->name);
	p->sizes = calloc((size_t)n + 1, sizeof(*p->sizes));
	if (p->sizes == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < n; i++)
		p->sizes[i] = message_get_u64(m);
	p->n_sizes = n;
	return message_end(m, err);
}

/* A loader tells of all there is, also who makes one layer again. */
static int
take_signature(struct pull *p, struct message *m, struct imgd_error **err)
{
	const char *text = message_get_str(m);
	const void *payload;
	size_t len;
	int r;

	payload = message_get_bytes(m, &len);
	r = message_end(m, err);
	return r < 0 || !p->keeps_signatures
	    ? r
	    : signature_list_add(&p->trust.signatures, payload, len,
			   text, err);
}

static int
take_signed_doc(struct pull *p, struct message *m, struct imgd_error **err)
{
	const void *data;
	size_t len;
	int r;

	data = message_get_bytes(m, &len);
	r = message_end(m, err);
	return r < 0 || !p->keeps_signatures
	    ? r
	    : signed_docs_add(&p->trust.docs, data, len, err);
}

/* The layer's row of the image. */
int
pull_add_image_layer(struct pull *p, const struct pull_layer *l,
    struct imgd_error **err)
{
	const struct image_layer *known = pull_known_layer(p,
	    (size_t)(l - p->layers));
	struct image_layer *il = &p->image.layers[p->image.n_layers++];
	/* Nobody has checked that a tar came from the blob. */
	bool has_blob = l->blob != NULL && l->blob->digest[0] != '\0' &&
	    !p->source->gives_tars;

	il->diff_id = strdup(l->diff_id);
	il->chain_id = strdup(l->chain_id);
	il->blob_digest = strdup(has_blob ? l->blob->digest
	    : known != NULL		  ? known->blob_digest
					  : "");
	il->media_type = strdup(has_blob ? l->blob->media_type
	    : known != NULL		 ? known->media_type
					 : "");
	il->size_bytes = has_blob ? l->blob->size_bytes
	    : known != NULL	  ? known->size_bytes
				  : 0;
	if (il->diff_id == NULL || il->chain_id == NULL ||
	    il->blob_digest == NULL || il->media_type == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

/* The layers' three digests, from manifest and config. */
static int
name_layers(struct pull *p, struct imgd_error **err)
{
	const char *parent = NULL;
	size_t i, n = p->config->n_diff_ids;
	int r = 0;

	p->layers = calloc(n + 1, sizeof(*p->layers));
	p->image.layers = calloc(n + 1, sizeof(*p->image.layers));
	if (p->layers == NULL || p->image.layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < n && r >= 0; i++) {
		struct pull_layer *l = &p->layers[i];

		l->sock = l->pidfd = -EBADF;
		memcpy(l->diff_id, p->config->diff_ids[i], DIGEST_STR_SIZE);
		l->shown = digest_hex(l->diff_id);
		if (p->manifest != NULL) {
			l->blob = &p->manifest->layers[i];
			l->shown = digest_hex(l->blob->digest);
			l->expected_bytes = l->blob->size_bytes;
		}
		if (i < p->n_sizes)
			l->expected_bytes = p->sizes[i];
		r = digest_chain(parent, l->diff_id, l->chain_id, err);
		if (r < 0)
			break;
		parent = l->chain_id;
		p->n_layers++;
		r = pull_add_image_layer(p, l, err);
	}
	return r;
}

/* A version 1 registry has no documents that could be pinned. */
static int
take_legacy_layer(struct pull *p, const struct expectation *x,
    struct message *m, struct imgd_error **err)
{
	int r = 0;

	if (!p->source->may_be_legacy || p->config != NULL ||
	    (p->legacy == NULL &&
		(x->n_docs > 0 || p->expected_digest[0] != '\0')))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: unexpected layer", p->source->name);
	if (p->legacy == NULL)
		r = legacy_new(p, /* is_schema1= */ false, err);
	return r < 0 ? r : legacy_take_layer(p, m, err);
}

static bool
is_cancelled(void *ctx)
{
	struct pull *p = ctx;

	return atomic_load(&p->is_cancelled);
}

int
pull_hear(struct pull *p, struct message *m, struct imgd_error **err)
{
	return hear(p->source_sock, p->source->name, PROTOCOL_MAX_DOC,
	    is_cancelled, p, m, err);
}

int
pull_resolve(struct pull *p, struct imgd_error **err)
{
	struct expectation x = { .is_config = false };
	int r = 0;

	(void)snprintf(x.digest, sizeof(x.digest), "%s", p->expected_digest);
	for (;;) {
		cleanup(message_done) struct message m;

		message_init(&m, 0);
		r = pull_hear(p, &m, err);
		if (r < 0)
			return r;
		switch (m.type) {
		case PULLER_DOC:
			r = take_doc(p, &x, &m, err);
			if (r < 0)
				return r;
			break;
		case PULLER_SIZES:
			r = take_sizes(p, &m, err);
			if (r < 0)
				return r;
			break;
		case PULLER_RETRYING:
			r = pull_take_retrying(p, &m, err);
			if (r < 0)
				return r;
			break;
		case PULLER_SIGNATURE:
			r = take_signature(p, &m, err);
			if (r < 0)
				return r;
			break;
		case PULLER_SIGNED_DOC:
			r = take_signed_doc(p, &m, err);
			if (r < 0)
				return r;
			break;
		case PULLER_UNCHANGED:
			return take_unchanged(p, &m, err);
		case PULLER_LEGACY_LAYER:
			r = take_legacy_layer(p, &x, &m, err);
			if (r < 0)
				return r;
			break;
		case PULLER_RESOLVED:
			if (p->legacy != NULL)
				return legacy_name_layers(p, err);
			if (p->config == NULL)
				return imgd_error_set(err, IMGD_E_PROTOCOL,
				    "%s: resolved without a config",
				    p->source->name);
			return name_layers(p, err);
		default:
			return hear_unexpected(p->source->name, &m, err);
		}
	}
}

/* ---- the plan ---- */

struct flight *
pull_find_flight(struct engine *e, struct driver *d, const char *chain_id)
{
	struct flight *f;

	for (f = e->flights; f != NULL; f = f->next)
		if (f->driver == d && strcmp(f->chain_id, chain_id) == 0)
			return f;
	return NULL;
}

static void
take_flight(struct pull_layer *l, struct flight *f, enum layer_state state)
{
	l->flight = f;
	l->state = state;
	memcpy(l->key, f->key, sizeof(l->key));
}

/* Join who fetches the layer; false if nobody does. */
static bool
join_flight(struct pull *p, struct pull_layer *l)
{
	struct engine *e = p->engine;
	struct flight *f;

	pthread_mutex_lock(&e->mutex);
	f = pull_find_flight(e, p->driver, l->chain_id);
	if (f != NULL)
		f->n_refs++;
	pthread_mutex_unlock(&e->mutex);
	if (f == NULL)
		return false;
	take_flight(l, f, LAYER_FOREIGN);
	l->is_repair = f->is_repair;
	return true;
}

/* repaired: the row of the layer that is there, but damaged; or NULL. */
static int
begin_flight(struct pull *p, struct pull_layer *l,
    const struct layer_row *repaired, struct imgd_error **err)
{
	struct engine *e = p->engine;
	struct flight *f = calloc(1, sizeof(*f));
	int r = 0;

	if (f == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (repaired != NULL)
		memcpy(f->key, repaired->key, sizeof(f->key));
	else
		r = str_random_key(f->key, err);
	if (r < 0) {
		free(f);
		return r;
	}
	f->is_repair = l->is_repair = repaired != NULL;
	f->driver = p->driver;
	memcpy(f->chain_id, l->chain_id, DIGEST_STR_SIZE);
	f->n_refs = 1;
	pthread_mutex_lock(&e->mutex);
	f->next = e->flights;
	e->flights = f;
	pthread_mutex_unlock(&e->mutex);
	take_flight(l, f, LAYER_WAITING);
	return 0;
}

/*
 * Join who fetches the layer, or find it in the store, or begin a flight.  In
 * this order: what is no longer in flight has come into the store; and nobody
 * else begins one, since plan_mutex is held.
 */
static int
plan_layer(struct pull *p, struct pull_layer *l, struct imgd_error **err)
{
	cleanup(layer_row_done) struct layer_row row = { 0 };
	cleanup_error struct imgd_error *e = NULL;
	int r;

	if (join_flight(p, l))
		return 0;
	r = tagstore_layer(p->engine->store->tags, driver_name(p->driver),
	    l->chain_id, &row, &e);
	if (r == -ENOENT)
		return begin_flight(p, l, NULL, err);
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	if (pull_repairs(p, &row))
		return begin_flight(p, l, &row, err);
	memcpy(l->key, row.key, sizeof(l->key));
	l->state = LAYER_PRESENT;
	return 0;
}

static int
check_depth(struct pull *p, struct imgd_error **err)
{
	uint32_t max = driver_max_depth(p->driver);

	if (p->n_layers > LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "the image has %zu layers, more than %d", p->n_layers,
		    LIMIT_LAYERS);
	if (max != 0 && p->n_layers > max)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "the image has %zu layers, driver %s mounts at most %u",
		    p->n_layers, driver_name(p->driver), (unsigned int)max);
	return 0;
}

int
pull_check_room(struct pull *p, uint64_t need, uint64_t *ret,
    struct imgd_error **err)
{
	int r = store_room(p->engine->store, ret, err);

	if (r >= 0 && need > *ret) {
		char a[32], b[32];

		return imgd_error_set(err, ENOSPC,
		    "%s: no space: the image needs at least %s, %s are free",
		    p->engine->store->root, str_size(need + STORE_RESERVE_BYTES, a),
		    str_size(*ret > 0 ? *ret + STORE_RESERVE_BYTES : 0, b));
	}
	return r;
}

/* A layer is at least about as large unpacked as packed. */
static int
check_space(struct pull *p, struct imgd_error **err)
{
	uint64_t need = 0, room;
	size_t i;

	for (i = 0; i < p->n_layers; i++)
		if (p->layers[i].state == LAYER_WAITING &&
		    __builtin_add_overflow(need, p->layers[i].expected_bytes,
			&need))
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "the layers' sizes make no sense");
	return pull_check_room(p, need, &room, err);
}

static int
commit_intents(struct pull *p, struct imgd_error **err)
{
	cleanup_free struct layer_intent *intents = NULL;
	size_t i;
	int r;

	intents = calloc(p->n_layers + 1, sizeof(*intents));
	if (intents == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < p->n_layers; i++) {
		struct pull_layer *l = &p->layers[i];

		intents[i] = (struct layer_intent) {
			.key = l->key,
			.chain_id = l->chain_id,
			.diff_id = l->diff_id,
			.parent = i > 0 ? p->layers[i - 1].key : NULL,
			.is_new = l->state == LAYER_WAITING && !l->is_repair,
		};
	}
	r = str_random_key(p->id, err);
	if (r >= 0)
		r = tagstore_pull_begin(p->engine->store->tags, p->id,
		    p->label, driver_name(p->driver), intents, p->n_layers,
		    err);
	if (r < 0)
		return r;
	p->has_rows = true;
	FAIL_POINT("pull-planned");
	return 0;
}

int
pull_plan(struct pull *p, struct imgd_error **err)
{
	size_t i;
	int r = check_depth(p, err);

	if (r < 0)
		return r;
	if (p->legacy != NULL)
		return legacy_plan(p, err);
	pthread_mutex_lock(&p->engine->plan_mutex);
	for (i = 0; i < p->n_layers && r >= 0; i++)
		r = plan_layer(p, &p->layers[i], err);
	if (r >= 0)
		r = check_space(p, err);
	if (r >= 0)
		r = commit_intents(p, err);
	/* Nobody may join a flight whose row is not there. */
	if (r < 0)
		pull_release_flights(p, /* is_published= */ false);
	pthread_mutex_unlock(&p->engine->plan_mutex);
	return r;
}
