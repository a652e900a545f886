/*
 * What changed between two directory trees.
 */
#ifndef CORE_TREE_DIFF_H
#define CORE_TREE_DIFF_H

#include <stdbool.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"

struct tree_diff {
	int old_fd; /* what it was; -EBADF: nothing was there.  Borrowed */
	int new_fd; /* what it is; borrowed */
	/* The directory that holds only new's own changes, so that nothing
	 * else need be looked at; -EBADF: compare all.  Borrowed. */
	int own_fd;
	uint32_t whiteouts; /* IMGD_WH_*: how own_fd tells deletions */
	bool is_raw; /* old and new are such directories: marks count, too */

	imgd_change_cb *cb; /* nonzero ends the walk and is returned */
	void *ctx;          /* of both */
	/* Polled; nonzero ends the walk with -ECANCELED. */
	int (*cancelled)(void *ctx);
};

/*
 * Report each changed path once: directories before what is in them, names in
 * byte order.
 *
 * ADD: not there before; all that an added directory holds is told, too.
 * DELETE: of a directory only itself is told.
 * MODIFY: another type, owner, mode, xattr, device number, link target,
 * content or, except for directories, modification time; and each directory
 * above a change, but not the root.
 *
 * Contents are compared byte by byte, unless inode number and change time
 * are equal: a snapshot's untouched file.  overlayfs's own xattrs and SELinux
 * labels do not count.  Trees may be in use: what disappears meanwhile was
 * not there.
 */
int tree_diff(const struct tree_diff *params, struct imgd_error **err);

#endif
