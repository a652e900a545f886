/*
 * The devmapper driver's handle, and what its files share.
 *
 * Locks, in the order in which they are taken: a layer (layer_lock), the
 * pool's (lock: journal, transactions, taking the pool up and down), the list
 * of layers in use (uses_lock), libdevmapper's own.
 */
#ifndef DRIVERS_DEVMAPPER_DEVMAPPER_H
#define DRIVERS_DEVMAPPER_DEVMAPPER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "imgd/driver.h"

#include "drivers/devmapper/host.h"
#include "drivers/devmapper/journal.h"
#include "drivers/devmapper/options.h"
#include "lib/cleanup.h"
#include "lib/mapper.h"

#define BASE_ID "base"

#define DEVICE_PATH_SIZE (MAPPER_NAME_SIZE + 16)

/* A filesystem ends at a boundary of its own: only a device that is larger by
 * more than this was made larger on purpose. */
#define FS_SLACK_BYTES (16ull << 20)

/* Where the pool's data or metadata lies. */
struct backing {
	const char *what; /* "data", "metadata": also the file's name */
	char *path;       /* owned: of the device or of the sparse file */
	bool is_file;
	uint64_t bytes;   /* recorded size; 0: not yet */
};

/* A layer that somebody works on or has in use. */
struct use {
	struct use *next;
	char id[ROW_ID_SIZE];
	bool is_locked;
	unsigned int n_waiting;
	bool has_tree, has_block; /* between get and put */
	int root_fd; /* owned: of a writable mount, to learn of its write
	              * errors; -EBADF */
};

struct devmapper {
	const struct imgd_env *env; /* borrowed until close */
	const struct mapper_ops *mapper;
	const struct host_ops *host;
	struct options options;
	bool is_readonly, has_mapper;
	char *home;  /* owned: absolute, without links */
	int mnt_fd;  /* owned: HOME/mnt; -EBADF: read-only, not there yet */
	char prefix[48];             /* of device names */
	char store[33];              /* random, in device UUIDs */
	char pool[MAPPER_NAME_SIZE]; /* the pool's device name */

	pthread_mutex_t lock; /* for all up to uses_lock */
	struct journal *journal; /* owned; NULL: read-only, not there yet */
	struct backing data, metadata;
	bool is_given_pool;  /* dm.thinpooldev: not ours to take down */
	bool is_initialized; /* the base has been formatted */
	bool is_fresh;       /* no transaction yet: nothing in the files */
	bool is_up;          /* the pool is active and fits the journal */
	char fs[8];
	uint64_t block_bytes;
	char pool_number[24]; /* MAJOR:MINOR while it is up */
	int flush_error;      /* errno of the first failed flush */

	pthread_mutex_t uses_lock; /* for uses */
	pthread_cond_t uses_changed;
	struct use *uses;

	pthread_mutex_t reaper_lock; /* for what follows */
	pthread_cond_t reaper_changed;
	pthread_t reaper;
	bool has_reaper, is_kicked, is_idle;
	atomic_bool is_stopping;
};

/* ---- devmapper.c ---- */

/* Open with other tables than the kernel's: for tests. */
int devmapper_open_with(const struct imgd_env *env,
    const struct mapper_ops *mapper, const struct host_ops *host,
    void **ret_h, struct imgd_error **err);

extern struct imgd_driver devmapper_driver;

/* ---- pool-status.c ---- */

enum pool_mode {
	POOL_WRITES,
	POOL_OUT_OF_DATA,
	POOL_READ_ONLY,
	POOL_FAILED,
};

struct pool_status {
	enum pool_mode mode;
	bool needs_check;
	uint64_t transaction;
	uint64_t metadata_used, metadata_total; /* blocks of 4 KiB */
	uint64_t data_used, data_total;         /* blocks of block_bytes */
};

/* Read a status line of a thin-pool target; false if it makes no sense. */
bool pool_parse_status(const char *params, struct pool_status *ret);
const char *pool_mode_name(const struct pool_status *ps);

/* The active pool's status. */
int pool_status(struct devmapper *d, struct pool_status *ret,
    struct imgd_error **err);
/* 0 if the pool takes changes; else why not, and what to do. */
int pool_takes_changes(struct devmapper *d, struct imgd_error **err);
/* An operation on the pool failed with -r for the reason *why: if the pool's
 * state explains it, say that instead. */
int pool_explain(struct devmapper *d, int r, const struct imgd_error *why,
    struct imgd_error **err);
/* Refuse with -ENOSPC and numbers when less than dm.min_free_space is free in
 * the pool or below its files.  Called with lock. */
int pool_has_room(struct devmapper *d, struct imgd_error **err);

/* ---- backing.c ---- */

/* Read what the journal knows of the backings and settle what options say;
 * see that they are there, as large as they were, and that the metadata fits
 * the journal.  Changes nothing.  Called with lock. */
