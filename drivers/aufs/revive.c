/* Mounts whose fuse-overlayfs has died. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "drivers/aufs/aufs.h"
#include "drivers/aufs/mount-table.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

/* Bind what was shown at e->target again, from target. */
static int
bind_again(struct aufs *a, const struct mount_entry *e, const char *target,
    struct imgd_error **err)
{
	cleanup_free char *source = NULL;
	int code;

	if (asprintf(&source, "%s%s", target,
	    strcmp(e->root, "/") != 0 ? e->root : "") < 0) {
		source = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (a->ops->mount(source, e->target, "none", MS_BIND, NULL) < 0)
		return imgd_error_set(err, errno, "bind %s: %s", e->target,
		    strerror(errno));
	if (a->ops->mount("none", e->target, "none",
		MS_BIND | MS_REMOUNT | e->flags, NULL) == 0)
		return 0;
	/* Better none than one that may be written. */
	code = errno;
	(void)a->ops->umount(e->target, MNT_DETACH);
	return imgd_error_set(err, code, "bind %s as it was: %s", e->target,
	    strerror(code));
}

/* Every mount of the dead filesystem goes, last one first. */
static void
detach_all(struct aufs *a, const struct mount_table *t, dev_t dev)
{
	size_t i;

	for (i = t->n; i > 0; i--)
		if (t->list[i - 1].dev == dev)
			(void)a->ops->umount(t->list[i - 1].target,
			    MNT_DETACH | UMOUNT_NOFOLLOW);
}

static size_t
count_binds(const struct mount_table *t, const struct mount_entry *own)
{
	size_t i, n = 0;

	for (i = 0; i < t->n; i++)
		n += t->list[i].dev == own->dev && &t->list[i] != own;
	return n;
}

static int
mount_anew(struct aufs *a, const char *id, const struct mount_table *t,
    const struct mount_entry *own, struct imgd_error **err)
{
	size_t i;
	int r = aufs_mount_layer(a, id, err);

	for (i = 0; r >= 0 && i < t->n; i++) {
		cleanup_error struct imgd_error *e = NULL;

		if (t->list[i].dev == own->dev && &t->list[i] != own &&
		    bind_again(a, &t->list[i], own->target, &e) < 0)
			a->env->log(IMGD_LOG_WARN, "layer %.12s: %s, leaving "
			    "it unmounted", id, imgd_error_msg(e));
	}
	return r;
}

static int
revive(struct aufs *a, const char *id, const char *target,
    struct imgd_error **err)
{
	cleanup(mount_table_done) struct mount_table t = { NULL, 0 };
	const struct mount_entry *own;
	size_t n_binds;
	int r = mount_table_read(&t, err);

	if (r < 0)
		return r;
	own = mount_table_at(&t, target);
	if (own == NULL)
		return 0;
	n_binds = count_binds(&t, own);
	a->env->log(IMGD_LOG_WARN, "layer %.12s: the fuse-overlayfs that "
	    "served it is dead; what was open in it is lost", id);
	detach_all(a, &t, own->dev);
	if (n_binds == 0 && !aufs_has_user(a, id))
		return aufs_settle(a, id, err);
	return mount_anew(a, id, &t, own, err);
}

int
aufs_revive(struct aufs *a, const char *id, struct imgd_error **err)
{
	cleanup_free char *target = NULL;
	int r = aufs_path(a, "mnt", id, &target, err);

	if (r < 0)
		return r;
	(void)pthread_rwlock_wrlock(&a->mounting);
	/* Another thread may have done it. */
	r = aufs_is_mounted(a, id, err);
	if (r == AUFS_DEAD)
		r = revive(a, id, target, err);
	(void)pthread_rwlock_unlock(&a->mounting);
	return r < 0 ? r : 0;
}
