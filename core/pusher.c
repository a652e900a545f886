#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/protocol.h"
#include "core/pusher.h"
#include "lib/cleanup.h"
#include "lib/deflate.h"
#include "lib/message.h"
#include "registry/push.h"

#define PROGRESS_INTERVAL_MS 100
#define MAX_MOUNTS           8

struct pusher {
	int sock;
	struct registry_session *session;
	/* of the upload that runs */
	enum deflate_format format;
	struct deflate *deflate;
	int tar_fd;
	bool is_begun;
	int64_t last_ms;
};

static int
hear(struct pusher *p, uint32_t type, struct message *m,
    struct imgd_error **err)
{
	int r = message_recv(p->sock, PROTOCOL_MAX_BYTES, m, err);

	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ECANCELED, "the engine gave up");
	if (m->type != type)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	return 0;
}

static int
say_done(struct pusher *p, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PUSHER_DONE);
	return message_send(p->sock, &m, err);
}

/* ---- find ---- */

static int
find(struct pusher *p, struct message *m, struct imgd_error **err)
{
	const char *from[MAX_MOUNTS], *digest = message_get_str(m);
	uint32_t i, n = message_get_u32(m), found = PUSHER_MISSING;
	struct message out;
	uint64_t size = 0;
	int r;

	if (n > MAX_MOUNTS || !digest_is_valid(digest))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "malformed order");
	for (i = 0; i < n; i++)
		from[i] = message_get_str(m);
	r = message_end(m, err);
	if (r >= 0)
		r = registry_has_blob(p->session, digest, &size, err);
	if (r > 0)
		found = PUSHER_EXISTS;
	for (i = 0; r == 0 && i < n; i++) {
		r = registry_mount_blob(p->session, digest, from[i], err);
		if (r > 0) {
			found = PUSHER_MOUNTED;
			break;
		}
	}
	if (r < 0)
		return r;
	message_init(&out, PUSHER_FOUND);
	message_put_u32(&out, found);
	message_put_u64(&out, size);
	message_put_str(&out, found == PUSHER_MOUNTED ? from[i] : "");
	return message_send(p->sock, &out, err);
}

/* ---- upload ---- */

static void
progress(struct pusher *p)
{
	struct timespec ts;
	struct message m;
	int64_t now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (now - p->last_ms < PROGRESS_INTERVAL_MS)
		return;
	p->last_ms = now;
	message_init(&m, PUSHER_PROGRESS);
	message_put_u64(&m, deflate_plain_bytes(p->deflate));
	(void)message_send(p->sock, &m, NULL);
}

static int64_t
read_tar(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	struct pusher *p = ctx;
	ssize_t n;

	do
		n = read(p->tar_fd, buf, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return imgd_error_set(err, errno, "read tar: %s",
		    strerror(errno));
	return n;
}

/* The packer makes the tar anew: the same bytes, so the same compressed
 * bytes. */
static int
rewind_tar(void *ctx, const char *why, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	struct pusher *p = ctx;
	int r;

	message_init(&m, 0);
	if (p->is_begun) {
		close_fd(&p->tar_fd);
		message_init(&m, PUSHER_AGAIN);
		message_put_str(&m, why);
		r = message_send(p->sock, &m, err);
		if (r >= 0)
			r = hear(p, PUSHER_TAR, &m, err);
		if (r < 0)
			return r;
		p->tar_fd = message_get_fd(&m);
		r = message_end(&m, err);
		if (r < 0)
			return r;
	}
	p->is_begun = true;
	deflate_free(p->deflate);
	p->deflate = NULL;
	return deflate_new(p->format, read_tar, p, &p->deflate, err);
}

static int64_t
read_blob(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct pusher *p = ctx;
	int64_t n = deflate_read(p->deflate, buf, len, err);

	if (n > 0)
		progress(p);
	return n;
}

static int
confirm(void *ctx, char ret_digest[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	char diff_id[DIGEST_STR_SIZE];
	struct pusher *p = ctx;
	int r;

	message_init(&m, PUSHER_SENT);
	r = deflate_digests(p->deflate, diff_id, ret_digest, err);
	if (r < 0)
		return r;
	message_put_str(&m, diff_id);
	message_put_u64(&m, deflate_plain_bytes(p->deflate));
	message_put_str(&m, ret_digest);
	message_put_u64(&m, deflate_bytes(p->deflate));
	r = message_send(p->sock, &m, err);
	if (r >= 0)
		r = hear(p, PUSHER_COMMIT, &m, err);
	return r < 0 ? r : message_end(&m, err);
}

static int
upload(struct pusher *p, struct message *m, struct imgd_error **err)
{
	uint32_t format = message_get_u32(m);
	cleanup_close int spool_fd = message_get_fd(m);
	struct registry_upload u = { rewind_tar, read_blob, confirm, p,
		spool_fd };
	int r;

	p->tar_fd = message_get_fd(m);
	r = message_end(m, err);
	if (r < 0)
		return r;
	p->format = format == DEFLATE_ZSTD ? DEFLATE_ZSTD : DEFLATE_GZIP;
	p->is_begun = false;
	r = registry_upload(p->session, &u, err);
	deflate_free(p->deflate);
	p->deflate = NULL;
	close_fd(&p->tar_fd);
	return r < 0 ? r : say_done(p, err);
}

/* ---- documents ---- */

static int
put_config(struct pusher *p, struct message *m, struct imgd_error **err)
{
	const char *digest = message_get_str(m);
	size_t len;
	const void *data = message_get_bytes(m, &len);
	int r = message_end(m, err);

	if (r >= 0)
		r = registry_put_blob(p->session, digest, data, len, err);
	return r < 0 ? r : say_done(p, err);
}

static int
put_manifest(struct pusher *p, struct message *m, struct imgd_error **err)
{
	const char *tag = message_get_str(m);
	const char *media_type = message_get_str(m);
	const char *digest = message_get_str(m);
	size_t len;
	const void *data = message_get_bytes(m, &len);
	int r = message_end(m, err);

	if (r >= 0)
		r = registry_put_manifest(p->session, tag, media_type, digest,
		    data, len, err);
	return r < 0 ? r : say_done(p, err);
}

static int
obey(struct pusher *p, struct message *m, struct imgd_error **err)
{
	switch (m->type) {
	case PUSHER_FIND:
		return find(p, m, err);
	case PUSHER_UPLOAD:
		return upload(p, m, err);
	case PUSHER_CONFIG:
		return put_config(p, m, err);
	case PUSHER_MANIFEST:
		return put_manifest(p, m, err);
	default:
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	}
}

int
pusher_serve(int sock, struct message *start, struct imgd_error **err)
{
	struct pusher p = { .sock = sock, .tar_fd = -EBADF };
	struct puller_params params;
	int r = puller_params_get(start, &params, err);

	if (r < 0)
		return r;
	r = puller_open_session(&params, /* is_push= */ true,
	    /* retrying= */ NULL, NULL, &p.session, err);
	puller_params_done(&params);
	while (r >= 0) {
		cleanup(message_done) struct message m;

		message_init(&m, 0);
		r = message_recv(sock, PROTOCOL_MAX_DOC, &m, err);
		if (r == 0)
			break;
		if (r > 0)
			r = obey(&p, &m, err);
	}
	registry_session_free(p.session);
	return r;
}
