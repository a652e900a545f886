/*
 * The loader: the worker that reads image archives.
 *
 * It lists the images of an archive, or is the source of one image's pull:
 * then each order has a thread that writes its layer's tar into the pipe that
 * came with it.
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/stream.h"
#include "core/confine.h"
#include "core/leave.h"
#include "core/orders.h"
#include "core/protocol.h"
#include "core/puller-legacy.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/message.h"
#include "registry/session.h"

struct loader {
	struct orders orders;
	uint32_t mode, index;
	uint64_t max_bytes; /* of a copy */
	bool has_want;
	struct platform want;
	int archive_fd, copy_fd;
	struct image_archive *archive;
	struct archive_stream *stream; /* NULL: it is read in place */
	struct found_image found;
};

/* ---- layers ---- */

static void
progress(void *ctx, uint64_t bytes)
{
	order_progress(ctx, bytes);
}

static int
write_layer(void *ctx, uint32_t layer, struct order *o,
    struct imgd_sink *sink, struct order_counts *ret, struct imgd_error **err)
{
	const struct loader *l = ctx;

	if (l->mode == LOADER_IMPORT)
		return image_archive_pass(l->archive_fd, sink, progress, o,
		    &ret->blob_bytes, &ret->tar_bytes, err);
	if (l->stream != NULL)
		return archive_stream_write(l->stream, layer, sink, progress,
		    o, &ret->blob_bytes, &ret->tar_bytes, err);
	return found_layer_write(&l->found.layers[layer], sink, progress, o,
	    &ret->blob_bytes, &ret->tar_bytes, err);
}

static void
ordered(void *ctx, uint32_t layer)
{
	const struct loader *l = ctx;

	if (l->stream != NULL)
		archive_stream_order(l->stream, layer);
}

/* ---- documents ---- */

static int
tell(void *ctx, struct message *m, struct imgd_error **err)
{
	struct loader *l = ctx;

	return teller_send(&l->orders.teller, m, err);
}

static int
take_skip(struct loader *l, struct message *m, struct imgd_error **err)
{
	uint32_t i, n = message_get_u32(m);

	for (i = 0; i < n && !m->is_bad; i++) {
		uint32_t layer = message_get_u32(m);

		if (layer < l->found.n_layers)
			archive_stream_skip(l->stream, layer);
		else
			m->is_bad = true;
	}
	return message_end(m, err);
}

static int
finish(struct loader *l, struct message *m, struct imgd_error **err)
{
	struct message answer;
	int r = message_end(m, err);

	if (r >= 0)
		r = archive_stream_finish(l->stream, err);
	message_init(&answer, LOADER_FINISHED);
	return r < 0 ? r : tell(l, &answer, err);
}

static int
hear(void *ctx, struct message *m, struct imgd_error **err)
{
	struct loader *l = ctx;

	if (m->type == LOADER_SKIP && l->stream != NULL)
		return take_skip(l, m, err);
	if (m->type == LOADER_FINISH && l->stream != NULL)
		return finish(l, m, err);
	if (m->type != PULLER_CONFIG_WANTED || l->found.legacy == NULL)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	return puller_legacy_config(l->found.legacy, m, tell, l, err);
}

static const struct orders_ops ops = {
	.write_layer = write_layer,
	.ordered = ordered,
	.hear = hear,
};

static int
send_doc(struct loader *l, uint32_t kind, const char *media_type,
    const void *data, size_t len, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	struct message m;
	int r = digest_of(data, len, digest, err);

	if (r < 0)
		return r;
	message_init(&m, PULLER_DOC);
	message_put_u32(&m, kind);
	message_put_str(&m, media_type);
	message_put_str(&m, digest);
	message_put_bytes(&m, data, len);
	return tell(l, &m, err);
}

/* How large the layers are in the archive: as tars, nearly always. */
static int
send_sizes(struct loader *l, struct imgd_error **err)
{
	struct message m;
	size_t i;

	message_init(&m, PULLER_SIZES);
	message_put_u32(&m, (uint32_t)l->found.n_layers);
	for (i = 0; i < l->found.n_layers; i++)
		message_put_u64(&m, l->found.layers[i].file.size);
	return tell(l, &m, err);
}

