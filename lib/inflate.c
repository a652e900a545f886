#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bzlib.h>
#include <lzma.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "lib/inflate-impl.h"
#include "lib/limits.h"

int
inflate_emit(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	int r;

	if (len == 0)
		return 0;
	r = z->sink->write(z->sink->ctx, data, len, err);
	if (r < 0)
		return r;
	z->n_out += len;
	return 0;
}

static int
truncated(const char *format, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_FORMAT, "%s: the stream is cut short",
	    format);
}

/* ---- nothing ---- */

static int
none_start(struct inflate *z, struct imgd_error **err)
{
	(void)z;
	(void)err;
	return 0;
}

static int
none_end(struct inflate *z, struct imgd_error **err)
{
	(void)z;
	(void)err;
	return 0;
}

const struct codec codec_none = {
	.name = "none",
	.start = none_start,
	.push = inflate_emit,
	.end = none_end,
	.stop = free,
};

/* ---- zstd ---- */

struct zstd {
	ZSTD_DStream *stream;
	bool is_between; /* the last frame is complete */
};

static void
zstd_stop(void *state)
{
	struct zstd *s = state;

	if (s == NULL)
		return;
	(void)ZSTD_freeDStream(s->stream);
	free(s);
}

static int
zstd_start(struct inflate *z, struct imgd_error **err)
{
	struct zstd *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->stream = ZSTD_createDStream();
	if (s->stream == NULL ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(s->stream,
		ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG))) {
		zstd_stop(s);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	z->state = s;
	return 0;
}

static int
zstd_push(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	struct zstd *s = z->state;
	ZSTD_inBuffer in = { data, len, 0 };
	ZSTD_outBuffer out;
	size_t left, was_at;
	int r, code;

	do {
		was_at = in.pos;
		out = (ZSTD_outBuffer){ z->out, INFLATE_OUT_BYTES, 0 };
		left = ZSTD_decompressStream(s->stream, &out, &in);
		if (ZSTD_isError(left)) {
			code = ZSTD_getErrorCode(left) ==
				    ZSTD_error_frameParameter_windowTooLarge ?
			    IMGD_E_LIMIT :
			    IMGD_E_FORMAT;
			return imgd_error_set(err, code, "zstd: %s",
			    ZSTD_getErrorName(left));
		}
		/* Asked again behind a frame's end it wants the next one. */
		if (left == 0 || in.pos > was_at || out.pos > 0)
			s->is_between = left == 0;
		r = inflate_emit(z, z->out, out.pos, err);
		if (r < 0)
			return r;
	} while (in.pos < in.size || out.pos == out.size);
	return 0;
}

static int
zstd_end(struct inflate *z, struct imgd_error **err)
{
	struct zstd *s = z->state;

	return s->is_between ? 0 : truncated("zstd", err);
}

const struct codec codec_zstd = {
	.name = "zstd",
	.start = zstd_start,
	.push = zstd_push,
	.end = zstd_end,
	.stop = zstd_stop,
};

/* ---- xz ---- */

static void
xz_stop(void *state)
{
	if (state != NULL)
		lzma_end(state);
	free(state);
}

static int
xz_error(lzma_ret code, struct imgd_error **err)
{
	switch (code) {
	case LZMA_MEM_ERROR:
		return imgd_error_set(err, ENOMEM, "out of memory");
	case LZMA_MEMLIMIT_ERROR:
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "xz: the dictionary is too large");
	case LZMA_BUF_ERROR:
		return truncated("xz", err);
	default:
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "xz: the stream is damaged");
	}
}

static int
xz_start(struct inflate *z, struct imgd_error **err)
{
	const uint64_t mem_limit = (1ULL << LIMIT_ZSTD_WINDOW_LOG) + (8u << 20);
	lzma_stream *s = malloc(sizeof(*s));
	lzma_ret code;

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*s = (lzma_stream)LZMA_STREAM_INIT;
	code = lzma_stream_decoder(s, mem_limit, LZMA_CONCATENATED);
	if (code != LZMA_OK) {
		xz_stop(s);
		return xz_error(code, err);
	}
	z->state = s;
	return 0;
}

