#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "drivers/btrfs/subvolume.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"

static int
kernel_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

int (*subvolume_ioctl)(int fd, unsigned long request, void *arg) =
    kernel_ioctl;

static int
fail(struct imgd_error **err, const char *what, const char *name)
{
	int e = errno;

	return imgd_error_set(err, e, "%s %s: %s", what, name, strerror(e));
}

bool
subvolume_possible(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 &&
	    (uint32_t)st.f_type == BTRFS_SUPER_MAGIC;
}

int
subvolume_is(int fd, struct imgd_error **err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(err, "stat", "subvolume");
	return S_ISDIR(st.st_mode) &&
	    st.st_ino == BTRFS_FIRST_FREE_OBJECTID && subvolume_possible(fd);
}

/* Names are our own, or came from the kernel: they fit. */
static void
set_name(char *to, size_t size, const char *name)
{
	(void)snprintf(to, size, "%s", name);
}

int
subvolume_create(int dir_fd, const char *name, struct imgd_error **err)
{
	struct btrfs_ioctl_vol_args args = { .fd = 0 };

	set_name(args.name, sizeof(args.name), name);
	if (subvolume_ioctl(dir_fd, BTRFS_IOC_SUBVOL_CREATE, &args) < 0)
		return fail(err, "make subvolume", name);
	return 0;
}

int
subvolume_snapshot(int source_fd, int dir_fd, const char *name,
    struct imgd_error **err)
{
	struct btrfs_ioctl_vol_args_v2 args = { .fd = source_fd };

	set_name(args.name, sizeof(args.name), name);
	if (subvolume_ioctl(dir_fd, BTRFS_IOC_SNAP_CREATE_V2, &args) < 0)
		return fail(err, "make snapshot", name);
	return 0;
}

int
subvolume_is_readonly(int fd, struct imgd_error **err)
{
	uint64_t flags;

	if (subvolume_ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) < 0)
		return fail(err, "read flags of", "subvolume");
	return (flags & BTRFS_SUBVOL_RDONLY) != 0;
}

int
subvolume_set_readonly(int fd, bool is_readonly, struct imgd_error **err)
{
	uint64_t flags = is_readonly ? BTRFS_SUBVOL_RDONLY : 0;
	int r = subvolume_is_readonly(fd, err);

	if (r < 0 || (r > 0) == is_readonly)
		return r < 0 ? r : 0;
	if (subvolume_ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags) < 0)
		return fail(err, "set flags of", "subvolume");
	return 0;
}

int
subvolume_id(int fd, uint64_t *ret, struct imgd_error **err)
{
	struct btrfs_ioctl_ino_lookup_args args = {
		.objectid = BTRFS_FIRST_FREE_OBJECTID,
	};

	if (subvolume_ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) < 0)
		return fail(err, "identify", "subvolume");
	*ret = args.treeid;
	return 0;
}

/* ---- removal ---- */

/* Where a subvolume lies within the one above it. */
struct place {
	char dir[BTRFS_INO_LOOKUP_PATH_MAX]; /* "" or "a/b/" */
	char name[BTRFS_VOL_NAME_MAX + 1];
};

/* Some subvolume within the one that fd is open on: 1, or 0. */
static int
find_nested(int fd, struct place *ret, struct imgd_error **err)
{
	struct btrfs_ioctl_ino_lookup_args lookup = { .treeid = 0 };
	struct btrfs_ioctl_search_args search = { .key = {
		.tree_id = BTRFS_ROOT_TREE_OBJECTID,
		.min_type = BTRFS_ROOT_REF_KEY,
		.max_type = BTRFS_ROOT_REF_KEY,
		.max_offset = UINT64_MAX,
		.max_transid = UINT64_MAX,
		.nr_items = 1,
	} };
	struct btrfs_ioctl_search_header header;
	struct btrfs_root_ref ref;
	uint64_t id = 0;
	size_t n;
	int r = subvolume_id(fd, &id, err);

	if (r < 0)
		return r;
	search.key.min_objectid = search.key.max_objectid = id;
	if (subvolume_ioctl(fd, BTRFS_IOC_TREE_SEARCH, &search) < 0)
		return fail(err, "search", "subvolumes");
	if (search.key.nr_items == 0)
		return 0;
	memcpy(&header, search.buf, sizeof(header));
	memcpy(&ref, search.buf + sizeof(header), sizeof(ref));
	n = le16toh(ref.name_len);
	if (n > BTRFS_VOL_NAME_MAX || header.len < sizeof(ref) + n)
		return imgd_error_set(err, EUCLEAN,
		    "a nested subvolume has a name of %zu bytes", n);
	memcpy(ret->name, search.buf + sizeof(header) + sizeof(ref), n);
	ret->name[n] = '\0';
	lookup.objectid = le64toh(ref.dirid);
	if (subvolume_ioctl(fd, BTRFS_IOC_INO_LOOKUP, &lookup) < 0)
		return fail(err, "find subvolume", ret->name);
	set_name(ret->dir, sizeof(ret->dir), lookup.name);
	return 1;
}

