/* The layer that makes one directory tree out of another. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

#define MAX_LINKED 4096
#define MAX_BYTES  (64u << 20)
#define MAX_XATTRS 16

struct linked {
	ino_t ino;
	char *path;
};

struct diff {
	struct strbuf *tar;
	struct linked linked[MAX_LINKED]; /* of the new tree, by first name */
	size_t n_linked;
};

static void
read_xattrs(int fd, const char *name, struct tar_item *i,
    struct tar_xattr xattrs[MAX_XATTRS], char list[4096], char values[8192])
{
	char path[300], *attr;
	ssize_t n, k;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
	n = llistxattr(path, list, 4096);
	for (attr = list; n > 0 && attr < list + n; attr += strlen(attr) + 1) {
		if (str_starts(attr, "security.selinux"))
			continue;
		expect(i->n_xattrs < MAX_XATTRS);
		k = lgetxattr(path, attr, values, 512);
		expect(k >= 0);
		xattrs[i->n_xattrs++] = (struct tar_xattr) { attr, values,
			(size_t)k };
		values += 512;
	}
	i->xattrs = xattrs;
}

static char
type_of(mode_t mode)
{
	return S_ISREG(mode) ? '0'
	    : S_ISLNK(mode)  ? '2'
	    : S_ISCHR(mode)  ? '3'
	    : S_ISBLK(mode)  ? '4'
	    : S_ISDIR(mode)  ? '5'
	    : S_ISFIFO(mode) ? '6'
			     : '\0';
}

/* Where an inode of several names was met first; NULL: here. */
static const char *
first_name(struct diff *d, const struct stat *st, const char *path)
{
	size_t i;

	if (S_ISDIR(st->st_mode) || st->st_nlink == 1)
		return NULL;
	for (i = 0; i < d->n_linked; i++)
		if (d->linked[i].ino == st->st_ino)
			return d->linked[i].path;
	expect(d->n_linked < MAX_LINKED);
	d->linked[d->n_linked].ino = st->st_ino;
	d->linked[d->n_linked].path = strdup(path);
	expect(d->linked[d->n_linked++].path != NULL);
	return NULL;
}

static void
emit(struct diff *d, int fd, const char *name, const char *path,
    const struct stat *st, const char *link)
{
	struct tar_item i = {
		.name = path,
		.type = link != NULL ? '1' : type_of(st->st_mode),
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim.tv_sec,
		.nsec = st->st_mtim.tv_nsec,
		.link = link,
		.rdev = st->st_rdev,
	};
	struct tar_xattr xattrs[MAX_XATTRS];
	char list[4096], values[512 * MAX_XATTRS], target[4096] = "";
	cleanup_free char *data = NULL;

	if (i.type == '\0')
		return;
	read_xattrs(fd, name, &i, xattrs, list, values);
	if (i.type == '2') {
		expect(readlinkat(fd, name, target, sizeof(target) - 1) > 0);
		i.link = target;
	}
	if (i.type == '0')
		ok(fs_read_file(fd, name, MAX_BYTES, &data, &i.len, &ok_err));
	i.data = data;
	tar_put(d->tar, &i);
}

static bool
same_xattrs(int old_fd, int new_fd, const char *name)
{
	char paths[2][300], lists[2][4096], values[2][512], *a;
	const int fds[2] = { old_fd, new_fd };
	ssize_t n[2];
	int i;

	for (i = 0; i < 2; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]),
		    "/proc/self/fd/%d/%s", fds[i], name);
		n[i] = llistxattr(paths[i], lists[i], sizeof(lists[i]));
	}
	if (n[0] != n[1])
		return false;
	for (a = lists[0]; n[0] > 0 && a < lists[0] + n[0];
	    a += strlen(a) + 1) {
		ssize_t k = lgetxattr(paths[0], a, values[0], 512);

		if (k < 0 || lgetxattr(paths[1], a, values[1], 512) != k ||
		    memcmp(values[0], values[1], (size_t)k) != 0)
			return false;
	}
	return true;
}

