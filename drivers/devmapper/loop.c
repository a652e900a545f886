/* Loop devices, by ioctls. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "drivers/devmapper/host.h"
#include "lib/cleanup.h"
#include "lib/loop.h"

#define LOOP_MAJOR 7
/* One of ours that is going away needs a moment. */
#define GOING_TRIES 50

/* The file must be on no other loop device: two of them would not see each
 * other's writes. */
static int
refuse_attached(int file_fd, const char *path, struct imgd_error **err)
{
	const struct timespec pause = { 0, 20000000 };
	unsigned long n = 0;
	struct stat st;
	int i;

	if (fstat(file_fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	for (i = 0; i < GOING_TRIES; i++) {
		if (loop_find(&st, /* only_writable= */ false, &n) == 0)
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	return imgd_error_set(err, EBUSY,
	    "%s is attached to /dev/loop%lu already (losetup -d /dev/loop%lu "
	    "frees it if nothing uses it)", path, n, n);
}

int
host_loop_attach(int file_fd, const char *path, char ret_path[LOOP_PATH_SIZE],
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	int r;

	r = refuse_attached(file_fd, path, err);
	if (r < 0)
		return r;
	r = loop_attach(file_fd, path, /* is_readonly= */ false, /* bytes= */ 0,
	    ret_path, &e);
	if (r == -EOPNOTSUPP)
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s (loop devices are needed unless dm.datadev and "
		    "dm.metadatadev, or dm.thinpooldev, are given)",
		    imgd_error_msg(e));
	return r < 0 ? imgd_error_set(err, -r, "%s", imgd_error_msg(e)) : r;
}

int
host_loop_resize(const char *path, struct imgd_error **err)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, LOOP_SET_CAPACITY, 0) < 0)
		return imgd_error_set(err, errno, "%s: new size: %s", path,
		    strerror(errno));
	return 0;
}

int
host_loop_file(dev_t device, dev_t *ret_dev, ino_t *ret_ino,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	char path[LOOP_PATH_SIZE];
	struct loop_info64 info;

	if (major(device) != LOOP_MAJOR)
		return 0;
	fd = loop_open(minor(device), O_RDWR, path);
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	*ret_dev = (dev_t)info.lo_device;
	*ret_ino = (ino_t)info.lo_inode;
	return 1;
}
