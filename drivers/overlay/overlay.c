/*
 * overlay: every layer is a directory with its own changes; overlayfs stacks
 * them.
 *
 *     HOME/ID/diff      the layer's own changes, in overlayfs's form
 *     HOME/ID/work      overlayfs's work directory; writable layers only
 *     HOME/ID/merged    where the layer is mounted
 *     HOME/ID/link      -> ../l/SHORT
 *     HOME/l/SHORT      -> ../ID/diff: short names keep long chains within
 *                       mount(2)'s one page
 *     HOME/ID/…         lib/layer-dirs.h
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "imgd/driver.h"

#include "drivers/overlay/mount.h"
#include "drivers/overlay/overlay.h"
#include "drivers/overlay/probe.h"
#include "drivers/overlay/quota.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/fs-type.h"
#include "lib/layer-dirs.h"
#include "lib/strbuf.h"
#include "lib/tree-copy.h"

/* A layer and its ancestors, as overlayfs wants them. */
struct chain {
	char (*names)[SHORT_SIZE]; /* owned: in HOME/l, top first */
	const char **pointers;     /* owned: to names */
	size_t n;
};

static void
chain_done(struct chain *c)
{
	free(c->names);
	free(c->pointers);
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- users ---- */

static bool
users_have(struct overlay *o, const char *id)
{
	bool found = false;
	size_t i;

	(void)pthread_mutex_lock(&o->lock);
	for (i = 0; i < o->n_users && !found; i++)
		found = strcmp(o->users[i], id) == 0;
	(void)pthread_mutex_unlock(&o->lock);
	return found;
}

static int
users_add(struct overlay *o, const char *id, struct imgd_error **err)
{
	char (*p)[LAYER_ID_SIZE];

	if (users_have(o, id))
		return 0;
	(void)pthread_mutex_lock(&o->lock);
	p = reallocarray(o->users, o->n_users + 1, sizeof(*p));
	if (p != NULL) {
		o->users = p;
		memcpy(p[o->n_users++], id, LAYER_ID_SIZE);
	}
	(void)pthread_mutex_unlock(&o->lock);
	return p != NULL ? 0 : no_memory(err);
}

static void
users_remove(struct overlay *o, const char *id)
{
	size_t i;

	(void)pthread_mutex_lock(&o->lock);
	for (i = 0; i < o->n_users; i++) {
		if (strcmp(o->users[i], id) != 0)
			continue;
		o->n_users--;
		memmove(o->users[i], o->users[o->n_users], LAYER_ID_SIZE);
		break;
	}
	(void)pthread_mutex_unlock(&o->lock);
}

/* ---- life of a store ---- */

static void
overlay_close(void *h)
{
	struct overlay *o = h;

	layer_dirs_done(&o->layers);
	close_fd(&o->links_fd);
	close_fd(&o->sync_fd);
	(void)pthread_mutex_destroy(&o->lock);
	free(o->users);
	free(o->links);
	free(o->home);
	free(o);
}

static void
overlay_closep(struct overlay **o)
{
	if (*o != NULL)
		overlay_close(*o);
}

static int
probe(const struct imgd_env *env, struct imgd_error **err)
{
	return overlay_probe(&mount_kernel_ops, env->home_fd, err);
}

static int
open_links(struct overlay *o, struct imgd_error **err)
{
	bool read_only = (o->env->flags & IMGD_OPEN_READONLY) != 0;
	int r;

	if (asprintf(&o->links, "%s/l", o->home) < 0) {
		o->links = NULL;
		return no_memory(err);
	}
	if (read_only && faccessat(o->sync_fd, "l", F_OK, 0) < 0 &&
	    errno == ENOENT)
		return 0;
	r = o->links_fd = read_only ? fs_open_dir(o->sync_fd, "l", err) :
	    fs_make_open_dir(o->sync_fd, "l", 0700, err);
	if (r < 0 || read_only)
		return r < 0 ? r : 0;
	return overlay_sweep_links(o, /* remove= */ true, NULL, NULL, err);
}

static int
overlay_open(const struct imgd_env *env, void **ret_h,
    struct imgd_error **err)
{
	cleanup(overlay_closep) struct overlay *o = NULL;
	int r;

	if (env->n_options > 0)
		return imgd_error_set(err, EINVAL,
		    "overlay: unknown option \"%s\"", env->options[0].key);
	o = calloc(1, sizeof(*o));
	if (o == NULL)
		return no_memory(err);
	(void)pthread_mutex_init(&o->lock, NULL);
	o->layers = (struct layer_dirs)LAYER_DIRS_INIT;
	o->env = env;
	o->ops = &mount_kernel_ops;
	o->links_fd = -EBADF;
	o->userxattr = overlay_needs_userxattr();
	r = o->sync_fd = fs_open_dir(env->home_fd, ".", err);
	if (r >= 0)
		r = fs_real_path(o->sync_fd, &o->home, err);
	if (r >= 0)
		r = layer_dirs_open(&o->layers, env, ".", err);
	if (r >= 0)
		r = open_links(o, err);
	if (r < 0)
		return imgd_error_prefix(err, "overlay: %s", env->home);
	*ret_h = take_ptr(&o);
	return 0;
}

static int
overlay_narrow(void *h, uint32_t *threads, uint32_t *caps,
    uint32_t *max_depth, struct imgd_error **err)
{
	struct overlay *o = h;

	(void)threads;
	(void)err;
	if (!quota_possible(o->sync_fd))
		*caps &= ~IMGD_CAP_QUOTA;
	*max_depth = (uint32_t)overlay_max_lowers(o->ops, SHORT_SIZE - 1);
	return 0;
}

/* ---- mounts ---- */

/* Whether id's merged directory is a mount point: 1, 0 or < 0. */
static int
is_mounted(struct overlay *o, const char *id, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct statx stx;
	int r = overlay_layer_path(o, id, "merged", &path, err);

	if (r < 0)
		return r;
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
	    STATX_TYPE, &stx) < 0)
		return errno == ENOENT ? 0 : imgd_error_set(err, errno,
		    "%s: %s", path, strerror(errno));
	/* XXX until Linux 5.8 is the oldest kernel that matters. */
	if ((stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0)
		return fs_is_mount_point(path, err);
	return (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

static int
unmount_layer(struct overlay *o, const char *id, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	int r = overlay_layer_path(o, id, "merged", &path, err);

	if (r < 0)
		return r;
	r = overlay_umount(o->ops, path, err);
	return r < 0 ? imgd_error_prefix(err, "layer %.12s", id) : 0;
}

static int
unmount_unused(void *ctx, const char *id, const char *parent, uint32_t state)
{
	cleanup_error struct imgd_error *e = NULL;
	struct overlay *o = ctx;

	(void)parent;
	(void)state;
	if (users_have(o, id) || is_mounted(o, id, NULL) <= 0)
		return 0;
	if (unmount_layer(o, id, &e) < 0)
		o->env->log(IMGD_LOG_WARN, "%s, leaving it mounted",
		    imgd_error_msg(e));
	return 0;
}

static int
overlay_cleanup(void *h, struct imgd_error **err)
{
	struct overlay *o = h;

	/* Then the mounts are a running engine's. */
	if ((o->env->flags & IMGD_OPEN_READONLY) != 0)
		return 0;
	return layer_dirs_list(&o->layers, unmount_unused, o, err);
}

/* Whether a layer's own root directory hides all below it.  overlayfs does
 * not look at the roots of lower directories, so the chain ends there. */
static bool
has_opaque_root(struct overlay *o, const char *name)
{
	cleanup_free char *path = NULL;
	char value[2];

	return asprintf(&path, "%s/%s", o->links, name) >= 0 &&
	    getxattr(path, o->userxattr ? "user.overlay.opaque" :
		"trusted.overlay.opaque", value, sizeof(value)) == 1 &&
	    value[0] == 'y';
}

/* The short names of id and its ancestors. */
static int
load_chain(struct overlay *o, const char *id, struct chain *c,
    struct imgd_error **err)
{
	char at[LAYER_ID_SIZE], parent[LAYER_ID_SIZE];
	size_t i;
	int r;

	c->names = calloc(OVERLAY_MAX_LOWERS, sizeof(*c->names));
	c->pointers = calloc(OVERLAY_MAX_LOWERS, sizeof(*c->pointers));
	if (c->names == NULL || c->pointers == NULL)
		return no_memory(err);
	memcpy(at, id, sizeof(at));
	for (;;) {
		if (c->n == OVERLAY_MAX_LOWERS)
			return imgd_error_set(err, E2BIG,
			    "layer %.12s has more than %d ancestors", id,
			    OVERLAY_MAX_LOWERS - 1);
		r = overlay_read_short(o, at, c->names[c->n], err);
		if (r < 0)
			return r;
		c->n++;
		if (has_opaque_root(o, c->names[c->n - 1]))
			break;
		r = layer_dirs_parent(&o->layers, at, parent, err);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		memcpy(at, parent, sizeof(at));
	}
	for (i = 0; i < c->n; i++)
		c->pointers[i] = c->names[i];
	return 0;
}

/* Mount a chain at id's merged directory. */
static int
mount_chain(struct overlay *o, const char *id, const struct chain *c,
    bool is_rw, struct imgd_error **err)
{
	char upper[LAYER_PATH_SIZE], work[LAYER_PATH_SIZE];
	char target[LAYER_PATH_SIZE];
	struct overlay_mount om = {
		.dir_fd = o->links_fd, .dir = o->links,
		.lowers = c->pointers, .n_lowers = c->n,
		.target = target, .userxattr = o->userxattr,
	};

	(void)snprintf(upper, sizeof(upper), "../%s/diff", id);
	(void)snprintf(work, sizeof(work), "../%s/work", id);
	(void)snprintf(target, sizeof(target), "../%s/merged", id);
	if (is_rw) {
		om.upper = upper;
		om.work = work;
	}
	return overlay_mount(o->ops, &om, err);
}

/* Show a layer that needs no stacking: read-only, as a stack would be. */
static int
bind_layer(struct overlay *o, const char *id, struct imgd_error **err)
{
	cleanup_free char *diff = NULL, *merged = NULL;
	int r = overlay_layer_path(o, id, "diff", &diff, err);

	if (r == 0)
		r = overlay_layer_path(o, id, "merged", &merged, err);
	return r < 0 ? r : overlay_bind_readonly(o->ops, diff, merged, err);
}

/* Mount id unless it is mounted.  Returns 1 if its tree is diff itself. */
static int
mount_layer(struct overlay *o, const char *id, int state,
    struct imgd_error **err)
{
	cleanup(chain_done) struct chain c = { NULL, NULL, 0 };
	char parent[LAYER_ID_SIZE];
	bool is_rw = state == IMGD_STATE_RW;
	int r;

	r = layer_dirs_parent(&o->layers, id, parent, err);
	if (r < 0)
		return r;
	if (r == 0 && state != IMGD_STATE_SEALED)
		return 1;
	/* An earlier process's mount is taken over. */
	r = is_mounted(o, id, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = load_chain(o, is_rw ? parent : id, &c, err);
	if (r < 0)
		return r;
	return c.n == 1 && !is_rw ? bind_layer(o, id, err) :
	    mount_chain(o, id, &c, is_rw, err);
}

static int
overlay_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct overlay *o = h;
	int r, state;

	if (kind != IMGD_GET_TREE)
		return imgd_error_set(err, EOPNOTSUPP,
		    "overlay has no block devices");
	state = layer_dirs_state(&o->layers, id, err);
	if (state < 0)
		return state;
	r = mount_layer(o, id, state, err);
	if (r < 0)
		return imgd_error_prefix(err, "layer %.12s", id);
	r = overlay_layer_path(o, id, r == 1 ? "diff" : "merged", &path, err);
	FAIL_POINT("overlay-mounted");
	if (r == 0)
		r = users_add(o, id, err);
	if (r < 0)
		return r;
	*ret_path = take_ptr(&path);
	return 0;
}

static int
overlay_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	struct overlay *o = h;
	int r;

	(void)kind;
	users_remove(o, id);
	r = is_mounted(o, id, err);
	return r > 0 ? unmount_layer(o, id, err) : r;
}

/* ---- layers ---- */

/* The merged root shows the uppermost root directory, so a new layer's takes
 * owner, mode and times from its parent's. */
static int
inherit_root(struct overlay *o, int diff_fd, const char *parent,
    struct imgd_error **err)
{
	cleanup_close int parent_fd = -EBADF, src_fd = -EBADF;

	parent_fd = layer_dirs_fd(&o->layers, parent, err);
	if (parent_fd < 0)
		return parent_fd;
	src_fd = fs_open_dir(parent_fd, "diff", err);
	if (src_fd < 0)
		return src_fd;
	return tree_copy_dir_attrs(src_fd, diff_fd, err);
}

/* overlayfs makes files in work and moves them to diff: one project has
 * both. */
static int
make_work(int layer_fd, int diff_fd, uint64_t quota_bytes,
    struct imgd_error **err)
{
	cleanup_close int work_fd = fs_make_open_dir(layer_fd, "work", 0700,
	    err);
	const int fds[] = { diff_fd, work_fd };

	if (work_fd < 0)
		return work_fd;
	return quota_bytes > 0 ? quota_limit(fds, 2, quota_bytes, err) : 0;
}

static int
fill_layer(struct overlay *o, int layer_fd, const char *id,
    const char *parent, uint32_t state, uint64_t quota_bytes,
    struct imgd_error **err)
{
	cleanup_close int diff_fd = -EBADF;
	int r;

	diff_fd = layer_dirs_make_root(layer_fd, "diff", err);
	if (diff_fd < 0)
		return diff_fd;
	r = fs_make_dir(layer_fd, "merged", 0700, err);
	if (r >= 0 && state == IMGD_STATE_RW)
		r = make_work(layer_fd, diff_fd, quota_bytes, err);
	if (r >= 0 && parent != NULL)
		r = inherit_root(o, diff_fd, parent, err);
	if (r >= 0)
		r = overlay_make_short(o, layer_fd, id, err);
	return r < 0 ? r : 0;
}

static uint32_t
project_of(int layer_fd)
{
	cleanup_close int diff_fd = fs_open_dir(layer_fd, "diff", NULL);

	return diff_fd >= 0 ? quota_project(diff_fd) : 0;
}

static int
make_layer(struct overlay *o, const char *id, const char *parent,
    uint32_t state, uint64_t quota_bytes, struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF;
	char target[32];
	ssize_t n;
	int r;

	layer_fd = layer_dirs_begin(&o->layers, id, parent, state,
	    /* sealed_parent= */ state == IMGD_STATE_RW, err);
	if (layer_fd < 0)
		return layer_fd;
	r = fill_layer(o, layer_fd, id, parent, state, quota_bytes, err);
	if (r == 0)
		r = layer_dirs_commit(&o->layers, id, err);
	if (r == 0)
		return 0;
	n = readlinkat(layer_fd, "link", target, sizeof(target) - 1);
	if (n > 5) {
		target[n] = '\0';
		(void)unlinkat(o->links_fd, target + 5, 0);
	}
	quota_lift(layer_fd, project_of(layer_fd));
	layer_dirs_abort(&o->layers, id);
	return r;
}

static int
sync_home(struct overlay *o, struct imgd_error **err)
{
	int e = atomic_load(&o->sync_error);

	/* The kernel reports a write-back error once: a second call that
	 * succeeds would prove nothing. */
	if (e == 0 && syncfs(o->sync_fd) < 0) {
		e = errno;
		atomic_store(&o->sync_error, e);
	}
	if (e != 0)
		return imgd_error_set(err, e, "overlay: flush %s: %s",
		    o->home, strerror(e));
	return 0;
}

static int
overlay_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	(void)opts;
	return make_layer(h, id, parent, IMGD_STATE_STAGED, 0, err);
}

