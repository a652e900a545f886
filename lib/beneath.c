#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"

/* A fifo must not stop us, nor a terminal become ours. */
#define READ_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define RESOLVE_TRIES 1000

/* Component by component and through no link, for sandboxes without openat2, and
 * for paths that it does not take. */
static int
open_slowly(int root_fd, const char *path, int flags)
{
	cleanup_close int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	char name[NAME_MAX + 1];

	path += strspn(path, "/");
	while (fd >= 0 && *path != '\0') {
		size_t n = strcspn(path, "/");
		int down;

		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, n);
		name[n] = '\0';
		if (strcmp(name, "..") == 0)
			return -ENOENT;
		path += n;
		path += strspn(path, "/");
		down = openat(fd, name,
		    READ_FLAGS | (*path != '\0' ? O_DIRECTORY : flags));
		if (down < 0)
			return -errno;
		close_fd(&fd);
		fd = down;
	}
	return fd < 0 ? -errno : take_fd(&fd);
}

/* A rename or a mount anywhere on the machine while ".." is resolved makes the
 * kernel unsure of it: EAGAIN, and one has to ask again. */
static int
resolve(int dir_fd, const char *path, int flags, uint64_t how_to)
{
	const struct open_how how = {
		.flags = (uint64_t)flags,
		.resolve = how_to | RESOLVE_NO_MAGICLINKS,
	};
	int i, fd = -1;

	for (i = 0; i < RESOLVE_TRIES; i++) {
		fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : fd;
}

static int
open_resolved(int dir_fd, const char *path, int flags, uint64_t how_to)
{
	int fd = resolve(dir_fd, path, READ_FLAGS | flags, how_to);

	return fd == -ENOSYS || fd == -EPERM || fd == -ENAMETOOLONG
	    ? open_slowly(dir_fd, path, flags)
	    : fd;
}

/* Mount points are no way out, and there are some: engines bind their driver's
 * directory onto itself, users give it a disk of its own. */
int
beneath_open(int dir_fd, const char *path, int flags)
{
	return open_resolved(dir_fd, path, flags,
	    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

int
beneath_open_in_root(int root_fd, const char *path)
{
	return open_resolved(root_fd, path, 0,
	    RESOLVE_IN_ROOT | RESOLVE_NO_XDEV);
}

int
beneath_read_in_root(int root_fd, const char *path, size_t max,
    char **ret_data, struct imgd_error **err)
{
	cleanup_close int fd = resolve(root_fd, path, READ_FLAGS & ~O_NOFOLLOW,
	    RESOLVE_IN_ROOT | RESOLVE_NO_XDEV);

	if (fd < 0)
		return imgd_error_set(err, -fd, "%s: %s", path, strerror(-fd));
	return fs_read_fd(fd, path, max, ret_data, /* ret_len= */ NULL, err);
}

int
beneath_read(int dir_fd, const char *path, size_t max, char **ret_data,
    size_t *ret_len, struct imgd_error **err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	cleanup_free char *dir = slash != NULL
	    ? strndup(path, (size_t)(slash - path))
	    : strdup(".");
	cleanup_close int fd = -EBADF;
	int r;

	if (dir == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	fd = beneath_open(dir_fd, dir, O_DIRECTORY);
	if (fd < 0)
		return imgd_error_set(err, -fd, "%s: %s", dir, strerror(-fd));
	r = fs_read_file(fd, name, max, ret_data, ret_len, err);
	if (r < 0 && slash != NULL)
		return imgd_error_prefix(err, "%s", dir);
	return r;
}
