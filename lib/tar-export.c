/* The tar of a tree as it is, for programs that want files and no layers. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar.h"

#define BUFFER_BYTES (64u << 10)

/* A file with several names, and the first of them. */
struct group {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct export {
	struct archive *archive;
	struct imgd_sink *sink;
	int result; /* why the sink failed; libarchive cannot carry it */
	struct imgd_error *error;
	void *groups; /* tsearch(3) */
	struct strbuf path;
	char *buf;
};

static la_ssize_t
write_callback(struct archive *a, void *ctx, const void *data, size_t len)
{
	struct export *x = ctx;

	x->result = x->sink->write(x->sink->ctx, data, len, &x->error);
	if (x->result < 0) {
		archive_set_error(a, EIO, "write failed");
		return -1;
	}
	return (la_ssize_t)len;
}

static int
archive_fail(struct export *x, struct imgd_error **err)
{
	const char *text = archive_error_string(x->archive);

	if (x->result < 0) {
		if (err != NULL)
			*err = take_ptr(&x->error);
		return x->result;
	}
	return imgd_error_set(err, EIO, "tar: %s",
	    text != NULL ? text : "it cannot be written");
}

static int
file_fail(const struct export *x, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s", x->path.data,
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
find_link(struct export *x, const struct stat *st, const char **ret,
    struct imgd_error **err)
{
	struct group *g, **found;

	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return 0;
	g = malloc(sizeof(*g));
	if (g == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*g = (struct group) { st->st_dev, st->st_ino, strdup(x->path.data) };
	found = g->path != NULL ? tsearch(g, &x->groups, compare_groups)
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

/* Attributes of files and directories; those that overlayfs uses for itself
 * are none of the tree's. */
static int
add_xattrs(struct export *x, int fd, struct archive_entry *e,
    struct imgd_error **err)
{
	cleanup_free char *names = NULL, *value = NULL;
	ssize_t len = flistxattr(fd, NULL, 0), n, pos;

	if (len <= 0)
		return len == 0 || errno == ENOTSUP ? 0 : file_fail(x, err);
	names = malloc((size_t)len);
	value = malloc(LIMIT_XATTRS_BYTES);
	if (names == NULL || value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	len = flistxattr(fd, names, (size_t)len);
	if (len < 0)
		return file_fail(x, err);
	for (pos = 0; pos < len; pos += (ssize_t)strlen(names + pos) + 1) {
		const char *name = names + pos;

		if (str_starts(name, "trusted.overlay.") ||
		    str_starts(name, "user.overlay.") ||
		    str_starts(name, "security.selinux"))
			continue;
		n = fgetxattr(fd, name, value, LIMIT_XATTRS_BYTES);
		if (n < 0)
			return file_fail(x, err);
		archive_entry_xattr_add_entry(e, name, value, (size_t)n);
	}
	return 0;
}

static int
write_content(struct export *x, int fd, uint64_t size, struct imgd_error **err)
{
	while (size > 0) {
		size_t want = size < BUFFER_BYTES ? (size_t)size
						  : BUFFER_BYTES;
		ssize_t n = read(fd, x->buf, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_fail(x, err);
		if (n == 0)
			return imgd_error_set(err, EUCLEAN,
			    "%s: it became shorter while it was read",
			    x->path.data);
		if (archive_write_data(x->archive, x->buf, (size_t)n) != n)
			return archive_fail(x, err);
		size -= (uint64_t)n;
	}
	return 0;
}

static int
fill_entry(struct export *x, int dir_fd, const char *name,
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
	archive_entry_copy_pathname(e, x->path.data);
	if (!S_ISREG(st->st_mode))
		archive_entry_set_size(e, 0);
	r = find_link(x, st, &first, err);
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
			return file_fail(x, err);
		target[n] = '\0';
		archive_entry_copy_symlink(e, target);
	}
	return fd >= 0 ? add_xattrs(x, fd, e, err) : 0;
}

/* Write the header, and the content of a file that fd is open on. */
static int
write_entry(struct export *x, int dir_fd, const char *name,
    const struct stat *st, int fd, struct imgd_error **err)
{
	struct archive_entry *e = archive_entry_new();
	bool has_content;
	int r;

	if (e == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = fill_entry(x, dir_fd, name, st, fd, e, err);
	has_content = S_ISREG(st->st_mode) && archive_entry_hardlink(e) == NULL;
	if (r >= 0 && archive_write_header(x->archive, e) < ARCHIVE_WARN)
		r = archive_fail(x, err);
	archive_entry_free(e);
	return r >= 0 && has_content
	    ? write_content(x, fd, (uint64_t)st->st_size, err)
	    : r;
}

/* ---- directories ---- */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
list_dir(const struct export *x, int dir_fd, char ***ret, size_t *ret_n,
    struct imgd_error **err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;
	char **names;

	if (dir == NULL) {
		cleanup_closep(&fd);
		return file_fail(x, err);
	}
	while (errno = 0, (de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		names = reallocarray(*ret, *ret_n + 1, sizeof(*names));
		if (names == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		*ret = names;
		names[*ret_n] = strdup(de->d_name);
		if (names[*ret_n] == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		++*ret_n;
	}
	if (errno != 0)
		return file_fail(x, err);
	if (*ret_n > 1)
		qsort(*ret, *ret_n, sizeof(**ret), compare_names);
	return 0;
}

static int export_dir(struct export *x, int fd, unsigned int depth,
    struct imgd_error **err);

static int
export_name(struct export *x, int dir_fd, const char *name,
    unsigned int depth, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return file_fail(x, err);
	/* A tar has no sockets. */
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)) {
		fd = openat(dir_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return file_fail(x, err);
	}
	if (S_ISDIR(st.st_mode))
		strbuf_putc(&x->path, '/');
	if (x->path.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = write_entry(x, dir_fd, name, &st, fd, err);
	if (r >= 0 && S_ISDIR(st.st_mode))
		r = export_dir(x, fd, depth + 1, err);
	return r;
}

/* What is in the directory that fd is open on; path is its own, with a slash
 * at the end. */
static int
export_dir(struct export *x, int fd, unsigned int depth,
    struct imgd_error **err)
{
	size_t len = x->path.len, i, n = 0;
	char **names = NULL;
	int r;

	if (depth > LIMIT_PATH_DEPTH)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "directories more than %d deep", LIMIT_PATH_DEPTH);
	r = list_dir(x, fd, &names, &n, err);
	for (i = 0; r >= 0 && i < n; i++) {
		strbuf_puts(&x->path, names[i]);
		r = x->path.is_failed
		    ? imgd_error_set(err, ENOMEM, "out of memory")
		    : export_name(x, fd, names[i], depth, err);
		strbuf_truncate(&x->path, len);
	}
	str_list_free(names, n);
	return r;
}

/* ---- all of it ---- */

static int
export_tree(struct export *x, int tree_fd, struct imgd_error **err)
{
	struct stat st;
	int r;

	/* Times and attributes that ustar has no place for, names of any
	 * bytes, and nothing else that it has not. */
	if (archive_write_set_format_pax(x->archive) != ARCHIVE_OK ||
	    archive_write_set_options(x->archive,
		"hdrcharset=BINARY,xattrheader=SCHILY") != ARCHIVE_OK ||
	    archive_write_open(x->archive, x, NULL, write_callback, NULL) !=
		ARCHIVE_OK)
		return archive_fail(x, err);
	strbuf_puts(&x->path, "./");
	if (x->path.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (fstat(tree_fd, &st) < 0)
		return file_fail(x, err);
	r = write_entry(x, tree_fd, ".", &st, tree_fd, err);
	if (r < 0)
		return r;
	strbuf_truncate(&x->path, 0);
	r = export_dir(x, tree_fd, 0, err);
	if (r >= 0 && archive_write_close(x->archive) != ARCHIVE_OK)
		r = archive_fail(x, err);
	return r;
}

int
tar_export(int tree_fd, struct imgd_sink *sink, struct imgd_error **err)
{
	struct export x = { .sink = sink, .path = STRBUF_INIT };
	struct rlimit files;
	int r;

	/* One for each level. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
	    files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	x.archive = archive_write_new();
	x.buf = malloc(BUFFER_BYTES);
	r = x.archive == NULL || x.buf == NULL
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : export_tree(&x, tree_fd, err);
	/* What was not written is not to be flushed now. */
	if (x.archive != NULL) {
		(void)archive_write_fail(x.archive);
		(void)archive_write_free(x.archive);
	}
	tdestroy(x.groups, free_group);
	imgd_error_free(x.error);
	strbuf_done(&x.path);
	free(x.buf);
	return r;
}
