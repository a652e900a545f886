/*
 * Partial blobs, whose bytes are files of the store, and the rates of
 * registries: rows that only save transfers.
 */
#ifndef TAGSTORE_PARTIALS_H
#define TAGSTORE_PARTIALS_H

#include "tagstore/tagstore.h"

#define PARTIAL_MAX_MARKS 8

/* The file's first bytes are surely on the disk, with this digest. */
struct partial_mark {
	uint64_t bytes;
	char *digest;
};

struct partial_row {
	char *blob_digest;
	uint64_t size_bytes; /* of the whole blob */
	char *boot_id;       /* when it was last written */
	int64_t used_at;     /* seconds since the epoch */
	struct partial_mark marks[PARTIAL_MAX_MARKS]; /* rising */
	size_t n_marks;
};

void partial_row_done(struct partial_row *row);

/* The row with its marks; -ENOENT. */
int tagstore_partial(struct tagstore *ts, const char *blob_digest,
    struct partial_row *ret, struct imgd_error **err);
/* Add the row, or say that it is written again in this boot. */
int tagstore_partial_use(struct tagstore *ts, const char *blob_digest,
    uint64_t size_bytes, const char *boot_id, struct imgd_error **err);
/* Add a mark; of older ones the last few stay. */
int tagstore_partial_mark(struct tagstore *ts, const char *blob_digest,
    uint64_t bytes, const char *digest, struct imgd_error **err);
int tagstore_partial_drop(struct tagstore *ts, const char *blob_digest,
    struct imgd_error **err);

/* Each row without its marks, the longest unused first.  A negative errno
 * stops. */
typedef int tagstore_partial_fn(void *ctx, const struct partial_row *row);
int tagstore_partials(struct tagstore *ts, tagstore_partial_fn *fn, void *ctx,
    struct imgd_error **err);

/* The registry's rate; 0: it was never measured. */
int tagstore_rate(struct tagstore *ts, const char *registry,
    uint64_t *ret_bytes_per_s, struct imgd_error **err);
int tagstore_set_rate(struct tagstore *ts, const char *registry,
    uint64_t bytes_per_s, struct imgd_error **err);

#endif
