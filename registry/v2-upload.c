/*
 * An upload to a v2 registry: POST begins it, one PATCH streams the bytes, PUT
 * with the digest makes them a blob.  A small one goes with the PUT.
 *
 * Where the stream breaks, the registry is asked how much it has and the source
 * begins anew, with so many bytes left out; one that has forgotten the upload
 * gets a new one, in pieces.  A registry that takes no PATCH gets everything
 * with the PUT, from a scratch file.
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
#include "registry/v2-upload.h"

#define SKIP_BYTES     (16u << 10)
#define PROGRESS_BYTES (64u << 10) /* worth it: attempts count anew */
#define MAX_LOOKS      3
#define MAX_LOCATION   4096 /* longer ones are not remembered */

/* ---- requests to the upload's own place ---- */

int
upload_ask(struct registry_session *s, struct endpoint *e, const char *url,
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
		(void)upload_ask(s, e, url, &req, &reply, NULL);
}

int
upload_take_location(struct upload *u, const char *base,
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
	struct upload_mark none = { .bytes = 0 };
	const char *min;
	int r;

	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = push_simple(u->s, path, "upload", &req, is_accepted, &reply, err);
	if (r >= 0)
		r = upload_take_location(u, reply.url, &reply, err);
	if (r >= 0 && u->location == NULL)
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the registry does not say where to upload to");
	/* All attempts that may help were made. */
	if (r < 0) {
		u->is_final = true;
		return r;
	}
	min = http_reply_docker(&reply, "OCI-Chunk-Min-Length");
	if (min == NULL || !str_to_u64(min, INT64_MAX, &u->min_piece))
		u->min_piece = 0;
	upload_tell_mark(u, &none);
	return 0;
}

void
upload_tell_mark(const struct upload *u, const struct upload_mark *mark)
{
	if (u->from->marked == NULL)
		return;
	if (u->location == NULL || strlen(u->location) > MAX_LOCATION)
		u->from->marked(u->from->ctx, "", 0, "");
	else
		u->from->marked(u->from->ctx, u->location, mark->bytes,
		    mark->digest);
}

void
upload_forget(struct upload *u)
{
	free(u->location);
	u->location = NULL;
	u->offset = 0;
	u->has_all = false;
	u->has_gone_on = false;
	u->check.bytes = 0;
}

/* ---- the source ---- */

int64_t
upload_read(struct upload *u, void *buf, size_t len, struct imgd_error **err)
{
	int64_t n = u->from->read(u->from->ctx, buf, len, err);

	if (n < 0)
		u->is_final = true;
	else
		u->pos += (uint64_t)n;
	return n;
}

/* What was sent before is what comes now, or the registry's bytes are no
 * beginning of it. */
static int
check_mark(struct upload *u, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	int r;

	if (u->check.bytes == 0 || u->pos != u->check.bytes)
		return 0;
	u->check.bytes = 0;
	r = u->from->digest(u->from->ctx, digest, err);
	if (r < 0 || strcmp(digest, u->check.digest) == 0)
		return r;
	push_forget_upload(u->s, u->e, u->location, u->location);
	upload_forget(u);
	return imgd_error_set(err, IMGD_E_NET,
	    "what was sent before is not what is sent now");
}

int
upload_seek(struct upload *u, const char *why, struct imgd_error **err)
{
	cleanup_free char *buf = NULL;
	int64_t n = 1;
	int r;

	if (u->is_read && u->pos == u->offset)
		return 0;
	buf = malloc(SKIP_BYTES);
	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = u->from->rewind(u->from->ctx, u->is_read ? why : NULL, err);
	if (r < 0) {
		u->is_final = true;
		return r;
	}
	u->is_read = true;
	u->pos = 0;
	u->pending.bytes = 0;
	while (u->pos < u->offset && n > 0) {
		uint64_t left = u->offset - u->pos;

		if (u->check.bytes > u->pos && u->check.bytes <= u->offset)
			left = u->check.bytes - u->pos;
		n = upload_read(u, buf, left < SKIP_BYTES ? (size_t)left
							  : SKIP_BYTES,
		    err);
		r = n < 0 ? (int)n : check_mark(u, err);
		if (r < 0)
			return r;
	}
	u->check.bytes = 0;
	if (u->pos == u->offset)
		return 0;
	push_forget_upload(u->s, u->e, u->location, u->location);
	upload_forget(u);
	return imgd_error_set(err, IMGD_E_NET,
	    "the registry has more bytes than there are");
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

/* A mark is told when so much was sent behind it that what it counts has left
 * all buffers: the registry is asked how much it has, and should have that. */
static void
note_progress(struct upload *u)
{
	struct upload_mark mark = { .bytes = u->pos };

	if (u->from->marked == NULL ||
	    u->pos < u->pending.bytes + UPLOAD_MARK_BYTES ||
	    u->pos < u->sent_from + UPLOAD_MARK_BYTES ||
	    u->from->digest(u->from->ctx, mark.digest, NULL) < 0)
		return;
	if (u->pending.bytes > 0)
		upload_tell_mark(u, &u->pending);
	u->pending = mark;
}

static int64_t
stream_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	int64_t n = upload_read(ctx, buf, len, err);

	if (n > 0)
		note_progress(ctx);
	return n;
}

