/*
 * The adopter: the worker that reads another engine's directory.
 *
 * It lists the images there, or is the source of one image's pull: then one
 * thread reads the engine's messages, and each order has a thread that writes
 * its layer's tar into the pipe that came with it.
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adopt/adopt.h"
#include "core/confine.h"
#include "core/leave.h"
#include "core/orders.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/message.h"
#include "registry/manifest.h"
#include "registry/session.h"

struct adopter {
	struct orders orders;
	int dir_fd;
	int mounter_sock; /* -EBADF: there is none */
	char *driver, *id;
	struct adopt *adopt;
	struct adopt_found *found;
	pthread_mutex_t mounter_mutex; /* from a question to its answer */
};

/* ---- layers ---- */

/* One whose bytes are counted as they pass. */
struct passing {
	struct order *order;
	struct imgd_sink *to;
	uint64_t bytes;
};

static int
pass_tar(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	struct passing *p = ctx;
	int r = p->to->write(p->to->ctx, buf, len, err);

	if (r < 0)
		return r;
	p->bytes += len;
	order_progress(p->order, p->bytes);
	return 0;
}

static int
write_layer(void *ctx, uint32_t layer, struct order *o,
    struct imgd_sink *sink, struct order_counts *ret, struct imgd_error **err)
{
	const struct adopter *a = ctx;
	struct passing p = { o, sink, 0 };
	struct imgd_sink counting = { sizeof(counting), &p, pass_tar };
	int r = adopt_write_layer(a->found, layer, &counting, &ret->tar_bytes,
	    err);

	ret->blob_bytes = ret->tar_bytes;
	return r;
}

static const struct orders_ops ops = { .write_layer = write_layer };

/* ---- layers on devices ---- */

static int
ask_mounter(struct adopter *a, const char *dir, struct message *answer,
    struct imgd_error **err)
{
	struct message m;
	int r;

	message_init(&m, MOUNTER_OPEN);
	message_put_str(&m, dir);
	pthread_mutex_lock(&a->mounter_mutex);
	r = message_send(a->mounter_sock, &m, err);
	if (r >= 0)
		r = message_recv(a->mounter_sock, PROTOCOL_MAX_BYTES, answer,
		    err);
	pthread_mutex_unlock(&a->mounter_mutex);
	return r == 0 ? imgd_error_set(err, EPIPE, "the mounter died") : r;
}

static int
open_on_device(void *ctx, const char *dir, bool *ret_is_unclean,
    struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	cleanup_close int fd = -EBADF;
	bool is_unclean;
	int r;

	message_init(&m, 0);
	r = ask_mounter(ctx, dir, &m, err);
	if (r < 0)
		return r;
	if (m.type == MOUNTER_FAILED)
		return message_get_error(&m, err);
	if (m.type != MOUNTER_TREE)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "mounter: unexpected message %u", (unsigned int)m.type);
	is_unclean = message_get_u32(&m) != 0;
	fd = message_get_fd(&m);
	r = message_end(&m, err);
	if (r < 0)
		return r;
	*ret_is_unclean = is_unclean;
	return take_fd(&fd);
}

/* ---- documents ---- */

static int
send_doc(struct adopter *a, uint32_t kind, const char *digest,
    const void *data, size_t len, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_DOC);
	message_put_u32(&m, kind);
	message_put_str(&m, "");
	message_put_str(&m, digest);
	message_put_bytes(&m, data, len);
	return teller_send(&a->orders.teller, &m, err);
}

/* Whether the manifest is that of this very config: others, as images of old
 * registries have, are no loss. */
static bool
manifest_fits(const struct adopter *a)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	cleanup(manifest_freep) struct manifest *m = NULL;
	const struct adopt_found *f = a->found;

	return f->manifest != NULL &&
	    manifest_parse("", f->manifest, f->manifest_len, &m, NULL) >= 0 &&
	    m->kind == MANIFEST_IMAGE &&
	    strcmp(m->config.digest, a->id) == 0 &&
	    m->config.size_bytes == f->config_len &&
	    image_config_parse(f->config, f->config_len, &c, NULL) >= 0 &&
	    manifest_check_config(m, c, NULL) >= 0;
}

static int
send_resolved(struct adopter *a, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_RESOLVED);
	message_put_str(&m, "");
	return teller_send(&a->orders.teller, &m, err);
}

