/*
 * vfs: every layer is a full directory tree.  Works everywhere, and is what
 * the other drivers are compared with.
 *
 *     HOME/layers/ID/root     the tree, and what get hands out
 *     HOME/layers/ID/…        lib/layer-dirs.h
 *     HOME/tmp/ID/links       lib/tree-copy.h, while a parent is copied
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imgd/driver.h"

#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/fs-type.h"
#include "lib/layer-dirs.h"
#include "lib/strbuf.h"
#include "lib/tree-copy.h"

struct vfs {
	const struct imgd_env *env; /* borrowed until close */
	struct layer_dirs layers;
	char *home;            /* owned: absolute, without links */
	int sync_fd;           /* owned: opened before the first write */
	atomic_int sync_error; /* errno of the first failed flush */
};

static void
vfs_close(void *h)
{
	struct vfs *v = h;

	layer_dirs_done(&v->layers);
	close_fd(&v->sync_fd);
	free(v->home);
	free(v);
}

static void
vfs_closep(struct vfs **v)
{
	if (*v != NULL)
		vfs_close(*v);
}

static int
vfs_probe(const struct imgd_env *env, struct imgd_error **err)
{
	char key[LAYER_ID_SIZE], name[32];
	int r;

	r = str_random_key(key, err);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), LAYER_PROBE_PREFIX "%.16s", key);
	if (mkdirat(env->home_fd, name, 0700) < 0 ||
	    unlinkat(env->home_fd, name, AT_REMOVEDIR) < 0)
		return imgd_error_set(err, errno, "vfs: %s: %s", env->home,
		    strerror(errno));
	return 0;
}

static int
vfs_open(const struct imgd_env *env, void **ret_h, struct imgd_error **err)
{
	cleanup(vfs_closep) struct vfs *v = NULL;
	int r;

	if (env->n_options > 0)
		return imgd_error_set(err, EINVAL,
		    "vfs: unknown option \"%s\"", env->options[0].key);
	v = calloc(1, sizeof(*v));
	if (v == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	v->layers = (struct layer_dirs)LAYER_DIRS_INIT;
	v->env = env;
	v->sync_fd = fs_open_dir(env->home_fd, ".", err);
	if (v->sync_fd < 0)
		return v->sync_fd;
	r = fs_real_path(v->sync_fd, &v->home, err);
	if (r == 0)
		r = layer_dirs_open(&v->layers, env, "layers", err);
	if (r < 0)
		return imgd_error_prefix(err, "vfs: %s", env->home);
	*ret_h = take_ptr(&v);
	return 0;
}

/* Fill tmp/ID's root from parent's. */
static int
copy_parent(struct vfs *v, int layer_fd, int root_fd, const char *parent,
    struct imgd_error **err)
{
	cleanup_close int parent_fd = -EBADF, src_fd = -EBADF;
	cleanup_close int links_fd = -EBADF;
	int r;

	parent_fd = layer_dirs_fd(&v->layers, parent, err);
	if (parent_fd < 0)
		return parent_fd;
	src_fd = fs_open_dir(parent_fd, "root", err);
	if (src_fd < 0)
		return src_fd;
	links_fd = fs_make_open_dir(layer_fd, "links", 0700, err);
	if (links_fd < 0)
		return links_fd;
	r = tree_copy(src_fd, root_fd, links_fd, v->env->cancelled, err);
	if (r == 0)
		r = fs_remove_tree(layer_fd, "links", err);
	return r;
}

static int
sync_home(struct vfs *v, struct imgd_error **err)
{
	int e = atomic_load(&v->sync_error);

	/* The kernel reports a write-back error once: a second call that
	 * succeeds would prove nothing. */
	if (e == 0 && syncfs(v->sync_fd) < 0) {
		e = errno;
		atomic_store(&v->sync_error, e);
	}
	if (e != 0)
		return imgd_error_set(err, e, "vfs: flush %s: %s", v->home,
		    strerror(e));
	return 0;
}

static int
make_layer(struct vfs *v, const char *id, const char *parent, uint32_t state,
    struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF, root_fd = -EBADF;
	int r = 0;

	layer_fd = layer_dirs_begin(&v->layers, id, parent, state,
	    /* sealed_parent= */ true, err);
	if (layer_fd < 0)
		return layer_fd;
	root_fd = layer_dirs_make_root(layer_fd, "root", err);
	if (root_fd < 0)
		r = root_fd;
	if (r == 0 && parent != NULL)
		r = copy_parent(v, layer_fd, root_fd, parent, err);
	FAIL_POINT("vfs-filled");
	if (r == 0)
		r = layer_dirs_commit(&v->layers, id, err);
	if (r < 0)
		layer_dirs_abort(&v->layers, id);
	return r;
}

static int
vfs_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	(void)opts;
	return make_layer(h, id, parent, IMGD_STATE_STAGED, err);
}

static int
vfs_create_rw(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	int r;

	(void)opts;
	r = make_layer(h, id, parent, IMGD_STATE_RW, err);
	/* No seal and no flush follows: a writable layer is complete now. */
	return r < 0 ? r : sync_home(h, err);
}

