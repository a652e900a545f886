/*
 * Docker's filters: {"KEY": {"VALUE": true}} or, as old clients write it,
 * {"KEY": ["VALUE"]}; and the patterns and times that are values of them.
 */
#ifndef CORE_FILTERS_H
#define CORE_FILTERS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

struct filter {
	char *key, *value;
};

struct filters {
	struct filter *items;
	size_t n;
};

/*
 * Parse the text of a filters parameter, which is hostile.
 *
 * json: NULL or "" is none.  known: keys that make sense, ended by NULL;
 * NULL: any.
 * ret: zeroed before; release with filters_done().
 * -EINVAL: "invalid filter", "invalid filter 'KEY'".
 */
int filters_parse(const char *json, const char *const *known,
    struct filters *ret, struct imgd_error **err);
void filters_done(struct filters *f);
/* One more value of a key. */
int filters_add(struct filters *f, const char *key, const char *value,
    struct imgd_error **err);

bool filters_has(const struct filters *f, const char *key);
/* Whether one of the key's values is value; true as well if it has none. */
bool filters_match(const struct filters *f, const char *key,
    const char *value);

/* The key's truth value, or otherwise if it is not there; -EINVAL if it is
 * neither. */
int filters_bool(const struct filters *f, const char *key, bool otherwise,
    bool *ret, struct imgd_error **err);

/* Whether labels, an object of strings or NULL, have every value of the key:
 * NAME or NAME=VALUE.  True if the key is not there. */
bool filters_match_labels(const struct filters *f, const char *key,
    struct json_object *labels);

/*
 * The moment that the key names, in nanoseconds since the epoch: at most one.
 * *ret is left alone if there is none.
 */
int filters_time(const struct filters *f, const char *key, int64_t *ret,
    struct imgd_error **err);

/*
 * A moment as docker's users write it: seconds since the epoch with or without
 * a fraction, a date with or without time and zone, or how long ago ("1h30m").
 */
int filter_parse_time(const char *s, int64_t *ret_ns,
    struct imgd_error **err);

/* "1h30m", "1.5s": Go's durations, in nanoseconds. */
bool filter_parse_duration(const char *s, int64_t *ret_ns);

/* -EINVAL "syntax error in pattern" if filter_glob cannot read it. */
int filter_check_glob(const char *pattern, struct imgd_error **err);

/* Match as Go's path.Match: '*' and '?' do not cross a '/'.  Takes at most the
 * product of both lengths. */
bool filter_glob(const char *pattern, const char *s);

#endif
