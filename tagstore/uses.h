/*
 * When images were used, and which layers something beside images needs: what
 * garbage collection goes by.
 */
#ifndef TAGSTORE_USES_H
#define TAGSTORE_USES_H

#include "tagstore/tagstore.h"

/*
 * The image is used now.
 *
 * Costs no write to stable storage: a power cut may forget it, and nothing
 * else.  An image that is not there is no error.
 */
int tagstore_image_used(struct tagstore *ts, const char *image,
    struct imgd_error **err);

struct image_use {
	const char *image;
	int64_t used_at_ms; /* since the epoch; the pull counts */
	const char *key; /* of one of its layers; "": it has none */
};
typedef int tagstore_use_cb(void *ctx, const struct image_use *use);
/* Each image once for each layer that it has in any driver, an image's
 * together.  A negative errno stops. */
int tagstore_image_uses(struct tagstore *ts, tagstore_use_cb *cb, void *ctx,
    struct imgd_error **err);
/* The same inside a transaction, which makes it durable. */
int uses_note(struct tagstore *ts, const char *image, struct imgd_error **err);
/* When the image was used last; -ENOENT. */
int tagstore_image_use(struct tagstore *ts, const char *image, int64_t *ret_ms,
    struct imgd_error **err);

/* Published layers that nothing needs, which lost rows may leave, become
 * 'dying'. */
int tagstore_unneeded_reap(struct tagstore *ts, struct imgd_error **err);

/* The keys of layers that pulls, mounts and writable layers need, with
 * repetitions. */
typedef int tagstore_key_cb(void *ctx, const char *key);
int tagstore_held_layers(struct tagstore *ts, tagstore_key_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
