/*
 * A set of paths, kept as 64-bit keyed hashes: at most 15 bytes for each.
 *
 * The key is random, so nobody can prepare names that collide; among two
 * million honest ones a collision has a chance of 1 in 10^7.
 */
#ifndef LIB_PATH_SET_H
#define LIB_PATH_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

#define PATH_SET_SHARDS 64

struct path_set {
	uint64_t key[2];
	struct path_shard {
		uint64_t *slots; /* owned; 0 = free */
		size_t n_slots;
		size_t n_used;
	} shards[PATH_SET_SHARDS];
};

/* Begin an empty set with a random key. */
int path_set_init(struct path_set *s, struct imgd_error **err);
/* Free what s holds; a zeroed s is fine. */
void path_set_done(struct path_set *s);

/*
 * Add a path under a tag: the same path under another tag is another member.
 * Returns 1 if it is new, 0 if it was there, -ENOMEM.
 */
int path_set_add(struct path_set *s, char tag, const char *path, size_t len,
    struct imgd_error **err);
bool path_set_has(const struct path_set *s, char tag, const char *path,
    size_t len);

/* SipHash-1-3 of tag and data under key (Aumasson and Bernstein, 2012). */
uint64_t path_hash(const uint64_t key[2], char tag, const void *data,
    size_t len);

#endif
