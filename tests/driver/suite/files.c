/* Files: made, read, compared. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tree-copy.h"
#include "tests/driver/suite/suite.h"

void
put_file(int fd, const char *name, const char *text)
{
	int f = sys(openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
	    0644));

	expect_int(write(f, text, strlen(text)), strlen(text));
	sys(close(f));
}

/* Bytes that only this seed gives. */
static void
fill_bytes(unsigned char *buf, unsigned int seed, size_t len)
{
	uint32_t x = seed * 2654435761u + 1;
	size_t i;

	for (i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		buf[i] = (unsigned char)(x >> 24);
	}
}

void
put_bytes(int fd, const char *name, unsigned int seed, size_t len)
{
	cleanup_free unsigned char *buf = malloc(len);
	int f = sys(openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
	    0644));

	expect(buf != NULL);
	fill_bytes(buf, seed, len);
	ok(fs_write_all(f, buf, len, &ok_err));
	sys(close(f));
}

bool
has_bytes(int fd, const char *name, unsigned int seed, size_t len)
{
	cleanup_free unsigned char *buf = malloc(len);
	cleanup_free char *data = NULL;
	size_t n;

	expect(buf != NULL);
	fill_bytes(buf, seed, len);
	if (fs_read_file(fd, name, len + 1, &data, &n, NULL) < 0)
		return false;
	return n == len && memcmp(data, buf, len) == 0;
}

const char *
get_text(int fd, const char *name)
{
	static char buf[4096];
	int f = openat(fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (f < 0)
		return NULL;
	n = read(f, buf, sizeof(buf) - 1);
	(void)close(f);
	if (n < 0)
		return NULL;
	buf[n] = '\0';
	return buf;
}

bool
is_there(int fd, const char *name)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	if (errno != ENOENT)
		fail("%s: %s, where it should be there or not", name,
		    strerror(errno));
	return false;
}

int
open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	return fd;
}

