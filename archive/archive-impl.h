/* What the readers of the forms share. */
#ifndef ARCHIVE_ARCHIVE_IMPL_H
#define ARCHIVE_ARCHIVE_IMPL_H

#include <stdbool.h>

#include "archive/archive.h"
#include "lib/inflate.h"

/* One form: fill images; fill what find has not. */
struct form_ops {
	int (*list)(struct image_archive *a, const struct platform *want,
	    struct imgd_error **err);
	int (*find)(const struct image_archive *a,
	    const struct archived_image *img, struct found_image *f,
	    struct imgd_error **err);
};

extern const struct form_ops docker_form, layout_form, legacy_form;

/* Fill form and images of what has members. */
int archive_list(struct image_archive *a, const struct platform *want,
    struct imgd_error **err);
/* Drop the images again. */
void archive_forget(struct image_archive *a);

int archive_add_image(struct image_archive *a, struct archived_image **ret,
    struct imgd_error **err);
int archive_add_name(struct image_archive *a, struct archived_image *img,
    const char *name, struct imgd_error **err);

/* Make room for n layers. */
int found_make_layers(struct found_image *f, size_t n,
    struct imgd_error **err);
/* Take the bytes of the config, and its id; it must tell of as many layers as
 * were found. */
int found_take_config(struct found_image *f, char *config, size_t len,
    struct imgd_error **err);

#define LAYOUT_INDEX "index.json"
#define LAYOUT_REF   "org.opencontainers.image.ref.name"

/* Read a layout's document by its digest, and check that. */
int layout_read_blob(const struct image_archive *a, const char *digest,
    size_t max, char **ret, size_t *ret_len, struct imgd_error **err);

/* A copy that must not become too long. */
struct archive_copy {
	int fd;
	uint64_t n_bytes, max_bytes;
};

int archive_copy_write(struct archive_copy *c, const void *data, uint64_t len,
    struct imgd_error **err);

/* All that fd gives, into z.  progress: told the bytes read; may be NULL. */
int archive_pass_all(int fd, struct inflate *z,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_bytes, struct imgd_error **err);

/* The layer's bytes at pos, which only ever moves on: their number, 0 at its
 * end. */
typedef int64_t archive_read_fn(void *ctx, uint64_t pos, void *buf,
    size_t len, struct imgd_error **err);

/* found_layer_write() of bytes from elsewhere. */
int archive_layer_write(const struct found_layer *l, archive_read_fn *read,
    void *read_ctx, struct imgd_sink *sink,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_blob_bytes, uint64_t *ret_tar_bytes,
    struct imgd_error **err);

/* Whether the archive has that file, and it has come. */
bool archive_has(const struct image_archive *a, const char *name);

#endif
