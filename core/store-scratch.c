#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/store.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

int
store_open_scratch(struct store *s, int *ret_fd, struct imgd_error **err)
{
	cleanup_close int dir_fd = fs_open_dir(s->root_fd, "spool", err);
	char key[65];
	int fd, r;

	if (dir_fd < 0)
		return dir_fd;
	fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		/* A filesystem without O_TMPFILE. */
		r = str_random_key(key, err);
		if (r < 0)
			return r;
		fd = openat(dir_fd, key,
		    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return imgd_error_set(err, errno, "spool: %s",
			    strerror(errno));
		(void)unlinkat(dir_fd, key, 0);
	}
	*ret_fd = fd;
	return 0;
}

int
store_room(struct store *s, uint64_t *ret, struct imgd_error **err)
{
	struct statvfs vfs;
	uint64_t have;

	if (fstatvfs(s->root_fd, &vfs) < 0)
		return imgd_error_set(err, errno, "%s: %s", s->root,
		    strerror(errno));
	have = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	*ret = have > STORE_RESERVE_BYTES ? have - STORE_RESERVE_BYTES : 0;
	return 0;
}
