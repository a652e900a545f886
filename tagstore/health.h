/*
 * Layers that are known to be damaged, and their replacements on the way.
 */
#ifndef TAGSTORE_HEALTH_H
#define TAGSTORE_HEALTH_H

#include "tagstore/tagstore.h"

/* Remember that a ready layer is damaged; of others nothing is kept. */
int tagstore_layer_damaged(struct tagstore *ts, const char *key,
    const char *problem, struct imgd_error **err);
/* It is not, or no longer. */
int tagstore_layer_sound(struct tagstore *ts, const char *key,
    struct imgd_error **err);

/* What is wrong with the layer: 1 with *ret malloc'ed, or 0. */
int tagstore_layer_problem(struct tagstore *ts, const char *key, char **ret,
    struct imgd_error **err);

/* Whether the image has a damaged layer in driver: 1 or 0. */
int tagstore_image_is_damaged(struct tagstore *ts, const char *image,
    const char *driver, struct imgd_error **err);

typedef int tagstore_image_id_cb(void *ctx, const char *image);
/* The images in driver that have the layer. */
int tagstore_layer_images(struct tagstore *ts, const char *driver,
    const char *chain_id, tagstore_image_id_cb *cb, void *ctx,
    struct imgd_error **err);

/* Where blobs of the layer came from: registry and repository, as far as is
 * known. */
typedef int tagstore_source_cb(void *ctx, const char *registry,
    const char *repository);
int tagstore_layer_sources(struct tagstore *ts, const char *chain_id,
    tagstore_source_cb *cb, void *ctx, struct imgd_error **err);

/*
 * Add to a pull in flight the layer fresh, 'staging', which is to take
 * another's place.  Whatever it holds in the end may be mounted as the other's
 * content: see layer_row.is_replaced.
 */
int tagstore_repair_begin(struct tagstore *ts, const char *pull,
    const char *driver, const char *fresh, const char *parent,
    struct imgd_error **err);
/* The layer key is sound now (problem NULL), or damaged; fresh becomes
 * 'dying', and unless the two were exchanged nobody can have it mounted. */
int tagstore_repair_end(struct tagstore *ts, const char *key,
    const char *fresh, bool is_exchanged, const char *problem,
    struct imgd_error **err);

#endif
