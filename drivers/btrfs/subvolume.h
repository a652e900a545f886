/*
 * Btrfs subvolumes by the kernel's ioctls.
 */
#ifndef DRIVERS_BTRFS_SUBVOLUME_H
#define DRIVERS_BTRFS_SUBVOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "imgd/error.h"

/* The one call that all goes through; tests put another there. */
extern int (*subvolume_ioctl)(int fd, unsigned long request, void *arg);

/* Whether fd is on btrfs. */
bool subvolume_possible(int fd);

/* Whether fd is open on the root of a subvolume: 1, 0. */
int subvolume_is(int fd, struct imgd_error **err);

/* Make an empty one: name below dir_fd. */
int subvolume_create(int dir_fd, const char *name, struct imgd_error **err);

/* Make one with the content of the one that source_fd is open on; writable,
 * also if that is not. */
int subvolume_snapshot(int source_fd, int dir_fd, const char *name,
    struct imgd_error **err);

/* The read-only flag. */
int subvolume_set_readonly(int fd, bool is_readonly, struct imgd_error **err);
int subvolume_is_readonly(int fd, struct imgd_error **err);

/* The number that the filesystem knows it by. */
int subvolume_id(int fd, uint64_t *ret, struct imgd_error **err);

/*
 * Remove name below dir_fd: a subvolume with all subvolumes in it, however
 * deep, or a directory whose entries may be such subvolumes.  Absent is
 * success.  The data go in the background.
 */
int subvolume_remove_tree(int dir_fd, const char *name,
    struct imgd_error **err);

/* Whether the filesystem counts what subvolumes take. */
bool subvolume_has_quota(int fd);
/* Limit what the subvolume has for itself alone. */
int subvolume_limit(int fd, uint64_t bytes, struct imgd_error **err);

/* All that was written to the filesystem is on stable storage. */
int subvolume_sync(int fd, struct imgd_error **err);

#endif
