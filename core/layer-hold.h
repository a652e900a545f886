/* Layers of an image that are read for a while: rows keep them from being
 * removed. */
#ifndef CORE_LAYER_HOLD_H
#define CORE_LAYER_HOLD_H

#include "core/engine.h"

struct held_layer {
	char key[65];
	uint64_t tar_bytes;
};

struct layer_hold {
	struct engine *engine;     /* NULL: nothing is held */
	char id[65];               /* its rows' key */
	struct held_layer *layers; /* as many as the image has */
};

/*
 * Hold the layers that the image has in driver.
 *
 * what: the verb, for the rows.  ret: zero before; release with
 * layer_hold_done().  To be called with plan_mutex held.
 */
int layer_hold(struct engine *e, struct driver *driver,
    const struct image *img, const char *what, struct layer_hold *ret,
    struct imgd_error **err);
/* Let go, and remove what was to go meanwhile.  Not under plan_mutex. */
void layer_hold_done(struct layer_hold *h);

#endif
