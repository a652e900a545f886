#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "drivers/overlay/mount.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

/* fsconfig copies at most this many bytes of a value (fs/fsopen.c). */
#define FSCONFIG_VALUE_MAX 255

/* Room for everything but lower directories in a page of mount data: the
 * options below, and upper and work directories of "../ID/diff" form. */
#define DATA_FIXED_BYTES 320

const struct mount_ops mount_kernel_ops = {
	.fsopen = fsopen,
	.fsconfig = fsconfig,
	.fsmount = fsmount,
	.move_mount = move_mount,
	.mount = mount,
	.umount = umount2,
};

/* Options, each where the kernel's overlayfs knows it, told by its parameter.
 * They pin what a distribution may have switched on by default: with index,
 * metacopy or redirects a layer is more than its files, and those of others
 * must never be followed. */
static const struct {
	const char *parameter;
	const char *key;
	const char *value;
} options[] = {
	{ "index", "index", "off" },
	{ "metacopy", "metacopy", "off" },
	{ "redirect_always_follow", "redirect_dir", "nofollow" },
	{ "xino_auto", "xino", "auto" },
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

/* Asked after fsopen, which loads the module. */
static bool
has_parameter(const char *name)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "/sys/module/overlay/parameters/%s",
	    name);
	return access(path, F_OK) == 0;
}

/* Set err from errno, or from what the kernel says about the context fd. */
static int
fail_context(int fd, const char *what, struct imgd_error **err)
{
	char buf[512];
	int e = errno;
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	if (n <= 2)
		return imgd_error_set(err, e, "%s: %s", what, strerror(e));
	/* "e overlay: text": the first letter is the severity. */
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return imgd_error_set(err, e, "%s: %s: %s", what, buf + 2,
	    strerror(e));
}

/*
 * A path for fsconfig: below dir as it is if that is short and plain, because
 * mountinfo will show it; else through the descriptor.
 */
