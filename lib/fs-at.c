#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

int
fs_open_dir(int dir_fd, const char *name, struct imgd_error **err)
{
	int fd = openat(dir_fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	return fd;
}

int
fs_make_dir(int dir_fd, const char *name, mode_t mode, struct imgd_error **err)
{
	struct stat st;

	if (mkdirat(dir_fd, name, mode) < 0) {
		int e = errno;

		if (e == EEXIST &&
		    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISDIR(st.st_mode))
			return 0;
		return imgd_error_set(err, e, "make directory %s: %s", name,
		    strerror(e));
	}
	if (fchmodat(dir_fd, name, mode, 0) < 0)
		return imgd_error_set(err, errno, "chmod %s: %s", name,
		    strerror(errno));
	return 1;
}

int
fs_make_open_dir(int dir_fd, const char *name, mode_t mode,
    struct imgd_error **err)
{
	int r = fs_make_dir(dir_fd, name, mode, err);

	return r < 0 ? r : fs_open_dir(dir_fd, name, err);
}

/*
 * Empty the directory that fd is open on, without recursion: going down keeps
 * one descriptor, and going up opens "..", checked against the inode that was
 * left, so that neither depth nor a concurrent rename can lead astray.
 */
static int
empty_dir(int top_fd, const char *label, struct imgd_error **err)
{
	cleanup_close int fd = fcntl(top_fd, F_DUPFD_CLOEXEC, 3);
	struct stat top, st;
	size_t depth = 0;

	if (fd < 0 || fstat(fd, &top) < 0)
		return imgd_error_set(err, errno, "%s: %s", label,
		    strerror(errno));
	for (;;) {
		cleanup_closedir DIR *d = NULL;
		cleanup_close int down_fd = -EBADF;
		struct dirent *de;
		int dup_fd;

		dup_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dup_fd < 0 || (d = fdopendir(dup_fd)) == NULL) {
			int e = errno;

			cleanup_closep(&dup_fd);
			return imgd_error_set(err, e, "%s: %s", label,
			    strerror(e));
		}
		while (errno = 0, (de = readdir(d)) != NULL) {
			if (strcmp(de->d_name, ".") == 0 ||
			    strcmp(de->d_name, "..") == 0)
				continue;
			if (de->d_type != DT_DIR &&
			    unlinkat(fd, de->d_name, 0) == 0)
				continue;
			if (de->d_type != DT_DIR && errno != EISDIR)
				return imgd_error_set(err, errno,
				    "remove %s: %s: %s", label, de->d_name,
				    strerror(errno));
			if (unlinkat(fd, de->d_name, AT_REMOVEDIR) == 0)
				continue;
			if (errno != ENOTEMPTY && errno != EEXIST)
				return imgd_error_set(err, errno,
				    "remove %s: %s: %s", label, de->d_name,
				    strerror(errno));
			down_fd = openat(fd, de->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (down_fd < 0 || fstat(down_fd, &st) < 0)
				return imgd_error_set(err, errno,
				    "remove %s: %s: %s", label, de->d_name,
				    strerror(errno));
			if (st.st_dev != top.st_dev)
				return imgd_error_set(err, EXDEV,
				    "remove %s: %s is a mount point", label,
				    de->d_name);
			break;
		}
		if (de == NULL && errno != 0)
			return imgd_error_set(err, errno, "%s: %s", label,
			    strerror(errno));
		if (down_fd >= 0) {
			close_fd(&fd);
			fd = take_fd(&down_fd);
			depth++;
			continue;
		}
		if (depth == 0)
			return 0;
		/* Empty now: go up, and the parent's next round removes it. */
		down_fd = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (down_fd < 0 || fstat(down_fd, &st) < 0)
			return imgd_error_set(err, errno, "%s: %s", label,
			    strerror(errno));
		if (st.st_dev != top.st_dev)
			return imgd_error_set(err, EXDEV,
			    "remove %s: moved away meanwhile", label);
		close_fd(&fd);
		fd = take_fd(&down_fd);
		depth--;
	}
}

int
fs_remove_tree(int dir_fd, const char *name, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	int r;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return imgd_error_set(err, errno, "remove %s: %s", name,
		    strerror(errno));
	fd = openat(dir_fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return imgd_error_set(err, errno, "remove %s: %s", name,
		    strerror(errno));
	r = empty_dir(fd, name, err);
	if (r < 0)
		return r;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "remove %s: %s", name,
		    strerror(errno));
	return 0;
}

int
fs_move_lost(int to_dir, const char *to, int from_dir, const char *from)
{
	return renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) < 0
	    ? -1
	    : mkdirat(from_dir, from, 0755);
}

