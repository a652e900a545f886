/* The signatures of a manifest, as cosign leaves them at a registry. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/signature.h"
#include "registry/v2-document.h"

struct search {
	struct registry_session *s;
	registry_signature_cb *cb;
	void *ctx;
	size_t n; /* found so far */
	bool is_stopped;
};

/* Fetch /KIND/ID of the repository.  Returns 1; 0 if there is none. */
static int
fetch(struct search *q, const char *kind, const char *id,
    struct document_want *w, struct document *d, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *path = NULL;
	int r;

	strbuf_printf(&sb, "/%s/%s/%s", q->s->ref.path, kind, id);
	w->path = path = strbuf_take(&sb);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	w->what = id;
	r = v2_document(q->s, w, d, &why);
	if (r >= 0)
		return 1;
	if (r == -IMGD_E_UNKNOWN)
		return 0;
	if (err != NULL)
		*err = take_ptr(&why);
	return r;
}

/* What was fetched whole and makes no sense is nobody's signature. */
static bool
is_garbage(int r, const char *what, const struct imgd_error *why)
{
	if (r != -IMGD_E_FORMAT)
		return false;
	log_debug("registry", "%s: %s, ignoring", what, imgd_error_msg(why));
	return true;
}

static int
take_layer(struct search *q, const struct signature_layer *l,
    struct imgd_error **err)
{
	cleanup(document_donep) struct document d = { .digest = "" };
	struct document_want w = { .expected_digest = l->digest,
		.has_size = true, .expected_bytes = l->size_bytes,
		.max_bytes = LIMIT_SIGNATURE_PAYLOAD_BYTES };
	struct signature s;
	int r;

	if (q->n++ >= LIMIT_SIGNATURES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d signatures", LIMIT_SIGNATURES);
	r = fetch(q, "blobs", l->digest, &w, &d, err);
	if (r <= 0)
		return r;
	s = (struct signature) {
		.payload = (char *)(uintptr_t)document_bytes(&d),
		.payload_len = d.reply.body.len,
		.text = l->text,
	};
	r = q->cb(q->ctx, &s, err);
	if (r > 0)
		q->is_stopped = true;
	return r;
}

/* id: a tag or a digest. */
static int
take_manifest(struct search *q, const char *id, const char *digest,
    struct imgd_error **err)
{
	cleanup(signature_layers_done) struct signature_layers l = { .n = 0 };
	cleanup(document_donep) struct document d = { .digest = "" };
	cleanup_error struct imgd_error *why = NULL;
	struct document_want w = { .accept = MEDIA_OCI_MANIFEST
		    ", " MEDIA_DOCKER_MANIFEST,
		.expected_digest = digest,
		.max_bytes = LIMIT_MANIFEST_BYTES };
	size_t i;
	int r;

	r = fetch(q, "manifests", id, &w, &d, err);
	if (r <= 0)
		return r;
	r = signature_manifest_parse(document_bytes(&d), d.reply.body.len, &l,
	    &why);
	if (is_garbage(r, id, why))
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s: %s", id,
		    imgd_error_msg(why));
	for (i = 0; r >= 0 && !q->is_stopped && i < l.n; i++)
		r = take_layer(q, &l.items[i], err);
	return r;
}

/* The list of referrers: the registry's own, or, with one that keeps none,
 * what writers have left under a tag.  OCI distribution-spec, "Listing
 * Referrers". */
static int
fetch_referrers(struct search *q, const char *digest, struct document *d,
    struct imgd_error **err)
{
	struct document_want w = { .accept = MEDIA_OCI_INDEX,
		.max_bytes = LIMIT_MANIFEST_BYTES };
	cleanup_error struct imgd_error *why = NULL;
	char tag[SIGNATURE_TAG_SIZE];
	int r;

	r = fetch(q, "referrers", digest, &w, d, &why);
	if (r > 0)
		return r;
	/* Who does not know the question answers in many ways. */
	if (r < 0 && r != -IMGD_E_HTTP && r != -IMGD_E_DENIED) {
		if (err != NULL)
			*err = take_ptr(&why);
		return r;
	}
	document_donep(d);
	*d = (struct document) { .digest = "" };
	return fetch(q, "manifests", signature_tag(digest, "", tag), &w, d,
	    err);
}

static int
take_referrers(struct search *q, const char *digest, struct imgd_error **err)
{
	cleanup(document_donep) struct document d = { .digest = "" };
	cleanup_error struct imgd_error *why = NULL;
	char (*digests)[DIGEST_STR_SIZE] = NULL;
	size_t i, n;
	int r;

	r = fetch_referrers(q, digest, &d, err);
	if (r <= 0)
		return r;
	r = signature_referrers_parse(document_bytes(&d), d.reply.body.len,
	    &digests, &n, &why);
	if (is_garbage(r, digest, why))
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "referrers of %s: %s", digest,
		    imgd_error_msg(why));
	for (i = 0; r >= 0 && !q->is_stopped && i < n; i++)
		r = take_manifest(q, digests[i], digests[i], err);
	free(digests);
	return r;
}

int
v2_signatures(struct registry_session *s, const char *digest,
    registry_signature_cb *cb, void *ctx, struct imgd_error **err)
{
	struct search q = { .s = s, .cb = cb, .ctx = ctx };
	char tag[SIGNATURE_TAG_SIZE];
	int r;

	r = take_manifest(&q, signature_tag(digest, ".sig", tag),
	    /* digest= */ NULL, err);
	if (r >= 0 && !q.is_stopped)
		r = take_referrers(&q, digest, err);
	return r < 0 ? r : 0;
}
