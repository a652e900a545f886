/*
 * aufs: every layer is a branch in aufs's form; the kernel's aufs stacks them,
 * or fuse-overlayfs where there is none.
 *
 *     HOME/diff/ID      the layer's own changes, with aufs's whiteouts
 *     HOME/layers/ID    its ancestors, one id a line, the parent first
 *     HOME/mnt/ID       where it is mounted
 *     HOME/records/ID   lib/layer-dirs.h, and
 *         …/fuse        a link: diff may hold fuse-overlayfs's whiteouts
 *         …/mounting    a link: mnt may be mounted in part
 *         …/work        fuse-overlayfs's own directory; writable layers only
 *     HOME/limits       what the kernel's aufs can do; probe.c
 *
 * The first three are where Docker had them.  A layer is there when its record
 * is: that comes last and goes first.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imgd/driver.h"

#include "drivers/aufs/aufs.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tree-copy.h"

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

int
aufs_path(struct aufs *a, const char *sub, const char *id, char **ret_path,
    struct imgd_error **err)
{
	char *path;

	if (asprintf(&path, "%s/%s/%s", a->home, sub, id) < 0)
		return no_memory(err);
	*ret_path = path;
	return 0;
}

/* ---- lists of ancestors ---- */

int
aufs_ancestors(struct aufs *a, const char *id, char **ret_text,
    struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	char at[LAYER_ID_SIZE], parent[LAYER_ID_SIZE];
	struct strbuf sb = STRBUF_INIT;
	size_t n = 0;
	int r;

	memcpy(at, id, sizeof(at));
	strbuf_puts(&sb, "");
	while ((r = layer_dirs_parent(&a->layers, at, parent, err)) > 0) {
		strbuf_printf(&sb, "%s\n", parent);
		memcpy(at, parent, sizeof(at));
		if (++n > AUFS_MAX_DEPTH) {
			r = imgd_error_set(err, E2BIG,
			    "layer %.12s has more than %d ancestors", id,
			    AUFS_MAX_DEPTH);
			break;
		}
	}
	text = strbuf_take(&sb);
	if (r < 0)
		return r;
	if (text == NULL)
		return no_memory(err);
	*ret_text = take_ptr(&text);
	return 0;
}