int
open_dir_at(int fd, const char *name)
{
	return sys(openat(fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

static bool
is_entry(const struct dirent *de)
{
	return strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
	    strcmp(de->d_name, "lost+found") != 0;
}

int
count_entries(int fd)
{
	cleanup_closedir DIR *d = fdopendir(open_dir_at(fd, "."));
	struct dirent *de;
	int n = 0;

	expect(d != NULL);
	while ((de = readdir(d)) != NULL)
		n += is_entry(de);
	return n;
}

void
set_mtime(int fd, const char *name, int64_t s, long ns)
{
	const struct timespec times[2] = { { s, ns }, { s, ns } };

	sys(utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW));
}

static void
name_path(int fd, const char *name, char buf[300])
{
	(void)snprintf(buf, 300, "/proc/self/fd/%d/%s", fd, name);
}

void
set_xattr(int fd, const char *name, const char *attr, const void *value,
    size_t len)
{
	char path[300];

	name_path(fd, name, path);
	sys(lsetxattr(path, attr, value, len, 0));
}

void
remove_tree(int fd, const char *name)
{
	ok(fs_remove_tree(fd, name, &ok_err));
}

int
make_flat(struct store *s, const char *name)
{
	char path[500];

	(void)snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	sys(mkdir(path, 0755));
	return open_dir(path);
}

void
copy_flat(int src_fd, int dir_fd, const char *name)
{
	int dst, links;

	sys(mkdirat(dir_fd, name, 0755));
	sys(mkdirat(dir_fd, ".links", 0700));
	dst = open_dir_at(dir_fd, name);
	links = open_dir_at(dir_fd, ".links");
	ok(tree_copy(src_fd, dst, links, NULL, &ok_err));
	(void)close(dst);
	(void)close(links);
	remove_tree(dir_fd, ".links");
}

/* ---- comparison ---- */

/* A file with several names: where it was met first in both trees. */
struct linked {
	ino_t a, b;
};

struct compare {
	uint32_t flags;
	char path[4200];
	struct linked *linked;
	size_t n_linked, size;
	char difference[4600];
};

static int IMGD_PRINTF(2, 3)
differ(struct compare *c, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(c->difference, sizeof(c->difference), "%s: %s",
	    c->path[0] != '\0' ? c->path : "/", text);
	return -1;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
	char **list;
	size_t n;
};

static void
names_done(struct names *n)
{
	str_list_free(n->list, n->n);
}

static void
names_read(int fd, struct names *ret)
{
	cleanup_closedir DIR *d = fdopendir(open_dir_at(fd, "."));
	struct dirent *de;

	expect(d != NULL);
	while ((de = readdir(d)) != NULL) {
		if (!is_entry(de))
			continue;
		ret->list = reallocarray(ret->list, ret->n + 1,
		    sizeof(*ret->list));
		expect(ret->list != NULL);
		ret->list[ret->n] = strdup(de->d_name);
		expect(ret->list[ret->n++] != NULL);
	}
	if (ret->n > 0)
		qsort(ret->list, ret->n, sizeof(*ret->list), by_name);
}

/* Overlayfs's own marks say how layers stack, not what they hold, and xfs shows
 * ACLs a second time. */
static bool
is_content_attr(const char *attr)
{
	return !str_starts(attr, "trusted.overlay.") &&
	    !str_starts(attr, "trusted.SGI_ACL_") &&
	    !str_starts(attr, "user.overlay.") &&
	    strcmp(attr, "security.selinux") != 0;
}

/* Every attribute of a is b's, too. */
static int
compare_xattrs(struct compare *c, int a, int b, const char *name)
{
	char path_a[300], path_b[300], list[8192], x[8192], y[8192];
	const char *attr;
	ssize_t n, k;

	name_path(a, name, path_a);
	name_path(b, name, path_b);
	n = llistxattr(path_a, list, sizeof(list));
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 :
		    differ(c, "llistxattr: %s", strerror(errno));
	for (attr = list; attr < list + n; attr += strlen(attr) + 1) {
		if (!is_content_attr(attr))
			continue;
		k = lgetxattr(path_a, attr, x, sizeof(x));
		if (k < 0 || lgetxattr(path_b, attr, y, sizeof(y)) != k ||
		    memcmp(x, y, (size_t)k) != 0)
			return differ(c, "attribute %s", attr);
	}
	return 0;
}

static int
compare_links(struct compare *c, const struct stat *a, const struct stat *b)
{
	size_t i;

	if (a->st_nlink == 1 && b->st_nlink == 1)
		return 0;
	for (i = 0; i < c->n_linked; i++)
		if (c->linked[i].a == a->st_ino || c->linked[i].b == b->st_ino)
			return c->linked[i].a == a->st_ino &&
			    c->linked[i].b == b->st_ino
			    ? 0
			    : differ(c, "hard links are grouped otherwise");
	if (c->n_linked == c->size) {
		c->size = c->size == 0 ? 64 : c->size * 2;
		c->linked = reallocarray(c->linked, c->size,
		    sizeof(*c->linked));
		expect(c->linked != NULL);
	}
	c->linked[c->n_linked++] = (struct linked) { a->st_ino, b->st_ino };
	return 0;
}

static int
compare_content(struct compare *c, int a, int b, const char *name)
{
	cleanup_close int fa = openat(a, name, O_RDONLY | O_CLOEXEC);
	cleanup_close int fb = openat(b, name, O_RDONLY | O_CLOEXEC);
	char x[16384], y[16384];

	if (fa < 0 || fb < 0)
		return differ(c, "open: %s", strerror(errno));
	for (;;) {
		ssize_t n = read(fa, x, sizeof(x));

		if (n < 0 || read(fb, y, sizeof(y)) != n ||
		    memcmp(x, y, (size_t)n) != 0)
			return differ(c, "content");
		if (n == 0)
			return 0;
	}
}

static int
compare_stat(struct compare *c, const struct stat *a, const struct stat *b)
{
	if (a->st_mode != b->st_mode)
		return differ(c, "mode %o, not %o", (unsigned int)a->st_mode,
		    (unsigned int)b->st_mode);
	if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		return differ(c, "owner %u:%u, not %u:%u", a->st_uid,
		    a->st_gid, b->st_uid, b->st_gid);
	if ((c->flags & SAME_TIMES) &&
	    (a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
		a->st_mtim.tv_nsec != b->st_mtim.tv_nsec))
		return differ(c, "time %lld.%09ld, not %lld.%09ld",
		    (long long)a->st_mtim.tv_sec, a->st_mtim.tv_nsec,
		    (long long)b->st_mtim.tv_sec, b->st_mtim.tv_nsec);
	if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
		return differ(c, "size %lld, not %lld", (long long)a->st_size,
		    (long long)b->st_size);
	if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) &&
	    a->st_rdev != b->st_rdev)
		return differ(c, "device number");
	return 0;
}

