/* Signatures of images, and the manifests and indexes that they are about. */
#ifndef TAGSTORE_SIGNATURES_H
#define TAGSTORE_SIGNATURES_H

#include "tagstore/tagstore.h"

struct image_signature {
	const char *payload; /* what was signed */
	size_t payload_len;
	const char *text; /* the signature in base64 */
};

struct image_document {
	const char *digest;
	const char *data;
	size_t len;
};

struct image_signatures {
	struct image_signature *items;
	size_t n;
	struct image_document *documents;
	size_t n_documents;
};

/* Keep them for the image beside those that are there; beyond the limits the
 * oldest go.  -ENOENT if the image is not there. */
int tagstore_signatures_add(struct tagstore *ts, const char *image,
    const struct image_signatures *s, struct imgd_error **err);
/* The same within a transaction; of an image that is there. */
int signatures_add(struct tagstore *ts, const char *image,
    const struct image_signatures *s, struct imgd_error **err);

/* Within a transaction: -ENOENT if the image, which was there a while ago, has
 * been removed. */
int image_check_exists(struct tagstore *ts, const char *image,
    struct imgd_error **err);

/* What is given to these is borrowed, and they may not use the tagstore; a
 * negative code, with *err set, ends it. */
typedef int tagstore_signature_cb(void *ctx, const struct image_signature *s,
    struct imgd_error **err);
typedef int tagstore_document_cb(void *ctx, const struct image_document *d,
    struct imgd_error **err);
int tagstore_signatures(struct tagstore *ts, const char *image,
    tagstore_signature_cb *cb, tagstore_document_cb *document_cb, void *ctx,
    struct imgd_error **err);

#endif