static int
overlay_create_rw(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	int r;

	r = make_layer(h, id, parent, IMGD_STATE_RW,
	    opts != NULL ? opts->quota_bytes : 0, err);
	/* No seal and no flush follows: a writable layer is complete now. */
	return r < 0 ? r : sync_home(h, err);
}

static int
overlay_seal(void *h, const char *id, struct imgd_error **err)
{
	struct overlay *o = h;

	return layer_dirs_seal(&o->layers, id, err);
}

static int
overlay_flush(void *h, struct imgd_error **err)
{
	return sync_home(h, err);
}

static int
overlay_replace(void *h, const char *id, const char *with,
    struct imgd_error **err)
{
	struct overlay *o = h;
	int r = layer_dirs_exchange(&o->layers, id, with, "diff", err);

	/* One that had lost its directory has lost this, too. */
	if (r >= 0 && !overlay_short_leads(o, id))
		r = overlay_remake_short(o, id, err);
	if (r < 0)
		return r;
	/* Mounts that an earlier process left show the old content, and a
	 * later get would take them over. */
	return overlay_cleanup(o, err);
}

static int
overlay_remove(void *h, const char *id, struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF;
	struct overlay *o = h;
	char name[SHORT_SIZE];
	uint32_t project = 0;
	bool has_short;
	int r;

	r = layer_dirs_exists(&o->layers, id, err);
	if (r < 0)
		return r;
	if (r == 0)
		return layer_dirs_remove(&o->layers, id, err);
	if (users_have(o, id))
		return imgd_error_set(err, EBUSY, "layer %.12s is in use", id);
	r = layer_dirs_has_children(&o->layers, id, err);
	if (r < 0)
		return r;
	if (r > 0)
		return imgd_error_set(err, EBUSY,
		    "layer %.12s is the parent of other layers", id);
	r = is_mounted(o, id, err);
	if (r > 0)
		r = unmount_layer(o, id, err);
	if (r < 0)
		return r;
	layer_fd = layer_dirs_fd(&o->layers, id, NULL);
	if (layer_fd >= 0)
		project = project_of(layer_fd);
	has_short = overlay_read_short(o, id, name, NULL) == 0;
	r = layer_dirs_remove(&o->layers, id, err);
	/* A crash here leaves a short name to open. */
	FAIL_POINT("overlay-short-left");
	if (r == 0 && has_short)
		(void)unlinkat(o->links_fd, name, 0);
	/* Not before: a layer that stays keeps its limit. */
	if (r == 0)
		quota_lift(o->sync_fd, project);
	return r;
}

