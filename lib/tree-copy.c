#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tree-copy.h"

/* How much is copied between two polls of cancelled. */
#define CHUNK_BYTES (8u << 20)
#define BUF_BYTES   (128u << 10)

/* A directory that is being walked. */
struct frame {
	struct stat st;  /* of the source */
	ino_t dst_inode; /* 0 when nothing is copied */
	char **names;    /* owned: subdirectories, in the order found */
	size_t n_names;
	size_t next;
};

struct walk {
	int src_fd;   /* owned: the directory being walked */
	int dst_fd;   /* owned; -EBADF: only read */
	int links_fd; /* borrowed; names of files with several links */
	int (*cancelled)(void);
	struct frame *stack; /* owned */
	size_t depth;
	size_t size;
	char *buf;         /* owned, BUF_BYTES */
	char *list;        /* owned, XATTR_LIST_MAX */
	char *value;       /* owned, XATTR_SIZE_MAX */
	bool no_clone;     /* FICLONE does not work here */
	bool no_range;     /* nor copy_file_range */
	bool skip_overlay; /* leave overlayfs's own xattrs out */
};

static void
frame_done(struct frame *f)
{
	size_t i;

	for (i = f->next; i < f->n_names; i++)
		free(f->names[i]);
	free(f->names);
}

static void
walk_done(struct walk *w)
{
	while (w->depth > 0)
		frame_done(&w->stack[--w->depth]);
	free(w->stack);
	free(w->buf);
	free(w->list);
	free(w->value);
	close_fd(&w->src_fd);
	close_fd(&w->dst_fd);
}

static int
fail(struct imgd_error **err, const char *what, const char *name)
{
	int e = errno;

	return imgd_error_set(err, e, "%s %s: %s", what, name, strerror(e));
}

static int
poll_cancelled(struct walk *w, struct imgd_error **err)
{
	if (w->cancelled != NULL && w->cancelled() != 0)
		return imgd_error_set(err, ECANCELED, "cancelled");
	return 0;
}

/* "/proc/self/fd/N/NAME": l*xattr calls know no directory descriptors. */
static void
xattr_path(char *buf, size_t size, int fd, const char *name)
{
	char fd_path[32];

	(void)snprintf(buf, size, "%s/%s", fs_fd_path(fd, fd_path), name);
}

/* Copy the xattrs of name, or read them when nothing is copied. */
static int
copy_xattrs(struct walk *w, const char *name, struct imgd_error **err)
{
	char from[NAME_MAX + 40], to[NAME_MAX + 40];
	const char *attr;
	ssize_t len;

	xattr_path(from, sizeof(from), w->src_fd, name);
	xattr_path(to, sizeof(to), w->dst_fd, name);
	len = llistxattr(from, w->list, XATTR_LIST_MAX);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 :
		    fail(err, "list xattrs of", name);
	for (attr = w->list; attr < w->list + len; attr += strlen(attr) + 1) {
		ssize_t n;

		if (w->skip_overlay && (str_starts(attr, "trusted.overlay.") ||
		    str_starts(attr, "user.overlay.")))
			continue;
		n = lgetxattr(from, attr, w->value, XATTR_SIZE_MAX);
		if (n < 0)
			return imgd_error_set(err, errno,
			    "read xattr %s of %s: %s", attr, name,
			    strerror(errno));
		if (w->dst_fd < 0 ||
		    lsetxattr(to, attr, w->value, (size_t)n, 0) == 0)
			continue;
		/* A label is the host policy's business, and it may refuse. */
		if (strcmp(attr, "security.selinux") == 0)
			continue;
		return imgd_error_set(err, errno, "set xattr %s of %s: %s",
		    attr, name, strerror(errno));
	}
	return 0;
}

/* Owner, xattrs, mode, times, in this order: chown clears setuid bits and
 * capabilities, and everything changes times. */
