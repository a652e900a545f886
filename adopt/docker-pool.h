/*
 * Docker's storage driver devicemapper: every layer is a device of a thin pool,
 * with a filesystem in which the tree is at rootfs/; the pool's data and
 * metadata are two files on loop devices.
 *
 * The files are put on read-only loop devices of our own, under names that
 * begin as the caller says.  What is active is marked to go away with its last
 * user, so that the end of a process leaves nothing, however it ends.
 * Needs root and the device-mapper.  One thread at a time.
 */
#ifndef ADOPT_DOCKER_POOL_H
#define ADOPT_DOCKER_POOL_H

#include <stdbool.h>

#include "imgd/error.h"

struct docker_pool;

/*
 * Activate the pool, after removing what processes that are gone have left
 * under the prefix.
 *
 * dir_fd: Docker's data directory, borrowed until the end.
 * prefix: of the names of our devices, without a process's part.
 * Returns 0; -EOPNOTSUPP for a pool that is not on files, or without a
 * device-mapper; -EBUSY if somebody can write to the files; -EUCLEAN.
 */
int docker_pool_open(int dir_fd, const char *prefix, struct docker_pool **ret,
    struct imgd_error **err);
/* Take it down, and wait for that. */
void docker_pool_close(struct docker_pool *p);
static inline void
docker_pool_closep(struct docker_pool **p)
{
	docker_pool_close(*p);
}

/*
 * Mount a layer for reading, at no place.
 *
 * id: 64 hex digits.  ret_is_unclean: its filesystem was not unmounted, and
 * may lack what was written last.
 * Returns a descriptor of the tree: what it was opened from goes away when it
 * and all that was opened below it are closed.  -EUCLEAN; -EOPNOTSUPP for a
 * filesystem that Docker does not make.
 */
int docker_pool_layer(struct docker_pool *p, const char *id,
    bool *ret_is_unclean, struct imgd_error **err);

#endif
