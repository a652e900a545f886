#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tar-tree.h"

#define MAX_LINKS 40 /* as the kernel's */
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int
tree_new(const struct tar_unpack *params, struct recipe_writer *recipe,
    struct tar_tree **ret, struct imgd_error **err)
{
	cleanup(tree_freep) struct tar_tree *t = calloc(1, sizeof(*t));
	const struct timespec zero = { 0 };
	int r;

	if (t == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	t->params = params;
	t->recipe = recipe;
	t->root_fd = params->root_fd;
	t->spool.fd = params->spool_fd;
	t->parent_fd = t->plnk_fd = t->dir.fd = -EBADF;
	t->is_own = !params->is_base && params->whiteouts != IMGD_WH_DELETE;
	t->is_full = !params->is_base && params->whiteouts == IMGD_WH_DELETE;
	r = path_set_init(&t->set, err);
	if (r < 0)
		return r;
	/* Trees are the same whenever they are unpacked. */
	if (params->is_base && (r = spool_time(t, "", &zero, err)) < 0)
		return r;
	*ret = take_ptr(&t);
	return 0;
}

void
tree_free(struct tar_tree *t)
{
	if (t == NULL)
		return;
	close_fd(&t->dir.fd);
	close_fd(&t->plnk_fd);
	path_set_done(&t->set);
	free(t);
}

int
tree_tag(struct tar_tree *t, char tag, const char *path, size_t len,
    struct imgd_error **err)
{
	int r = path_set_add(&t->set, tag, path, len, err);

	return r < 0 ? r : 0;
}

bool
tree_is_copied(const struct tar_tree *t, const char *path, size_t len)
{
	return t->has_copies && tree_has(t, TAG_COPIED, path, len) &&
	    !tree_has(t, TAG_EXPLICIT, path, len);
}

int
tree_wrote(struct tar_tree *t, const char *path, size_t len,
    struct imgd_error **err)
{
	if (t->is_full)
		return tree_tag(t, TAG_WRITTEN, path, len, err);
	if (tree_is_copied(t, path, len))
		return tree_tag(t, TAG_EXPLICIT, path, len, err);
	return 0;
}

int
tree_join(const struct tar_dir *dir, const char *name,
    char buf[LIMIT_PATH_BYTES + 1], size_t *ret_len, struct imgd_error **err)
{
	const size_t name_len = strlen(name);
	size_t len = dir->len;

	if (len + 1 + name_len > LIMIT_PATH_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "its path in the tree exceeds %d bytes", LIMIT_PATH_BYTES);
	memcpy(buf, dir->path, len);
	if (len > 0)
		buf[len++] = '/';
	memcpy(buf + len, name, name_len + 1);
	*ret_len = len + name_len;
	return 0;
}

int
tree_open(int root_fd, const char *path)
{
	return beneath_open(root_fd, *path == '\0' ? "." : path, O_DIRECTORY);
}

int
tree_parent(struct tar_tree *t, bool for_root, struct imgd_error **err)
{
	int r;

	if (t->parent_fd >= 0)
		return t->parent_fd;
	if (t->params->need_parent == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "the parent layer is needed and cannot be had");
	r = t->params->need_parent(t->params->ctx, for_root, &t->parent_fd,
	    err);
	return r < 0 ? r : t->parent_fd;
}

/* Whether this layer hides what the parent has below path. */
static bool
is_below_opaque(const struct tar_tree *t, const char *path, size_t len)
{
	size_t i;

	if (tree_has(t, TAG_PURGED, "", 0))
		return true;
	for (i = 1; i <= len; i++)
		if ((i == len || path[i] == '/') &&
		    tree_has(t, TAG_PURGED, path, i))
			return true;
	return false;
}

int
tree_lower_dir(struct tar_tree *t, const char *path, size_t len, int *ret_fd,
    struct imgd_error **err)
{
	int fd;

