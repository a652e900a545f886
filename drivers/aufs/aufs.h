/*
 * The aufs driver's handle, and what its files share.
 */
#ifndef DRIVERS_AUFS_AUFS_H
#define DRIVERS_AUFS_AUFS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "imgd/driver.h"

#include "drivers/aufs/mount.h"
#include "lib/layer-dirs.h"

/* What shows the branches; AUTO: the kernel where it can. */
enum aufs_by { AUFS_BY_AUTO, AUFS_BY_KERNEL, AUFS_BY_FUSE };

/* Links in HOME/records/ID. */
#define AUFS_MOUNTING "mounting" /* a mount at HOME/mnt/ID may be half one */
#define AUFS_FUSE     "fuse"     /* diff may be in fuse-overlayfs's form */

struct aufs {
	const struct imgd_env *env; /* borrowed until close */
	const struct aufs_ops *ops;
	struct layer_dirs layers;
	char *home;            /* owned: absolute, without links */
	int diff_fd;           /* owned; -EBADF: read-only, not there yet */
	int lists_fd;          /* likewise: HOME/layers */
	int mnt_fd;            /* likewise */
	int sync_fd;           /* owned: opened before the first write */
	atomic_int sync_error; /* errno of the first failed flush */
	enum aufs_by by;       /* never AUTO */
	struct aufs_limits limits; /* BY_KERNEL, once has_limits */
	bool has_limits;

	/* Held shared while a layer is mounted or unmounted, and alone while
	 * dead mounts are made anew. */
	pthread_rwlock_t mounting;
	pthread_mutex_t lock; /* for what follows, and for limits */
	char (*users)[LAYER_ID_SIZE]; /* owned: ids between get and put */
	size_t n_users;
};

/* ---- aufs.c ---- */

/* HOME/SUB/ID, malloc'ed. */
int aufs_path(struct aufs *a, const char *sub, const char *id,
    char **ret_path, struct imgd_error **err);

/* The text of HOME/layers/ID as it should be: one ancestor a line, the parent
 * first; malloc'ed. */
int aufs_ancestors(struct aufs *a, const char *id, char **ret_text,
    struct imgd_error **err);
int aufs_write_ancestors(struct aufs *a, const char *id, const char *text,
    struct imgd_error **err);

/* Tell cb, unless it is NULL, of entries in diff, layers and mnt whose layer
 * is gone; with remove delete them.  Returns how many remain. */
int aufs_sweep(struct aufs *a, bool remove, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err);

/* ---- access.c ---- */

enum aufs_mounted { AUFS_NOT_MOUNTED, AUFS_MOUNTED, AUFS_DEAD };

/* Whether HOME/mnt/ID is a mount point, and who serves it lives: enum
 * aufs_mounted or < 0. */
int aufs_is_mounted(struct aufs *a, const char *id, struct imgd_error **err);

bool aufs_has_user(struct aufs *a, const char *id);

/* Mount id at HOME/mnt/ID.  Returns 1 if it needs no mount. */
int aufs_mount_layer(struct aufs *a, const char *id, struct imgd_error **err);
/* Unmount it, and bring what was written into aufs's form. */
int aufs_unmount_layer(struct aufs *a, const char *id,
    struct imgd_error **err);

/* Bring an unmounted layer's branch into aufs's form, if it may be in another
 * one. */
int aufs_settle(struct aufs *a, const char *id, struct imgd_error **err);

int aufs_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err);
int aufs_put(void *h, const char *id, uint32_t kind, struct imgd_error **err);
int aufs_own_dir(void *h, const char *id, char **ret_path,
    uint32_t *ret_whiteouts, struct imgd_error **err);
int aufs_cleanup(void *h, struct imgd_error **err);
void aufs_users_done(struct aufs *a);

/* ---- revive.c ---- */

/* Detach a mount whose server died, wherever it shows, and mount id there
 * again; what fails is logged.  With nobody using it it is only detached. */
int aufs_revive(struct aufs *a, const char *id, struct imgd_error **err);

/* ---- probe.c ---- */

int aufs_probe(const struct imgd_env *env, struct imgd_error **err);
/* Read the options; ret_by is never AUTO. */
int aufs_read_options(const struct imgd_env *env, enum aufs_by *ret_by,
    struct imgd_error **err);
/* Learn what the kernel's aufs can do, once a boot. */
int aufs_learn_limits(struct aufs *a, struct imgd_error **err);

/* ---- health.c ---- */

int aufs_status(void *h, struct imgd_kv *kv, struct imgd_error **err);
int aufs_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err);
int aufs_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err);
int aufs_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
