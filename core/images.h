/*
 * What the jobs that remove images share.
 */
#ifndef CORE_IMAGES_H
#define CORE_IMAGES_H

#include "core/engine.h"

/*
 * -IMGD_E_CONFLICT if a mount or a container relies on the image (its id) in
 * driver (NULL: in any): who does, and how to end that.  Under plan_mutex.
 */
int image_check_unused(struct engine *e, const char *image,
    const char *driver, struct imgd_error **err);

#endif
