/* Signatures that an OCI image layout has for its images: manifests that cosign
 * leaves under the tag sha256-….sig, or marks as such. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive-impl.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/signature.h"

#define ANNOTATION_KIND "kind"
#define KIND_SIGNATURES "dev.cosignproject.cosign/sigs"
#define TAG_PREFIX      "sha256-"
#define TAG_SUFFIX      ".sig"

/* How many documents are read on the way from what was signed to an image: an
 * index may name thousands. */
#define MAX_READS 256

struct search {
	const struct image_archive *archive;
	const char *image_id;
	struct signed_docs *docs;
	struct signature_list *signatures;
	unsigned int n_reads;
};

static bool
has_affixes(const char *s, const char *prefix, const char *suffix)
{
	size_t len = strlen(s), n = strlen(suffix);

	return strncmp(s, prefix, strlen(prefix)) == 0 && len > n &&
	    strcmp(s + len - n, suffix) == 0;
}

static bool
is_of_signatures(struct json_object *entry)
{
	const char *ref = NULL, *kind = NULL;
	struct json_object *o = NULL;

	if (json_get_object(entry, "annotations", &o, NULL) < 0 || o == NULL)
		return false;
	(void)json_get_str(o, LAYOUT_REF, &ref, NULL);
	(void)json_get_str(o, ANNOTATION_KIND, &kind, NULL);
	return (ref != NULL && has_affixes(ref, TAG_PREFIX, TAG_SUFFIX)) ||
	    (kind != NULL && strcmp(kind, KIND_SIGNATURES) == 0);
}

static int
read_doc(struct search *q, const char *digest, size_t max, char **ret,
    size_t *ret_len, struct imgd_error **err)
{
	if (q->n_reads++ >= MAX_READS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "signatures: more than %d documents", MAX_READS);
	return layout_read_blob(q->archive, digest, max, ret, ret_len, err);
}

/* What is damaged, or not there, is no signature.  What is only not there yet
 * is an error. */
static int
survive(int r, struct imgd_error *why, struct imgd_error **err)
{
	return r == -ENOMEM || r == -EAGAIN
	    ? imgd_error_set(err, -r, "%s", imgd_error_msg(why))
	    : 0;
}

/* Add the documents that lead from digest to the image.  Returns 1 if they do;
 * what is not there, or makes no sense, does not. */
static int
lead(struct search *q, const char *digest, bool is_top,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	cleanup(manifest_freep) struct manifest *m = NULL;
	cleanup_free char *data = NULL;
	size_t i, len;
	int r;

	r = read_doc(q, digest, LIMIT_MANIFEST_BYTES, &data, &len, &why);
	if (r >= 0)
		r = manifest_parse("", data, len, &m, &why);
	if (r == -IMGD_E_LIMIT)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	if (r < 0)
		return survive(r, why, err);
	if (m->kind == MANIFEST_IMAGE)
		r = strcmp(m->config.digest, q->image_id) == 0;
	for (i = 0; is_top && r == 0 && i < m->n_entries; i++)
		if (!m->entries[i].is_artifact)
			r = lead(q, m->entries[i].digest, /* is_top= */ false,
			    err);
	if (r <= 0)
		return r;
	r = signed_docs_add(q->docs, data, len, err);
	return r < 0 ? r : 1;
}

static int
take_signature(struct search *q, const struct signature_layer *l,
    struct imgd_error **err)
{
	cleanup(signature_payload_done) struct signature_payload p = {
		.reference = NULL
	};
	cleanup_error struct imgd_error *why = NULL;
	cleanup_free char *payload = NULL;
	size_t len;
	int r;

	r = read_doc(q, l->digest, LIMIT_SIGNATURE_PAYLOAD_BYTES, &payload,
	    &len, &why);
	if (r >= 0)
		r = signature_payload_parse(payload, len, &p, &why);
	if (r < 0)
		return survive(r, why, err);
	r = signed_docs_bind(q->docs, p.digest, q->image_id)
	    ? 1
	    : lead(q, p.digest, /* is_top= */ true, err);
	return r <= 0 ? r
		      : signature_list_add(q->signatures, payload, len,
			    l->text, err);
}

static int
take_entry(struct search *q, struct json_object *entry,
    struct imgd_error **err)
{
	cleanup(signature_layers_done) struct signature_layers l = { .n = 0 };
	cleanup_error struct imgd_error *why = NULL;
	cleanup_free char *data = NULL;
	const char *digest = NULL;
	size_t i, len;
	int r;

	if (!is_of_signatures(entry) ||
	    json_get_str(entry, "digest", &digest, NULL) < 0 ||
	    digest == NULL || !digest_is_valid(digest))
		return 0;
	r = layout_read_blob(q->archive, digest, LIMIT_MANIFEST_BYTES, &data,
	    &len, &why);
	if (r >= 0)
		r = signature_manifest_parse(data, len, &l, &why);
	if (r < 0)
		return survive(r, why, err);
	for (i = 0; r >= 0 && i < l.n; i++)
		r = take_signature(q, &l.items[i], err);
	return r;
}

int
image_archive_signatures(const struct image_archive *a, const char *image_id,
    struct signed_docs *docs, struct signature_list *signatures,
    struct imgd_error **err)
{
	struct search q = { .archive = a, .image_id = image_id, .docs = docs,
		.signatures = signatures };
	cleanup_json struct json_object *root = NULL;
	struct json_object *entries = NULL;
	cleanup_free char *text = NULL;
	size_t i, len;
	int r;

	if (a->form != FORM_OCI)
		return 0;
	r = members_read(&a->members, LAYOUT_INDEX, LIMIT_MANIFEST_BYTES,
	    &text, &len, err);
	if (r >= 0)
		r = json_get_root(text, len, &root, err);
	if (r >= 0)
		r = json_get_array(root, "manifests", &entries, err);
	for (i = 0; r >= 0 && entries != NULL &&
	    i < json_object_array_length(entries); i++)
		r = take_entry(&q, json_object_array_get_idx(entries, i),
		    err);
	return r < 0 ? r : 0;
}
