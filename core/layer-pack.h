/* A layer's tar from its stored tree and its recipe. */
#ifndef CORE_LAYER_PACK_H
#define CORE_LAYER_PACK_H

#include "core/engine.h"
#include "lib/digest.h"

/*
 * Let a packer give the layer's tar back.
 *
 * out_fd: where it goes, borrowed; -1: nowhere, for the digest alone.
 * ret_diff_id: SHA-256 of what came.
 * -EUCLEAN with the file's name if the tree is damaged; -ENOENT if the layer
 * has no recipe.
 */
int layer_pack(struct engine *e, struct driver *d, const char *key,
    int out_fd, char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err);

#endif