bool
upload_range_end(const char *range, uint64_t *ret)
{
	const char *dash;

	if (range == NULL || (dash = strchr(range, '-')) == NULL)
		return false;
	return str_to_u64(dash + 1, INT64_MAX - 1, ret);
}

int
upload_check_range(const struct upload *u, const struct http_reply *reply,
    struct imgd_error **err)
{
	if (reply->status != 416)
		return 0;
	return imgd_error_set(err, IMGD_E_NET,
	    "the registry does not go on at byte %ju", (uintmax_t)u->offset);
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
	int r = upload_seek(u, why, err);

	u->sent_from = u->pos;
	if (r >= 0)
		r = upload_ask(u->s, u->e, u->location, &req, reply, err);
	if (r >= 0)
		r = upload_check_range(u, reply, err);
	if (r < 0)
		return r;
	if (takes_no_patch(reply)) {
		u->is_spooled = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry takes no stream");
	}
	if (reply->status != 202 && reply->status != 201 &&
	    reply->status != 204)
		return reply_error(u->s, reply, "upload", err);
	if (upload_range_end(reply->range, &last) && last + 1 != u->pos &&
	    u->pos != 0)
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry kept %ju bytes of %ju",
		    (uintmax_t)last + 1, (uintmax_t)u->pos);
	r = upload_take_location(u, u->location, reply, err);
	if (r < 0)
		return r;
	u->offset = u->pos;
	u->has_all = true;
	return 0;
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
	u->has_piece = false;
	r = upload_seek(u, why, err);
	if (r < 0)
		return r;
	if (ftruncate(u->from->spool_fd, 0) < 0 ||
	    lseek(u->from->spool_fd, 0, SEEK_SET) < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	while ((n = upload_read(u, buf, SKIP_BYTES, err)) > 0) {
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

static int
small_restart(void *ctx, struct imgd_error **err)
{
	struct upload *u = ctx;

	u->offset = 0;
	return upload_seek(u, "sent again", err);
}

static int64_t
small_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	return upload_read(ctx, buf, len, err);
}

/* The PUT has the bytes, too. */
static void
put_all(struct upload *u, struct http_request *req)
{
	req->restart = u->is_small ? small_restart : spool_restart;
	req->send = u->is_small ? small_read : spool_read;
	req->send_ctx = u;
	req->has_send_length = true;
	req->send_length = u->is_small ? u->from->small_bytes : u->pos;
}

/* ---- the end ---- */

/* What it had before was not what it should have been. */
static bool
is_disowned(const struct upload *u, const struct http_reply *reply)
{
	return u->has_gone_on && !u->no_resume &&
	    (reply->status == 400 || reply->status == 416 ||
		reply->status == 422);
}

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
	if (u->is_small || u->is_spooled)
		put_all(u, &req);
	r = upload_ask(u->s, u->e, url, &req, reply, err);
	if (r < 0)
		return r;
	if (is_disowned(u, reply)) {
		upload_forget(u);
		u->no_resume = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry has other bytes than were sent");
	}
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

/* Whether it is there now; some take what they do not keep, and some only show
 * it after a while. */
static int
look(struct upload *u, struct imgd_error **err)
{
	const struct http_reply none = { .status = 0 };
	unsigned n, ms;
	uint64_t size;
	int r;

	for (n = 1;; n++) {
		r = push_look(u->s, u->digest, &size, err);
		if (r != 0) {
			u->is_final = r < 0;
			return r < 0 ? r : 0;
		}
		if (n == MAX_LOOKS ||
		    !v2_may_retry(u->s, -IMGD_E_NET, &none, n, &ms)) {
			u->is_final = true;
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "the registry took the blob %s, but does not have it",
			    u->digest);
		}
		r = v2_wait(u->s, "the registry does not show the blob yet",
		    ms, err);
		if (r < 0)
			return r;
	}
}

/* ---- attempts ---- */

/* It did not even get that far, or nobody says how far: try again. */
static bool
is_unclear(const struct http_reply *reply)
{
	return reply->status == 408 || reply->status == 429 ||
	    reply->status >= 500;
}

/*
 * Learn how much the registry has; 0 too if that is nothing any more.  "0-0"
 * may mean no byte or one: if it was one, the digest will be wrong.
 */
static int
find_offset(struct upload *u, struct http_reply *reply,
    struct imgd_error **err)
{
	struct http_request req = { .method = "GET" };
	uint64_t last = 0;
	int r;

