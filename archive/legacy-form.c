/*
 * docker save before 1.10: a directory for each layer, with its JSON and
 * layer.tar, and a file "repositories" that names some of them.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive-impl.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"

#define NAMES "repositories"

static int
image_of(struct image_archive *a, const char *id, struct archived_image **ret,
    struct imgd_error **err)
{
	size_t i;
	int r;

	for (i = 0; i < a->n_images; i++)
		if (strcmp(a->images[i].v1_id, id) == 0) {
			*ret = &a->images[i];
			return 0;
		}
	r = archive_add_image(a, ret, err);
	if (r >= 0)
		memcpy((*ret)->v1_id, id, DIGEST_HEX_LEN + 1);
	return r;
}

/* ---- names ---- */

static int
take_tags(struct image_archive *a, const char *repository,
    struct json_object *tags, struct imgd_error **err)
{
	if (!json_object_is_type(tags, json_type_object))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "an object is expected");
	json_object_object_foreach(tags, tag, value) {
		cleanup_free char *name = NULL;
		struct archived_image *img;
		const char *id;
		int r;

		(void)value;
		r = json_get_str(tags, tag, &id, err);
		if (r >= 0 && (id == NULL || !digest_is_hex(id)))
			r = imgd_error_set(err, IMGD_E_FORMAT,
			    "%.200s:%.200s: not an image id", repository, tag);
		if (r >= 0 && asprintf(&name, "%s:%s", repository, tag) < 0)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		if (r >= 0)
			r = image_of(a, id, &img, err);
		if (r >= 0)
			r = archive_add_name(a, img, name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int
take_names(struct image_archive *a, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	r = members_read(&a->members, NAMES, LIMIT_MANIFEST_BYTES, &text,
	    &len, err);
	if (r < 0)
		return r;
	r = json_get_root(text, len, &root, err);
	if (r >= 0) {
		json_object_object_foreach(root, repository, tags) {
			r = take_tags(a, repository, tags, err);
			if (r < 0)
				break;
		}
	}
	return r < 0 ? imgd_error_prefix(err, NAMES) : 0;
}

/* ---- images without a name: those that no other one is built on ---- */

struct step {
	char id[DIGEST_HEX_LEN + 1];
	bool is_parent;
};

/* Read the image JSON of id; *ret is malloc'ed. */
static int
read_json(const struct image_archive *a, const char *id, char **ret,
    size_t *ret_len, struct imgd_error **err)
{
	char path[DIGEST_HEX_LEN + 8];

	(void)snprintf(path, sizeof(path), "%s/json", id);
	return members_read(&a->members, path, LIMIT_LEGACY_BYTES, ret,
	    ret_len, err);
}

static int
compare_steps(const void *a, const void *b)
{
	const struct step *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static int
mark_parent(const struct image_archive *a, struct step *steps, size_t n,
    const char *id, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup_free char *text = NULL;
	struct step key = { .is_parent = false }, *parent;
	const char *name;
	size_t len;
	int r;

	r = read_json(a, id, &text, &len, err);
	if (r >= 0)
		r = json_get_root(text, len, &root, err);
	if (r >= 0)
		r = json_get_str(root, "parent", &name, err);
	if (r < 0)
		return imgd_error_prefix(err, "%.12s/json", id);
	if (name == NULL || !digest_is_hex(name))
		return 0;
	memcpy(key.id, name, sizeof(key.id));
	parent = bsearch(&key, steps, n, sizeof(*steps), compare_steps);
	if (parent != NULL)
		parent->is_parent = true;
	return 0;
}

static int
take_unnamed(struct image_archive *a, struct imgd_error **err)
{
	cleanup_free struct step *steps = calloc(a->members.n + 1,
	    sizeof(*steps));
	struct archived_image *img;
	size_t i, n = 0;
	int r = 0;

	if (steps == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	/* Members are sorted, and so are these. */
	for (i = 0; i < a->members.n; i++) {
		const char *name = a->members.items[i].name;

		if (strlen(name) != DIGEST_HEX_LEN + 5 ||
		    !str_ends(name, "/json"))
			continue;
		memcpy(steps[n].id, name, DIGEST_HEX_LEN);
		n += digest_is_hex(steps[n].id);
	}
	for (i = 0; r >= 0 && i < n; i++)
		r = mark_parent(a, steps, n, steps[i].id, err);
	for (i = 0; r >= 0 && i < n; i++)
		if (!steps[i].is_parent)
			r = image_of(a, steps[i].id, &img, err);
	return r;
}

static int
legacy_list(struct image_archive *a, const struct platform *want,
    struct imgd_error **err)
{
	int r = 0;

	(void)want;
	if (archive_has(a, NAMES))
		r = take_names(a, err);
	if (r >= 0)
		r = take_unnamed(a, err);
	if (r >= 0 && a->n_images == 0)
		r = imgd_error_set(err, EINVAL,
		    "no image archive: it has neither manifest.json nor "
		    "an OCI layout nor repositories");
	return r;
}

/* ---- one image ---- */

static int
add_ancestry(const struct image_archive *a, const char *id,
    struct legacy_image *image, struct imgd_error **err)
{
	char next[DIGEST_HEX_LEN + 1];

	(void)snprintf(next, sizeof(next), "%s", id);
	while (next[0] != '\0') {
		cleanup_free char *text = NULL;
		struct legacy_layer *l;
		size_t len;
		int r;

		r = read_json(a, next, &text, &len, err);
		if (r >= 0)
			r = legacy_add(image, text, len, &l, err);
		if (r >= 0 && strcmp(l->id, next) != 0)
			r = imgd_error_set(err, IMGD_E_FORMAT,
			    "%.12s/json is of %.12s", next, l->id);
		if (r < 0)
			return r;
		(void)snprintf(next, sizeof(next), "%s", l->parent);
	}
	return legacy_finish(image, err);
}

static int
legacy_find(const struct image_archive *a, const struct archived_image *img,
    struct found_image *f, struct imgd_error **err)
{
	char path[DIGEST_HEX_LEN + 16];
	size_t i, n = 0;
	int r;

	f->legacy = calloc(1, sizeof(*f->legacy));
	if (f->legacy == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = add_ancestry(a, img->v1_id, f->legacy, err);
	if (r >= 0)
		r = found_make_layers(f, f->legacy->n_layers, err);
	for (i = 0; r >= 0 && i < f->legacy->n_layers; i++) {
		struct legacy_layer *l = &f->legacy->layers[i];
		struct member_file *file = &f->layers[n].file;

		if (l->is_throwaway)
			continue;
		(void)snprintf(path, sizeof(path), "%s/layer.tar", l->id);
		r = members_find(&a->members, path, file, err);
		l->size_bytes = file->size;
		n++;
	}
	if (r >= 0)
		f->n_layers = n;
	return r;
}

const struct form_ops legacy_form = {
	.list = legacy_list,
	.find = legacy_find,
};
