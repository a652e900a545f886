/*
 * Growing strings, and small string helpers.
 */
#ifndef LIB_STRBUF_H
#define LIB_STRBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

/*
 * A growing byte string.  Start with STRBUF_INIT; data is NUL-terminated
 * whenever it is not NULL.  A failed allocation sets is_failed and makes all
 * later calls do nothing: check once, at the end.
 */
struct strbuf {
	char *data; /* owned; NULL while empty */
	size_t len; /* without the NUL */
	size_t size;
	bool is_failed;
};

#define STRBUF_INIT { NULL, 0, 0, false }

void strbuf_append(struct strbuf *sb, const void *data, size_t len);
void strbuf_puts(struct strbuf *sb, const char *s);
void strbuf_putc(struct strbuf *sb, char c);
void strbuf_printf(struct strbuf *sb, const char *fmt, ...) IMGD_PRINTF(2, 3);
/* Append s as a JSON string with its quotes; bytes that are no UTF-8 become
 * U+FFFD. */
void strbuf_json(struct strbuf *sb, const char *text);
/* Shorten to len bytes; more than there are is our bug. */
void strbuf_truncate(struct strbuf *sb, size_t len);
/* The text, owned by the caller; NULL if an allocation failed.  sb is empty
 * afterwards.  Never NULL for an empty text. */
char *strbuf_take(struct strbuf *sb);
void strbuf_done(struct strbuf *sb);

/*
 * A malloc'ed copy of len bytes in which control characters and bytes that are
 * no UTF-8 are written as \xNN or \n, \t, \r: fit for a terminal, and not
 * changed by escaping it again.  NULL if memory is out.
 */
IMGD_EXPORT char *str_escape(const char *s, size_t len);

/* Whether len bytes are well-formed UTF-8 (RFC 3629: no surrogates, nothing
 * overlong). */
bool str_is_utf8(const void *s, size_t len);

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* Whether name is an item of the comma-separated list. */
bool str_csv_has(const char *list, const char *name);

/* Parse a whole decimal number without sign or blanks; false if it is none or
 * above max. */
bool str_to_u64(const char *s, uint64_t max, uint64_t *ret);

/* Free n malloc'ed strings and the malloc'ed list of them; NULL is fine. */
void str_list_free(char **list, size_t n);

/* A random key: 64 lower-case hex digits and a NUL. */
int str_random_key(char ret[65], struct imgd_error **err);

/* Read "512m" or "10G" (of 1024, a final "b" is ignored); false if it is no
 * such thing. */
bool str_to_size(const char *s, uint64_t *ret);

/* "12.3MB", decimal units as docker prints them; in buf. */
const char *str_size(uint64_t bytes, char buf[32]);

#endif
