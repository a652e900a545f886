/*
 * Containers: writable layers on images, under names of their own.
 */
#ifndef CORE_CONTAINERS_H
#define CORE_CONTAINERS_H

#include "imgd/error.h"

struct engine;

/* Remove what an earlier engine left half-made or half-removed. */
int containers_recover(struct engine *e, struct imgd_error **err);

/* -IMGD_E_CONFLICT if a container is based on the image (its id) in driver
 * (NULL: in any). */
int containers_check_unused(struct engine *e, const char *image,
    const char *driver, struct imgd_error **err);

#endif
