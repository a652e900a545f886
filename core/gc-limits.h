/* What garbage collection keeps to, as people write it. */
#ifndef CORE_GC_LIMITS_H
#define CORE_GC_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "imgd/error.h"

struct gc_limits {
	bool has_max_size;
	uint64_t max_bytes;      /* of the store */
	uint64_t min_free_bytes; /* of its filesystem; 0: any */
	bool has_keep_last;
	uint64_t keep_last;      /* so many images */
	int64_t keep_since_s;    /* those used since so long; 0: no matter */
};

/*
 * Set one by its name: "max-size", "min-free", "keep-last", "keep-since".
 * -ENOENT if it is none of these; -EINVAL if text is no value for it.
 */
int gc_limits_set(struct gc_limits *l, const char *key, const char *text,
    struct imgd_error **err);

/* Whether any is set. */
bool gc_limits_any(const struct gc_limits *l);

/* The four names, ended by NULL. */
extern const char *const gc_limit_keys[];

#endif
