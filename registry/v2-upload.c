/*
 * An upload to a v2 registry: POST begins it, one PATCH streams the bytes, PUT
 * with the digest makes them a blob.
 *
 * Where the stream breaks, the registry is asked how much it has and the source
 * begins anew, with so many bytes left out; one that has forgotten the upload
 * gets a new one.  A registry that takes no PATCH gets everything with the PUT,
 * from a scratch file.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/push.h"
#include "registry/v2-push.h"

#define SKIP_BYTES     (16u << 10)
#define PROGRESS_BYTES (64u << 10) /* worth it: attempts count anew */

struct upload {
	struct registry_session *s;
	struct registry_upload *from;
	struct endpoint *e;
	char *location;   /* absolute; NULL: not begun */
	uint64_t offset;  /* what the registry has */
	uint64_t pos;     /* what was read of the source */
	uint64_t sent_from; /* pos when the request was made */
	bool has_all;     /* all is there but the PUT */
	bool is_spooled;  /* no PATCH: everything goes with the PUT */
	bool has_spool;   /* it is in the scratch file */
	bool is_read;     /* the source was begun at least once */
	bool is_final;    /* trying again will not help */
	bool is_confirmed;
	char digest[DIGEST_STR_SIZE];
};

/* ---- requests to the upload's own place ---- */

/* Ask url; who is not the registry itself gets no credentials. */
static int
ask(struct registry_session *s, struct endpoint *e, const char *url,
    struct http_request *req, struct http_reply *ret, struct imgd_error **err)
{
	cleanup_free char *origin = NULL;
	int r = url_origin(url, &origin, err);

	if (r < 0)
		return r;
	req->max_body = LIMIT_ERROR_BODY_BYTES;
	if (strcmp(origin, e->origin) == 0)
		return v2_request(s, e, url, req, ret, err);
	http_reply_done(ret);
	req->url = url;
	r = http_do(s->http, req, ret, err);
	req->url = NULL;
	return r;
}

void
push_forget_upload(struct registry_session *s, struct endpoint *e,
    const char *base, const char *location)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "DELETE" };
	cleanup_free char *url = NULL;

	if (url_resolve(base, location, &url, NULL) >= 0)
		(void)ask(s, e, url, &req, &reply, NULL);
}

/* The place for the next request, from the newest answer. */
static int
take_location(struct upload *u, const char *base,
    const struct http_reply *reply, struct imgd_error **err)
{
	char *next = NULL;
	int r;

	if (reply->location == NULL)
		return 0;
	r = url_resolve(base, reply->location, &next, err);
	if (r < 0)
		return r;
	if (strncmp(u->e->origin, "https:", 6) == 0 &&
	    strncasecmp(next, "https:", 6) != 0) {
		free(next);
		u->is_final = true;
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "upload led from https to http, refused");
	}
	free(u->location);
	u->location = next;
	return 0;
}

/* ---- begin ---- */

static int
is_accepted(const struct http_reply *reply)
{
	return reply->status == 202;
}

static int
start(struct upload *u, struct imgd_error **err)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "POST" };
	cleanup_free char *path = push_path(u->s, "blobs/uploads/");
	int r;

	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	u->offset = 0;
	u->has_all = false;
	r = push_simple(u->s, path, "upload", &req, is_accepted, &reply, err);
	if (r >= 0)
		r = take_location(u, reply.url, &reply, err);
	if (r >= 0 && u->location == NULL)
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the registry does not say where to upload to");
	/* All attempts that may help were made. */
	if (r < 0)
		u->is_final = true;
	return r;
}

/* ---- the source ---- */

static int64_t
source_read(struct upload *u, void *buf, size_t len, struct imgd_error **err)
{
	int64_t n = u->from->read(u->from->ctx, buf, len, err);

	if (n < 0)
		u->is_final = true;
	else
		u->pos += (uint64_t)n;
	return n;
}