int
aufs_write_ancestors(struct aufs *a, const char *id, const char *text,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	char name[LAYER_PATH_SIZE];
	int r;

	/* Made below tmp, where the next start deletes what is left. */
	(void)snprintf(name, sizeof(name), "%s.list", id);
	(void)unlinkat(a->layers.tmp_fd, name, 0);
	fd = openat(a->layers.tmp_fd, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return imgd_error_set(err, errno, "tmp/%s: %s", name,
		    strerror(errno));
	r = fs_write_all(fd, text, strlen(text), err);
	if (r == 0 && renameat(a->layers.tmp_fd, name, a->lists_fd, id) < 0)
		r = imgd_error_set(err, errno, "layers/%s: %s", id,
		    strerror(errno));
	if (r < 0)
		(void)unlinkat(a->layers.tmp_fd, name, 0);
	return r;
}

/* ---- life of a store ---- */

static void
aufs_close(void *h)
{
	struct aufs *a = h;

	layer_dirs_done(&a->layers);
	close_fd(&a->diff_fd);
	close_fd(&a->lists_fd);
	close_fd(&a->mnt_fd);
	close_fd(&a->sync_fd);
	(void)pthread_rwlock_destroy(&a->mounting);
	(void)pthread_mutex_destroy(&a->lock);
	aufs_users_done(a);
	free(a->home);
	free(a);
}

static void
aufs_closep(struct aufs **a)
{
	if (*a != NULL)
		aufs_close(*a);
}

static int
open_sub(struct aufs *a, const char *name, int *ret_fd,
    struct imgd_error **err)
{
	bool read_only = (a->env->flags & IMGD_OPEN_READONLY) != 0;
	int r;

	if (read_only && faccessat(a->sync_fd, name, F_OK, 0) < 0 &&
	    errno == ENOENT)
		return 0;
	r = read_only ? fs_open_dir(a->sync_fd, name, err) :
	    fs_make_open_dir(a->sync_fd, name, 0700, err);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}

static int
open_all(struct aufs *a, struct imgd_error **err)
{
	bool read_only = (a->env->flags & IMGD_OPEN_READONLY) != 0;
	int r = a->sync_fd = fs_open_dir(a->env->home_fd, ".", err);

	if (r >= 0)
		r = fs_real_path(a->sync_fd, &a->home, err);
	if (r >= 0)
		r = layer_dirs_open(&a->layers, a->env, "records", err);
	if (r >= 0)
		r = open_sub(a, "diff", &a->diff_fd, err);
	if (r >= 0)
		r = open_sub(a, "layers", &a->lists_fd, err);
	if (r >= 0)
		r = open_sub(a, "mnt", &a->mnt_fd, err);
	if (r >= 0 && !read_only)
		r = aufs_sweep(a, /* remove= */ true, NULL, NULL, err);
	return r < 0 ? r : 0;
}

static int
aufs_open(const struct imgd_env *env, void **ret_h, struct imgd_error **err)
{
	cleanup(aufs_closep) struct aufs *a = NULL;
	enum aufs_by by = AUFS_BY_FUSE;
	int r = aufs_read_options(env, &by, err);

	if (r < 0)
		return r;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return no_memory(err);
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_rwlock_init(&a->mounting, NULL);
	a->layers = (struct layer_dirs)LAYER_DIRS_INIT;
	a->env = env;
	a->ops = &aufs_host_ops;
	a->by = by;
	a->diff_fd = a->lists_fd = a->mnt_fd = -EBADF;
	r = open_all(a, err);
	if (r < 0)
		return imgd_error_prefix(err, "aufs: %s", env->home);
	*ret_h = take_ptr(&a);
	return 0;
}

static int
aufs_narrow(void *h, uint32_t *threads, uint32_t *caps, uint32_t *max_depth,
    struct imgd_error **err)
{
	struct aufs *a = h;
	int r;

	(void)threads;
	(void)caps;
	if (a->by == AUFS_BY_FUSE) {
		*max_depth = (uint32_t)aufs_fuse_max_depth();
		return 0;
	}
	r = aufs_learn_limits(a, err);
	if (r < 0)
		return r;
	/* One branch is a writable layer's. */
	*max_depth = (uint32_t)a->limits.max_branches - 1;
	return 0;
}

/* ---- what has no record ---- */

/* Move HOME/diff/ID out of the way, then delete it: 0 also if it is not
 * there. */
static int
remove_diff(struct aufs *a, const char *id, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char key[65];
	int r = str_random_key(key, err);

	if (r < 0)
		return r;
	if (renameat(a->diff_fd, id, a->layers.dying_fd, key) < 0)
		return errno == ENOENT ? 0 : imgd_error_set(err, errno,
		    "remove diff/%s: %s", id, strerror(errno));
	FAIL_POINT("aufs-diff-condemned");
	if (a->layers.remove_tree(a->layers.dying_fd, key, &e) < 0)
		a->env->log(IMGD_LOG_WARN, "layer %.12s: %s, leaving it to "
		    "the next start", id, imgd_error_msg(e));
	return 0;
}

/* Remove all that a layer without record has. */
static int
remove_parts(struct aufs *a, const char *id, struct imgd_error **err)
{
	if (unlinkat(a->lists_fd, id, 0) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "remove layers/%s: %s", id,
		    strerror(errno));
	FAIL_POINT("aufs-list-removed");
	if (unlinkat(a->mnt_fd, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "remove mnt/%s: %s", id,
		    strerror(errno));
	FAIL_POINT("aufs-mount-point-removed");
	return remove_diff(a, id, err);
}

static int
sweep_dir(struct aufs *a, int dir_fd, const char *label, bool remove,
    imgd_problem_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int fd, n = 0;

	if (dir_fd < 0)
		return 0;
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		int e = errno;

		cleanup_closep(&fd);
		return imgd_error_set(err, e, "%s/%s: %s", a->home, label,
		    strerror(e));
	}
	while ((de = readdir(dir)) != NULL) {
		bool gone;

		if (!layer_id_is_valid(de->d_name) ||
		    layer_dirs_exists(&a->layers, de->d_name, NULL) != 0)
			continue;
		gone = remove && remove_parts(a, de->d_name, NULL) == 0;
		n += !gone;
		if (cb != NULL) {
			char text[320];

			(void)snprintf(text, sizeof(text),
			    "%s/%s belongs to no layer", label, de->d_name);
			cb(ctx, NULL, text, gone);
		}
	}
	return n;
}

int
aufs_sweep(struct aufs *a, bool remove, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	int diff, lists, mnt;

	diff = sweep_dir(a, a->diff_fd, "diff", remove, cb, ctx, err);
	if (diff < 0)
		return diff;
	lists = sweep_dir(a, a->lists_fd, "layers", remove, cb, ctx, err);
	if (lists < 0)
		return lists;
	mnt = sweep_dir(a, a->mnt_fd, "mnt", remove, cb, ctx, err);
	return mnt < 0 ? mnt : diff + lists + mnt;
}

/* ---- layers ---- */

/* The tree shows the uppermost root directory, so a new layer's takes owner,
 * mode and times from its parent's. */
static int
inherit_root(struct aufs *a, int diff_fd, const char *parent,
    struct imgd_error **err)
{
	cleanup_close int src_fd = fs_open_dir(a->diff_fd, parent, err);

	return src_fd < 0 ? src_fd :
	    tree_copy_dir_attrs(src_fd, diff_fd, err);
}

/* Below tmp/ID, so that it comes to its place whole. */
static int
make_diff(struct aufs *a, int layer_fd, const char *id, const char *parent,
    struct imgd_error **err)
{
	cleanup_close int fd = layer_dirs_make_root(layer_fd, "diff", err);
	int r = fd;

	if (r >= 0 && parent != NULL)
		r = inherit_root(a, fd, parent, err);
	if (r >= 0 && renameat(layer_fd, "diff", a->diff_fd, id) < 0)
		return imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
	return r < 0 ? r : 0;
}

/* The list that a child of parent has. */
static int
make_list(struct aufs *a, const char *id, const char *parent,
    struct imgd_error **err)
{
	cleanup_free char *above = NULL, *text = NULL;
	int r;

	if (parent == NULL)
		return aufs_write_ancestors(a, id, "", err);
	r = aufs_ancestors(a, parent, &above, err);
	if (r < 0)
		return r;
	if (asprintf(&text, "%s\n%s", parent, above) < 0) {
		text = NULL;
		return no_memory(err);
	}
	return aufs_write_ancestors(a, id, text, err);
}

static int
make_layer(struct aufs *a, const char *id, const char *parent,
    uint32_t state, struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF;
	int r;

	layer_fd = layer_dirs_begin(&a->layers, id, parent, state,
	    /* sealed_parent= */ state == IMGD_STATE_RW, err);
	if (layer_fd < 0)
		return layer_fd;
	/* What a killed creation left. */
	r = remove_parts(a, id, err);
	if (r >= 0)
		r = make_diff(a, layer_fd, id, parent, err);
	FAIL_POINT("aufs-diff-made");
	if (r >= 0)
		r = fs_make_dir(a->mnt_fd, id, 0700, err);
	FAIL_POINT("aufs-mount-point-made");
	if (r >= 0)
		r = make_list(a, id, parent, err);
	FAIL_POINT("aufs-list-made");
	if (r >= 0)
		r = layer_dirs_commit(&a->layers, id, err);
	if (r >= 0)
		return 0;
	layer_dirs_abort(&a->layers, id);
	(void)remove_parts(a, id, NULL);
	return r;
}

static int
sync_home(struct aufs *a, struct imgd_error **err)
{
	int e = atomic_load(&a->sync_error);

	/* The kernel reports a write-back error once: a second call that
	 * succeeds would prove nothing. */
	if (e == 0 && syncfs(a->sync_fd) < 0) {
		e = errno;
		atomic_store(&a->sync_error, e);
	}
	if (e != 0)
		return imgd_error_set(err, e, "aufs: flush %s: %s", a->home,
		    strerror(e));
	return 0;
}

static int
aufs_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	(void)opts;
	return make_layer(h, id, parent, IMGD_STATE_STAGED, err);
}

