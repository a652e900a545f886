/*
 * What a request's target says: API version, path, query.
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "imgd/error.h"

/* The Engine API that is spoken: 1.12 up to this. */
#define API_MINOR_MAX 50
#define API_MINOR_MIN 12
#define API_VERSION   "1.50"
#define API_MIN       "1.12"

struct request_item {
	char *key, *value;
};

struct request {
	char *path;         /* decoded, without the version */
	unsigned int minor; /* of the version; API_MINOR_MAX if there is none */
	struct request_item *items; /* of the query, in order */
	size_t n_items;
};

/*
 * Parse a target as it was sent.  ret: zeroed before; request_done() after
 * success and failure.  -EINVAL with what is wrong.
 */
int request_parse(const char *target, struct request *ret,
    struct imgd_error **err);
void request_done(struct request *q);

/* The first value of that key, or NULL if there is none or it is empty. */
const char *request_get(const struct request *q, const char *key);

/* Docker's booleans: "", "0", "no", "false" and "none" are not. */
bool request_flag(const struct request *q, const char *key);

/*
 * Whether the path is as the pattern, in which one star stands for a name that
 * may hold slashes.
 * ret_name: malloc'ed, NULL without a star.
 */
bool request_matches(const struct request *q, const char *pattern,
    char **ret_name);

#endif
