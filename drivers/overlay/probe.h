/*
 * Whether overlayfs works on a store's filesystem, found out by using it.
 */
#ifndef DRIVERS_OVERLAY_PROBE_H
#define DRIVERS_OVERLAY_PROBE_H

#include <stdbool.h>

#include "drivers/overlay/mount.h"

/*
 * Mount a small overlay below home_fd, delete and hide through it, and look
 * at what that leaves in the upper directory.  Leaves no trace.
 *
 * Returns 0; -EOPNOTSUPP if it does not work here; another code if it could
 * not be tried.
 */
int overlay_probe(const struct mount_ops *ops, int home_fd,
    struct imgd_error **err);

/* Whether readdir tells types on dir_fd's filesystem; overlayfs needs it.
 * dir_fd must have entries.  1, 0 or < 0. */
int overlay_has_d_type(int dir_fd, struct imgd_error **err);

/* Whether this process is in a user namespace, where overlayfs keeps its
 * marks in user.overlay.* because trusted.* is out of reach. */
bool overlay_needs_userxattr(void);

#endif
