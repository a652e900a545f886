/*
 * Containers: writable layers on images, under names of their own.
 */
#ifndef CORE_CONTAINERS_H
#define CORE_CONTAINERS_H

#include <stdint.h>

#include "imgd/error.h"

struct engine;

struct container_row;

/* What a container is to be. */
struct container_spec {
	const char *name, *image; /* as the user wrote them */
	const char *driver;       /* NULL: any that has the image */
	uint64_t quota_bytes;     /* 0 = none */
};

/*
 * Make a container that nobody sees yet; an engine that dies before it is ready
 * leaves nothing of it.
 *
 * ret: zero before; filled also when making it failed.
 */
int container_begin(struct engine *e, const struct container_spec *spec,
    struct container_row *ret, struct imgd_error **err);
/* From here on it is there. */
int container_ready(struct engine *e, const struct container_row *row,
    struct imgd_error **err);
/* It is not to be. */
void container_undo(struct engine *e, const struct container_row *row);

/* Remove the container of that name.  -ENOENT; -IMGD_E_CONFLICT if it is
 * mounted. */
int container_rm(struct engine *e, const char *name, struct imgd_error **err);

/* Remove what an earlier engine left half-made or half-removed. */
int containers_recover(struct engine *e, struct imgd_error **err);

/* The name of a container that is based on the image (its id) in driver (NULL:
 * in any), malloc'ed; NULL if there is none. */
int containers_find_user(struct engine *e, const char *image,
    const char *driver, char **ret_name, struct imgd_error **err);

#endif
