/* New roots for workers: next to nothing in a tmpfs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/confine.h"
#include "lib/cleanup.h"

#define FILE_BYTES (1u << 20) /* of one file that is copied */

#define MAX_SHOWN 4

/* The resolver's, by glibc's manuals; then what confine_show() added. */
const char *confine_shown[] = { "/etc/resolv.conf", "/etc/hosts",
	"/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
	[5 + MAX_SHOWN] = NULL };

void
confine_show(const char *path)
{
	size_t i = 0;

	while (confine_shown[i] != NULL)
		i++;
	if (path != NULL && path[0] == '/' && i < 5 + MAX_SHOWN)
		confine_shown[i] = path;
}

int
confine_root_new(void)
{
	cleanup_close int fs_fd = -EBADF, fd = -EBADF;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	fs_fd = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs_fd < 0 ||
	    fsconfig(fs_fd, FSCONFIG_SET_STRING, "mode", "755", 0) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_SET_STRING, "size", "16m", 0) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	fd = fsmount(fs_fd, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	/* Over the root, which stays that of this process for now.  (Nothing
	 * can be mounted in what is nowhere attached, until Linux 6.15.) */
	if (fd < 0 ||
	    move_mount(fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -1;
	return take_fd(&fd);
}

/* Make the directories that path, which is absolute, is in. */
static void
make_dirs(int root_fd, const char *path)
{
	char dir[PATH_MAX];
	const char *slash = path;

	while ((slash = strchr(slash + 1, '/')) != NULL) {
		(void)snprintf(dir, sizeof(dir), "%.*s",
		    (int)(slash - path - 1), path + 1);
		(void)mkdirat(root_fd, dir, 0755);
	}
}

static int
copy_file(int root_fd, const char *path, int from_fd)
{
	cleanup_close int fd = openat(root_fd, path + 1,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	char buf[16384];
	size_t total = 0;
	ssize_t n;

	if (fd < 0)
		return errno == EEXIST ? 0 : -1;
	while ((n = read(from_fd, buf, sizeof(buf))) > 0) {
		total += (size_t)n;
		if (total > FILE_BYTES)
			errno = EFBIG;
		if (total > FILE_BYTES || write(fd, buf, (size_t)n) != n)
			return -1;
	}
	return n < 0 ? -1 : fchmod(fd, 0444);
}

int
confine_root_bind(int root_fd, const char *path, uint64_t attrs)
{
	struct mount_attr attr = { .attr_set = attrs | MOUNT_ATTR_RDONLY |
		    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	cleanup_close int fd = open_tree(AT_FDCWD, path,
	    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (fd < 0 ||
	    mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr,
		sizeof(attr)) < 0 ||
	    (mkdirat(root_fd, path + 1, 0755) < 0 && errno != EEXIST))
		return -1;
	return move_mount(fd, "", root_fd, path + 1, MOVE_MOUNT_F_EMPTY_PATH);
}

static int
bring_in(int root_fd, const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	if (fstat(fd, &st) < 0)
		return -1;
	make_dirs(root_fd, path);
	if (S_ISDIR(st.st_mode))
		return confine_root_bind(root_fd, path, MOUNT_ATTR_NOEXEC);
	/* It may have come with its directory. */
	if (!S_ISREG(st.st_mode) ||
	    faccessat(root_fd, path + 1, F_OK, 0) == 0)
		return 0;
	return copy_file(root_fd, path, fd);
}

void
confine_root_fill(int root_fd)
{
	size_t i;

	for (i = 0; confine_shown[i] != NULL; i++)
		if (bring_in(root_fd, confine_shown[i]) < 0)
			confine_note(confine_shown[i], strerror(errno));
}

int
confine_root_enter(int root_fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (mount_setattr(root_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) <
		0 ||
	    fchdir(root_fd) < 0)
		return -1;
	/* The old root then lies on the new one, until it is taken away. */
	if (syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -1;
	return 0;
}
