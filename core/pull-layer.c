/* One layer of a pull: from create to seal. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mount.h"
#include "core/partials.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "core/trusted-xattrs.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/message.h"

#define PIPE_BYTES   (256 << 10)
#define EXIT_WAIT_MS 10000

static const char *
parent_key(const struct pull *p, size_t index)
{
	return index > 0 ? p->layers[index - 1].key : NULL;
}

/* ---- begin ---- */

/* What an unpacker is given; all but write_fd go to it. */
struct layer_fds {
	int stage, tar, recipe, scratch, write;
};

static void
layer_fds_done(struct layer_fds *f)
{
	close_fd(&f->stage);
	close_fd(&f->tar);
	close_fd(&f->recipe);
	close_fd(&f->scratch);
	close_fd(&f->write);
}

/* The directory to fill and the form of its whiteouts. */
static int
open_stage(struct pull *p, struct pull_layer *l, int *ret_fd,
    uint32_t *ret_whiteouts, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct stat st;
	int r;

	if (driver_has_own_dir(p->driver)) {
		r = driver_own_dir(p->driver, layer_made_key(l),
		    &path, ret_whiteouts, err);
	} else {
		*ret_whiteouts = IMGD_WH_DELETE;
		r = driver_get(p->driver, layer_made_key(l), IMGD_GET_TREE,
		    &path, err);
		if (r >= 0)
			l->has_get = true;
	}
	if (r >= 0)
		r = stage_clone(path, ret_fd, err);
	if (r < 0)
		return r;
	if (fstat(*ret_fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	l->stage_dev = st.st_dev;
	return 0;
}

static int
open_layer_fds(struct pull *p, struct pull_layer *l, struct layer_fds *f,
    uint32_t *ret_whiteouts, struct imgd_error **err)
{
	int fds[2], r;

	r = open_stage(p, l, &f->stage, ret_whiteouts, err);
	if (r >= 0)
		r = store_open_recipe(p->engine->store, layer_made_key(l),
		    O_RDWR | O_CREAT | O_TRUNC, &f->recipe, err);
	if (r >= 0)
		r = store_open_scratch(p->engine->store, &f->scratch, err);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	f->tar = fds[0];
	f->write = fds[1];
	/* Only fewer switches; the default does as well. */
	(void)fcntl(f->write, F_SETPIPE_SZ, PIPE_BYTES);
	return 0;
}

static int
order_blob(struct pull *p, size_t index, int write_fd, struct imgd_error **err)
{
	static const struct descriptor none = { .digest = "" };
	cleanup(partial_done) struct partial spool = PARTIAL_INIT;
	const struct descriptor *d = p->layers[index].blob;
	struct message m;
	size_t i;

	if (d == NULL)
		d = &none;
	message_init(&m, PULLER_FETCH);
	message_put_u32(&m, (uint32_t)index);
	message_put_str(&m, d->digest);
	message_put_u64(&m, d->size_bytes);
	message_put_str(&m, d->media_type);
	message_put_u32(&m, (uint32_t)(d->n_urls < 16 ? d->n_urls : 16));
	for (i = 0; i < d->n_urls && i < 16; i++)
		message_put_str(&m, d->urls[i]);
	message_put_fd(&m, write_fd);
	layer_put_spool(p, index, &m, &spool);
	return message_send(p->source_sock, &m, err);
}

static int
start_unpacker(struct pull *p, size_t index, const struct layer_fds *f,
    uint32_t whiteouts, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	struct message m;
	int r;

	r = engine_spawn(p->engine, SPAWN_UNPACKER, &l->sock, &l->pidfd, err);
	if (r < 0)
		return r;
	message_init(&m, UNPACK_START);
	message_put_u32(&m, whiteouts);
	message_put_u32(&m, index == 0);
	message_put_fd(&m, f->stage);
	message_put_fd(&m, f->tar);
	message_put_fd(&m, f->recipe);
	message_put_fd(&m, f->scratch);
	return message_send(l->sock, &m, err);
}

int
layer_begin(struct pull *p, size_t index, struct imgd_error **err)
{
	cleanup(layer_fds_done) struct layer_fds f = { -EBADF, -EBADF, -EBADF,
		-EBADF, -EBADF };
	struct pull_layer *l = &p->layers[index];
	uint32_t whiteouts = IMGD_WH_DELETE;
	int r = 0;

	if (l->is_repair)
		r = layer_repair_begin(p, index, parent_key(p, index), err);
	else if (l->is_takeover)
		r = driver_remove(p->driver, l->key, err);
	if (r >= 0)
		r = driver_create(p->driver, layer_made_key(l),
		    parent_key(p, index), err);
	if (r < 0)
		return r;
	l->state = LAYER_RUNNING;
	FAIL_POINT("pull-layer-created");
	r = open_layer_fds(p, l, &f, &whiteouts, err);
	if (r >= 0)
		r = start_unpacker(p, index, &f, whiteouts, err);
	if (r >= 0)
		r = order_blob(p, index, f.write, err);
	return r;
}

/* ---- the unpacker's messages ---- */

static int
take_need_parent(struct pull *p, size_t index, struct message *m,
    struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];

	if (index == 0 || l->wants_parent || !driver_has_own_dir(p->driver))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unpacker: asked for a parent it has");
	l->wants_parent = true;
	l->wants_root_alone = message_get_u32(m) != 0;
	return message_end(m, err);
}

/* Trusted attributes are set for the unpacker, which lacks the right. */
static int
take_trusted(struct pull_layer *l, struct message *m, struct imgd_error **err)
{
	struct message out;
	int r = m->type == UNPACK_SET_TRUSTED
	    ? trusted_set(m, l->stage_dev, err)
	    : trusted_match(m, l->stage_dev, err);

	if (r < 0)
		return r;
	message_init(&out, UNPACK_TRUSTED_SET);
	return message_send(l->sock, &out, err);
}

static int
take_unpacked(struct pull_layer *l, struct message *m, struct imgd_error **err)
{
	const char *diff_id = message_get_str(m);
	int r;

	l->tar_bytes = message_get_u64(m);
	l->content_bytes = message_get_u64(m);
	(void)message_get_u64(m);
	r = message_end(m, err);
	if (r < 0)
		return r;
	if (l->diff_id[0] == '\0' && digest_is_valid(diff_id))
		memcpy(l->diff_id, diff_id, DIGEST_STR_SIZE);
	if (strcmp(diff_id, l->diff_id) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "diff_id mismatch: the config says %s, the tar has %s",
		    l->diff_id, digest_is_valid(diff_id) ? diff_id : "none");
	l->is_unpacked = true;
	return 0;
}

int
layer_hear(struct pull *p, size_t index, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, 0);
	r = message_recv(l->sock, PROTOCOL_MAX_BYTES + LIMIT_XATTRS_BYTES, &m,
	    err);
	if (r < 0)
		return r;
	if (r == 0) {
		close_fd(&l->sock);
		return l->is_unpacked ? 0
				      : imgd_error_set(err, EPIPE,
					    "the unpacker died");
	}
	if (m.type == WORKER_FAILED)
		return message_get_error(&m, err);
	if (l->is_unpacked || (m.type == WORKER_READY) == l->is_ready)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unpacker: unexpected message %u", (unsigned int)m.type);
	switch (m.type) {
	case WORKER_READY:
		l->is_ready = true;
		return message_end(&m, err);
	case UNPACK_NEED_PARENT:
		return take_need_parent(p, index, &m, err);
	case UNPACK_SET_TRUSTED:
	case UNPACK_MATCH_TRUSTED:
		return take_trusted(l, &m, err);
	case UNPACK_DONE:
		return take_unpacked(l, &m, err);
	default:
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unpacker: unexpected message %u", (unsigned int)m.type);
	}
}