static int
aufs_create_rw(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	int r;

	(void)opts;
	r = make_layer(h, id, parent, IMGD_STATE_RW, err);
	/* No seal and no flush follows: a writable layer is complete now. */
	return r < 0 ? r : sync_home(h, err);
}

static int
aufs_seal(void *h, const char *id, struct imgd_error **err)
{
	struct aufs *a = h;

	return layer_dirs_seal(&a->layers, id, err);
}

static int
aufs_flush(void *h, struct imgd_error **err)
{
	return sync_home(h, err);
}

static int
both_sealed(struct aufs *a, const char *id, const char *with,
    struct imgd_error **err)
{
	const char *const ids[] = { id, with };
	size_t i;

	for (i = 0; i < 2; i++) {
		int r = layer_dirs_state(&a->layers, ids[i], err);

		if (r < 0)
			return r;
		if (r != IMGD_STATE_SEALED)
			return imgd_error_set(err, EINVAL,
			    "layer %.12s is not sealed", ids[i]);
	}
	return 0;
}

static int
aufs_replace(void *h, const char *id, const char *with,
    struct imgd_error **err)
{
	struct aufs *a = h;
	int r = both_sealed(a, id, with, err);

	if (r < 0)
		return r;
	/* Of equal parents, so records and lists fit both. */
	if (renameat2(a->diff_fd, id, a->diff_fd, with, RENAME_EXCHANGE) < 0 &&
	    (errno != ENOENT ||
		fs_move_lost(a->diff_fd, id, a->diff_fd, with) < 0))
		return imgd_error_set(err, errno, "layer %.12s: replace: %s",
		    id, strerror(errno));
	FAIL_POINT("aufs-exchanged");
	/* Mounts that an earlier process left show the old content, and a
	 * later get would take them over. */
	return aufs_cleanup(a, err);
}

