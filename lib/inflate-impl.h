/*
 * The inside of the inflate filter: codecs, and the two ways to do deflate.
 * For lib/inflate*.c and their unit test.
 */
#ifndef LIB_INFLATE_IMPL_H
#define LIB_INFLATE_IMPL_H

#include <stdbool.h>

#include "lib/inflate.h"

/* The plain bytes are handed on in pieces of at most this size. */
#define INFLATE_OUT_BYTES (128u << 10)

/* One compression format.  state belongs to the codec. */
struct codec {
	const char *name;
	int (*start)(struct inflate *z, struct imgd_error **err);
	int (*push)(struct inflate *z, const uint8_t *data, size_t len,
	    struct imgd_error **err);
	int (*end)(struct inflate *z, struct imgd_error **err);
	void (*stop)(void *state); /* takes NULL */
};

/* A raw deflate decoder (RFC 1951). */
struct deflate {
	/* Also restarts a state that is there. */
	int (*start)(void **state, struct imgd_error **err);
	/*
	 * Decode from *in, *in_len to out, *out_len, advancing both; *out_len
	 * becomes what was written.  Returns 1 at the end of the stream, else
	 * 0.  Bytes behind the end that were swallowed already go to carry,
	 * *carry_len (at most 8).
	 */
	int (*run)(void *state, const uint8_t **in, size_t *in_len,
	    uint8_t *out, size_t *out_len, uint8_t carry[8],
	    size_t *carry_len, struct imgd_error **err);
	void (*stop)(void *state); /* takes NULL */
	uint32_t (*crc32)(uint32_t crc, const uint8_t *data, size_t len);
};

extern const struct deflate deflate_zlib;
#ifdef HAVE_ISAL
extern const struct deflate deflate_isal;
#endif
extern const struct codec codec_gzip, codec_zstd, codec_xz, codec_bzip2,
    codec_none;

struct inflate {
	struct imgd_sink *sink;
	const struct deflate *deflate;
	const struct codec *codec; /* NULL until the head tells */
	void *state;               /* of codec */
	uint8_t *out;              /* INFLATE_OUT_BYTES; NULL until needed */
	uint64_t n_out;
	uint8_t head[INFLATE_HEAD_BYTES];
	size_t n_head;
	bool is_broken;
};

/* Give len plain bytes to the sink. */
int inflate_emit(struct inflate *z, const uint8_t *data, size_t len,
    struct imgd_error **err);

/* inflate_new with a deflate decoder of the caller's choice. */
int inflate_new_with(struct imgd_sink *sink, const struct deflate *deflate,
    struct inflate **ret, struct imgd_error **err);

#endif
