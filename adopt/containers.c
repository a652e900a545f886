/*
 * containers-storage, as podman, skopeo and buildah share it: DRIVER-images
 * (images.json, and a directory per image with its documents), DRIVER-layers
 * (layers.json, and a tar-split per layer).  Source: containers/storage
 * images.go, layers.go.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adopt/adopt-impl.h"
#include "lib/base64.h"
#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/json-get.h"

static int
read_index(const struct store *s, const char *kind, char **ret,
    size_t *ret_len, struct imgd_error **err)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s-%s/%s.json", s->driver->name,
	    kind, kind);
	return beneath_read(s->dir_fd, path, LIMIT_ADOPT_INDEX_BYTES, ret,
	    ret_len, err);
}

/* A required member of 64 hex digits. */
static int
get_id(struct json_object *o, const char *key, const char **ret,
    struct imgd_error **err)
{
	int r = json_get_str(o, key, ret, err);

	if (r >= 0 && (*ret == NULL || !digest_is_hex(*ret)))
		r = imgd_error_set(err, IMGD_E_FORMAT, "\"%s\" is no id", key);
	return r;
}

/* ---- the list ---- */

struct listing {
	const struct store *store;
	struct adopt_images *images;
};

static int
list_image(void *ctx, const char *text, size_t len, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *o = NULL;
	struct listing *listing = ctx;
	char digest[DIGEST_STR_SIZE];
	struct json_object *names;
	struct adopt_image *img;
	const char *id;
	size_t i;
	int r;

	r = json_get_root(text, len, &o, err);
	if (r >= 0)
		r = get_id(o, "id", &id, err);
	if (r >= 0)
		r = json_get_array(o, "names", &names, err);
	if (r < 0)
		return r;
	(void)snprintf(digest, sizeof(digest), "sha256:%s", id);
	r = images_add(listing->images, digest, listing->store->driver->name,
	    &img, err);
	for (i = 0; r >= 0 && names != NULL &&
	     i < json_object_array_length(names);
	     i++) {
		const char *name;

		r = json_get_element_str(names, i, "names", &name, err);
		if (r >= 0)
			r = image_add_name(img, name, err);
	}
	return r;
}

static int
containers_list(const struct store *s, struct adopt_images *images,
    struct imgd_error **err)
{
	struct listing listing = { s, images };
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	r = read_index(s, "images", &text, &len, &e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	r = json_elements(text, len, list_image, &listing, err);
	return r < 0 ? imgd_error_prefix(err, "%s-images/images.json",
			   s->driver->name)
		     : 0;
}

/* ---- one image ---- */

struct image_search {
	const char *id; /* hex */
	bool is_found;
	char layer[65];                     /* the top one; "" for none */
	char manifest_digest[DIGEST_STR_SIZE]; /* "" if none is told */
};

static int
match_image(void *ctx, const char *text, size_t len, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *o = NULL;
	struct image_search *search = ctx;
	const char *id = "", *layer, *digest;
	int r;

	if (search->is_found)
		return 0;
	r = json_get_root(text, len, &o, err);
	if (r >= 0)
		r = get_id(o, "id", &id, err);
	if (r < 0 || strcmp(id, search->id) != 0)
		return r;
	search->is_found = true;
	r = json_get_str(o, "layer", &layer, err);
	if (r >= 0 && layer != NULL && layer[0] != '\0') {
		r = get_id(o, "layer", &layer, err);
		if (r >= 0)
			memcpy(search->layer, layer, 65);
	}
	if (r >= 0)
		r = json_get_str(o, "digest", &digest, err);
	if (r >= 0 && digest != NULL && digest_is_valid(digest))
		memcpy(search->manifest_digest, digest, DIGEST_STR_SIZE);
	return r;
}

/* A document of the image.  Names that are not plain are files named "=" and
 * the name in base64. */
static int
read_document(const struct store *s, const char *id, const char *name,
    bool is_plain, size_t max, char **ret, size_t *ret_len,
    struct imgd_error **err)
{
	cleanup_free char *file = is_plain
	    ? strdup(name)
	    : base64_encode(name, strlen(name));
	char path[512];

	if (file == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	(void)snprintf(path, sizeof(path), "%s-images/%s/%s%s",
	    s->driver->name, digest_hex(id), is_plain ? "" : "=", file);
	return beneath_read(s->dir_fd, path, max, ret, ret_len, err);
}

/* The manifest is welcome, but the image is whole without. */
static void
read_manifest(const struct store *s, const char *id, const char *expected,
    struct adopt_found *f)
{
	char digest[DIGEST_STR_SIZE];