static int
aufs_remove(void *h, const char *id, struct imgd_error **err)
{
	struct aufs *a = h;
	int r = layer_dirs_exists(&a->layers, id, err);

	if (r > 0 && aufs_has_user(a, id))
		return imgd_error_set(err, EBUSY, "layer %.12s is in use", id);
	if (r > 0) {
		r = layer_dirs_has_children(&a->layers, id, err);
		if (r > 0)
			return imgd_error_set(err, EBUSY,
			    "layer %.12s is the parent of other layers", id);
	}
	if (r >= 0)
		r = aufs_is_mounted(a, id, err);
	if (r > AUFS_NOT_MOUNTED)
		r = aufs_unmount_layer(a, id, err);
	if (r >= 0)
		r = layer_dirs_remove(&a->layers, id, err);
	/* A crash here leaves parts to open. */
	FAIL_POINT("aufs-parts-left");
	return r < 0 ? r : remove_parts(a, id, err);
}

static int
aufs_exists(void *h, const char *id, struct imgd_error **err)
{
	struct aufs *a = h;

	return layer_dirs_exists(&a->layers, id, err);
}

static struct imgd_driver aufs_driver = {
	.threads = IMGD_THREADS_PER_LAYER,
	.caps = IMGD_CAP_RW | IMGD_CAP_INDEPENDENT | IMGD_CAP_LIVE_CHECK,
	.max_depth = AUFS_MAX_DEPTH,
	.name = "aufs",
	.description = "aufs branches, stacked by aufs or fuse-overlayfs",
	.options_help =
	    "aufs.mount=auto|kernel|fuse  what stacks them (auto: the kernel "
	    "where it can)\n",
	.probe = aufs_probe,
	.open = aufs_open,
	.narrow = aufs_narrow,
	.cleanup = aufs_cleanup,
	.close = aufs_close,
	.create = aufs_create,
	.create_rw = aufs_create_rw,
	.seal = aufs_seal,
	.flush = aufs_flush,
	.replace = aufs_replace,
	.remove = aufs_remove,
	.exists = aufs_exists,
	.list = aufs_list,
	.get = aufs_get,
	.put = aufs_put,
	.own_dir = aufs_own_dir,
	.status = aufs_status,
	.metadata = aufs_metadata,
	.check = aufs_check,
};

IMGD_REGISTER_DRIVER(aufs_driver);
