/*
 * Reading image archives: what docker save has written since 2014, and OCI
 * image layouts, as a tar or as a directory.
 *
 * All that is read is hostile: documents are capped and go through
 * json_scan(), and no name leads out of the archive.  What comes out is for
 * the caller to check against digests.  For workers.
 * Sources: moby image/tarexport; OCI image-spec image-layout.md.
 */
#ifndef ARCHIVE_ARCHIVE_H
#define ARCHIVE_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#include "archive/members.h"
#include "imgd/driver.h"
#include "imgd/error.h"
#include "lib/digest.h"
#include "registry/legacy.h"
#include "registry/manifest.h"
#include "registry/signature.h"

/* ---- input that cannot be read in place ---- */

/* Whether the archive has to be read as a stream (archive/stream.h): it is no
 * file that can be sought, or compressed.  Returns 1 or 0. */
int image_archive_is_stream(int fd, struct imgd_error **err);

/* Write what fd gives, decompressed, to sink; something has to come.
 * progress: told the bytes that were read. */
int image_archive_pass(int fd, struct imgd_sink *sink,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_bytes, uint64_t *ret_tar_bytes, struct imgd_error **err);

/* ---- what there is ---- */

enum image_archive_form {
	FORM_DOCKER, /* manifest.json */
	FORM_OCI,    /* oci-layout, index.json */
	FORM_LEGACY, /* before Docker 1.10: a directory for each layer */
};

struct archived_image {
	char **names; /* as written there, unchecked */
	size_t n_names;
	char *config_path; /* FORM_DOCKER */
	char **layer_paths; /* FORM_DOCKER */
	size_t n_layers;
	char manifest_digest[DIGEST_STR_SIZE]; /* FORM_OCI */
	char v1_id[DIGEST_HEX_LEN + 1];        /* FORM_LEGACY */
};

struct image_archive {
	struct members members;
	enum image_archive_form form;
	struct archived_image *images;
	size_t n_images;
	size_t n_name_bytes;
};

/*
 * Look through an archive.
 *
 * fd: a regular file or a directory; borrowed, must outlive the handle.
 * want: where a layout has an image for several platforms; NULL: the host's.
 * -EINVAL for a tar or directory that is no image archive; what members_open
 * returns; -IMGD_E_FORMAT; -IMGD_E_LIMIT.
 */
int image_archive_open(int fd, const struct platform *want,
    struct image_archive **ret, struct imgd_error **err);
void image_archive_free(struct image_archive *a);
static inline void
image_archive_freep(struct image_archive **a)
{
	image_archive_free(*a);
}

/* ---- one image ---- */

struct found_layer {
	struct member_file file;
	/* What its bytes must have; "": nothing is known. */
	char blob_digest[DIGEST_STR_SIZE];
};

struct found_image {
	char id[DIGEST_STR_SIZE]; /* of the config; "" of FORM_LEGACY */
	char *config;             /* NULL of FORM_LEGACY */
	size_t config_len;
	char *manifest; /* FORM_OCI */
	size_t manifest_len;
	char *manifest_type;
	struct legacy_image *legacy;
	struct found_layer *layers; /* those with content, base first */
	size_t n_layers;
};

/* Read the documents of image i and find its layers.
 * ret: all zero before; release with found_image_done(). */
int image_archive_find(const struct image_archive *a, size_t i,
    struct found_image *ret, struct imgd_error **err);
void found_image_done(struct found_image *f);

/*
 * Find the signatures of the image with that id, and the documents that lead
 * from them to it; a layout alone has some.
 *
 * docs, signatures: added to.  Nothing says yet that a signature is right.
 */
int image_archive_signatures(const struct image_archive *a,
    const char *image_id, struct signed_docs *docs,
    struct signature_list *signatures, struct imgd_error **err);

/*
 * Write a layer's tar, decompressed, to sink.
 *
 * progress: told the bytes that were read.  Any thread, several at once.
 * -IMGD_E_DIGEST if the layer is not what its digest says.
 */
int found_layer_write(const struct found_layer *l, struct imgd_sink *sink,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_blob_bytes, uint64_t *ret_tar_bytes,
    struct imgd_error **err);

#endif
