/* Mounting layers, and who has them. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/layer-dirs.h"
#include "lib/superblock.h"

#define UMOUNT_TRIES    25
#define UMOUNT_PAUSE_NS 20000000

/* ---- one worker per layer ---- */

static struct use *
find_use(struct devmapper *d, const char *id)
{
	struct use *u;

	for (u = d->uses; u != NULL; u = u->next)
		if (strcmp(u->id, id) == 0)
			return u;
	return NULL;
}

struct use *
layer_lock(struct devmapper *d, const char *id, struct imgd_error **err)
{
	struct use *u;

	(void)pthread_mutex_lock(&d->uses_lock);
	u = find_use(d, id);
	if (u == NULL) {
		u = calloc(1, sizeof(*u));
		if (u != NULL) {
			(void)snprintf(u->id, sizeof(u->id), "%s", id);
			u->root_fd = -EBADF;
			u->next = d->uses;
			d->uses = u;
		}
	}
	while (u != NULL && u->is_locked) {
		u->n_waiting++;
		(void)pthread_cond_wait(&d->uses_changed, &d->uses_lock);
		u->n_waiting--;
	}
	if (u != NULL)
		u->is_locked = true;
	(void)pthread_mutex_unlock(&d->uses_lock);
	if (u == NULL)
		(void)imgd_error_set(err, ENOMEM, "out of memory");
	return u;
}

bool
layer_is_busy(const struct use *u)
{
	return u->has_tree || u->has_block;
}

void
layer_unlock(struct devmapper *d, struct use *u)
{
	struct use **p;

	(void)pthread_mutex_lock(&d->uses_lock);
	u->is_locked = false;
	if (!layer_is_busy(u) && u->n_waiting == 0) {
		for (p = &d->uses; *p != u; p = &(*p)->next)
			;
		*p = u->next;
		close_fd(&u->root_fd);
		free(u);
	}
	(void)pthread_cond_broadcast(&d->uses_changed);
	(void)pthread_mutex_unlock(&d->uses_lock);
}

/* ---- mount ---- */

static bool
is_writable(const struct row *row)
{
	return row->state != IMGD_STATE_SEALED;
}

