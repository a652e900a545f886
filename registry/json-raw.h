/*
 * JSON as text: members of an object as they stand, and Go's way of writing.
 *
 * Documents that Docker made are kept byte for byte where they can be; a
 * parser's tree would lose escapes and the spelling of numbers.
 */
#ifndef REGISTRY_JSON_RAW_H
#define REGISTRY_JSON_RAW_H

#include <stddef.h>

#include "imgd/error.h"
#include "lib/strbuf.h"

/* One member of an object. */
struct json_raw_member {
	char *key; /* decoded; owned */
	const char *value; /* inside the text */
	size_t len;
};

struct json_raw {
	struct json_raw_member *members; /* in the text's order */
	size_t n;
};

#define JSON_RAW_INIT { NULL, 0 }

/*
 * Split the text of an object into its members.
 *
 * text: must have passed json_scan(); has to outlive ret.
 * ret: JSON_RAW_INIT before; release with json_raw_done().
 * Returns 0; -IMGD_E_FORMAT if it is no object.
 */
int json_raw_parse(const char *text, size_t len, struct json_raw *ret,
    struct imgd_error **err);
void json_raw_done(struct json_raw *r);

/* The member of that name: exactly, else whatever its case, as Go looks
 * members up; NULL if it is absent or null. */
const struct json_raw_member *json_raw_find(const struct json_raw *r,
    const char *key);

/* Append a value as Go's encoder writes raw text: without blanks, with <, >,
 * & and the two odd line ends of Unicode escaped. */
void json_raw_compact(struct strbuf *sb, const char *value, size_t len);

/* Append a string of len bytes (UTF-8) with quotes, as Go writes it. */
void json_raw_string(struct strbuf *sb, const char *s, size_t len);

#endif
