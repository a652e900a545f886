/*
 * Pushing: blobs and manifests into the session's repository.  The session is
 * one made with is_push.  Each call blocks its thread until it is done.
 */
#ifndef REGISTRY_PUSH_H
#define REGISTRY_PUSH_H

#include "registry/session.h"

/* Whether the repository has the blob: 1 or 0.  ret_size: its size; 0 if the
 * registry does not say. */
int registry_has_blob(struct registry_session *s, const char *digest,
    uint64_t *ret_size, struct imgd_error **err);

/* Let the repository have a blob that the repository from of the same registry
 * has: 1; 0 if the registry does not do so, whatever the reason. */
int registry_mount_blob(struct registry_session *s, const char *digest,
    const char *from, struct imgd_error **err);

/* Upload a small blob from memory, unless it is there. */
int registry_put_blob(struct registry_session *s, const char *digest,
    const void *data, size_t len, struct imgd_error **err);

/* Store a manifest under a tag.  What the registry calls it must be digest. */
int registry_put_manifest(struct registry_session *s, const char *tag,
    const char *media_type, const char *digest, const void *data, size_t len,
    struct imgd_error **err);

/* Where the bytes of a blob come from whose digest is not known before. */
struct registry_upload {
	/* Begin again with the first byte; why: what made that necessary, NULL
	 * at the first time. */
	int (*rewind)(void *ctx, const char *why, struct imgd_error **err);
	/* Up to len bytes; 0 at the end. */
	int64_t (*read)(void *ctx, void *buf, size_t len,
	    struct imgd_error **err);
	/* The digest of all that was read since the beginning. */
	int (*digest)(void *ctx, char ret[DIGEST_STR_SIZE],
	    struct imgd_error **err);
	/* All were read: whether they may be kept, and their digest. */
	int (*confirm)(void *ctx, char ret_digest[DIGEST_STR_SIZE],
	    struct imgd_error **err);
	/* The upload may go on at location, even in another session, where
	 * bytes arrived that have the digest.  NULL: nobody wants to know. */
	void (*marked)(void *ctx, const char *location, uint64_t bytes,
	    const char *digest);
	void *ctx;
	int spool_fd; /* a scratch file; -EBADF: none, and it is small: */
	uint64_t small_bytes; /* it goes with one request */
	/* Send pieces that are asked for and acknowledged one by one, instead
	 * of a stream: less is lost with the link, but not all registries like
	 * it.  So is done, too, after a stream broke. */
	bool in_pieces;
	/* What marked was last told of this blob; NULL: nothing. */
	const char *location;
	uint64_t mark_bytes;
	const char *mark_digest;
};

/*
 * Upload a blob, going on where it broke.  Nothing of it becomes a blob before
 * confirm has returned 0.  The registry is asked for it at the end: some take
 * what they do not keep.
 *
 * After a failure that another session may overcome, the registry keeps what
 * it has; else the upload is called off.
 */
int registry_upload(struct registry_session *s, struct registry_upload *from,
    struct imgd_error **err);

#endif
