/*
 * A blob on the disk while it is on its way, so that whoever asks for it later
 * begins where this one ended: after a cut, a kill or a reboot.
 */
#ifndef REGISTRY_SPOOL_H
#define REGISTRY_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/digest.h"

/* The first bytes of the file, and the digest of just these. */
struct spool_mark {
	uint64_t bytes;
	char digest[DIGEST_STR_SIZE];
};

/* What the owner of the file gives. */
struct registry_spool {
	int fd; /* the blob's bytes from the first one on; read and written */
	/* Nothing can have been lost since it was written: all of it counts.
	 * Else only what a mark proves does. */
	bool is_kept;
	const struct spool_mark *marks; /* rising */
	size_t n_marks;
	/* So much is on the disk now. */
	int (*marked)(void *ctx, const struct spool_mark *mark,
	    struct imgd_error **err);
	void *ctx;
};

/* One that is being read or written. */
struct spool {
	struct registry_spool *to; /* NULL: there is none, nothing happens */
	uint64_t have_bytes;
	uint64_t marked_bytes;
	int64_t marked_ms;
	bool is_broken; /* it could not be written: no longer tried */
};

/* Cut the file to what counts of it, at most max_bytes; that is then
 * have_bytes.  to may be NULL. */
int spool_open(struct spool *s, struct registry_spool *to, uint64_t max_bytes,
    struct imgd_error **err);
/* Hand what the file has to take, in pieces. */
int spool_replay(struct spool *s,
    int (*take)(void *ctx, const void *data, size_t len,
	struct imgd_error **err),
    void *ctx, struct imgd_error **err);
/* The blob's next bytes came; digest has taken them in already.  A file that
 * cannot be written is given up: the blob goes on without. */
int spool_write(struct spool *s, const void *data, size_t len,
    struct digest_ctx *digest, struct imgd_error **err);
/* Put on the disk what is there, and say so, if it is more than min_bytes
 * since the last time. */
int spool_sync(struct spool *s, uint64_t min_bytes, struct digest_ctx *digest,
    struct imgd_error **err);

#endif
