#include "config.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/path-set.h"
#include "lib/recipe.h"

/* Where a lost body is. */
struct lost {
	uint64_t path_hash;
	uint64_t n_bodies; /* the body is among the first so many */
	uint64_t offset;   /* of the chunk behind its 'S' */
};

struct chunk {
	char type;
	uint32_t packed;
	uint32_t plain;
};

struct recipe_reader {
	int fd;
	ZSTD_DCtx *zstd;
	uint64_t size; /* of the file */
	uint64_t tar_bytes;
	uint64_t n_bodies;
	char diff_id[DIGEST_STR_SIZE];

	uint64_t key[2];
	struct lost *lost; /* owned; sorted by all three fields */
	size_t n_lost;
	size_t lost_size;
	const struct lost *current; /* the one that ops->lost is told of */

	uint64_t at; /* the next chunk of the record stream */
	size_t n_plain;
	size_t taken;
	uint64_t bodies_read;
	struct recipe_region *regions; /* owned */
	size_t regions_size;
	char path[LIMIT_PATH_BYTES + 1];
	unsigned char plain[RECIPE_CHUNK];
	unsigned char lost_plain[RECIPE_CHUNK];
	unsigned char packed[ZSTD_COMPRESSBOUND(RECIPE_CHUNK)];
};

static int
damaged(struct imgd_error **err, const char *what)
{
	return imgd_error_set(err, EUCLEAN, "recipe is damaged: %s", what);
}

void
recipe_reader_free(struct recipe_reader *rd)
{
	if (rd == NULL)
		return;
	(void)ZSTD_freeDCtx(rd->zstd);
	free(rd->lost);
	free(rd->regions);
	free(rd);
}

uint64_t
recipe_tar_bytes(const struct recipe_reader *rd)
{
	return rd->tar_bytes;
}

const char *
recipe_diff_id(const struct recipe_reader *rd)
{
	return rd->diff_id;
}

static int
read_at(struct recipe_reader *rd, void *buf, size_t len, uint64_t at,
    struct imgd_error **err)
{
	char *p = buf;

