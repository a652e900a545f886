/* A PULLER_FETCH: a layer is wanted, as a tar in the pipe that comes with
 * it. */
#ifndef CORE_LAYER_ORDER_H
#define CORE_LAYER_ORDER_H

#include <stdint.h>

#include "lib/message.h"

/* Take one apart, for a source whose layers are no blobs.  *ret_fd: owned by
 * the caller, also on failure. */
int layer_order_take(struct message *m, uint32_t *ret_layer, int *ret_fd,
    struct imgd_error **err);

/* Write into its pipe; -ECANCELED: the unpacker is gone, and tells the engine
 * why itself. */
int layer_order_write(int fd, const void *data, uint64_t len,
    struct imgd_error **err);

#endif