static int
send_evidence(struct loader *l, const struct signed_docs *docs,
    const struct signature_list *signatures, struct imgd_error **err)
{
	struct message m;
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < docs->n; i++) {
		message_init(&m, PULLER_SIGNED_DOC);
		message_put_bytes(&m, docs->items[i].data,
		    docs->items[i].len);
		r = tell(l, &m, err);
	}
	for (i = 0; r >= 0 && i < signatures->n; i++) {
		const struct signature *s = &signatures->items[i];

		message_init(&m, PULLER_SIGNATURE);
		message_put_str(&m, s->text);
		message_put_bytes(&m, s->payload, s->payload_len);
		r = tell(l, &m, err);
	}
	return r;
}

static int
send_signatures(struct loader *l, struct imgd_error **err)
{
	cleanup(signature_list_done) struct signature_list list = { .n = 0 };
	cleanup(signed_docs_done) struct signed_docs docs = { .n = 0 };
	int r;

	r = image_archive_signatures(l->archive, l->found.id, &docs, &list,
	    err);
	return r < 0 ? r : send_evidence(l, &docs, &list, err);
}

static int
send_resolved(struct loader *l, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_RESOLVED);
	message_put_str(&m, "");
	return tell(l, &m, err);
}

static int
send_image(struct loader *l, struct imgd_error **err)
{
	struct found_image *f = &l->found;
	int r = 0;

	if (l->index >= l->archive->n_images)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the archive changed while it was read");
	r = image_archive_find(l->archive, l->index, f, err);
	if (r < 0)
		return r;
	l->orders.n_layers = f->n_layers;
	if (l->stream != NULL)
		r = archive_stream_take(l->stream, f, err);
	if (r < 0)
		return r;
	if (f->legacy != NULL) {
		r = puller_legacy_tell(f->legacy, tell, l, err);
	} else {
		if (f->manifest != NULL)
			r = send_doc(l, REGISTRY_DOC_TOP, f->manifest_type,
			    f->manifest, f->manifest_len, err);
		if (r >= 0)
			r = send_doc(l, REGISTRY_DOC_CONFIG, "", f->config,
			    f->config_len, err);
		if (r >= 0 && f->manifest != NULL)
			r = send_signatures(l, err);
		if (r >= 0)
			r = send_sizes(l, err);
	}
	return r < 0 ? r : send_resolved(l, err);
}

/* The one layer of a root filesystem. */
static int
send_root(struct loader *l, struct imgd_error **err)
{
	char id[DIGEST_HEX_LEN + 1];
	struct message m;
	int r;

	/* It has to be called something. */
	memset(id, '0', DIGEST_HEX_LEN);
	id[DIGEST_HEX_LEN] = '\0';
	l->orders.n_layers = 1;
	message_init(&m, PULLER_LEGACY_LAYER);
	message_put_str(&m, id);
	message_put_str(&m, "");
	message_put_u64(&m, 0);
	message_put_str(&m, "");
	r = tell(l, &m, err);
	return r < 0 ? r : send_resolved(l, err);
}

/* ---- the list ---- */

/* One that is too long for a name is cut, and no valid name either. */
static int
send_name(struct loader *l, const char *name, struct imgd_error **err)
{
	struct message m;

	message_init(&m, LOADER_NAME);
	message_put_bytes(&m, name, strnlen(name, LIMIT_REF_BYTES + 1));
	return tell(l, &m, err);
}

/* Each image is looked at as a whole, so that an archive that is damaged loads
 * nothing rather than a part. */
