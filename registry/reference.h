/*
 * Image names: the grammar of distribution/reference and Docker's
 * normalisation of short names.
 */
#ifndef REGISTRY_REFERENCE_H
#define REGISTRY_REFERENCE_H

#include <stdbool.h>

#include "imgd/error.h"

/* What names without a domain, or without a tag, are given. */
#define REFERENCE_DEFAULT_DOMAIN "docker.io"
#define REFERENCE_DEFAULT_TAG_NAME "latest"

/* reference_parse's flags */
#define REFERENCE_DEFAULT_TAG (1u << 0) /* neither tag nor digest: "latest" */

/* A normalised name; every string is owned by the struct. */
struct reference {
	char *domain; /* "docker.io", "host", "host:port", "[::1]:5000" */
	char *path;   /* "library/ubuntu" */
	char *tag;    /* NULL: none */
	char *digest; /* "sha256:HEX"; NULL: none.  It wins over the tag. */
};

#define REFERENCE_INIT { NULL, NULL, NULL, NULL }

/*
 * Parse a name as a user types it: [DOMAIN/]PATH[:TAG][@DIGEST].
 *
 * ret: valid on success; release with reference_done().
 * Returns 0; -EINVAL for a name that breaks the grammar (64 hex digits and
 * "scratch" are refused too); -IMGD_E_LIMIT for one that is too long.
 */
int reference_parse(const char *s, unsigned flags, struct reference *ret,
    struct imgd_error **err);

/* A deep copy. */
int reference_copy(const struct reference *ref, struct reference *ret,
    struct imgd_error **err);

void reference_done(struct reference *ref);

/*
 * Malloc'ed strings; NULL if memory is out.
 * name: "docker.io/library/ubuntu"; canonical: name with tag and digest.
 * familiar_name: "ubuntu", "host:5000/a/b"; familiar: that with tag and
 * digest, as docker shows it.
 */
char *reference_name(const struct reference *ref);
char *reference_canonical(const struct reference *ref);
char *reference_familiar_name(const struct reference *ref);
char *reference_familiar(const struct reference *ref);

/* Whether s may be a tag. */
bool reference_tag_is_valid(const char *s);

#endif
