#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "lib/deflate.h"

#define IN_BYTES        (32u << 10)
#define GZIP_LEVEL      6  /* as docker's */
#define ZSTD_LEVEL      3
#define ZSTD_WINDOW_LOG 19 /* memory: about 1.5 MiB */

struct deflate {
	enum deflate_format format;
	deflate_read_fn *read;
	void *ctx;
	struct digest_ctx *plain, *compressed;
	uint64_t plain_bytes, bytes;
	z_stream gzip;
	bool has_gzip;
	ZSTD_CCtx *zstd;
	size_t in_pos, in_len;
	bool is_eof, is_done;
	unsigned char in[IN_BYTES];
};

static int
start(struct deflate *z, struct imgd_error **err)
{
	int r = digest_new(&z->plain, err);

	if (r >= 0)
		r = digest_new(&z->compressed, err);
	if (r < 0)
		return r;
	if (z->format == DEFLATE_GZIP) {
		/* 16: with gzip's header, which zlib fills with no time. */
		z->has_gzip = deflateInit2(&z->gzip, GZIP_LEVEL, Z_DEFLATED,
				  15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
		return z->has_gzip
		    ? 0
		    : imgd_error_set(err, ENOMEM, "out of memory");
	}
	z->zstd = ZSTD_createCCtx();
	if (z->zstd == NULL ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z->zstd,
		ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z->zstd, ZSTD_c_windowLog,
		ZSTD_WINDOW_LOG)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z->zstd, ZSTD_c_checksumFlag,
		1)))
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

int
deflate_new(enum deflate_format format, deflate_read_fn *read, void *ctx,
    struct deflate **ret, struct imgd_error **err)
{
	struct deflate *z = calloc(1, sizeof(*z));
	int r;

	if (z == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	z->format = format;
	z->read = read;
	z->ctx = ctx;
	r = start(z, err);
	if (r < 0) {
		deflate_free(z);
		return r;
	}
	*ret = z;
	return 0;
}

void
deflate_free(struct deflate *z)
{
	if (z == NULL)
		return;
	if (z->has_gzip)
		(void)deflateEnd(&z->gzip);
	(void)ZSTD_freeCCtx(z->zstd);
	digest_free(z->plain);
	digest_free(z->compressed);
	free(z);
}

static int
fill(struct deflate *z, struct imgd_error **err)
{
	int64_t n;

	if (z->is_eof || z->in_pos < z->in_len)
		return 0;
	n = z->read(z->ctx, z->in, sizeof(z->in), err);
	if (n < 0)
		return (int)n;
	z->is_eof = n == 0;
	z->in_pos = 0;
	z->in_len = (size_t)n;
	z->plain_bytes += (uint64_t)n;
	digest_update(z->plain, z->in, (size_t)n);
	return 0;
}

/* Compress what there is into buf; returns how much came. */
static int64_t
squeeze_gzip(struct deflate *z, void *buf, size_t len, struct imgd_error **err)
{
	int r;

	z->gzip.next_in = z->in + z->in_pos;
	z->gzip.avail_in = (unsigned int)(z->in_len - z->in_pos);
	z->gzip.next_out = buf;
	z->gzip.avail_out = (unsigned int)len;
	r = deflate(&z->gzip, z->is_eof ? Z_FINISH : Z_NO_FLUSH);
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return imgd_error_set(err, EIO, "gzip: error %d", r);
	z->in_pos = z->in_len - z->gzip.avail_in;
	z->is_done = r == Z_STREAM_END;
	return (int64_t)(len - z->gzip.avail_out);
}

static int64_t
squeeze_zstd(struct deflate *z, void *buf, size_t len, struct imgd_error **err)
{
	ZSTD_inBuffer in = { z->in, z->in_len, z->in_pos };
	ZSTD_outBuffer out = { buf, len, 0 };
	size_t left;

	left = ZSTD_compressStream2(z->zstd, &out, &in,
	    z->is_eof ? ZSTD_e_end : ZSTD_e_continue);
	if (ZSTD_isError(left))
		return imgd_error_set(err, EIO, "zstd: %s",
		    ZSTD_getErrorName(left));
	z->in_pos = in.pos;
	z->is_done = z->is_eof && left == 0;
	return (int64_t)out.pos;
}

int64_t
deflate_read(struct deflate *z, void *buf, size_t len, struct imgd_error **err)
{
	int64_t n = 0;

	while (n == 0 && !z->is_done) {
		int r = fill(z, err);

		if (r < 0)
			return r;
		n = z->format == DEFLATE_GZIP ? squeeze_gzip(z, buf, len, err)
					      : squeeze_zstd(z, buf, len, err);
		if (n < 0)
			return n;
	}
	digest_update(z->compressed, buf, (size_t)n);
	z->bytes += (uint64_t)n;
	return n;
}

uint64_t
deflate_plain_bytes(const struct deflate *z)
{
	return z->plain_bytes;
}

uint64_t
deflate_bytes(const struct deflate *z)
{
	return z->bytes;
}

int
deflate_digests(struct deflate *z, char ret_plain[DIGEST_STR_SIZE],
    char ret_compressed[DIGEST_STR_SIZE], struct imgd_error **err)
{
	int r = digest_str(z->plain, ret_plain, err);

	return r < 0 ? r : digest_str(z->compressed, ret_compressed, err);
}
