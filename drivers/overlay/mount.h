/*
 * Mounting overlays: the kernel's calls behind a table, so that tests can fail
 * any of them, and the two ways of handing over long chains.
 */
#ifndef DRIVERS_OVERLAY_MOUNT_H
#define DRIVERS_OVERLAY_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "imgd/error.h"

/* The calls as the kernel has them: -1 and errno on failure. */
struct mount_ops {
	int (*fsopen)(const char *type, unsigned int flags);
	int (*fsconfig)(int fd, unsigned int cmd, const char *key,
	    const void *value, int aux);
	int (*fsmount)(int fd, unsigned int flags, unsigned int attrs);
	int (*move_mount)(int from_fd, const char *from, int to_fd,
	    const char *to, unsigned int flags);
	int (*mount)(const char *source, const char *target, const char *type,
	    unsigned long flags, const void *data);
	int (*umount)(const char *target, int flags);
};

extern const struct mount_ops mount_kernel_ops;

/* The most lower directories that overlayfs stacks (OVL_MAX_STACK). */
#define OVERLAY_MAX_LOWERS 500

/* One overlay.  All paths are relative to dir_fd. */
struct overlay_mount {
	int dir_fd;
	const char *dir;           /* dir_fd's absolute path */
	const char *const *lowers; /* top first */
	size_t n_lowers;
	const char *upper;         /* NULL: read-only */
	const char *work;          /* NULL: read-only */
	const char *target;
	bool userxattr;            /* keep marks in user.overlay.* */
};

/*
 * Mount it.
 *
 * Returns 0; -EOPNOTSUPP if the kernel has no overlayfs; -E2BIG if the chain
 * is too long for this kernel; the kernel's code otherwise, with its own
 * message where it gives one.
 */
int overlay_mount(const struct mount_ops *ops, const struct overlay_mount *om,
    struct imgd_error **err);

/* How many lower directories named by name_len bytes each this kernel takes,
 * at most OVERLAY_MAX_LOWERS. */
size_t overlay_max_lowers(const struct mount_ops *ops, size_t name_len);

/* Show the directory source read-only at target; absolute paths. */
int overlay_bind_readonly(const struct mount_ops *ops, const char *source,
    const char *target, struct imgd_error **err);

/* Unmount target.  0 also when nothing is mounted there; -EBUSY. */
int overlay_umount(const struct mount_ops *ops, const char *target,
    struct imgd_error **err);

#endif
