/*
 * The mounts of this process's namespace.
 */
#ifndef DRIVERS_AUFS_MOUNT_TABLE_H
#define DRIVERS_AUFS_MOUNT_TABLE_H

#include <stddef.h>
#include <sys/types.h>

#include "imgd/error.h"

struct mount_entry {
	dev_t dev;
	char *root;   /* owned: the part of the filesystem that shows */
	char *target; /* owned */
	unsigned long flags; /* MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC */
};

struct mount_table {
	struct mount_entry *list; /* owned, in the order of mounting */
	size_t n;
};

int mount_table_read(struct mount_table *ret, struct imgd_error **err);
void mount_table_done(struct mount_table *t);

/* The uppermost mount at target, or NULL. */
const struct mount_entry *mount_table_at(const struct mount_table *t,
    const char *target);

#endif
