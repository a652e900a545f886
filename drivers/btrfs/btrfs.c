/*
 * btrfs: every layer is a subvolume, a snapshot of its parent's.
 *
 *     HOME/layers/ID/root     the subvolume, and what get hands out;
 *                             read-only once it is sealed
 *     HOME/layers/ID/…        lib/layer-dirs.h
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imgd/driver.h"

#include "drivers/btrfs/subvolume.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/layer-dirs.h"
#include "lib/tree-copy.h"

struct btrfs {
	const struct imgd_env *env; /* borrowed until close */
	struct layer_dirs layers;
	char *home;            /* owned: absolute, without links */
	int sync_fd;           /* owned: opened before the first write */
	atomic_int sync_error; /* errno of the first failed flush */
};

static void
btrfs_close(void *h)
{
	struct btrfs *b = h;

	layer_dirs_done(&b->layers);
	close_fd(&b->sync_fd);
	free(b->home);
	free(b);
}

static void
btrfs_closep(struct btrfs **b)
{
	if (*b != NULL)
		btrfs_close(*b);
}

static int
btrfs_probe(const struct imgd_env *env, struct imgd_error **err)
{
	if (!subvolume_possible(env->home_fd))
		return imgd_error_set(err, EOPNOTSUPP,
		    "btrfs: %s is not on a btrfs filesystem", env->home);
	return 0;
}

static int
btrfs_open(const struct imgd_env *env, void **ret_h, struct imgd_error **err)
{
	cleanup(btrfs_closep) struct btrfs *b = NULL;
	int r;

	if (env->n_options > 0)
		return imgd_error_set(err, EINVAL,
		    "btrfs: unknown option \"%s\"", env->options[0].key);
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	b->layers = (struct layer_dirs)LAYER_DIRS_INIT;
	b->layers.remove_tree = subvolume_remove_tree;
	b->env = env;
	b->sync_fd = fs_open_dir(env->home_fd, ".", err);
	if (b->sync_fd < 0)
		return b->sync_fd;
	r = fs_real_path(b->sync_fd, &b->home, err);
	if (r == 0)
		r = layer_dirs_open(&b->layers, env, "layers", err);
	if (r < 0)
		return imgd_error_prefix(err, "btrfs: %s", env->home);
	*ret_h = take_ptr(&b);
	return 0;
}

static int
btrfs_narrow(void *h, uint32_t *threads, uint32_t *caps, uint32_t *max_depth,
    struct imgd_error **err)
{
	struct btrfs *b = h;

	(void)threads;
	(void)max_depth;
	(void)err;
	if (!subvolume_has_quota(b->sync_fd))
		*caps &= ~IMGD_CAP_QUOTA;
	return 0;
}

/* ---- layers ---- */

/* Open the subvolume of a layer; -EUCLEAN if it is none. */
static int
open_root(struct btrfs *b, const char *id, struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF, root_fd = -EBADF;
	cleanup_error struct imgd_error *e = NULL;
	int r;

	layer_fd = layer_dirs_fd(&b->layers, id, err);
	if (layer_fd < 0)
		return layer_fd;
	root_fd = fs_open_dir(layer_fd, "root", &e);
	if (root_fd < 0)
		return imgd_error_set(err, EUCLEAN, "layer %.12s: %s", id,
		    imgd_error_msg(e));
	r = subvolume_is(root_fd, err);
	if (r == 0)
		return imgd_error_set(err, EUCLEAN,
		    "layer %.12s: its root is no subvolume", id);
	return r < 0 ? r : take_fd(&root_fd);
}

/* The subvolume of a base: 0755 0:0, whatever the store's own directory
 * bequeaths. */
static int
make_base(int layer_fd, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	int r;

	r = subvolume_create(layer_fd, "root", err);
	if (r == 0)
		r = fd = fs_open_dir(layer_fd, "root", err);
	if (r < 0)
		return r;
	if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0755) < 0)
		return imgd_error_set(err, errno, "root: %s",
		    strerror(errno));
	return 0;
}

