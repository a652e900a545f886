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

#include "core/tree-diff.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

/* Directories further up than this are closed, and opened again for what is
 * left in them: descriptors are few, depth is not. */
#define MAX_OPEN_LEVELS 64
#define COMPARE_BYTES   (64u << 10)

enum side { OLD, NEW, OWN, N_SIDES };

struct names {
	char **list; /* owned */
	size_t n, size;
};

/* A directory that is being compared. */
struct level {
	int fds[N_SIDES];     /* owned; -EBADF: closed or not there */
	bool has[N_SIDES];    /* which sides there are */
	struct names names;   /* what to look at */
	size_t next;
	size_t path_len;      /* of its path within walk.path */
	bool is_told;
};

struct walk {
	const struct tree_diff *params;
	struct level *levels; /* owned; the first is the root */
	size_t depth, size;
	struct strbuf path;   /* "" or "/a/b" */
	char *buf[2];         /* owned, COMPARE_BYTES each */
	char *list[2];        /* owned, XATTR_LIST_MAX each */
};

static int
fail(struct walk *w, const char *what, struct imgd_error **err)
{
	int e = errno;

	return imgd_error_set(err, e, "%s %s: %s", what,
	    w->path.len > 0 ? w->path.data : "/", strerror(e));
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static void
names_done(struct names *names)
{
	size_t i;

	for (i = 0; i < names->n; i++)
		free(names->list[i]);
	free(names->list);
}

static void
level_done(struct level *l)
{
	int side;

	for (side = 0; side < N_SIDES; side++)
		close_fd(&l->fds[side]);
	names_done(&l->names);
}

static void
walk_done(struct walk *w)
{
	int i;

	while (w->depth > 0)
		level_done(&w->levels[--w->depth]);
	free(w->levels);
	strbuf_done(&w->path);
	for (i = 0; i < 2; i++) {
		free(w->buf[i]);
		free(w->list[i]);
	}
}

/* ---- telling ---- */

static int
tell(struct walk *w, size_t path_len, int kind)
{
	char saved = w->path.data[path_len];
	int r;

	w->path.data[path_len] = '\0';
	r = w->params->cb(w->params->ctx, path_len > 0 ? w->path.data : "/",
	    kind);
	w->path.data[path_len] = saved;
	return r;
}

/* The current path changed, and so did what it lies in. */
static int
tell_change(struct walk *w, int kind)
{
	size_t i;
	int r = 0;

	for (i = 1; i < w->depth && r == 0; i++) {
		struct level *l = &w->levels[i];

		if (!l->is_told)
			r = tell(w, l->path_len, IMGD_CHANGE_MODIFY);
		l->is_told = true;
	}
	return r != 0 ? r : tell(w, w->path.len, kind);
}

/* ---- comparing two of one name ---- */

static bool
attr_counts(const struct walk *w, const char *name)
{
	if (w->params->is_raw && (strcmp(name, "trusted.overlay.opaque") == 0 ||
				     strcmp(name, "user.overlay.opaque") == 0))
		return true;
	return !fs_attr_is_stacking(name) &&
	    strcmp(name, "security.selinux") != 0;
}

static size_t
count_attrs(const struct walk *w, const char *list, ssize_t len)
{
	const char *a;
	size_t n = 0;

	for (a = list; a < list + len; a += strlen(a) + 1)
		n += attr_counts(w, a);
	return n;
}

/* Whether all xattrs are equal: 1, 0 or < 0. */
static int
same_xattrs(struct walk *w, const char *const paths[2],
    struct imgd_error **err)
{
	ssize_t len[2];
	const char *a;
	int i;

	for (i = 0; i < 2; i++) {
		len[i] = llistxattr(paths[i], w->list[i], XATTR_LIST_MAX);
		if (len[i] < 0 && errno != EOPNOTSUPP && errno != ENOENT)
			return fail(w, "list xattrs of", err);
		if (len[i] < 0)
			len[i] = 0;
	}
	if (count_attrs(w, w->list[0], len[0]) !=
	    count_attrs(w, w->list[1], len[1]))
		return 0;
	for (a = w->list[0]; a < w->list[0] + len[0]; a += strlen(a) + 1) {
		ssize_t n[2];

		if (!attr_counts(w, a))
			continue;
		for (i = 0; i < 2; i++) {
			n[i] = lgetxattr(paths[i], a, w->buf[i],
			    COMPARE_BYTES);
			if (n[i] < 0 && errno != ENODATA && errno != ENOENT)
				return fail(w, "read xattrs of", err);
		}
		if (n[0] != n[1] ||
		    (n[0] > 0 &&
			memcmp(w->buf[0], w->buf[1], (size_t)n[0]) != 0))
			return 0;
	}
	return 1;
}

static int
same_bytes(struct walk *w, const int fds[2], struct imgd_error **err)
{
	off_t pos = 0;

	for (;;) {
		ssize_t n[2];
		int i;

		for (i = 0; i < 2; i++) {
			do {
				n[i] = pread(fds[i], w->buf[i], COMPARE_BYTES,
				    pos);
			} while (n[i] < 0 && errno == EINTR);
			if (n[i] < 0)
				return fail(w, "read", err);
		}
		if (n[0] != n[1] ||
		    memcmp(w->buf[0], w->buf[1], (size_t)n[0]) != 0)
			return 0;
		if (n[0] == 0)
			return 1;
		pos += n[0];
		if (w->params->cancelled != NULL &&
		    w->params->cancelled(w->params->ctx) != 0)
			return imgd_error_set(err, ECANCELED, "cancelled");
	}
}

static int
same_content(struct walk *w, const int dirs[2], const char *name,
    struct imgd_error **err)
{
	int fds[2], i, r;

	for (i = 0; i < 2; i++)
		fds[i] = openat(dirs[i], name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fds[0] >= 0 && fds[1] >= 0)
		r = same_bytes(w, fds, err);
	else if (errno == ENOENT || errno == ELOOP)
		r = 0;
	else
		r = fail(w, "open", err);
	close_fd(&fds[0]);
	close_fd(&fds[1]);
	return r;
}

static int
same_target(struct walk *w, const int dirs[2], const char *name)
{
	ssize_t n[2];
	int i;

	for (i = 0; i < 2; i++)
		n[i] = readlinkat(dirs[i], name, w->buf[i], COMPARE_BYTES);
	return n[0] == n[1] && n[0] > 0 &&
	    memcmp(w->buf[0], w->buf[1], (size_t)n[0]) == 0;
}

static bool
same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Whether what stat tells is equal, as far as it counts. */
static bool
same_stat(const struct stat *a, const struct stat *b)
{
	if (a->st_mode != b->st_mode || a->st_uid != b->st_uid ||
	    a->st_gid != b->st_gid)
		return false;
	if (S_ISDIR(a->st_mode))
		return true;
	if (!same_time(&a->st_mtim, &b->st_mtim))
		return false;
	if (S_ISREG(a->st_mode))
		return a->st_size == b->st_size;
	return (!S_ISBLK(a->st_mode) && !S_ISCHR(a->st_mode)) ||
	    a->st_rdev == b->st_rdev;
}

/* Whether it only says that something is gone: all else about it is whatever
 * it came to be made with. */
static bool
is_marker(const struct walk *w, const char *name, const struct stat *st)
{
	return w->params->is_raw &&
	    ((S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0)) ||
		(S_ISREG(st->st_mode) && str_starts(name, ".wh.")));
}

