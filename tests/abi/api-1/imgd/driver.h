/*
 * imgd/driver.h: the storage driver ABI, api 1.
 *
 * A driver stores image layers.  It is one table of functions, registered
 * with IMGD_REGISTER_DRIVER in a module imgd-NAME-driver.so.  It includes
 * this header and imgd/error.h and nothing else of imgd's.
 *
 * RULES THAT HOLD FOR EVERY OPERATION
 *
 * Return values.  0 or more is success, a negative code is failure.  Failure
 *   sets *err (imgd/error.h), success leaves it alone, and outputs are
 *   untouched on failure.  err is never NULL.  Codes with a fixed meaning:
 *   -ENOENT no such layer; -EEXIST the id is taken; -EBUSY in use; -EROFS the
 *   layer is sealed; -ENOSPC pool or quota full; -EUCLEAN damaged, run fsck;
 *   -EOPNOTSUPP not here; -ECANCELED.
 * Ids are 64 lower-case hex digits made by imgd; nothing that came from
 *   outside reaches a driver's path.  imgd has checked every argument: drivers
 *   need no argument checks.
 * Memory.  Strings passed in live until the operation returns.  Strings
 *   passed out are malloc'ed and freed by imgd.
 * Threads.  imgd serialises calls as "threads" declares.  Callbacks run on
 *   the calling thread and must not call back into the driver.
 * Life of a layer.  create makes it STAGED; it is filled between get and put,
 *   or in own_dir; seal, which comes after put, makes it complete and
 *   immutable, not yet durable; flush makes everything sealed before it
 *   durable; then imgd publishes it.  create_rw makes a writable layer, which
 *   is never sealed.
 * Crashes.  imgd records an id before it calls create.  After a crash it
 *   calls remove for every id that was not published, so each operation may
 *   be cut anywhere as long as remove then works.  open finishes half-done
 *   removals; it touches no mount.
 *
 * GROWTH.  Fields are appended, never reordered, reused or changed.  imgd
 * copies min(struct_size) bytes and takes the rest as zero.
 *
 * This header compiles alone as C90 -pedantic and as C++.
 */
#ifndef IMGD_DRIVER_H
#define IMGD_DRIVER_H

#include <stdint.h>

#include "imgd/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IMGD_DRIVER_API 1

/* Thread models: what imgd must not do at the same time. */
#define IMGD_THREADS_SERIAL    0u /* any two calls */
#define IMGD_THREADS_PER_LAYER 1u /* two calls on one id; create holds its parent shared */
#define IMGD_THREADS_PARALLEL  2u /* nothing: the driver locks for itself */

/* Capabilities: a bit exists only if imgd branches on it. */
#define IMGD_CAP_RW          (1u << 0) /* create_rw works */
#define IMGD_CAP_INDEPENDENT (1u << 1) /* a child may be created and filled while its parent is staged */
#define IMGD_CAP_EXACT_DIFF  (1u << 2) /* diff gives the very bytes back */
#define IMGD_CAP_QUOTA       (1u << 3) /* quota_bytes is enforced */
#define IMGD_CAP_LABEL       (1u << 4) /* mount_label is honoured */
#define IMGD_CAP_LIVE_CHECK  (1u << 5) /* check may run while layers are mounted */
#define IMGD_CAP_BLOCKDEV    (1u << 6) /* get gives block devices */

/* imgd_env.flags */
#define IMGD_OPEN_READONLY (1u << 0) /* open changes nothing on disk */

/* get and put: which kind of access; users are counted per kind. */
#define IMGD_GET_TREE  0u
#define IMGD_GET_BLOCK 1u

/* How deletions stand in own_dir's directory, or in get's tree without it. */
#define IMGD_WH_DELETE  0u /* full trees: what is deleted is gone */
#define IMGD_WH_AUFS    1u /* ".wh.NAME" and ".wh..wh..opq" files */
#define IMGD_WH_OVERLAY 2u /* character device 0/0; trusted.overlay.opaque = y */

/* check's flags */
#define IMGD_CHECK_DEEP   (1u << 0) /* read everything that can be read */
#define IMGD_CHECK_REPAIR (1u << 1) /* fix what would be reported */

/* States that list tells. */
#define IMGD_STATE_MASK    0x0fu
#define IMGD_STATE_STAGED  1u
#define IMGD_STATE_SEALED  2u
#define IMGD_STATE_RW      3u
#define IMGD_STATE_MOUNTED 0x10u /* flag: mounted or active now */

/* Kinds of change. */
#define IMGD_CHANGE_MODIFY 0
#define IMGD_CHANGE_ADD    1
#define IMGD_CHANGE_DELETE 2

/* imgd_env.log's levels */
#define IMGD_LOG_DEBUG 0
#define IMGD_LOG_WARN  1

/* One "key=value" option. */
struct imgd_option {
	const char *key;
	const char *value;
};