static int
set_path(const struct mount_ops *ops, int fd, const struct overlay_mount *om,
    const char *key, const char *name)
{
	char path[FSCONFIG_VALUE_MAX + 1], fd_path[32];
	int n = -1;

	if (strpbrk(om->dir, "\\,:") == NULL)
		n = snprintf(path, sizeof(path), "%s/%s", om->dir, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		n = snprintf(path, sizeof(path), "%s/%s",
		    fs_fd_path(om->dir_fd, fd_path), name);
	if ((size_t)n >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return ops->fsconfig(fd, FSCONFIG_SET_STRING, key, path, 0);
}

static int
set_options(const struct mount_ops *ops, int fd,
    const struct overlay_mount *om, struct imgd_error **err)
{
	size_t i;

	if (ops->fsconfig(fd, FSCONFIG_SET_STRING, "source", "imgd", 0) < 0)
		return fail_context(fd, "overlay", err);
	for (i = 0; i < N_OPTIONS; i++)
		if (has_parameter(options[i].parameter) &&
		    ops->fsconfig(fd, FSCONFIG_SET_STRING, options[i].key,
			options[i].value, 0) < 0)
			return fail_context(fd, options[i].key, err);
	if (om->userxattr && ops->fsconfig(fd, FSCONFIG_SET_FLAG, "userxattr",
	    NULL, 0) < 0)
		return fail_context(fd, "userxattr", err);
	return 0;
}

/*
 * Whether overlayfs takes layers one by one; -1 with errno if nothing can be
 * learned.  Where it is not converted to the new mount API (before Linux 6.5)
 * the kernel gathers any key for later, so one that nobody knows tells.
 */
static int
takes_single_layers(const struct mount_ops *ops)
{
	cleanup_close int fd = ops->fsopen("overlay", FSOPEN_CLOEXEC);

	if (fd < 0)
		return errno == ENOSYS ? 0 : -1;
	if (ops->fsconfig(fd, FSCONFIG_SET_STRING, "no-such-option", "/",
	    0) == 0)
		return 0;
	/* Any directory will do to learn whether the key is known. */
	return ops->fsconfig(fd, FSCONFIG_SET_STRING, "lowerdir+", "/",
	    0) == 0 || errno != EINVAL;
}

/* The new mount API: one call per layer, no limit but the kernel's own.
 * Returns 1 if the kernel cannot do it this way. */
static int
mount_by_context(const struct mount_ops *ops, const struct overlay_mount *om,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF, mount_fd = -EBADF;
	size_t i;
	int r = takes_single_layers(ops);

	if (r == 0)
		return 1;
	if (r > 0)
		fd = ops->fsopen("overlay", FSOPEN_CLOEXEC);
	if (fd < 0 && errno == ENODEV)
		return imgd_error_set(err, EOPNOTSUPP,
		    "the kernel has no overlayfs");
	if (fd < 0)
		return imgd_error_set(err, errno, "overlay: %s",
		    strerror(errno));
	for (i = 0; i < om->n_lowers; i++) {
		if (set_path(ops, fd, om, "lowerdir+", om->lowers[i]) < 0)
			return fail_context(fd, "overlay", err);
	}
	r = set_options(ops, fd, om, err);
	if (r < 0)
		return r;
	if (om->upper != NULL &&
	    (set_path(ops, fd, om, "upperdir", om->upper) < 0 ||
	    set_path(ops, fd, om, "workdir", om->work) < 0))
		return fail_context(fd, "overlay", err);
	if (ops->fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fail_context(fd, "overlay", err);
	mount_fd = ops->fsmount(fd, FSMOUNT_CLOEXEC,
	    om->upper == NULL ? MOUNT_ATTR_RDONLY : 0);
	if (mount_fd < 0)
		return fail_context(fd, "overlay", err);
	if (ops->move_mount(mount_fd, "", om->dir_fd, om->target,
	    MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return imgd_error_set(err, errno, "mount overlay: %s",
		    strerror(errno));
	return 0;
}

/* mount(2)'s data; NULL if memory is out. */
static char *
make_data(const struct overlay_mount *om)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	for (i = 0; i < om->n_lowers; i++)
		strbuf_printf(&sb, "%s%s", i == 0 ? "lowerdir=" : ":",
		    om->lowers[i]);
	if (om->upper != NULL)
		strbuf_printf(&sb, ",upperdir=%s,workdir=%s", om->upper,
		    om->work);
	for (i = 0; i < N_OPTIONS; i++)
		if (has_parameter(options[i].parameter))
			strbuf_printf(&sb, ",%s=%s", options[i].key,
			    options[i].value);
	if (om->userxattr)
		strbuf_puts(&sb, ",userxattr");
	return strbuf_take(&sb);
}

/* What the thread that mounts is told, and what it answers. */
struct by_data {
	const struct mount_ops *ops;
	const struct overlay_mount *om;
	const char *data;
	int error; /* errno */
};

/* Mount with dir as working directory, so that names are short.  A thread of
 * its own may leave the process's working directory alone. */
static void *
mount_thread(void *arg)
{
	struct by_data *bd = arg;

	if (unshare(CLONE_FS) < 0 || fchdir(bd->om->dir_fd) < 0 ||
	    bd->ops->mount("imgd", bd->om->target, "overlay",
	    bd->om->upper == NULL ? MS_RDONLY : 0, bd->data) < 0)
		bd->error = errno;
	return NULL;
}

/* One page of mount data.  XXX until Linux 6.8, which takes layers one by one
 * ("lowerdir+"), is the oldest kernel that matters. */
static int
mount_by_data(const struct mount_ops *ops, const struct overlay_mount *om,
    struct imgd_error **err)
{
	cleanup_free char *data = make_data(om), *page = NULL;
	struct by_data bd = { .ops = ops, .om = om };
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE), len;
	pthread_t thread;
	int e;

	/* The kernel reads a whole page. */
	page = calloc(1, page_size);
	if (data == NULL || page == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	len = strlen(data);
	if (len >= page_size)
		return imgd_error_set(err, E2BIG,
		    "overlay: %zu layers do not fit into this kernel's mount "
		    "data", om->n_lowers);
	memcpy(page, data, len);
	bd.data = page;
	e = pthread_create(&thread, NULL, mount_thread, &bd);
	if (e != 0)
		return imgd_error_set(err, e, "start thread: %s", strerror(e));
	(void)pthread_join(thread, NULL);
	if (bd.error == ENODEV)
		return imgd_error_set(err, EOPNOTSUPP,
		    "the kernel has no overlayfs");
	if (bd.error != 0)
		return imgd_error_set(err, bd.error, "mount overlay: %s",
		    strerror(bd.error));
	return 0;
}

int
overlay_mount(const struct mount_ops *ops, const struct overlay_mount *om,
    struct imgd_error **err)
{
	int r;

	if (om->n_lowers > OVERLAY_MAX_LOWERS)
		return imgd_error_set(err, E2BIG,
		    "overlay: %zu layers, the most are %d", om->n_lowers,
		    OVERLAY_MAX_LOWERS);
	r = mount_by_context(ops, om, err);
	return r == 1 ? mount_by_data(ops, om, err) : r;
}

size_t
overlay_max_lowers(const struct mount_ops *ops, size_t name_len)
{
	size_t room = (size_t)sysconf(_SC_PAGESIZE) - DATA_FIXED_BYTES;

	if (takes_single_layers(ops) > 0)
		return OVERLAY_MAX_LOWERS;
	room /= name_len + 1;
	return room < OVERLAY_MAX_LOWERS ? room : OVERLAY_MAX_LOWERS;
}

int
overlay_bind_readonly(const struct mount_ops *ops, const char *source,
    const char *target, struct imgd_error **err)
{
	if (ops->mount(source, target, "none", MS_BIND, NULL) < 0)
		return imgd_error_set(err, errno, "bind %s: %s", source,
		    strerror(errno));
	/* A bind takes flags in a second step only. */
	if (ops->mount("none", target, "none",
	    MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0) {
		int e = errno;

		(void)ops->umount(target, MNT_DETACH);
		return imgd_error_set(err, e, "bind %s read-only: %s", source,
		    strerror(e));
	}
	return 0;
}

int
overlay_umount(const struct mount_ops *ops, const char *target,
    struct imgd_error **err)
{
	if (ops->umount(target, UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
		return imgd_error_set(err, errno, "unmount %s: %s", target,
		    strerror(errno));
	return 0;
}
