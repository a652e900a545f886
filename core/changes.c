#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "core/mount.h"
#include "core/tree-diff.h"
#include "lib/cleanup.h"

/* A layer's tree while it is compared. */
struct tree {
	struct driver *driver;
	const char *id; /* NULL: not got */
	int fd;
};

static void
tree_done(struct tree *t)
{
	cleanup_error struct imgd_error *e = NULL;

	close_fd(&t->fd);
	if (t->id != NULL)
		(void)driver_put(t->driver, t->id, IMGD_GET_TREE, &e);
	t->id = NULL;
}

static int
tree_get(struct tree *t, const char *id, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	int r = driver_get(t->driver, id, IMGD_GET_TREE, &path, err);

	if (r < 0)
		return r;
	t->id = id;
	return tree_clone(path, &t->fd, err);
}

static int
open_own(struct driver *d, const char *id, struct tree_diff *td, int *ret_fd,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	int fd, r;

	if (!driver_has_own_dir(d))
		return 0;
	r = driver_own_dir(d, id, &path, &td->whiteouts, err);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	*ret_fd = fd;
	return 0;
}

int
layer_changes(struct driver *d, const char *id, const char *base,
    imgd_change_cb *cb, int (*cancelled)(void *ctx), void *ctx,
    struct imgd_error **err)
{
	cleanup(tree_done) struct tree old = { d, NULL, -EBADF };
	cleanup(tree_done) struct tree new = { d, NULL, -EBADF };
	cleanup_close int own_fd = -EBADF;
	struct tree_diff td = { .cb = cb, .ctx = ctx,
		.cancelled = cancelled };
	int r;

	if (driver_has_changes(d))
		return driver_changes(d, id, base, cb, ctx, err);
	r = tree_get(&new, id, err);
	if (r >= 0 && base != NULL)
		r = tree_get(&old, base, err);
	if (r >= 0 && base != NULL)
		r = open_own(d, id, &td, &own_fd, err);
	if (r < 0)
		return r;
	td.old_fd = old.fd;
	td.new_fd = new.fd;
	td.own_fd = own_fd;
	return tree_diff(&td, err);
}
