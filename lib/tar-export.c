/* The tar of a tree as it is, for programs that want files and no layers. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar-entry.h"
#include "lib/tar.h"

struct export {
	struct tar_out *out;
	struct strbuf path;
};

static int
file_fail(const struct export *x, int code, struct imgd_error **err)
{
	return imgd_error_set(err, code, "%s: %s", x->path.data,
	    strerror(code));
}

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
		return file_fail(x, errno, err);
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
		return file_fail(x, errno, err);
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

	r = tar_out_open(dir_fd, name, &st, &fd);
	if (r < 0)
		return file_fail(x, -r, err);
	/* A tar has no sockets. */
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (S_ISDIR(st.st_mode))
		strbuf_putc(&x->path, '/');
	if (x->path.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = tar_out_add(x->out, x->path.data, dir_fd, name, &st, fd, err);
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

	strbuf_puts(&x->path, "./");
	if (x->path.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (fstat(tree_fd, &st) < 0)
		return file_fail(x, errno, err);
	r = tar_out_add(x->out, x->path.data, tree_fd, ".", &st, tree_fd, err);
	if (r < 0)
		return r;
	strbuf_truncate(&x->path, 0);
	r = export_dir(x, tree_fd, 0, err);
	return r < 0 ? r : tar_out_finish(x->out, err);
}

int
tar_export(int tree_fd, struct imgd_sink *sink, struct imgd_error **err)
{
	struct export x = { .path = STRBUF_INIT };
	struct rlimit files;
	int r;

	/* One for each level. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
	    files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	r = tar_out_new(sink, &x.out, err);
	if (r >= 0)
		r = export_tree(&x, tree_fd, err);
	tar_out_free(x.out);
	strbuf_done(&x.path);
	return r;
}
