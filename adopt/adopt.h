/*
 * Reading the images of other engines where they lie: Docker's data
 * directory and containers-storage (podman, skopeo, buildah).
 *
 * All that is read is hostile: documents are capped and go through
 * json_scan(), no name leads out of the directory, and nothing is written.
 * What comes out is for the caller to check against digests.  For workers.
 */
#ifndef ADOPT_ADOPT_H
#define ADOPT_ADOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"
#include "lib/digest.h"

struct adopt;

/*
 * Look at a directory.
 *
 * dir_fd: borrowed; must outlive the handle.
 * Returns 0; -EINVAL if it is neither engine's.
 */
int adopt_open(int dir_fd, struct adopt **ret, struct imgd_error **err);
void adopt_close(struct adopt *a);
static inline void
adopt_closep(struct adopt **a)
{
	adopt_close(*a);
}

/* "Docker" or "containers-storage". */
const char *adopt_engine(const struct adopt *a);
/* Whether a Docker daemon is at work in the directory just now. */
bool adopt_is_live(const struct adopt *a);

/* Docker's storage driver whose layers are devices, for a mounter. */
#define ADOPT_DEVICEMAPPER "devicemapper"

/*
 * Who can mount such layers: opens the tree of the one whose directory is
 * called dir, and tells whether its filesystem was not unmounted.
 * Any thread, several at once.  Returns a descriptor; -EUCLEAN.
 */
typedef int adopt_mounter(void *ctx, const char *dir, bool *ret_is_unclean,
    struct imgd_error **err);
void adopt_set_mounter(struct adopt *a, adopt_mounter *mounter, void *ctx);

/* ---- what there is ---- */

struct adopt_image {
	char id[DIGEST_STR_SIZE]; /* of its config */
	const char *driver; /* static: "overlay2", "vfs" … as it is called there */
	char **names;       /* as written there, unchecked */
	size_t n_names;
	/* Another image was built on it, and it has no name: a step. */
	bool is_step;
};

struct adopt_images {
	struct adopt_image *items;
	size_t n;
};

/*
 * List the images.  One that a name points to is listed even if it is
 * missing.  ret: release with adopt_images_done().
 */
int adopt_list(struct adopt *a, struct adopt_images *ret,
    struct imgd_error **err);
void adopt_images_done(struct adopt_images *images);

/* ---- one image ---- */

struct adopt_layer {
	char diff_id[DIGEST_STR_SIZE];
	char chain_id[DIGEST_STR_SIZE];
	char id[65]; /* containers-storage's own; "" with Docker */
};

struct adopt_found {
	struct adopt *adopt;     /* borrowed */
	const struct store *store;
	char *config;
	size_t config_len;
	char *manifest; /* NULL: there is none that can be used */
	size_t manifest_len;
	char manifest_digest[DIGEST_STR_SIZE];
	struct adopt_layer *layers; /* base first */
	size_t n_layers;
};

/*
 * Find an image by its id and the driver that the list gave, and verify the
 * config's digest.
 *
 * ret: release with adopt_found_free(), before the handle.
 * Returns 0; -ENOENT; -IMGD_E_DIGEST; -IMGD_E_FORMAT; -IMGD_E_LIMIT;
 * -EUCLEAN for metadata that contradicts itself.
 */
int adopt_find(struct adopt *a, const char *driver, const char *id,
    struct adopt_found **ret, struct imgd_error **err);
void adopt_found_free(struct adopt_found *f);
static inline void
adopt_found_freep(struct adopt_found **f)
{
	adopt_found_free(*f);
}

/*
 * Write the tar of layer i to sink, as tar_split_write does.
 *
 * Any thread; several layers may be written at once.
 * -EUCLEAN for a layer whose metadata, tree or tar-split is missing or
 * damaged; -EOPNOTSUPP for a storage driver that cannot be read.
 */
int adopt_write_layer(const struct adopt_found *f, size_t i,
    struct imgd_sink *sink, uint64_t *ret_bytes, struct imgd_error **err);

#endif
