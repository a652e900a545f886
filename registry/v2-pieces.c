/*
 * An upload in pieces: each is a PATCH of known length from a scratch file, so
 * that a broken one is sent again, from where the registry wants it, without
 * making the bytes anew.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "registry/v2-upload.h"

#define PIECE_BYTES UPLOAD_MARK_BYTES
#define COPY_BYTES  (32u << 10)

/* Read the piece behind what the registry has. */
static int
fill(struct upload *u, const char *why, struct imgd_error **err)
{
	cleanup_free char *buf = malloc(COPY_BYTES);
	uint64_t size = u->min_piece > PIECE_BYTES ? u->min_piece : PIECE_BYTES;
	int fd = u->from->spool_fd;
	int64_t n = 1;
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	u->has_piece = false;
	r = upload_seek(u, why, err);
	if (r < 0)
		return r;
	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	u->piece_start = u->pos;
	while (n > 0 && u->pos - u->piece_start < size) {
		uint64_t left = size - (u->pos - u->piece_start);

		n = upload_read(u, buf,
		    left < COPY_BYTES ? (size_t)left : COPY_BYTES, err);
		if (n < 0)
			return (int)n;
		r = fs_write_all(fd, buf, (size_t)n, err);
		if (r < 0) {
			u->is_final = true;
			return r;
		}
	}
	u->is_last = n == 0;
	u->piece_end = u->pos;
	r = u->from->digest(u->from->ctx, u->piece_digest, err);
	u->has_piece = r >= 0;
	return r;
}

static int
piece_restart(void *ctx, struct imgd_error **err)
{
	struct upload *u = ctx;
	off_t at = (off_t)(u->offset - u->piece_start);

	if (lseek(u->from->spool_fd, at, SEEK_SET) < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	return 0;
}

static int64_t
piece_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct upload *u = ctx;
	ssize_t n = read(u->from->spool_fd, buf, len);

	if (n < 0)
		return imgd_error_set(err, errno, "spool: %s",
		    strerror(errno));
	return n;
}

/* At the first piece: whether the registry wants none. */
static bool
is_refusal(const struct upload *u, const struct http_reply *reply)
{
	return u->offset == 0 &&
	    (reply->status == 400 || reply->status == 405 ||
		reply->status == 411 || reply->status == 413 ||
		reply->status == 415 || reply->status == 501);
}

static int
take_answer(struct upload *u, const struct http_reply *reply,
    struct imgd_error **err)
{
	uint64_t last, end = u->piece_end;
	int r;

	if (upload_range_end(reply->range, &last))
		end = last + 1;
	if (end <= u->offset || end > u->piece_end)
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry kept %ju bytes of %ju", (uintmax_t)end,
		    (uintmax_t)u->piece_end);
	r = upload_take_location(u, u->location, reply, err);
	if (r < 0)
		return r;
	u->offset = end;
	if (end == u->piece_end) {
		struct upload_mark mark = { .bytes = end };

		memcpy(mark.digest, u->piece_digest, DIGEST_STR_SIZE);
		upload_tell_mark(u, &mark);
	}
	return 0;
}

static int
send_piece(struct upload *u, struct http_reply *reply, struct imgd_error **err)
{
	struct http_request req = { .method = "PATCH",
		.restart = piece_restart, .send = piece_read, .send_ctx = u,
		.has_send_length = true,
		.send_length = u->piece_end - u->offset };
	const char *headers[2] = { NULL };
	char range[80];
	int r;

	(void)snprintf(range, sizeof(range), "Content-Range: %ju-%ju",
	    (uintmax_t)u->offset, (uintmax_t)u->piece_end - 1);
	headers[0] = range;
	req.headers = headers;
	r = upload_ask(u->s, u->e, u->location, &req, reply, err);
	if (r < 0)
		return r;
	if (is_refusal(u, reply)) {
		u->no_pieces = true;
		u->in_pieces = false;
		return imgd_error_set(err, IMGD_E_NET,
		    "the registry takes no pieces");
	}
	r = upload_check_range(u, reply, err);
	if (r < 0)
		return r;
	if (reply->status != 202 && reply->status != 201 &&
	    reply->status != 204)
		return reply_error(u->s, reply, "upload", err);
	return take_answer(u, reply, err);
}

int
upload_pieces(struct upload *u, const char *why, struct http_reply *reply,
    struct imgd_error **err)
{
	int r = 0;

	while (r >= 0 && !u->has_all) {
		if (!u->has_piece || u->offset < u->piece_start ||
		    u->offset > u->piece_end ||
		    (u->offset == u->piece_end && !u->is_last))
			r = fill(u, why, err);
		why = NULL;
		if (r >= 0 && u->offset < u->piece_end)
			r = send_piece(u, reply, err);
		if (r >= 0)
			u->has_all = u->is_last && u->offset == u->piece_end;
	}
	return r;
}
