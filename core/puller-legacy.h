/* The puller's side of images without diff_ids. */
#ifndef CORE_PULLER_LEGACY_H
#define CORE_PULLER_LEGACY_H

#include <stdint.h>

#include "imgd/error.h"
#include "lib/message.h"
#include "registry/legacy.h"

/* Send a message to the engine; takes its contents. */
typedef int puller_tell_cb(void *ctx, struct message *m,
    struct imgd_error **err);

/* The layer that the engine means by index: it knows none of those without
 * content.  NULL if there is none. */
const struct legacy_layer *puller_legacy_layer(
    const struct legacy_image *image, uint32_t index);

/* Tell the engine of all layers that have content. */
int puller_legacy_tell(const struct legacy_image *image, puller_tell_cb *tell,
    void *ctx, struct imgd_error **err);

/* Answer PULLER_CONFIG_WANTED. */
int puller_legacy_config(const struct legacy_image *image,
    struct message *order, puller_tell_cb *tell, void *ctx,
    struct imgd_error **err);

#endif