/* What a driver learns of the store it works for; lives until close. */
struct imgd_env {
	uint32_t struct_size;
	uint32_t flags;         /* IMGD_OPEN_* */
	int home_fd;            /* ROOT/drivers/NAME, a directory; borrowed */
	const char *home;       /* its absolute path */
	const char *run_dir;    /* for what need not outlive a boot */
	const struct imgd_option *options;
	uint32_t n_options;

	/* One line for the log; debug lines are dropped unless asked for. */
	void (*log)(int level, const char *fmt, ...) IMGD_PRINTF(2, 3);
	/* Nonzero when the caller gave up: long copies poll it and return
	 * -ECANCELED, leaving what remove can clean. */
	int (*cancelled)(void);
};

/* Options of one layer.  NULL or 0: the default. */
struct imgd_layer_opts {
	uint32_t struct_size;
	uint32_t reserved;
	uint64_t quota_bytes;    /* 0 = no quota; create_rw with CAP_QUOTA */
	const char *mount_label; /* SELinux; CAP_LABEL */
};

/* Bytes to read: read fills at most len bytes, 0 = end, < 0 = error. */
struct imgd_source {
	uint32_t struct_size;
	void *ctx;
	int64_t (*read)(void *ctx, void *buf, uint64_t len,
	    struct imgd_error **err);
};

/* Bytes to write, all or an error. */
struct imgd_sink {
	uint32_t struct_size;
	void *ctx;
	int (*write)(void *ctx, const void *buf, uint64_t len,
	    struct imgd_error **err);
};

/* Where status and metadata put their answers; value is copied. */
struct imgd_kv {
	uint32_t struct_size;
	void *ctx;
	void (*put)(void *ctx, const char *key, const char *value);
};

/* One layer; parent is NULL for a base.  Nonzero stops the listing and
 * becomes list's result. */
typedef int imgd_layer_cb(void *ctx, const char *id, const char *parent,
    uint32_t state);
/* One changed path, absolute within the layer. */
typedef int imgd_change_cb(void *ctx, const char *path, int kind);
/* One problem, one line; id is NULL if no layer is meant. */
typedef void imgd_problem_cb(void *ctx, const char *id, const char *text,
    int repaired);

struct imgd_driver {
	uint32_t struct_size, api; /* set by IMGD_REGISTER_DRIVER */

	uint32_t threads;   /* IMGD_THREADS_*: the most the driver can do */
	uint32_t caps;      /* IMGD_CAP_*: likewise */
	uint32_t max_depth; /* longest chain that mounts; 0 = no limit */
	const char *name;
	const char *description;  /* one line */
	const char *options_help; /* "key=VALUE  text" lines, NULL: no options */

	/* ---- life of one store ---- */

	/* Required.  Can this driver work in env's home?  Leaves no trace.
	 * -EOPNOTSUPP: no, try the next one; any other failure stops the
	 * selection. */
	int (*probe)(const struct imgd_env *env, struct imgd_error **err);

	/* Required.  Open or make the driver's part of the store; finish
	 * removals that a crash cut; touch no mount and no active device.  A
	 * later get of something that an earlier process left mounted adopts
	 * it.  With IMGD_OPEN_READONLY nothing on disk changes.
	 * ret_h: the driver's handle, released by close. */
	int (*open)(const struct imgd_env *env, void **ret_h,
	    struct imgd_error **err);

	/* NULL: the table's values hold.  Lower threads, caps or max_depth to
	 * what this store and kernel allow; never raise. */
	int (*narrow)(void *h, uint32_t *threads, uint32_t *caps,
	    uint32_t *max_depth, struct imgd_error **err);

	/* NULL: nothing to release.  Unmount and deactivate what has no user.
	 * Called at every orderly end, before close. */
	int (*cleanup)(void *h, struct imgd_error **err);

	/* Required.  Free h.  Never unmounts; works after any failure. */
	void (*close)(void *h);

	/* ---- layers ---- */

	/* Required.  Make id, STAGED, with the content of parent (NULL: empty,
	 * root directory 0755 0:0).  -EEXIST changes nothing.  With
	 * CAP_INDEPENDENT parent may itself be staged. */
	int (*create)(void *h, const char *id, const char *parent,
	    const struct imgd_layer_opts *opts, struct imgd_error **err);

	/* NULL: no CAP_RW.  Make a writable layer on a sealed parent.  Durable
	 * on success: neither seal nor flush follows. */
	int (*create_rw)(void *h, const char *id, const char *parent,
	    const struct imgd_layer_opts *opts, struct imgd_error **err);

	/* NULL: completeness is imgd's own record.  The staged layer id is
	 * complete: make it immutable; it may be a parent from now on.  Not
	 * yet durable.  Not called while id is in use.  A parent is sealed
	 * before its children.  -EROFS when it is sealed already. */
	int (*seal)(void *h, const char *id, struct imgd_error **err);

