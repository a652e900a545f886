/*
 * TarSum: Docker's checksum of an image's JSON and the entries of its tar,
 * whatever their compression and order.  Source: docker 1.2, pkg/tarsum.
 */
#ifndef REGISTRY_TARSUM_H
#define REGISTRY_TARSUM_H

#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

struct tarsum;

/*
 * Begin to compute what expected says: "tarsum+sha256:HEX", or that of
 * "tarsum.v1".  Of anything else *ret becomes NULL: it is not known how to
 * compute it.  json may be empty.
 */
int tarsum_new(const char *expected, const void *json, size_t len,
    struct tarsum **ret, struct imgd_error **err);
/* The tar's next bytes; whatever they are, only memory can be short. */
int tarsum_update(struct tarsum *t, const void *data, uint64_t len,
    struct imgd_error **err);
/* All was given: -IMGD_E_DIGEST if the sum is another one. */
int tarsum_check(struct tarsum *t, struct imgd_error **err);
void tarsum_free(struct tarsum *t);

#endif