	if (!t->is_own || is_below_opaque(t, path, len))
		return 0;
	fd = tree_parent(t, /* for_root= */ false, err);
	if (fd < 0)
		return fd;
	fd = tree_open(fd, path);
	if (tree_is_absent(fd))
		return 0;
	if (fd < 0)
		return imgd_error_set(err, -fd, "parent layer: %s: %s", path,
		    strerror(-fd));
	*ret_fd = fd;
	return 1;
}

bool
tree_is_whited_out(const struct tar_tree *t, const struct tar_dir *dir,
    const char *name, const struct stat *st)
{
	char marker[NAME_MAX + 8];

	if (!t->has_whiteouts)
		return false;
	if (t->params->whiteouts == IMGD_WH_OVERLAY)
		return st != NULL && S_ISCHR(st->st_mode) &&
		    st->st_rdev == makedev(0, 0);
	/* No name so long can have a marker. */
	if (st != NULL || strlen(name) > NAME_MAX - 4)
		return false;
	memcpy(marker, ".wh.", 4);
	memcpy(marker + 4, name, strlen(name) + 1);
	return faccessat(dir->fd, marker, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- walking ---- */

/* A walk in progress: dir is where it stands, todo what is left of the way. */
struct walk {
	struct tar_tree *tree;
	struct tar_dir *dir;
	bool create;
	int n_links;
	size_t at; /* in todo */
	char todo[2 * LIMIT_PATH_BYTES + 2];
};

static int
fail(struct imgd_error **err, const char *path, const char *what)
{
	return imgd_error_set(err, IMGD_E_FORMAT, "%s %s", path, what);
}

/* A directory is about to change that a copy of the parent has: its time is
 * put back at the end, unless an entry says otherwise. */
static int
keep_time(struct tar_tree *t, const struct tar_dir *dir,
    struct imgd_error **err)
{
	struct stat st;
	int r;

	if (!t->is_full)
		return 0;
	r = path_set_add(&t->set, TAG_TIMED, dir->path, dir->len, err);
	if (r <= 0)
		return r;
	if (fstat(dir->fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", dir->path,
		    strerror(errno));
	return spool_time(t, dir->path, &st.st_mtim, err);
}

static int
move_to(struct walk *w, int fd, const char *name, struct imgd_error **err)
{
	char path[LIMIT_PATH_BYTES + 1];
	size_t len;
	int r = tree_join(w->dir, name, path, &len, err);

	if (r < 0) {
		(void)close(fd);
		return r;
	}
	memcpy(w->dir->path, path, len + 1);
	w->dir->len = len;
	close_fd(&w->dir->fd);
	w->dir->fd = fd;
	return 1;
}

static int
move_to_root(struct walk *w, struct imgd_error **err)
{
	int fd = fcntl(w->tree->root_fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return imgd_error_set(err, errno, "root: %s", strerror(errno));
	close_fd(&w->dir->fd);
	w->dir->fd = fd;
	w->dir->len = 0;
	w->dir->path[0] = '\0';
	return 0;
}

/* "..": never above the root, as with chroot. */
static int
move_up(struct walk *w, struct imgd_error **err)
{
	char *slash = strrchr(w->dir->path, '/');
	int fd;

	w->dir->len = slash == NULL ? 0 : (size_t)(slash - w->dir->path);
	w->dir->path[w->dir->len] = '\0';
	fd = tree_open(w->tree->root_fd, w->dir->path);
	if (fd < 0)
		return imgd_error_set(err, -fd, "%s: %s", w->dir->path,
		    strerror(-fd));
	close_fd(&w->dir->fd);
	w->dir->fd = fd;
	return 1;
}

/* name in dir_fd is a link: its target comes before the rest of the way. */
static int
follow(struct walk *w, int dir_fd, const char *name, struct imgd_error **err)
{
	char target[LIMIT_PATH_BYTES + 1];
	size_t rest = strlen(w->todo + w->at);
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));

	if (n < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	if (++w->n_links > MAX_LINKS)
		return fail(err, name, "leads through too many links");
	if ((size_t)n == sizeof(target) ||
	    (size_t)n + 1 + rest >= sizeof(w->todo))
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "the way to it exceeds %d bytes", LIMIT_PATH_BYTES);
	memmove(w->todo + n + 1, w->todo + w->at, rest + 1);
	memcpy(w->todo, target, (size_t)n);
	w->todo[n] = '/';
	w->at = 0;
	if (n == 0 || target[0] != '/')
		return 1;
	n = move_to_root(w, err);
	return n < 0 ? (int)n : 1;
}

/* Make a directory that no layer describes. */
static int
invent(struct walk *w, const char *name, bool is_hidden,
    struct imgd_error **err)
{
	const struct timespec zero = { 0 };
	struct tar_tree *t = w->tree;
	char path[LIMIT_PATH_BYTES + 1];
	size_t len;
	int fd, r;

	if ((r = tree_join(w->dir, name, path, &len, err)) < 0 ||
	    (r = keep_time(t, w->dir, err)) < 0)
		return r;
	if (is_hidden &&
	    (r = whiteout_unmark(t, w->dir, name, path, len, err)) < 0)
		return r;
	fd = fs_make_open_dir(w->dir->fd, name, 0755, err);
	if (fd < 0)
		return fd;
	r = move_to(w, fd, name, err);
	if (r < 0)
		return r;
	if (is_hidden &&
	    (r = whiteout_mark_opaque(t, fd, path, len, err)) < 0)
		return r;
	if (fchown(fd, 0, 0) < 0 && errno != EPERM)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	(void)fremovexattr(fd, "system.posix_acl_default");
	(void)fremovexattr(fd, "system.posix_acl_access");
	if (fchmod(fd, 0755) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	if (t->is_full &&
	    ((r = tree_tag(t, TAG_WRITTEN, path, len, err)) < 0 ||
		(r = tree_tag(t, TAG_TIMED, path, len, err)) < 0))
		return r;
	r = spool_time(t, path, &zero, err);
	return r < 0 ? r : 1;
}

/* Copy the parent's directory, without its content. */
static int
copy_dir(struct walk *w, int lower_fd, const char *name,
    struct imgd_error **err)
{
	struct tar_tree *t = w->tree;
	cleanup_close int from_fd = openat(lower_fd, name, DIR_FLAGS);
	struct tar_object from = { .fd = from_fd, .type = S_IFDIR };
	struct tar_object to = { .type = S_IFDIR };
	struct stat st;
	int r;

	if (from_fd < 0)
		return imgd_error_set(err, errno, "parent layer: %s: %s", name,
		    strerror(errno));
	to.fd = fs_make_open_dir(w->dir->fd, name, 0700, err);
	if (to.fd < 0)
		return to.fd;
	if ((r = move_to(w, to.fd, name, err)) < 0 ||
	    (r = meta_copy(t, &from, &to, &st, err)) < 0 ||
	    (r = spool_time(t, w->dir->path, &st.st_mtim, err)) < 0)
		return r;
	t->has_copies = true;
	r = tree_tag(t, TAG_COPIED, w->dir->path, w->dir->len, err);
	return r < 0 ? r : 1;
}

/* This layer has nothing called name: look at the parent's tree. */
static int
step_lower(struct walk *w, const char *name, bool is_hidden,
    struct imgd_error **err)
{
	cleanup_close int lower_fd = -EBADF;
	struct stat st;
	int r = 0;

	if (!is_hidden) {
		r = tree_lower_dir(w->tree, w->dir->path, w->dir->len,
		    &lower_fd, err);
		if (r < 0)
			return r;
	}
	if (r > 0 &&
	    fstatat(lower_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return copy_dir(w, lower_fd, name, err);
		if (S_ISLNK(st.st_mode))
			return follow(w, lower_fd, name, err);
		return fail(err, name, "is no directory in the parent layer");
	}
	return w->create ? invent(w, name, is_hidden, err) : 0;
}

/* One step down to name: 1, or 0 if it is not there. */
static int
step(struct walk *w, const char *name, struct imgd_error **err)
{
	const struct tar_tree *t = w->tree;
	struct stat st;
	int fd = openat(w->dir->fd, name, DIR_FLAGS);

	if (fd >= 0)
		return move_to(w, fd, name, err);
	if (errno == ENOENT)
		return step_lower(w, name,
		    tree_is_whited_out(t, w->dir, name, NULL), err);
	if (errno != ENOTDIR && errno != ELOOP)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	if (fstatat(w->dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	if (S_ISLNK(st.st_mode))
		return follow(w, w->dir->fd, name, err);
	if (tree_is_whited_out(t, w->dir, name, &st))
		return step_lower(w, name, /* is_hidden= */ true, err);
	return w->create ? fail(err, name, "is no directory") : 0;
}

/* Walk along the cleaned name: 1, or 0 if the way ends early. */
static int
walk(struct tar_tree *t, const char *name, size_t len, bool create,
    struct tar_dir *dir, struct imgd_error **err)
{
	struct walk w = { .tree = t, .dir = dir, .create = create };
	char part[NAME_MAX + 1];
	int r;

	memcpy(w.todo, name, len);
	w.todo[len] = '\0';
	r = move_to_root(&w, err);
	if (r < 0)
		return r;
	for (;;) {
		size_t n;

		w.at += strspn(w.todo + w.at, "/");
		n = strcspn(w.todo + w.at, "/");
		if (n == 0)
			return 1;
		if (n > NAME_MAX)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "a name on the way exceeds %d bytes", NAME_MAX);
		memcpy(part, w.todo + w.at, n);
		part[n] = '\0';
		w.at += n;
		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0)
			r = move_up(&w, err);
		else if (str_starts(part, ".wh."))
			r = fail(err, part, "is no directory's name");
		else
			r = step(&w, part, err);
		if (r <= 0)
			return r;
	}
}

static int
find(struct tar_tree *t, const char *name, size_t len, bool create,
    struct tar_dir *dir, struct imgd_error **err)
{
	char path[LIMIT_PATH_BYTES + 1];
	struct stat st;
	int r, fd;

	memcpy(path, name, len);
	path[len] = '\0';
	close_fd(&dir->fd);
	fd = tree_open(t->root_fd, path);
	if (fd >= 0) {
		dir->fd = fd;
		dir->len = len;
		memcpy(dir->path, path, len + 1);
	} else {
		r = walk(t, name, len, create, dir, err);
		if (r <= 0) {
			close_fd(&dir->fd);
			return r;
		}
	}
	if (fstat(dir->fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	dir->gid = st.st_gid;
	dir->holds = false;
	dir->has_default_acl = fgetxattr(dir->fd, "system.posix_acl_default",
	    NULL, 0) > 0;
	return 1;
}

int
tree_find_dir(struct tar_tree *t, const char *name, size_t len,
    struct tar_dir *dir, struct imgd_error **err)
{
	dir->fd = -EBADF;
	return find(t, name, len, /* create= */ false, dir, err);
}

void
tree_forget_dir(struct tar_tree *t)
{
	t->has_dir = false;
}

int
tree_dir(struct tar_tree *t, const char *name, size_t len, bool create,
    struct tar_dir **ret, struct imgd_error **err)
{
	int r;

	if (!t->has_dir || t->dir_name_len != len ||
	    memcmp(t->dir_name, name, len) != 0) {
		t->has_dir = false;
		r = find(t, name, len, create, &t->dir, err);
		if (r == 0)
			*ret = NULL;
		if (r <= 0)
			return r;
		r = keep_time(t, &t->dir, err);
		if (r < 0)
			return r;
		memcpy(t->dir_name, name, len);
		t->dir_name_len = len;
		t->has_dir = true;
	}
	*ret = &t->dir;
	return 0;
}

int
tree_holds(struct tar_tree *t, struct tar_dir *dir, struct imgd_error **err)
{
	size_t len = dir->len;
	int r;

	if (dir->holds || t->params->is_base)
		return 0;
	while (len > 0) {
		r = path_set_add(&t->set, TAG_HOLDS, dir->path, len, err);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		while (len > 0 && dir->path[--len] != '/')
			;
	}
	dir->holds = true;
	return 0;
}

/* Overlayfs and aufs show the topmost layer's root: give it the parent's
 * metadata unless this layer had an entry for it. */
static int
finish_root(struct tar_tree *t, struct imgd_error **err)
{
	struct tar_object from = { .type = S_IFDIR };
	struct tar_object to = { .fd = t->root_fd, .type = S_IFDIR };
	struct stat st;
	int r;

	if (!t->is_own || t->has_root_entry)
		return 0;
	from.fd = tree_parent(t, /* for_root= */ true, err);
	if (from.fd < 0)
		return from.fd;
	r = meta_copy(t, &from, &to, &st, err);
	return r < 0 ? r : spool_time(t, "", &st.st_mtim, err);
}

int
tree_finish(struct tar_tree *t, struct imgd_error **err)
{
	int r;

	if (t->plnk_fd >= 0 &&
	    (r = fs_remove_tree(t->root_fd, TREE_PLNK_DIR, err)) < 0)
		return r;
	if ((r = spool_finish_whiteouts(t, err)) < 0 ||
	    (r = finish_root(t, err)) < 0)
		return r;
	return spool_finish_times(t, err);
}
