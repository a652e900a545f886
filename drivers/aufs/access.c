/* Reaching layers: what is mounted where, and by whom. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/aufs/aufs.h"
#include "drivers/aufs/branch-form.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- users ---- */

bool
aufs_has_user(struct aufs *a, const char *id)
{
	bool found = false;
	size_t i;

	(void)pthread_mutex_lock(&a->lock);
	for (i = 0; i < a->n_users && !found; i++)
		found = strcmp(a->users[i], id) == 0;
	(void)pthread_mutex_unlock(&a->lock);
	return found;
}

static int
users_add(struct aufs *a, const char *id, struct imgd_error **err)
{
	char (*p)[LAYER_ID_SIZE];

	if (aufs_has_user(a, id))
		return 0;
	(void)pthread_mutex_lock(&a->lock);
	p = reallocarray(a->users, a->n_users + 1, sizeof(*p));
	if (p != NULL) {
		a->users = p;
		memcpy(p[a->n_users++], id, LAYER_ID_SIZE);
	}
	(void)pthread_mutex_unlock(&a->lock);
	return p != NULL ? 0 : no_memory(err);
}

static void
users_remove(struct aufs *a, const char *id)
{
	size_t i;

	(void)pthread_mutex_lock(&a->lock);
	for (i = 0; i < a->n_users; i++) {
		if (strcmp(a->users[i], id) != 0)
			continue;
		a->n_users--;
		memmove(a->users[i], a->users[a->n_users], LAYER_ID_SIZE);
		break;
	}
	(void)pthread_mutex_unlock(&a->lock);
}

void
aufs_users_done(struct aufs *a)
{
	free(a->users);
}

/* ---- marks ---- */

/* Set a mark on a layer; on disk before anything that it warns of. */
static int
mark(struct aufs *a, const char *id, const char *name, bool is_durable,
    struct imgd_error **err)
{
	cleanup_close int fd = layer_dirs_fd(&a->layers, id, err);

	if (fd < 0)
		return fd;
	if (symlinkat("yes", fd, name) < 0)
		return errno == EEXIST ? 0 : imgd_error_set(err, errno,
		    "layer %.12s: mark %s: %s", id, name, strerror(errno));
	if (is_durable && fsync(fd) < 0)
		return imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
	return 0;
}

