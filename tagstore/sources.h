/* Where blobs are known to be: rows that only save transfers. */
#ifndef TAGSTORE_SOURCES_H
#define TAGSTORE_SOURCES_H

#include "tagstore/tagstore.h"

/* The repositories of a registry that have the blob, at most max of them, into
 * ret: malloc'ed each. */
int tagstore_sources(struct tagstore *ts, const char *blob_digest,
    const char *registry, size_t max, char **ret, size_t *ret_n,
    struct imgd_error **err);
int tagstore_source_add(struct tagstore *ts, const char *blob_digest,
    const char *registry, const char *repository, struct imgd_error **err);

#endif
