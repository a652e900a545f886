/*
 * devmapper: every layer is a thin device with a filesystem of its own, a
 * snapshot of its parent's.
 *
 *     HOME/pool.db         which device is which layer, and the journal
 *     HOME/data, metadata  the pool's sparse files, unless devices are given
 *     HOME/mnt/ID          where a layer is mounted
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/layer-dirs.h"
#include "lib/strbuf.h"

/* ---- life of a store ---- */

static void
devmapper_close(void *h)
{
	struct devmapper *d = h;

	reaper_stop(d);
	while (d->uses != NULL) {
		struct use *u = d->uses;

		d->uses = u->next;
		close_fd(&u->root_fd);
		free(u);
	}
	journal_close(d->journal);
	if (d->has_mapper)
		d->mapper->stop();
	close_fd(&d->mnt_fd);
	options_done(&d->options);
	free(d->data.path);
	free(d->metadata.path);
	free(d->home);
	(void)pthread_cond_destroy(&d->reaper_changed);
	(void)pthread_mutex_destroy(&d->reaper_lock);
	(void)pthread_cond_destroy(&d->uses_changed);
	(void)pthread_mutex_destroy(&d->uses_lock);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}

static void
devmapper_closep(struct devmapper **d)
{
	if (*d != NULL)
		devmapper_close(*d);
}

static int
devmapper_probe(const struct imgd_env *env, struct imgd_error **err)
{
	int r;

	(void)env;
	r = mapper_kernel_ops.start(err);
	if (r < 0)
		return r;
	mapper_kernel_ops.stop();
	return 0;
}