	if (at > rd->size || len > rd->size - at)
		return damaged(err, "it is cut short");
	while (len > 0) {
		ssize_t n = pread(rd->fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "recipe: %s",
			    strerror(errno));
		if (n == 0)
			return damaged(err, "it is cut short");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int
read_head(struct recipe_reader *rd, uint64_t at, struct chunk *ret,
    struct imgd_error **err)
{
	unsigned char head[RECIPE_HEAD_LEN];
	uint32_t v;
	int r = read_at(rd, head, sizeof(head), at, err);

	if (r < 0)
		return r;
	ret->type = (char)head[0];
	memcpy(&v, head + 1, 4);
	ret->packed = le32toh(v);
	memcpy(&v, head + 5, 4);
	ret->plain = le32toh(v);
	if (ret->packed > sizeof(rd->packed) || ret->plain > RECIPE_CHUNK)
		return damaged(err, "a chunk's length");
	return 0;
}

/* Unpack the chunk at "at" with head c into plain. */
static int
read_chunk(struct recipe_reader *rd, uint64_t at, const struct chunk *c,
    unsigned char plain[RECIPE_CHUNK], struct imgd_error **err)
{
	size_t n;
	int r = read_at(rd, rd->packed, c->packed, at + RECIPE_HEAD_LEN, err);

	if (r < 0)
		return r;
	n = ZSTD_decompressDCtx(rd->zstd, plain, RECIPE_CHUNK, rd->packed,
	    c->packed);
	if (ZSTD_isError(n) || n != c->plain)
		return damaged(err, "a chunk does not unpack");
	return 0;
}

static bool
decode_varint(const unsigned char **p, const unsigned char *end,
    uint64_t *ret)
{
	uint64_t v = 0;
	int shift;

	for (shift = 0; shift < 63 && *p < end; shift += 7) {
		unsigned char c = *(*p)++;

		v |= (uint64_t)(c & 0x7f) << shift;
		if ((c & 0x80) == 0) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static int
note_lost(struct recipe_reader *rd, uint64_t at, const struct chunk *c,
    struct imgd_error **err)
{
	const unsigned char *p = rd->plain, *end = rd->plain + c->plain;
	uint64_t n_bodies, len;
	int r = read_chunk(rd, at, c, rd->plain, err);

	if (r < 0)
		return r;
	if (!decode_varint(&p, end, &n_bodies) ||
	    !decode_varint(&p, end, &len))
		return damaged(err, "a lost body's head");
	if (rd->n_lost == LIMIT_LAYER_ENTRIES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "recipe: more than %d lost bodies", LIMIT_LAYER_ENTRIES);
	if (rd->n_lost == rd->lost_size) {
		size_t n = rd->lost_size == 0 ? 16 : rd->lost_size * 2;
		struct lost *lost = reallocarray(rd->lost, n, sizeof(*lost));

		if (lost == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		rd->lost = lost;
		rd->lost_size = n;
	}
	rd->lost[rd->n_lost++] = (struct lost){
		.path_hash = path_hash(rd->key, 0, p, (size_t)(end - p)),
		.n_bodies = n_bodies,
		.offset = at + RECIPE_HEAD_LEN + c->packed,
	};
	return 0;
}

static int
read_end(struct recipe_reader *rd, uint64_t at, struct imgd_error **err)
{
	unsigned char end[RECIPE_END_LEN];
	uint64_t v;
	int r = read_at(rd, end, sizeof(end), at + RECIPE_HEAD_LEN, err);

	if (r < 0)
		return r;
	memcpy(&v, end, 8);
	rd->tar_bytes = le64toh(v);
	memcpy(&v, end + 8, 8);
	rd->n_bodies = le64toh(v);
	memcpy(rd->diff_id, end + 16, DIGEST_STR_LEN);
	if (!digest_is_valid(rd->diff_id))
		return damaged(err, "its digest");
	return 0;
}

static int
compare_lost(const void *a, const void *b)
{
	const struct lost *x = a, *y = b;

	if (x->path_hash != y->path_hash)
		return x->path_hash < y->path_hash ? -1 : 1;
	if (x->n_bodies != y->n_bodies)
		return x->n_bodies < y->n_bodies ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Find the end record and the lost bodies. */
static int
scan(struct recipe_reader *rd, struct imgd_error **err)
{
	uint64_t at = RECIPE_MAGIC_LEN;
	struct chunk c;
	int r;

	for (;;) {
		r = read_head(rd, at, &c, err);
		if (r < 0)
			return r;
		if (c.type == 'E')
			return read_end(rd, at, err);
		if (c.type == 'S')
			r = note_lost(rd, at, &c, err);
		else if (c.type != 'R' && c.type != 'D')
			r = damaged(err, "a chunk's type");
		if (r < 0)
			return r;
		at += RECIPE_HEAD_LEN + c.packed;
	}
}

int
recipe_reader_new(int fd, struct recipe_reader **ret, struct imgd_error **err)
{
	cleanup(recipe_reader_freep) struct recipe_reader *rd =
	    calloc(1, sizeof(*rd));
	struct path_set keys;
	char magic[RECIPE_MAGIC_LEN];
	struct stat st;
	int r;

	if (rd == NULL || (rd->zstd = ZSTD_createDCtx()) == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	rd->fd = fd;
	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "recipe: %s",
		    strerror(errno));
	rd->size = (uint64_t)st.st_size;
	r = path_set_init(&keys, err);
	if (r < 0)
		return r;
	memcpy(rd->key, keys.key, sizeof(rd->key));
	r = read_at(rd, magic, sizeof(magic), 0, err);
	if (r < 0)
		return r;
	if (memcmp(magic, RECIPE_MAGIC, sizeof(magic)) != 0)
		return damaged(err, "it is no recipe of version 1");
	r = scan(rd, err);
	if (r < 0)
		return r;
	if (rd->n_lost > 0)
		qsort(rd->lost, rd->n_lost, sizeof(*rd->lost), compare_lost);
	rd->at = RECIPE_MAGIC_LEN;
	*ret = take_ptr(&rd);
	return 0;
}

/* Make at least one byte of the record stream ready: 1, or 0 at its end. */
static int
fill(struct recipe_reader *rd, struct imgd_error **err)
{
	struct chunk c;
	int r;

	while (rd->taken == rd->n_plain) {
		r = read_head(rd, rd->at, &c, err);
		if (r < 0)
			return r;
		if (c.type == 'E')
			return 0;
		if (c.type == 'R') {
			r = read_chunk(rd, rd->at, &c, rd->plain, err);
			if (r < 0)
				return r;
			rd->taken = 0;
			rd->n_plain = c.plain;
		}
		rd->at += RECIPE_HEAD_LEN + c.packed;
	}
	return 1;
}

static int
get(struct recipe_reader *rd, void *buf, size_t len, struct imgd_error **err)
{
	char *p = buf;

	while (len > 0) {
		size_t n;
		int r = fill(rd, err);

		if (r <= 0)
			return r < 0 ? r :
				       damaged(err, "a record is cut short");
		n = rd->n_plain - rd->taken;
		if (n > len)
			n = len;
		memcpy(p, rd->plain + rd->taken, n);
		rd->taken += n;
		p += n;
		len -= n;
	}
	return 0;
}

static int
get_varint(struct recipe_reader *rd, uint64_t *ret, struct imgd_error **err)
{
	unsigned char buf[10] = { 0 };
	const unsigned char *p = buf;
	size_t n;

	for (n = 0; n < sizeof(buf); n++) {
		int r = get(rd, &buf[n], 1, err);

		if (r < 0)
			return r;
		if ((buf[n] & 0x80) == 0 && decode_varint(&p, buf + n + 1, ret))
			return 0;
	}
	return damaged(err, "a number");
}

static int
read_raw(struct recipe_reader *rd, const struct recipe_ops *ops, void *ctx,
    struct imgd_error **err)
{
	uint64_t left;
	int r = get_varint(rd, &left, err);

	while (r >= 0 && left > 0) {
		size_t n;

		r = fill(rd, err);
		if (r <= 0)
			return r < 0 ? r :
				       damaged(err, "a record is cut short");
		n = rd->n_plain - rd->taken;
		if (n > left)
			n = (size_t)left;
		r = ops->raw(ctx, rd->plain + rd->taken, n, err);
		rd->taken += n;
		left -= n;
	}
	return r;
}

static int
read_regions(struct recipe_reader *rd, size_t n, struct imgd_error **err)
{
	uint64_t gap, len, end = 0;
	size_t i;
	int r;

	if (n > rd->regions_size) {
		struct recipe_region *p =
		    reallocarray(rd->regions, n, sizeof(*p));

		if (p == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		rd->regions = p;
		rd->regions_size = n;
	}
	for (i = 0; i < n; i++) {
		if ((r = get_varint(rd, &gap, err)) < 0 ||
		    (r = get_varint(rd, &len, err)) < 0)
			return r;
		/* Both are below 2^63, so this cannot wrap unseen. */
		if (gap > INT64_MAX - end || len > INT64_MAX - end - gap)
			return damaged(err, "a region");
		rd->regions[i] = (struct recipe_region){
			.offset = end + gap,
			.len = len,
		};
		end += gap + len;
	}
	return 0;
}

/* The lost body that the body record just read stands for, or NULL: of those
 * with its path the first that was saved after it. */
static const struct lost *
find_lost(const struct recipe_reader *rd, size_t path_len)
{
	struct lost want = { .n_bodies = rd->bodies_read };
	size_t low = 0, high = rd->n_lost;

	if (rd->n_lost == 0)
		return NULL;
	want.path_hash = path_hash(rd->key, 0, rd->path, path_len);
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare_lost(&rd->lost[mid], &want) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < rd->n_lost && rd->lost[low].path_hash == want.path_hash ?
	    &rd->lost[low] : NULL;
}

static int
read_body(struct recipe_reader *rd, const struct recipe_ops *ops, void *ctx,
    struct imgd_error **err)
{
	uint64_t path_len, n_regions, crc;
	int r;

	r = get_varint(rd, &path_len, err);
	if (r < 0)
		return r;
	if (path_len == 0 || path_len > LIMIT_PATH_BYTES)
		return damaged(err, "a path's length");
	r = get(rd, rd->path, (size_t)path_len, err);
	if (r < 0)
		return r;
	rd->path[path_len] = '\0';
	if (strlen(rd->path) != path_len)
		return damaged(err, "a path");
	r = get_varint(rd, &n_regions, err);
	if (r < 0)
		return r;
	if (n_regions > LIMIT_SPARSE_ENTRIES)
		return damaged(err, "the number of regions");
	if ((r = read_regions(rd, (size_t)n_regions, err)) < 0 ||
	    (r = get(rd, &crc, sizeof(crc), err)) < 0)
		return r;
	rd->bodies_read++;
	rd->current = find_lost(rd, (size_t)path_len);
	return (rd->current != NULL ? ops->lost : ops->body)(ctx, rd->path,
	    rd->regions, (size_t)n_regions, le64toh(crc), err);
}

int
recipe_read(struct recipe_reader *rd, const struct recipe_ops *ops, void *ctx,
    struct imgd_error **err)
{
	unsigned char type;
	int r;

	while ((r = fill(rd, err)) > 0) {
		r = get(rd, &type, 1, err);
		if (r < 0)
			return r;
		if (type == RECIPE_RAW)
			r = read_raw(rd, ops, ctx, err);
		else if (type == RECIPE_BODY)
			r = read_body(rd, ops, ctx, err);
		else
			r = damaged(err, "a record's type");
		if (r < 0)
			return r;
	}
	if (r == 0 && rd->bodies_read != rd->n_bodies)
		return damaged(err, "the number of bodies");
	return r;
}

int
recipe_read_lost(struct recipe_reader *rd, const struct recipe_region *regions,
    size_t n_regions,
    int (*data)(void *ctx, const void *data, size_t len,
	struct imgd_error **err),
    void *ctx, struct imgd_error **err)
{
	uint64_t at = rd->current->offset, plain_at = 0;
	size_t i = 0;
	struct chunk c;
	int r;

	while (i < n_regions) {
		r = read_head(rd, at, &c, err);
		if (r < 0)
			return r;
		if (c.type != 'D' || c.plain == 0)
			return damaged(err, "a lost body is cut short");
		r = read_chunk(rd, at, &c, rd->lost_plain, err);
		if (r < 0)
			return r;
		at += RECIPE_HEAD_LEN + c.packed;
		for (; i < n_regions; i++) {
			uint64_t from = regions[i].offset;
			uint64_t to = from + regions[i].len;

			if (from < plain_at)
				from = plain_at;
			if (to > plain_at + c.plain)
				to = plain_at + c.plain;
			if (from < to && (r = data(ctx,
			    rd->lost_plain + (from - plain_at),
			    (size_t)(to - from), err)) < 0)
				return r;
			if (regions[i].offset + regions[i].len >
			    plain_at + c.plain)
				break;
		}
		plain_at += c.plain;
	}
	return 0;
}
