/* What docker-pool.c and docker-thin.c share. */
#ifndef ADOPT_DOCKER_POOL_IMPL_H
#define ADOPT_DOCKER_POOL_IMPL_H

#include <stdint.h>

#include "adopt/docker-pool.h"
#include "lib/mapper.h"

#define DEVICE_PATH_SIZE (MAPPER_NAME_SIZE + 16)

struct docker_pool {
	const struct mapper_ops *mapper;
	int dir_fd;                  /* borrowed */
	int pool_fd;                 /* what keeps the pool active */
	char prefix[64];             /* of the caller and this process */
	char pool[MAPPER_NAME_SIZE]; /* the pool's device */
	char number[24];             /* MAJOR:MINOR of it */
	uint64_t transaction;
	unsigned int n_devices;      /* that have been made */
};

/*
 * Make a device, open it, and have it removed once it is closed.
 * Returns a descriptor of it.
 */
int docker_pool_activate(struct docker_pool *p, const char *name,
    const char *target, const char *params, uint64_t sectors,
    struct imgd_error **err);

#endif
