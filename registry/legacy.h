/*
 * Images from before there were diff_ids: of version 1 registries, and of
 * manifests of schema 1.  Their layers are told by v1 image JSON.
 */
#ifndef REGISTRY_LEGACY_H
#define REGISTRY_LEGACY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/digest.h"
#include "registry/manifest.h"

struct legacy_layer {
	char *id;       /* 64 hex digits */
	char *parent;   /* likewise, "" for the base */
	char blob_digest[DIGEST_STR_SIZE]; /* "" for v1 */
	uint64_t size_bytes; /* as transferred; 0 = unknown */
	char *json;     /* byte for byte, NUL-terminated */
	size_t json_len;
	bool is_throwaway; /* it has a history entry and no layer */
	char *payload_checksum; /* v1: "sha256:HEX" over JSON and layer */
	char *tarsum;           /* v1: "tarsum+sha256:HEX"; NULL = none */
};

struct legacy_image {
	struct legacy_layer *layers; /* base first */
	size_t n_layers;
	size_t n_bytes; /* of JSON */
};

#define LEGACY_IMAGE_INIT { NULL, 0, 0 }

void legacy_image_done(struct legacy_image *image);

/*
 * Add the next layer, going down: documents list the top first.
 *
 * json: scanned and parsed here; its id and parent are checked to be ids.
 * ret: the layer, to be filled further.
 * -IMGD_E_FORMAT; -IMGD_E_LIMIT.
 */
int legacy_add(struct legacy_image *image, const void *json, size_t len,
    struct legacy_layer **ret, struct imgd_error **err);

/* Take back what was added last. */
void legacy_drop_last(struct legacy_image *image);

/* Turn the list round when all are there, and check that each layer's parent
 * is the next one, the base has none, and no id comes twice. */
int legacy_finish(struct legacy_image *image, struct imgd_error **err);

/*
 * Make the image config that Docker 1.10 and later make of such an image.
 *
 * diff_ids: of the layers that are no throwaways, base first.
 * *ret is malloc'ed.  -IMGD_E_FORMAT; -IMGD_E_LIMIT.
 */
int legacy_config(const struct legacy_image *image,
    const char *const *diff_ids, size_t n_diff_ids, char **ret,
    size_t *ret_len, struct imgd_error **err);

/* Release an image that was made with calloc(), or NULL. */
void legacy_image_free(struct legacy_image *image);

/* Whether the image is for that platform, as far as it says; NULL: any.
 * -IMGD_E_PLATFORM. */
int legacy_check_platform(const struct legacy_image *image,
    const struct platform *want, struct imgd_error **err);

/* Whether a document is a manifest of schema 1, by its media type (NULL: none)
 * or, where that says nothing, by what is in it. */
bool schema1_is(const char *media_type, const void *data, size_t len);

/*
 * Take the signed payload out of a schema 1 manifest, and check the
 * signatures.
 *
 * The key stands in the manifest itself: the signature shows that the bytes
 * are whole, not who made them.  An unsigned document is its own payload.
 * *ret is malloc'ed and NUL-terminated.
 * -IMGD_E_FORMAT; -IMGD_E_DIGEST if a signature is wrong.
 */
int schema1_payload(const void *data, size_t len, char **ret,
    size_t *ret_len, struct imgd_error **err);

/* Read the payload's layers.  image: LEGACY_IMAGE_INIT before. */
int schema1_layers(const void *payload, size_t len,
    struct legacy_image *image, struct imgd_error **err);

#endif