/* Names that tell stores apart: of the home's own device and inode. */
static int
make_names(struct devmapper *d, struct imgd_error **err)
{
	struct stat st;
	int r = fs_real_path(d->env->home_fd, &d->home, err);

	if (r < 0)
		return r;
	if (fstat(d->env->home_fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", d->home,
		    strerror(errno));
	(void)snprintf(d->prefix, sizeof(d->prefix), "imgd-%u:%u-%llu",
	    major(st.st_dev), minor(st.st_dev),
	    (unsigned long long)st.st_ino);
	(void)snprintf(d->pool, sizeof(d->pool), "%s-pool", d->prefix);
	return 0;
}

/* A pool without its pool.db is not ours to begin anew on. */
static int
refuse_orphaned_files(struct devmapper *d, struct imgd_error **err)
{
	static const char *const names[] = { "data", "metadata" };
	int fd = d->env->home_fd;
	struct stat st;
	size_t i;

	if (fstatat(fd, "pool.db", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	for (i = 0; i < 2; i++)
		if (fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return imgd_error_set(err, EUCLEAN,
			    "%s/%s is there, but pool.db, which says what is "
			    "in it, is not: put it back, or remove both to "
			    "start anew without its layers", d->home,
			    names[i]);
	return 0;
}

static int
name_store(struct devmapper *d, struct imgd_error **err)
{
	cleanup_free char *store = NULL;
	char key[65];
	int r = journal_get(d->journal, "store", &store, err);

	if (r == 0 && store[0] == '\0' && !d->is_readonly) {
		r = str_random_key(key, err);
		if (r < 0)
			return r;
		key[32] = '\0';
		free(store);
		store = strdup(key);
		if (store == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		r = journal_set(d->journal, "store", store, err);
	}
	if (r == 0)
		(void)snprintf(d->store, sizeof(d->store), "%s", store);
	return r;
}

static int
open_journal(struct devmapper *d, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	uint64_t initialized = 0;
	int r;

	if (!d->is_readonly) {
		r = refuse_orphaned_files(d, err);
		if (r < 0)
			return r;
	}
	r = journal_open(d->home, d->env->home_fd, d->is_readonly,
	    &d->journal, &e);
	if (r == -ENOENT && d->is_readonly)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	r = journal_get_u64(d->journal, "initialized", &initialized, err);
	d->is_initialized = initialized == 1;
	if (r == 0)
		r = name_store(d, err);
	if (r == 0)
		r = backing_examine(d, err);
	return r;
}

static int
open_mounts(struct devmapper *d, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;

	if (!d->is_readonly) {
		d->mnt_fd = fs_make_open_dir(d->env->home_fd, "mnt", 0700,
		    err);
		return d->mnt_fd < 0 ? d->mnt_fd : 0;
	}
	d->mnt_fd = fs_open_dir(d->env->home_fd, "mnt", &e);
	return 0;
}

/* A pool that is in step with the journal may wait until it is needed: most
 * of those who open a store only look. */
static int
start_pool(struct devmapper *d, struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);
	cleanup_free struct row *rows = NULL;
	struct row base = { .bytes = 0 };
	struct mapper_info info;
	struct change c;
	bool is_needed;
	size_t i, n;
	int r;

	r = d->mapper->info(d->pool, &info, err);
	if (r == 0)
		r = journal_row(d->journal, BASE_ID, &base, err);
	if (r >= 0)
		r = journal_pending(d->journal, &c, err);
	if (r < 0)
		return r;
	is_needed = r > 0 || info.exists || !d->is_initialized ||
	    d->options.has_accept || d->options.base_bytes > base.bytes ||
	    backing_wants_growth(d);
	if (is_needed) {
		r = pool_up(d, err);
		if (r < 0)
			return r;
	}
	r = journal_rows(d->journal, &rows, &n, err);
	for (i = 0; r == 0 && i < n; i++)
		if (rows[i].state == ROW_DYING)
			return reaper_kick(d, err);
	return r;
}

static void
init(struct devmapper *d, const struct imgd_env *env,
    const struct mapper_ops *mapper, const struct host_ops *host)
{
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_mutex_init(&d->uses_lock, NULL);
	(void)pthread_cond_init(&d->uses_changed, NULL);
	(void)pthread_mutex_init(&d->reaper_lock, NULL);
	(void)pthread_cond_init(&d->reaper_changed, NULL);
	atomic_init(&d->is_stopping, false);
	d->is_idle = true;
	d->mnt_fd = -EBADF;
	d->env = env;
	d->mapper = mapper;
	d->host = host;
	d->data.what = "data";
	d->metadata.what = "metadata";
	d->is_readonly = (env->flags & IMGD_OPEN_READONLY) != 0;
}

int
devmapper_open_with(const struct imgd_env *env,
    const struct mapper_ops *mapper, const struct host_ops *host,
    void **ret_h, struct imgd_error **err)
{
	cleanup(devmapper_closep) struct devmapper *d = calloc(1, sizeof(*d));
	int r;

	if (d == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	init(d, env, mapper, host);
	r = options_parse(&d->options, env, err);
	if (r < 0)
		return r;
	r = mapper->start(d->is_readonly ? NULL : err);
	d->has_mapper = r == 0;
	/* Without a device-mapper a store can still be read about. */
	if (r < 0 && !d->is_readonly)
		return r;
	r = make_names(d, err);
	if (r == 0)
		r = open_journal(d, err);
	if (r == 0)
		r = open_mounts(d, err);
	if (r == 0 && !d->is_readonly)
		r = start_pool(d, err);
	if (r < 0)
		return imgd_error_prefix(err, "%s", env->home);
	*ret_h = take_ptr(&d);
	return 0;
}

static int
devmapper_open(const struct imgd_env *env, void **ret_h,
    struct imgd_error **err)
{
	return devmapper_open_with(env, &mapper_kernel_ops, &host_kernel_ops,
	    ret_h, err);
}

static int
devmapper_cleanup(void *h, struct imgd_error **err)
{
	struct devmapper *d = h;
	int r;

	if (d->is_readonly)
		return 0;
	reaper_wait(d);
	r = layer_release_unused(d, err);
	if (r == 0) {
		cleanup_lock m = devmapper_lock(d);

		r = pool_down(d, err);
	}
	d->mapper->tidy(d->prefix);
	return r;
}

/* ---- rows ---- */

static int
no_layer(const char *id, struct imgd_error **err)
{
	return imgd_error_set(err, ENOENT, "no layer %.12s", id);
}

/* The row of a layer that users may know of; -ENOENT. */
static int
find_row(struct devmapper *d, const char *id, struct row *ret,
    struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);
	int r = d->journal != NULL ? journal_row(d->journal, id, ret, err) : 0;

	if (r == 0)
		return no_layer(id, err);
	return r < 0 ? r : 0;
}

static int
devmapper_exists(void *h, const char *id, struct imgd_error **err)
{
	struct devmapper *d = h;
	cleanup_lock m = devmapper_lock(d);

	return d->journal == NULL ? 0
	    : journal_row(d->journal, id, NULL, err);
}

/* ---- create ---- */

static int
check_new(struct devmapper *d, const char *id, const char *parent,
    uint64_t quota_bytes, struct row *ret_origin, struct imgd_error **err)
{
	const char *origin = parent != NULL ? parent : BASE_ID;
	int r;

	r = journal_row(d->journal, id, NULL, err);
	if (r > 0)
		return imgd_error_set(err, EEXIST, "it exists already");
	if (r == 0)
		r = journal_row(d->journal, origin, ret_origin, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ENOENT, "no parent %.12s", origin);
	if (parent != NULL && ret_origin->state != IMGD_STATE_SEALED)
		return imgd_error_set(err, EINVAL,
		    "its parent %.12s is not sealed", parent);
	if (quota_bytes > 0 && quota_bytes < ret_origin->bytes)
		return imgd_error_set(err, EINVAL,
		    "a size of %llu bytes is less than the image's %llu",
		    (unsigned long long)quota_bytes,
		    (unsigned long long)ret_origin->bytes);
	return 0;
}

/* A sealed parent and the base are only ever active read-only, so nothing is
 * being written to them that a snapshot could cut through. */
static int
make_layer(struct devmapper *d, const char *id, const char *parent,
    uint32_t state, uint64_t quota_bytes, struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);
	struct change c = { .kind = CHANGE_CREATE };
	struct row origin;
	int r;

	r = pool_up(d, err);
	if (r >= 0)
		r = check_new(d, id, parent, quota_bytes, &origin, err);
	if (r >= 0)
		r = pool_has_room(d, err);
	if (r < 0)
		return r;
	(void)snprintf(c.row.id, sizeof(c.row.id), "%s", id);
	(void)snprintf(c.row.parent, sizeof(c.row.parent), "%s",
	    parent != NULL ? parent : "");
	c.row.state = state;
	c.row.bytes = origin.bytes;
	if (quota_bytes > 0)
		c.row.bytes = quota_bytes / d->block_bytes * d->block_bytes;
	if (c.row.bytes < origin.bytes)
		c.row.bytes = origin.bytes;
	return pool_change(d, &c, &origin.device, err);
}

static int
devmapper_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	(void)opts;
	return make_layer(h, id, parent, IMGD_STATE_STAGED, 0, err);
}

static int
devmapper_create_rw(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	return make_layer(h, id, parent, IMGD_STATE_RW,
	    opts != NULL ? opts->quota_bytes : 0, err);
}

/* ---- seal, flush, replace ---- */

static int
seal_locked(struct devmapper *d, const char *id, struct use *u,
    struct imgd_error **err)
{
	struct row row;
	int r = find_row(d, id, &row, err);

	if (r < 0)
		return r;
	if (row.state == IMGD_STATE_SEALED)
		return imgd_error_set(err, EROFS, "it is sealed already");
	if (row.state != IMGD_STATE_STAGED)
		return imgd_error_set(err, EINVAL, "a writable layer cannot "
		    "be sealed");
	/* What is active may be written to: it must be down first. */
	r = layer_unmount(d, id, u, /* keep_active= */ false, err);
	if (r == 0 && d->options.deferred_removal) {
		struct mapper_info info;

		r = thin_info(d, id, &info, err);
		if (r == 0 && info.exists)
			r = imgd_error_set(err, EBUSY,
			    "somebody still has its device open");
	}
	if (r == 0) {
		cleanup_lock m = devmapper_lock(d);

		r = journal_set_state(d->journal, id, IMGD_STATE_SEALED, err);
	}
	FAIL_POINT("devmapper-sealed");
	return r;
}

static int
devmapper_seal(void *h, const char *id, struct imgd_error **err)
{
	struct devmapper *d = h;
	struct use *u = layer_lock(d, id, err);
	int r;

	if (u == NULL)
		return -ENOMEM;
	r = seal_locked(d, id, u, err);
	layer_unlock(d, u);
	return r;
}

static int
flush_backing(struct devmapper *d, const struct backing *b,
    struct imgd_error **err)
{
	return b->path == NULL ? 0 : d->host->device_sync(b->path, err);
}

/* put has flushed each layer through the pool, and the journal's commits are
 * on disk; what is left are the files below the pool. */
static int
devmapper_flush(void *h, struct imgd_error **err)
{
	struct devmapper *d = h;
	cleanup_lock m = devmapper_lock(d);
	int r;

	/* The kernel reports a write-back error once: a second call that
	 * succeeds would prove nothing. */
	if (d->flush_error != 0)
		return imgd_error_set(err, d->flush_error,
		    "an earlier flush failed: %s", strerror(d->flush_error));
	r = flush_backing(d, &d->data, err);
	if (r == 0)
		r = flush_backing(d, &d->metadata, err);
	if (r < 0)
		d->flush_error = -r;
	return r;
}

static int
exchange(struct devmapper *d, const char *id, const char *with,
    struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);
	struct row a, b;
	int r = journal_row(d->journal, id, &a, err);

	if (r > 0)
		r = journal_row(d->journal, with, &b, err);
	if (r < 0)
		return r;
	if (r == 0)
		return no_layer(id, err);
	if (a.state != IMGD_STATE_SEALED || b.state != IMGD_STATE_SEALED)
		return imgd_error_set(err, EINVAL, "both must be sealed");
	if (strcmp(a.parent, b.parent) != 0)
		return imgd_error_set(err, EINVAL,
		    "their parents are not the same");
	return journal_exchange(d->journal, id, with, err);
}

/* Whoever has a layer mounted keeps its old device; all others get the new
 * one, so nothing unused may stay active under either name. */
static int
devmapper_replace(void *h, const char *id, const char *with,
    struct imgd_error **err)
{
	struct devmapper *d = h;
	int r = exchange(d, id, with, err);

	return r < 0 ? r : layer_release_unused(d, err);
}

/* ---- remove ---- */

/* The row gives its id up; its device is deleted in the background. */
static int
condemn(struct devmapper *d, const char *id, struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);

	return journal_set_dying(d->journal, id, err);
}

