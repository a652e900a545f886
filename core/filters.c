#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/filters.h"
#include "lib/cleanup-json.h"
#include "lib/json-scan.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

#define NS 1000000000LL
/* So that sums of two moments do not overflow: until the year 2116. */
#define MAX_SECONDS (INT64_MAX / NS / 2)

/* ---- the object ---- */

static int
invalid(struct imgd_error **err)
{
	return imgd_error_set(err, EINVAL, "invalid filter");
}

int
filters_add(struct filters *f, const char *key, const char *value,
    struct imgd_error **err)
{
	struct filter *items;

	items = reallocarray(f->items, f->n + 1, sizeof(*items));
	if (items != NULL) {
		f->items = items;
		items[f->n] = (struct filter) { strdup(key), strdup(value) };
		f->n++;
	}
	if (items == NULL || items[f->n - 1].key == NULL ||
	    items[f->n - 1].value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

/* All values of one key, in either form. */
static int
add_values(struct filters *f, const char *key, struct json_object *values,
    struct imgd_error **err)
{
	size_t i;
	int r = 0;

	if (json_object_is_type(values, json_type_object)) {
		json_object_object_foreach(values, value, unused) {
			(void)unused;
			if (r >= 0)
				r = filters_add(f, key, value, err);
		}
		return r;
	}
	if (!json_object_is_type(values, json_type_array))
		return invalid(err);
	for (i = 0; r >= 0 && i < json_object_array_length(values); i++) {
		struct json_object *v = json_object_array_get_idx(values, i);

		r = json_object_is_type(v, json_type_string)
		    ? filters_add(f, key, json_object_get_string(v), err)
		    : invalid(err);
	}
	return r;
}

static bool
is_known(const char *const *known, const char *key)
{
	if (known == NULL)
		return true;
	for (; *known != NULL; known++)
		if (strcmp(*known, key) == 0)
			return true;
	return false;
}

int
filters_parse(const char *json, const char *const *known, struct filters *ret,
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	int r = 0;

	if (json == NULL || *json == '\0')
		return 0;
	if (strlen(json) > LIMIT_FILTERS_BYTES ||
	    json_scan(json, strlen(json), NULL) < 0)
		return invalid(err);
	o = json_tokener_parse(json);
	if (!json_object_is_type(o, json_type_object))
		return invalid(err);
	json_object_object_foreach(o, key, values) {
		if (r < 0)
			break;
		r = is_known(known, key)
		    ? add_values(ret, key, values, err)
		    : imgd_error_set(err, EINVAL, "invalid filter '%s'", key);
	}
	return r;
}

void
filters_done(struct filters *f)
{
	while (f->n > 0) {
		f->n--;
		free(f->items[f->n].key);
		free(f->items[f->n].value);
	}
	free(f->items);
	f->items = NULL;
}

/* The n-th value of a key, or NULL. */
static const char *
get(const struct filters *f, const char *key, size_t n)
{
	size_t i;

	for (i = 0; i < f->n; i++)
		if (strcmp(f->items[i].key, key) == 0 && n-- == 0)
			return f->items[i].value;
	return NULL;
}

bool
filters_has(const struct filters *f, const char *key)
{
	return get(f, key, 0) != NULL;
}

bool
filters_match(const struct filters *f, const char *key, const char *value)
{
	const char *v;
	size_t i;

	for (i = 0; (v = get(f, key, i)) != NULL; i++)
		if (strcmp(v, value) == 0)
			return true;
	return i == 0;
}

int
filters_bool(const struct filters *f, const char *key, bool otherwise,
    bool *ret, struct imgd_error **err)
{
	bool is_true = false, is_false = false;
	const char *v;
	size_t i;

	for (i = 0; (v = get(f, key, i)) != NULL; i++) {
		if (strcmp(v, "1") == 0 || strcasecmp(v, "true") == 0)
			is_true = true;
		else if (strcmp(v, "0") == 0 || strcasecmp(v, "false") == 0)
			is_false = true;
		else
			return imgd_error_set(err, EINVAL,
			    "invalid filter '%s=[%s]'", key, v);
	}
	*ret = i == 0 ? otherwise : is_true && !is_false;
	return is_true && is_false
	    ? imgd_error_set(err, EINVAL, "invalid filter '%s'", key)
	    : 0;
}

bool
filters_match_labels(const struct filters *f, const char *key,
    struct json_object *labels)
{
	const char *v;
	size_t i;

	for (i = 0; (v = get(f, key, i)) != NULL; i++) {
		const char *equals = strchr(v, '=');
		cleanup_free char *name = equals != NULL
		    ? strndup(v, (size_t)(equals - v))
		    : strdup(v);
		struct json_object *have;

		if (labels == NULL || name == NULL ||
		    !json_object_object_get_ex(labels, name, &have) ||
		    !json_object_is_type(have, json_type_string) ||
		    (equals != NULL &&
			strcmp(equals + 1, json_object_get_string(have)) !=
			    0))
			return false;
	}
	return true;
}

int
filters_time(const struct filters *f, const char *key, int64_t *ret,
    struct imgd_error **err)
{
	const char *v = get(f, key, 0);

	if (v == NULL)
		return 0;
	if (get(f, key, 1) != NULL)
		return imgd_error_set(err, EINVAL,
		    "more than one %s filter specified", key);
	return filter_parse_time(v, ret, err);
}

/* ---- times ---- */

static int64_t
now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS + ts.tv_nsec;
}

/* Digits of a fraction as nanoseconds; the rest is cut off. */
static int64_t
fraction(const char **s)
{
	int64_t unit = NS, ns = 0;

	for (; **s >= '0' && **s <= '9'; (*s)++)
		ns += (**s - '0') * (unit /= 10);
	return ns;
}

static bool
whole(const char **s, int64_t max, int64_t *ret)
{
	const char *start = *s;
	int64_t n = 0;

	for (; **s >= '0' && **s <= '9'; (*s)++) {
		n = n * 10 + (**s - '0');
		if (n > max)
			return false;
	}
	*ret = n;
	return *s > start;
}

bool
filter_parse_duration(const char *s, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 },
		{ "s", NS }, { "m", 60 * NS }, { "h", 3600 * NS } };
	int64_t total = 0, n, part;
	size_t i, len;

	if (*s == '\0')
		return false;
	while (*s != '\0') {
		if (!whole(&s, MAX_SECONDS, &n))
			return false;
		part = 0;
		if (*s == '.') {
			s++;
			part = fraction(&s);
		}
		len = strcspn(s, "0123456789.");
		for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strlen(units[i].name) == len &&
			    strncmp(units[i].name, s, len) == 0)
				break;
		if (i == sizeof(units) / sizeof(units[0]) ||
		    n > MAX_SECONDS * NS / units[i].ns)
			return false;
		total += n * units[i].ns +
		    (int64_t)((double)part * (double)units[i].ns / 1e9);
		if (total > MAX_SECONDS * NS)
			return false;
		s += len;
	}
	*ret_ns = total;
	return true;
}

