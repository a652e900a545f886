/*
 * Partial blobs: files of ROOT/spool that hold the first bytes of blobs, each
 * with a row.  Whoever fetches such a blob later begins where it ends.
 */
#ifndef CORE_PARTIALS_H
#define CORE_PARTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/store.h"
#include "tagstore/partials.h"

/* One that is open.  While its descriptor, or one that was passed on, is open
 * nobody else gets it. */
struct partial {
	int fd;
	/* What it holds was written since the machine's start: nothing of it
	 * can be lost.  Else the row's marks tell what counts. */
	bool is_kept;
	struct partial_row row;
};

#define PARTIAL_INIT { .fd = -EBADF }

/*
 * Open the blob's file, and make it if it is not there.
 *
 * Older ones go if they and this one's size_bytes were more than the
 * configuration allows.  -EBUSY: somebody has it open; -ENOSPC: no room.
 * Release with partial_done().
 */
int partial_open(struct store *s, const char *blob_digest,
    uint64_t size_bytes, struct partial *ret, struct imgd_error **err);
void partial_done(struct partial *p);

/* Whether there is a part of the blob. */
bool partial_exists(struct store *s, const char *blob_digest);

/* The blob is not needed any more, or was no good. */
void partial_drop(struct store *s, const char *blob_digest);

/* The same, unless somebody has it open: -EBUSY. */
int partial_drop_idle(struct store *s, const char *blob_digest,
    struct imgd_error **err);

/* Each whose file is there: when it was used last, in seconds since the epoch,
 * and its bytes on the disk.  A negative errno stops. */
typedef int partials_fn(void *ctx, const char *blob_digest, int64_t used_at,
    uint64_t bytes);
int partials_each(struct store *s, partials_fn *fn, void *ctx,
    struct imgd_error **err);

/* At the start, while nobody has one open: delete those that nobody wanted
 * for PARTIAL_MAX_DAYS, and what a crash left. */
#define PARTIAL_MAX_DAYS 14
int partials_expire(struct store *s, struct imgd_error **err);

struct partials_usage {
	uint64_t n, bytes;
};

int partials_count(struct store *s, struct partials_usage *ret,
    struct imgd_error **err);

/* Report each file without a row and each row whose file is not there; delete
 * them if is_repairing. */
typedef void partials_problem_fn(void *ctx, const char *text,
    bool is_repaired);
int partials_check(struct store *s, bool is_repairing,
    partials_problem_fn *report, void *ctx, struct imgd_error **err);

#endif
