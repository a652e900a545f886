/*
 * Deletions, in the three forms that they take in a tree.
 *
 * OCI image-spec, layer.md, "Whiteouts": they hide lower layers only, whatever
 * their place in the tar, so what this layer itself has written stays.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tar-tree.h"

#define AUFS_OPAQUE ".wh..wh..opq"

static int
fail_errno(struct imgd_error **err, const char *path)
{
	return imgd_error_set(err, errno, "%s: %s", path, strerror(errno));
}

static void
aufs_marker(char buf[NAME_MAX + 8], const char *name)
{
	memcpy(buf, ".wh.", 4);
	(void)strncpy(buf + 4, name, NAME_MAX + 3);
	buf[NAME_MAX + 7] = '\0';
}

static int
make_empty_file(int dir_fd, const char *name, struct imgd_error **err)
{
	cleanup_close int fd = openat(dir_fd, name,
	    O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0);

	return fd < 0 ? fail_errno(err, name) : 0;
}

static bool
is_overlay_marker(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* ---- removing what lower layers, or earlier entries, have ---- */

enum fate { KEEP, DESCEND, RESET_AND_DESCEND, REMOVE };

/* What becomes of something found below a directory that is made opaque. */
static enum fate
fate_of(const struct tar_tree *t, const char *path, size_t len,
    const char *name, const struct stat *st)
{
	const bool is_dir = S_ISDIR(st->st_mode);

	if (t->is_own) {
		if (t->params->whiteouts == IMGD_WH_OVERLAY ?
			is_overlay_marker(st) :
			str_starts(name, ".wh."))
			return str_starts(name, ".wh..wh.") ? KEEP : REMOVE;
		if (!tree_is_copied(t, path, len))
			return is_dir ? DESCEND : KEEP;
	} else {
		if (str_starts(name, ".wh..wh."))
			return KEEP;
		if (tree_has(t, TAG_WRITTEN, path, len))
			return is_dir ? DESCEND : KEEP;
	}
	return is_dir && tree_has(t, TAG_HOLDS, path, len) ? RESET_AND_DESCEND :
							     REMOVE;
}

/* Paths still to be visited, each with its NUL. */
static int
push(struct strbuf *todo, const char *path, size_t len,
    struct imgd_error **err)
{
	strbuf_append(todo, path, len + 1);
	return todo->is_failed ?
	    imgd_error_set(err, ENOMEM, "out of memory") : 0;
}

static bool
pop(struct strbuf *todo, char path[LIMIT_PATH_BYTES + 1])
{
	size_t at;

	if (todo->len == 0)
		return false;
	for (at = todo->len - 1; at > 0 && todo->data[at - 1] != '\0'; at--)
		;
	memcpy(path, todo->data + at, todo->len - at);
	todo->len = at;
	return true;
}

static int
purge_child(struct tar_tree *t, const struct tar_dir *dir, const char *name,
    struct strbuf *todo, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	char path[LIMIT_PATH_BYTES + 1];
	struct stat st;
	enum fate fate;
	size_t len;
	int r;

	r = tree_join(dir, name, path, &len, err);
	if (r < 0)
		return r;
	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(err, path);
	fate = fate_of(t, path, len, name, &st);
	if (fate == KEEP)
		return 0;
	if (fate == REMOVE)
		return fs_remove_tree(dir->fd, name, err);
	if (fate == RESET_AND_DESCEND) {
		fd = fs_open_dir(dir->fd, name, err);
		if (fd < 0)
			return fd;
		r = meta_reset(t, fd, path, err);
		if (r < 0)
			return r;
	}
	return push(todo, path, len, err);
}

static int
purge_dir(struct tar_tree *t, const char *path, struct strbuf *todo,
    struct imgd_error **err)
{
	cleanup_closedir DIR *d = NULL;
	struct tar_dir dir = { .len = strlen(path) };
	struct dirent *de;
	int r;

	memcpy(dir.path, path, dir.len + 1);
	dir.fd = tree_open(t->root_fd, path);
	if (dir.fd < 0)
		return imgd_error_set(err, -dir.fd, "%s: %s", path,
		    strerror(-dir.fd));
	d = fdopendir(dir.fd);
	if (d == NULL) {
		r = fail_errno(err, path);
		(void)close(dir.fd);
		return r;
	}
	while (errno = 0, (de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		r = purge_child(t, &dir, de->d_name, todo, err);
		if (r < 0)
			return r;
	}
	return errno != 0 ? fail_errno(err, path) : 0;
}

/* Leave only what this layer has written below path; once is enough, for
 * nothing lower can come back there. */
static int
purge(struct tar_tree *t, const char *top, size_t len, struct imgd_error **err)
{
	struct strbuf todo = STRBUF_INIT;
	char path[LIMIT_PATH_BYTES + 1];
	int r;

	tree_forget_dir(t);
	r = push(&todo, top, len, err);
	while (r >= 0 && pop(&todo, path)) {
		r = path_set_add(&t->set, TAG_PURGED, path, strlen(path), err);
		if (r > 0)
			r = purge_dir(t, path, &todo, err);
	}
	strbuf_done(&todo);
	return r;
}

/* ---- markers ---- */

static int
set_opaque(struct tar_tree *t, int fd, struct imgd_error **err)
{
	if (t->params->whiteouts == IMGD_WH_AUFS)
		return make_empty_file(fd, AUFS_OPAQUE, err);
	return meta_set_trusted(t, fd, "trusted.overlay.opaque", "y", 1, err);
}

int
whiteout_mark_opaque(struct tar_tree *t, int fd, const char *path, size_t len,
    struct imgd_error **err)
{
	int r;

