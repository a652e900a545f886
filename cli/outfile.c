#include "config.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/outfile.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

static int
fail(const char *path, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s", path, strerror(errno));
}

/* Open the directory that path is in, and take its last component. */
static int
open_parent(const char *path, struct outfile *o, struct imgd_error **err)
{
	cleanup_free char *a = strdup(path), *b = strdup(path);
	char key[65];
	int r;

	if (a == NULL || b == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->name = strdup(basename(a));
	r = str_random_key(key, err);
	if (r < 0)
		return r;
	if (o->name == NULL || asprintf(&o->temp, ".imgd-%.16s", key) < 0) {
		o->temp = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	o->dir_fd = open(dirname(b), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return o->dir_fd < 0 ? fail(path, err) : 0;
}

static int
open_dir(const char *path, struct outfile *o, struct imgd_error **err)
{
	int r = open_parent(path, o, err);

	if (r < 0)
		return r;
	o->is_dir = true;
	/* Else rename would tell, once all is written. */
	if (unlinkat(o->dir_fd, o->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return fail(path, err);
	o->fd = fs_make_open_dir(o->dir_fd, o->temp, 0755, err);
	return o->fd < 0 ? o->fd : 0;
}

static int
open_file(const char *path, struct outfile *o, struct imgd_error **err)
{
	int r = open_parent(path, o, err);

	if (r < 0)
		return r;
	/* Without a name it is gone with us, however we end. */
	o->fd = openat(o->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (o->fd >= 0)
		return 0;
	o->fd = openat(o->dir_fd, o->temp,
	    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return o->fd < 0 ? fail(path, err) : 0;
}

int
outfile_open(const char *path, struct outfile *ret, struct imgd_error **err)
{
	struct stat st;

	ret->is_ours = path != NULL;
	if (path == NULL) {
		ret->fd = STDOUT_FILENO;
		return 0;
	}
	if (str_ends(path, "/"))
		return open_dir(path, ret, err);
	if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
		return open_file(path, ret, err);
	ret->fd = open(path, O_WRONLY | O_CLOEXEC);
	return ret->fd < 0 ? fail(path, err) : 0;
}

int
outfile_commit(struct outfile *o, struct imgd_error **err)
{
	char path[32];

	if (o->dir_fd < 0)
		return 0;
	if (fsync(o->fd) < 0)
		return fail(o->name, err);
	/* The nameless get one first: only rename replaces. */
	if (!o->is_dir &&
	    linkat(AT_FDCWD, fs_fd_path(o->fd, path), o->dir_fd, o->temp,
		AT_SYMLINK_FOLLOW) < 0 &&
	    errno != EEXIST)
		return fail(o->name, err);
	if (renameat(o->dir_fd, o->temp, o->dir_fd, o->name) < 0)
		return fail(o->name, err);
	free(o->temp);
	o->temp = NULL;
	return fsync(o->dir_fd) < 0 ? fail(o->name, err) : 0;
}

void
outfile_done(struct outfile *o)
{
	if (o->temp != NULL && o->dir_fd >= 0)
		(void)fs_remove_tree(o->dir_fd, o->temp, NULL);
	if (o->is_ours)
		close_fd(&o->fd);
	close_fd(&o->dir_fd);
	free(o->name);
	free(o->temp);
}