static int
has_children(struct devmapper *d, const char *id, struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);
	int r = journal_has_children(d->journal, id, err);

	return r <= 0 ? r : imgd_error_set(err, EBUSY,
	    "it is the parent of other layers");
}

static int
remove_locked(struct devmapper *d, const char *id, struct use *u,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	struct row row;
	int r;

	r = find_row(d, id, &row, &e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	if (layer_is_busy(u))
		return imgd_error_set(err, EBUSY, "in use");
	r = has_children(d, id, err);
	if (r < 0)
		return r;
	/* What could not be written is of no interest any more. */
	r = layer_unmount(d, id, u, /* keep_active= */ false, &e);
	if (r < 0 && layer_is_mounted(d, id, NULL) == 0)
		r = thin_deactivate(d, id, NULL);
	if (r == -EBUSY && !d->options.deferred_deletion)
		return imgd_error_set(err, EBUSY, "%s",
		    e != NULL ? imgd_error_msg(e) : "its device is in use");
	if (r < 0 && r != -EBUSY)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	r = condemn(d, id, err);
	FAIL_POINT("devmapper-condemned");
	return r < 0 ? r : reaper_kick(d, err);
}

static int
devmapper_remove(void *h, const char *id, struct imgd_error **err)
{
	struct devmapper *d = h;
	struct use *u = layer_lock(d, id, err);
	int r;

	if (u == NULL)
		return -ENOMEM;
	r = remove_locked(d, id, u, err);
	layer_unlock(d, u);
	return r;
}

/* ---- list ---- */

struct active_ids {
	struct strbuf ids; /* ROW_ID_SIZE bytes each */
};

static int
note_active(void *ctx, const char *id)
{
	struct active_ids *a = ctx;

	strbuf_append(&a->ids, id, ROW_ID_SIZE);
	return 0;
}

static bool
is_active(const struct active_ids *a, const char *id)
{
	size_t pos;

	for (pos = 0; pos < a->ids.len; pos += ROW_ID_SIZE)
		if (strcmp(a->ids.data + pos, id) == 0)
			return true;
	return false;
}

static int
devmapper_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	struct active_ids active = { STRBUF_INIT };
	cleanup_free struct row *rows = NULL;
	struct devmapper *d = h;
	size_t i, n = 0;
	int r = 0;

	if (d->journal != NULL) {
		cleanup_lock m = devmapper_lock(d);

		r = journal_rows(d->journal, &rows, &n, err);
	}
	if (r == 0 && d->has_mapper)
		r = thin_each(d, note_active, &active, err);
	for (i = 0; r == 0 && i < n; i++) {
		uint32_t state = rows[i].state;

		if (state == ROW_BASE || state == ROW_DYING)
			continue;
		if (is_active(&active, rows[i].id))
			state |= IMGD_STATE_MOUNTED;
		r = cb(ctx, rows[i].id, rows[i].parent[0] != '\0'
		    ? rows[i].parent : NULL, state);
	}
	strbuf_done(&active.ids);
	return r;
}

