#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/loop.h"
#include "lib/strbuf.h"

/* Others take free loop devices, too. */
#define ATTACH_TRIES 64

int
loop_open(unsigned long n, int flags, char ret_path[LOOP_PATH_SIZE])
{
	(void)snprintf(ret_path, LOOP_PATH_SIZE, "/dev/loop%lu", n);
	return open(ret_path, flags | O_CLOEXEC);
}

int
loop_find(const struct stat *file, bool only_writable, unsigned long *ret_n)
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
		fd = loop_open((unsigned long)n, O_RDONLY, path);
		if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0 ||
		    info.lo_inode != file->st_ino ||
		    info.lo_device != file->st_dev ||
		    (only_writable &&
			(info.lo_flags & LO_FLAGS_READ_ONLY) != 0))
			continue;
		*ret_n = (unsigned long)n;
		return 1;
	}
	return 0;
}

/* Configure in one step where the kernel can (5.8), so that nobody sees the
 * device without its flags.  Returns 0 or -1 with errno. */
static int
configure(int loop_fd, int file_fd, const char *path, bool is_readonly,
    uint64_t bytes)
{
	const uint32_t flags = LO_FLAGS_AUTOCLEAR |
	    (is_readonly ? LO_FLAGS_READ_ONLY : 0);
	struct loop_config c = { .fd = (uint32_t)file_fd };
	int saved;

	c.info.lo_sizelimit = bytes;
	c.info.lo_flags = flags | LO_FLAGS_DIRECT_IO;
	(void)snprintf((char *)c.info.lo_file_name,
	    sizeof(c.info.lo_file_name), "%s", path);
	if (ioctl(loop_fd, LOOP_CONFIGURE, &c) == 0)
		return 0;
	if (errno == EBUSY)
		return -1;
	c.info.lo_flags = flags;
	if (ioctl(loop_fd, LOOP_CONFIGURE, &c) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOTTY)
		return -1;
	/* Read-only by this is what was opened so. */
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

int
loop_attach(int file_fd, const char *path, bool is_readonly, uint64_t bytes,
    char ret_path[LOOP_PATH_SIZE], struct imgd_error **err)
{
	cleanup_close int control_fd = open("/dev/loop-control",
	    O_RDWR | O_CLOEXEC);
	int i;

	if (control_fd < 0)
		return imgd_error_set(err, EOPNOTSUPP,
		    "/dev/loop-control: %s", strerror(errno));
	for (i = 0; i < ATTACH_TRIES; i++) {
		cleanup_close int fd = -EBADF;
		int n = ioctl(control_fd, LOOP_CTL_GET_FREE);

		if (n < 0)
			return imgd_error_set(err, errno,
			    "no free loop device: %s", strerror(errno));
		fd = loop_open((unsigned long)n,
		    is_readonly ? O_RDONLY : O_RDWR, ret_path);
		if (fd < 0)
			return imgd_error_set(err, errno, "%s: %s", ret_path,
			    strerror(errno));
		if (configure(fd, file_fd, path, is_readonly, bytes) == 0)
			return take_fd(&fd);
		if (errno != EBUSY)
			return imgd_error_set(err, errno,
			    "attach %s to %s: %s", path, ret_path,
			    strerror(errno));
	}
	return imgd_error_set(err, EBUSY,
	    "%s: others take every free loop device", path);
}
