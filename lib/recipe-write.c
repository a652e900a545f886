#include "config.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/recipe.h"

/* Headers shrink tenfold at the fastest level already. */
#define LEVEL 1

struct recipe_writer {
	int fd;
	ZSTD_CCtx *zstd;
	uint64_t n_bodies;
	size_t n_plain;
	unsigned char plain[RECIPE_CHUNK]; /* records not yet written */
	unsigned char lost[RECIPE_CHUNK];
	unsigned char packed[RECIPE_HEAD_LEN + ZSTD_COMPRESSBOUND(RECIPE_CHUNK)];
};

int
recipe_writer_new(int fd, struct recipe_writer **ret, struct imgd_error **err)
{
	cleanup(recipe_writer_freep) struct recipe_writer *w =
	    malloc(sizeof(*w));
	int r;

	if (w == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	w->fd = fd;
	w->n_bodies = 0;
	w->n_plain = 0;
	w->zstd = ZSTD_createCCtx();
	if (w->zstd == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = fs_write_all(fd, RECIPE_MAGIC, RECIPE_MAGIC_LEN, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "recipe");
		return r;
	}
	*ret = take_ptr(&w);
	return 0;
}

void
recipe_writer_free(struct recipe_writer *w)
{
	if (w == NULL)
		return;
	(void)ZSTD_freeCCtx(w->zstd);
	free(w);
}

static void
put_u32(unsigned char *p, size_t v)
{
	uint32_t le = htole32((uint32_t)v);

	memcpy(p, &le, sizeof(le));
}

static int
write_chunk(struct recipe_writer *w, char type, const void *plain, size_t len,
    struct imgd_error **err)
{
	size_t n = ZSTD_compressCCtx(w->zstd, w->packed + RECIPE_HEAD_LEN,
	    sizeof(w->packed) - RECIPE_HEAD_LEN, plain, len, LEVEL);
	int r;

	if (ZSTD_isError(n))
		return imgd_error_set(err, ENOMEM, "recipe: zstd: %s",
		    ZSTD_getErrorName(n));
	w->packed[0] = (unsigned char)type;
	put_u32(w->packed + 1, n);
	put_u32(w->packed + 5, len);
	r = fs_write_all(w->fd, w->packed, RECIPE_HEAD_LEN + n, err);
	if (r < 0)
		(void)imgd_error_prefix(err, "recipe");
	return r;
}

static int
flush_records(struct recipe_writer *w, struct imgd_error **err)
{
	size_t n = w->n_plain;

	w->n_plain = 0;
	return n == 0 ? 0 : write_chunk(w, 'R', w->plain, n, err);
}

static int
put(struct recipe_writer *w, const void *data, size_t len,
    struct imgd_error **err)
{
	const unsigned char *p = data;

	while (len > 0) {
		size_t n = sizeof(w->plain) - w->n_plain;
		int r;

		if (n > len)
			n = len;
		memcpy(w->plain + w->n_plain, p, n);
		w->n_plain += n;
		p += n;
		len -= n;
		if (w->n_plain == sizeof(w->plain) &&
		    (r = flush_records(w, err)) < 0)
			return r;
	}
	return 0;
}

static size_t
encode_varint(unsigned char buf[10], uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		buf[n++] = (unsigned char)(v | 0x80);
	buf[n++] = (unsigned char)v;
	return n;
}

static int
put_varint(struct recipe_writer *w, uint64_t v, struct imgd_error **err)
{
	unsigned char buf[10];

	return put(w, buf, encode_varint(buf, v), err);
}

int
recipe_raw(struct recipe_writer *w, const void *data, size_t len,
    struct imgd_error **err)
{
	const unsigned char type = RECIPE_RAW;
	int r;

	if (len == 0)
		return 0;
	r = put(w, &type, 1, err);
	if (r >= 0)
		r = put_varint(w, len, err);
	return r < 0 ? r : put(w, data, len, err);
}

int
recipe_body(struct recipe_writer *w, const char *path,
    const struct recipe_region *regions, size_t n_regions, uint64_t crc,
    struct imgd_error **err)
{
	const unsigned char type = RECIPE_BODY;
	const uint64_t le = htole64(crc);
	const size_t path_len = strlen(path);
	uint64_t end = 0;
	size_t i;
	int r;

	if ((r = put(w, &type, 1, err)) < 0 ||
	    (r = put_varint(w, path_len, err)) < 0 ||
	    (r = put(w, path, path_len, err)) < 0 ||
	    (r = put_varint(w, n_regions, err)) < 0)
		return r;
	for (i = 0; i < n_regions; i++) {
		assert(regions[i].offset >= end);
		if ((r = put_varint(w, regions[i].offset - end, err)) < 0 ||
		    (r = put_varint(w, regions[i].len, err)) < 0)
			return r;
		end = regions[i].offset + regions[i].len;
	}
	w->n_bodies++;
	return put(w, &le, sizeof(le), err);
}

int
recipe_lost(struct recipe_writer *w, const char *path, int fd,
    struct imgd_error **err)
{
	size_t n, path_len = strlen(path);
	uint64_t at = 0;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	n = encode_varint(w->lost, w->n_bodies);
	n += encode_varint(w->lost + n, (uint64_t)st.st_size);
	assert(n + path_len <= sizeof(w->lost));
	memcpy(w->lost + n, path, path_len);
	r = write_chunk(w, 'S', w->lost, n + path_len, err);
	if (r < 0)
		return r;
	while (at < (uint64_t)st.st_size) {
		ssize_t got = pread(fd, w->lost, sizeof(w->lost), (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return imgd_error_set(err, got < 0 ? errno : EIO,
			    "%s: %s", path,
			    got < 0 ? strerror(errno) : "it has shrunk");
		r = write_chunk(w, 'D', w->lost, (size_t)got, err);
		if (r < 0)
			return r;
		at += (uint64_t)got;
	}
	return 0;
}

int
recipe_end(struct recipe_writer *w, uint64_t tar_bytes, const char *diff_id,
    struct imgd_error **err)
{
	unsigned char end[RECIPE_HEAD_LEN + RECIPE_END_LEN] = { 'E' };
	uint64_t le;
	int r;

	r = flush_records(w, err);
	if (r < 0)
		return r;
	le = htole64(tar_bytes);
	memcpy(end + RECIPE_HEAD_LEN, &le, 8);
	le = htole64(w->n_bodies);
	memcpy(end + RECIPE_HEAD_LEN + 8, &le, 8);
	memcpy(end + RECIPE_HEAD_LEN + 16, diff_id, DIGEST_STR_LEN);
	r = fs_write_all(w->fd, end, sizeof(end), err);
	if (r < 0)
		(void)imgd_error_prefix(err, "recipe");
	return r;
}
