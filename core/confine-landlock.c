/* Landlock: no file but those of the root, where the kernel has that. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/confine.h"
#include "lib/cleanup.h"

/* linux/landlock.h, which may be older than the kernel. */
#define FS_EXECUTE   (1ull << 0)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR  (1ull << 3)
#define FS_READ      (FS_READ_FILE | FS_READ_DIR)
#define FS_IOCTL_DEV (1ull << 15)
#define NET_BIND_TCP    (1ull << 0)
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ALL (3ull) /* abstract sockets, signals */
#define CREATE_VERSION 1u
#define RULE_PATH_BENEATH 1

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

struct ruleset {
	uint64_t fs;
	uint64_t net;    /* from version 4 on */
	uint64_t scoped; /* from version 6 on */
};

struct beneath {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

/* All rights of files that a version knows. */
static uint64_t
fs_rights(long version)
{
	if (version >= 5)
		return (1ull << 16) - 1;
	return version >= 3 ? (1ull << 15) - 1 : (1ull << 14) - 1;
}

static int
allow(int set_fd, int fd, uint64_t rights)
{
	struct beneath rule = { .fd = fd };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	rule.allowed = S_ISDIR(st.st_mode) ? rights : rights & FS_READ_FILE;
	return (int)syscall(SYS_landlock_add_rule, set_fd, RULE_PATH_BENEATH,
	    &rule, 0);
}

static int
allow_resolver(int set_fd)
{
	size_t i;

	for (i = 0; confine_shown[i] != NULL; i++) {
		cleanup_close int fd = open(confine_shown[i],
		    O_PATH | O_CLOEXEC);

		if (fd >= 0 && allow(set_fd, fd, FS_READ) < 0)
			return -1;
	}
	return 0;
}

int
confine_landlock(const struct confine_rights *r, int root_fd)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
	    CREATE_VERSION);
	uint64_t all = fs_rights(version), allowed = 0;
	struct ruleset set = { .fs = all,
		.net = NET_BIND_TCP | (r->has_network ? 0 : NET_CONNECT_TCP),
		.scoped = SCOPE_ALL };
	cleanup_close int set_fd = -EBADF;

	if (version < 0)
		return -1;
	/* The first version denies links and moves between directories. */
	if (version < 2) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (!r->no_reading)
		set.fs &= ~FS_READ;
	if (r->may_write)
		allowed = set.fs & ~(FS_EXECUTE | FS_IOCTL_DEV);
	else
		allowed = set.fs & FS_READ;
	set_fd = (int)syscall(SYS_landlock_create_ruleset, &set,
	    version >= 6       ? sizeof(set)
		: version >= 4 ? 2 * sizeof(uint64_t)
			       : sizeof(uint64_t),
	    0);
	if (set_fd < 0)
		return -1;
	if (root_fd == CONFINE_RESOLVER_ROOT) {
		if (allow_resolver(set_fd) < 0)
			return -1;
	} else if (root_fd >= 0 && allowed != 0 &&
	    allow(set_fd, root_fd, allowed) < 0) {
		return -1;
	}
	return (int)syscall(SYS_landlock_restrict_self, set_fd, 0);
}
