#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "lib/json-scan.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

/*
 * Keys are found again by a hash table on the stack, made on a second pass.
 * One table serves the whole text, since a text has at most LIMIT_JSON_VALUES
 * keys; two sizes keep the usual small text off the large one.  The hash is a
 * polynomial modulo 2^61 - 1 at a random point: whoever wrote the text cannot
 * aim for collisions.
 */
#define SMALL_SLOTS 1024u
#define LARGE_SLOTS 32768u
#define HASH_PRIME ((UINT64_C(1) << 61) - 1)

_Static_assert(LIMIT_JSON_VALUES < LARGE_SLOTS * 2 / 3,
    "the table would be too full");
_Static_assert(LIMIT_JSON_VALUES < UINT16_MAX, "object numbers are 16 bits");

struct table {
	uint32_t *keys;    /* offset of a key's first byte; 0 = free */
	uint16_t *objects; /* the number of its object */
	uint32_t n_slots;  /* a power of two */
	uint64_t point, odd;
};

struct scan {
	const uint8_t *start, *p, *end;
	struct table *table; /* NULL on the first pass */
	unsigned n_values, n_keys, n_objects;
	unsigned depth;
	bool is_object[LIMIT_JSON_DEPTH];
	uint16_t object[LIMIT_JSON_DEPTH];
	struct imgd_error **err;
};

static int
bad(struct scan *s, const char *what)
{
	return imgd_error_set(s->err, IMGD_E_FORMAT, "bad JSON: %s at byte %zu",
	    what, (size_t)(s->p - s->start));
}

static void
skip_blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' ||
				    *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static int
hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The value of four hex digits, or -1; p has at least four bytes. */
static int32_t
four_hex(const uint8_t *p)
{
	int32_t v = 0;
	int i, d;

	for (i = 0; i < 4; i++) {
		d = hex_value(p[i]);
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static bool
is_surrogate(int32_t c, int32_t base)
{
	return (c & 0xfc00) == base;
}

/* An escape: s->p is behind the backslash. */
static int
scan_escape(struct scan *s, bool is_key)
{
	int32_t c, low;

	if (s->p == s->end)
		return bad(s, "string without end");
	if (*s->p != 'u') {
		if (strchr("\"\\/bfnrt", *s->p) == NULL || *s->p == '\0')
			return bad(s, "unknown escape");
		s->p++;
		return 0;
	}
	s->p++;
	if (s->end - s->p < 4 || (c = four_hex(s->p)) < 0)
		return bad(s, "bad \\u escape");
	s->p += 4;
	if (is_key && c == 0)
		return bad(s, "NUL in a key");
	if (is_surrogate(c, 0xd800)) {
		low = -1;
		if (s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u')
			low = four_hex(s->p + 2);
		if (low >= 0 && is_surrogate(low, 0xdc00)) {
			s->p += 6;
			return 0;
		}
	}
	if (is_key && (c & 0xf800) == 0xd800)
		return bad(s, "lone surrogate in a key");
	return 0;
}

/* A string: s->p is behind the opening quote, then behind the closing one.
 * UTF-8 was checked before. */
static int
scan_string(struct scan *s, bool is_key)
{
	uint8_t c;
	int r;

	for (;;) {
		if (s->p == s->end)
			return bad(s, "string without end");
		c = *s->p;
		if (c < 0x20)
			return bad(s, "control character in a string");
		s->p++;
		if (c == '"')
			return 0;
		if (c == '\\') {
			r = scan_escape(s, is_key);
			if (r < 0)
				return r;
		}
	}
}

static bool
skip_digits(struct scan *s)
{
	const uint8_t *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > from;
}

static int
scan_number(struct scan *s)
{
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!skip_digits(s))
		return bad(s, "unexpected character");
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!skip_digits(s))
			return bad(s, "bad number");
	}
	if (s->p < s->end && (*s->p | 0x20) == 'e') {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!skip_digits(s))
			return bad(s, "bad number");
	}
	return 0;
}