/* Whether old has the same under that name; directories without content. */
static bool
is_unchanged(int old_fd, int new_fd, const char *name, const struct stat *st)
{
	struct stat old;

	if (old_fd < 0 ||
	    fstatat(old_fd, name, &old, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (old.st_mode & S_IFMT) != (st->st_mode & S_IFMT))
		return false;
	if (S_ISDIR(st->st_mode)) {
		/* A time alone is what changed entries within leave. */
		cleanup_close int a = open_dir_at(old_fd, name);
		cleanup_close int b = open_dir_at(new_fd, name);
		struct stat x, y;

		sys(fstat(a, &x));
		sys(fstat(b, &y));
		return x.st_mode == y.st_mode && x.st_uid == y.st_uid &&
		    x.st_gid == y.st_gid &&
		    x.st_mtim.tv_sec == y.st_mtim.tv_sec &&
		    x.st_mtim.tv_nsec == y.st_mtim.tv_nsec &&
		    same_xattrs(old_fd, new_fd, name);
	}
	return same_xattrs(old_fd, new_fd, name) &&
	    old.st_mode == st->st_mode && old.st_uid == st->st_uid &&
	    old.st_gid == st->st_gid && old.st_size == st->st_size &&
	    old.st_rdev == st->st_rdev && old.st_nlink == st->st_nlink &&
	    old.st_mtim.tv_sec == st->st_mtim.tv_sec &&
	    old.st_mtim.tv_nsec == st->st_mtim.tv_nsec;
}

static void walk(struct diff *d, int old_fd, int new_fd, const char *prefix);

static void
walk_dir(struct diff *d, int old_fd, int new_fd, const char *name,
    const char *path)
{
	cleanup_close int new_dir = open_dir_at(new_fd, name);
	cleanup_close int old_dir = -EBADF;
	cleanup_free char *prefix = NULL;

	if (old_fd >= 0)
		old_dir = openat(old_fd, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	expect(asprintf(&prefix, "%s/", path) > 0);
	walk(d, old_dir, new_dir, prefix);
}

static void
walk_entry(struct diff *d, int old_fd, int new_fd, const char *name,
    const char *path)
{
	struct stat st;
	const char *link;

	sys(fstatat(new_fd, name, &st, AT_SYMLINK_NOFOLLOW));
	link = first_name(d, &st, path);
	if (!is_unchanged(old_fd, new_fd, name, &st))
		emit(d, new_fd, name, path, &st, link);
	if (S_ISDIR(st.st_mode))
		walk_dir(d, old_fd, new_fd, name, path);
}

static int
is_name(const struct dirent *de)
{
	return strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0;
}

/* Call for each name of fd, sorted. */
static void
walk(struct diff *d, int old_fd, int new_fd, const char *prefix)
{
	struct dirent **list = NULL;
	cleanup_free char *path = NULL;
	int n, i;

	n = old_fd < 0 ? 0
		       : scandirat(old_fd, ".", &list, is_name, alphasort);
	for (i = 0; i < n; i++) {
		struct stat st;

		if (fstatat(new_fd, list[i]->d_name, &st,
			AT_SYMLINK_NOFOLLOW) < 0) {
			free(path);
			expect(asprintf(&path, "%s.wh.%s", prefix,
				   list[i]->d_name) > 0);
			tar_mark(d->tar, path);
		}
		free(list[i]);
	}
	free(list);
	list = NULL;
	n = scandirat(new_fd, ".", &list, is_name, alphasort);
	expect(n >= 0);
	for (i = 0; i < n; i++) {
		free(path);
		expect(asprintf(&path, "%s%s", prefix, list[i]->d_name) > 0);
		walk_entry(d, old_fd, new_fd, list[i]->d_name, path);
		free(list[i]);
	}
	free(list);
}

void
tar_of_changes(struct strbuf *tar, int old_fd, int new_fd)
{
	struct diff *d = calloc(1, sizeof(*d));
	struct stat st;
	size_t i;

	expect(d != NULL);
	d->tar = tar;
	sys(fstat(new_fd, &st));
	if (old_fd < 0 || !is_unchanged(old_fd, new_fd, ".", &st))
		emit(d, new_fd, ".", "./", &st, NULL);
	walk(d, old_fd, new_fd, "");
	for (i = 0; i < d->n_linked; i++)
		free(d->linked[i].path);
	free(d);
	tar_end(tar);
}
