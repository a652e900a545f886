/* Pushing to a v2 registry: small blobs, mounts and manifests. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/push.h"
#include "registry/v2-push.h"

int
push_endpoint(struct registry_session *s, struct endpoint **ret,
    struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; i < s->n_endpoints; i++) {
		cleanup_error struct imgd_error *why = NULL;
		struct endpoint *e = &s->endpoints[i];
		bool is_last = i + 1 == s->n_endpoints;

		/* A mirror is no place to push to. */
		if (e->is_mirror || (e->is_dead && !is_last))
			continue;
		r = v2_ping(s, e, &why);
		if (r >= 0) {
			*ret = e;
			return 0;
		}
		if (is_last || !endpoint_falls_through(e, r)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
	}
	return imgd_error_set(err, IMGD_E_NET, "%s cannot be reached",
	    s->ref.domain);
}

int
push_simple(struct registry_session *s, const char *path, const char *what,
    struct http_request *req, int (*check)(const struct http_reply *reply),
    struct http_reply *ret, struct imgd_error **err)
{
	struct endpoint *e;
	unsigned n, ms;
	int r;

	req->max_body = LIMIT_ERROR_BODY_BYTES;
	for (n = 1;; n++) {
		cleanup_error struct imgd_error *why = NULL;

		r = push_endpoint(s, &e, &why);
		if (r >= 0)
			r = v2_request(s, e, path, req, ret, &why);
		if (r >= 0 && !check(ret))
			r = reply_error(s, ret, what, &why);
		if (r >= 0)
			return 0;
		if (!v2_may_retry(s, r, ret, n, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		r = v2_wait(s, imgd_error_msg(why), ms, err);
		if (r < 0)
			return r;
	}
}

char *
push_path(const struct registry_session *s, const char *rest)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&sb, "/%s/%s", s->ref.path, rest);
	return strbuf_take(&sb);
}

/* ---- does it have it ---- */

static int
is_known(const struct http_reply *reply)
{
	return reply->status == 200 || reply->status == 404;
}

int
push_look(struct registry_session *s, const char *digest, uint64_t *ret_size,
    struct imgd_error **err)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "HEAD" };
	cleanup_error struct imgd_error *why = NULL;
	char rest[16 + DIGEST_STR_SIZE];
	cleanup_free char *path = NULL;
	int r;

	(void)snprintf(rest, sizeof(rest), "blobs/%s", digest);
	path = push_path(s, rest);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = push_simple(s, path, "blob", &req, is_known, &reply, &why);
	/* Some grant the right to push, but none to look. */
	if (r == -IMGD_E_DENIED)
		return 2;
	if (r < 0) {
		if (err != NULL)
			*err = take_ptr(&why);
		return r;
	}
	*ret_size = reply.status == 200 && reply.has_length ? reply.length : 0;
	return reply.status == 200;
}

int
registry_has_blob(struct registry_session *s, const char *digest,
    uint64_t *ret_size, struct imgd_error **err)
{
	int r = push_look(s, digest, ret_size, err);

	return r == 2 ? 0 : r;
}

/* ---- mounts ---- */

static int
is_mounted_or_not(const struct http_reply *reply)
{
	return reply->status == 201 || reply->status == 202;
}

/* The challenge for the other repository, too, may be one that the token
 * server refuses: the next request asks for what it needs alone. */
static void
forget_scope(struct endpoint *e)
{
	(void)pthread_mutex_lock(&e->lock);
	free(e->challenge.scope);
	e->challenge.scope = NULL;
	if (e->expires != 0) {
		free(e->authorization);
		e->authorization = NULL;
	}
	(void)pthread_mutex_unlock(&e->lock);
}

int
registry_mount_blob(struct registry_session *s, const char *digest,
    const char *from, struct imgd_error **err)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "POST" };
	cleanup_error struct imgd_error *why = NULL;
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *path = NULL;
	struct endpoint *e;
	int r;

	r = push_endpoint(s, &e, err);
	if (r < 0)
		return r;
	strbuf_printf(&sb, "/%s/blobs/uploads/?mount=", s->ref.path);
	url_encode(&sb, digest);
	strbuf_puts(&sb, "&from=");
	url_encode(&sb, from);
	path = strbuf_take(&sb);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = push_simple(s, path, "mount", &req, is_mounted_or_not, &reply,
	    &why);
	if (r == -ECANCELED || r == -ENOMEM) {
		if (err != NULL)
			*err = take_ptr(&why);
		return r;
	}
	if (r < 0) {
		log_debug("registry", "%s, not mounted", imgd_error_msg(why));
		forget_scope(e);
		return 0;
	}
	if (reply.status == 201)
		return 1;
	/* An upload has begun instead. */
	if (reply.location != NULL)
		push_forget_upload(s, e, reply.url, reply.location);
	return 0;
}