/* Begin with the byte that the registry wants next. */
static int
source_start(struct upload *u, const char *why, struct imgd_error **err)
{
	cleanup_free char *buf = malloc(SKIP_BYTES);
	int64_t n = 1;
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = u->from->rewind(u->from->ctx, u->is_read ? why : NULL, err);
	if (r < 0) {
		u->is_final = true;
		return r;
	}
	u->is_read = true;
	u->pos = 0;
	while (u->pos < u->offset && n > 0) {
		uint64_t left = u->offset - u->pos;

		n = source_read(u, buf, left < SKIP_BYTES ? (size_t)left
							  : SKIP_BYTES,
		    err);
		if (n < 0)
			return (int)n;
	}
	if (u->pos < u->offset) {
		u->is_final = true;
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the registry has more bytes than there are");
	}
	u->sent_from = u->pos;
	return 0;
}

/* ---- one stream ---- */

static int
stream_restart(void *ctx, struct imgd_error **err)
{
	struct upload *u = ctx;

	if (u->pos == u->sent_from)
		return 0;
	return imgd_error_set(err, IMGD_E_NET,
	    "the registry asks for authorization in the middle");
}

static int64_t
stream_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	return source_read(ctx, buf, len, err);
}

/* "0-LAST" with or without "bytes=". */
static bool
range_end(const char *range, uint64_t *ret)
{
	const char *dash;

	if (range == NULL || (dash = strchr(range, '-')) == NULL)
		return false;
	return str_to_u64(dash + 1, INT64_MAX - 1, ret);
}

static bool
takes_no_patch(const struct http_reply *reply)
{
	return reply->status == 405 || reply->status == 411 ||
	    reply->status == 415 || reply->status == 501;
}

static int
stream(struct upload *u, const char *why, struct http_reply *reply,
    struct imgd_error **err)
{
	struct http_request req = { .method = "PATCH",
		.restart = stream_restart, .send = stream_read,
		.send_ctx = u };
	uint64_t last;
	int r = source_start(u, why, err);

	if (r >= 0)
		r = ask(u->s, u->e, u->location, &req, reply, err);
	if (r < 0)
		return r;
	if (takes_no_patch(reply) && u->from->spool_fd >= 0) {
		u->is_spooled = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry takes no stream");
	}
	if (reply->status != 202 && reply->status != 201 &&
	    reply->status != 204)
		return reply_error(u->s, reply, "upload", err);
	if (range_end(reply->range, &last) && last + 1 != u->pos &&
	    u->pos != 0)
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry kept %ju bytes of %ju",
		    (uintmax_t)last + 1, (uintmax_t)u->pos);
	r = take_location(u, u->location, reply, err);
	if (r >= 0)
		u->has_all = true;
	return r;
}

/* ---- all at once ---- */

