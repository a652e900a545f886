/*
 * Compression as a pull filter: plain bytes from a reader, compressed bytes
 * out, with both digests.  The same bytes always come out the same way, so a
 * stream can be made again.
 */
#ifndef LIB_DEFLATE_H
#define LIB_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/digest.h"

enum deflate_format { DEFLATE_GZIP, DEFLATE_ZSTD };

struct deflate;

/* read: up to len plain bytes; 0 at the end. */
typedef int64_t deflate_read_fn(void *ctx, void *buf, uint64_t len,
    struct imgd_error **err);

int deflate_new(enum deflate_format format, deflate_read_fn *read, void *ctx,
    struct deflate **ret, struct imgd_error **err);
/* Up to len compressed bytes; 0 at the end. */
int64_t deflate_read(struct deflate *z, void *buf, size_t len,
    struct imgd_error **err);
uint64_t deflate_plain_bytes(const struct deflate *z);
uint64_t deflate_bytes(const struct deflate *z);
/* Digests of what was read and of what was given so far. */
int deflate_digests(struct deflate *z, char ret_plain[DIGEST_STR_SIZE],
    char ret_compressed[DIGEST_STR_SIZE], struct imgd_error **err);
void deflate_free(struct deflate *z);

#endif
