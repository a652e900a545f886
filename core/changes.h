/*
 * Reading back what a layer changed.
 */
#ifndef CORE_CHANGES_H
#define CORE_CHANGES_H

#include "core/driver-call.h"
#include "imgd/driver.h"
#include "imgd/error.h"

/*
 * Report how the layer id differs from base, its parent (NULL: from nothing):
 * by the driver's own "changes" if it has one, else by looking at the
 * directory of its own changes, else by comparing two trees.  The answer is
 * the same; core/tree-diff.h defines it.
 *
 * cancelled: polled with ctx; may be NULL.
 * Blocks for as long as the trees take to read.
 */
int layer_changes(struct driver *d, const char *id, const char *base,
    imgd_change_cb *cb, int (*cancelled)(void *ctx), void *ctx,
    struct imgd_error **err);

#endif
