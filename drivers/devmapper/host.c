/* The host as it is: block devices, mounts, filesystems. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/devmapper/host.h"
#include "lib/cleanup.h"

/* fs/ext4/ext4.h and fs/xfs/libxfs/xfs_fs.h, which no package of headers has
 * everywhere. */
#define EXT4_RESIZE_FS _IOW('f', 16, __u64)

struct xfs_grow {
	__u64 blocks;
	__u32 max_percent; /* of the space that inodes may take */
};

struct xfs_geometry { /* struct xfs_fsop_geom_v1 */
	__u32 block_size, rtext_size, ag_blocks, ag_count, log_blocks;
	__u32 sector_size, inode_size, max_percent;
	__u64 data_blocks, rt_blocks, rt_extents, log_start;
	unsigned char uuid[16];
	__u32 sunit, swidth;
	__s32 version;
	__u32 flags, log_sector_size, rt_sector_size, dir_block_size;
};

#define XFS_GEOMETRY_V1 _IOR('X', 100, struct xfs_geometry)
#define XFS_GROW_DATA   _IOW('X', 110, struct xfs_grow)

static int
fail(const char *path, const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s%s", path, what,
	    strerror(errno));
}

static int
device_bytes(const char *path, uint64_t *ret, struct imgd_error **err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t bytes;

	if (fd < 0)
		return fail(path, "", err);
	if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return fail(path, "not a block device: ", err);
	*ret = bytes;
	return 0;
}

static int
device_claim(const char *path, struct imgd_error **err)
{
	cleanup_close int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	return fd < 0 ? fail(path, "", err) : 0;
}

static int
device_read(const char *path, void *buf, size_t len, struct imgd_error **err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	ssize_t n;

	if (fd < 0)
		return fail(path, "", err);
	/* What was read before a pool wrote below it would be stale. */
	(void)posix_fadvise(fd, 0, (off_t)len, POSIX_FADV_DONTNEED);
	while (done < len) {
		n = pread(fd, (char *)buf + done, len - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(path, "read: ", err);
		if (n == 0)
			return imgd_error_set(err, EUCLEAN,
			    "%s: ends after %zu bytes", path, done);
		done += (size_t)n;
	}
	return 0;
}

static int
device_sync(const char *path, struct imgd_error **err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail(path, "", err);
	return fsync(fd) < 0 ? fail(path, "flush: ", err) : 0;
}

static int
device_discard(const char *path, uint64_t offset, uint64_t len,
    struct imgd_error **err)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	uint64_t range[2] = { offset, len };

	if (fd < 0)
		return fail(path, "", err);
	return ioctl(fd, BLKDISCARD, range) < 0
	    ? fail(path, "discard: ", err) : 0;
}

static int
do_umount(const char *target, int flags)
{
	return umount2(target, flags);
}

/* A mount point is a directory on another device than its parent. */
static int
mounted(int dir_fd, const char *name, dev_t *ret_dev, struct imgd_error **err)
{
	struct stat outer, inner;

	if (fstatat(dir_fd, name, &inner, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return 0;
		return fail(name, "", err);
	}
	if (fstat(dir_fd, &outer) < 0)
		return fail(name, "", err);
	*ret_dev = inner.st_dev;
	return inner.st_dev != outer.st_dev;
}

static int
grow_xfs(int fd, uint64_t bytes)
{
	struct xfs_geometry g;
	struct xfs_grow grow;

	if (ioctl(fd, XFS_GEOMETRY_V1, &g) < 0)
		return -1;
	grow.blocks = bytes / g.block_size;
	grow.max_percent = g.max_percent;
	return grow.blocks <= g.data_blocks ? 0
	    : ioctl(fd, XFS_GROW_DATA, &grow);
}

static int
grow_ext4(int fd, uint64_t bytes)
{
	struct statfs sf;
	__u64 blocks;

	if (fstatfs(fd, &sf) < 0)
		return -1;
	blocks = bytes / (uint64_t)sf.f_bsize;
	return ioctl(fd, EXT4_RESIZE_FS, &blocks);
}

static int
grow_fs(int root_fd, const char *fs, uint64_t bytes, struct imgd_error **err)
{
	int r = strcmp(fs, "xfs") == 0 ? grow_xfs(root_fd, bytes)
	    : grow_ext4(root_fd, bytes);

	return r < 0 ? imgd_error_set(err, errno,
	    "grow the %s filesystem to %llu bytes: %s", fs,
	    (unsigned long long)bytes, strerror(errno)) : 0;
}

static void
write_text(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	n = write(fd, text, strlen(text));
	(void)n;
}

static void
limit_retries(dev_t device)
{
	static const char *const errors[] = { "ENOSPC", "EIO" };
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		(void)snprintf(path, sizeof(path),
		    "/sys/fs/xfs/dm-%u/error/metadata/%s/max_retries",
		    minor(device), errors[i]);
		write_text(path, "0");
	}
}

const struct host_ops host_kernel_ops = {
	.loop_attach = host_loop_attach,
	.loop_resize = host_loop_resize,
	.loop_file = host_loop_file,
	.device_bytes = device_bytes,
	.device_claim = device_claim,
	.device_read = device_read,
	.device_sync = device_sync,
	.device_discard = device_discard,
	.make_fs = host_make_fs,
	.mount = mount,
	.umount = do_umount,
	.syncfs = syncfs,
	.mounted = mounted,
	.grow_fs = grow_fs,
	.limit_retries = limit_retries,
};
