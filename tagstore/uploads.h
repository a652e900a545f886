/*
 * What was learnt by sending and fetching layers: which blobs they are as, and
 * uploads that have not come to an end.  Rows that only save work.
 */
#ifndef TAGSTORE_UPLOADS_H
#define TAGSTORE_UPLOADS_H

#include "lib/digest.h"
#include "tagstore/tagstore.h"

/* A blob that holds a layer. */
struct layer_blob {
	char digest[DIGEST_STR_SIZE];
	uint64_t size_bytes;
};

/*
 * Blobs with the layer in this compression ("gzip", "zstd"), at most max of
 * them into ret: those of the registry first.
 */
int tagstore_layer_blobs(struct tagstore *ts, const char *diff_id,
    const char *registry, const char *format, size_t max,
    struct layer_blob *ret, size_t *ret_n, struct imgd_error **err);
int tagstore_layer_blob_add(struct tagstore *ts, const char *diff_id,
    const char *registry, const char *format, const struct layer_blob *blob,
    struct imgd_error **err);

/* Which upload: a layer in a compression to a repository. */
struct upload_key {
	const char *registry, *repository, *diff_id, *format;
};

/* Where it goes on, and what surely arrived there. */
struct upload_row {
	char *location; /* a URL, as the registry gave it */
	uint64_t bytes;
	char digest[DIGEST_STR_SIZE]; /* of these bytes */
};

void upload_row_done(struct upload_row *row);

/* -ENOENT if no such upload was begun. */
int tagstore_upload(struct tagstore *ts, const struct upload_key *key,
    struct upload_row *ret, struct imgd_error **err);
int tagstore_upload_mark(struct tagstore *ts, const struct upload_key *key,
    const struct upload_row *row, struct imgd_error **err);
int tagstore_upload_drop(struct tagstore *ts, const struct upload_key *key,
    struct imgd_error **err);

/* No registry keeps a part for longer. */
#define UPLOADS_MAX_AGE_S (7 * 86400)

/* Registries forget uploads; so do we those older than max_age_s. */
int tagstore_uploads_expire(struct tagstore *ts, int64_t max_age_s,
    struct imgd_error **err);

#endif
