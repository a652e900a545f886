/*
 * The overlay driver's handle, and what its files share.
 */
#ifndef DRIVERS_OVERLAY_OVERLAY_H
#define DRIVERS_OVERLAY_OVERLAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "imgd/driver.h"

#include "lib/layer-dirs.h"

struct mount_ops;

#define SHORT_SIZE 7 /* 30 random bits in base 32, and a NUL */

struct overlay {
	const struct imgd_env *env; /* borrowed until close */
	const struct mount_ops *ops;
	struct layer_dirs layers;
	char *home;            /* owned: absolute, without links */
	char *links;           /* owned: HOME/l */
	int links_fd;          /* owned; -EBADF: read-only, not there yet */
	int sync_fd;           /* owned: opened before the first write */
	atomic_int sync_error; /* errno of the first failed flush */
	bool userxattr;

	pthread_mutex_t lock; /* for what follows */
	char (*users)[LAYER_ID_SIZE]; /* owned: ids between get and put */
	size_t n_users;
};

/* HOME/ID/NAME, malloc'ed. */
int overlay_layer_path(struct overlay *o, const char *id, const char *name,
    char **ret_path, struct imgd_error **err);

/* The short name of id, from HOME/ID/link; -EUCLEAN. */
int overlay_read_short(struct overlay *o, const char *id,
    char ret[SHORT_SIZE], struct imgd_error **err);

/* Whether that name leads to the layer. */
bool overlay_short_leads(struct overlay *o, const char *id);
/* Give the layer one that does, whatever was there. */
int overlay_remake_short(struct overlay *o, const char *id,
    struct imgd_error **err);

/* Make a short name for id and note it in layer_fd. */
int overlay_make_short(struct overlay *o, int layer_fd, const char *id,
    struct imgd_error **err);

/* Tell cb, unless it is NULL, of short names whose layer is gone; with remove
 * delete them.  Returns how many remain. */
int overlay_sweep_links(struct overlay *o, bool remove, imgd_problem_cb *cb,
    void *ctx, struct imgd_error **err);

/* Operations of the driver's table. */
int overlay_status(void *h, struct imgd_kv *kv, struct imgd_error **err);
int overlay_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err);
int overlay_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
