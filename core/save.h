/* The save: images of the store to an archive. */
#ifndef CORE_SAVE_H
#define CORE_SAVE_H

#include "core/engine.h"
#include "core/layer-hold.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

struct saved_tag {
	char *repository; /* canonical */
	char *tag;
};

struct saved_image {
	struct image image; /* without the bytes of its documents */
	size_t config_len;
	int64_t created; /* seconds since the epoch, 0 = unknown */
	struct driver *driver;
	struct layer_hold hold;
	struct saved_tag *tags;
	size_t n_tags;
	struct strbuf manifest;
	char manifest_digest[DIGEST_STR_SIZE];
};

/* A document of signatures, or one that leads from them to an image. */
struct saved_blob {
	char digest[DIGEST_STR_SIZE];
	char *data;
	size_t len;
	/* A manifest of signatures of what has this digest; "": none. */
	char signed_digest[DIGEST_STR_SIZE];
};

struct save {
	struct saved_image *images;
	size_t n;
	struct saved_blob *blobs;
	size_t n_blobs;
	bool is_oci; /* a layout, without what Docker has beside it */
};

#define SAVE_BLOB_NAME_SIZE (sizeof("blobs/sha256/") + DIGEST_HEX_LEN)

/* "blobs/sha256/HEX" in buf. */
const char *save_blob_name(const char *digest,
    char buf[SAVE_BLOB_NAME_SIZE]);

/* ---- save-signatures.c ---- */

/* Fill blobs with what the store has for the images. */
int save_find_signatures(struct save *s, struct tagstore *ts,
    struct imgd_error **err);
/* Add entries of an index. */
void save_put_signatures(const struct save *s, struct strbuf *sb);

/* ---- save-documents.c: texts, to be checked with is_failed ---- */

/* A descriptor without its closing brace. */
void save_put_descriptor(struct strbuf *sb, const char *type,
    const char *digest, uint64_t size);
/* Fill the image's manifest and its digest. */
int save_make_manifest(struct saved_image *img, struct imgd_error **err);
void save_put_index(const struct save *s, struct strbuf *sb);
void save_put_docker_manifest(const struct save *s, struct strbuf *sb);
/* Nothing is put if there is no tag. */
void save_put_repositories(const struct save *s, struct strbuf *sb);

#endif
