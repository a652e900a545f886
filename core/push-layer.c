/* One layer of a push: found there, or packed, compressed and uploaded. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/layer-pack.h"
#include "core/protocol.h"
#include "core/push.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tagstore/sources.h"

#define MAX_MOUNTS 3

static const char *
label(const struct push *p, size_t i, char buf[13])
{
	(void)snprintf(buf, 13, "%.12s",
	    digest_hex(p->image.layers[i].diff_id));
	return buf;
}

/* ---- what is there already ---- */

static int
send_find(struct push *p, const char *digest, struct imgd_error **err)
{
	char *from[MAX_MOUNTS + 1] = { NULL };
	struct message m;
	size_t i, n = 0, n_others = 0;
	int r;

	r = tagstore_sources(p->engine->store->tags, digest, p->ref.domain,
	    MAX_MOUNTS, from, &n, err);
	message_init(&m, PUSHER_FIND);
	message_put_str(&m, digest);
	for (i = 0; i < n; i++)
		n_others += strcmp(from[i], p->ref.path) != 0;
	message_put_u32(&m, (uint32_t)n_others);
	for (i = 0; i < n; i++) {
		if (strcmp(from[i], p->ref.path) != 0)
			message_put_str(&m, from[i]);
		free(from[i]);
	}
	if (r < 0) {
		message_done(&m);
		return r;
	}
	return message_send(p->sock, &m, err);
}

/* 1 if the registry has the blob that the layer came as. */
static int
find(struct push *p, size_t i, struct imgd_error **err)
{
	const struct image_layer *il = &p->image.layers[i];
	cleanup(message_done) struct message m;
	struct push_layer *l = &p->layers[i];
	cleanup_free char *text = NULL;
	char id[13];
	const char *from;
	uint32_t found;
	uint64_t size;
	int r;

	message_init(&m, 0);
	if (il->blob_digest[0] == '\0')
		return 0;
	r = send_find(p, il->blob_digest, err);
	if (r >= 0)
		r = push_hear(p, PROTOCOL_MAX_BYTES, &m, err);
	if (r < 0)
		return r;
	found = message_get_u32(&m);
	size = message_get_u64(&m);
	from = message_get_str(&m);
	if (m.type != PUSHER_FOUND || found > PUSHER_MOUNTED ||
	    message_end(&m, NULL) < 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "pusher: unexpected message %u", (unsigned int)m.type);
	/* One of another size cannot be it. */
	if (found == PUSHER_MISSING ||
	    (size != 0 && size != il->size_bytes))
		return 0;
	memcpy(l->digest, il->blob_digest, DIGEST_STR_SIZE);
	l->size_bytes = il->size_bytes;
	if (found == PUSHER_MOUNTED &&
	    asprintf(&text, "Mounted from %s", from) < 0)
		text = NULL;
	push_show(p, label(p, i, id),
	    text != NULL ? text : "Layer already exists", 0, 0);
	return 1;
}

/* ---- packing beside the upload ---- */

/* One layer on its way, and the packer that writes its tar. */
struct upload {
	struct push *push;
	size_t layer;
	struct packing packing;
};

/* Begin to write the layer's tar; *ret_fd is where to read it. */
static int
pack_start(struct upload *u, int *ret_fd, struct imgd_error **err)
{
	struct push *p = u->push;

	packing_done(&u->packing);
	return packing_start(&u->packing, p->engine, p->driver,
	    p->hold.layers[u->layer].key, /* is_tree= */ false, ret_fd, err);
}

/* ---- upload ---- */

static int
order(struct upload *k, uint32_t type, struct imgd_error **err)
{
	struct push *p = k->push;
	cleanup_close int tar_fd = -EBADF, spool_fd = -EBADF;
	struct message m;
	int r;

	message_init(&m, type);
	if (type == PUSHER_UPLOAD) {
		r = store_open_scratch(p->engine->store, &spool_fd, err);
		if (r < 0)
			return r;
		message_put_u32(&m, (uint32_t)p->format);
		message_put_fd(&m, spool_fd);
	}
	r = pack_start(k, &tar_fd, err);
	if (r < 0)
		return r;
	message_put_fd(&m, tar_fd);
	return message_send(p->sock, &m, err);
}

/* All was sent: it is kept only if it is what the config says. */
static int
take_sent(struct upload *k, struct message *m, struct imgd_error **err)
{
	struct push *p = k->push;
	const char *want = p->image.layers[k->layer].diff_id, *diff_id, *digest;
	struct push_layer *l = &p->layers[k->layer];
	struct message out;
	int r;

	diff_id = message_get_str(m);
	(void)message_get_u64(m);
	digest = message_get_str(m);
	l->size_bytes = message_get_u64(m);
	r = message_end(m, err);
	if (r < 0)
		return r;
	r = packing_wait(&k->packing, want, err);
	if (r < 0)
		return r;
	if (strcmp(diff_id, want) != 0 || !digest_is_valid(digest))
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "diff_id mismatch: the config says %s, the pusher read %s",
		    want, diff_id);
	memcpy(l->digest, digest, DIGEST_STR_SIZE);
	message_init(&out, PUSHER_COMMIT);
	return message_send(p->sock, &out, err);
}

static int
upload(struct upload *k, struct imgd_error **err)
{
	struct push *p = k->push;
	struct push_layer *l = &p->layers[k->layer];
	char id[13];
	int r = order(k, PUSHER_UPLOAD, err);

	(void)label(p, k->layer, id);
	while (r >= 0) {
		cleanup(message_done) struct message m;

		message_init(&m, 0);
		r = push_hear(p, PROTOCOL_MAX_BYTES, &m, err);
		if (r < 0)
			break;
		if (m.type == PUSHER_DONE && l->digest[0] != '\0')
			return message_end(&m, err);
		if (m.type == PUSHER_PROGRESS)
			push_show(p, id, "Pushing", message_get_u64(&m),
			    p->hold.layers[k->layer].tar_bytes);
		else if (m.type == PUSHER_AGAIN)
			r = order(k, PUSHER_TAR, err);
		else if (m.type == PUSHER_SENT)
			r = take_sent(k, &m, err);
		else
			r = imgd_error_set(err, IMGD_E_PROTOCOL,
			    "pusher: unexpected message %u",
			    (unsigned int)m.type);
	}
	return r;
}

int
push_layer(struct push *p, size_t i, struct imgd_error **err)
{
	struct upload k = { .push = p, .layer = i,
		.packing = PACKING_INIT };
	struct push_layer *l = &p->layers[i];
	char id[13];
	size_t j;
	int r;

	/* The same layer twice is one blob. */
	for (j = 0; j < i; j++)
		if (strcmp(p->image.layers[j].diff_id,
			p->image.layers[i].diff_id) == 0) {
			memcpy(l->digest, p->layers[j].digest,
			    DIGEST_STR_SIZE);
			l->size_bytes = p->layers[j].size_bytes;
			l->suffix = p->layers[j].suffix;
			return 0;
		}
	r = find(p, i, err);
	if (r != 0)
		return r < 0 ? r : 0;
	push_show(p, label(p, i, id), "Pushing", 0,
	    p->hold.layers[i].tar_bytes);
	r = upload(&k, err);
	if (r < 0) {
		/* Its reader gone, the packer ends. */
		close_fd(&p->sock);
		worker_end(&p->pidfd);
	}
	packing_done(&k.packing);
	if (r < 0)
		return r;
	l->suffix = p->format == DEFLATE_ZSTD ? "+zstd" : "+gzip";
	push_show(p, id, "Pushed", 0, 0);
	return 0;
}