/* ---- get and put ---- */

/* A filesystem that is mounted for writing must not be seen raw, nor the
 * other way round. */
static int
check_exclusive(struct devmapper *d, const struct row *row,
    const struct use *u, uint32_t kind, struct imgd_error **err)
{
	int r;

	if (row->state == IMGD_STATE_SEALED)
		return 0;
	if (kind == IMGD_GET_TREE)
		return !u->has_block ? 0 : imgd_error_set(err, EBUSY,
		    "it is in use as a block device");
	r = u->has_tree ? 1 : layer_is_mounted(d, row->id, err);
	return r <= 0 ? r : imgd_error_set(err, EBUSY,
	    "it is mounted for writing");
}

static int
get_locked(struct devmapper *d, const char *id, struct use *u, uint32_t kind,
    char **ret_path, struct imgd_error **err)
{
	char path[DEVICE_PATH_SIZE];
	struct row row;
	int r;

	r = find_row(d, id, &row, err);
	if (r == 0) {
		cleanup_lock m = devmapper_lock(d);

		r = pool_up(d, err);
	}
	if (r == 0)
		r = check_exclusive(d, &row, u, kind, err);
	if (r < 0)
		return r;
	thin_path(d, id, path);
	if (asprintf(ret_path, "%s%s%s", kind == IMGD_GET_BLOCK ? path
		: d->home, kind == IMGD_GET_BLOCK ? "" : "/mnt/",
		kind == IMGD_GET_BLOCK ? "" : id) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (kind == IMGD_GET_BLOCK)
		r = thin_activate(d, &row, row.state == IMGD_STATE_SEALED,
		    err);
	else
		r = layer_mount(d, &row, u, err);
	if (r < 0)
		free(take_ptr(ret_path));
	else if (kind == IMGD_GET_BLOCK)
		u->has_block = true;
	else
		u->has_tree = true;
	return r;
}

static int
devmapper_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	struct devmapper *d = h;
	cleanup_error struct imgd_error *e = NULL;
	struct use *u = layer_lock(d, id, err);
	char *path = NULL;
	int r;

	if (u == NULL)
		return -ENOMEM;
	r = get_locked(d, id, u, kind, &path, &e);
	layer_unlock(d, u);
	if (r == 0)
		*ret_path = path;
	/* A layer whose device is lost is damaged. */
	return r == 0 ? 0 : imgd_error_set(err, r == -ENODATA ? EUCLEAN : -r,
	    "%s", imgd_error_msg(e));
}

