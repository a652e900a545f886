/*
 * Modules that were given by path.  Layers stay in a store and name their
 * driver, so the store remembers where its module is:
 *
 *     ROOT/modules/NAME   symbolic link to the module
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/store.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"

#define NEW_NAME ".new" /* no driver's name begins so */

int
store_load_driver(struct store *s, const char *name, struct driver_info *ret,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_close int dir_fd = -EBADF;
	char path[PATH_MAX];
	ssize_t n = -1;
	int r = driver_load(name, ret, &e);

	if (r == -ENOENT && strchr(name, '/') == NULL && s->root_fd >= 0)
		dir_fd = fs_open_dir(s->root_fd, "modules", NULL);
	if (dir_fd >= 0)
		n = readlinkat(dir_fd, name, path, sizeof(path) - 1);
	if (n > 0) {
		path[n] = '\0';
		return driver_load(path, ret, err);
	}
	return r < 0 ? imgd_error_set(err, -r, "%s", imgd_error_msg(e)) : r;
}

int
store_note_module(struct store *s, const struct driver_info *info,
    struct imgd_error **err)
{
	const char *name = info->table.name;
	cleanup_close int dir_fd = -EBADF;
	cleanup_free char *path = realpath(info->path, NULL);
	char old[PATH_MAX];
	ssize_t n;

	if (path == NULL)
		return imgd_error_set(err, errno, "%s: %s", info->path,
		    strerror(errno));
	dir_fd = fs_make_open_dir(s->root_fd, "modules", 0700, err);
	if (dir_fd < 0)
		return dir_fd;
	n = readlinkat(dir_fd, name, old, sizeof(old));
	if (n == (ssize_t)strlen(path) && memcmp(old, path, (size_t)n) == 0)
		return 0;
	if ((unlinkat(dir_fd, NEW_NAME, 0) < 0 && errno != ENOENT) ||
	    symlinkat(path, dir_fd, NEW_NAME) < 0 ||
	    renameat(dir_fd, NEW_NAME, dir_fd, name) < 0)
		return imgd_error_set(err, errno, "modules/%s: %s", name,
		    strerror(errno));
	return 0;
}
