#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "drivers/overlay/probe.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/fs-type.h"
#include "lib/layer-dirs.h"
#include "lib/strbuf.h"

bool
overlay_needs_userxattr(void)
{
	cleanup_fclose FILE *f = fopen("/proc/self/uid_map", "re");
	unsigned long inside, outside, count;

	/* The initial namespace maps all ids onto themselves. */
	if (f == NULL ||
	    fscanf(f, "%lu %lu %lu", &inside, &outside, &count) != 3)
		return false;
	return inside != 0 || outside != 0 || count != 4294967295ul;
}

int
overlay_has_d_type(int dir_fd, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		int e = errno;

		cleanup_closep(&fd);
		return imgd_error_set(err, e, "read directory: %s",
		    strerror(e));
	}
	while ((de = readdir(dir)) != NULL)
		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0 && de->d_type == DT_UNKNOWN)
			return 0;
	return 1;
}

static int
unsupported(const char *what, int e, struct imgd_error **err)
{
	return imgd_error_set(err, layer_probe_will_pass(-e) ? e : EOPNOTSUPP,
	    "%s: %s", what, strerror(e));
}

/* a/file, a/dir/old and b/file below the mount's lower directories; the upper
 * one has an opaque dir, made as an unpacker makes it. */
static int
make_fixture(int fd, struct imgd_error **err)
{
	static const char *const dirs[] = { "a", "a/dir", "b", "upper",
		"upper/dir", "work", "merged" };
	static const char *const files[] = { "a/file", "a/dir/old", "b/file" };
	const char *attr = overlay_needs_userxattr() ?
	    "user.overlay.opaque" : "trusted.overlay.opaque";
	cleanup_close int dir_fd = -EBADF;
	size_t i;
	int r;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		r = fs_make_dir(fd, dirs[i], 0755, err);
		if (r < 0)
			return r;
	}
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (mknodat(fd, files[i], S_IFREG | 0644, 0) < 0)
			return imgd_error_set(err, errno, "%s: %s", files[i],
			    strerror(errno));
	dir_fd = fs_open_dir(fd, "upper/dir", err);
	if (dir_fd < 0)
		return dir_fd;
	if (fsetxattr(dir_fd, attr, "y", 1, 0) < 0)
		return unsupported(attr, errno, err);
	r = overlay_has_d_type(fd, err);
	if (r < 0)
		return r;
	return r > 0 ? 0 : imgd_error_set(err, EOPNOTSUPP,
	    "the filesystem does not tell types in directories (d_type)");
}

/* Delete through the overlay, and see what it hides. */
static int
use_overlay(int fd, struct imgd_error **err)
{
	struct stat st;

	if (faccessat(fd, "merged/dir/old", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return imgd_error_set(err, EOPNOTSUPP,
		    "opaque directories do not hide what is below them");
	if (unlinkat(fd, "merged/file", 0) < 0)
		return unsupported("delete in an overlay", errno, err);
	if (fstatat(fd, "upper/file", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISCHR(st.st_mode) || st.st_rdev != makedev(0, 0))
		return imgd_error_set(err, EOPNOTSUPP,
		    "a deletion leaves no whiteout");
	return 0;
}

/* Mount the fixture, writable and then read-only, and use it. */
static int
try_overlay(const struct mount_ops *ops, int fd, const char *dir,
    struct imgd_error **err)
{
	const char *lowers[] = { "a", "b" };
	struct overlay_mount om = {
		.dir_fd = fd, .dir = dir, .lowers = lowers, .n_lowers = 2,
		.upper = "upper", .work = "work", .target = "merged",
		.userxattr = overlay_needs_userxattr(),
	};
	cleanup_free char *target = NULL;
	int r, u;

	if (asprintf(&target, "%s/merged", dir) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = overlay_mount(ops, &om, err);
	if (r < 0)
		return r;
	FAIL_POINT("overlay-probe-mounted");
	r = use_overlay(fd, err);
	u = overlay_umount(ops, target, r < 0 ? NULL : err);
	if (r < 0 || u < 0)
		return r < 0 ? r : u;
	om.upper = om.work = NULL;
	r = overlay_mount(ops, &om, err);
	return r < 0 ? r : overlay_umount(ops, target, err);
}

int
overlay_probe(const struct mount_ops *ops, int home_fd,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	cleanup_close int fd = -EBADF;
	cleanup_free char *dir = NULL;
	const char *type = "unknown";
	char key[65], name[32], buf[32];
	int r, removed;

	r = str_random_key(key, err);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), LAYER_PROBE_PREFIX "%.16s", key);
	fd = fs_make_open_dir(home_fd, name, 0700, err);
	if (fd < 0)
		return fd;
	r = fs_real_path(fd, &dir, &why);
	if (r == 0)
		r = make_fixture(fd, &why);
	if (r == 0)
		r = try_overlay(ops, fd, dir, &why);
	removed = fs_remove_tree(home_fd, name, r < 0 ? NULL : err);
	if (r == 0)
		return removed;
	(void)fs_type_name(home_fd, buf, &type, NULL);
	if (layer_probe_will_pass(r))
		return imgd_error_set(err, -r, "overlay: probe: %s",
		    imgd_error_msg(why));
	return imgd_error_set(err, EOPNOTSUPP,
	    "overlay does not work on this filesystem (%s): %s", type,
	    imgd_error_msg(why));
}