/* Whether name is unchanged: 1, 0 or < 0.  name "." is the level itself. */
static int
is_same(struct walk *w, const int dirs[2], const char *name,
    const struct stat *old, const struct stat *new, struct imgd_error **err)
{
	char fd_path[32], paths[2][NAME_MAX + 40];
	const char *const p[2] = { paths[0], paths[1] };
	int i, r;

	if (is_marker(w, name, old) && is_marker(w, name, new))
		return 1;
	if (!same_stat(old, new))
		return 0;
	if (!S_ISDIR(new->st_mode) && old->st_ino == new->st_ino &&
	    same_time(&old->st_ctim, &new->st_ctim))
		return 1;
	/* l*xattr calls know no directory descriptors. */
	for (i = 0; i < 2; i++)
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/%s",
		    fs_fd_path(dirs[i], fd_path), name);
	r = same_xattrs(w, p, err);
	if (r > 0 && S_ISLNK(new->st_mode))
		return same_target(w, dirs, name);
	if (r > 0 && S_ISREG(new->st_mode))
		return same_content(w, dirs, name, err);
	return r;
}

/* ---- which names to look at ---- */

static int
add_name(struct names *names, const char *name, struct imgd_error **err)
{
	if (names->n == names->size) {
		size_t size = names->size > 0 ? 2 * names->size : 16;
		char **list = reallocarray(names->list, size, sizeof(*list));

		if (list == NULL)
			return no_memory(err);
		names->list = list;
		names->size = size;
	}
	names->list[names->n] = strdup(name);
	if (names->list[names->n] == NULL)
		return no_memory(err);
	names->n++;
	return 0;
}