int
fs_read_fd(int fd, const char *name, size_t max, char **ret_data,
    size_t *ret_len, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	char buf[4096];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	if (!S_ISREG(st.st_mode))
		return imgd_error_set(err, EINVAL, "%s: not a regular file",
		    name);
	while ((n = read(fd, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int e = errno;

			strbuf_done(&sb);
			return imgd_error_set(err, e, "%s: %s", name,
			    strerror(e));
		}
		if (sb.len + (size_t)n > max) {
			strbuf_done(&sb);
			return imgd_error_set(err, EFBIG,
			    "%s: longer than %zu bytes", name, max);
		}
		strbuf_append(&sb, buf, (size_t)n);
	}
	if (ret_len != NULL)
		*ret_len = sb.len;
	*ret_data = strbuf_take(&sb);
	if (*ret_data == NULL)
		return imgd_error_set(err, ENOMEM, "%s: out of memory", name);
	return 0;
}

int
fs_read_file(int dir_fd, const char *name, size_t max, char **ret_data,
    size_t *ret_len, struct imgd_error **err)
{
	cleanup_close int fd = openat(dir_fd, name,
	    O_RDONLY | (dir_fd == AT_FDCWD ? 0 : O_NOFOLLOW) | O_CLOEXEC |
		O_NONBLOCK);

	if (fd < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	return fs_read_fd(fd, name, max, ret_data, ret_len, err);
}

int
fs_write_all(int fd, const void *data, size_t len, struct imgd_error **err)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "write: %s",
			    strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int
fs_set_trusted(int fd, const char *name, const void *value, size_t len)
{
	char path[32];

	if (fsetxattr(fd, name, value, len, 0) == 0)
		return 0;
	/* Of links and devices there are path-only descriptors. */
	if (errno == EBADF)
		return setxattr(fs_fd_path(fd, path), name, value, len, 0);
	if (errno != EPERM || strcmp(name, "trusted.overlay.opaque") != 0)
		return -1;
	return fsetxattr(fd, "user.overlay.opaque", value, len, 0);
}

bool
fs_attr_is_stacking(const char *name)
{
	return str_starts(name, "trusted.overlay.") ||
	    str_starts(name, "user.overlay.") ||
	    str_starts(name, "user.fuseoverlayfs.");
}

const char *
fs_fd_path(int fd, char buf[32])
{
	(void)snprintf(buf, 32, "/proc/self/fd/%d", fd);
	return buf;
}

int
fs_real_path(int fd, char **ret_path, struct imgd_error **err)
{
	char link[32], path[PATH_MAX];
	ssize_t n = readlink(fs_fd_path(fd, link), path, sizeof(path) - 1);

	if (n < 0)
		return imgd_error_set(err, errno, "%s: %s", link,
		    strerror(errno));
	path[n] = '\0';
	*ret_path = strdup(path);
	if (*ret_path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

/* Undo mountinfo's octal escapes in place; proc(5). */
static void
unescape(char *s)
{
	char *to = s;

	while (*s != '\0') {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 +
			    (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

int
fs_check_alive(int dir_fd, struct imgd_error **err)
{
	cleanup_close int fd = openat(dir_fd, ".",
	    O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return 0;
	switch (errno) {
	case EIO:
	case EROFS:
	case EUCLEAN:
		return imgd_error_set(err, errno,
		    "the filesystem takes no changes any more: %s",
		    strerror(errno));
	default:
		/* Full, or without files of that sort. */
		return 0;
	}
}

int
fs_boot_id(char **ret, struct imgd_error **err)
{
	int r = fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64,
	    ret, NULL, err);

	if (r >= 0)
		(*ret)[strcspn(*ret, "\n")] = '\0';
	return r;
}

/* The mount point of a line of mountinfo, its fifth field; NULL if there is
 * none. */
static const char *
mount_point(char *line)
{
	char *save = NULL, *field = NULL;
	int i;

	for (i = 0; i < 5; i++)
		field = strtok_r(i == 0 ? line : NULL, " ", &save);
	if (field != NULL)
		unescape(field);
	return field;
}

/* Call each for every mount point until it returns something but 0, which is
 * the result then. */
static int
each_mount(int (*each)(const char *at, const char *arg,
	       struct imgd_error **err),
    const char *arg, struct imgd_error **err)
{
	cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (f == NULL)
		return imgd_error_set(err, errno, "/proc/self/mountinfo: %s",
		    strerror(errno));
	while (r == 0 && getline(&line, &size, f) > 0) {
		const char *at = mount_point(line);

		if (at != NULL)
			r = each(at, arg, err);
	}
	return r;
}

static int
is_at(const char *at, const char *path, struct imgd_error **err)
{
	(void)err;
	return strcmp(at, path) == 0;
}

int
fs_is_mount_point(const char *path, struct imgd_error **err)
{
	return each_mount(is_at, path, err);
}

/* With what is mounted on it, so that the order is none. */
static int
detach(const char *at, const char *prefix, struct imgd_error **err)
{
	if (!str_starts(at, prefix) ||
	    umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ||
	    errno == EINVAL || errno == ENOENT)
		return 0;
	return imgd_error_set(err, errno, "unmount %s: %s", at,
	    strerror(errno));
}

int
fs_detach_mounts(const char *prefix, struct imgd_error **err)
{
	return each_mount(detach, prefix, err);
}