static int
scan_word(struct scan *s, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
		return bad(s, "unexpected character");
	s->p += len;
	return 0;
}

/* ---- keys ---- */

/* The next character of a valid key at *p, or -1 at its closing quote. */
static int32_t
key_char(const uint8_t **p)
{
	static const char names[] = "bfnrt";
	static const char values[] = "\b\f\n\r\t";
	const uint8_t *q = *p;
	const char *name;
	int32_t c = *q++, low;
	int more;

	if (c == '"')
		return -1;
	if (c == '\\') {
		c = *q++;
		if (c == 'u') {
			c = four_hex(q);
			q += 4;
			if (is_surrogate(c, 0xd800)) {
				low = four_hex(q + 2);
				q += 6;
				c = 0x10000 + ((c & 0x3ff) << 10) +
				    (low & 0x3ff);
			}
		} else if ((name = strchr(names, (int)c)) != NULL) {
			c = (unsigned char)values[name - names];
		}
	} else if (c >= 0x80) {
		more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		c &= 0x3f >> more;
		while (more-- > 0)
			c = c << 6 | (*q++ & 0x3f);
	}
	*p = q;
	return c;
}

static uint64_t
hash_step(uint64_t h, uint64_t point, uint64_t c)
{
	unsigned __int128 v = (unsigned __int128)h * point + c;
	uint64_t sum = (uint64_t)(v & HASH_PRIME) + (uint64_t)(v >> 61);

	return sum >= HASH_PRIME ? sum - HASH_PRIME : sum;
}

static uint32_t
key_slot(const struct table *t, const uint8_t *key, uint16_t object)
{
	uint64_t h = hash_step(1, t->point, object);
	int32_t c;

	while ((c = key_char(&key)) >= 0)
		h = hash_step(h, t->point, (uint64_t)c + 1);
	return (uint32_t)((h * t->odd) >> 40) & (t->n_slots - 1);
}

static bool
same_key(const uint8_t *a, const uint8_t *b)
{
	int32_t c;

	do {
		c = key_char(&a);
		if (c != key_char(&b))
			return false;
	} while (c >= 0);
	return true;
}

/* Enter the key whose first byte is at key. */
static int
enter_key(struct scan *s, const uint8_t *key, uint16_t object)
{
	struct table *t = s->table;
	uint32_t i;

	for (i = key_slot(t, key, object); t->keys[i] != 0;
	     i = (i + 1) & (t->n_slots - 1))
		if (t->objects[i] == object &&
		    same_key(s->start + t->keys[i], key))
			return bad(s, "key given twice");
	/* Never 0: a key follows a brace and a quote. */
	t->keys[i] = (uint32_t)(key - s->start);
	t->objects[i] = object;
	return 0;
}

/* "KEY": in the innermost object. */
static int
scan_key(struct scan *s)
{
	const uint8_t *key;
	int r;

	skip_blanks(s);
	if (s->p == s->end || *s->p != '"')
		return bad(s, "key expected");
	key = ++s->p;
	r = scan_string(s, true);
	if (r < 0)
		return r;
	s->n_keys++;
	if (s->table != NULL) {
		r = enter_key(s, key, s->object[s->depth - 1]);
		if (r < 0)
			return r;
	}
	skip_blanks(s);
	if (s->p == s->end || *s->p != ':')
		return bad(s, "colon expected");
	s->p++;
	return 0;
}

/* ---- the text ---- */

static int
open_container(struct scan *s, bool is_object)
{
	if (s->depth == LIMIT_JSON_DEPTH)
		return imgd_error_set(s->err, IMGD_E_LIMIT,
		    "JSON deeper than %d", LIMIT_JSON_DEPTH);
	s->is_object[s->depth] = is_object;
	if (is_object)
		s->object[s->depth] = (uint16_t)s->n_objects++;
	s->depth++;
	s->p++;
	return 0;
}

