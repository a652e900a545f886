/*
 * A second, small reader of tar headers, independent of libarchive.
 *
 * It serves two ends: what libarchive says of an entry is compared with what
 * is read here, so that a header which readers understand in different ways
 * is refused; and every byte that is not a file's content goes to the
 * recipe.  It understands V7, ustar, GNU (L, K, S, base-256) and pax (x, g,
 * GNU.sparse 0.0, 0.1 and 1.0).
 *
 * Bytes are pushed as they come from the stream; tar_raw_next then takes one
 * entry's headers from what was pushed.  The driver of both readers calls it
 * after libarchive has given its own view of that entry, so all bytes of the
 * headers are there.
 */
#ifndef LIB_TAR_RAW_H
#define LIB_TAR_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

struct tar_raw;

/* Takes bytes that are not a file's content, in the order of the tar. */
typedef int tar_raw_sink(void *ctx, const void *data, size_t len,
    struct imgd_error **err);

struct tar_raw_entry {
	const char *name;     /* as in the tar; valid until the next entry */
	const char *linkname; /* likewise; "" if there is none */
	size_t name_len;      /* may differ from strlen: then NUL is inside */
	size_t linkname_len;
	bool is_link_pax;     /* linkname stands in an extension alone */
	uint64_t position;    /* of the first of its headers */
	uint64_t size;        /* of the file: a sparse one with its holes */
	uint64_t stored;      /* bytes of content in the tar */
	char type;            /* typeflag; '0' also for '\0' and '7' */
};

/* sink: called by the functions below with ctx. */
int tar_raw_new(tar_raw_sink *sink, void *ctx, struct tar_raw **ret,
    struct imgd_error **err);

/* Push bytes of the stream.  -IMGD_E_LIMIT if the headers of one entry grow
 * too long; what sink returned. */
int tar_raw_feed(struct tar_raw *t, const void *data, size_t len,
    struct imgd_error **err);

/*
 * Read the headers of the next entry; the rest of the one before is passed.
 *
 * link_size: whether a hard link's size field counts cannot be told from the
 * header alone (old writers left it set without storing content): libarchive's
 * view of it, 0 = no content follows.
 * Returns 1 and fills ret; 0 at the end (a zero block or no more bytes);
 * -IMGD_E_FORMAT, -IMGD_E_LIMIT; what sink returned.
 */
int tar_raw_next(struct tar_raw *t, uint64_t link_size,
    struct tar_raw_entry *ret, struct imgd_error **err);

/* The content of the current entry is not kept in the tree: send it to the
 * sink as well.  To be called before more is pushed. */
void tar_raw_keep_body(struct tar_raw *t);

/* The stream is over: send all that is left to the sink.  To be called after
 * tar_raw_next has returned 0. */
int tar_raw_finish(struct tar_raw *t, struct imgd_error **err);

void tar_raw_free(struct tar_raw *t);
static inline void
tar_raw_freep(struct tar_raw **t)
{
	tar_raw_free(*t);
}

#endif
