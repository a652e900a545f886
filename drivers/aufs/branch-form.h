/*
 * The form of a branch that fuse-overlayfs has written, made aufs's own.
 */
#ifndef DRIVERS_AUFS_BRANCH_FORM_H
#define DRIVERS_AUFS_BRANCH_FORM_H

#include "imgd/error.h"

/*
 * Turn what fuse-overlayfs leaves in its upper directory into what aufs knows:
 *
 *     NAME, a character device 0/0          -> .wh.NAME, an empty file
 *     .wh..opq beside .wh..wh..opq          -> .wh..wh..opq alone
 *     attributes that say "opaque"          -> .wh..wh..opq
 *     .wh.NAME beside NAME                  -> NAME alone; a directory becomes
 *                                              opaque
 *     its other attributes                  -> gone
 *
 * Times of directories stay.  May be cut anywhere and done again.  A name that
 * is too long to have ".wh." before it keeps its device.
 */
int branch_to_aufs_form(int dir_fd, struct imgd_error **err);

#endif