static void
unmark(struct aufs *a, const char *id, const char *name)
{
	char path[LAYER_PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", id, name);
	(void)unlinkat(a->layers.layers_fd, path, 0);
}

static bool
is_marked(struct aufs *a, const char *id, const char *name)
{
	char path[LAYER_PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", id, name);
	return faccessat(a->layers.layers_fd, path, F_OK,
	    AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- the form of branches ---- */

int
aufs_settle(struct aufs *a, const char *id, struct imgd_error **err)
{
	cleanup_close int diff_fd = -EBADF;
	int r;

	if (!is_marked(a, id, AUFS_FUSE))
		return 0;
	diff_fd = fs_open_dir(a->diff_fd, id, err);
	r = diff_fd < 0 ? diff_fd : branch_to_aufs_form(diff_fd, err);
	if (r < 0)
		return imgd_error_prefix(err, "layer %.12s: whiteouts", id);
	/* What the mark stands for must not come back without it. */
	if (syncfs(diff_fd) < 0)
		return imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
	unmark(a, id, AUFS_FUSE);
	return 0;
}

/* ---- mounts ---- */

int
aufs_is_mounted(struct aufs *a, const char *id, struct imgd_error **err)
{
	struct statx stx;

	if (a->mnt_fd < 0)
		return AUFS_NOT_MOUNTED;
	/* A dead server's attributes may still be remembered: ask for them
	 * anew. */
	if (statx(a->mnt_fd, id, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT |
		AT_STATX_FORCE_SYNC, STATX_TYPE | STATX_MODE, &stx) < 0) {
		if (errno == ENOTCONN || errno == ECONNABORTED)
			return AUFS_DEAD;
		return errno == ENOENT ? AUFS_NOT_MOUNTED :
		    imgd_error_set(err, errno, "%s/mnt/%s: %s", a->home, id,
			strerror(errno));
	}
	return (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0
	    ? AUFS_MOUNTED : AUFS_NOT_MOUNTED;
}

/* Whether a layer's own root hides all below it.  aufs does not look at the
 * marks of roots, so the stack ends there. */
static bool
has_opaque_root(struct aufs *a, const char *id)
{
	char path[LAYER_PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/.wh..wh..opq", id);
	return faccessat(a->diff_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* id and its ancestors, top first; malloc'ed. */
static int
load_branches(struct aufs *a, const char *id,
    char (**ret)[LAYER_ID_SIZE], size_t *ret_n, struct imgd_error **err)
{
	cleanup_free char (*list)[LAYER_ID_SIZE] = NULL;
	size_t n = 0;
	int r;

	list = calloc(AUFS_MAX_DEPTH + 2, sizeof(*list));
	if (list == NULL)
		return no_memory(err);
	memcpy(list[n++], id, LAYER_ID_SIZE);
	for (;;) {
		if (has_opaque_root(a, list[n - 1]))
			break;
		r = layer_dirs_parent(&a->layers, list[n - 1], list[n], err);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		if (++n > AUFS_MAX_DEPTH + 1)
			return imgd_error_set(err, E2BIG,
			    "layer %.12s has more than %d ancestors", id,
			    AUFS_MAX_DEPTH);
	}
	*ret = take_ptr(&list);
	*ret_n = n;
	return 0;
}

/* A base is shown as it is, but read-only. */
static int
bind_base(struct aufs *a, const char *id, const char *target,
    struct imgd_error **err)
{
	cleanup_free char *diff = NULL;
	int e, r = aufs_path(a, "diff", id, &diff, err);

	if (r < 0)
		return r;
	if (a->ops->mount(diff, target, "none", MS_BIND, NULL) < 0)
		return imgd_error_set(err, errno, "bind %s: %s", diff,
		    strerror(errno));
	/* A bind takes flags in a second step only. */
	if (a->ops->mount("none", target, "none",
		MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0)
		return 0;
	e = errno;
	(void)a->ops->umount(target, MNT_DETACH);
	return imgd_error_set(err, e, "bind %s read-only: %s", diff,
	    strerror(e));
}

static int
mount_by_kernel(struct aufs *a, const struct aufs_stack *s,
    struct imgd_error **err)
{
	size_t i;
	int r = aufs_learn_limits(a, err);

	/* aufs does not know the whiteouts that fuse-overlayfs writes. */
	for (i = 0; r >= 0 && i < s->n_branches; i++)
		r = aufs_settle(a, s->branches[i], err);
	return r < 0 ? r : aufs_kernel_mount(a->ops, s, &a->limits, err);
}

static int
mount_by_fuse(struct aufs *a, const struct aufs_stack *s,
    struct imgd_error **err)
{
	cleanup_close int layer_fd = -EBADF, pidfd = -EBADF;
	int r;

	if (!s->is_rw)
		return aufs_fuse_mount(a->ops, s, err);
	/* Two of them that write to one branch would ruin it. */
	pidfd = aufs_fuse_find_process(s->target);
	if (pidfd >= 0)
		return imgd_error_set(err, EBUSY,
		    "fuse-overlayfs still serves it elsewhere");
	layer_fd = layer_dirs_fd(&a->layers, s->id, err);
	if (layer_fd < 0)
		return layer_fd;
	r = fs_make_dir(layer_fd, "work", 0700, err);
	if (r >= 0)
		r = mark(a, s->id, AUFS_FUSE, /* is_durable= */ true, err);
	return r < 0 ? r : aufs_fuse_mount(a->ops, s, err);
}

/* Stack id's branches at target. */
static int
mount_stack(struct aufs *a, const char *id, const char *target, bool is_rw,
    struct imgd_error **err)
{
	cleanup_free char (*branches)[LAYER_ID_SIZE] = NULL;
	char work[LAYER_PATH_SIZE];
	struct aufs_stack s = {
		.home_fd = a->sync_fd, .home = a->home, .target = target,
		.id = id, .is_rw = is_rw, .work = work,
	};
	int r = load_branches(a, id, &branches, &s.n_branches, err);

	if (r < 0)
		return r;
	s.branches = (const char (*)[LAYER_ID_SIZE])branches;
	(void)snprintf(work, sizeof(work), "records/%s/work", id);
	return a->by == AUFS_BY_KERNEL ? mount_by_kernel(a, &s, err) :
	    mount_by_fuse(a, &s, err);
}

/* Take a mount that may be half one away. */
static int
drop_half(struct aufs *a, const char *id, const char *target)
{
	if (!is_marked(a, id, AUFS_MOUNTING))
		return AUFS_MOUNTED;
	(void)a->ops->umount(target, MNT_DETACH);
	return AUFS_NOT_MOUNTED;
}

int
aufs_mount_layer(struct aufs *a, const char *id, struct imgd_error **err)
{
	cleanup_free char *target = NULL;
	char parent[LAYER_ID_SIZE];
	int r, state, has_parent;

	state = layer_dirs_state(&a->layers, id, err);
	if (state < 0)
		return state;
	r = has_parent = layer_dirs_parent(&a->layers, id, parent, err);
	if (r == 0 && state != IMGD_STATE_SEALED)
		return 1;
	if (r >= 0)
		r = aufs_path(a, "mnt", id, &target, err);
	if (r >= 0)
		r = aufs_is_mounted(a, id, err);
	/* An earlier process's mount is taken over. */
	if (r == AUFS_MOUNTED)
		r = drop_half(a, id, target);
	if (r != AUFS_NOT_MOUNTED)
		return r < 0 ? r : 0;
	r = fs_make_dir(a->mnt_fd, id, 0700, err);
	if (r >= 0)
		r = mark(a, id, AUFS_MOUNTING, /* is_durable= */ false, err);
	if (r >= 0)
		r = has_parent ? mount_stack(a, id, target,
		    state == IMGD_STATE_RW, err) :
		    bind_base(a, id, target, err);
	unmark(a, id, AUFS_MOUNTING);
	return r < 0 ? r : 0;
}

int
aufs_unmount_layer(struct aufs *a, const char *id, struct imgd_error **err)
{
	cleanup_free char *target = NULL;
	int r = aufs_path(a, "mnt", id, &target, err), pidfd;

	if (r < 0)
		return r;
	if (a->by == AUFS_BY_KERNEL)
		aufs_kernel_flush_links(a->ops, a->sync_fd, target);
	pidfd = aufs_fuse_find_process(target);
	r = aufs_umount(a->ops, target, err);
	if (r < 0) {
		cleanup_closep(&pidfd);
		return imgd_error_prefix(err, "layer %.12s", id);
	}
	/* Copies of the mount in other namespaces go with its directory. */
	if (unlinkat(a->mnt_fd, id, AT_REMOVEDIR) == 0)
		(void)fs_make_dir(a->mnt_fd, id, 0700, NULL);
	/* Its branch is settled when nobody writes there any more. */
	if (pidfd >= 0 && aufs_fuse_wait(pidfd) < 0) {
		a->env->log(IMGD_LOG_WARN, "layer %.12s: its fuse-overlayfs "
		    "goes on after it was unmounted, leaving its whiteouts to "
		    "the next use", id);
		return 0;
	}
	return aufs_settle(a, id, err);
}

/* ---- operations ---- */

/* Mount what is not, and make anew what is dead. */
static int
reach(struct aufs *a, const char *id, struct imgd_error **err)
{
	int r;

	(void)pthread_rwlock_rdlock(&a->mounting);
	r = aufs_is_mounted(a, id, err);
	if (r == AUFS_NOT_MOUNTED || r == AUFS_MOUNTED)
		r = aufs_mount_layer(a, id, err);
	(void)pthread_rwlock_unlock(&a->mounting);
	if (r != AUFS_DEAD)
		return r;
	r = aufs_revive(a, id, err);
	return r < 0 ? r : 0;
}

int
aufs_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct aufs *a = h;
	bool had_user;
	int r;

	if (kind != IMGD_GET_TREE)
		return imgd_error_set(err, EOPNOTSUPP,
		    "aufs has no block devices");
	r = layer_dirs_state(&a->layers, id, err);
	if (r < 0)
		return r;
	/* A user before it is mounted, so that nothing thinks it unused. */
	had_user = aufs_has_user(a, id);
	r = users_add(a, id, err);
	if (r >= 0)
		r = reach(a, id, err);
	if (r >= 0)
		r = aufs_path(a, r == 1 ? "diff" : "mnt", id, &path, err);
	if (r < 0) {
		if (!had_user)
			users_remove(a, id);
		return imgd_error_prefix(err, "layer %.12s", id);
	}
	*ret_path = take_ptr(&path);
	return 0;
}

int
aufs_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	struct aufs *a = h;
	int r;

	(void)kind;
	(void)pthread_rwlock_rdlock(&a->mounting);
	users_remove(a, id);
	r = aufs_is_mounted(a, id, err);
	if (r > AUFS_NOT_MOUNTED)
		r = aufs_unmount_layer(a, id, err);
	(void)pthread_rwlock_unlock(&a->mounting);
	return r;
}

int
aufs_own_dir(void *h, const char *id, char **ret_path,
    uint32_t *ret_whiteouts, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct aufs *a = h;
	int r = layer_dirs_state(&a->layers, id, err);

	if (r >= 0)
		r = aufs_is_mounted(a, id, err);
	/* While it is mounted both forms may stand there. */
	if (r == AUFS_NOT_MOUNTED && (a->env->flags & IMGD_OPEN_READONLY) == 0)
		r = aufs_settle(a, id, err);
	if (r >= 0)
		r = aufs_path(a, "diff", id, &path, err);
	if (r < 0)
		return r;
	*ret_path = take_ptr(&path);
	*ret_whiteouts = IMGD_WH_AUFS;
	return 0;
}

static int
unmount_unused(void *ctx, const char *id, const char *parent, uint32_t state)
{
	cleanup_error struct imgd_error *e = NULL;
	struct aufs *a = ctx;

	(void)parent;
	(void)state;
	if (aufs_has_user(a, id) || aufs_is_mounted(a, id, NULL) <= 0)
		return 0;
	if (aufs_unmount_layer(a, id, &e) < 0)
		a->env->log(IMGD_LOG_WARN, "%s, leaving it mounted",
		    imgd_error_msg(e));
	return 0;
}

int
aufs_cleanup(void *h, struct imgd_error **err)
{
	struct aufs *a = h;

	/* Then the mounts are a running engine's. */
	if ((a->env->flags & IMGD_OPEN_READONLY) != 0)
		return 0;
	return layer_dirs_list(&a->layers, unmount_unused, a, err);
}