	if (!t->is_own)
		return 0;
	r = tree_tag(t, TAG_PURGED, path, len, err);
	return r < 0 ? r : set_opaque(t, fd, err);
}

int
whiteout_unmark(struct tar_tree *t, struct tar_dir *dir, const char *name,
    const char *path, size_t len, struct imgd_error **err)
{
	char marker[NAME_MAX + 8];
	struct stat st;

	if (!t->has_whiteouts || !tree_has(t, TAG_WHITEOUT, path, len))
		return 0;
	aufs_marker(marker, name);
	if (t->params->whiteouts == IMGD_WH_OVERLAY) {
		if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !is_overlay_marker(&st))
			return 0;
		memcpy(marker, name, strlen(name) + 1);
	}
	if (unlinkat(dir->fd, marker, 0) < 0)
		return errno == ENOENT ? 0 : fail_errno(err, marker);
	return 1;
}

static int
mark(struct tar_tree *t, struct tar_dir *dir, const char *name,
    const char *path, size_t len, struct imgd_error **err)
{
	char marker[NAME_MAX + 8];
	int r;

	t->has_whiteouts = true;
	if ((r = tree_tag(t, TAG_WHITEOUT, path, len, err)) < 0 ||
	    (r = spool_whiteout(t, path, err)) < 0)
		return r;
	if (t->params->whiteouts == IMGD_WH_AUFS) {
		aufs_marker(marker, name);
		return make_empty_file(dir->fd, marker, err);
	}
	if (mknodat(dir->fd, name, S_IFCHR, makedev(0, 0)) < 0)
		return fail_errno(err, path);
	return 0;
}

/* ---- whiteouts ---- */

/* A directory that this layer has, or that holds something it has. */
static int
whiteout_dir(struct tar_tree *t, struct tar_dir *dir, const char *name,
    const char *path, size_t len, bool is_lower, struct imgd_error **err)
{
	cleanup_close int fd = fs_open_dir(dir->fd, name, err);
	int r = 0;

	if (fd < 0)
		return fd;
	if (is_lower)
		r = meta_reset(t, fd, path, err);
	if (r < 0)
		return r;
	if (t->is_own && !tree_has(t, TAG_PURGED, path, len))
		r = set_opaque(t, fd, err);
	return r < 0 ? r : purge(t, path, len, err);
}

static int
whiteout_full(struct tar_tree *t, struct tar_dir *dir, const char *name,
    const char *path, size_t len, const struct stat *st,
    struct imgd_error **err)
{
	const bool is_written = tree_has(t, TAG_WRITTEN, path, len);

	if (S_ISDIR(st->st_mode) &&
	    (is_written || tree_has(t, TAG_HOLDS, path, len)))
		return whiteout_dir(t, dir, name, path, len,
		    /* is_lower= */ !is_written, err);
	if (is_written)
		return 0;
	tree_forget_dir(t);
	return fs_remove_tree(dir->fd, name, err);
}

static int
whiteout_own(struct tar_tree *t, struct tar_dir *dir, const char *name,
    const char *path, size_t len, const struct stat *st,
    struct imgd_error **err)
{
	cleanup_close int lower_fd = -EBADF;
	bool is_copied;
	int r;

	if (st != NULL) {
		is_copied = tree_is_copied(t, path, len);
		if (tree_is_whited_out(t, dir, name, st))
			return 0;
		if (S_ISDIR(st->st_mode) &&
		    (!is_copied || tree_has(t, TAG_HOLDS, path, len)))
			return whiteout_dir(t, dir, name, path, len,
			    /* is_lower= */ is_copied, err);
		if (!is_copied)
			return 0;
		tree_forget_dir(t);
		r = fs_remove_tree(dir->fd, name, err);
		return r < 0 ? r : mark(t, dir, name, path, len, err);
	}
	/* Whether the parent has it is asked at the end, when waiting for the
	 * parent costs nothing. */
	return mark(t, dir, name, path, len, err);
}

int
whiteout_name(struct tar_tree *t, struct tar_dir *dir, const char *name,
    struct imgd_error **err)
{
	char path[LIMIT_PATH_BYTES + 1];
	struct stat st;
	bool is_there;
	size_t len;
	int r;

	r = tree_join(dir, name, path, &len, err);
	if (r < 0)
		return r;
	is_there = fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!is_there && errno != ENOENT)
		return fail_errno(err, path);
	if (t->is_own)
		return whiteout_own(t, dir, name, path, len,
		    is_there ? &st : NULL, err);
	return is_there ?
	    whiteout_full(t, dir, name, path, len, &st, err) : 0;
}

