/* What the readers of the forms share. */
#ifndef ARCHIVE_ARCHIVE_IMPL_H
#define ARCHIVE_ARCHIVE_IMPL_H

#include <stdbool.h>

#include "archive/archive.h"

/* One form: fill images; fill what find has not. */
struct form_ops {
	int (*list)(struct image_archive *a, const struct platform *want,
	    struct imgd_error **err);
	int (*find)(const struct image_archive *a,
	    const struct archived_image *img, struct found_image *f,
	    struct imgd_error **err);
};

extern const struct form_ops docker_form, layout_form, legacy_form;

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

/* Whether the archive has that file. */
bool archive_has(const struct image_archive *a, const char *name);

#endif