/* The name that an entry of own_fd speaks of; NULL: none. */
static const char *
spoken_of(const struct walk *w, const char *name)
{
	if (w->params->whiteouts != IMGD_WH_AUFS || !str_starts(name, ".wh."))
		return name;
	return str_starts(name, ".wh..wh.") ? NULL : name + 4;
}

static int
read_names(struct walk *w, int fd, bool is_own, struct names *names,
    struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int copy, r = 0;

	copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0 || (dir = fdopendir(copy)) == NULL) {
		r = fail(w, "open", err);
		cleanup_closep(&copy);
		return r;
	}
	while (r >= 0 && (errno = 0, de = readdir(dir)) != NULL) {
		const char *name = de->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (is_own)
			name = spoken_of(w, name);
		if (name != NULL)
			r = add_name(names, name, err);
	}
	if (r >= 0 && errno != 0)
		r = fail(w, "read", err);
	return r;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sort, and leave each name once. */
static void
sort_names(struct names *names)
{
	size_t from, to = 0;

	if (names->n == 0)
		return;
	qsort(names->list, names->n, sizeof(*names->list), compare_names);
	for (from = 1; from < names->n; from++) {
		if (strcmp(names->list[to], names->list[from]) == 0)
			free(names->list[from]);
		else
			names->list[++to] = names->list[from];
	}
	names->n = to + 1;
}

/* Whether nothing of the lower layers shows in a directory of own_fd. */
static bool
is_opaque(const struct walk *w, int own_fd)
{
	char value[2];

	if (w->params->whiteouts == IMGD_WH_AUFS)
		return faccessat(own_fd, ".wh..wh..opq", F_OK,
			   AT_SYMLINK_NOFOLLOW) == 0;
	return (fgetxattr(own_fd, "trusted.overlay.opaque", value,
		    sizeof(value)) == 1 ||
		   fgetxattr(own_fd, "user.overlay.opaque", value,
		       sizeof(value)) == 1) &&
	    value[0] == 'y';
}

static int
fill_level(struct walk *w, struct level *l, struct imgd_error **err)
{
	int r = 0;

	/* Own changes steer only while the lower layers show through. */
	if (l->has[OWN] && (!l->has[OLD] || is_opaque(w, l->fds[OWN]))) {
		close_fd(&l->fds[OWN]);
		l->has[OWN] = false;
	}
	if (l->has[OWN]) {
		r = read_names(w, l->fds[OWN], /* is_own= */ true, &l->names,
		    err);
	} else {
		if (l->has[OLD])
			r = read_names(w, l->fds[OLD], false, &l->names, err);
		if (r >= 0)
			r = read_names(w, l->fds[NEW], false, &l->names, err);
	}
	sort_names(&l->names);
	return r;
}

