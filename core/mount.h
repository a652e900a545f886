/*
 * Mounts that users asked for, and trees as descriptors for workers.
 */
#ifndef CORE_MOUNT_H
#define CORE_MOUNT_H

#include "imgd/error.h"

struct engine;

/*
 * Take over what an earlier engine of this boot left mounted, and drop the
 * rows of mounts that are gone.
 */
int mounts_recover(struct engine *e, struct imgd_error **err);

/*
 * A read-only, nosuid, nodev, noexec copy of the mount at path that is
 * attached nowhere: a worker that holds it can neither write there nor climb
 * out through "..".
 */
int tree_clone(const char *path, int *ret_fd, struct imgd_error **err);

/*
 * The like of a directory and of all that is mounted below it; where such a
 * copy cannot be had, the directory itself.
 */
int dir_clone(const char *path, int *ret_fd, struct imgd_error **err);
/* The like of a directory that is open. */
int dir_clone_fd(int dir_fd, int *ret_fd, struct imgd_error **err);

#endif