static int
fill_layer(struct btrfs *b, int layer_fd, const char *parent,
    uint64_t quota_bytes, struct imgd_error **err)
{
	cleanup_close int parent_fd = -EBADF, root_fd = -EBADF;
	int r;

	if (parent == NULL)
		return make_base(layer_fd, err);
	parent_fd = open_root(b, parent, err);
	if (parent_fd < 0)
		return parent_fd;
	r = subvolume_snapshot(parent_fd, layer_fd, "root", err);
	if (r < 0 || quota_bytes == 0)
		return r;
	root_fd = fs_open_dir(layer_fd, "root", err);
	return root_fd < 0 ? root_fd
			   : subvolume_limit(root_fd, quota_bytes, err);
}

static int
make_layer(struct btrfs *b, const char *id, const char *parent,
    uint32_t state, uint64_t quota_bytes, struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF;
	int r;

	layer_fd = layer_dirs_begin(&b->layers, id, parent, state,
	    /* sealed_parent= */ true, err);
	if (layer_fd < 0)
		return layer_fd;
	r = fill_layer(b, layer_fd, parent, quota_bytes, err);
	FAIL_POINT("btrfs-filled");
	if (r < 0)
		(void)imgd_error_prefix(err, "layer %.12s", id);
	else
		r = layer_dirs_commit(&b->layers, id, err);
	if (r < 0)
		layer_dirs_abort(&b->layers, id);
	return r;
}

static int
sync_home(struct btrfs *b, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int e = atomic_load(&b->sync_error);

	/* The kernel reports a write-back error once: a second call that
	 * succeeds would prove nothing. */
	if (e == 0 && subvolume_sync(b->sync_fd, &why) < 0) {
		e = imgd_error_code(why);
		atomic_store(&b->sync_error, e);
	}
	if (e != 0)
		return imgd_error_set(err, e, "btrfs: flush %s: %s", b->home,
		    strerror(e));
	return 0;
}

static int
btrfs_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	(void)opts;
	return make_layer(h, id, parent, IMGD_STATE_STAGED, 0, err);
}

static int
btrfs_create_rw(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	int r;

	r = make_layer(h, id, parent, IMGD_STATE_RW,
	    opts != NULL ? opts->quota_bytes : 0, err);
	/* No seal and no flush follows: a writable layer is complete now. */
	return r < 0 ? r : sync_home(h, err);
}

static int
btrfs_seal(void *h, const char *id, struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF;
	struct btrfs *b = h;
	int r;

	r = layer_dirs_state(&b->layers, id, err);
	if (r < 0)
		return r;
	if (r == IMGD_STATE_STAGED) {
		r = root_fd = open_root(b, id, err);
		if (r >= 0)
			r = subvolume_set_readonly(root_fd, true, err);
		if (r < 0)
			return r;
		FAIL_POINT("btrfs-readonly");
	}
	return layer_dirs_seal(&b->layers, id, err);
}

static int
btrfs_flush(void *h, struct imgd_error **err)
{
	return sync_home(h, err);
}

static int
btrfs_replace(void *h, const char *id, const char *with,
    struct imgd_error **err)
{
	struct btrfs *b = h;

	/* A read-only subvolume cannot be renamed; what it lies in can. */
	return layer_dirs_exchange(&b->layers, id, with, NULL, err);
}

static int
btrfs_remove(void *h, const char *id, struct imgd_error **err)
{
	struct btrfs *b = h;
	int r = layer_dirs_remove(&b->layers, id, err);

	FAIL_POINT("btrfs-removed");
	/* imgd forgets the layer now, by an fsync of its own, which on btrfs
	 * takes nothing else along: a power cut would bring the layer back. */
	if (r == 0 && fsync(b->layers.layers_fd) < 0)
		return imgd_error_set(err, errno, "remove layer %.12s: %s",
		    id, strerror(errno));
	return r;
}

static int
btrfs_exists(void *h, const char *id, struct imgd_error **err)
{
	struct btrfs *b = h;

	return layer_dirs_exists(&b->layers, id, err);
}

static int
btrfs_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	struct btrfs *b = h;

	return layer_dirs_list(&b->layers, cb, ctx, err);
}

/* ---- access ---- */

static int
root_path(struct btrfs *b, const char *id, char **ret_path,
    struct imgd_error **err)
{
	if (asprintf(ret_path, "%s/layers/%s/root", b->home, id) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
btrfs_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF;
	struct btrfs *b = h;

	if (kind != IMGD_GET_TREE)
		return imgd_error_set(err, EOPNOTSUPP,
		    "btrfs has no block devices");
	root_fd = open_root(b, id, err);
	return root_fd < 0 ? root_fd : root_path(b, id, ret_path, err);
}

static int
btrfs_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	(void)h;
	(void)id;
	(void)kind;
	(void)err;
	return 0;
}