static int
vfs_seal(void *h, const char *id, struct imgd_error **err)
{
	struct vfs *v = h;

	return layer_dirs_seal(&v->layers, id, err);
}

static int
vfs_flush(void *h, struct imgd_error **err)
{
	return sync_home(h, err);
}

static int
vfs_replace(void *h, const char *id, const char *with,
    struct imgd_error **err)
{
	struct vfs *v = h;

	return layer_dirs_exchange(&v->layers, id, with, "root", err);
}

static int
vfs_remove(void *h, const char *id, struct imgd_error **err)
{
	struct vfs *v = h;

	return layer_dirs_remove(&v->layers, id, err);
}

static int
vfs_exists(void *h, const char *id, struct imgd_error **err)
{
	struct vfs *v = h;

	return layer_dirs_exists(&v->layers, id, err);
}

static int
vfs_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	struct vfs *v = h;

	return layer_dirs_list(&v->layers, cb, ctx, err);
}

static int
root_path(struct vfs *v, const char *id, char **ret_path,
    struct imgd_error **err)
{
	if (asprintf(ret_path, "%s/layers/%s/root", v->home, id) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
vfs_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF, root_fd = -EBADF;
	cleanup_error struct imgd_error *e = NULL;
	struct vfs *v = h;

	if (kind != IMGD_GET_TREE)
		return imgd_error_set(err, EOPNOTSUPP,
		    "vfs has no block devices");
	layer_fd = layer_dirs_fd(&v->layers, id, err);
	if (layer_fd < 0)
		return layer_fd;
	root_fd = fs_open_dir(layer_fd, "root", &e);
	if (root_fd < 0)
		return imgd_error_set(err, EUCLEAN, "layer %.12s: %s", id,
		    imgd_error_msg(e));
	return root_path(v, id, ret_path, err);
}

static int
vfs_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	(void)h;
	(void)id;
	(void)kind;
	(void)err;
	return 0;
}

static int
vfs_status(void *h, struct imgd_kv *kv, struct imgd_error **err)
{
	struct vfs *v = h;
	const char *name;
	char buf[32];
	int r = fs_type_name(v->sync_fd, buf, &name, err);

	if (r < 0)
		return r;
	kv->put(kv->ctx, "Root Dir", v->home);
	kv->put(kv->ctx, "Backing Filesystem", name);
	return 0;
}

static int
vfs_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	char parent[LAYER_ID_SIZE];
	struct vfs *v = h;
	int r;

	r = layer_dirs_parent(&v->layers, id, parent, err);
	if (r < 0)
		return r;
	if (r > 0)
		kv->put(kv->ctx, "Parent", parent);
	r = root_path(v, id, &path, err);
	if (r < 0)
		return r;
	kv->put(kv->ctx, "Dir", path);
	return 0;
}

/* What a check of layer after layer carries. */
struct check {
	struct vfs *vfs;
	uint32_t flags;
	imgd_problem_cb *cb;
	void *ctx;
	int n_problems;
};

static int
check_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	cleanup_close int layer_fd = -EBADF, root_fd = -EBADF;
	cleanup_error struct imgd_error *e = NULL;
	struct check *c = ctx;
	int r;

	(void)parent;
	r = layer_fd = layer_dirs_fd(&c->vfs->layers, id, &e);
	if (r >= 0)
		r = root_fd = fs_open_dir(layer_fd, "root", &e);
	/* What is not sealed may be written just now. */
	if (r >= 0 && (c->flags & IMGD_CHECK_DEEP) != 0 &&
	    (state & IMGD_STATE_MASK) == IMGD_STATE_SEALED)
		r = tree_read(root_fd, c->vfs->env->cancelled, &e);
	if (r == -ECANCELED)
		return r;
	if (r < 0) {
		c->cb(c->ctx, id, imgd_error_msg(e), /* repaired= */ 0);
		c->n_problems++;
	}
	return 0;
}

static int
vfs_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct vfs *v = h;
	struct check c = { v, flags, cb, ctx, 0 };
	int r, n;

	n = layer_dirs_check(&v->layers, flags, cb, ctx, err);
	if (n < 0)
		return n;
	r = layer_dirs_list(&v->layers, check_layer, &c, err);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	return r < 0 ? r : n + c.n_problems;
}

static struct imgd_driver vfs_driver = {
	.threads = IMGD_THREADS_PER_LAYER,
	.caps = IMGD_CAP_RW | IMGD_CAP_LIVE_CHECK,
	.name = "vfs",
	.description = "full directories, copied from layer to layer",
	.probe = vfs_probe,
	.open = vfs_open,
	.close = vfs_close,
	.create = vfs_create,
	.create_rw = vfs_create_rw,
	.seal = vfs_seal,
	.flush = vfs_flush,
	.replace = vfs_replace,
	.remove = vfs_remove,
	.exists = vfs_exists,
	.list = vfs_list,
	.get = vfs_get,
	.put = vfs_put,
	.status = vfs_status,
	.metadata = vfs_metadata,
	.check = vfs_check,
};

IMGD_REGISTER_DRIVER(vfs_driver);
