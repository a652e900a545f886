/*
 * Limits for directory trees by project ids, as xfs and ext4 have them.
 */
#ifndef DRIVERS_OVERLAY_QUOTA_H
#define DRIVERS_OVERLAY_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

/* quotactl_fd(2) for project quota: -1 and errno on failure.  Tests put
 * another there. */
extern int (*quota_call)(int fd, unsigned int cmd, uint32_t id, void *arg);

/* Whether fd's filesystem enforces limits of projects, and they are ours to
 * set. */
bool quota_possible(int fd);

/*
 * Make n empty directories, all of one filesystem, one project of its own that
 * may hold that many bytes, rounded up to KiB.  Files that are moved between
 * them stay in it.
 */
int quota_limit(const int *dir_fds, size_t n, uint64_t bytes,
    struct imgd_error **err);

/* The project that quota_limit put dir_fd in; 0 if it did not. */
uint32_t quota_project(int dir_fd);
/* Lift its limit; fd is any of the filesystem, project may be 0. */
void quota_lift(int fd, uint32_t project);

#endif