static int
send_image(struct adopter *a, struct imgd_error **err)
{
	struct adopt_found *f;
	struct message m;
	size_t i;
	int r;

	r = adopt_find(a->adopt, a->driver, a->id, &a->found, err);
	if (r < 0)
		return r;
	f = a->found;
	if (manifest_fits(a))
		r = send_doc(a, REGISTRY_DOC_TOP, f->manifest_digest,
		    f->manifest, f->manifest_len, err);
	if (r >= 0)
		r = send_doc(a, REGISTRY_DOC_CONFIG, a->id, f->config,
		    f->config_len, err);
	if (r < 0)
		return r;
	/* Unknown, rather than those of the manifest's blobs. */
	message_init(&m, PULLER_SIZES);
	message_put_u32(&m, (uint32_t)f->n_layers);
	for (i = 0; i < f->n_layers; i++)
		message_put_u64(&m, 0);
	r = teller_send(&a->orders.teller, &m, err);
	return r < 0 ? r : send_resolved(a, err);
}

/* ---- the list ---- */

/* One that is too long for a name is cut, and no valid name either. */
static int
send_name(struct adopter *a, const char *name, struct imgd_error **err)
{
	struct message m;

	message_init(&m, ADOPT_NAME);
	message_put_bytes(&m, name, strnlen(name, LIMIT_REF_BYTES + 1));
	return teller_send(&a->orders.teller, &m, err);
}

static int
send_list(struct adopter *a, struct imgd_error **err)
{
	cleanup(adopt_images_done) struct adopt_images images = { NULL, 0 };
	struct message m;
	size_t i, k;
	int r;

	r = adopt_list(a->adopt, &images, err);
	for (i = 0; r >= 0 && i < images.n; i++) {
		const struct adopt_image *img = &images.items[i];

		message_init(&m, ADOPT_IMAGE);
		message_put_str(&m, img->id);
		message_put_str(&m, img->driver);
		message_put_u32(&m, img->is_step);
		r = teller_send(&a->orders.teller, &m, err);
		for (k = 0; r >= 0 && k < img->n_names; k++)
			r = send_name(a, img->names[k], err);
	}
	return r < 0 ? r : send_resolved(a, err);
}

/* ---- start ---- */

static int
take_start(struct adopter *a, struct message *m, struct imgd_error **err)
{
	bool has_mounter;

	if (m->type != ADOPT_START)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	a->orders.max_threads = message_get_u32(m);
	a->driver = strdup(message_get_str(m));
	a->id = strdup(message_get_str(m));
	has_mounter = message_get_u32(m) != 0;
	a->dir_fd = message_get_fd(m);
	if (has_mounter)
		a->mounter_sock = message_get_fd(m);
	if (a->orders.max_threads < 1 ||
	    a->orders.max_threads > ORDERS_MAX_THREADS)
		m->is_bad = true;
	if (a->driver == NULL || a->id == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return message_end(m, err);
}

static int
serve(struct adopter *a, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, 0);
	r = message_recv(a->orders.teller.sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r <= 0)
		return r;
	r = take_start(a, &m, err);
	if (r >= 0)
		r = adopt_open(a->dir_fd, &a->adopt, err);
	if (r < 0)
		return r;
	if (adopt_is_live(a->adopt))
		return imgd_error_set(err, EBUSY,
		    "a %s daemon is at work in it; stop that first",
		    adopt_engine(a->adopt));
	if (a->mounter_sock >= 0)
		adopt_set_mounter(a->adopt, open_on_device, a);
	if (a->id[0] == '\0')
		return send_list(a, err);
	r = send_image(a, err);
	if (r < 0)
		return r;
	a->orders.n_layers = a->found->n_layers;
	return orders_serve(&a->orders, err);
}

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	struct adopter a = { .orders = { .ops = &ops },
		.dir_fd = -EBADF,
		.mounter_sock = -EBADF };
	struct message m;

	(void)what;
	/* One arena: a thread each would cost memory of its own. */
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 128 << 10);
	a.orders.ctx = &a;
	orders_init(&a.orders, sock);
	(void)pthread_mutex_init(&a.mounter_mutex, NULL);
	if (confine_enter(CONFINE_ADOPTER, -1, &err) < 0 ||
	    serve(&a, &err) < 0) {
		message_init(&m, PULLER_FAILED);
		message_put_error(&m, err);
		(void)teller_send(&a.orders.teller, &m, NULL);
		/* Threads may still run: leave without their teardown. */
		leave(1);
	}
	leave(0);
}
