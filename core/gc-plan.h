/*
 * Which images and partial blobs garbage collection takes: pure arithmetic.
 */
#ifndef CORE_GC_PLAN_H
#define CORE_GC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

struct gc_policy {
	/* Take no more than what frees so many bytes; without, whatever is
	 * not kept. */
	bool has_goal;
	uint64_t goal_bytes;
	size_t keep_last;      /* so many images that were used last */
	int64_t keep_since_ms; /* what was used then or later; INT64_MAX: no */
};

/* One layer in one driver, or a partial blob's file. */
struct gc_layer {
	uint64_t bytes;
	bool is_held; /* something beside images needs it */
	size_t n_users; /* gc_plan's own */
};

struct gc_item {
	int64_t used_at_ms;
	bool is_pinned;  /* in use: it stays, and so do its layers */
	bool is_partial; /* a partial blob: none of keep_last's images */
	bool is_due;     /* it goes whatever the policy, unless pinned */
	size_t first, n; /* its layers: of gc_items.links */
	bool is_chosen;  /* the plan */
};

struct gc_items {
	struct gc_item *list;
	size_t n;
	struct gc_layer *layers;
	size_t n_layers;
	const size_t *links; /* indexes into layers */
};

/*
 * Choose what is to go: the longest unused first; nothing whose going would
 * free too little to matter for the goal.
 *
 * Fills is_chosen.  *ret_bytes: what that frees.
 */
int gc_plan(struct gc_items *all, const struct gc_policy *policy,
    uint64_t *ret_bytes, struct imgd_error **err);

/* What the choice frees, which may have been changed since. */
uint64_t gc_freed(struct gc_items *all);

/* What the largest choice would free. */
uint64_t gc_freeable(struct gc_items *all);

#endif