static int
list_image(struct loader *l, size_t i, struct imgd_error **err)
{
	const struct archived_image *img = &l->archive->images[i];
	struct found_image f = { .config = NULL };
	struct message m;
	size_t k;
	int r = image_archive_find(l->archive, i, &f, err);

	if (r >= 0) {
		message_init(&m, LOADER_IMAGE);
		message_put_str(&m, f.id);
		message_put_u32(&m, f.manifest != NULL);
		r = tell(l, &m, err);
	}
	for (k = 0; r >= 0 && k < img->n_names; k++)
		r = send_name(l, img->names[k], err);
	found_image_done(&f);
	if (r < 0 && img->n_names > 0)
		(void)imgd_error_prefix(err, "%.200s", img->names[0]);
	return r;
}

static int
send_list(struct loader *l, uint32_t where, struct imgd_error **err)
{
	struct message m;
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < l->archive->n_images; i++)
		r = list_image(l, i, err);
	if (r < 0)
		return r;
	message_init(&m, LOADER_LISTED);
	message_put_u32(&m, where);
	return tell(l, &m, err);
}

/* ---- start ---- */

static int
take_start(struct loader *l, struct message *m, struct imgd_error **err)
{
	const char *platform;
	int r;

	if (m->type != LOADER_START)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	l->mode = message_get_u32(m);
	l->orders.max_threads = message_get_u32(m);
	l->index = message_get_u32(m);
	l->max_bytes = message_get_u64(m);
	platform = message_get_str(m);
	l->has_want = *platform != '\0';
	l->archive_fd = message_get_fd(m);
	if (l->mode == LOADER_LIST || l->mode == LOADER_STREAM)
		l->copy_fd = message_get_fd(m);
	if (l->orders.max_threads < 1 ||
	    l->orders.max_threads > ORDERS_MAX_THREADS)
		m->is_bad = true;
	r = l->has_want ? platform_parse(platform, &l->want, err) : 0;
	return r < 0 ? r : message_end(m, err);
}

/* Open the archive, wherever it can be read: ret_where is a LOADER_IN_*. */
static int
open_archive(struct loader *l, uint32_t *ret_where, struct imgd_error **err)
{
	const struct platform *want = l->has_want ? &l->want : NULL;
	int r = 0;

	*ret_where = LOADER_IN_PLACE;
	if (l->mode != LOADER_PULL)
		r = image_archive_is_stream(l->archive_fd, err);
	if (r < 0)
		return r;
	if (r == 0)
		return image_archive_open(l->archive_fd, want, &l->archive,
		    err);
	r = archive_stream_open(l->archive_fd, l->copy_fd, l->max_bytes,
	    l->mode == LOADER_STREAM, want, &l->stream, &l->archive, err);
	*ret_where = r > 0 ? LOADER_IN_STREAM : LOADER_IN_COPY;
	return r;
}

static int
serve(struct loader *l, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	uint32_t where;
	int r;

	message_init(&m, 0);
	r = message_recv(l->orders.teller.sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r <= 0)
		return r;
	r = take_start(l, &m, err);
	if (r >= 0 && l->mode == LOADER_IMPORT) {
		r = send_root(l, err);
		return r < 0 ? r : orders_serve(&l->orders, err);
	}
	if (r >= 0)
		r = open_archive(l, &where, err);
	if (r >= 0 && l->mode != LOADER_PULL)
		r = send_list(l, where, err);
	if (r < 0 || (l->mode != LOADER_PULL && where != LOADER_IN_STREAM))
		return r;
	r = send_image(l, err);
	return r < 0 ? r : orders_serve(&l->orders, err);
}

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	struct loader l = { .orders = { .ops = &ops },
		.archive_fd = -EBADF, .copy_fd = -EBADF };
	struct message m;

	(void)what;
	/* One arena: a thread each would cost memory of its own. */
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 128 << 10);
	l.orders.ctx = &l;
	orders_init(&l.orders, sock);
	if (confine_enter(CONFINE_LOADER, -1, &err) < 0 ||
	    serve(&l, &err) < 0) {
		message_init(&m, PULLER_FAILED);
		message_put_error(&m, err);
		(void)tell(&l, &m, NULL);
		/* Threads may still run: leave without their teardown. */
		leave(1);
	}
	leave(0);
}