static int
fill_spool(struct upload *u, const char *why, struct imgd_error **err)
{
	cleanup_free char *buf = malloc(SKIP_BYTES);
	int64_t n;
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	u->offset = 0;
	r = source_start(u, why, err);
	if (r < 0)
		return r;
	if (ftruncate(u->from->spool_fd, 0) < 0 ||
	    lseek(u->from->spool_fd, 0, SEEK_SET) < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	while ((n = source_read(u, buf, SKIP_BYTES, err)) > 0) {
		r = fs_write_all(u->from->spool_fd, buf, (size_t)n, err);
		if (r < 0) {
			u->is_final = true;
			return r;
		}
	}
	u->has_spool = n == 0;
	return (int)n;
}

static int
spool_restart(void *ctx, struct imgd_error **err)
{
	struct upload *u = ctx;

	if (lseek(u->from->spool_fd, 0, SEEK_SET) < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	return 0;
}

static int64_t
spool_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct upload *u = ctx;
	ssize_t n = read(u->from->spool_fd, buf, len);

	if (n < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	return n;
}

/* ---- the end ---- */

static int
finish(struct upload *u, struct http_reply *reply, struct imgd_error **err)
{
	struct http_request req = { .method = "PUT" };
	cleanup_free char *url = NULL;
	struct strbuf sb = STRBUF_INIT;
	int r;

	if (!u->is_confirmed) {
		r = u->from->confirm(u->from->ctx, u->digest, err);
		if (r < 0) {
			u->is_final = true;
			return r;
		}
		u->is_confirmed = true;
	}
	strbuf_printf(&sb, "%s%cdigest=", u->location,
	    strchr(u->location, '?') != NULL ? '&' : '?');
	url_encode(&sb, u->digest);
	url = strbuf_take(&sb);
	if (url == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (u->is_spooled) {
		req.restart = spool_restart;
		req.send = spool_read;
		req.send_ctx = u;
		req.has_send_length = true;
		req.send_length = u->pos;
	}
	r = ask(u->s, u->e, url, &req, reply, err);
	if (r < 0)
		return r;
	if (reply->status != 201 && reply->status != 204)
		return reply_error(u->s, reply, "upload", err);
	if (reply->content_digest != NULL &&
	    strcmp(reply->content_digest, u->digest) != 0) {
		u->is_final = true;
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "the registry calls the blob %.80s instead of %s",
		    reply->content_digest, u->digest);
	}
	return 0;
}

/* ---- attempts ---- */

static int
one_try(struct upload *u, const char *why, struct http_reply *reply,
    struct imgd_error **err)
{
	int r = 0;

	if (u->location == NULL)
		r = start(u, err);
	if (r >= 0 && u->is_spooled && !u->has_spool)
		r = fill_spool(u, why, err);
	if (r >= 0 && !u->is_spooled && !u->has_all)
		r = stream(u, why, reply, err);
	return r < 0 ? r : finish(u, reply, err);
}

static void
forget_location(struct upload *u)
{
	free(u->location);
	u->location = NULL;
	u->offset = 0;
	u->has_all = false;
}

/*
 * After a failure: learn how much the registry has.  "0-0" may mean no byte or
 * one, so it counts as nothing.
 */
static void
find_offset(struct upload *u)
{
	cleanup(push_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "GET" };
	uint64_t last = 0;

	if (u->location == NULL || u->is_spooled) {
		forget_location(u);
		return;
	}
	if (ask(u->s, u->e, u->location, &req, &reply, NULL) < 0 ||
	    reply.status < 200 || reply.status > 204 ||
	    !range_end(reply.range, &last) || last == 0 ||
	    last + 1 > u->pos ||
	    take_location(u, u->location, &reply, NULL) < 0) {
		log_debug("registry", "the upload is lost");
		forget_location(u);
		return;
	}
	u->offset = last + 1;
	u->has_all = u->has_all && u->offset == u->pos;
}

static int
attempts(struct upload *u, struct imgd_error **err)
{
	cleanup_error struct imgd_error *last = NULL;
	unsigned n, ms;
	int r;

	for (n = 1;; n++) {
		cleanup(push_reply_donep) struct http_reply reply = {
			.status = 0
		};
		cleanup_error struct imgd_error *why = NULL;
		bool was_spooled = u->is_spooled;
		uint64_t before = u->offset;

		r = one_try(u, last != NULL ? imgd_error_msg(last) : NULL,
		    &reply, &why);
		if (r >= 0)
			return 0;
		/* An upload that was forgotten begins anew. */
		if (r == -IMGD_E_UNKNOWN)
			r = -IMGD_E_NET;
		if (u->is_final ||
		    !v2_may_retry(u->s, r, &reply, n, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		if (u->is_spooled == was_spooled) {
			r = v2_wait(u->s, imgd_error_msg(why), ms, err);
			if (r < 0)
				return r;
		}
		find_offset(u);
		if (u->offset >= before + PROGRESS_BYTES)
			n = 0;
		imgd_error_free(last);
		last = take_ptr(&why);
	}
}

int
registry_upload(struct registry_session *s, struct registry_upload *from,
    struct imgd_error **err)
{
	struct upload u = { .s = s, .from = from };
	int r = push_endpoint(s, &u.e, err);

	if (r >= 0)
		r = attempts(&u, err);
	if (r < 0 && u.location != NULL && u.e != NULL)
		push_forget_upload(s, u.e, u.location, u.location);
	free(u.location);
	return r;
}
