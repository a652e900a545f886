/* The signatures of images that are saved: manifests as cosign makes them, and
 * what leads from them to the images. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/save.h"
#include "core/trust.h"
#include "lib/cleanup.h"
#include "registry/manifest.h"

#define CONFIG "{}"

/* Whether something of that digest is in the archive anyway. */
static bool
is_there(const struct save *s, const char *digest)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strcmp(s->images[i].manifest_digest, digest) == 0)
			return true;
	for (i = 0; i < s->n_blobs; i++)
		if (strcmp(s->blobs[i].digest, digest) == 0)
			return true;
	return false;
}

/* signed_digest: NULL, or what a manifest of signatures is about. */
static int
add_blob(struct save *s, const void *data, size_t len,
    const char *signed_digest, char ret_digest[DIGEST_STR_SIZE],
    struct imgd_error **err)
{
	struct saved_blob *blobs, *b;
	int r = digest_of(data, len, ret_digest, err);

	if (r < 0 || is_there(s, ret_digest))
		return r;
	blobs = reallocarray(s->blobs, s->n_blobs + 1, sizeof(*blobs));
	if (blobs == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->blobs = blobs;
	b = &blobs[s->n_blobs];
	*b = (struct saved_blob) { .data = malloc(len + 1), .len = len };
	if (b->data == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	memcpy(b->data, data, len);
	memcpy(b->digest, ret_digest, DIGEST_STR_SIZE);
	if (signed_digest != NULL)
		memcpy(b->signed_digest, signed_digest, DIGEST_STR_SIZE);
	s->n_blobs++;
	return 0;
}

/* A signature is a layer of the manifest. */
static int
put_signature(struct save *s, const struct signature *sig, struct strbuf *sb,
    struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	int r = add_blob(s, sig->payload, sig->payload_len, NULL, digest,
	    err);

	strbuf_puts(sb, sb->data[sb->len - 1] == '}' ? "," : "");
	save_put_descriptor(sb, MEDIA_SIMPLE_SIGNING, digest,
	    sig->payload_len);
	strbuf_puts(sb, ",\"annotations\":{\"" SIGNATURE_ANNOTATION "\":");
	strbuf_json(sb, sig->text);
	strbuf_puts(sb, "}}");
	return r;
}

/* All signatures of what has the digest. */
static int
add_manifest(struct save *s, const struct trust *t, const char *digest,
    struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	char own[DIGEST_STR_SIZE];
	size_t i;
	int r = add_blob(s, CONFIG, strlen(CONFIG), NULL, own, err);

	strbuf_puts(&sb, "{\"schemaVersion\":2,\"mediaType\":\""
	    MEDIA_OCI_MANIFEST "\",\"config\":");
	save_put_descriptor(&sb, MEDIA_OCI_CONFIG, own, strlen(CONFIG));
	strbuf_puts(&sb, "},\"layers\":[");
	for (i = 0; r >= 0 && !sb.is_failed && i < t->signatures.n; i++) {
		cleanup(signature_payload_done) struct signature_payload p = {
			.reference = NULL
		};
		const struct signature *sig = &t->signatures.items[i];

		if (signature_payload_parse(sig->payload, sig->payload_len,
			&p, NULL) >= 0 &&
		    strcmp(p.digest, digest) == 0)
			r = put_signature(s, sig, &sb, err);
	}
	strbuf_puts(&sb, "]}");
	if (r >= 0 && sb.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = add_blob(s, sb.data, sb.len, digest, own, err);
	strbuf_done(&sb);
	return r;
}

static bool
is_signed(const struct trust *t, const char *digest)
{
	size_t i;

	for (i = 0; i < t->signatures.n; i++) {
		cleanup(signature_payload_done) struct signature_payload p = {
			.reference = NULL
		};
		const struct signature *sig = &t->signatures.items[i];

		if (signature_payload_parse(sig->payload, sig->payload_len,
			&p, NULL) >= 0 &&
		    strcmp(p.digest, digest) == 0)
			return true;
	}
	return false;
}

static int
find(struct save *s, struct tagstore *ts, const char *id,
    struct imgd_error **err)
{
	cleanup(trust_done) struct trust t = { .n = 0 };
	char digest[DIGEST_STR_SIZE];
	size_t i;
	int r;

	r = trust_load(&t, ts, id, err);
	for (i = 0; r >= 0 && i < t.docs.n; i++) {
		const struct signed_doc *d = &t.docs.items[i];

		r = add_blob(s, d->data, d->len, NULL, digest, err);
		if (r >= 0 && is_signed(&t, d->digest))
			r = add_manifest(s, &t, d->digest, err);
	}
	return r;
}

int
save_find_signatures(struct save *s, struct tagstore *ts,
    struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < s->n; i++)
		r = find(s, ts, s->images[i].image.id, err);
	return r;
}

void
save_put_signatures(const struct save *s, struct strbuf *sb)
{
	char tag[SIGNATURE_TAG_SIZE];
	size_t i;

	for (i = 0; i < s->n_blobs && !sb->is_failed; i++) {
		const struct saved_blob *b = &s->blobs[i];

		if (b->signed_digest[0] == '\0')
			continue;
		strbuf_puts(sb, sb->data[sb->len - 1] == '}' ? "," : "");
		save_put_descriptor(sb, MEDIA_OCI_MANIFEST, b->digest,
		    b->len);
		strbuf_printf(sb, ",\"annotations\":{"
		    "\"org.opencontainers.image.ref.name\":\"%s\"}}",
		    signature_tag(b->signed_digest, ".sig", tag));
	}
}