/* A value that is no container; or the opening of one, then returns 1. */
static int
scan_value(struct scan *s)
{
	int r;

	skip_blanks(s);
	if (s->p == s->end)
		return bad(s, "value expected");
	if (++s->n_values > LIMIT_JSON_VALUES)
		return imgd_error_set(s->err, IMGD_E_LIMIT,
		    "JSON with more than %d values", LIMIT_JSON_VALUES);
	switch (*s->p) {
	case '{':
	case '[':
		r = open_container(s, *s->p == '{');
		return r < 0 ? r : 1;
	case '"':
		s->p++;
		return scan_string(s, false);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		return scan_number(s);
	}
}

/* Behind a value: close what ends here.  Returns 1 if another value (and, in
 * an object, its key before it) follows, 0 at the end of the text. */
static int
scan_behind(struct scan *s)
{
	uint8_t closing;

	while (s->depth > 0) {
		skip_blanks(s);
		if (s->p == s->end)
			return bad(s, "text without end");
		closing = s->is_object[s->depth - 1] ? '}' : ']';
		if (*s->p == ',') {
			s->p++;
			return 1;
		}
		if (*s->p != closing)
			return bad(s, "comma expected");
		s->p++;
		s->depth--;
	}
	skip_blanks(s);
	return s->p == s->end ? 0 : bad(s, "something behind the text");
}

static int
scan_text(struct scan *s)
{
	int r;

	for (;;) {
		if (s->depth > 0 && s->is_object[s->depth - 1]) {
			r = scan_key(s);
			if (r < 0)
				return r;
		}
		r = scan_value(s);
		if (r < 0)
			return r;
		if (r > 0) {
			skip_blanks(s);
			if (s->p == s->end ||
			    *s->p != (s->is_object[s->depth - 1] ? '}' : ']'))
				continue;
		}
		r = scan_behind(s);
		if (r <= 0)
			return r;
	}
}

static int
second_pass(struct scan *s, struct table *t)
{
	struct scan again = { .start = s->start, .p = s->start, .end = s->end,
		.table = t, .err = s->err };
	uint64_t seed[2];

	if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		memcpy(seed, (const uint64_t[2]){ UINT64_C(0x9e3779b97f4a7c15),
				 (uint64_t)(uintptr_t)&again }, sizeof(seed));
	t->point = seed[0] % HASH_PRIME;
	t->odd = seed[1] | 1;
	return scan_text(&again);
}

static __attribute__((noinline)) int
check_keys_small(struct scan *s)
{
	uint32_t keys[SMALL_SLOTS] = { 0 };
	uint16_t objects[SMALL_SLOTS];
	struct table t = { .keys = keys, .objects = objects,
		.n_slots = SMALL_SLOTS };

	return second_pass(s, &t);
}

static __attribute__((noinline)) int
check_keys_large(struct scan *s)
{
	uint32_t keys[LARGE_SLOTS] = { 0 };
	uint16_t objects[LARGE_SLOTS];
	struct table t = { .keys = keys, .objects = objects,
		.n_slots = LARGE_SLOTS };

	return second_pass(s, &t);
}

int
json_scan(const void *data, size_t len, struct imgd_error **err)
{
	struct scan s = { .start = data, .p = data, .err = err };
	int r;

	if (len > UINT32_MAX)
		return imgd_error_set(err, IMGD_E_LIMIT, "JSON too long");
	if (len == 0)
		return bad(&s, "value expected");
	if (!str_is_utf8(data, len))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "bad JSON: not UTF-8");
	s.end = s.start + len;
	r = scan_text(&s);
	if (r < 0)
		return r;
	if (s.n_keys < 2)
		return 0;
	return s.n_keys <= SMALL_SLOTS / 2 ? check_keys_small(&s) :
					     check_keys_large(&s);
}
