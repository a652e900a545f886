/*
 * What garbage collection finds in a store: how large it is, and what might
 * go.
 */
#ifndef CORE_GC_READ_H
#define CORE_GC_READ_H

#include "core/disk-usage.h"
#include "core/engine.h"
#include "core/gc-plan.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

struct gc_reading {
	struct disk_usage usage;
	uint64_t sum;  /* disk_usage_sum() */
	uint64_t free; /* of ROOT's filesystem */
	struct gc_items items; /* first the images, by id */
	size_t n_images;
	char (*names)[DIGEST_STR_SIZE]; /* of the items: ids, blob digests */

	/* while it is being filled */
	size_t *links;
	size_t n_links;
	bool is_failed; /* memory was out */
};

/*
 * Read the store.
 *
 * before: as disk_usage_read() takes it.
 * due_s: partial blobs that nobody used since then are to go anyway.
 * ret: zeroed before; release with gc_reading_done(), also on failure.
 */
int gc_read(struct engine *e, const struct disk_usage *before, int64_t due_s,
    struct gc_reading *ret, struct imgd_error **err);
void gc_reading_done(struct gc_reading *r);

#endif