int backing_examine(struct devmapper *d, struct imgd_error **err);
/* 1: the metadata on disk was read, 0: there is none yet. */
struct thin_super;
int backing_read_metadata(struct devmapper *d, struct thin_super *ret,
    struct imgd_error **err);
/* Make or grow what must be, and give the block device to use.
 * Returns a descriptor that keeps it until the pool has it. */
int backing_attach(struct devmapper *d, struct backing *b,
    char ret_path[DEVICE_PATH_SIZE], struct imgd_error **err);
/* Whether options ask for more than is there. */
bool backing_wants_growth(const struct devmapper *d);
/* -EUCLEAN if the active pool's devices are not our files any more. */
int backing_check_active(struct devmapper *d, struct imgd_error **err);
/* Grow the files below the active pool. */
int backing_grow_active(struct devmapper *d, struct imgd_error **err);
/* The two transaction ids do not fit: say so, and what repairs it. */
int backing_mismatch(struct devmapper *d, uint64_t pool, uint64_t journal,
    struct imgd_error **err);

/* ---- pool.c; called with lock ---- */

/* Have the pool active, in step with the journal, and the base there. */
int pool_up(struct devmapper *d, struct imgd_error **err);
/* Take it down unless layers are active or it is not ours. */
int pool_down(struct devmapper *d, struct imgd_error **err);
/* Make or delete a thin device, as one transaction.
 * c: kind and row; for CHANGE_CREATE row.device is chosen here.
 * origin: device to take a snapshot of, NULL: an empty device. */
int pool_change(struct devmapper *d, struct change *c, const uint32_t *origin,
    struct imgd_error **err);

/* ---- base.c; called with lock ---- */

int base_ensure(struct devmapper *d, struct imgd_error **err);

/* ---- thin.c ---- */

void thin_name(const struct devmapper *d, const char *id,
    char ret[MAPPER_NAME_SIZE]);
void thin_path(const struct devmapper *d, const char *id,
    char ret[DEVICE_PATH_SIZE]);
/* What is active for id; -EBUSY if a device that is not ours has its name. */
int thin_info(struct devmapper *d, const char *id, struct mapper_info *ret,
    struct imgd_error **err);
/* Have the row's device active. */
int thin_activate(struct devmapper *d, const struct row *row,
    bool is_readonly, struct imgd_error **err);
/* -EBUSY when somebody keeps it open for long; absent is success. */
int thin_deactivate(struct devmapper *d, const char *id,
    struct imgd_error **err);
/* Whether the pool has this device id: 1, 0.  Called with lock. */
int thin_probe(struct devmapper *d, uint32_t device, struct imgd_error **err);
/* Whether some active device of ours is this device id: 1, 0. */
int thin_is_active(struct devmapper *d, uint32_t device,
    struct imgd_error **err);
/* The ids of our active layers; nonzero from cb stops. */
typedef int thin_cb(void *ctx, const char *id);
int thin_each(struct devmapper *d, thin_cb *cb, void *ctx,
    struct imgd_error **err);

/* ---- mount.c; called with the layer locked ---- */

struct use *layer_lock(struct devmapper *d, const char *id,
    struct imgd_error **err);
void layer_unlock(struct devmapper *d, struct use *u);
/* Mount at HOME/mnt/ID, or adopt what is mounted there. */
int layer_mount(struct devmapper *d, const struct row *row, struct use *u,
    struct imgd_error **err);
/* Whether something is mounted at HOME/mnt/ID: 1, 0. */
int layer_is_mounted(struct devmapper *d, const char *id,
    struct imgd_error **err);
/* Write back, unmount, and deactivate unless keep_active.  Write errors are
 * errors, but do not keep it mounted.  Nothing mounted: only deactivates. */
int layer_unmount(struct devmapper *d, const char *id, struct use *u,
    bool keep_active, struct imgd_error **err);
/* Layers still mounted or active that nobody uses: let go of them. */
int layer_release_unused(struct devmapper *d, struct imgd_error **err);
/* Whether anybody has it: the layer's mode, NULL: nobody. */
bool layer_is_busy(const struct use *u);

/* ---- reaper.c ---- */

/* Start deleting what is dying, in the background. */
int reaper_kick(struct devmapper *d, struct imgd_error **err);
/* Wait until everything that can be deleted is. */
void reaper_wait(struct devmapper *d);
void reaper_stop(struct devmapper *d);

/* ---- health.c and check.c: operations of the driver's table ---- */

int devmapper_status(void *h, struct imgd_kv *kv, struct imgd_error **err);
int devmapper_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err);
int devmapper_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err);

/* ---- small things ---- */

static inline void
devmapper_unlockp(pthread_mutex_t **m)
{
	if (*m != NULL)
		(void)pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *
devmapper_lock(struct devmapper *d)
{
	(void)pthread_mutex_lock(&d->lock);
	return &d->lock;
}

/* Held until the end of the block. */
#define cleanup_lock                                                         \
	cleanup(devmapper_unlockp) __attribute__((unused)) pthread_mutex_t *

#endif
