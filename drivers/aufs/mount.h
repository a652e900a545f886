/*
 * Showing a stack of aufs branches as one tree, by the kernel's aufs or by
 * fuse-overlayfs.  What changes the machine goes through a table, so that
 * tests can be the machine.
 */
#ifndef DRIVERS_AUFS_MOUNT_H
#define DRIVERS_AUFS_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "imgd/error.h"

#include "lib/layer-dirs.h"

/* The kernel's calls as they are (-1 and errno); run is ours. */
struct aufs_ops {
	int (*mount)(const char *source, const char *target, const char *type,
	    unsigned long flags, const void *data);
	int (*umount)(const char *target, int flags);
	/*
	 * Run a program in the directory dir_fd and wait for the process that
	 * was started; what it leaves in the background is of another session
	 * and has none of our descriptors.  Failure: what it said last.
	 */
	int (*run)(const char *program, const char *const *argv, int dir_fd,
	    struct imgd_error **err);
};

extern const struct aufs_ops aufs_host_ops;

/* The longest chain that the core is told of, whatever shows it. */
#define AUFS_MAX_DEPTH 500

/* What a kernel with aufs was found to have. */
struct aufs_limits {
	size_t max_branches;
	bool has_dio;
	bool has_dirperm1;
	char xino_dir[128]; /* where xino files can be made */
};

/* One stack, to be shown at target. */
struct aufs_stack {
	int home_fd;
	const char *home;   /* home_fd's absolute path */
	const char *target; /* absolute */
	const char *id;     /* of the layer, for names of files */
	const char (*branches)[LAYER_ID_SIZE]; /* in HOME/diff, top first */
	size_t n_branches;
	bool is_rw;         /* the uppermost takes what is written */
	const char *work;   /* is_rw: fuse-overlayfs's own, below home */
};

/* Whether the kernel has aufs, loaded as a module where that is needed; never
 * in a user namespace, where it refuses to mount. */
bool aufs_kernel_has_it(void);

/* Show it by the kernel's aufs.  A failure leaves no mount. */
int aufs_kernel_mount(const struct aufs_ops *ops, const struct aufs_stack *s,
    const struct aufs_limits *limits, struct imgd_error **err);

/*
 * Find out what the kernel's aufs can do with branches below home, by mounting
 * below it.  Leaves no trace.
 *
 * Returns 0; -EOPNOTSUPP if it does not work here; another code if it could
 * not be tried.
 */
int aufs_kernel_probe(const struct aufs_ops *ops, int home_fd,
    const char *run_dir, struct aufs_limits *ret, struct imgd_error **err);

/* Write pseudo-links of the writable branch as links, by auplink where it is
 * installed; else names of one file may fall apart.  aufs(5), "Pseudo Link". */
void aufs_kernel_flush_links(const struct aufs_ops *ops, int home_fd,
    const char *target);

/* The path of fuse-overlayfs; -EOPNOTSUPP if it is not installed. */
int aufs_fuse_find(char *ret, size_t size, struct imgd_error **err);

/* Show it by fuse-overlayfs. */
int aufs_fuse_mount(const struct aufs_ops *ops, const struct aufs_stack *s,
    struct imgd_error **err);

/* How long a chain may be for fuse-overlayfs, which holds a descriptor for
 * each branch. */
size_t aufs_fuse_max_depth(void);

/* See whether fuse-overlayfs works below home.  Like aufs_kernel_probe. */
int aufs_fuse_probe(const struct aufs_ops *ops, int home_fd,
    struct imgd_error **err);

/* The fuse-overlayfs that serves target, an absolute path: a pidfd, or
 * -ENOENT. */
int aufs_fuse_find_process(const char *target);
/* Wait until that process has ended, after its last mount went.  0; -EBUSY if
 * it still serves.  Closes pidfd. */
int aufs_fuse_wait(int pidfd);

/* Unmount target.  0 also when nothing is mounted there; -EBUSY. */
int aufs_umount(const struct aufs_ops *ops, const char *target,
    struct imgd_error **err);

#endif