static int
overlay_exists(void *h, const char *id, struct imgd_error **err)
{
	struct overlay *o = h;

	return layer_dirs_exists(&o->layers, id, err);
}

/* Adds the mounted flag on a listing's way to the caller. */
struct lister {
	struct overlay *overlay;
	imgd_layer_cb *cb;
	void *ctx;
};

static int
list_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct lister *l = ctx;

	if (is_mounted(l->overlay, id, NULL) > 0)
		state |= IMGD_STATE_MOUNTED;
	return l->cb(l->ctx, id, parent, state);
}

static int
overlay_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	struct overlay *o = h;
	struct lister l = { o, cb, ctx };

	return layer_dirs_list(&o->layers, list_layer, &l, err);
}

static int
overlay_own_dir(void *h, const char *id, char **ret_path,
    uint32_t *ret_whiteouts, struct imgd_error **err)
{
	struct overlay *o = h;
	int r = layer_dirs_state(&o->layers, id, err);

	if (r < 0)
		return r;
	r = overlay_layer_path(o, id, "diff", ret_path, err);
	if (r < 0)
		return r;
	*ret_whiteouts = IMGD_WH_OVERLAY;
	return 0;
}

static struct imgd_driver overlay_driver = {
	.threads = IMGD_THREADS_PER_LAYER,
	.caps = IMGD_CAP_RW | IMGD_CAP_INDEPENDENT | IMGD_CAP_QUOTA |
	    IMGD_CAP_LIVE_CHECK,
	.max_depth = OVERLAY_MAX_LOWERS,
	.name = "overlay",
	.description = "directories stacked by the kernel's overlayfs",
	.probe = probe,
	.open = overlay_open,
	.narrow = overlay_narrow,
	.cleanup = overlay_cleanup,
	.close = overlay_close,
	.create = overlay_create,
	.create_rw = overlay_create_rw,
	.seal = overlay_seal,
	.flush = overlay_flush,
	.replace = overlay_replace,
	.remove = overlay_remove,
	.exists = overlay_exists,
	.list = overlay_list,
	.get = overlay_get,
	.put = overlay_put,
	.own_dir = overlay_own_dir,
	.status = overlay_status,
	.metadata = overlay_metadata,
	.check = overlay_check,
};

IMGD_REGISTER_DRIVER(overlay_driver);
