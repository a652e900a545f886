/* What the driver tells of itself, its list and its check. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/aufs/aufs.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/fs-type.h"
#include "lib/tree-copy.h"

/* The longest list: 500 ids and newlines. */
#define LIST_MAX (AUFS_MAX_DEPTH * LAYER_ID_SIZE + LAYER_ID_SIZE)

/* ---- status ---- */

static int
count_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	(void)id;
	(void)parent;
	(void)state;
	(*(int *)ctx)++;
	return 0;
}

static int
put_kernel(struct aufs *a, struct imgd_kv *kv, struct imgd_error **err)
{
	char text[32];
	int r = aufs_learn_limits(a, err);

	if (r < 0)
		return r;
	kv->put(kv->ctx, "Mounted By", "kernel aufs");
	kv->put(kv->ctx, "Dirperm1 Supported",
	    a->limits.has_dirperm1 ? "true" : "false");
	(void)snprintf(text, sizeof(text), "%zu", a->limits.max_branches);
	kv->put(kv->ctx, "Branches", text);
	return 0;
}

int
aufs_status(void *h, struct imgd_kv *kv, struct imgd_error **err)
{
	struct aufs *a = h;
	char buf[32], count[16];
	const char *name;
	int r, n = 0;

	r = fs_type_name(a->sync_fd, buf, &name, err);
	if (r >= 0)
		r = layer_dirs_list(&a->layers, count_layer, &n, err);
	if (r < 0)
		return r;
	(void)snprintf(count, sizeof(count), "%d", n);
	kv->put(kv->ctx, "Root Dir", a->home);
	kv->put(kv->ctx, "Backing Filesystem", name);
	kv->put(kv->ctx, "Dirs", count);
	if (a->by == AUFS_BY_KERNEL)
		return put_kernel(a, kv, err);
	kv->put(kv->ctx, "Mounted By", "fuse-overlayfs");
	/* It looks at the uppermost permissions alone. */
	kv->put(kv->ctx, "Dirperm1 Supported", "true");
	return 0;
}

static int
put_path(struct aufs *a, struct imgd_kv *kv, const char *key,
    const char *sub, const char *id, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	int r = aufs_path(a, sub, id, &path, err);

	if (r == 0)
		kv->put(kv->ctx, key, path);
	return r;
}

int
aufs_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err)
{
	struct aufs *a = h;
	char parent[LAYER_ID_SIZE];
	int r = layer_dirs_parent(&a->layers, id, parent, err);

	if (r > 0)
		kv->put(kv->ctx, "Parent", parent);
	if (r >= 0)
		r = put_path(a, kv, "DiffDir", "diff", id, err);
	if (r >= 0)
		r = put_path(a, kv, "MergedDir", "mnt", id, err);
	return r < 0 ? r : 0;
}

/* ---- list ---- */

/* Adds the mounted flag on a listing's way to the caller. */
struct lister {
	struct aufs *aufs;
	imgd_layer_cb *cb;
	void *ctx;
};

/* Whether something is mounted; what is dead is told, and made anew by whoever
 * may. */
static bool
look_after(struct aufs *a, const char *id)
{
	cleanup_error struct imgd_error *e = NULL;
	int r = aufs_is_mounted(a, id, NULL);

	if (r != AUFS_DEAD)
		return r == AUFS_MOUNTED;
	if ((a->env->flags & IMGD_OPEN_READONLY) != 0) {
		a->env->log(IMGD_LOG_WARN, "layer %.12s: the fuse-overlayfs "
		    "that served it is dead", id);
		return true;
	}
	if (aufs_revive(a, id, &e) < 0)
		a->env->log(IMGD_LOG_WARN, "layer %.12s: %s, leaving it "
		    "unmounted", id, imgd_error_msg(e));
	return aufs_is_mounted(a, id, NULL) > AUFS_NOT_MOUNTED;
}

static int
list_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct lister *l = ctx;

	if (look_after(l->aufs, id))
		state |= IMGD_STATE_MOUNTED;
	return l->cb(l->ctx, id, parent, state);
}

int
aufs_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	struct aufs *a = h;
	struct lister l = { a, cb, ctx };

	return layer_dirs_list(&a->layers, list_layer, &l, err);
}

/* ---- check ---- */

/* What a check of layer after layer carries. */
struct check {
	struct aufs *aufs;
	uint32_t flags;
	imgd_problem_cb *cb;
	void *ctx;
	int n_problems;
};

static bool
may_repair(const struct check *c)
{
	return (c->flags & IMGD_CHECK_REPAIR) != 0;
}

static void
report(struct check *c, const char *id, const char *text, bool repaired)
{
	c->cb(c->ctx, id, text, repaired);
	c->n_problems += !repaired;
}

/* The list is made from the records, so they can make it again. */
static void
check_list(struct check *c, const char *id)
{
	cleanup_free char *want = NULL, *have = NULL;
	struct aufs *a = c->aufs;

	/* Damaged records are told elsewhere. */
	if (aufs_ancestors(a, id, &want, NULL) < 0)
		return;
	if (fs_read_file(a->lists_fd, id, LIST_MAX, &have, NULL, NULL) >= 0 &&
	    strcmp(have, want) == 0)
		return;
	report(c, id, "its list of ancestors is missing or wrong",
	    may_repair(c) && aufs_write_ancestors(a, id, want, NULL) == 0);
}

static void
check_mount(struct check *c, const char *id)
{
	struct aufs *a = c->aufs;
	struct stat st;
	int r = aufs_is_mounted(a, id, NULL);

	if (r == AUFS_DEAD)
		report(c, id, "the fuse-overlayfs that served it is dead",
		    may_repair(c) && aufs_revive(a, id, NULL) == 0);
	if (r == AUFS_NOT_MOUNTED &&
	    (fstatat(a->mnt_fd, id, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISDIR(st.st_mode)))
		report(c, id, "its mount point is missing", may_repair(c) &&
		    fs_make_dir(a->mnt_fd, id, 0700, NULL) >= 0);
}

static int
check_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_close int diff_fd = -EBADF;
	struct check *c = ctx;
	int r;

	r = diff_fd = fs_open_dir(c->aufs->diff_fd, id, &e);
	/* What is not sealed may be written just now. */
	if (r >= 0 && (c->flags & IMGD_CHECK_DEEP) != 0 &&
	    (state & IMGD_STATE_MASK) == IMGD_STATE_SEALED)
		r = tree_read(diff_fd, c->aufs->env->cancelled, &e);
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		report(c, id, imgd_error_msg(e), /* repaired= */ false);
	if (parent != NULL &&
	    layer_dirs_exists(&c->aufs->layers, parent, NULL) == 0)
		report(c, id, "its parent is missing", /* repaired= */ false);
	check_list(c, id);
	check_mount(c, id);
	return 0;
}

int
aufs_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct aufs *a = h;
	struct check c = { a, flags, cb, ctx, 0 };
	int r, n, parts;

	n = layer_dirs_check(&a->layers, flags, cb, ctx, err);
	if (n < 0)
		return n;
	r = layer_dirs_list(&a->layers, check_layer, &c, err);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (r < 0)
		return r;
	parts = aufs_sweep(a, may_repair(&c), cb, ctx, err);
	return parts < 0 ? parts : n + c.n_problems + parts;
}
