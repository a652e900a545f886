#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar-entry.h"

#define BUFFER_BYTES (64u << 10)

/* A file with several names, and the first of them. */
struct group {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct tar_out {
	struct archive *archive;
	struct imgd_sink *sink;
	int result; /* why the sink failed; libarchive cannot carry it */
	struct imgd_error *error;
	void *groups; /* tsearch(3) */
	const char *path; /* of the entry being written */
	char *buf;
};

static la_ssize_t
write_callback(struct archive *a, void *ctx, const void *data, size_t len)
{
	struct tar_out *t = ctx;

	t->result = t->sink->write(t->sink->ctx, data, len, &t->error);
	if (t->result < 0) {
		archive_set_error(a, EIO, "write failed");
		return -1;
	}
	return (la_ssize_t)len;
}

static int
archive_fail(struct tar_out *t, struct imgd_error **err)
{
	const char *text = archive_error_string(t->archive);

	if (t->result < 0) {
		if (err != NULL)
			*err = take_ptr(&t->error);
		return t->result;
	}
	return imgd_error_set(err, EIO, "tar: %s",
	    text != NULL ? text : "it cannot be written");
}

static int
file_fail(const struct tar_out *t, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s", t->path,
	    strerror(errno));
}

/* ---- hard links ---- */

