/*
 * Decompression as a push filter: bytes in, plain bytes to a sink.
 *
 * The format is told by its first bytes, never by a media type: gzip (also
 * several members), zstd (also several and skippable frames), xz, bzip2;
 * anything else passes unchanged.
 */
#ifndef LIB_INFLATE_H
#define LIB_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"

struct inflate;

/* What tells a format stands in so many first bytes. */
#define INFLATE_HEAD_BYTES 10

/* Whether something that begins so is in one of the formats; len is less than
 * INFLATE_HEAD_BYTES only if that is all of it. */
bool inflate_is_compressed(const void *head, size_t len);

/* sink: borrowed; called from inflate_push and inflate_end. */
int inflate_new(struct imgd_sink *sink, struct inflate **ret,
    struct imgd_error **err);
/* -IMGD_E_FORMAT for a damaged stream; -IMGD_E_LIMIT for a window above
 * LIMIT_ZSTD_WINDOW_LOG; what the sink returned. */
int inflate_push(struct inflate *z, const void *data, size_t len,
    struct imgd_error **err);
/* Everything was pushed: -IMGD_E_FORMAT if the stream is cut short. */
int inflate_end(struct inflate *z, struct imgd_error **err);
/* Plain bytes given to the sink so far. */
uint64_t inflate_bytes(const struct inflate *z);
/* "none", "gzip", "zstd", "xz" or "bzip2", once known. */
const char *inflate_format(const struct inflate *z);
void inflate_free(struct inflate *z);
static inline void
inflate_freep(struct inflate **z)
{
	inflate_free(*z);
}

#endif
