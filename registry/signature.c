#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/manifest.h"
#include "registry/signature.h"

#define PAYLOAD_TYPE "cosign container image signature"
#define MAX_DEPTH    4 /* of indexes in indexes */

_Static_assert(LIMIT_SIGNED_DOCS <= 32, "a bit for each is kept");

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static int
copy_bytes(const void *data, size_t len, char **ret, struct imgd_error **err)
{
	*ret = malloc(len + 1);
	if (*ret == NULL)
		return no_memory(err);
	memcpy(*ret, data, len);
	(*ret)[len] = '\0';
	return 0;
}

/* ---- lists ---- */

static void
signature_done(struct signature *s)
{
	free(s->payload);
	free(s->text);
}

static bool
is_same(const struct signature *s, const void *payload, size_t len,
    const char *text)
{
	return s->payload_len == len && strcmp(s->text, text) == 0 &&
	    memcmp(s->payload, payload, len) == 0;
}

int
signature_list_add(struct signature_list *list, const void *payload,
    size_t payload_len, const char *text, struct imgd_error **err)
{
	struct signature *items, *s;
	size_t i;

	if (payload_len > LIMIT_SIGNATURE_PAYLOAD_BYTES ||
	    strlen(text) > LIMIT_SIGNATURE_TEXT_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "a signature is too long");
	for (i = 0; i < list->n; i++)
		if (is_same(&list->items[i], payload, payload_len, text))
			return 0;
	if (list->n >= LIMIT_SIGNATURES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d signatures", LIMIT_SIGNATURES);
	items = reallocarray(list->items, list->n + 1, sizeof(*items));
	if (items == NULL)
		return no_memory(err);
	list->items = items;
	s = &items[list->n];
	*s = (struct signature) { .payload_len = payload_len };
	s->text = strdup(text);
	if (s->text == NULL ||
	    copy_bytes(payload, payload_len, &s->payload, NULL) < 0) {
		signature_done(s);
		return no_memory(err);
	}
	list->n++;
	return 0;
}

void
signature_list_done(struct signature_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		signature_done(&list->items[i]);
	free(list->items);
	*list = (struct signature_list) { .n = 0 };
}

/* ---- payloads ---- */

/* A member that must be there. */
static int
need_str(struct json_object *o, const char *key, const char **ret,
    struct imgd_error **err)
{
	int r = json_get_str(o, key, ret, err);

	if (r >= 0 && *ret == NULL)
		r = imgd_error_set(err, IMGD_E_FORMAT, "\"%s\" is missing",
		    key);
	return r;
}

static int
need_object(struct json_object *o, const char *key, struct json_object **ret,
    struct imgd_error **err)
{
	int r = json_get_object(o, key, ret, err);

	if (r >= 0 && *ret == NULL)
		r = imgd_error_set(err, IMGD_E_FORMAT, "\"%s\" is missing",
		    key);
	return r;
}

static int
read_payload(struct json_object *root, const char **ret_digest,
    const char **ret_reference, struct imgd_error **err)
{
	struct json_object *critical = NULL, *identity = NULL, *image = NULL;
	const char *type = NULL;
	int r;

	r = need_object(root, "critical", &critical, err);
	if (r >= 0)
		r = need_str(critical, "type", &type, err);
	if (r >= 0 && strcmp(type, PAYLOAD_TYPE) != 0)
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    "it is of another type");
	if (r >= 0)
		r = need_object(critical, "identity", &identity, err);
	if (r >= 0)
		r = need_str(identity, "docker-reference", ret_reference,
		    err);
	if (r >= 0)
		r = need_object(critical, "image", &image, err);
	if (r >= 0)
		r = need_str(image, "docker-manifest-digest", ret_digest,
		    err);
	if (r >= 0 && !digest_is_valid(*ret_digest))
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    "\"docker-manifest-digest\" is no digest");
	return r;
}

int
signature_payload_parse(const void *data, size_t len,
    struct signature_payload *ret, struct imgd_error **err)
{
	cleanup_json struct json_object *root = NULL;
	const char *digest = NULL, *reference = NULL;
	char *copy;
	int r;

