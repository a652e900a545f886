/* OCI image layouts without Docker's manifest.json beside them. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive-impl.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/reference.h"

#define MAX_DEPTH 4 /* of indexes in indexes */

#define ANNOTATION_NAME "io.containerd.image.name"

int
layout_read_blob(const struct image_archive *a, const char *digest,
    size_t max, char **ret, size_t *ret_len, struct imgd_error **err)
{
	char path[16 + DIGEST_HEX_LEN], got[DIGEST_STR_SIZE];
	cleanup_free char *data = NULL;
	int r;

	(void)snprintf(path, sizeof(path), "blobs/sha256/%s",
	    digest_hex(digest));
	r = members_read(&a->members, path, max, &data, ret_len, err);
	if (r >= 0)
		r = digest_of(data, *ret_len, got, err);
	if (r < 0)
		return r;
	if (strcmp(got, digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "%s: digest mismatch: expected %s, got %s", path, digest,
		    got);
	*ret = take_ptr(&data);
	return 0;
}

/* Find the manifest of the image that d stands for: through indexes, to the
 * platform. */
static int
descend(const struct image_archive *a, const struct descriptor *d,
    const struct platform *want, char ret_digest[DIGEST_STR_SIZE],
    struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	int depth;

	memcpy(digest, d->digest, sizeof(digest));
	for (depth = 0; depth < MAX_DEPTH; depth++) {
		cleanup(manifest_freep) struct manifest *m = NULL;
		const struct descriptor *entry;
		cleanup_free char *data = NULL;
		size_t len;
		int r;

		r = layout_read_blob(a, digest, LIMIT_MANIFEST_BYTES, &data, &len,
		    err);
		if (r >= 0)
			r = manifest_parse(depth == 0 ? d->media_type : "",
			    data, len, &m, err);
		if (r >= 0 && m->kind == MANIFEST_IMAGE) {
			memcpy(ret_digest, digest, sizeof(digest));
			return 0;
		}
		if (r >= 0)
			r = manifest_select(m, want, &entry, err);
		if (r < 0)
			return r;
		memcpy(digest, entry->digest, sizeof(digest));
	}
	return imgd_error_set(err, IMGD_E_LIMIT,
	    "indexes more than %d deep", MAX_DEPTH);
}

/* What writers put there is a tag alone, or a whole name. */
static bool
is_whole_name(const char *s)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;

	return strpbrk(s, ":/") != NULL && reference_parse(s, 0, &ref, NULL) >= 0;
}

static int
take_name(struct image_archive *a, struct archived_image *img,
    struct json_object *entry, struct imgd_error **err)
{
	struct json_object *annotations = NULL;
	const char *name = NULL, *ref = NULL;
	int r;

	r = json_get_object(entry, "annotations", &annotations, err);
	if (r < 0 || annotations == NULL)
		return r;
	r = json_get_str(annotations, ANNOTATION_NAME, &name, err);
	if (r >= 0)
		r = json_get_str(annotations, LAYOUT_REF, &ref, err);
	if (r < 0)
		return r;
	if (name == NULL && ref != NULL && is_whole_name(ref))
		name = ref;
	return name != NULL ? archive_add_name(a, img, name, err) : 0;
}

static int
take_entry(struct image_archive *a, const struct descriptor *d,
    struct json_object *entry, const struct platform *want,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct archived_image *img = NULL;
	char digest[DIGEST_STR_SIZE];
	size_t i;
	int r;

	if (d->is_artifact)
		return 0;
	r = descend(a, d, want, digest, &why);
	/* What is no image is no error. */
	if (r == -IMGD_E_MEDIATYPE)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	/* An entry for each name. */
	for (i = 0; i < a->n_images && img == NULL; i++)
		if (strcmp(a->images[i].manifest_digest, digest) == 0)
			img = &a->images[i];
	if (img == NULL)
		r = archive_add_image(a, &img, err);
	if (r < 0)
		return r;
	memcpy(img->manifest_digest, digest, sizeof(digest));
	return take_name(a, img, entry, err);
}

static int
layout_list(struct image_archive *a, const struct platform *want,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup(manifest_freep) struct manifest *index = NULL;
	struct json_object *entries = NULL;
	cleanup_free char *text = NULL;
	size_t i, len;
	int r;

	r = members_read(&a->members, LAYOUT_INDEX, LIMIT_MANIFEST_BYTES, &text,
	    &len, err);
	if (r < 0)
		return r;
	r = manifest_parse(MEDIA_OCI_INDEX, text, len, &index, err);
	if (r >= 0)
		r = json_get_root(text, len, &root, err);
	if (r >= 0)
		r = json_get_array(root, "manifests", &entries, err);
	for (i = 0; r >= 0 && i < index->n_entries; i++)
		r = take_entry(a, &index->entries[i],
		    json_object_array_get_idx(entries, i), want, err);
	return r < 0 ? imgd_error_prefix(err, LAYOUT_INDEX) : 0;
}

static int
find_layers(const struct image_archive *a, const struct manifest *m,
    struct found_image *f, struct imgd_error **err)
{
	char path[16 + DIGEST_HEX_LEN];
	size_t i;
	int r;

	r = found_make_layers(f, m->n_layers, err);
	for (i = 0; r >= 0 && i < m->n_layers; i++) {
		struct found_layer *l = &f->layers[i];

		(void)snprintf(path, sizeof(path), "blobs/sha256/%s",
		    digest_hex(m->layers[i].digest));
		memcpy(l->blob_digest, m->layers[i].digest, DIGEST_STR_SIZE);
		r = members_find(&a->members, path, &l->file, err);
		if (r >= 0 && l->file.to_come == NULL &&
		    l->file.size != m->layers[i].size_bytes)
			r = imgd_error_set(err, IMGD_E_DIGEST,
			    "%s has %ju bytes, the manifest says %ju", path,
			    (uintmax_t)l->file.size,
			    (uintmax_t)m->layers[i].size_bytes);
	}
	return r;
}

static int
layout_find(const struct image_archive *a, const struct archived_image *img,
    struct found_image *f, struct imgd_error **err)
{
	cleanup(manifest_freep) struct manifest *m = NULL;
	char *config = NULL;
	size_t len;
	int r;

	r = layout_read_blob(a, img->manifest_digest, LIMIT_MANIFEST_BYTES,
	    &f->manifest, &f->manifest_len, err);
	if (r >= 0)
		r = manifest_parse("", f->manifest, f->manifest_len, &m, err);
	if (r >= 0)
		r = find_layers(a, m, f, err);
	if (r >= 0)
		r = layout_read_blob(a, m->config.digest, LIMIT_CONFIG_BYTES,
		    &config, &len, err);
	if (r < 0)
		return r;
	f->manifest_type = strdup(m->media_type);
	r = found_take_config(f, config, len, err);
	if (r >= 0 && f->manifest_type == NULL)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

const struct form_ops layout_form = {
	.list = layout_list,
	.find = layout_find,
};
