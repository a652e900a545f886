/* Loop devices, by ioctls. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "drivers/devmapper/host.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define LOOP_MAJOR 7
/* Others take free loop devices, too; and one of ours that is going away
 * needs a moment. */
#define ATTACH_TRIES 64
#define GOING_TRIES  50

static int
open_loop(unsigned long n, char ret_path[LOOP_PATH_SIZE])
{
	(void)snprintf(ret_path, LOOP_PATH_SIZE, "/dev/loop%lu", n);
	return open(ret_path, O_RDWR | O_CLOEXEC);
}

/* Configure in one step where the kernel can (5.8), so that nobody sees the
 * device without its flags.  Returns 0 or -1 with errno. */
static int
configure(int loop_fd, int file_fd, const char *path)
{
	struct loop_config c = { .fd = (uint32_t)file_fd };
	int saved;

	c.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
	(void)snprintf((char *)c.info.lo_file_name,
	    sizeof(c.info.lo_file_name), "%s", path);
	if (ioctl(loop_fd, LOOP_CONFIGURE, &c) == 0)
		return 0;
	if (errno == EBUSY)
		return -1;
	c.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	if (ioctl(loop_fd, LOOP_CONFIGURE, &c) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOTTY)
		return -1;
	if (ioctl(loop_fd, LOOP_SET_FD, file_fd) < 0)
		return -1;
	if (ioctl(loop_fd, LOOP_SET_STATUS64, &c.info) < 0) {
		saved = errno;
		(void)ioctl(loop_fd, LOOP_CLR_FD, 0);
		errno = saved;
		return -1;
	}
	(void)ioctl(loop_fd, LOOP_SET_DIRECT_IO, 1ul);
	return 0;
}

/* 1 and the number of a loop device that has the file, 0: none has. */
static int
find_loop(const struct stat *file, unsigned long *ret_n)
{
	cleanup_closedir DIR *dir = opendir("/sys/block");
	char path[LOOP_PATH_SIZE];
	struct dirent *de;

	while (dir != NULL && (de = readdir(dir)) != NULL) {
		cleanup_close int fd = -EBADF;
		struct loop_info64 info;
		uint64_t n;

		if (!str_starts(de->d_name, "loop") ||
		    !str_to_u64(de->d_name + 4, UINT32_MAX, &n))
			continue;
		(void)snprintf(path, sizeof(path), "/dev/loop%lu",
		    (unsigned long)n);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0 ||
		    info.lo_inode != file->st_ino ||
		    info.lo_device != file->st_dev)
			continue;
		*ret_n = (unsigned long)n;
		return 1;
	}
	return 0;
}

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
		if (find_loop(&st, &n) == 0)
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
	cleanup_close int control_fd = -EBADF;
	int i, r;

	r = refuse_attached(file_fd, path, err);
	if (r < 0)
		return r;
	control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control_fd < 0)
		return imgd_error_set(err, EOPNOTSUPP,
		    "/dev/loop-control: %s (loop devices are needed unless "
		    "dm.datadev and dm.metadatadev, or dm.thinpooldev, are "
		    "given)", strerror(errno));
	for (i = 0; i < ATTACH_TRIES; i++) {
		cleanup_close int fd = -EBADF;
		int n = ioctl(control_fd, LOOP_CTL_GET_FREE);

		if (n < 0)
			return imgd_error_set(err, errno,
			    "no free loop device: %s", strerror(errno));
		fd = open_loop((unsigned long)n, ret_path);
		if (fd < 0)
			return imgd_error_set(err, errno, "%s: %s", ret_path,
			    strerror(errno));
		if (configure(fd, file_fd, path) == 0)
			return take_fd(&fd);
		if (errno != EBUSY)
			return imgd_error_set(err, errno,
			    "attach %s to %s: %s", path, ret_path,
			    strerror(errno));
	}
	return imgd_error_set(err, EBUSY,
	    "%s: others take every free loop device", path);
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
	fd = open_loop(minor(device), path);
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	*ret_dev = (dev_t)info.lo_device;
	*ret_ino = (ino_t)info.lo_inode;
	return 1;
}