	r = json_get_root(data, len, &root, err);
	if (r >= 0)
		r = read_payload(root, &digest, &reference, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "payload");
		return r;
	}
	copy = strdup(reference);
	if (copy == NULL)
		return no_memory(err);
	memcpy(ret->digest, digest, DIGEST_STR_SIZE);
	ret->reference = copy;
	return 0;
}

void
signature_payload_done(struct signature_payload *p)
{
	free(p->reference);
	p->reference = NULL;
}

/* ---- manifests of signatures ---- */

/* Returns 1 if the layer is a signature. */
static int
read_layer(struct json_object *o, struct signature_layer *ret,
    struct imgd_error **err)
{
	struct json_object *annotations = NULL;
	const char *type = NULL, *digest = NULL, *text = NULL;
	int r;

	r = json_get_str(o, "mediaType", &type, err);
	if (r >= 0)
		r = json_get_object(o, "annotations", &annotations, err);
	if (r < 0 || type == NULL || annotations == NULL ||
	    strcmp(type, MEDIA_SIMPLE_SIGNING) != 0)
		return r;
	r = json_get_str(annotations, SIGNATURE_ANNOTATION, &text, err);
	if (r < 0 || text == NULL)
		return r;
	r = need_str(o, "digest", &digest, err);
	if (r >= 0 && !digest_is_valid(digest))
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    "\"digest\" is no digest");
	if (r >= 0)
		r = json_get_u64(o, "size", &ret->size_bytes, NULL, err);
	if (r >= 0 && (ret->size_bytes > LIMIT_SIGNATURE_PAYLOAD_BYTES ||
			  strlen(text) > LIMIT_SIGNATURE_TEXT_BYTES))
		r = imgd_error_set(err, IMGD_E_LIMIT,
		    "a signature is too long");
	if (r < 0)
		return r;
	memcpy(ret->digest, digest, DIGEST_STR_SIZE);
	ret->text = strdup(text);
	return ret->text != NULL ? 1 : no_memory(err);
}

static int
read_layers(struct json_object *layers, struct signature_layers *l,
    struct imgd_error **err)
{
	size_t i, n = layers != NULL ? json_object_array_length(layers) : 0;
	int r = 0;

	if (n > LIMIT_SIGNATURES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d signatures", LIMIT_SIGNATURES);
	l->items = calloc(n + 1, sizeof(*l->items));
	if (l->items == NULL)
		return no_memory(err);
	for (i = 0; r >= 0 && i < n; i++) {
		struct json_object *o = json_object_array_get_idx(layers, i);

		if (!json_object_is_type(o, json_type_object))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "a layer is no object");
		r = read_layer(o, &l->items[l->n], err);
		l->n += r > 0;
	}
	return r < 0 ? r : 0;
}

int
signature_manifest_parse(const void *data, size_t len,
    struct signature_layers *ret, struct imgd_error **err)
{
	cleanup(signature_layers_done) struct signature_layers l = { .n = 0 };
	cleanup_json struct json_object *root = NULL;
	struct json_object *layers = NULL;
	int r;

	r = json_get_root(data, len, &root, err);
	if (r >= 0)
		r = json_get_array(root, "layers", &layers, err);
	if (r >= 0)
		r = read_layers(layers, &l, err);
	if (r < 0)
		return r;
	*ret = l;
	l = (struct signature_layers) { .n = 0 };
	return 0;
}

void
signature_layers_done(struct signature_layers *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->items[i].text);
	free(l->items);
	*l = (struct signature_layers) { .n = 0 };
}

static int
read_referrers(struct json_object *entries, char (*to)[DIGEST_STR_SIZE],
    size_t *n, struct imgd_error **err)
{
	size_t i, len = json_object_array_length(entries);
	int r = 0;

	for (i = 0; r >= 0 && i < len; i++) {
		struct json_object *o = json_object_array_get_idx(entries, i);
		const char *type = NULL, *digest = NULL;

		if (!json_object_is_type(o, json_type_object))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "an entry is no object");
		r = json_get_str(o, "artifactType", &type, err);
		if (r >= 0)
			r = json_get_str(o, "digest", &digest, err);
		if (r < 0 || type == NULL || digest == NULL ||
		    strcmp(type, MEDIA_SIGNATURE_ARTIFACT) != 0 ||
		    !digest_is_valid(digest))
			continue;
		if (*n >= LIMIT_SIGNATURES)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "more than %d signatures", LIMIT_SIGNATURES);
		memcpy(to[(*n)++], digest, DIGEST_STR_SIZE);
	}
	return r;
}