static int
mount_path(const struct devmapper *d, const char *id, char **ret,
    struct imgd_error **err)
{
	if (asprintf(ret, "%s/mnt/%s", d->home, id) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

int
layer_is_mounted(struct devmapper *d, const char *id, struct imgd_error **err)
{
	dev_t dev;

	if (d->mnt_fd < 0)
		return 0;
	return d->host->mounted(d->mnt_fd, id, &dev, err);
}

/* What is mounted there already must be the layer. */
static int
adopt(struct devmapper *d, const struct row *row, dev_t dev,
    struct imgd_error **err)
{
	struct mapper_info info;
	int r = thin_info(d, row->id, &info, err);

	if (r < 0)
		return r;
	if (!info.exists || makedev(info.major, info.minor) != dev)
		return imgd_error_set(err, EBUSY,
		    "something else is mounted at %s/mnt/%s", d->home,
		    row->id);
	if (info.is_readonly == is_writable(row))
		return imgd_error_set(err, EBUSY,
		    "it is still mounted %s", info.is_readonly
		    ? "for reading only" : "for writing");
	return info.is_suspended ? thin_activate(d, row, !is_writable(row),
	    err) : 0;
}

/* Inode tables that mkfs left for later are never needed, and writing them
 * would fill the pool; xfs refuses twins of a filesystem that is mounted. */
static int
mount_data(const struct devmapper *d, bool is_readonly, char **ret,
    struct imgd_error **err)
{
	const char *own = strcmp(d->fs, "xfs") == 0 ? "nouuid"
	    : is_readonly ? NULL : "noinit_itable";
	const char *more = d->options.mount_options;

	if (asprintf(ret, "%s%s%s", own != NULL ? own : "",
		own != NULL && more != NULL ? "," : "",
		more != NULL ? more : "") < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
mount_device(struct devmapper *d, const struct row *row, const char *target,
    struct imgd_error **err)
{
	unsigned long flags = is_writable(row) ? 0 : MS_RDONLY;
	cleanup_free char *data = NULL;
	char path[DEVICE_PATH_SIZE];
	int r;

	thin_path(d, row->id, path);
	r = mount_data(d, !is_writable(row), &data, err);
	if (r < 0)
		return r;
	if (d->host->mount(path, target, d->fs, flags, data) < 0)
		return imgd_error_set(err, errno, "mount %s: %s%s", path,
		    strerror(errno), errno == EINVAL || errno == EUCLEAN
		    ? " (the kernel's log says more)" : "");
	return 0;
}

static int
read_fs_bytes(struct devmapper *d, const char *id, uint64_t *ret,
    struct imgd_error **err)
{
	unsigned char buf[SUPERBLOCK_BYTES];
	char path[DEVICE_PATH_SIZE];
	struct fs_super super;
	int r;

	thin_path(d, id, path);
	r = d->host->device_read(path, buf, sizeof(buf), err);
	if (r < 0)
		return r;
	if (!superblock_fs(buf, d->fs, &super))
		return imgd_error_set(err, EUCLEAN,
		    "%s has no %s filesystem", path, d->fs);
	*ret = super.bytes;
	return 0;
}

/* What a writable mount needs beyond a read-only one. */
static int
prepare_writes(struct devmapper *d, const struct row *row, struct use *u,
    uint64_t fs_bytes, struct imgd_error **err)
{
	struct mapper_info info;
	int r;

	u->root_fd = fs_open_dir(d->mnt_fd, row->id, err);
	if (u->root_fd < 0)
		return u->root_fd;
	r = thin_info(d, row->id, &info, err);
	if (r < 0)
		return r;
	if (strcmp(d->fs, "xfs") == 0)
		d->host->limit_retries(makedev(info.major, info.minor));
	if (row->bytes <= fs_bytes + FS_SLACK_BYTES)
		return 0;
	return d->host->grow_fs(u->root_fd, d->fs, row->bytes, err);
}

static int
mount_fresh(struct devmapper *d, const struct row *row, struct use *u,
    const char *target, struct imgd_error **err)
{
	uint64_t fs_bytes = row->bytes;
	int r;

	r = thin_activate(d, row, !is_writable(row), err);
	FAIL_POINT("devmapper-activated");
	if (r == 0 && is_writable(row))
		r = read_fs_bytes(d, row->id, &fs_bytes, err);
	if (r == 0)
		r = fs_make_dir(d->mnt_fd, row->id, 0700, err);
	if (r >= 0)
		r = mount_device(d, row, target, err);
	FAIL_POINT("devmapper-mounted");
	if (r == 0 && is_writable(row))
		r = prepare_writes(d, row, u, fs_bytes, err);
	return r;
}

int
layer_mount(struct devmapper *d, const struct row *row, struct use *u,
    struct imgd_error **err)
{
	cleanup_free char *target = NULL;
	dev_t dev;
	int r;

	r = mount_path(d, row->id, &target, err);
	if (r == 0)
		r = d->host->mounted(d->mnt_fd, row->id, &dev, err);
	if (r < 0)
		return r;
	if (r > 0) {
		r = adopt(d, row, dev, err);
		if (r == 0 && is_writable(row) && u->root_fd < 0) {
			u->root_fd = fs_open_dir(d->mnt_fd, row->id, err);
			r = u->root_fd < 0 ? u->root_fd : 0;
		}
		return r;
	}
	r = mount_fresh(d, row, u, target, err);
	if (r < 0)
		(void)layer_unmount(d, row->id, u, u->has_block, NULL);
	return r;
}

/* ---- unmount ---- */

static int
try_umount(struct devmapper *d, const char *target, struct imgd_error **err)
{
	const struct timespec pause = { 0, UMOUNT_PAUSE_NS };
	int i;

	for (i = 0; i < UMOUNT_TRIES; i++) {
		/* EINVAL and ENOENT: nothing is mounted there. */
		if (d->host->umount(target, UMOUNT_NOFOLLOW) == 0 ||
		    errno == EINVAL || errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return imgd_error_set(err, errno, "unmount %s: %s", target,
	    strerror(errno));
}

/* A write error of a layer, or of the pool that ran full below it. */
static int
write_error(struct devmapper *d, const char *what, int code,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;

	(void)imgd_error_set(&why, code, "%s: %s", what, strerror(code));
	return pool_explain(d, -code, why, err);
}

/* Write-back errors show here and nowhere else.  root_fd has been open since
 * the layer was mounted, so that it is told of every one. */
static int
write_back(struct devmapper *d, const char *id, struct use *u,
    struct imgd_error **err)
{
	int r = 0;

	if (u->root_fd < 0)
		u->root_fd = fs_open_dir(d->mnt_fd, id, err);
	if (u->root_fd < 0)
		return u->root_fd;
	if (d->host->syncfs(u->root_fd) < 0)
		r = write_error(d, "write back", errno, err);
	close_fd(&u->root_fd);
	return r;
}

int
layer_unmount(struct devmapper *d, const char *id, struct use *u,
    bool keep_active, struct imgd_error **err)
{
	cleanup_error struct imgd_error *lost = NULL;
	cleanup_free char *target = NULL;
	char path[DEVICE_PATH_SIZE];
	struct mapper_info info;
	bool was_written;
	int r, w = 0;

	r = thin_info(d, id, &info, err);
	if (r == 0)
		r = mount_path(d, id, &target, err);
	if (r == 0)
		r = layer_is_mounted(d, id, err);
	if (r < 0)
		return r;
	was_written = r > 0 && info.exists && !info.is_readonly;
	if (was_written)
		w = write_back(d, id, u, &lost);
	FAIL_POINT("devmapper-written-back");
	close_fd(&u->root_fd);
	r = try_umount(d, target, err);
	if (r < 0)
		return r;
	FAIL_POINT("devmapper-unmounted");
	/* Removing the mount point ends copies of the mount that other mount
	 * namespaces have. */
	if (d->mnt_fd >= 0)
		(void)unlinkat(d->mnt_fd, id, AT_REMOVEDIR);
	thin_path(d, id, path);
	if (w == 0 && was_written)
		w = d->host->device_sync(path, &lost);
	FAIL_POINT("devmapper-device-synced");
	r = keep_active ? 0 : thin_deactivate(d, id, w < 0 ? NULL : err);
	if (w < 0)
		return imgd_error_set(err, -w, "%s", imgd_error_msg(lost));
	return r;
}

/* ---- those that nobody uses ---- */

static int
release(void *ctx, const char *id)
{
	struct devmapper *d = ctx;
	cleanup_error struct imgd_error *e = NULL;
	bool is_base = strcmp(id, BASE_ID) == 0;
	cleanup_lock m = is_base ? devmapper_lock(d) : NULL;
	struct use *u = layer_lock(d, id, NULL);
	int r = 0;

	if (u == NULL)
		return 0;
	if (!layer_is_busy(u))
		r = layer_unmount(d, id, u, /* keep_active= */ false, &e);
	layer_unlock(d, u);
	if (r < 0)
		d->env->log(r == -EBUSY ? IMGD_LOG_DEBUG : IMGD_LOG_WARN,
		    "devmapper: layer %.12s: %s, ignoring", id,
		    imgd_error_msg(e));
	return 0;
}

/* A power cut brings mount points back whose removal was not written yet.  One
 * with an active device may be mounted in another mount namespace, and
 * removing it would end that. */
static void
remove_mount_points(struct devmapper *d)
{
	cleanup_closedir DIR *dir = NULL;
	struct mapper_info info;
	struct dirent *de;
	int fd = openat(d->mnt_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		dir = fdopendir(fd);
	if (dir == NULL)
		cleanup_closep(&fd);
	while (dir != NULL && (de = readdir(dir)) != NULL)
		if (layer_id_is_valid(de->d_name) &&
		    thin_info(d, de->d_name, &info, NULL) == 0 &&
		    !info.exists && layer_is_mounted(d, de->d_name, NULL) == 0)
			(void)unlinkat(d->mnt_fd, de->d_name, AT_REMOVEDIR);
}

int
layer_release_unused(struct devmapper *d, struct imgd_error **err)
{
	int r = thin_each(d, release, d, err);

	if (d->mnt_fd >= 0)
		remove_mount_points(d);
	return r;
}
