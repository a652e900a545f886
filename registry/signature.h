/*
 * Signatures of images as cosign makes them: a "simple signing" payload that
 * names a manifest's digest, and a signature of its bytes.
 *
 * All of it is hostile until a key has vouched for it; what is parsed here is
 * capped and goes through json_scan().  Nothing here uses the network.
 * Sources: cosign specs/SIGNATURE_SPEC.md; containers/image
 * docs/containers-signature.5.md.
 */
#ifndef REGISTRY_SIGNATURE_H
#define REGISTRY_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/digest.h"

#define MEDIA_SIMPLE_SIGNING \
	"application/vnd.dev.cosign.simplesigning.v1+json"
#define MEDIA_SIGNATURE_ARTIFACT \
	"application/vnd.dev.cosign.artifact.sig.v1+json"
#define SIGNATURE_ANNOTATION "dev.cosignproject.cosign/signature"

/* ---- a signature, and several ---- */

struct signature {
	char *payload; /* NUL-terminated */
	size_t payload_len;
	char *text; /* the signature in base64, as it came */
};

struct signature_list {
	struct signature *items;
	size_t n;
};

/* Add copies; one that is there is not added twice.  -IMGD_E_LIMIT for what
 * is too long or one too many. */
int signature_list_add(struct signature_list *list, const void *payload,
    size_t payload_len, const char *text, struct imgd_error **err);
void signature_list_done(struct signature_list *list);

/* ---- what it says ---- */

struct signature_payload {
	char digest[DIGEST_STR_SIZE]; /* of the manifest or index */
	char *reference; /* the name that it was signed under; never NULL */
};

/* -IMGD_E_FORMAT for what is no payload of a container image's signature. */
int signature_payload_parse(const void *data, size_t len,
    struct signature_payload *ret, struct imgd_error **err);
void signature_payload_done(struct signature_payload *p);

/* ---- where it is kept ---- */

/* A layer of a manifest of signatures. */
struct signature_layer {
	char digest[DIGEST_STR_SIZE]; /* of the payload */
	uint64_t size_bytes;
	char *text; /* as in struct signature */
};

struct signature_layers {
	struct signature_layer *items;
	size_t n;
};

/* Read a manifest of signatures; layers that are none are passed over. */
int signature_manifest_parse(const void *data, size_t len,
    struct signature_layers *ret, struct imgd_error **err);
void signature_layers_done(struct signature_layers *l);

/* Digests of the manifests of signatures that an index of referrers names;
 * *ret is malloc'ed. */
int signature_referrers_parse(const void *data, size_t len,
    char (**ret)[DIGEST_STR_SIZE], size_t *ret_n, struct imgd_error **err);

#define SIGNATURE_TAG_SIZE (sizeof("sha256-.sig") + DIGEST_HEX_LEN)

/* "sha256-HEX" and suffix, for tags that stand for a digest; in buf. */
const char *signature_tag(const char *digest, const char *suffix,
    char buf[SIGNATURE_TAG_SIZE]);

/* ---- what it stands for ---- */

/* A document of an image: an index or a manifest. */
struct signed_doc {
	char digest[DIGEST_STR_SIZE]; /* of data */
	char *data;
	size_t len;
};

struct signed_docs {
	struct signed_doc *items;
	size_t n;
};

/* Add a copy; its digest is computed here.  -IMGD_E_LIMIT. */
int signed_docs_add(struct signed_docs *docs, const void *data, size_t len,
    struct imgd_error **err);
void signed_docs_done(struct signed_docs *docs);

/* Whether the document of that digest is the manifest of the image with that
 * id, or an index that leads to it through the other documents. */
bool signed_docs_bind(const struct signed_docs *docs, const char *digest,
    const char *image_id);

/* ---- keys ---- */

struct signature_keys;

/*
 * Add the public keys of a PEM text: ECDSA on P-256 or P-384, Ed25519, RSA of
 * at least 2048 bits.
 *
 * keys: *keys may be NULL, then it is made.  name: of the key, for people.
 * -EINVAL if there is no key in it, or one of another kind.
 */
int signature_keys_add(struct signature_keys **keys, const char *name,
    const char *pem, size_t len, struct imgd_error **err);
void signature_keys_free(struct signature_keys *keys);

/*
 * Whether one of the keys made the signature: ret_key is then its name.
 *
 * ECDSA: ASN.1, over SHA-256, or SHA-384 with P-384; RSA: PKCS #1 v1.5 over
 * SHA-256; Ed25519: of the payload itself.
 * Returns 1; 0; -IMGD_E_FORMAT for text that is no base64.
 */
int signature_check(const struct signature_keys *keys,
    const struct signature *s, const char **ret_key,
    struct imgd_error **err);

#endif
