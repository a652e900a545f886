/* fuse-overlayfs: the branches shown by a process of its own. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "drivers/aufs/mount.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

/* Descriptors that it needs besides those of branches. */
#define FUSE_OTHER_FILES 128

/* How long its end may take after the last unmount: it answers what was asked
 * before. */
#define FUSE_END_MS 10000

/* The longest command line of its; longer ones are some other program's. */
#define CMDLINE_MAX (256u << 10)

int
aufs_fuse_find(char *ret, size_t size, struct imgd_error **err)
{
	static const char *const dirs[] = { "/usr/bin", "/bin",
		"/usr/local/bin", "/usr/sbin", "/sbin" };
	size_t i;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(ret, size, "%s/fuse-overlayfs", dirs[i]);
		if (access(ret, X_OK) == 0)
			return 0;
	}
	return imgd_error_set(err, EOPNOTSUPP,
	    "the kernel has no aufs, and fuse-overlayfs is not installed "
	    "(looked in /usr/bin, /bin, /usr/local/bin, /usr/sbin, /sbin)");
}

/* Its option string, malloc'ed.  Names are below home, where it is started:
 * so they are short, and need no escapes. */
static char *
make_options(const struct aufs_stack *s)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i, first = s->is_rw ? 1 : 0;

	/* Devices and setuid programs of an image work, as on a mount of the
	 * kernel's; fuse takes both away unless asked.  With its write cache
	 * a file shows other times than the branch holds. */
	strbuf_puts(&sb, s->is_rw ? "dev,suid,writeback=0" : "ro,dev,suid");
	for (i = first; i < s->n_branches; i++)
		strbuf_printf(&sb, "%sdiff/%s", i == first ? ",lowerdir=" :
		    ":", s->branches[i]);
	if (s->is_rw)
		strbuf_printf(&sb, ",upperdir=diff/%s,workdir=%s",
		    s->branches[0], s->work);
	return strbuf_take(&sb);
}

int
aufs_fuse_mount(const struct aufs_ops *ops, const struct aufs_stack *s,
    struct imgd_error **err)
{
	cleanup_free char *options = NULL;
	const char *argv[5] = { NULL };
	char program[64];
	int r = aufs_fuse_find(program, sizeof(program), err);

	if (r < 0)
		return r;
	options = make_options(s);
	if (options == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	argv[0] = program;
	argv[1] = "-o";
	argv[2] = options;
	argv[3] = s->target;
	return ops->run(program, argv, s->home_fd, err);
}

size_t
aufs_fuse_max_depth(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    files.rlim_max >= AUFS_MAX_DEPTH + FUSE_OTHER_FILES)
		return AUFS_MAX_DEPTH;
	return files.rlim_max > FUSE_OTHER_FILES + 1
	    ? (size_t)files.rlim_max - FUSE_OTHER_FILES : 1;
}

/* ---- its process ---- */

/* Whether the process pid is a fuse-overlayfs with target as its last
 * argument. */
static bool
serves(int proc_fd, const char *pid, const char *target)
{
	cleanup_free char *line = NULL;
	size_t len, want = strlen(target);
	const char *program;
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/cmdline", pid);
	if (fs_read_file(proc_fd, path, CMDLINE_MAX, &line, &len, NULL) < 0 ||
	    len < want + 2)
		return false;
	program = strrchr(line, '/');
	program = program != NULL ? program + 1 : line;
	return strcmp(program, "fuse-overlayfs") == 0 &&
	    line[len - 1] == '\0' && line[len - want - 2] == '\0' &&
	    memcmp(line + len - want - 1, target, want) == 0;
}

int
aufs_fuse_find_process(const char *target)
{
	cleanup_closedir DIR *dir = opendir("/proc");
	struct dirent *de;

	while (dir != NULL && (de = readdir(dir)) != NULL) {
		int fd;

		if (de->d_name[0] < '1' || de->d_name[0] > '9' ||
		    !serves(dirfd(dir), de->d_name, target))
			continue;
		fd = pidfd_open((pid_t)atoi(de->d_name), 0);
		/* Before that its number may have passed on. */
		if (fd >= 0 && serves(dirfd(dir), de->d_name, target))
			return fd;
		cleanup_closep(&fd);
	}
	return -ENOENT;
}

int
aufs_fuse_wait(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int r;

	do {
		r = poll(&p, 1, FUSE_END_MS);
	} while (r < 0 && errno == EINTR);
	(void)close(pidfd);
	return r == 0 ? -EBUSY : 0;
}
