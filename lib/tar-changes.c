/* The tar of what changed in a tree: a layer that nobody has made before. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar-entry.h"
#include "lib/tar-tree.h"
#include "lib/tar.h"

#define WHITEOUT ".wh."

struct changes {
	int tree_fd;
	struct tar_out *out;
	struct imgd_sink *sink;
	uint64_t n_bytes;
	/* the directory used last */
	int dir_fd; /* -EBADF: none */
	struct strbuf dir;
	struct strbuf name; /* in the tar */
};

static void
changes_done(struct changes *c)
{
	tar_out_free(c->out);
	close_fd(&c->dir_fd);
	strbuf_done(&c->dir);
	strbuf_done(&c->name);
}

static int
count(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	struct changes *c = ctx;

	c->n_bytes += len;
	return c->sink->write(c->sink->ctx, buf, len, err);
}

/* Open the directory of that path; 0: it is not there any more. */
static int
enter(struct changes *c, const char *path, size_t len, struct imgd_error **err)
{
	if (c->dir_fd >= 0 && c->dir.len == len &&
	    memcmp(c->dir.data, path, len) == 0)
		return 1;
	close_fd(&c->dir_fd);
	strbuf_truncate(&c->dir, 0);
	strbuf_append(&c->dir, path, len);
	strbuf_append(&c->dir, "", 0);
	if (c->dir.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	c->dir_fd = tree_open(c->tree_fd, len > 0 ? c->dir.data : "");
	if (c->dir_fd >= 0)
		return 1;
	return tree_is_absent(c->dir_fd)
	    ? 0
	    : imgd_error_set(err, -c->dir_fd, "%s: %s", c->dir.data,
		  strerror(-c->dir_fd));
}

/* path: relative, in dir_fd's directory under its last component. */
static int
add_there(struct changes *c, const char *path, const char *base,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	struct stat st;
	int r = tar_out_open(c->dir_fd, base, &st, &fd);

	if (tree_is_absent(r))
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s: %s", path, strerror(-r));
	/* A tar has no sockets. */
	if (S_ISSOCK(st.st_mode))
		return 0;
	strbuf_puts(&c->name, path);
	if (S_ISDIR(st.st_mode))
		strbuf_putc(&c->name, '/');
	if (c->name.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return tar_out_add(c->out, c->name.data, c->dir_fd, base, &st, fd,
	    err);
}

static int
add_gone(struct changes *c, const char *path, const char *base,
    struct imgd_error **err)
{
	if (strlen(base) + strlen(WHITEOUT) > LIMIT_NAME_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "%s: the name is too long for a whiteout, so no layer "
		    "can say that it is gone",
		    path);
	strbuf_append(&c->name, path, (size_t)(base - path));
	strbuf_puts(&c->name, WHITEOUT);
	strbuf_puts(&c->name, base);
	if (c->name.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return tar_out_mark(c->out, c->name.data, err);
}

static int
add_root(struct changes *c, struct imgd_error **err)
{
	struct stat st;

	if (fstat(c->tree_fd, &st) < 0)
		return imgd_error_set(err, errno, "/: %s", strerror(errno));
	return tar_out_add(c->out, "./", c->tree_fd, ".", &st, c->tree_fd,
	    err);
}

static int
add(struct changes *c, char kind, const char *path, struct imgd_error **err)
{
	const char *slash = strrchr(path, '/'), *base = slash + 1;
	int r;

	if (*base == '\0')
		return add_root(c, err);
	/* Unpacking would delete instead, and nobody would know. */
	if (str_starts(base, WHITEOUT))
		return imgd_error_set(err, EINVAL,
		    "%s: a name that begins with .wh. cannot be in a layer",
		    path);
	path++;
	r = enter(c, path, slash > path ? (size_t)(slash - path) : 0, err);
	if (r <= 0)
		return r;
	strbuf_truncate(&c->name, 0);
	return kind == TAR_CHANGE_GONE ? add_gone(c, path, base, err)
				       : add_there(c, path, base, err);
}

/* The next record: its kind, and the path; 0 at the end. */
static int
next(FILE *list, char path[LIMIT_PATH_BYTES + 1], struct imgd_error **err)
{
	int kind = getc_unlocked(list), ch;
	size_t n = 0;

	if (kind == EOF)
		return ferror(list) ? imgd_error_set(err, EIO,
					  "the list of changes cannot be read")
				    : 0;
	while ((ch = getc_unlocked(list)) > 0 && n < LIMIT_PATH_BYTES)
		path[n++] = (char)ch;
	path[n] = '\0';
	if (ch != 0 || path[0] != '/' ||
	    (kind != TAR_CHANGE_THERE && kind != TAR_CHANGE_GONE))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "malformed list of changes");
	return kind;
}

int
tar_changes(int tree_fd, int list_fd, struct imgd_sink *sink,
    uint64_t *ret_bytes, struct imgd_error **err)
{
	cleanup(changes_done) struct changes c = { .tree_fd = tree_fd,
		.sink = sink, .dir_fd = -EBADF, .dir = STRBUF_INIT,
		.name = STRBUF_INIT };
	struct imgd_sink counted = { sizeof(counted), &c, count };
	cleanup_fclose FILE *list = NULL;
	char path[LIMIT_PATH_BYTES + 1];
	int fd = dup(list_fd), r;

	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ||
	    (list = fdopen(fd, "r")) == NULL) {
		r = imgd_error_set(err, errno, "list of changes: %s",
		    strerror(errno));
		cleanup_closep(&fd);
		return r;
	}
	r = tar_out_new(&counted, &c.out, err);
	while (r >= 0 && (r = next(list, path, err)) > 0)
		r = add(&c, (char)r, path, err);
	if (r >= 0)
		r = tar_out_finish(c.out, err);
	if (r >= 0)
		*ret_bytes = c.n_bytes;
	return r;
}