static int
compare_groups(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void
free_group(void *p)
{
	struct group *g = p;

	free(g->path);
	free(g);
}

/* The name under which the file is in the tar already: 1; 0: it is new. */
static int
find_link(struct tar_out *t, const struct stat *st, const char **ret,
    struct imgd_error **err)
{
	struct group *g, **found;

	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return 0;
	g = malloc(sizeof(*g));
	if (g == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*g = (struct group) { st->st_dev, st->st_ino, strdup(t->path) };
	found = g->path != NULL ? tsearch(g, &t->groups, compare_groups)
				: NULL;
	if (found == NULL) {
		free_group(g);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (*found == g)
		return 0;
	free_group(g);
	*ret = (*found)->path;
	return 1;
}

/* ---- one entry ---- */

static ssize_t
list_xattrs(const char *name, int fd, char *buf, size_t size)
{
	return fd >= 0 ? flistxattr(fd, buf, size)
		       : llistxattr(name, buf, size);
}

static bool
is_foreign(const char *attr)
{
	return fs_attr_is_stacking(attr) ||
	    str_starts(attr, "security.selinux");
}

/* Those of fd or, without one, of name in the working directory; what overlayfs
 * uses for itself is none of the tree's. */
static int
read_xattrs(struct tar_out *t, const char *name, int fd,
    struct archive_entry *e, struct imgd_error **err)
{
	cleanup_free char *names = NULL, *value = NULL;
	ssize_t len = list_xattrs(name, fd, NULL, 0), n, pos;

	if (len <= 0)
		return len == 0 || errno == ENOTSUP ? 0 : file_fail(t, err);
	names = malloc((size_t)len);
	value = malloc(LIMIT_XATTRS_BYTES);
	if (names == NULL || value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	len = list_xattrs(name, fd, names, (size_t)len);
	if (len < 0)
		return file_fail(t, err);
	for (pos = 0; pos < len; pos += (ssize_t)strlen(names + pos) + 1) {
		const char *attr = names + pos;

		if (is_foreign(attr))
			continue;
		n = fd >= 0 ? fgetxattr(fd, attr, value, LIMIT_XATTRS_BYTES)
			    : lgetxattr(name, attr, value, LIMIT_XATTRS_BYTES);
		if (n < 0)
			return file_fail(t, err);
		errno = 0;
		archive_entry_xattr_add_entry(e, attr, value, (size_t)n);
		/* It does not say so. */
		if (errno == ENOMEM)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

/* The calls that take no descriptor know no directory's either, and where this
 * runs there may be no /proc: the working directory goes there and back. */
static int
add_xattrs(struct tar_out *t, int dir_fd, const char *name, int fd,
    struct archive_entry *e, struct imgd_error **err)
{
	cleanup_close int cwd = -EBADF;
	int r;

	if (fd >= 0)
		return read_xattrs(t, name, fd, e, err);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fchdir(dir_fd) < 0)
		return file_fail(t, err);
	r = read_xattrs(t, name, fd, e, err);
	/* One that is closed to us nobody here needs. */
	if (cwd >= 0 && fchdir(cwd) < 0)
		errno = 0;
	return r;
}

static int
write_content(struct tar_out *t, int fd, uint64_t size, struct imgd_error **err)
{
	while (size > 0) {
		size_t want = size < BUFFER_BYTES ? (size_t)size
						  : BUFFER_BYTES;
		ssize_t n = read(fd, t->buf, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_fail(t, err);
		if (n == 0)
			return imgd_error_set(err, EUCLEAN,
			    "%s: it became shorter while it was read",
			    t->path);
		if (archive_write_data(t->archive, t->buf, (size_t)n) != n)
			return archive_fail(t, err);
		size -= (uint64_t)n;
	}
	return 0;
}

static int
fill_entry(struct tar_out *t, int dir_fd, const char *name,
    const struct stat *st, int fd, struct archive_entry *e,
    struct imgd_error **err)
{
	char target[LIMIT_PATH_BYTES + 1];
	const char *first = NULL;
	ssize_t n;
	int r;

	archive_entry_copy_stat(e, st);
	archive_entry_unset_atime(e);
	archive_entry_unset_ctime(e);
	archive_entry_unset_birthtime(e);
	archive_entry_copy_pathname(e, t->path);
	if (!S_ISREG(st->st_mode))
		archive_entry_set_size(e, 0);
	r = find_link(t, st, &first, err);
	if (r < 0)
		return r;
	if (r > 0) {
		archive_entry_set_size(e, 0);
		archive_entry_copy_hardlink(e, first);
		return 0;
	}
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
		if (n < 0)
			return file_fail(t, err);
		target[n] = '\0';
		archive_entry_copy_symlink(e, target);
	}
	return add_xattrs(t, dir_fd, name, fd, e, err);
}

/* ---- the tar ---- */

/* libarchive before 3.8.2 forgets what it makes here if writing is given up: 10
 * KiB of a process that ends then, and no leak of ours. */
static int
open_archive(struct tar_out *t)
{
	int res;

#ifdef __SANITIZE_ADDRESS__
	__lsan_disable();
#endif
	res = archive_write_open(t->archive, t, NULL, write_callback, NULL);
#ifdef __SANITIZE_ADDRESS__
	__lsan_enable();
#endif
	return res;
}

int
tar_out_new(struct imgd_sink *sink, struct tar_out **ret,
    struct imgd_error **err)
{
	cleanup(tar_out_freep) struct tar_out *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	t->sink = sink;
	t->archive = archive_write_new();
	t->buf = malloc(BUFFER_BYTES);
	if (t->archive == NULL || t->buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	/* Times and attributes that ustar has no place for, names of any
	 * bytes, and nothing else that it has not. */
	if (archive_write_set_format_pax(t->archive) != ARCHIVE_OK ||
	    archive_write_set_options(t->archive,
		"hdrcharset=BINARY,xattrheader=SCHILY") != ARCHIVE_OK ||
	    open_archive(t) != ARCHIVE_OK)
		return archive_fail(t, err);
	*ret = take_ptr(&t);
	return 0;
}

int
tar_out_add(struct tar_out *t, const char *path, int dir_fd, const char *name,
    const struct stat *st, int fd, struct imgd_error **err)
{
	struct archive_entry *e = archive_entry_new();
	bool has_content;
	int r;

	if (e == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	t->path = path;
	r = fill_entry(t, dir_fd, name, st, fd, e, err);
	has_content = S_ISREG(st->st_mode) && archive_entry_hardlink(e) == NULL;
	if (r >= 0 && archive_write_header(t->archive, e) < ARCHIVE_WARN)
		r = archive_fail(t, err);
	archive_entry_free(e);
	return r >= 0 && has_content
	    ? write_content(t, fd, (uint64_t)st->st_size, err)
	    : r;
}

int
tar_out_mark(struct tar_out *t, const char *path, struct imgd_error **err)
{
	struct archive_entry *e = archive_entry_new();
	int r = 0;

	if (e == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	archive_entry_copy_pathname(e, path);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_size(e, 0);
	archive_entry_set_mtime(e, 0, 0);
	if (archive_write_header(t->archive, e) < ARCHIVE_WARN)
		r = archive_fail(t, err);
	archive_entry_free(e);
	return r;
}

int
tar_out_finish(struct tar_out *t, struct imgd_error **err)
{
	return archive_write_close(t->archive) != ARCHIVE_OK
	    ? archive_fail(t, err)
	    : 0;
}

void
tar_out_free(struct tar_out *t)
{
	if (t == NULL)
		return;
	/* What was not written is not to be flushed now. */
	if (t->archive != NULL) {
		(void)archive_write_fail(t->archive);
		(void)archive_write_free(t->archive);
	}
	tdestroy(t->groups, free_group);
	imgd_error_free(t->error);
	free(t->buf);
	free(t);
}

int
tar_out_open(int dir_fd, const char *name, struct stat *ret_st, int *ret_fd)
{
	cleanup_close int fd = -EBADF;

	if (fstatat(dir_fd, name, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(ret_st->st_mode) || S_ISREG(ret_st->st_mode)) {
		fd = openat(dir_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, ret_st) < 0)
			return -errno;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}