static int
put_block(struct devmapper *d, const char *id, struct use *u,
    struct imgd_error **err)
{
	char path[DEVICE_PATH_SIZE];
	struct mapper_info info;
	int r, w = 0;

	r = thin_info(d, id, &info, err);
	if (r < 0 || !info.exists)
		return r;
	thin_path(d, id, path);
	if (!info.is_readonly)
		w = d->host->device_sync(path, err);
	if (!u->has_tree && layer_is_mounted(d, id, NULL) == 0)
		r = thin_deactivate(d, id, w < 0 ? NULL : err);
	return w < 0 ? w : r;
}

static int
devmapper_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	struct devmapper *d = h;
	struct use *u = layer_lock(d, id, err);
	int r;

	if (u == NULL)
		return -ENOMEM;
	/* What is busy stays in use: cleanup must not take it. */
	if (kind == IMGD_GET_BLOCK) {
		r = put_block(d, id, u, err);
		u->has_block = r == -EBUSY;
	} else {
		r = layer_unmount(d, id, u, u->has_block, err);
		u->has_tree = r == -EBUSY;
	}
	layer_unlock(d, u);
	return r;
}

struct imgd_driver devmapper_driver = {
	.threads = IMGD_THREADS_PER_LAYER,
	.caps = IMGD_CAP_RW | IMGD_CAP_QUOTA | IMGD_CAP_BLOCKDEV |
	    IMGD_CAP_LIVE_CHECK,
	.name = "devmapper",
	.description = "thin snapshots, a block device for every layer",
	.options_help = options_help,
	.probe = devmapper_probe,
	.open = devmapper_open,
	.cleanup = devmapper_cleanup,
	.close = devmapper_close,
	.create = devmapper_create,
	.create_rw = devmapper_create_rw,
	.seal = devmapper_seal,
	.flush = devmapper_flush,
	.replace = devmapper_replace,
	.remove = devmapper_remove,
	.exists = devmapper_exists,
	.list = devmapper_list,
	.get = devmapper_get,
	.put = devmapper_put,
	.status = devmapper_status,
	.metadata = devmapper_metadata,
	.check = devmapper_check,
};

IMGD_REGISTER_DRIVER(devmapper_driver);
