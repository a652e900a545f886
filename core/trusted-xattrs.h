/*
 * Attributes trusted.*, which none but the engine may set or see, on behalf of
 * a worker.  It is believed nothing: descriptors must be open on the layer's
 * own filesystem, and of overlayfs's marks only that of an opaque directory may
 * be asked for.
 */
#ifndef CORE_TRUSTED_XATTRS_H
#define CORE_TRUSTED_XATTRS_H

#include <sys/types.h>

#include "imgd/error.h"
#include "lib/message.h"

/* Do what UNPACK_SET_TRUSTED asks for.  dev: the layer's filesystem. */
int trusted_set(struct message *m, dev_t dev, struct imgd_error **err);

/* Do what UNPACK_MATCH_TRUSTED asks for. */
int trusted_match(struct message *m, dev_t dev, struct imgd_error **err);

#endif
