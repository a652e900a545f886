/*
 * SHA-256 digests in their "sha256:HEX" form, as the OCI image specification
 * writes them (descriptor.md, "Digests").
 */
#ifndef LIB_DIGEST_H
#define LIB_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "imgd/error.h"

#define DIGEST_HEX_LEN 64
#define DIGEST_STR_LEN (7 + DIGEST_HEX_LEN) /* "sha256:" + hex */
#define DIGEST_STR_SIZE (DIGEST_STR_LEN + 1)

struct digest_ctx;

/* Begin a SHA-256; free with digest_free. */
int digest_new(struct digest_ctx **ret, struct imgd_error **err);
void digest_update(struct digest_ctx *d, const void *data, size_t len);
/* The digest of what came so far as "sha256:HEX"; the context may go on. */
int digest_str(struct digest_ctx *d, char ret[DIGEST_STR_SIZE],
    struct imgd_error **err);
void digest_free(struct digest_ctx *d);
static inline void
digest_freep(struct digest_ctx **d)
{
	digest_free(*d);
}

/* SHA-256 of one buffer. */
int digest_of(const void *data, size_t len, char ret[DIGEST_STR_SIZE],
    struct imgd_error **err);

/* Whether s is "sha256:" and 64 lower-case hex digits. */
bool digest_is_valid(const char *s);
/* Whether s is 64 lower-case hex digits. */
bool digest_is_hex(const char *s);
/* The hex part of a valid digest. */
const char *digest_hex(const char *digest);

/*
 * The chain id of a layer: its diff_id if parent is NULL or "", else
 * SHA256(parent + " " + diff_id).  OCI image-spec, config.md, "Layer ChainID".
 */
int digest_chain(const char *parent_chain_id, const char *diff_id,
    char ret[DIGEST_STR_SIZE], struct imgd_error **err);

#endif