static int
copy_attrs(struct walk *w, const char *name, const struct stat *st,
    struct imgd_error **err)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r;

	if (w->dst_fd < 0)
		return copy_xattrs(w, name, err);
	if (fchownat(w->dst_fd, name, st->st_uid, st->st_gid,
	    AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, "chown", name);
	r = copy_xattrs(w, name, err);
	if (r < 0)
		return r;
	if (!S_ISLNK(st->st_mode) &&
	    fchmodat(w->dst_fd, name, st->st_mode & 07777, 0) < 0)
		return fail(err, "chmod", name);
	if (utimensat(w->dst_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, "set times of", name);
	return 0;
}

/* Open a source file or directory without touching its access time, where
 * that is allowed. */
static int
open_source(int dir_fd, const char *name, int flags)
{
	int fd;

	flags |= O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
	fd = openat(dir_fd, name, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(dir_fd, name, flags);
	return fd;
}

/* Copy len bytes at pos through memory; less if the file ends before. */
static int
copy_bytes(struct walk *w, int from, int to, off_t pos, off_t len,
    const char *name, struct imgd_error **err)
{
	while (len > 0) {
		size_t want = len < (off_t)BUF_BYTES ? (size_t)len : BUF_BYTES;
		ssize_t n = pread(from, w->buf, want, pos), done = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(err, "read", name);
		if (n == 0)
			return 0;
		while (to >= 0 && done < n) {
			ssize_t m = pwrite(to, w->buf + done,
			    (size_t)(n - done), pos + done);

			if (m < 0 && errno != EINTR)
				return fail(err, "write", name);
			done += m > 0 ? m : 0;
		}
		pos += n;
		len -= n;
		if (poll_cancelled(w, err) < 0)
			return -ECANCELED;
	}
	return 0;
}

/* Copy one stretch of data. */
static int
copy_extent(struct walk *w, int from, int to, off_t pos, off_t len,
    const char *name, struct imgd_error **err)
{
	while (len > 0 && to >= 0 && !w->no_range) {
		off_t in = pos, out = pos;
		size_t want = len < (off_t)CHUNK_BYTES ? (size_t)len :
		    CHUNK_BYTES;
		ssize_t n = copy_file_range(from, &in, to, &out, want, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EXDEV || errno == ENOSYS ||
		    errno == EOPNOTSUPP || errno == EINVAL)) {
			w->no_range = true;
			break;
		}
		if (n < 0)
			return fail(err, "copy", name);
		/* Some filesystems return 0 before the end: read instead. */
		if (n == 0)
			break;
		pos += n;
		len -= n;
		if (poll_cancelled(w, err) < 0)
			return -ECANCELED;
	}
	return copy_bytes(w, from, to, pos, len, name, err);
}

/* Copy, or read, what is in a file, hole by hole. */
static int
copy_content(struct walk *w, int from, int to, off_t size, const char *name,
    struct imgd_error **err)
{
	off_t pos = 0, end;
	int r;

	if (to >= 0 && size > 0 && !w->no_clone) {
		if (ioctl(to, FICLONE, from) == 0)
			return 0;
		if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
			return fail(err, "clone", name);
		w->no_clone = true;
	}
	if (to >= 0 && ftruncate(to, size) < 0)
		return fail(err, "write", name);
	while (pos < size) {
		pos = lseek(from, pos, SEEK_DATA);
		if (pos < 0 && errno == ENXIO)
			return 0;
		if (pos < 0)
			return fail(err, "read", name);
		end = lseek(from, pos, SEEK_HOLE);
		if (end < 0)
			return fail(err, "read", name);
		r = copy_extent(w, from, to, pos, end - pos, name, err);
		if (r < 0)
			return r;
		pos = end;
	}
	return 0;
}

static int
copy_regular(struct walk *w, const char *name, const struct stat *st,
    struct imgd_error **err)
{
	cleanup_close int from = -EBADF, to = -EBADF;

	from = open_source(w->src_fd, name, 0);
	if (from < 0)
		return fail(err, "open", name);
	if (w->dst_fd >= 0) {
		to = openat(w->dst_fd, name, O_WRONLY | O_CREAT | O_EXCL |
		    O_NOFOLLOW | O_CLOEXEC, 0600);
		if (to < 0)
			return fail(err, "make", name);
	}
	return copy_content(w, from, to, st->st_size, name, err);
}

static int
copy_symlink(struct walk *w, const char *name, struct imgd_error **err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(w->src_fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return fail(err, "read link", name);
	target[n] = '\0';
	if (w->dst_fd >= 0 && symlinkat(target, w->dst_fd, name) < 0)
		return fail(err, "make link", name);
	return 0;
}

/* The name under which links_fd keeps a file with several links. */
static void
link_name(char buf[48], const struct stat *st)
{
	(void)snprintf(buf, 48, "%jx", (uintmax_t)st->st_ino);
}

/* Make name one more link of a file copied before: 1 if it is one, else 0. */
static int
copy_hard_link(struct walk *w, const char *name, const struct stat *st,
    struct imgd_error **err)
{
	char kept[48];

	link_name(kept, st);
	if (linkat(w->links_fd, kept, w->dst_fd, name, 0) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	/* The kept name is one more than the filesystem allows; then this is
	 * the last link, and takes its place. */
	if (errno == EMLINK &&
	    renameat(w->links_fd, kept, w->dst_fd, name) == 0)
		return 1;
	return fail(err, "link", name);
}

/* Anything but a directory. */
static int
copy_entry(struct walk *w, const char *name, struct imgd_error **err)
{
	bool has_links;
	struct stat st;
	char kept[48];
	int r;

	if (fstatat(w->src_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, "stat", name);
	has_links = st.st_nlink > 1 && w->dst_fd >= 0;
	if (has_links) {
		r = copy_hard_link(w, name, &st, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	if (S_ISREG(st.st_mode))
		r = copy_regular(w, name, &st, err);
	else if (S_ISLNK(st.st_mode))
		r = copy_symlink(w, name, err);
	else if (w->dst_fd >= 0 && mknodat(w->dst_fd, name,
	    (st.st_mode & S_IFMT) | 0600, st.st_rdev) < 0)
		r = fail(err, "make node", name);
	else
		r = 0;
	if (r == 0)
		r = copy_attrs(w, name, &st, err);
	if (r < 0 || !has_links)
		return r;
	link_name(kept, &st);
	if (linkat(w->dst_fd, name, w->links_fd, kept, 0) < 0)
		return fail(err, "link", name);
	return 0;
}

/* Remember a subdirectory for later. */
static int
push_name(struct frame *f, size_t *size, const char *name,
    struct imgd_error **err)
{
	if (f->n_names == *size) {
		size_t n = *size > 0 ? 2 * *size : 8;
		char **p = reallocarray(f->names, n, sizeof(*p));

		if (p == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		f->names = p;
		*size = n;
	}
	f->names[f->n_names] = strdup(name);
	if (f->names[f->n_names] == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->n_names++;
	return 0;
}

static bool
is_directory(int dir_fd, const struct dirent *de)
{
	struct stat st;

	if (de->d_type != DT_UNKNOWN)
		return de->d_type == DT_DIR;
	return fstatat(dir_fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode);
}

/* Copy what the current directory holds; gather its subdirectories. */
static int
copy_entries(struct walk *w, struct frame *f, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	size_t size = 0;
	int fd, r;

	fd = open_source(w->src_fd, ".", O_DIRECTORY);
	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		r = fail(err, "open", "directory");
		cleanup_closep(&fd);
		return r;
	}
	while (errno = 0, (de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		r = poll_cancelled(w, err);
		if (r == 0)
			r = is_directory(w->src_fd, de) ?
			    push_name(f, &size, de->d_name, err) :
			    copy_entry(w, de->d_name, err);
		if (r < 0)
			return r;
	}
	return errno != 0 ? fail(err, "read", "directory") : 0;
}

/* Begin the directory that src_fd and dst_fd are open on. */
static int
enter(struct walk *w, struct imgd_error **err)
{
	struct frame *f;
	struct stat st;

	if (w->depth == w->size) {
		size_t n = w->size > 0 ? 2 * w->size : 32;

		f = reallocarray(w->stack, n, sizeof(*f));
		if (f == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		w->stack = f;
		w->size = n;
	}
	f = &w->stack[w->depth];
	*f = (struct frame){ .names = NULL };
	if (fstat(w->src_fd, &f->st) < 0)
		return fail(err, "stat", "directory");
	if (w->dst_fd >= 0) {
		if (fstat(w->dst_fd, &st) < 0)
			return fail(err, "stat", "directory");
		f->dst_inode = st.st_ino;
	}
	w->depth++;
	return copy_entries(w, f, err);
}

/* Go into the subdirectory name, made in the copy. */
static int
descend(struct walk *w, const char *name, struct imgd_error **err)
{
	cleanup_close int src_fd = -EBADF, dst_fd = -EBADF;

	src_fd = open_source(w->src_fd, name, O_DIRECTORY);
	if (src_fd < 0)
		return fail(err, "open", name);
	if (w->dst_fd >= 0) {
		dst_fd = fs_make_open_dir(w->dst_fd, name, 0700, err);
		if (dst_fd < 0)
			return dst_fd;
		close_fd(&w->dst_fd);
		w->dst_fd = take_fd(&dst_fd);
	}
	close_fd(&w->src_fd);
	w->src_fd = take_fd(&src_fd);
	return enter(w, err);
}

/* Replace *fd by its parent directory, which must be the inode we came from:
 * a directory moved meanwhile must not lead us astray. */
static int
open_parent(int *fd, ino_t inode, struct imgd_error **err)
{
	cleanup_close int up_fd = -EBADF;
	struct stat st;

	up_fd = openat(*fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (up_fd < 0 || fstat(up_fd, &st) < 0)
		return fail(err, "open", "parent directory");
	if (st.st_ino != inode)
		return imgd_error_set(err, ESTALE,
		    "the tree was changed while it was copied");
	close_fd(fd);
	*fd = take_fd(&up_fd);
	return 0;
}

/* End the current directory: its attributes now, when nothing below changes
 * its times any more, then up. */
static int
leave(struct walk *w, struct imgd_error **err)
{
	struct frame *f = &w->stack[w->depth - 1];
	int r = copy_attrs(w, ".", &f->st, err);

	if (r < 0)
		return r;
	frame_done(f);
	w->depth--;
	if (w->depth == 0)
		return 0;
	f = &w->stack[w->depth - 1];
	r = open_parent(&w->src_fd, f->st.st_ino, err);
	if (r == 0 && w->dst_fd >= 0)
		r = open_parent(&w->dst_fd, f->dst_inode, err);
	return r;
}

/* Where a failed walk stands, for its message: the names of the last
 * directories, since a whole path may be too long to print. */
static int
prefix_place(struct walk *w, int r, struct imgd_error **err)
{
	char *path = NULL;

	if (r != -ECANCELED && w->src_fd >= 0 && w->depth > 1 &&
	    fs_real_path(w->src_fd, &path, NULL) == 0)
		(void)imgd_error_prefix(err, "%s", path);
	free(path);
	return r;
}

static int
walk_tree(struct walk *w, int src_fd, int dst_fd, struct imgd_error **err)
{
	int r;

	w->buf = malloc(BUF_BYTES);
	w->list = malloc(XATTR_LIST_MAX);
	w->value = malloc(XATTR_SIZE_MAX);
	if (w->buf == NULL || w->list == NULL || w->value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	w->src_fd = fcntl(src_fd, F_DUPFD_CLOEXEC, 3);
	if (w->src_fd < 0)
		return fail(err, "open", "directory");
	if (dst_fd >= 0) {
		w->dst_fd = fcntl(dst_fd, F_DUPFD_CLOEXEC, 3);
		if (w->dst_fd < 0)
			return fail(err, "open", "directory");
	}
	r = enter(w, err);
	while (r == 0 && w->depth > 0) {
		struct frame *f = &w->stack[w->depth - 1];
		char *name;

		if (f->next == f->n_names) {
			r = leave(w, err);
			continue;
		}
		name = f->names[f->next++];
		r = descend(w, name, err);
		free(name);
	}
	return r < 0 ? prefix_place(w, r, err) : 0;
}

int
tree_copy(int src_fd, int dst_fd, int links_fd, int (*cancelled)(void),
    struct imgd_error **err)
{
	cleanup(walk_done) struct walk w = { .src_fd = -EBADF,
		.dst_fd = -EBADF, .links_fd = links_fd,
		.cancelled = cancelled };

	return walk_tree(&w, src_fd, dst_fd, err);
}

int
tree_read(int dir_fd, int (*cancelled)(void), struct imgd_error **err)
{
	cleanup(walk_done) struct walk w = { .src_fd = -EBADF,
		.dst_fd = -EBADF, .links_fd = -EBADF,
		.cancelled = cancelled };

	return walk_tree(&w, dir_fd, /* dst_fd= */ -EBADF, err);
}

int
tree_copy_dir_attrs(int src_fd, int dst_fd, struct imgd_error **err)
{
	cleanup(walk_done) struct walk w = { .src_fd = -EBADF,
		.dst_fd = -EBADF, .links_fd = -EBADF, .skip_overlay = true };
	struct stat st;

	w.list = malloc(XATTR_LIST_MAX);
	w.value = malloc(XATTR_SIZE_MAX);
	w.src_fd = fcntl(src_fd, F_DUPFD_CLOEXEC, 3);
	w.dst_fd = fcntl(dst_fd, F_DUPFD_CLOEXEC, 3);
	if (w.list == NULL || w.value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (w.src_fd < 0 || w.dst_fd < 0 || fstat(w.src_fd, &st) < 0)
		return fail(err, "stat", "directory");
	return copy_attrs(&w, ".", &st, err);
}
