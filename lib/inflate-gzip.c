/*
 * gzip (RFC 1952): headers and trailers are read here byte by byte, the
 * deflate streams between them by ISA-L or zlib.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#endif

#include "lib/inflate-impl.h"

/* ---- zlib ---- */

static void
zlib_stop(void *state)
{
	if (state != NULL)
		(void)inflateEnd(state);
	free(state);
}

static int
zlib_start(void **state, struct imgd_error **err)
{
	z_stream *s = *state;

	if (s != NULL) {
		(void)inflateReset(s);
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (inflateInit2(s, -15) != Z_OK) {
		free(s);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	*state = s;
	return 0;
}

static int
zlib_run(void *state, const uint8_t **in, size_t *in_len, uint8_t *out,
    size_t *out_len, uint8_t carry[8], size_t *carry_len,
    struct imgd_error **err)
{
	z_stream *s = state;
	unsigned piece = *in_len > (1u << 30) ? 1u << 30 : (unsigned)*in_len;
	int code;

	(void)carry;
	(void)carry_len;
	s->next_in = (Bytef *)(uintptr_t)*in;
	s->avail_in = piece;
	s->next_out = out;
	s->avail_out = (unsigned)*out_len;
	code = inflate(s, Z_NO_FLUSH);
	*in += piece - s->avail_in;
	*in_len -= piece - s->avail_in;
	*out_len -= s->avail_out;
	if (code == Z_MEM_ERROR)
		return imgd_error_set(err, ENOMEM, "out of memory");
	/* Z_BUF_ERROR: no progress without more input. */
	if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
		return imgd_error_set(err, IMGD_E_FORMAT, "gzip: %s",
		    s->msg != NULL ? s->msg : "the stream is damaged");
	return code == Z_STREAM_END;
}

static uint32_t
zlib_crc32(uint32_t crc, const uint8_t *data, size_t len)
{
	return (uint32_t)crc32_z(crc, data, len);
}

const struct deflate deflate_zlib = {
	.start = zlib_start,
	.run = zlib_run,
	.stop = zlib_stop,
	.crc32 = zlib_crc32,
};

/* ---- ISA-L ---- */

#ifdef HAVE_ISAL
static int
isal_start(void **state, struct imgd_error **err)
{
	struct inflate_state *s = *state;

	if (s == NULL) {
		s = malloc(sizeof(*s));
		if (s == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		*state = s;
	}
	isal_inflate_init(s);
	return 0;
}

static const char *
isal_text(int code)
{
	switch (code) {
	case ISAL_INVALID_BLOCK:
		return "invalid block type";
	case ISAL_INVALID_LOOKBACK:
		return "invalid distance too far back";
	case ISAL_INVALID_SYMBOL:
		return "invalid code";
	default:
		return "the stream is damaged";
	}
}

static int
isal_run(void *state, const uint8_t **in, size_t *in_len, uint8_t *out,
    size_t *out_len, uint8_t carry[8], size_t *carry_len,
    struct imgd_error **err)
{
	struct inflate_state *s = state;
	uint32_t piece = *in_len > (1u << 30) ? 1u << 30 : (uint32_t)*in_len;
	uint64_t bits;
	int code, n;

	s->next_in = (uint8_t *)(uintptr_t)*in;
	s->avail_in = piece;
	s->next_out = out;
	s->avail_out = (uint32_t)*out_len;
	code = isal_inflate(s);
	*in += piece - s->avail_in;
	*in_len -= piece - s->avail_in;
	*out_len -= s->avail_out;
	if (code != ISAL_DECOMP_OK)
		return imgd_error_set(err, IMGD_E_FORMAT, "gzip: %s",
		    isal_text(code));
	if (s->block_state != ISAL_BLOCK_FINISH)
		return 0;
	/* Whole bytes behind the last block are still in the bit buffer. */
	n = s->read_in_length / 8;
	bits = s->read_in >> (s->read_in_length % 8);
	for (*carry_len = 0; n > 0; n--, bits >>= 8)
		carry[(*carry_len)++] = (uint8_t)bits;
	return 1;
}

static uint32_t
isal_crc32(uint32_t crc, const uint8_t *data, size_t len)
{
	return crc32_gzip_refl(crc, data, len);
}

const struct deflate deflate_isal = {
	.start = isal_start,
	.run = isal_run,
	.stop = free,
	.crc32 = isal_crc32,
};
#endif

/* ---- gzip ---- */

#define FLAG_HCRC     0x02
#define FLAG_EXTRA    0x04
#define FLAG_NAME     0x08
#define FLAG_COMMENT  0x10
#define FLAG_RESERVED 0xe0

enum part {
	PART_HEAD,    /* the ten fixed bytes */
	PART_LEN,     /* length of the extra field */
	PART_EXTRA,
	PART_NAME,
	PART_COMMENT,
	PART_HCRC,
	PART_BODY,
	PART_TRAILER,
	PART_BETWEEN, /* behind a member */
	PART_PADDING, /* zeros behind the last member */
};

struct gzip {
	const struct deflate *deflate;
	void *state; /* of deflate */
	enum part part;
	uint8_t flags;
	uint32_t n_part;     /* bytes of this part so far */
	uint32_t value;      /* little-endian number in the making */
	uint32_t extra_left;
	uint32_t head_crc;
	uint32_t crc, size;  /* of the member's plain bytes */
};

static void
gzip_stop(void *state)
{
	struct gzip *g = state;

	if (g == NULL)
		return;
	g->deflate->stop(g->state);
	free(g);
}

static int
gzip_start(struct inflate *z, struct imgd_error **err)
{
	struct gzip *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	g->deflate = z->deflate;
	z->state = g;
	return 0;
}

static int
damaged(const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_FORMAT, "gzip: %s", what);
}

/* Go to the first part after the present one that the header has. */
static int
next_part(struct gzip *g, struct imgd_error **err)
{
	g->n_part = 0;
	g->value = 0;
	if (g->part < PART_LEN && (g->flags & FLAG_EXTRA) != 0)
		g->part = PART_LEN;
	else if (g->part == PART_LEN && g->extra_left > 0)
		g->part = PART_EXTRA;
	else if (g->part < PART_NAME && (g->flags & FLAG_NAME) != 0)
		g->part = PART_NAME;
	else if (g->part < PART_COMMENT && (g->flags & FLAG_COMMENT) != 0)
		g->part = PART_COMMENT;
	else if (g->part < PART_HCRC && (g->flags & FLAG_HCRC) != 0)
		g->part = PART_HCRC;
	else {
		g->part = PART_BODY;
		g->crc = 0;
		g->size = 0;
		return g->deflate->start(&g->state, err);
	}
	return 0;
}

static int
head_byte(struct gzip *g, uint8_t c, struct imgd_error **err)
{
	switch (g->n_part++) {
	case 0:
		return c == 0x1f ? 0 : damaged("bad header", err);
	case 1:
		return c == 0x8b ? 0 : damaged("bad header", err);
	case 2:
		return c == 8 ? 0 : damaged("unknown method", err);
	case 3:
		g->flags = c;
		return (c & FLAG_RESERVED) == 0 ?
		    0 :
		    damaged("unknown flags", err);
	case 9:
		return next_part(g, err);
	default:
		return 0;
	}
}

static int
trailer_byte(struct gzip *g, uint8_t c, struct imgd_error **err)
{
	g->value |= (uint32_t)c << (8 * (g->n_part % 4));
	g->n_part++;
	if (g->n_part == 4) {
		if (g->value != g->crc)
			return damaged("wrong checksum", err);
		g->value = 0;
	} else if (g->n_part == 8) {
		if (g->value != g->size)
			return damaged("wrong length", err);
		g->part = PART_BETWEEN;
	}
	return 0;
}

/* A byte of a header. */
static int
header_byte(struct gzip *g, uint8_t c, struct imgd_error **err)
{
	uint32_t crc = g->head_crc;

	g->head_crc = zlib_crc32(crc, &c, 1);
	switch (g->part) {
	case PART_HEAD:
		return head_byte(g, c, err);
	case PART_LEN:
		g->extra_left |= (uint32_t)c << (8 * g->n_part++);
		return g->n_part == 2 ? next_part(g, err) : 0;
	case PART_EXTRA:
		return --g->extra_left == 0 ? next_part(g, err) : 0;
	case PART_NAME:
	case PART_COMMENT:
		return c == 0 ? next_part(g, err) : 0;
	default: /* PART_HCRC, which does not cover itself */
		g->head_crc = crc;
		g->value |= (uint32_t)c << (8 * g->n_part++);
		if (g->n_part < 2)
			return 0;
		if (g->value != (crc & 0xffff))
			return damaged("wrong header checksum", err);
		return next_part(g, err);
	}
}

/* A byte outside the deflate stream. */
static int
frame_byte(struct gzip *g, uint8_t c, struct imgd_error **err)
{
	switch (g->part) {
	case PART_TRAILER:
		return trailer_byte(g, c, err);
	case PART_BETWEEN:
		if (c == 0x1f) {
			g->part = PART_HEAD;
			g->n_part = 0;
			g->head_crc = 0;
			g->extra_left = 0;
			return header_byte(g, c, err);
		}
		g->part = PART_PADDING;
		/* fall through */
	case PART_PADDING:
		return c == 0 ? 0 : damaged("junk behind the end", err);
	default:
		return header_byte(g, c, err);
	}
}

/* Deflate until the input or the member is over. */
static int
body(struct inflate *z, const uint8_t **data, size_t *len,
    struct imgd_error **err)
{
	struct gzip *g = z->state;
	uint8_t carry[8];
	size_t n_carry = 0, n, i;
	int r, is_over;

	do {
		n = INFLATE_OUT_BYTES;
		is_over = g->deflate->run(g->state, data, len, z->out, &n,
		    carry, &n_carry, err);
		if (is_over < 0)
			return is_over;
		g->crc = g->deflate->crc32(g->crc, z->out, n);
		g->size += (uint32_t)n;
		r = inflate_emit(z, z->out, n, err);
		if (r < 0)
			return r;
	} while (!is_over && (*len > 0 || n == INFLATE_OUT_BYTES));
	if (!is_over)
		return 0;
	g->part = PART_TRAILER;
	g->n_part = 0;
	g->value = 0;
	for (i = 0; i < n_carry; i++) {
		r = frame_byte(g, carry[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int
gzip_push(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	struct gzip *g = z->state;
	int r;

	while (len > 0) {
		if (g->part == PART_BODY) {
			r = body(z, &data, &len, err);
		} else {
			r = frame_byte(g, *data++, err);
			len--;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int
gzip_end(struct inflate *z, struct imgd_error **err)
{
	struct gzip *g = z->state;

	if (g->part == PART_BETWEEN || g->part == PART_PADDING)
		return 0;
	return damaged("the stream is cut short", err);
}

const struct codec codec_gzip = {
	.name = "gzip",
	.start = gzip_start,
	.push = gzip_push,
	.end = gzip_end,
	.stop = gzip_stop,
};
