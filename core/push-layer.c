/* One layer of a push: found there, or packed, compressed and uploaded. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/protocol.h"
#include "core/push.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "tagstore/sources.h"

#define MAX_MOUNTS 3
/* Below it, an upload that broke is not worth a row. */
#define MIN_MARK_BYTES (1u << 20)

static const char *
label(const struct push *p, size_t i, char buf[13])
{
	(void)snprintf(buf, 13, "%.12s",
	    digest_hex(p->image.layers[i].diff_id));
	return buf;
}

/* ---- what is there already ---- */

static void
add_candidate(struct push_layer *l, const char *digest, uint64_t size_bytes)
{
	struct layer_blob *b = &l->candidates[l->n_candidates];
	size_t i;

	for (i = 0; i < l->n_candidates; i++)
		if (strcmp(l->candidates[i].digest, digest) == 0)
			return;
	if (l->n_candidates == PUSH_MAX_CANDIDATES)
		return;
	memcpy(b->digest, digest, DIGEST_STR_SIZE);
	b->size_bytes = size_bytes;
	l->n_candidates++;
}

/* The blob that the layer came as is the first: with it the image's manifest
 * stays what it is. */
static int
list_candidates(struct push *p, size_t i, struct imgd_error **err)
{
	const struct image_layer *il = &p->image.layers[i];
	struct layer_blob known[PUSH_MAX_CANDIDATES];
	struct push_layer *l = &p->layers[i];
	size_t j, n = 0;
	int r;

	if (il->blob_digest[0] != '\0')
		add_candidate(l, il->blob_digest, il->size_bytes);
	r = tagstore_layer_blobs(p->engine->store->tags, il->diff_id,
	    p->ref.domain, push_format_name(p->format), PUSH_MAX_CANDIDATES,
	    known, &n, err);
	for (j = 0; j < n; j++)
		add_candidate(l, known[j].digest, known[j].size_bytes);
	return r;
}

static int
send_find(struct push *p, size_t i, struct imgd_error **err)
{
	struct push_layer *l = &p->layers[i];
	const char *digest = l->candidates[l->candidate].digest;
	char *from[MAX_MOUNTS + 1] = { NULL };
	struct message m;
	size_t j, n = 0, n_others = 0;
	int r;

	r = tagstore_sources(p->engine->store->tags, digest, p->ref.domain,
	    MAX_MOUNTS, from, &n, err);
	message_init(&m, PUSHER_FIND);
	message_put_u32(&m, (uint32_t)i);
	message_put_str(&m, digest);
	for (j = 0; j < n; j++)
		n_others += strcmp(from[j], p->ref.path) != 0;
	message_put_u32(&m, (uint32_t)n_others);
	for (j = 0; j < n; j++) {
		if (strcmp(from[j], p->ref.path) != 0)
			message_put_str(&m, from[j]);
		free(from[j]);
	}
	if (r < 0) {
		message_done(&m);
		return r;
	}
	l->state = PUSH_FINDING;
	return message_send(p->sock, &m, err);
}

static int start_upload(struct push *p, size_t i, struct imgd_error **err);

/* Ask for the next candidate; if there is none, send the layer. */
static int
find_next(struct push *p, size_t i, struct imgd_error **err)
{
	struct push_layer *l = &p->layers[i];

	return l->candidate < l->n_candidates ? send_find(p, i, err)
					      : start_upload(p, i, err);
}

static const char *
own_suffix(const struct push *p)
{
	return p->format == DEFLATE_ZSTD ? "+zstd" : "+gzip";
}

static int
take_found(struct push *p, size_t i, struct message *m,
    struct imgd_error **err)
{
	struct push_layer *l = &p->layers[i];
	const struct layer_blob *b = &l->candidates[l->candidate++];
	uint32_t found = message_get_u32(m);
	uint64_t size = message_get_u64(m);
	const char *from = message_get_str(m);
	cleanup_free char *text = NULL;
	char id[13];
	int r = message_end(m, err);

	if (r < 0)
		return r;
	/* One of another size cannot be it. */
	if (found == PUSHER_MISSING || (size != 0 && size != b->size_bytes))
		return find_next(p, i, err);
	memcpy(l->digest, b->digest, DIGEST_STR_SIZE);
	l->size_bytes = b->size_bytes;
	if (strcmp(b->digest, p->image.layers[i].blob_digest) != 0)
		l->suffix = own_suffix(p);
	if (found == PUSHER_MOUNTED &&
	    asprintf(&text, "Mounted from %s", from) < 0)
		text = NULL;
	push_show(p, label(p, i, id),
	    text != NULL ? text : "Layer already exists", 0, 0);
	l->state = PUSH_DONE;
	return 0;
}

/* ---- upload ---- */

static struct upload_key
upload_key(const struct push *p, size_t i)
{
	return (struct upload_key) { .registry = p->ref.domain,
		.repository = p->ref.path,
		.diff_id = p->image.layers[i].diff_id,
		.format = push_format_name(p->format) };
}

/* Send m, with the tar behind what is in it already. */
static int
send_tar(struct push *p, size_t i, struct message *m, struct imgd_error **err)
{
	struct packing *k = &p->layers[i].packing;
	cleanup_close int tar_fd = -EBADF;
	int r;

	packing_done(k);
	r = packing_start(k, p->engine, p->driver, p->hold.layers[i].key,
	    /* is_tree= */ false, &tar_fd, err);
	if (r < 0) {
		message_done(m);
		return r;
	}
	message_put_fd(m, tar_fd);
	return message_send(p->sock, m, err);
}