	if (read_document(s, id, "manifest", /* is_plain= */ true,
		LIMIT_MANIFEST_BYTES, &f->manifest, &f->manifest_len,
		NULL) < 0)
		return;
	if (digest_of(f->manifest, f->manifest_len, digest, NULL) >= 0 &&
	    strcmp(digest, expected) == 0) {
		memcpy(f->manifest_digest, digest, DIGEST_STR_SIZE);
		return;
	}
	free(f->manifest);
	f->manifest = NULL;
	f->manifest_len = 0;
}

/* ---- its layers ---- */

struct layer_entry {
	char id[65], parent[65];
	char diff_id[DIGEST_STR_SIZE]; /* "" if it is not told */
	bool is_incomplete;
};

struct layer_index {
	struct layer_entry *items;
	size_t n;
};

static int
add_layer(void *ctx, const char *text, size_t len, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *o = NULL;
	struct layer_index *index = ctx;
	struct layer_entry *items, *entry;
	const char *id, *parent, *diff_id;
	struct json_object *flags = NULL;
	int r;

	if (index->n >= LIMIT_ADOPT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d layers", LIMIT_ADOPT_LAYERS);
	items = reallocarray(index->items, index->n + 1, sizeof(*items));
	if (items == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	index->items = items;
	entry = &items[index->n];
	*entry = (struct layer_entry) { .is_incomplete = false };
	r = json_get_root(text, len, &o, err);
	if (r >= 0)
		r = get_id(o, "id", &id, err);
	if (r >= 0)
		r = json_get_str(o, "parent", &parent, err);
	if (r >= 0 && parent != NULL && parent[0] != '\0')
		r = get_id(o, "parent", &parent, err);
	if (r >= 0)
		r = json_get_str(o, "diff-digest", &diff_id, err);
	if (r >= 0)
		r = json_get_object(o, "flags", &flags, err);
	if (r >= 0 && flags != NULL)
		r = json_get_bool(flags, "incomplete", &entry->is_incomplete,
		    err);
	if (r < 0)
		return r;
	memcpy(entry->id, id, 65);
	if (parent != NULL && parent[0] != '\0')
		memcpy(entry->parent, parent, 65);
	if (diff_id != NULL && digest_is_valid(diff_id))
		memcpy(entry->diff_id, diff_id, DIGEST_STR_SIZE);
	index->n++;
	return 0;
}

static const struct layer_entry *
find_layer(const struct layer_index *index, const char *id)
{
	size_t i;

	for (i = 0; i < index->n; i++)
		if (strcmp(index->items[i].id, id) == 0)
			return &index->items[i];
	return NULL;
}

/* Walk from the top layer down; each must be what the config says. */
static int
name_layers(const struct layer_index *index, const char *top,
    struct adopt_found *f, struct imgd_error **err)
{
	const struct layer_entry *entry;
	size_t i;

	for (i = f->n_layers; i > 0; i--) {
		struct adopt_layer *l = &f->layers[i - 1];

		if (top[0] == '\0')
			return imgd_error_set(err, EUCLEAN,
			    "it has fewer layers than its config says");
		entry = find_layer(index, top);
		if (entry == NULL)
			return imgd_error_set(err, EUCLEAN,
			    "layer %.12s (%.12s): it is not in layers.json",
			    digest_hex(l->diff_id), top);
		if (entry->is_incomplete)
			return imgd_error_set(err, EUCLEAN,
			    "layer %.12s (%.12s): it is incomplete",
			    digest_hex(l->diff_id), top);
		if (entry->diff_id[0] != '\0' &&
		    strcmp(entry->diff_id, l->diff_id) != 0)
			return imgd_error_set(err, EUCLEAN,
			    "layer %.12s: layers.json has %.12s in its place",
			    digest_hex(l->diff_id),
			    digest_hex(entry->diff_id));
		memcpy(l->id, entry->id, sizeof(l->id));
		top = entry->parent;
	}
	if (top[0] != '\0')
		return imgd_error_set(err, EUCLEAN,
		    "it has more layers than its config says");
	return 0;
}

static int
find_layers(const struct store *s, const char *top, struct adopt_found *f,
    struct imgd_error **err)
{
	struct layer_index index = { NULL, 0 };
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	if (f->n_layers == 0)
		return 0;
	r = read_index(s, "layers", &text, &len, err);
	if (r < 0)
		return r;
	r = json_elements(text, len, add_layer, &index, err);
	if (r < 0)
		r = imgd_error_prefix(err, "%s-layers/layers.json",
		    s->driver->name);
	else
		r = name_layers(&index, top, f, err);
	free(index.items);
	return r;
}

static int
find_entry(const struct store *s, struct image_search *search,
    struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	r = read_index(s, "images", &text, &len, err);
	if (r < 0)
		return r;
	r = json_elements(text, len, match_image, search, err);
	if (r < 0)
		return imgd_error_prefix(err, "%s-images/images.json",
		    s->driver->name);
	if (!search->is_found)
		return imgd_error_set(err, ENOENT, "no such image");
	return 0;
}

static int
containers_find(const struct store *s, const char *id, struct adopt_found *f,
    struct imgd_error **err)
{
	struct image_search search = { .id = digest_hex(id) };
	int r;

	r = find_entry(s, &search, err);
	if (r < 0)
		return r;
	r = read_document(s, id, id, /* is_plain= */ false, LIMIT_CONFIG_BYTES,
	    &f->config, &f->config_len, err);
	if (r < 0)
		return imgd_error_prefix(err, "its config");
	r = found_take_config(f, id, err);
	if (r >= 0)
		r = find_layers(s, search.layer, f, err);
	if (r >= 0)
		read_manifest(s, id, search.manifest_digest, f);
	return r;
}

static int
containers_open_layer(const struct store *s, const struct adopt_layer *l,
    int *ret_split_fd, char ret_dir[65], struct imgd_error **err)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s-layers/%s.tar-split.gz",
	    s->driver->name, l->id);
	fd = beneath_open(s->dir_fd, path, 0);
	if (fd < 0)
		return imgd_error_set(err, EUCLEAN,
		    "its tar-split, without which its tar cannot be had: "
		    "%s: %s",
		    path, strerror(-fd));
	memcpy(ret_dir, l->id, 65);
	*ret_split_fd = fd;
	return 0;
}

static const struct layout_driver containers_drivers[] = {
	{ .name = "overlay", .tree = "overlay/%s/diff" },
	{ .name = "vfs", .tree = "vfs/dir/%s" },
	{ .name = "btrfs", .tree = "btrfs/subvolumes/%s" },
	{ .name = "aufs", .tree = "aufs/diff/%s" },
	{ .name = "zfs" },
	{ .name = NULL },
};

const struct layout containers_layout = {
	.engine = "containers-storage",
	.drivers = containers_drivers,
	.mark = "%s-images",
	.list = containers_list,
	.find = containers_find,
	.open_layer = containers_open_layer,
};