/* ---- manifests ---- */

struct memory {
	const char *data;
	size_t len, pos;
};

static int
memory_restart(void *ctx, struct imgd_error **err)
{
	struct memory *m = ctx;

	(void)err;
	m->pos = 0;
	return 0;
}

static int64_t
memory_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct memory *m = ctx;
	size_t n = m->len - m->pos < len ? m->len - m->pos : len;

	(void)err;
	memcpy(buf, m->data + m->pos, n);
	m->pos += n;
	return (int64_t)n;
}

static int
is_created(const struct http_reply *reply)
{
	return reply->status == 201 || reply->status == 200 ||
	    reply->status == 202;
}

/* It was taken: see whether it is there, where the registry lets one look. */
static int
look_for_manifest(struct registry_session *s, const char *media_type,
    const char *digest, struct imgd_error **err)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "HEAD", .accept = media_type };
	char rest[16 + DIGEST_STR_SIZE];
	cleanup_free char *path = NULL;

	(void)snprintf(rest, sizeof(rest), "manifests/%s", digest);
	path = push_path(s, rest);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (push_simple(s, path, "manifest", &req, is_known, &reply, NULL) <
		0 || reply.status == 200)
		return 0;
	return imgd_error_set(err, IMGD_E_PROTOCOL,
	    "the registry took the manifest, but does not have it");
}

int
registry_put_manifest(struct registry_session *s, const char *tag,
    const char *media_type, const char *digest, const void *data, size_t len,
    struct imgd_error **err)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct memory m = { .data = data, .len = len };
	struct http_request req = { .method = "PUT",
		.restart = memory_restart, .send = memory_read,
		.send_ctx = &m, .send_type = media_type,
		.has_send_length = true, .send_length = len };
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *path = NULL;
	int r;

	strbuf_printf(&sb, "/%s/manifests/%s", s->ref.path, tag);
	path = strbuf_take(&sb);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = push_simple(s, path, "manifest", &req, is_created, &reply, err);
	if (r < 0)
		return r;
	if (reply.content_digest != NULL &&
	    strcmp(reply.content_digest, digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "the registry calls the manifest %.80s instead of %s",
		    reply.content_digest, digest);
	return look_for_manifest(s, media_type, digest, err);
}

/* ---- small blobs ---- */

struct small {
	struct memory memory;
	const char *digest;
};

static int
small_rewind(void *ctx, const char *why, struct imgd_error **err)
{
	struct small *b = ctx;

	(void)why;
	return memory_restart(&b->memory, err);
}

static int64_t
small_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct small *b = ctx;

	return memory_read(&b->memory, buf, len, err);
}

static int
small_confirm(void *ctx, char ret_digest[DIGEST_STR_SIZE],
    struct imgd_error **err)
{
	struct small *b = ctx;

	(void)err;
	memcpy(ret_digest, b->digest, DIGEST_STR_SIZE);
	return 0;
}

static int
small_digest(void *ctx, char ret[DIGEST_STR_SIZE], struct imgd_error **err)
{
	struct small *b = ctx;

	return digest_of(b->memory.data, b->memory.pos, ret, err);
}

int
registry_put_blob(struct registry_session *s, const char *digest,
    const void *data, size_t len, struct imgd_error **err)
{
	struct small b = { { data, len, 0 }, digest };
	struct registry_upload u = { .rewind = small_rewind,
		.read = small_read, .digest = small_digest,
		.confirm = small_confirm, .ctx = &b, .spool_fd = -EBADF,
		.small_bytes = len };
	uint64_t size;
	int r = registry_has_blob(s, digest, &size, err);

	if (r != 0)
		return r < 0 ? r : 0;
	return registry_upload(s, &u, err);
}