static int
xz_run(struct inflate *z, const uint8_t *data, size_t len, lzma_action action,
    struct imgd_error **err)
{
	lzma_stream *s = z->state;
	lzma_ret code;
	int r;

	s->next_in = data;
	s->avail_in = len;
	do {
		s->next_out = z->out;
		s->avail_out = INFLATE_OUT_BYTES;
		code = lzma_code(s, action);
		r = inflate_emit(z, z->out, INFLATE_OUT_BYTES - s->avail_out,
		    err);
		if (r < 0)
			return r;
		if (code == LZMA_STREAM_END)
			return 0;
		/* No progress on no input is no error while more may come. */
		if (code == LZMA_BUF_ERROR && action == LZMA_RUN &&
		    s->avail_in == 0)
			return 0;
		if (code != LZMA_OK)
			return xz_error(code, err);
	} while (s->avail_in > 0 || s->avail_out == 0 || action == LZMA_FINISH);
	return 0;
}

static int
xz_push(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	return xz_run(z, data, len, LZMA_RUN, err);
}

static int
xz_end(struct inflate *z, struct imgd_error **err)
{
	return xz_run(z, NULL, 0, LZMA_FINISH, err);
}

const struct codec codec_xz = {
	.name = "xz",
	.start = xz_start,
	.push = xz_push,
	.end = xz_end,
	.stop = xz_stop,
};

/* ---- bzip2 ---- */

struct bzip2 {
	bz_stream stream;
	bool is_open; /* within a stream; else one is over */
};

static void
bzip2_stop(void *state)
{
	struct bzip2 *s = state;

	if (s != NULL && s->is_open)
		(void)BZ2_bzDecompressEnd(&s->stream);
	free(s);
}

