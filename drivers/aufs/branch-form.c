#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "drivers/aufs/branch-form.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

#define PREFIX     ".wh."
#define OPAQUE     ".wh..wh..opq"
#define FUSE_OPQ   ".wh..opq" /* a device; as a file it hides ".opq" */

/* A directory being walked. */
struct frame {
	char **names; /* owned: subdirectories still to be visited */
	size_t n;
	struct stat st;
};

/* Down by name, up by ".." checked against the inode that was left: one
 * descriptor, whatever the depth. */
struct walk {
	int fd; /* owned */
	struct frame *stack; /* owned */
	size_t depth;
	char *list; /* owned, XATTR_LIST_MAX */
};

static void
walk_done(struct walk *w)
{
	while (w->depth > 0) {
		struct frame *f = &w->stack[--w->depth];

		str_list_free(f->names, f->n);
	}
	free(w->stack);
	free(w->list);
	close_fd(&w->fd);
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static int
fail(struct imgd_error **err, const char *what, const char *name)
{
	int e = errno;

	return imgd_error_set(err, e, "%s %s: %s", what, name, strerror(e));
}

static int
make_empty(int fd, const char *name, struct imgd_error **err)
{
	if (mknodat(fd, name, S_IFREG | 0444, 0) < 0 && errno != EEXIST)
		return fail(err, "make", name);
	return 0;
}

static bool
is_there(int fd, const char *name)
{
	struct stat st;

	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool
is_device_0_0(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* ---- attributes ---- */

/* Drop what fuse-overlayfs keeps in attributes of name, which may be ".".
 * Returns 1 if one of them says that it is opaque. */
static int
drop_attrs(struct walk *w, const char *name, struct imgd_error **err)
{
	char path[NAME_MAX + 40], fd_path[32], value[2];
	const char *attr;
	ssize_t len;
	int found = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", fs_fd_path(w->fd, fd_path),
	    name);
	len = llistxattr(path, w->list, XATTR_LIST_MAX);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 :
		    fail(err, "list xattrs of", name);
	for (attr = w->list; attr < w->list + len; attr += strlen(attr) + 1) {
		if (!fs_attr_is_stacking(attr))
			continue;
		if (str_ends(attr, ".opaque") &&
		    lgetxattr(path, attr, value, sizeof(value)) == 1 &&
		    value[0] == 'y') {
			/* The mark first, then what it stands for. */
			int r = make_empty(w->fd, OPAQUE, err);

			if (r < 0)
				return r;
			found = 1;
		}
		if (lremovexattr(path, attr) < 0)
			return fail(err, "remove xattr of", name);
	}
	return found;
}

/* ---- entries ---- */

static int
device_to_file(int fd, const char *name, struct imgd_error **err)
{
	char marker[NAME_MAX + 8];
	int r;

	if (strcmp(name, FUSE_OPQ) == 0)
		(void)snprintf(marker, sizeof(marker), "%s", OPAQUE);
	else
		(void)snprintf(marker, sizeof(marker), "%s%s", PREFIX, name);
	if (strlen(marker) > NAME_MAX)
		return 0;
	r = make_empty(fd, marker, err);
	if (r == 0 && unlinkat(fd, name, 0) < 0)
		return fail(err, "remove", name);
	return r;
}

/* aufs fails where a name and its whiteout are both there. */
static int
settle_whiteout(int fd, const char *name, const struct stat *st,
    struct imgd_error **err)
{
	cleanup_close int sub_fd = -EBADF;
	char marker[NAME_MAX + 8];
	int r = 0;

	(void)snprintf(marker, sizeof(marker), "%s%s", PREFIX, name);
	if (strlen(marker) > NAME_MAX || !is_there(fd, marker))
		return 0;
	if (S_ISDIR(st->st_mode)) {
		r = sub_fd = fs_open_dir(fd, name, err);
		if (r >= 0)
			r = make_empty(sub_fd, OPAQUE, err);
	}
	if (r >= 0 && unlinkat(fd, marker, 0) < 0)
		return fail(err, "remove", marker);
	return r < 0 ? r : 0;
}

static int
add_name(struct frame *f, const char *name, struct imgd_error **err)
{
	char **list = f->names;

	/* Grown whenever n is a power of two. */
	if ((f->n & (f->n - 1)) == 0) {
		list = reallocarray(f->names, f->n > 0 ? 2 * f->n : 1,
		    sizeof(*list));
		if (list == NULL)
			return no_memory(err);
		f->names = list;
	}
	list[f->n] = strdup(name);
	if (list[f->n] == NULL)
		return no_memory(err);
	f->n++;
	return 0;
}

static int
visit_entry(struct walk *w, struct frame *f, const char *name,
    struct imgd_error **err)
{
	struct stat st;
	int r;

	/* A whiteout may have gone when its name was settled. */
	if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(err, "stat", name);
	if (is_device_0_0(&st))
		return device_to_file(w->fd, name, err);
	if (str_starts(name, PREFIX))
		return 0;
	r = settle_whiteout(w->fd, name, &st, err);
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return add_name(f, name, err);
	r = drop_attrs(w, name, err);
	return r < 0 ? r : 0;
}

/* All names first: what is read while it is changed may show twice or not at
 * all. */
static int
read_names(int fd, struct frame *ret, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int r = 0, copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (copy < 0 || (dir = fdopendir(copy)) == NULL) {
		r = fail(err, "open", ".");
		cleanup_closep(&copy);
		return r;
	}
	while (r == 0 && (errno = 0, de = readdir(dir)) != NULL)
		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0)
			r = add_name(ret, de->d_name, err);
	if (r == 0 && errno != 0)
		r = fail(err, "read", ".");
	return r;
}

/* Give the directory its times back, which the changes in it moved. */
static int
keep_times(int fd, const struct stat *st, struct imgd_error **err)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (futimens(fd, times) < 0)
		return fail(err, "set times of", ".");
	return 0;
}