static int
send_tar_again(struct push *p, size_t i, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PUSHER_TAR);
	message_put_u32(&m, (uint32_t)i);
	return send_tar(p, i, &m, err);
}

static int
start_upload(struct push *p, size_t i, struct imgd_error **err)
{
	cleanup(upload_row_done) struct upload_row row = { 0 };
	cleanup_close int spool_fd = -EBADF;
	struct push_layer *l = &p->layers[i];
	struct upload_key key = upload_key(p, i);
	struct message m;
	char id[13];
	int r;

	r = store_open_scratch(p->engine->store, &spool_fd, err);
	if (r < 0)
		return r;
	(void)tagstore_upload(p->engine->store->tags, &key, &row, NULL);
	push_show(p, label(p, i, id), "Pushing", 0,
	    p->hold.layers[i].tar_bytes);
	message_init(&m, PUSHER_UPLOAD);
	message_put_u32(&m, (uint32_t)i);
	message_put_u32(&m, (uint32_t)p->format);
	/* What broke before may break again. */
	message_put_u32(&m, p->in_pieces || row.location != NULL);
	message_put_str(&m, row.location);
	message_put_u64(&m, row.bytes);
	message_put_str(&m, row.digest);
	message_put_fd(&m, spool_fd);
	l->state = PUSH_SENDING;
	return send_tar(p, i, &m, err);
}

/* All was sent: it is kept only if it is what the config says. */
static int
take_sent(struct push *p, size_t i, struct message *m, struct imgd_error **err)
{
	const char *want = p->image.layers[i].diff_id, *diff_id, *digest;
	struct push_layer *l = &p->layers[i];
	struct message out;
	int r;

	diff_id = message_get_str(m);
	(void)message_get_u64(m);
	digest = message_get_str(m);
	l->size_bytes = message_get_u64(m);
	r = message_end(m, err);
	if (r < 0)
		return r;
	r = packing_wait(&l->packing, want, err);
	if (r < 0)
		return r;
	if (strcmp(diff_id, want) != 0 || !digest_is_valid(digest))
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "diff_id mismatch: the config says %s, the pusher read %s",
		    want, diff_id);
	memcpy(l->digest, digest, DIGEST_STR_SIZE);
	message_init(&out, PUSHER_COMMIT);
	message_put_u32(&out, (uint32_t)i);
	return message_send(p->sock, &out, err);
}

/* A failure only costs the next push an upload from the beginning. */
static int
take_mark(struct push *p, size_t i, struct message *m, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct tagstore *tags = p->engine->store->tags;
	struct upload_key key = upload_key(p, i);
	struct upload_row row = { 0 };
	const char *location = message_get_str(m), *digest;
	int r;

	row.bytes = message_get_u64(m);
	digest = message_get_str(m);
	r = message_end(m, err);
	if (r < 0 || p->hold.layers[i].tar_bytes < MIN_MARK_BYTES)
		return r;
	if (digest_is_valid(digest))
		memcpy(row.digest, digest, DIGEST_STR_SIZE);
	if (*location == '\0') {
		r = tagstore_upload_drop(tags, &key, &why);
	} else {
		row.location = (char *)(uintptr_t)location;
		r = tagstore_upload_mark(tags, &key, &row, &why);
	}
	if (r < 0)
		log_warn("%s, ignoring", imgd_error_msg(why));
	return 0;
}

static int
take_done(struct push *p, size_t i, struct message *m, struct imgd_error **err)
{
	struct push_layer *l = &p->layers[i];
	struct upload_key key = upload_key(p, i);
	int r = message_end(m, err);
	char id[13];

	if (r < 0)
		return r;
	if (p->hold.layers[i].tar_bytes >= MIN_MARK_BYTES)
		(void)tagstore_upload_drop(p->engine->store->tags, &key,
		    NULL);
	l->suffix = own_suffix(p);
	l->state = PUSH_DONE;
	packing_done(&l->packing);
	push_show(p, label(p, i, id), "Pushed", 0, 0);
	return 0;
}

/* ---- what the pusher says ---- */

static int
take_of_upload(struct push *p, size_t i, struct message *m,
    struct imgd_error **err)
{
	struct push_layer *l = &p->layers[i];
	char id[13];

	switch (m->type) {
	case PUSHER_PROGRESS:
		push_show(p, label(p, i, id), "Pushing", message_get_u64(m),
		    p->hold.layers[i].tar_bytes);
		return 0;
	case PUSHER_MARK:
		return take_mark(p, i, m, err);
	case PUSHER_AGAIN:
		return send_tar_again(p, i, err);
	case PUSHER_SENT:
		return take_sent(p, i, m, err);
	case PUSHER_DONE:
		if (l->digest[0] != '\0')
			return take_done(p, i, m, err);
		/* fall through */
	default:
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "pusher: unexpected message %u", (unsigned int)m->type);
	}
}

int
push_layer_take(struct push *p, size_t i, struct message *m,
    struct imgd_error **err)
{
	struct push_layer *l = &p->layers[i];

	if (l->state == PUSH_FINDING && m->type == PUSHER_FOUND)
		return take_found(p, i, m, err);
	if (l->state == PUSH_SENDING)
		return take_of_upload(p, i, m, err);
	return imgd_error_set(err, IMGD_E_PROTOCOL,
	    "pusher: unexpected message %u", (unsigned int)m->type);
}

int
push_layer_begin(struct push *p, size_t i, struct imgd_error **err)
{
	int r = list_candidates(p, i, err);

	return r < 0 ? r : find_next(p, i, err);
}
