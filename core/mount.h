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

/* Mount a container's tree at target, an absolute path without links, and
 * remember that.  -EEXIST if something is mounted there by us. */
struct container_row;
int mount_container(struct engine *e, const struct container_row *row,
    const char *target, struct imgd_error **err);

/* Undo the mount that typed names: a target, a container, or an image that is
 * mounted once.  -ENOENT if there is none. */
int mount_undo(struct engine *e, const char *typed, struct imgd_error **err);

/*
 * A read-only, nosuid, nodev, noexec copy of the mount at path that is
 * attached nowhere: a worker that holds it can neither write there nor climb
 * out through "..".  Where there is no such copy, in a container without
 * CAP_SYS_ADMIN, the directory itself.
 */
int tree_clone(const char *path, int *ret_fd, struct imgd_error **err);
/* The same, to be written to. */
int stage_clone(const char *path, int *ret_fd, struct imgd_error **err);

/* The same as a mount that can be attached somewhere; it cannot be read from
 * before that. */
int tree_clone_mount(const char *path, int *ret_fd, struct imgd_error **err);

/*
 * The like of a directory and of all that is mounted below it; where such a
 * copy cannot be had, the directory itself.
 */
int dir_clone(const char *path, int *ret_fd, struct imgd_error **err);
/* The like of a directory that is open. */
int dir_clone_fd(int dir_fd, int *ret_fd, struct imgd_error **err);

#endif