static int
destroy(int dir_fd, const char *name, struct imgd_error **err)
{
	struct btrfs_ioctl_vol_args args = { .fd = 0 };

	set_name(args.name, sizeof(args.name), name);
	if (subvolume_ioctl(dir_fd, BTRFS_IOC_SNAP_DESTROY, &args) < 0)
		return fail(err, "remove subvolume", name);
	return 0;
}

/* Go down to a subvolume that has none in it, and remove that one.  Returns
 * 1 if it was not yet name itself. */
static int
destroy_innermost(int dir_fd, const char *name, struct imgd_error **err)
{
	cleanup_close int above_fd = -EBADF, fd = -EBADF;
	struct place place;
	bool is_nested = false;
	int r;

	above_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	fd = fs_open_dir(dir_fd, name, err);
	if (fd < 0)
		return fd;
	set_name(place.name, sizeof(place.name), name);
	for (;;) {
		struct place next;

		/* Nothing in a read-only one can be removed. */
		r = subvolume_set_readonly(fd, false, err);
		if (r == 0)
			r = find_nested(fd, &next, err);
		if (r <= 0)
			break;
		is_nested = true;
		close_fd(&above_fd);
		above_fd = openat(fd, next.dir[0] != '\0' ? next.dir : ".",
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (above_fd < 0)
			return fail(err, "open", next.dir);
		close_fd(&fd);
		fd = fs_open_dir(above_fd, next.name, err);
		if (fd < 0)
			return fd;
		place = next;
	}
	if (r == 0)
		r = destroy(above_fd, place.name, err);
	return r < 0 ? r : is_nested;
}

/* 1 if name was a subvolume and is gone, 0 if it is none. */
static int
destroy_all(int dir_fd, const char *name, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	int r;

	fd = openat(dir_fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	r = subvolume_is(fd, err);
	if (r <= 0)
		return r;
	close_fd(&fd);
	do {
		r = destroy_innermost(dir_fd, name, err);
	} while (r > 0);
	return r < 0 ? r : 1;
}

int
subvolume_remove_tree(int dir_fd, const char *name, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int fd, r;

	r = destroy_all(dir_fd, name, err);
	if (r != 0)
		return r < 0 ? r : 0;
	fd = openat(dir_fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && (dir = fdopendir(fd)) == NULL)
		cleanup_closep(&fd);
	while (dir != NULL && (de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		r = destroy_all(dirfd(dir), de->d_name, err);
		if (r < 0)
			return r;
	}
	return fs_remove_tree(dir_fd, name, err);
}

/* ---- quota and sync ---- */

bool
subvolume_has_quota(int fd)
{
	struct btrfs_ioctl_search_args search = { .key = {
		.tree_id = BTRFS_QUOTA_TREE_OBJECTID,
		.max_objectid = UINT64_MAX,
		.max_type = UINT32_MAX,
		.max_offset = UINT64_MAX,
		.max_transid = UINT64_MAX,
		.nr_items = 1,
	} };

	return subvolume_ioctl(fd, BTRFS_IOC_TREE_SEARCH, &search) == 0;
}

int
subvolume_limit(int fd, uint64_t bytes, struct imgd_error **err)
{
	struct btrfs_ioctl_qgroup_limit_args args = {
		.lim = {
			.flags = BTRFS_QGROUP_LIMIT_MAX_EXCL,
			.max_excl = bytes,
		},
	};

	if (subvolume_ioctl(fd, BTRFS_IOC_QGROUP_LIMIT, &args) < 0)
		return fail(err, "limit", "subvolume");
	return 0;
}

int
subvolume_sync(int fd, struct imgd_error **err)
{
	if (subvolume_ioctl(fd, BTRFS_IOC_SYNC, NULL) < 0)
		return fail(err, "sync", "filesystem");
	/* Only this call tells of writes that failed. */
	if (syncfs(fd) < 0)
		return fail(err, "sync", "filesystem");
	return 0;
}
