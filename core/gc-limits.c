#include "config.h"

#include <errno.h>
#include <string.h>

#include "core/filters.h"
#include "core/gc-limits.h"
#include "lib/strbuf.h"

#define MAX_KEPT 1000000u
#define NS       1000000000

enum limit {
	LIMIT_MAX_SIZE,
	LIMIT_MIN_FREE,
	LIMIT_KEEP_LAST,
	LIMIT_KEEP_SINCE,
	N_LIMITS
};

const char *const gc_limit_keys[] = {
	[LIMIT_MAX_SIZE] = "max-size",
	[LIMIT_MIN_FREE] = "min-free",
	[LIMIT_KEEP_LAST] = "keep-last",
	[LIMIT_KEEP_SINCE] = "keep-since",
	[N_LIMITS] = NULL,
};

static int
set_age(struct gc_limits *l, const char *text, struct imgd_error **err)
{
	int64_t ns;

	if (!filter_parse_duration(text, &ns) || ns < NS)
		return imgd_error_set(err, EINVAL,
		    "keep-since: %s: not a duration like 36h, of 1s or more",
		    text);
	l->keep_since_s = ns / NS;
	return 0;
}

int
gc_limits_set(struct gc_limits *l, const char *key, const char *text,
    struct imgd_error **err)
{
	size_t k;

	for (k = 0; k < N_LIMITS; k++)
		if (strcmp(key, gc_limit_keys[k]) == 0)
			break;
	switch (k) {
	case LIMIT_MAX_SIZE:
		l->has_max_size = true;
		return str_to_size(text, &l->max_bytes)
		    ? 0
		    : imgd_error_set(err, EINVAL,
			  "max-size: %s: not a size", text);
	case LIMIT_MIN_FREE:
		return str_to_size(text, &l->min_free_bytes)
		    ? 0
		    : imgd_error_set(err, EINVAL,
			  "min-free: %s: not a size", text);
	case LIMIT_KEEP_LAST:
		l->has_keep_last = true;
		return str_to_u64(text, MAX_KEPT, &l->keep_last)
		    ? 0
		    : imgd_error_set(err, EINVAL,
			  "keep-last: %s: not a number up to %u", text,
			  MAX_KEPT);
	case LIMIT_KEEP_SINCE:
		return set_age(l, text, err);
	default:
		return imgd_error_set(err, ENOENT, "unknown key %s", key);
	}
}

bool
gc_limits_any(const struct gc_limits *l)
{
	return l->has_max_size || l->min_free_bytes > 0 || l->has_keep_last ||
	    l->keep_since_s > 0;
}
