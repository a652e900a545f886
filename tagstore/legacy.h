/*
 * Images whose layers are told by nothing but names: layers that get their
 * chain_id only when they are there, and what remembers them.
 */
#ifndef TAGSTORE_LEGACY_H
#define TAGSTORE_LEGACY_H

#include "lib/digest.h"
#include "tagstore/tagstore.h"

/* Add one layer to a pull in flight: 'staging', of no known content. */
int tagstore_pull_add(struct tagstore *ts, const char *pull,
    const char *driver, const char *key, const char *parent,
    struct imgd_error **err);
/* Add a layer that is there, or that another pull makes: it stays as long as
 * this pull does.  -ENOENT if it is gone. */
int tagstore_pull_hold(struct tagstore *ts, const char *pull, const char *key,
    struct imgd_error **err);
/* What the pull's layer of no known content turned out to be. */
int tagstore_layer_identify(struct tagstore *ts, const char *key,
    const char *diff_id, const char *chain_id, struct imgd_error **err);
/* It turned out to be another one that is there: hold that one, and let it be
 * 'dying'. */
int tagstore_pull_swap(struct tagstore *ts, const char *pull, const char *key,
    const char *other, struct imgd_error **err);

/* What a blob is, if an image has come from that registry with it: its
 * diff_id and its size.  -ENOENT. */
int tagstore_blob(struct tagstore *ts, const char *registry,
    const char *blob_digest, char ret_diff_id[DIGEST_STR_SIZE],
    uint64_t *ret_bytes, struct imgd_error **err);

/* The chain_id that a version 1 registry's layer had, if its JSON was the
 * same.  -ENOENT. */
int tagstore_v1_layer(struct tagstore *ts, const char *registry,
    const char *v1_id, const void *json, size_t len,
    char ret_chain_id[DIGEST_STR_SIZE], struct imgd_error **err);

#endif
