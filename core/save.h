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

struct save {
	struct saved_image *images;
	size_t n;
	bool is_oci; /* a layout, without what Docker has beside it */
};

#define SAVE_BLOB_NAME_SIZE (sizeof("blobs/sha256/") + DIGEST_HEX_LEN)

/* "blobs/sha256/HEX" in buf. */
const char *save_blob_name(const char *digest,
    char buf[SAVE_BLOB_NAME_SIZE]);

/* ---- save-documents.c: texts, to be checked with is_failed ---- */

/* Fill the image's manifest and its digest. */
int save_make_manifest(struct saved_image *img, struct imgd_error **err);
void save_put_index(const struct save *s, struct strbuf *sb);
void save_put_docker_manifest(const struct save *s, struct strbuf *sb);
/* Nothing is put if there is no tag. */
void save_put_repositories(const struct save *s, struct strbuf *sb);

#endif
