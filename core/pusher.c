/*
 * The pusher: a puller that sends.
 *
 * One thread reads the engine's messages.  Orders go to threads, each of which
 * serves one layer at a time; what belongs to an upload that runs goes to the
 * thread that waits for it.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/protocol.h"
#include "core/pusher.h"
#include "core/teller.h"
#include "core/work-queue.h"
#include "lib/cleanup.h"
#include "lib/deflate.h"
#include "lib/message.h"
#include "registry/push.h"

#define PROGRESS_INTERVAL_MS 100
#define MAX_MOUNTS           8
#define MAX_THREADS          64

struct pusher;

/* An order, until it is served. */
struct work {
	struct work_item item;
	struct work *next;
	struct pusher *pusher;
	uint32_t layer;
	struct message order;
	struct message answer; /* the engine's, to an upload */
	bool has_answer;
	/* of an upload */
	enum deflate_format format;
	struct deflate *deflate;
	int tar_fd;
	bool is_begun;
	int64_t last_ms;
};

struct pusher {
	struct teller teller;
	struct work_queue queue;
	struct registry_session *session;
	pthread_mutex_t mutex; /* for the works, and their answers */
	pthread_cond_t changed;
	struct work *works; /* the newest first */
};

static int
tell(struct pusher *p, struct message *m, struct imgd_error **err)
{
	return teller_send(&p->teller, m, err);
}

/* Begin a message about the work's layer. */
static void
begin(const struct work *w, struct message *m, uint32_t type)
{
	message_init(m, type);
	message_put_u32(m, w->layer);
}

static int
say_done(struct work *w, struct imgd_error **err)
{
	struct message m;

	begin(w, &m, PUSHER_DONE);
	return tell(w->pusher, &m, err);
}

/* Wait for what the engine answers to this upload. */
static int
hear(struct work *w, uint32_t type, struct message *m, struct imgd_error **err)
{
	struct pusher *p = w->pusher;

	pthread_mutex_lock(&p->mutex);
	while (!w->has_answer)
		pthread_cond_wait(&p->changed, &p->mutex);
	w->has_answer = false;
	*m = w->answer;
	message_init(&w->answer, 0);
	pthread_mutex_unlock(&p->mutex);
	if (m->type != type)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	return 0;
}

/* ---- find ---- */

static int
find(struct work *w, struct message *m, struct imgd_error **err)
{
	struct registry_session *s = w->pusher->session;
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
		r = registry_has_blob(s, digest, &size, err);
	if (r > 0)
		found = PUSHER_EXISTS;
	for (i = 0; r == 0 && i < n; i++) {
		r = registry_mount_blob(s, digest, from[i], err);
		if (r > 0) {
			found = PUSHER_MOUNTED;
			break;
		}
	}
	if (r < 0)
		return r;
	begin(w, &out, PUSHER_FOUND);
	message_put_u32(&out, found);
	message_put_u64(&out, size);
	message_put_str(&out, found == PUSHER_MOUNTED ? from[i] : "");
	return tell(w->pusher, &out, err);
}

/* ---- upload ---- */

static void
progress(struct work *w)
{
	struct timespec ts;
	struct message m;
	int64_t now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (now - w->last_ms < PROGRESS_INTERVAL_MS)
		return;
	w->last_ms = now;
	begin(w, &m, PUSHER_PROGRESS);
	message_put_u64(&m, deflate_plain_bytes(w->deflate));
	(void)tell(w->pusher, &m, NULL);
}

static int64_t
read_tar(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	struct work *w = ctx;
	ssize_t n;

	do
		n = read(w->tar_fd, buf, len);
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
	struct work *w = ctx;
	int r;

	message_init(&m, 0);
	if (w->is_begun) {
		close_fd(&w->tar_fd);
		begin(w, &m, PUSHER_AGAIN);
		message_put_str(&m, why);
		r = tell(w->pusher, &m, err);
		if (r >= 0)
			r = hear(w, PUSHER_TAR, &m, err);
		if (r < 0)
			return r;
		w->tar_fd = message_get_fd(&m);
		r = message_end(&m, err);
		if (r < 0)
			return r;
	}
	w->is_begun = true;
	deflate_free(w->deflate);
	w->deflate = NULL;
	return deflate_new(w->format, read_tar, w, &w->deflate, err);
}