	u->is_astray = false;
	if (u->is_small || u->is_spooled || u->no_resume) {
		upload_forget(u);
		return 0;
	}
	r = upload_ask(u->s, u->e, u->location, &req, reply, err);
	if (r >= 0 && is_unclear(reply))
		r = reply_error(u->s, reply, "upload", err);
	if (r < 0) {
		u->is_astray = true;
		return r;
	}
	if (reply->status < 200 || reply->status > 204 ||
	    !upload_range_end(reply->range, &last) ||
	    (last > 0 && u->is_read && last + 1 > u->pos) ||
	    upload_take_location(u, u->location, reply, NULL) < 0) {
		log_debug("registry", "the upload is lost");
		upload_forget(u);
		return 0;
	}
	u->offset = last > 0 ? last + 1 : 0;
	u->has_gone_on = true;
	u->has_all = u->has_all && u->offset == u->pos;
	return 0;
}

/* After a failure: where to go on, and how.  1: all is there already. */
static int
regroup(struct upload *u, struct http_reply *reply, struct imgd_error **err)
{
	uint64_t size;
	int r;

	if (!u->is_astray || u->location == NULL)
		return 0;
	r = find_offset(u, reply, err);
	if (r < 0 || u->location != NULL)
		return r;
	/* Who cannot say what came of a stream may do better with pieces. */
	if (!u->no_pieces && !u->is_small && u->is_read &&
	    u->pos >= u->sent_from + PROGRESS_BYTES)
		u->in_pieces = true;
	/* All was sent, and only the answer was lost. */
	return u->is_confirmed && !u->no_resume &&
	    push_look(u->s, u->digest, &size, NULL) == 1;
}

static int
one_try(struct upload *u, const char *why, struct http_reply *reply,
    struct imgd_error **err)
{
	int r = regroup(u, reply, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (u->location == NULL)
		r = start(u, err);
	if (r >= 0 && u->is_spooled && !u->has_spool)
		r = fill_spool(u, why, err);
	if (r >= 0 && !u->is_small && !u->is_spooled && !u->has_all)
		r = u->in_pieces ? upload_pieces(u, why, reply, err)
				 : stream(u, why, reply, err);
	if (r >= 0)
		r = finish(u, reply, err);
	return r < 0 ? r : look(u, err);
}

static int
attempts(struct upload *u, struct imgd_error **err)
{
	cleanup_error struct imgd_error *last = NULL;
	uint64_t reached = 0;
	unsigned n, ms;
	int r;

	for (n = 1;; n++) {
		cleanup(push_reply_donep) struct http_reply reply = {
			.status = 0
		};
		cleanup_error struct imgd_error *why = NULL;
		bool was_spooled = u->is_spooled, was_in_pieces = u->in_pieces;

		r = one_try(u, last != NULL ? imgd_error_msg(last) : NULL,
		    &reply, &why);
		if (r >= 0)
			return 0;
		/* An upload that was forgotten begins anew. */
		if (r == -IMGD_E_UNKNOWN)
			r = -IMGD_E_NET;
		if (u->offset >= reached + PROGRESS_BYTES)
			n = 1;
		reached = u->offset;
		if (u->is_final ||
		    !v2_may_retry(u->s, r, &reply, n, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		if (u->is_spooled == was_spooled &&
		    u->in_pieces == was_in_pieces) {
			r = v2_wait(u->s, imgd_error_msg(why), ms, err);
			if (r < 0)
				return r;
		}
		u->is_astray = true;
		imgd_error_free(last);
		last = take_ptr(&why);
	}
}

/* Go on with what another session began. */
static void
take_up(struct upload *u)
{
	const struct registry_upload *from = u->from;

	if (from->location == NULL ||
	    (strncmp(u->e->origin, "https:", 6) == 0 &&
		strncasecmp(from->location, "https:", 6) != 0))
		return;
	u->location = strdup(from->location);
	u->is_astray = true;
	if (from->mark_bytes == 0 || from->mark_digest == NULL)
		return;
	u->check.bytes = from->mark_bytes;
	(void)snprintf(u->check.digest, sizeof(u->check.digest), "%s",
	    from->mark_digest);
}

/* The same bytes may find their way another time. */
static bool
is_worth_keeping(const struct upload *u, int r)
{
	return !u->is_final && u->from->marked != NULL &&
	    (r == -IMGD_E_NET || r == -IMGD_E_HTTP || r == -IMGD_E_RATE ||
		r == -IMGD_E_DENIED || r == -ECANCELED);
}

int
registry_upload(struct registry_session *s, struct registry_upload *from,
    struct imgd_error **err)
{
	struct upload u = { .s = s, .from = from,
		.is_small = from->spool_fd < 0,
		.in_pieces = from->in_pieces && from->spool_fd >= 0 };
	int r = push_endpoint(s, &u.e, err);

	if (r >= 0) {
		take_up(&u);
		r = attempts(&u, err);
	}
	if (r < 0 && u.location != NULL && u.e != NULL &&
	    !is_worth_keeping(&u, r)) {
		push_forget_upload(s, u.e, u.location, u.location);
		upload_forget(&u);
		upload_tell_mark(&u, &u.pending);
	}
	free(u.location);
	return r;
}
