/* What the readers of the two layouts share. */
#ifndef ADOPT_ADOPT_IMPL_H
#define ADOPT_ADOPT_IMPL_H

#include "adopt/adopt.h"

/* A storage driver of the other engine and where it has a layer's files. */
struct layout_driver {
	const char *name;
	/* Path below DIR, with %s for the layer's directory; NULL: it cannot
	 * be read there. */
	const char *tree;
	bool is_on_devices; /* the layers are, and a mounter helps */
};

/* One engine's images in one storage driver. */
struct store {
	const struct layout *layout;
	const struct layout_driver *driver;
	int dir_fd; /* borrowed */
};

/* How an engine lays its data out. */
struct layout {
	const char *engine;
	const struct layout_driver *drivers; /* ended by a NULL name */
	/* Path below DIR, with %s for the driver: there if it has images. */
	const char *mark;
	int (*list)(const struct store *s, struct adopt_images *images,
	    struct imgd_error **err);
	/* Fill what find has not: config, manifest, layers. */
	int (*find)(const struct store *s, const char *id,
	    struct adopt_found *f, struct imgd_error **err);
	/* The layer's tar-split, and the name of its directory. */
	int (*open_layer)(const struct store *s, const struct adopt_layer *l,
	    int *ret_split_fd, char ret_dir[65], struct imgd_error **err);
};

extern const struct layout docker_layout, containers_layout;

/* Append an image, or find it. */
int images_add(struct adopt_images *images, const char *id,
    const char *driver, struct adopt_image **ret, struct imgd_error **err);
int image_add_name(struct adopt_image *img, const char *name,
    struct imgd_error **err);

/* Check f->config against id and fill the layers' diff_ids and chain_ids. */
int found_take_config(struct adopt_found *f, const char *id,
    struct imgd_error **err);

/*
 * Call cb for each element of a JSON array, an object's text each.
 *
 * The array may be of any length, since only the elements are held to
 * json_scan's count of values.
 */
typedef int element_cb(void *ctx, const char *text, size_t len,
    struct imgd_error **err);
int json_elements(const char *text, size_t len, element_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