/* What follows the seconds of a date: nothing, "Z", "+01:00". */
static bool
parse_zone(const char *s, struct tm *tm, int64_t *ret)
{
	int64_t hours, minutes;
	int sign;

	tm->tm_isdst = -1;
	if (*s == '\0') {
		*ret = mktime(tm);
		return true;
	}
	if (strcmp(s, "Z") == 0) {
		*ret = timegm(tm);
		return true;
	}
	sign = *s == '+' ? -1 : 1;
	if ((*s != '+' && *s != '-') || strlen(s) != 6 || s[3] != ':')
		return false;
	s++;
	if (!whole(&s, 23, &hours) || *s++ != ':' || !whole(&s, 59, &minutes))
		return false;
	*ret = timegm(tm) + sign * (hours * 3600 + minutes * 60);
	return true;
}

static bool
parse_date(const char *s, int64_t *ret_ns)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S",
		"%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d" };
	int64_t seconds, ns = 0;
	const char *end = NULL;
	struct tm tm;
	size_t i;

	for (i = 0; i < 4 && end == NULL; i++) {
		tm = (struct tm) { .tm_mday = 1 };
		end = strptime(s, forms[i], &tm);
	}
	if (end == NULL)
		return false;
	if (*end == '.' && i == 1) {
		end++;
		ns = fraction(&end);
	}
	if (!parse_zone(end, &tm, &seconds) || seconds > MAX_SECONDS ||
	    seconds < -MAX_SECONDS)
		return false;
	*ret_ns = seconds * NS + ns;
	return true;
}