static int
bzip2_start(struct inflate *z, struct imgd_error **err)
{
	z->state = calloc(1, sizeof(struct bzip2));
	if (z->state == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
bzip2_run(struct inflate *z, struct imgd_error **err)
{
	struct bzip2 *s = z->state;
	int r, code;

	if (!s->is_open) {
		if (BZ2_bzDecompressInit(&s->stream, 0, 0) != BZ_OK)
			return imgd_error_set(err, ENOMEM, "out of memory");
		s->is_open = true;
	}
	s->stream.next_out = (char *)z->out;
	s->stream.avail_out = INFLATE_OUT_BYTES;
	code = BZ2_bzDecompress(&s->stream);
	r = inflate_emit(z, z->out, INFLATE_OUT_BYTES - s->stream.avail_out,
	    err);
	if (r < 0)
		return r;
	if (code == BZ_STREAM_END) {
		s->is_open = false;
		(void)BZ2_bzDecompressEnd(&s->stream);
	} else if (code == BZ_MEM_ERROR) {
		return imgd_error_set(err, ENOMEM, "out of memory");
	} else if (code != BZ_OK) {
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "bzip2: the stream is damaged");
	}
	return 0;
}

static int
bzip2_push(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	struct bzip2 *s = z->state;
	char *next = (char *)(uintptr_t)data;
	unsigned piece;
	int r;

	while (len > 0) {
		piece = len > (1u << 30) ? 1u << 30 : (unsigned)len;
		s->stream.next_in = next;
		s->stream.avail_in = piece;
		do {
			r = bzip2_run(z, err);
			if (r < 0)
				return r;
		} while (s->stream.avail_in > 0 ||
		    (s->is_open && s->stream.avail_out == 0));
		next += piece;
		len -= piece;
	}
	return 0;
}

static int
bzip2_end(struct inflate *z, struct imgd_error **err)
{
	struct bzip2 *s = z->state;

	return s->is_open ? truncated("bzip2", err) : 0;
}

const struct codec codec_bzip2 = {
	.name = "bzip2",
	.start = bzip2_start,
	.push = bzip2_push,
	.end = bzip2_end,
	.stop = bzip2_stop,
};

/* ---- the filter ---- */

static const struct codec *
detect(const uint8_t *p, size_t len)
{
	static const uint8_t xz[6] = { 0xfd, '7', 'z', 'X', 'Z', 0 };
	/* What follows "BZh" and the level: a block's or the end's mark.  The
	 * three letters alone may be the name of a tar's first file. */
	static const uint8_t bz_block[6] = { 0x31, 0x41, 0x59, 0x26, 0x53,
		0x59 };
	static const uint8_t bz_end[6] = { 0x17, 0x72, 0x45, 0x38, 0x50, 0x90 };

	if (len >= 2 && p[0] == 0x1f && p[1] == 0x8b)
		return &codec_gzip;
	if (len >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0)
		return &codec_zstd;
	if (len >= 4 && (p[0] & 0xf0) == 0x50 &&
	    memcmp(p + 1, "\x2a\x4d\x18", 3) == 0)
		return &codec_zstd;
	if (len >= 6 && memcmp(p, xz, 6) == 0)
		return &codec_xz;
	if (len >= 10 && memcmp(p, "BZh", 3) == 0 && p[3] >= '1' &&
	    p[3] <= '9' &&
	    (memcmp(p + 4, bz_block, 6) == 0 || memcmp(p + 4, bz_end, 6) == 0))
		return &codec_bzip2;
	return &codec_none;
}

bool
inflate_is_compressed(const void *head, size_t len)
{
	return detect(head, len) != &codec_none;
}

static int
begin(struct inflate *z, struct imgd_error **err)
{
	int r;

	z->codec = detect(z->head, z->n_head);
	if (z->codec != &codec_none) {
		z->out = malloc(INFLATE_OUT_BYTES);
		if (z->out == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	r = z->codec->start(z, err);
	if (r < 0)
		return r;
	return z->codec->push(z, z->head, z->n_head, err);
}

int
inflate_new_with(struct imgd_sink *sink, const struct deflate *deflate,
    struct inflate **ret, struct imgd_error **err)
{
	struct inflate *z = calloc(1, sizeof(*z));

	if (z == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	z->sink = sink;
	z->deflate = deflate;
	*ret = z;
	return 0;
}

int
inflate_new(struct imgd_sink *sink, struct inflate **ret,
    struct imgd_error **err)
{
#ifdef HAVE_ISAL
	return inflate_new_with(sink, &deflate_isal, ret, err);
#else
	return inflate_new_with(sink, &deflate_zlib, ret, err);
#endif
}

static int
push(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	size_t n;
	int r;

	if (z->codec == NULL) {
		n = INFLATE_HEAD_BYTES - z->n_head;
		if (n > len)
			n = len;
		memcpy(z->head + z->n_head, data, n);
		z->n_head += n;
		data += n;
		len -= n;
		if (z->n_head < INFLATE_HEAD_BYTES)
			return 0;
		r = begin(z, err);
		if (r < 0)
			return r;
	}
	return len > 0 ? z->codec->push(z, data, len, err) : 0;
}

int
inflate_push(struct inflate *z, const void *data, size_t len,
    struct imgd_error **err)
{
	int r;

	if (z->is_broken)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the stream is damaged");
	if (len == 0)
		return 0;
	r = push(z, data, len, err);
	z->is_broken = r < 0;
	return r;
}

int
inflate_end(struct inflate *z, struct imgd_error **err)
{
	int r = 0;

	if (z->is_broken)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the stream is damaged");
	if (z->codec == NULL)
		r = begin(z, err);
	if (r >= 0)
		r = z->codec->end(z, err);
	z->is_broken = r < 0;
	return r;
}

uint64_t
inflate_bytes(const struct inflate *z)
{
	return z->n_out;
}

const char *
inflate_format(const struct inflate *z)
{
	return z->codec != NULL ? z->codec->name : "none";
}

void
inflate_free(struct inflate *z)
{
	if (z == NULL)
		return;
	if (z->codec != NULL)
		z->codec->stop(z->state);
	free(z->out);
	free(z);
}