/* Settle the directory that w->fd is open on; its subdirectories become a
 * frame. */
static int
visit_dir(struct walk *w, struct imgd_error **err)
{
	struct frame all = { .names = NULL }, f = { .names = NULL };
	struct frame *stack;
	size_t i;
	int r = 0;

	stack = reallocarray(w->stack, w->depth + 1, sizeof(*stack));
	if (stack == NULL)
		return no_memory(err);
	w->stack = stack;
	if (fstat(w->fd, &f.st) < 0)
		return fail(err, "stat", ".");
	r = read_names(w->fd, &all, err);
	for (i = 0; r == 0 && i < all.n; i++)
		r = visit_entry(w, &f, all.names[i], err);
	str_list_free(all.names, all.n);
	if (r == 0)
		r = drop_attrs(w, ".", err);
	if (r >= 0)
		r = keep_times(w->fd, &f.st, err);
	/* On the stack even so: the walk's end frees it. */
	w->stack[w->depth++] = f;
	return r;
}

static int
go_down(struct walk *w, const char *name, struct imgd_error **err)
{
	int fd = fs_open_dir(w->fd, name, err);

	if (fd < 0)
		return fd;
	close_fd(&w->fd);
	w->fd = fd;
	return visit_dir(w, err);
}

static int
go_up(struct walk *w, struct imgd_error **err)
{
	struct stat st;
	int fd;

	w->depth--;
	free(w->stack[w->depth].names);
	if (w->depth == 0)
		return 0;
	fd = fs_open_dir(w->fd, "..", err);
	if (fd < 0)
		return fd;
	close_fd(&w->fd);
	w->fd = fd;
	if (fstat(fd, &st) < 0)
		return fail(err, "stat", "..");
	if (st.st_ino != w->stack[w->depth - 1].st.st_ino)
		return imgd_error_set(err, EBUSY,
		    "the layer is changed by something else");
	return 0;
}

int
branch_to_aufs_form(int dir_fd, struct imgd_error **err)
{
	cleanup(walk_done) struct walk w = { .fd = -EBADF };
	int r;

	w.list = malloc(XATTR_LIST_MAX);
	if (w.list == NULL)
		return no_memory(err);
	w.fd = fs_open_dir(dir_fd, ".", err);
	r = w.fd < 0 ? w.fd : visit_dir(&w, err);
	while (r >= 0 && w.depth > 0) {
		struct frame *f = &w.stack[w.depth - 1];

		if (f->n > 0) {
			cleanup_free char *name = f->names[--f->n];

			r = go_down(&w, name, err);
			if (r < 0)
				(void)imgd_error_prefix(err, "%s", name);
		} else
			r = go_up(&w, err);
	}
	return r < 0 ? r : 0;
}