int
filter_parse_time(const char *s, int64_t *ret_ns, struct imgd_error **err)
{
	const char *p = s;
	int64_t ns = 0, n;

	if (whole(&p, MAX_SECONDS, &n)) {
		if (*p == '.') {
			p++;
			ns = fraction(&p);
		}
		if (*p == '\0') {
			*ret_ns = n * NS + ns;
			return 0;
		}
	}
	if (filter_parse_duration(s, &ns)) {
		*ret_ns = now_ns() - ns;
		return 0;
	}
	if (parse_date(s, ret_ns))
		return 0;
	return imgd_error_set(err, EINVAL,
	    "failed to parse value as time or duration: \"%s\"", s);
}

/* ---- patterns ---- */

/* The character at *p, which a backslash may quote; 0 where there is none. */
static char
class_char(const char **p)
{
	if (**p == '\\')
		(*p)++;
	return **p != '\0' ? *(*p)++ : '\0';
}

/* Match one character against the class that *p, behind its '[', begins, and
 * step over the class: 1, 0, or -1 if it does not end. */
static int
match_class(const char **p, char c)
{
	bool is_negated = **p == '^', is_hit = false;
	bool is_first = true;

	*p += is_negated;
	for (;; is_first = false) {
		char low, high;

		if (**p == ']' && !is_first) {
			(*p)++;
			return is_hit != is_negated;
		}
		if (**p == ']' || **p == '-')
			return -1;
		low = high = class_char(p);
		if (low != '\0' && **p == '-') {
			(*p)++;
			high = class_char(p);
		}
		if (low == '\0' || high == '\0')
			return -1;
		is_hit = is_hit || (low <= c && c <= high);
	}
}

int
filter_check_glob(const char *pattern, struct imgd_error **err)
{
	const char *p = pattern;

	while (*p != '\0') {
		bool is_bad = false;

		if (*p == '[') {
			p++;
			is_bad = match_class(&p, 'x') < 0;
		} else {
			is_bad = *p == '\\' && *++p == '\0';
			p += !is_bad;
		}
		if (is_bad)
			return imgd_error_set(err, EINVAL,
			    "syntax error in pattern");
	}
	return 0;
}

/* Match one character that is no '*' and step over it in the pattern. */
static bool
match_one(const char **p, char c)
{
	switch (**p) {
	case '?':
		(*p)++;
		return c != '/';
	case '[':
		(*p)++;
		return match_class(p, c) == 1 && c != '/';
	default:
		return class_char(p) == c;
	}
}

bool
filter_glob(const char *p, const char *s)
{
	/* Where to go on if what follows the last star does not match: it
	 * swallows one character more. */
	const char *star = NULL, *from = NULL;

	while (*s != '\0') {
		const char *next = p;

		if (*p == '*') {
			star = ++p;
			from = s;
		} else if (*p != '\0' && match_one(&next, *s)) {
			/* A star ends with its path component. */
			if (*s == '/')
				star = NULL;
			p = next;
			s++;
		} else if (star != NULL && *from != '/') {
			p = star;
			s = ++from;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return *p == '\0';
}
