/* One document of a registry: a manifest, a config, a payload. */
#ifndef REGISTRY_V2_DOCUMENT_H
#define REGISTRY_V2_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/digest.h"
#include "registry/session-impl.h"

/* A document that is wanted. */
struct document_want {
	const char *path;     /* below "/v2" */
	const char *what;     /* in errors */
	const char *accept;   /* NULL: anything */
	const char *expected_digest; /* NULL: the server's word is checked */
	bool may_be_schema1;
	const char *media_type; /* said of it; NULL: the server's word */
	bool has_size;
	uint64_t expected_bytes;
	size_t max_bytes;
};

/* A document that was fetched. */
struct document {
	struct http_reply reply;
	bool is_schema1; /* the body is what was signed, and nothing else */
	char digest[DIGEST_STR_SIZE]; /* of its bytes */
};

/* Also of one that was not fetched. */
void document_donep(struct document *d);

/* Its bytes; "" if there are none. */
const char *document_bytes(const struct document *d);

/*
 * Fetch a document from the first place that has it, and verify it.
 *
 * d: empty before; release with document_donep().
 * -IMGD_E_UNKNOWN; -IMGD_E_DENIED; -IMGD_E_DIGEST; -IMGD_E_LIMIT; as
 * registry_resolve().
 */
int v2_document(struct registry_session *s, const struct document_want *w,
    struct document *d, struct imgd_error **err);

#endif
