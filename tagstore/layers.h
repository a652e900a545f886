#ifndef TAGSTORE_LAYERS_H
#define TAGSTORE_LAYERS_H

#include "imgd/error.h"

struct tagstore;

/*
 * Inside a transaction: make the layer key 'dying' if no image, child, pull
 * or mount needs it, then its parent, and so on up.
 */
int layers_reap(struct tagstore *ts, const char *key,
    struct imgd_error **err);

#endif