static int
compare_target(struct compare *c, int a, int b, const char *name)
{
	char x[4096], y[4096];
	ssize_t n = readlinkat(a, name, x, sizeof(x));

	if (n < 0 || readlinkat(b, name, y, sizeof(y)) != n ||
	    memcmp(x, y, (size_t)n) != 0)
		return differ(c, "link's target");
	return 0;
}

static int compare_dirs(struct compare *c, int a, int b);

/* One entry that both have; "." is the tree's root. */
static int
compare_entry(struct compare *c, int a, int b, const char *name)
{
	struct stat x, y;

	if (fstatat(a, name, &x, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstatat(b, name, &y, AT_SYMLINK_NOFOLLOW) < 0)
		return differ(c, "stat: %s", strerror(errno));
	if (compare_stat(c, &x, &y) < 0)
		return -1;
	if ((c->flags & SAME_XATTRS) &&
	    (compare_xattrs(c, a, b, name) < 0 ||
		compare_xattrs(c, b, a, name) < 0))
		return -1;
	if (S_ISREG(x.st_mode) && compare_content(c, a, b, name) < 0)
		return -1;
	if (S_ISLNK(x.st_mode) && compare_target(c, a, b, name) < 0)
		return -1;
	if (!S_ISDIR(x.st_mode))
		return compare_links(c, &x, &y);
	if (strcmp(name, ".") == 0)
		return compare_dirs(c, a, b);
	{
		cleanup_close int da = open_dir_at(a, name);
		cleanup_close int db = open_dir_at(b, name);

		return compare_dirs(c, da, db);
	}
}

static int
compare_dirs(struct compare *c, int a, int b)
{
	cleanup(names_done) struct names na = { NULL, 0 };
	cleanup(names_done) struct names nb = { NULL, 0 };
	size_t len = strlen(c->path), i;

	names_read(a, &na);
	names_read(b, &nb);
	for (i = 0; i < na.n || i < nb.n; i++) {
		int k = i == na.n ? 1
		    : i == nb.n	  ? -1
				  : strcmp(na.list[i], nb.list[i]);

		(void)snprintf(c->path + len, sizeof(c->path) - len, "/%s",
		    k > 0 ? nb.list[i] : na.list[i]);
		if (k != 0)
			return differ(c, k > 0 ? "missing"
					       : "should not be there");
		if (compare_entry(c, a, b, na.list[i]) < 0)
			return -1;
		c->path[len] = '\0';
	}
	return 0;
}

const char *
tree_difference(int fd, int wanted_fd, uint32_t flags)
{
	static struct compare c;
	int r;

	memset(&c, 0, sizeof(c));
	c.flags = flags;
	r = compare_entry(&c, fd, wanted_fd, ".");
	free(c.linked);
	return r < 0 ? c.difference : NULL;
}

void
same_tree(const char *file, int line, int fd, int wanted_fd, uint32_t flags,
    const char *what)
{
	const char *difference = tree_difference(fd, wanted_fd, flags);

	if (difference != NULL)
		case_fail(file, line, "%s: %s", what, difference);
}
