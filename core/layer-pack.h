/* A layer's tar from its stored tree and its recipe. */
#ifndef CORE_LAYER_PACK_H
#define CORE_LAYER_PACK_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "core/engine.h"
#include "lib/digest.h"

/*
 * Let a packer give the layer's tar back.
 *
 * out_fd: where it goes, borrowed; -1: nowhere, for the digest alone.
 * ret_diff_id: SHA-256 of what came.
 * -EUCLEAN with the file's name if the tree is damaged; -ENOENT if the layer
 * has no recipe.  Damage is remembered: see core/layer-damage.h.
 */
int layer_pack(struct engine *e, struct driver *d, const char *key,
    int out_fd, char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err);

/*
 * Let a packer write the tar of a layer of what changed in key's tree.
 *
 * list_fd: the changes, as tar_changes() takes them; out_fd: where it goes.
 * Both are borrowed.
 */
int layer_pack_changes(struct engine *e, struct driver *d, const char *key,
    int list_fd, int out_fd, uint64_t *ret_bytes, struct imgd_error **err);

/* A packer at work beside the caller, who reads what it writes. */
struct packing {
	struct engine *engine;
	struct driver *driver;
	const char *key; /* borrowed */
	bool is_tree;
	pthread_t thread;
	bool is_running;
	int out_fd;
	char diff_id[DIGEST_STR_SIZE];
	int result;
	struct imgd_error *error;
};

#define PACKING_INIT { .out_fd = -EBADF }

/* Start one; *ret_fd is where to read the tar, the caller's.
 * is_tree: not the layer, but the tree as it is; its diff_id is "". */
int packing_start(struct packing *k, struct engine *e, struct driver *d,
    const char *key, bool is_tree, int *ret_fd, struct imgd_error **err);
/* Its end has been read: what it failed with, or -IMGD_E_DIGEST if the tar was
 * not that of diff_id. */
int packing_wait(struct packing *k, const char *diff_id,
    struct imgd_error **err);
/* Wait for one whose reader is gone, and release what it has. */
void packing_done(struct packing *k);

#endif