int
signature_referrers_parse(const void *data, size_t len,
    char (**ret)[DIGEST_STR_SIZE], size_t *ret_n, struct imgd_error **err)
{
	cleanup_json struct json_object *root = NULL;
	struct json_object *entries = NULL;
	cleanup_free void *digests = NULL;
	size_t n = 0;
	int r;

	digests = calloc(LIMIT_SIGNATURES, DIGEST_STR_SIZE);
	if (digests == NULL)
		return no_memory(err);
	r = json_get_root(data, len, &root, err);
	if (r >= 0)
		r = json_get_array(root, "manifests", &entries, err);
	if (r >= 0 && entries != NULL)
		r = read_referrers(entries, digests, &n, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&digests);
	*ret_n = n;
	return 0;
}

const char *
signature_tag(const char *digest, const char *suffix,
    char buf[SIGNATURE_TAG_SIZE])
{
	(void)snprintf(buf, SIGNATURE_TAG_SIZE, "sha256-%s%s",
	    digest_hex(digest), suffix);
	return buf;
}

/* ---- documents ---- */

static const struct signed_doc *
find_doc(const struct signed_docs *docs, const char *digest)
{
	size_t i;

	for (i = 0; i < docs->n; i++)
		if (strcmp(docs->items[i].digest, digest) == 0)
			return &docs->items[i];
	return NULL;
}

int
signed_docs_add(struct signed_docs *docs, const void *data, size_t len,
    struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	struct signed_doc *items;
	int r = digest_of(data, len, digest, err);

	if (r < 0 || find_doc(docs, digest) != NULL)
		return r;
	if (docs->n >= LIMIT_SIGNED_DOCS || len > LIMIT_MANIFEST_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d signed manifests, or one that is too long",
		    LIMIT_SIGNED_DOCS);
	items = reallocarray(docs->items, docs->n + 1, sizeof(*items));
	if (items == NULL)
		return no_memory(err);
	docs->items = items;
	items += docs->n;
	*items = (struct signed_doc) { .len = len };
	memcpy(items->digest, digest, DIGEST_STR_SIZE);
	r = copy_bytes(data, len, &items->data, err);
	if (r >= 0)
		docs->n++;
	return r;
}

void
signed_docs_done(struct signed_docs *docs)
{
	size_t i;

	for (i = 0; i < docs->n; i++)
		free(docs->items[i].data);
	free(docs->items);
	*docs = (struct signed_docs) { .n = 0 };
}

/* seen: documents that were looked at, a bit each: an index may name the same
 * one thousands of times. */
static bool
binds(const struct signed_docs *docs, const char *digest, const char *image_id,
    uint32_t *seen, int depth)
{
	cleanup(manifest_freep) struct manifest *m = NULL;
	const struct signed_doc *d = find_doc(docs, digest);
	size_t i;

	if (d == NULL || depth > MAX_DEPTH ||
	    (*seen & 1u << (d - docs->items)) != 0)
		return false;
	*seen |= 1u << (d - docs->items);
	if (manifest_parse("", d->data, d->len, &m, NULL) < 0)
		return false;
	if (m->kind == MANIFEST_IMAGE)
		return strcmp(m->config.digest, image_id) == 0;
	for (i = 0; i < m->n_entries; i++)
		if (!m->entries[i].is_artifact &&
		    binds(docs, m->entries[i].digest, image_id, seen,
			depth + 1))
			return true;
	return false;
}

bool
signed_docs_bind(const struct signed_docs *docs, const char *digest,
    const char *image_id)
{
	uint32_t seen = 0;

	return binds(docs, digest, image_id, &seen, 0);
}
