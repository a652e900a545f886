/*
 * One directory per layer, for drivers that keep layers as directories.
 *
 *     LAYERS/ID/state     -> staged | sealed | rw
 *     LAYERS/ID/parent    -> ../PARENT | none
 *     HOME/tmp/ID         a layer being made
 *     HOME/dying/RANDOM   a layer being removed
 *
 * State and parent are symbolic links because a link's target is written with
 * its name: no crash leaves half of one, which small files cannot promise
 * without an fsync each.
 *
 * A layer appears by one rename and disappears by one rename, so after a crash
 * it is there whole or not at all.  Any thread; calls on one id must not
 * overlap, except that a parent may be read.
 */
#ifndef LIB_LAYER_DIRS_H
#define LIB_LAYER_DIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "imgd/driver.h"

#include "lib/fs-at.h"

#define LAYER_ID_SIZE   65 /* 64 hex digits and a NUL */
#define LAYER_PATH_SIZE 96 /* "ID/NAME" with names of our own */

/* Names in the home that a probe uses; open deletes what a killed one left. */
#define LAYER_PROBE_PREFIX "probe-"

/* Whether r, a -errno, tells of a full or broken disk, or the like: no reason to choose
 * another driver, as a probe's -EOPNOTSUPP is. */
bool layer_probe_will_pass(int r);

struct layer_dirs {
	int layers_fd; /* -EBADF: read-only, and nothing is there yet */
	int tmp_fd;    /* likewise */
	int dying_fd;  /* likewise */
	void (*log)(int level, const char *fmt, ...) IMGD_PRINTF(2, 3);
	/* Delete a layer's directory with all in it; absent is success. */
	int (*remove_tree)(int dir_fd, const char *name,
	    struct imgd_error **err);
};

#define LAYER_DIRS_INIT { -EBADF, -EBADF, -EBADF, NULL, fs_remove_tree }

/*
 * Open the directories below env's home, made when missing, and finish what a
 * crash left in tmp/ and dying/.  With IMGD_OPEN_READONLY nothing is changed.
 *
 * ld: LAYER_DIRS_INIT, perhaps with another remove_tree.
 * layers_name: where layers lie below home; "." for home itself.
 */
int layer_dirs_open(struct layer_dirs *ld, const struct imgd_env *env,
    const char *layers_name, struct imgd_error **err);
void layer_dirs_done(struct layer_dirs *ld);

/*
 * Start making a layer: tmp/ID with its state and parent.
 *
 * parent: NULL for a base.
 * sealed_parent: whether parent must be sealed (-EINVAL otherwise).
 * Returns a descriptor of tmp/ID, which the caller closes; -EEXIST if the id
 * is taken, -ENOENT if parent is not there.  End it with commit or abort.
 */
int layer_dirs_begin(struct layer_dirs *ld, const char *id,
    const char *parent, uint32_t state, bool sealed_parent,
    struct imgd_error **err);
int layer_dirs_commit(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);
void layer_dirs_abort(struct layer_dirs *ld, const char *id);

/* Make and open the root directory of a layer that is being made: 0755 0:0,
 * whatever the store's own directory bequeaths. */
int layer_dirs_make_root(int layer_fd, const char *name,
    struct imgd_error **err);

/* Whether the layer is there: 1, 0, or < 0. */
int layer_dirs_exists(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);

/* A descriptor of the layer's own directory; -ENOENT if it is not there. */
int layer_dirs_fd(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);

/* IMGD_STATE_*; -ENOENT, or -EUCLEAN if it cannot be told. */
int layer_dirs_state(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);

/* 1 and the parent's id, 0 for a base; -ENOENT, -EUCLEAN. */
int layer_dirs_parent(struct layer_dirs *ld, const char *id,
    char ret_parent[LAYER_ID_SIZE], struct imgd_error **err);

/* Staged → sealed.  -EROFS if it is sealed; -EINVAL if it is writable. */
int layer_dirs_seal(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);

/* Exchange name, a directory of each (NULL: the layers' own directories),
 * between two sealed layers of one parent: what replace asks for.  If id has
 * lost it, it gets with's.  -EINVAL unless both are sealed. */
int layer_dirs_exchange(struct layer_dirs *ld, const char *id,
    const char *with, const char *name, struct imgd_error **err);

/* Remove the layer, or what an interrupted creation left of it.  When the
 * contents cannot all be deleted the layer is gone nevertheless and the rest
 * is left to the next open; a warning says so. */
int layer_dirs_remove(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);

/* Call cb for every layer, children before parents.  A layer whose state
 * cannot be told is called staged.  Nonzero from cb stops and is returned. */
int layer_dirs_list(struct layer_dirs *ld, imgd_layer_cb *cb, void *ctx,
    struct imgd_error **err);

/* 1 if some layer has id as its parent, else 0. */
int layer_dirs_has_children(struct layer_dirs *ld, const char *id,
    struct imgd_error **err);

/*
 * Report leftovers in tmp/ and dying/ and layers whose records are damaged or
 * do not fit each other.
 *
 * flags: IMGD_CHECK_REPAIR removes the leftovers; records are never guessed.
 * Returns the number of problems that remain.
 */
int layer_dirs_check(struct layer_dirs *ld, uint32_t flags,
    imgd_problem_cb *cb, void *ctx, struct imgd_error **err);

/* Whether name has the form of a layer id. */
bool layer_id_is_valid(const char *name);

#endif