static int64_t
read_blob(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct work *w = ctx;
	int64_t n = deflate_read(w->deflate, buf, len, err);

	if (n > 0)
		progress(w);
	return n;
}

static int
blob_digest(void *ctx, char ret[DIGEST_STR_SIZE], struct imgd_error **err)
{
	char diff_id[DIGEST_STR_SIZE];
	struct work *w = ctx;

	return deflate_digests(w->deflate, diff_id, ret, err);
}

static int
confirm(void *ctx, char ret_digest[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	char diff_id[DIGEST_STR_SIZE];
	struct work *w = ctx;
	int r;

	message_init(&m, 0);
	r = deflate_digests(w->deflate, diff_id, ret_digest, err);
	if (r < 0)
		return r;
	begin(w, &m, PUSHER_SENT);
	message_put_str(&m, diff_id);
	message_put_u64(&m, deflate_plain_bytes(w->deflate));
	message_put_str(&m, ret_digest);
	message_put_u64(&m, deflate_bytes(w->deflate));
	r = tell(w->pusher, &m, err);
	if (r >= 0)
		r = hear(w, PUSHER_COMMIT, &m, err);
	return r < 0 ? r : message_end(&m, err);
}

static void
marked(void *ctx, const char *location, uint64_t bytes, const char *digest)
{
	struct work *w = ctx;
	struct message m;

	begin(w, &m, PUSHER_MARK);
	message_put_str(&m, location);
	message_put_u64(&m, bytes);
	message_put_str(&m, digest);
	(void)tell(w->pusher, &m, NULL);
}

static int
upload(struct work *w, struct message *m, struct imgd_error **err)
{
	uint32_t format = message_get_u32(m);
	struct registry_upload u = { .rewind = rewind_tar, .read = read_blob,
		.digest = blob_digest, .confirm = confirm, .marked = marked,
		.ctx = w, .in_pieces = message_get_u32(m) != 0 };
	const char *location = message_get_str(m);
	cleanup_close int spool_fd = -EBADF;
	int r;

	u.location = *location != '\0' ? location : NULL;
	u.mark_bytes = message_get_u64(m);
	u.mark_digest = message_get_str(m);
	u.spool_fd = spool_fd = message_get_fd(m);
	w->tar_fd = message_get_fd(m);
	r = message_end(m, err);
	if (r < 0)
		return r;
	w->format = format == DEFLATE_ZSTD ? DEFLATE_ZSTD : DEFLATE_GZIP;
	r = registry_upload(w->pusher->session, &u, err);
	deflate_free(w->deflate);
	w->deflate = NULL;
	close_fd(&w->tar_fd);
	return r < 0 ? r : say_done(w, err);
}

/* ---- documents ---- */

static int
put_config(struct work *w, struct message *m, struct imgd_error **err)
{
	const char *digest = message_get_str(m);
	size_t len;
	const void *data = message_get_bytes(m, &len);
	int r = message_end(m, err);

	if (r >= 0)
		r = registry_put_blob(w->pusher->session, digest, data, len,
		    err);
	return r < 0 ? r : say_done(w, err);
}

static int
put_manifest(struct work *w, struct message *m, struct imgd_error **err)
{
	const char *tag = message_get_str(m);
	const char *media_type = message_get_str(m);
	const char *digest = message_get_str(m);
	size_t len;
	const void *data = message_get_bytes(m, &len);
	int r = message_end(m, err);

	if (r >= 0)
		r = registry_put_manifest(w->pusher->session, tag, media_type,
		    digest, data, len, err);
	return r < 0 ? r : say_done(w, err);
}

/* ---- orders ---- */

static int
obey(struct work *w, struct message *m, struct imgd_error **err)
{
	switch (m->type) {
	case PUSHER_FIND:
		return find(w, m, err);
	case PUSHER_UPLOAD:
		return upload(w, m, err);
	case PUSHER_CONFIG:
		return put_config(w, m, err);
	default:
		return put_manifest(w, m, err);
	}
}

static void
work_free(struct work *w)
{
	struct work **link;

	pthread_mutex_lock(&w->pusher->mutex);
	for (link = &w->pusher->works; *link != w; link = &(*link)->next)
		;
	*link = w->next;
	pthread_mutex_unlock(&w->pusher->mutex);
	close_fd(&w->tar_fd);
	message_done(&w->answer);
	message_done(&w->order);
	free(w);
}

static void
serve(void *ctx, struct work_item *item)
{
	cleanup_error struct imgd_error *err = NULL;
	struct work *w = (struct work *)item;
	struct pusher *p = ctx;
	struct message m;

	if (obey(w, &w->order, &err) < 0) {
		message_init(&m, w->layer == PUSHER_NO_LAYER
			? PULLER_FAILED
			: PULLER_LAYER_FAILED);
		if (w->layer != PUSHER_NO_LAYER)
			message_put_u32(&m, w->layer);
		message_put_error(&m, err);
		teller_send_awaited(&p->teller, &m);
	}
	work_free(w);
}

/* Takes m's contents. */
static int
enqueue(struct pusher *p, struct message *m, struct imgd_error **err)
{
	struct work *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	w->pusher = p;
	w->tar_fd = -EBADF;
	message_init(&w->answer, 0);
	w->layer = message_get_u32(m);
	w->order = *m;
	message_init(m, 0);
	pthread_mutex_lock(&p->mutex);
	w->next = p->works;
	p->works = w;
	pthread_mutex_unlock(&p->mutex);
	r = work_queue_add(&p->queue, &w->item, err);
	if (r < 0)
		work_free(w);
	return r;
}

/* Give an answer to the upload that waits for it; takes m's contents. */
static int
pass_on(struct pusher *p, struct message *m, struct imgd_error **err)
{
	uint32_t layer = message_get_u32(m);
	struct work *w;
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	for (w = p->works; w != NULL && w->layer != layer; w = w->next)
		;
	if (w == NULL || w->has_answer) {
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	} else {
		w->answer = *m;
		w->has_answer = true;
		message_init(m, 0);
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&p->mutex);
	return r;
}

static int
take(struct pusher *p, struct message *m, struct imgd_error **err)
{
	switch (m->type) {
	case PUSHER_FIND:
	case PUSHER_UPLOAD:
	case PUSHER_CONFIG:
	case PUSHER_MANIFEST:
		return enqueue(p, m, err);
	case PUSHER_TAR:
	case PUSHER_COMMIT:
		return pass_on(p, m, err);
	default:
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	}
}

static void
tell_retrying(void *ctx, const char *why, unsigned pause_ms)
{
	struct message m;

	message_init(&m, PULLER_RETRYING);
	message_put_str(&m, why);
	message_put_u32(&m, pause_ms);
	(void)tell(ctx, &m, NULL);
}

int
pusher_serve(int sock, struct message *start, struct imgd_error **err)
{
	/* Threads use it until the process ends. */
	static struct pusher p = { .queue = { .run = serve, .ctx = &p },
		.mutex = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER };
	struct puller_params params;
	int r = puller_params_get(start, &params, err);

	if (r < 0)
		return r;
	teller_init(&p.teller, sock);
	work_queue_init(&p.queue);
	p.queue.max_threads = params.n_threads;
	r = puller_open_session(&params, /* is_push= */ true, tell_retrying,
	    &p, &p.session, err);
	puller_params_done(&params);
	if (r >= 0 && (p.queue.max_threads < 1 ||
			  p.queue.max_threads > MAX_THREADS))
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "malformed start message");
	while (r >= 0) {
		cleanup(message_done) struct message m;

		message_init(&m, 0);
		r = message_recv(sock, PROTOCOL_MAX_DOC, &m, err);
		if (r == 0)
			break;
		if (r > 0)
			r = take(&p, &m, err);
	}
	return r;
}