	/* NULL: imgd calls syncfs on a descriptor of the home that it opened
	 * before the first write.  Everything sealed before this call is on
	 * stable storage when it returns 0.  Write-back errors are failures;
	 * a failed flush is never repeated and trusted. */
	int (*flush)(void *h, struct imgd_error **err);

	/* NULL: imgd rebuilds the layer and its descendants.  Exchange the
	 * contents of two sealed layers of equal parent: id takes with's, and
	 * with then holds the old one.  Open mounts keep the old content. */
	int (*replace)(void *h, const char *id, const char *with,
	    struct imgd_error **err);

	/* Required.  Remove id in any state, renaming away before deleting; a
	 * leftover mount at the driver's own place is unmounted.  An absent id
	 * is success.  -EBUSY if the unmount is busy, or id is a parent that
	 * other layers need. */
	int (*remove)(void *h, const char *id, struct imgd_error **err);

	/* Required.  1: id is there in some state, 0: it is not, < 0: cannot
	 * tell. */
	int (*exists)(void *h, const char *id, struct imgd_error **err);

	/* NULL: imgd's rows alone tell what there is.  Every layer once,
	 * children before parents. */
	int (*list)(void *h, imgd_layer_cb *cb, void *ctx,
	    struct imgd_error **err);

	/* ---- access ---- */

	/* Required.  Make id reachable and tell where: the full merged tree
	 * (IMGD_GET_TREE), or a block device that holds it (IMGD_GET_BLOCK,
	 * CAP_BLOCKDEV).  imgd counts users per kind and calls this for the
	 * first; called again it gives the same path.
	 * ret_path: malloc'ed, absolute. */
	int (*get)(void *h, const char *id, uint32_t kind, char **ret_path,
	    struct imgd_error **err);

	/* Required.  The last user of that kind is gone. */
	int (*put)(void *h, const char *id, uint32_t kind,
	    struct imgd_error **err);

	/* NULL: the driver keeps full trees (IMGD_WH_DELETE).  The directory
	 * with only id's own changes, filled while staged and read later, and
	 * how deletions stand in it (IMGD_WH_AUFS or IMGD_WH_OVERLAY). */
	int (*own_dir)(void *h, const char *id, char **ret_path,
	    uint32_t *ret_whiteouts, struct imgd_error **err);

	/* ---- content; NULL: imgd's generic code ---- */

	/* For drivers that store something other than directory trees.  Runs
	 * inside the sandboxed unpacker, without the handle: read a tar stream
	 * from source into stage_fd. */
	int (*apply_diff)(int stage_fd, const struct imgd_layer_opts *opts,
	    struct imgd_source *source, uint64_t *ret_bytes,
	    struct imgd_error **err);
	int (*diff)(void *h, const char *id, const char *base,
	    struct imgd_sink *sink, struct imgd_error **err);
	int (*changes)(void *h, const char *id, const char *base,
	    imgd_change_cb *cb, void *ctx, struct imgd_error **err);
	int (*diff_size)(void *h, const char *id, const char *base,
	    uint64_t *ret_bytes, struct imgd_error **err);

	/* ---- insight and health ---- */

	/* NULL: nothing to tell.  Facts about the whole store. */
	int (*status)(void *h, struct imgd_kv *kv, struct imgd_error **err);

	/* NULL: nothing to tell.  Facts about one layer. */
	int (*metadata)(void *h, const char *id, struct imgd_kv *kv,
	    struct imgd_error **err);

	/* NULL: -EOPNOTSUPP.  Report every inconsistency; with
	 * IMGD_CHECK_REPAIR fix what would be reported.  Returns the number of
	 * problems that remain.  Nothing is mounted unless CAP_LIVE_CHECK. */
	int (*check)(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
	    struct imgd_error **err);
};

/*
 * The one symbol that a driver module exports; made by the macro below.
 * Returns the module's table, which lives as long as the module is loaded.
 */
#define IMGD_DRIVER_INIT_SYMBOL "imgd_driver_init"
typedef const struct imgd_driver *imgd_driver_init_fn(void);

#if defined(__cplusplus)
#define IMGD_EXTERN_C extern "C"
#else
#define IMGD_EXTERN_C extern
#endif

/* Use once in a module, with a struct imgd_driver that is not const. */
#define IMGD_REGISTER_DRIVER(table)                                          \
	IMGD_EXTERN_C IMGD_EXPORT const struct imgd_driver *                 \
	imgd_driver_init(void);                                              \
	const struct imgd_driver *imgd_driver_init(void)                     \
	{                                                                    \
		(table).struct_size = (uint32_t)sizeof(struct imgd_driver);  \
		(table).api = IMGD_DRIVER_API;                               \
		return &(table);                                             \
	}                                                                    \
	struct imgd_driver /* swallows the semicolon */

#ifdef __cplusplus
}
#endif

#endif
