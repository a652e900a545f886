/* The check: rows against the pool, the home against both. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/layer-dirs.h"
#include "lib/tree-copy.h"

/* Device ids are given out from below: so far above the highest that was ever
 * used there is none. */
#define PROBE_ABOVE 8

struct check {
	struct devmapper *d;
	uint32_t flags;
	imgd_problem_cb *cb;
	void *ctx;
	int n_problems;
};

static void IMGD_PRINTF(4, 5)
report(struct check *c, const char *id, bool is_repaired, const char *fmt,
    ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->cb(c->ctx, id, text, is_repaired);
	c->n_problems += !is_repaired;
}

static bool
repairs(const struct check *c)
{
	return (c->flags & IMGD_CHECK_REPAIR) != 0;
}

/* ---- rows ---- */

/* What is being made or removed may go; a sealed layer never does. */
static int
check_device(struct check *c, const struct row *row, struct imgd_error **err)
{
	struct devmapper *d = c->d;
	cleanup_lock m = devmapper_lock(d);
	bool is_layer = row->state == IMGD_STATE_SEALED ||
	    row->state == IMGD_STATE_RW || row->state == ROW_BASE;
	bool is_dropped = false;
	struct row now;
	int r;

	/* It may be gone by now, or have changed its device. */
	r = journal_row(d->journal, row->id, &now, err);
	if (r <= 0)
		return r;
	r = thin_probe(d, now.device, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (repairs(c) && !is_layer)
		is_dropped = journal_drop(d->journal, row->id, NULL) == 0;
	report(c, row->id, is_dropped, "its thin device %u is not in the pool",
	    now.device);
	return 0;
}

static int
check_parent(struct check *c, const struct row *row, struct imgd_error **err)
{
	struct devmapper *d = c->d;
	cleanup_lock m = devmapper_lock(d);
	struct row parent;
	int r;

	if (row->parent[0] == '\0')
		return 0;
	r = journal_row(d->journal, row->parent, &parent, err);
	if (r == 0)
		report(c, row->id, false, "its parent %.12s is missing",
		    row->parent);
	else if (r > 0 && parent.state != IMGD_STATE_SEALED)
		report(c, row->id, false, "its parent %.12s is not sealed",
		    row->parent);
	return r < 0 ? r : 0;
}

/* Mount the layer unless it is, and read all of it. */
static int
read_layer(struct devmapper *d, const struct row *row, struct use *u,
    struct imgd_error **err)
{
	bool was_mounted = u->has_tree;
	cleanup_close int fd = -EBADF;
	int r = 0, v = 0;

	if (!was_mounted)
		r = layer_mount(d, row, u, err);
	if (r < 0)
		return r;
	fd = fs_open_dir(d->mnt_fd, row->id, err);
	r = fd < 0 ? fd : tree_read(fd, d->env->cancelled, err);
	close_fd(&fd);
	if (!was_mounted)
		v = layer_unmount(d, row->id, u, u->has_block,
		    r < 0 ? NULL : err);
	return r < 0 ? r : v;
}

/* A staged layer is somebody's work in progress: only sealed ones are read,
 * and writable ones that nobody has. */
static int
check_content(struct check *c, const struct row *row, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	struct devmapper *d = c->d;
	struct use *u;
	int r = 0;

	if (row->state != IMGD_STATE_SEALED && row->state != IMGD_STATE_RW)
		return 0;
	u = layer_lock(d, row->id, err);
	if (u == NULL)
		return -ENOMEM;
	{
		cleanup_lock m = devmapper_lock(d);

		r = journal_row(d->journal, row->id, NULL, err);
	}
	if (r > 0 && (row->state == IMGD_STATE_SEALED || !layer_is_busy(u)))
		r = read_layer(d, row, u, &e);
	layer_unlock(d, u);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (r < 0 && e != NULL)
		report(c, row->id, false, "%s", imgd_error_msg(e));
	return r < 0 && e == NULL ? r : 0;
}

static int
check_rows(struct check *c, struct imgd_error **err)
{
	struct devmapper *d = c->d;
	cleanup_free struct row *rows = NULL;
	size_t i, n = 0;
	int r;

	{
		cleanup_lock m = devmapper_lock(d);

		r = journal_rows(d->journal, &rows, &n, err);
	}
	for (i = 0; r == 0 && i < n; i++) {
		r = check_parent(c, &rows[i], err);
		if (r == 0 && d->is_up)
			r = check_device(c, &rows[i], err);
		if (r == 0 && d->is_up && (c->flags & IMGD_CHECK_DEEP) != 0)
			r = check_content(c, &rows[i], err);
	}
	return r;
}

/* ---- devices that no row has ---- */

static int
check_orphan(struct check *c, uint32_t device, struct imgd_error **err)
{
	struct devmapper *d = c->d;
	cleanup_lock m = devmapper_lock(d);
	struct change change = { .kind = CHANGE_DELETE };
	bool is_deleted = false;
	uint32_t free_device;
	int r;

	r = journal_free_device(d->journal, device, &free_device, err);
	if (r < 0 || free_device != device)
		return r;
	r = thin_probe(d, device, err);
	if (r <= 0)
		return r;
	if (repairs(c)) {
		change.row.device = device;
		(void)snprintf(change.row.id, sizeof(change.row.id),
		    "orphan-%u", device);
		is_deleted = pool_change(d, &change, NULL, NULL) == 0;
	}
	report(c, NULL, is_deleted,
	    "thin device %u in the pool belongs to no layer", device);
	return 0;
}

static int
check_orphans(struct check *c, struct imgd_error **err)
{
	uint64_t high = 0, i;
	int r;

	{
		cleanup_lock m = devmapper_lock(c->d);

		r = journal_get_u64(c->d->journal, "high_device", &high, err);
	}
	for (i = 0; r == 0 && i <= high + PROBE_ABOVE; i++)
		r = check_orphan(c, (uint32_t)i, err);
	return r;
}

/* ---- the pool and the home ---- */

static void
check_pool(struct check *c)
{
	cleanup_error struct imgd_error *e = NULL;
	struct devmapper *d = c->d;
	cleanup_lock m = devmapper_lock(d);

	if (d->is_up && pool_has_room(d, &e) < 0)
		report(c, NULL, false, "%s", imgd_error_msg(e));
}

static bool
is_known(const char *name)
{
	static const char *const names[] = { ".", "..", "pool.db",
		"pool.db-wal", "pool.db-shm", "pool.db-journal", "data",
		"metadata", "mnt" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static int
open_list(int dir_fd, const char *name, DIR **ret, struct imgd_error **err)
{
	int e, fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && (*ret = fdopendir(fd)) != NULL)
		return 0;
	e = errno;
	cleanup_closep(&fd);
	return imgd_error_set(err, e, "%s: %s", name, strerror(e));
}

/* Nobody but imgd has anything to lay down here; it is not ours to delete. */
static int
check_home(struct check *c, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int r = open_list(c->d->env->home_fd, ".", &dir, err);

	while (r == 0 && (de = readdir(dir)) != NULL)
		if (!is_known(de->d_name))
			report(c, NULL, false, "%s/%s is not imgd's",
			    c->d->home, de->d_name);
	return r;
}

/* A mount point that no layer needs is left by a crash. */
static int
check_mounts(struct check *c, struct imgd_error **err)
{
	struct devmapper *d = c->d;
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int r = d->mnt_fd < 0 ? 1 : open_list(d->mnt_fd, ".", &dir, err);

	while (r == 0 && (de = readdir(dir)) != NULL) {
		cleanup_lock m = devmapper_lock(d);
		bool is_gone;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    (layer_id_is_valid(de->d_name) &&
		    journal_row(d->journal, de->d_name, NULL, NULL) > 0))
			continue;
		is_gone = repairs(c) &&
		    unlinkat(d->mnt_fd, de->d_name, AT_REMOVEDIR) == 0;
		report(c, NULL, is_gone, "%s/mnt/%s belongs to no layer",
		    d->home, de->d_name);
	}
	return r < 0 ? r : 0;
}

/* Have the pool up for the check; 1: it was down. */
static int
begin(struct devmapper *d, struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);
	bool was_up = d->is_up;
	int r = d->is_readonly ? 0 : pool_up(d, err);

	return r < 0 ? r : !was_up && d->is_up;
}

int
devmapper_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct devmapper *d = h;
	struct check c = { d, flags, cb, ctx, 0 };
	int r, was_down, v = 0;

	if (d->journal == NULL)
		return 0;
	was_down = begin(d, err);
	if (was_down < 0)
		return was_down;
	check_pool(&c);
	r = check_rows(&c, err);
	if (r == 0 && d->is_up)
		r = check_orphans(&c, err);
	if (r == 0)
		r = check_home(&c, err);
	if (r == 0)
		r = check_mounts(&c, err);
	if (was_down) {
		cleanup_lock m = devmapper_lock(d);

		v = pool_down(d, r < 0 ? NULL : err);
	}
	return r < 0 ? r : v < 0 ? v : c.n_problems;
}