/* ---- levels ---- */

static int
open_dir(int dir_fd, const char *name)
{
	return openat(dir_fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
grow(struct walk *w, struct imgd_error **err)
{
	size_t size = w->size > 0 ? 2 * w->size : 16;
	struct level *levels;

	if (w->depth < w->size)
		return 0;
	levels = reallocarray(w->levels, size, sizeof(*levels));
	if (levels == NULL)
		return no_memory(err);
	w->levels = levels;
	w->size = size;
	return 0;
}

static void
close_far_level(struct walk *w)
{
	int side;

	if (w->depth <= MAX_OPEN_LEVELS)
		return;
	for (side = 0; side < N_SIDES; side++)
		close_fd(&w->levels[w->depth - MAX_OPEN_LEVELS].fds[side]);
}

/* Go into the directory that path ends with.  Takes fds.  Returns < 0 or 0;
 * what is gone meanwhile is not gone into. */
static int
push(struct walk *w, int fds[N_SIDES], bool is_told, struct imgd_error **err)
{
	struct level *l;
	int side, r = grow(w, err);

	if (r >= 0) {
		l = &w->levels[w->depth++];
		*l = (struct level) {
			.path_len = w->path.len,
			.is_told = is_told,
		};
		for (side = 0; side < N_SIDES; side++) {
			l->fds[side] = take_fd(&fds[side]);
			l->has[side] = l->fds[side] >= 0;
		}
		close_far_level(w);
		r = fill_level(w, l, err);
	}
	for (side = 0; side < N_SIDES; side++)
		close_fd(&fds[side]);
	return r;
}

/* Open side of the level at path again, component by component. */
static int
reopen(struct walk *w, int root_fd, struct imgd_error **err)
{
	cleanup_close int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
	cleanup_free char *copy = strdup(w->path.data);
	char *save = NULL, *name;

	if (copy == NULL)
		return no_memory(err);
	for (name = strtok_r(copy, "/", &save); fd >= 0 && name != NULL;
	    name = strtok_r(NULL, "/", &save)) {
		int next = open_dir(fd, name);

		close_fd(&fd);
		fd = next;
	}
	return fd < 0 ? fail(w, "open", err) : take_fd(&fd);
}

/* Give the level on top its descriptors again after those below it.
 * 1: the directory is gone. */
static int
refresh(struct walk *w, struct level *l, struct imgd_error **err)
{
	const int roots[N_SIDES] = { w->params->old_fd, w->params->new_fd,
		w->params->own_fd };
	cleanup_error struct imgd_error *e = NULL;
	int side, r;

	for (side = 0; side < N_SIDES; side++) {
		if (!l->has[side] || l->fds[side] >= 0)
			continue;
		r = l->fds[side] = reopen(w, roots[side], &e);
		if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
			return 1;
		if (r < 0)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(e));
	}
	return 0;
}

/* ---- the walk ---- */

static int
stat_side(struct walk *w, const struct level *l, enum side side,
    const char *name, struct stat *st, struct imgd_error **err)
{
	if (!l->has[side])
		return 0;
	if (fstatat(l->fds[side], name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : fail(w, "stat", err);
}

/* Into a directory of the new tree; the old one may have none of the name. */
static int
descend(struct walk *w, const struct level *l, const char *name,
    bool has_old, bool is_told, struct imgd_error **err)
{
	int fds[N_SIDES] = { -EBADF, -EBADF, -EBADF };

	fds[NEW] = open_dir(l->fds[NEW], name);
	if (fds[NEW] < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
		    ? 0
		    : fail(w, "open", err);
	if (has_old) {
		fds[OLD] = open_dir(l->fds[OLD], name);
		if (fds[OLD] < 0) {
			close_fd(&fds[NEW]);
			return fail(w, "open", err);
		}
	}
	if (l->has[OWN])
		fds[OWN] = open_dir(l->fds[OWN], name);
	return push(w, fds, is_told, err);
}

static int
visit(struct walk *w, const char *name, struct imgd_error **err)
{
	struct level *l = &w->levels[w->depth - 1];
	const int dirs[2] = { l->fds[OLD], l->fds[NEW] };
	struct stat old = { 0 }, new = { 0 };
	bool has_old, is_told = true;
	int r;

	r = stat_side(w, l, OLD, name, &old, err);
	has_old = r > 0;
	if (r >= 0)
		r = stat_side(w, l, NEW, name, &new, err);
	if (r < 0)
		return r;
	if (r == 0)
		return has_old ? tell_change(w, IMGD_CHANGE_DELETE) : 0;
	if (!has_old) {
		r = tell_change(w, IMGD_CHANGE_ADD);
	} else {
		r = is_same(w, dirs, name, &old, &new, err);
		is_told = r == 0;
		if (r == 0)
			r = tell_change(w, IMGD_CHANGE_MODIFY);
		else if (r > 0)
			r = 0;
	}
	if (r != 0 || !S_ISDIR(new.st_mode))
		return r;
	return descend(w, l, name, has_old && S_ISDIR(old.st_mode), is_told,
	    err);
}

static int
walk_all(struct walk *w, struct imgd_error **err)
{
	int r = 0;

	while (r == 0 && w->depth > 0) {
		struct level *l = &w->levels[w->depth - 1];
		const char *name;

		strbuf_truncate(&w->path, l->path_len);
		if (w->params->cancelled != NULL &&
		    w->params->cancelled(w->params->ctx) != 0)
			return imgd_error_set(err, ECANCELED, "cancelled");
		r = l->next == l->names.n ? 1 : refresh(w, l, err);
		if (r < 0)
			return r;
		if (r > 0) {
			level_done(l);
			w->depth--;
			r = 0;
			continue;
		}
		name = l->names.list[l->next++];
		strbuf_putc(&w->path, '/');
		strbuf_puts(&w->path, name);
		if (w->path.is_failed)
			return no_memory(err);
		r = visit(w, name, err);
	}
	return r;
}

static int
compare_roots(struct walk *w, struct imgd_error **err)
{
	const int dirs[2] = { w->params->old_fd, w->params->new_fd };
	struct stat old, new;
	int r;

	if (w->params->old_fd < 0)
		return 0;
	if (fstat(dirs[0], &old) < 0 || fstat(dirs[1], &new) < 0)
		return fail(w, "stat", err);
	r = is_same(w, dirs, ".", &old, &new, err);
	return r == 0 ? tell(w, 0, IMGD_CHANGE_MODIFY) : r < 0 ? r : 0;
}

int
tree_diff(const struct tree_diff *params, struct imgd_error **err)
{
	cleanup(walk_done) struct walk w = { .params = params,
		.path = STRBUF_INIT };
	int fds[N_SIDES] = { -EBADF, -EBADF, -EBADF };
	int i, r;

	for (i = 0; i < 2; i++) {
		w.buf[i] = malloc(COMPARE_BYTES);
		w.list[i] = malloc(XATTR_LIST_MAX);
		if (w.buf[i] == NULL || w.list[i] == NULL)
			return no_memory(err);
	}
	strbuf_puts(&w.path, "");
	if (w.path.is_failed)
		return no_memory(err);
	r = compare_roots(&w, err);
	if (r != 0)
		return r;
	fds[NEW] = open_dir(params->new_fd, ".");
	if (params->old_fd >= 0)
		fds[OLD] = open_dir(params->old_fd, ".");
	if (params->own_fd >= 0)
		fds[OWN] = open_dir(params->own_fd, ".");
	r = push(&w, fds, /* is_told= */ true, err);
	return r < 0 ? r : walk_all(&w, err);
}
