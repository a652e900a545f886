/*
 * What the driver asks of the host beside the device-mapper, behind a table so
 * that tests can put a fake there: loop devices, mounts, filesystems.
 */
#ifndef DRIVERS_DEVMAPPER_HOST_H
#define DRIVERS_DEVMAPPER_HOST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "imgd/error.h"

#include "lib/loop.h"

struct host_ops {
	/*
	 * Attach the file that file_fd is open on (path: its name, for
	 * messages) to a free loop device that goes away with its last user.
	 *
	 * Returns a descriptor of the loop device, which keeps it until
	 * something else does; -EBUSY, naming the loop device, if the file is
	 * attached already.
	 */
	int (*loop_attach)(int file_fd, const char *path,
	    char ret_path[LOOP_PATH_SIZE], struct imgd_error **err);
	/* Make the loop device notice its file's new size. */
	int (*loop_resize)(const char *path, struct imgd_error **err);
	/* The file behind a block device: 1, or 0 if it is no loop. */
	int (*loop_file)(dev_t device, dev_t *ret_dev, ino_t *ret_ino,
	    struct imgd_error **err);

	/* A block device's size. */
	int (*device_bytes)(const char *path, uint64_t *ret,
	    struct imgd_error **err);
	/* Whether nobody else (a mount, the device-mapper) has it. */
	int (*device_claim)(const char *path, struct imgd_error **err);
	/* Read len bytes from a device's or file's beginning. */
	int (*device_read)(const char *path, void *buf, size_t len,
	    struct imgd_error **err);
	/* Write back what is cached, flush, and tell write errors. */
	int (*device_sync)(const char *path, struct imgd_error **err);
	/* Give the range's blocks back. */
	int (*device_discard)(const char *path, uint64_t offset, uint64_t len,
	    struct imgd_error **err);
	/* Run mkfs.FS with args, a NULL-terminated list, on the device. */
	int (*make_fs)(const char *fs, char *const *args, const char *path,
	    struct imgd_error **err);

	int (*mount)(const char *source, const char *target, const char *type,
	    unsigned long flags, const void *data);
	int (*umount)(const char *target, int flags);
	int (*syncfs)(int fd);
	/* What is mounted at target: 1 and its st_dev, 0: nothing. */
	int (*mounted)(int dir_fd, const char *name, dev_t *ret_dev,
	    struct imgd_error **err);
	/* Grow the mounted filesystem that root_fd is in. */
	int (*grow_fs)(int root_fd, const char *fs, uint64_t bytes,
	    struct imgd_error **err);
	/* Have xfs fail writes to a full device instead of trying for ever. */
	void (*limit_retries)(dev_t device);
};

extern const struct host_ops host_kernel_ops;

/* Parts of the real table with files of their own. */
int host_loop_attach(int file_fd, const char *path,
    char ret_path[LOOP_PATH_SIZE], struct imgd_error **err);
int host_loop_resize(const char *path, struct imgd_error **err);
int host_loop_file(dev_t device, dev_t *ret_dev, ino_t *ret_ino,
    struct imgd_error **err);
int host_make_fs(const char *fs, char *const *args, const char *path,
    struct imgd_error **err);

#endif