/* Overlayfs does not look at the opaque mark of a layer's root: hide each
 * name of the parent's root instead. */
static int
hide_root(struct tar_tree *t, struct imgd_error **err)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	int fd, r;

	if (t->has_hidden_root)
		return 0;
	t->has_hidden_root = true;
	r = tree_lower_dir(t, "", 0, &fd, err);
	if (r <= 0)
		return r;
	d = fdopendir(fd);
	if (d == NULL) {
		r = fail_errno(err, "parent layer");
		(void)close(fd);
		return r;
	}
	while (errno = 0, (de = readdir(d)) != NULL) {
		struct tar_dir *root;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if ((r = tree_dir(t, "", 0, /* create= */ false, &root, err)) <
			0 ||
		    (r = whiteout_name(t, root, de->d_name, err)) < 0)
			return r;
	}
	return errno != 0 ? fail_errno(err, "parent layer") : 0;
}

int
whiteout_opaque(struct tar_tree *t, const struct tar_dir *dir,
    struct imgd_error **err)
{
	char path[LIMIT_PATH_BYTES + 1];
	int r;

	memcpy(path, dir->path, dir->len + 1);
	if (tree_has(t, TAG_PURGED, path, dir->len))
		return 0;
	if (t->is_own && dir->len == 0)
		return hide_root(t, err);
	if (t->is_own) {
		r = set_opaque(t, dir->fd, err);
		if (r < 0)
			return r;
	}
	return purge(t, path, dir->len, err);
}

/* ---- making room ---- */

/* Whether the file at path has a body in this layer's tar. */
static bool
is_ours(const struct tar_tree *t, const char *path, size_t len)
{
	if (t->is_full)
		return tree_has(t, TAG_WRITTEN, path, len);
	return !tree_is_copied(t, path, len);
}

static int
save_lost(struct tar_tree *t, int dir_fd, const char *name, const char *path,
    size_t len, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;

	if (!is_ours(t, path, len))
		return 0;
	fd = openat(dir_fd, name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, path);
	return recipe_lost(t->recipe, path, fd, err);
}

/* Save the bodies of all files below path before it is removed. */
static int
save_lost_tree(struct tar_tree *t, const char *top, size_t top_len,
    struct imgd_error **err)
{
	struct strbuf todo = STRBUF_INIT;
	char path[LIMIT_PATH_BYTES + 1];
	int r = push(&todo, top, top_len, err);

	while (r >= 0 && pop(&todo, path)) {
		struct tar_dir dir = { .len = strlen(path) };
		cleanup_closedir DIR *d = NULL;
		struct dirent *de;

		memcpy(dir.path, path, dir.len + 1);
		dir.fd = tree_open(t->root_fd, path);
		if (dir.fd < 0 || (d = fdopendir(dir.fd)) == NULL) {
			r = fail_errno(err, path);
			break;
		}
		while (r >= 0 && (errno = 0, (de = readdir(d)) != NULL)) {
			struct stat st;
			size_t len;

			if (strcmp(de->d_name, ".") == 0 ||
			    strcmp(de->d_name, "..") == 0)
				continue;
			r = tree_join(&dir, de->d_name, path, &len, err);
			if (r < 0)
				break;
			if (fstatat(dir.fd, de->d_name, &st,
				AT_SYMLINK_NOFOLLOW) < 0)
				r = fail_errno(err, path);
			else if (S_ISREG(st.st_mode) && st.st_size > 0)
				r = save_lost(t, dir.fd, de->d_name, path, len,
				    err);
			else if (S_ISDIR(st.st_mode) &&
			    (!t->is_full ||
				tree_has(t, TAG_HOLDS, path, len)))
				r = push(&todo, path, len, err);
		}
	}
	strbuf_done(&todo);
	return r;
}

int
whiteout_clear(struct tar_tree *t, struct tar_dir *dir, const char *name,
    bool for_dir, bool *ret_is_dir, bool *ret_hid, struct imgd_error **err)
{
	char path[LIMIT_PATH_BYTES + 1];
	struct stat st;
	size_t len;
	int r;

	*ret_is_dir = *ret_hid = false;
	r = tree_join(dir, name, path, &len, err);
	if (r < 0)
		return r;
	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail_errno(err, path);
	if (S_ISDIR(st.st_mode) && for_dir) {
		*ret_is_dir = true;
		return 0;
	}
	*ret_hid = !S_ISDIR(st.st_mode);
	if (S_ISREG(st.st_mode) && st.st_size > 0)
		r = save_lost(t, dir->fd, name, path, len, err);
	else if (S_ISDIR(st.st_mode))
		r = save_lost_tree(t, path, len, err);
	if (r < 0)
		return r;
	if (S_ISREG(st.st_mode)) {
		if (unlinkat(dir->fd, name, 0) < 0)
			return fail_errno(err, path);
		return 0;
	}
	/* dir itself stays, but it may have been found by way of this. */
	tree_forget_dir(t);
	return fs_remove_tree(dir->fd, name, err);
}
