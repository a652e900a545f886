/*
 * Containers: writable layers on images, under names of their own.
 */
#ifndef CORE_CONTAINERS_H
#define CORE_CONTAINERS_H

#include "imgd/error.h"

struct engine;

/* Remove what an earlier engine left half-made or half-removed. */
int containers_recover(struct engine *e, struct imgd_error **err);

/* The name of a container that is based on the image (its id) in driver (NULL:
 * in any), malloc'ed; NULL if there is none. */
int containers_find_user(struct engine *e, const char *image,
    const char *driver, char **ret_name, struct imgd_error **err);

#endif