/* ---- insight and health ---- */

static int
btrfs_status(void *h, struct imgd_kv *kv, struct imgd_error **err)
{
	struct btrfs *b = h;

	(void)err;
	kv->put(kv->ctx, "Root Dir", b->home);
	kv->put(kv->ctx, "Backing Filesystem", "btrfs");
	kv->put(kv->ctx, "Quota Enabled",
	    subvolume_has_quota(b->sync_fd) ? "true" : "false");
	return 0;
}

static int
btrfs_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF;
	cleanup_free char *path = NULL;
	char parent[LAYER_ID_SIZE], text[32];
	struct btrfs *b = h;
	uint64_t number;
	int r;

	r = layer_dirs_parent(&b->layers, id, parent, err);
	if (r < 0)
		return r;
	if (r > 0)
		kv->put(kv->ctx, "Parent", parent);
	r = root_path(b, id, &path, err);
	if (r == 0)
		r = root_fd = open_root(b, id, err);
	if (r >= 0)
		r = subvolume_id(root_fd, &number, err);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	kv->put(kv->ctx, "Dir", path);
	kv->put(kv->ctx, "SubvolumeId", text);
	return 0;
}

/* What a check of layer after layer carries. */
struct check {
	struct btrfs *btrfs;
	uint32_t flags;
	imgd_problem_cb *cb;
	void *ctx;
	int n_problems;
};

/* A sealed layer that can be written may be written by mistake. */
static int
check_flag(struct check *c, const char *id, int root_fd,
    struct imgd_error **err)
{
	bool is_repaired;
	int r = subvolume_is_readonly(root_fd, err);

	if (r != 0)
		return r < 0 ? r : 0;
	is_repaired = (c->flags & IMGD_CHECK_REPAIR) != 0 &&
	    subvolume_set_readonly(root_fd, true, NULL) == 0;
	c->cb(c->ctx, id, "sealed, but its subvolume is not read-only",
	    is_repaired);
	c->n_problems += !is_repaired;
	return 0;
}

static int
check_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_close int root_fd = -EBADF;
	struct check *c = ctx;
	bool is_sealed = (state & IMGD_STATE_MASK) == IMGD_STATE_SEALED;
	int r;

	(void)parent;
	r = root_fd = open_root(c->btrfs, id, &e);
	if (r >= 0 && is_sealed)
		r = check_flag(c, id, root_fd, &e);
	/* What is not sealed may be written just now. */
	if (r >= 0 && is_sealed && (c->flags & IMGD_CHECK_DEEP) != 0)
		r = tree_read(root_fd, c->btrfs->env->cancelled, &e);
	if (r == -ECANCELED)
		return r;
	if (r < 0) {
		c->cb(c->ctx, id, imgd_error_msg(e), /* repaired= */ 0);
		c->n_problems++;
	}
	return 0;
}

static int
btrfs_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct btrfs *b = h;
	struct check c = { b, flags, cb, ctx, 0 };
	int r, n;

	n = layer_dirs_check(&b->layers, flags, cb, ctx, err);
	if (n < 0)
		return n;
	r = layer_dirs_list(&b->layers, check_layer, &c, err);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	return r < 0 ? r : n + c.n_problems;
}

static struct imgd_driver btrfs_driver = {
	.threads = IMGD_THREADS_PER_LAYER,
	.caps = IMGD_CAP_RW | IMGD_CAP_QUOTA | IMGD_CAP_LIVE_CHECK,
	.name = "btrfs",
	.description = "btrfs subvolumes, snapshots of their parents'",
	.probe = btrfs_probe,
	.open = btrfs_open,
	.narrow = btrfs_narrow,
	.close = btrfs_close,
	.create = btrfs_create,
	.create_rw = btrfs_create_rw,
	.seal = btrfs_seal,
	.flush = btrfs_flush,
	.replace = btrfs_replace,
	.remove = btrfs_remove,
	.exists = btrfs_exists,
	.list = btrfs_list,
	.get = btrfs_get,
	.put = btrfs_put,
	.status = btrfs_status,
	.metadata = btrfs_metadata,
	.check = btrfs_check,
};

IMGD_REGISTER_DRIVER(btrfs_driver);