int
layer_give_parent(struct pull *p, size_t index, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	cleanup_close int tree_fd = -EBADF;
	cleanup_free char *path = NULL;
	struct message m;
	uint32_t whiteouts;
	int r;

	/* Each layer's own directory has the root's metadata, and no mount is
	 * needed for that; a layer's tar hardly ever has an entry for it. */
	if (l->wants_root_alone)
		r = driver_own_dir(p->driver, parent_key(p, index), &path,
		    &whiteouts, err);
	else
		r = driver_get(p->driver, parent_key(p, index), IMGD_GET_TREE,
		    &path, err);
	if (r < 0)
		return r;
	l->has_parent_get = !l->wants_root_alone;
	r = tree_clone(path, &tree_fd, err);
	if (r < 0)
		return r;
	l->has_parent = true;
	message_init(&m, UNPACK_PARENT);
	message_put_fd(&m, tree_fd);
	return message_send(l->sock, &m, err);
}

/* ---- the end ---- */

static int
put_all(struct pull *p, size_t index, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	int r = 0;

	if (l->has_parent_get) {
		l->has_parent_get = false;
		r = driver_put(p->driver, parent_key(p, index), IMGD_GET_TREE,
		    err);
	}
	if (l->has_get) {
		l->has_get = false;
		if (r >= 0)
			r = driver_put(p->driver, layer_made_key(l),
			    IMGD_GET_TREE, err);
		else
			(void)driver_put(p->driver, layer_made_key(l),
			    IMGD_GET_TREE, NULL);
	}
	return r;
}

int
layer_complete(struct pull *p, size_t index, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	int r;

	/* An end of file alone is no end of layer: both must have counted
	 * the same bytes. */
	if (!p->source->gives_tars && p->legacy == NULL &&
	    l->blob_bytes != l->blob->size_bytes)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "the blob has %ju bytes, the manifest says %ju",
		    (uintmax_t)l->blob_bytes, (uintmax_t)l->blob->size_bytes);
	if (l->fetched_tar_bytes != l->tar_bytes)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the %s sent %ju bytes, the unpacker read %ju",
		    p->source->name, (uintmax_t)l->fetched_tar_bytes,
		    (uintmax_t)l->tar_bytes);
	close_fd(&l->sock);
	worker_wait(&l->pidfd, EXIT_WAIT_MS);
	r = put_all(p, index, err);
	if (r < 0)
		return r;
	l->state = LAYER_UNPACKED;
	FAIL_POINT("pull-layer-unpacked");
	return 0;
}

int
layer_seal(struct pull *p, size_t index, struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	struct engine *e = p->engine;
	int r = driver_seal(p->driver, layer_made_key(l), err);

	if (r >= 0 && l->is_repair)
		r = layer_repair(p, index, parent_key(p, index), err);
	if (r < 0)
		return r;
	FAIL_POINT("pull-layer-sealed");
	l->state = LAYER_SEALED;
	pthread_mutex_lock(&e->mutex);
	l->flight->content_bytes = l->content_bytes;
	l->flight->tar_bytes = l->tar_bytes;
	l->flight->state = FLIGHT_SEALED;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->mutex);
	return 0;
}

void
layer_abort(struct pull *p, size_t index)
{
	struct pull_layer *l = &p->layers[index];

	close_fd(&l->sock);
	worker_end(&l->pidfd);
	(void)put_all(p, index, NULL);
}
