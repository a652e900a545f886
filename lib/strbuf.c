#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/strbuf.h"

static bool
reserve(struct strbuf *sb, size_t more)
{
	size_t need, size;
	char *p;

	if (sb->is_failed)
		return false;
	if (__builtin_add_overflow(sb->len, more, &need) ||
	    __builtin_add_overflow(need, 1, &need)) {
		sb->is_failed = true;
		return false;
	}
	if (sb->data != NULL && need <= sb->size)
		return true;
	size = sb->size < 64 ? 64 : sb->size;
	while (size < need)
		size = size > SIZE_MAX / 2 ? need : size * 2;
	p = realloc(sb->data, size);
	if (p == NULL) {
		sb->is_failed = true;
		return false;
	}
	sb->data = p;
	sb->size = size;
	return true;
}

void
strbuf_append(struct strbuf *sb, const void *data, size_t len)
{
	if (!reserve(sb, len))
		return;
	if (len > 0)
		memcpy(sb->data + sb->len, data, len);
	sb->len += len;
	sb->data[sb->len] = '\0';
}

void
strbuf_truncate(struct strbuf *sb, size_t len)
{
	assert(len <= sb->len);
	if (sb->data == NULL)
		return;
	sb->len = len;
	sb->data[len] = '\0';
}

void
strbuf_puts(struct strbuf *sb, const char *s)
{
	strbuf_append(sb, s, strlen(s));
}

void
strbuf_putc(struct strbuf *sb, char c)
{
	strbuf_append(sb, &c, 1);
}

void
strbuf_printf(struct strbuf *sb, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !reserve(sb, (size_t)n)) {
		sb->is_failed = true;
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(sb->data + sb->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	sb->len += (size_t)n;
}

/* Length of the UTF-8 sequence at s, 0 if it is malformed; RFC 3629, 4. */
static size_t
utf8_len(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		return left >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
	if (s[0] >= 0xe0 && s[0] <= 0xef) {
		unsigned char lo = s[0] == 0xe0 ? 0xa0 : 0x80;
		unsigned char hi = s[0] == 0xed ? 0x9f : 0xbf;

		return left >= 3 && s[1] >= lo && s[1] <= hi &&
			(s[2] & 0xc0) == 0x80
		    ? 3
		    : 0;
	}
	if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		unsigned char lo = s[0] == 0xf0 ? 0x90 : 0x80;
		unsigned char hi = s[0] == 0xf4 ? 0x8f : 0xbf;

		return left >= 4 && s[1] >= lo && s[1] <= hi &&
			(s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80
		    ? 4
		    : 0;
	}
	return 0;
}

bool
str_is_utf8(const void *data, size_t len)
{
	const unsigned char *s = data;
	size_t i = 0;

	while (i < len) {
		size_t n = utf8_len(s + i, len - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

void
strbuf_json(struct strbuf *sb, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t left = strlen(text);

	strbuf_putc(sb, '"');
	while (left > 0) {
		size_t n = utf8_len(s, left);

		if (n == 0) {
			strbuf_puts(sb, "\\ufffd");
			n = 1;
		} else if (*s == '"' || *s == '\\') {
			strbuf_putc(sb, '\\');
			strbuf_putc(sb, (char)*s);
		} else if (*s < 0x20 || *s == 0x7f) {
			strbuf_printf(sb, "\\u%04x", (unsigned int)*s);
		} else {
			strbuf_append(sb, s, n);
		}
		s += n;
		left -= n;
	}
	strbuf_putc(sb, '"');
}

char *
strbuf_take(struct strbuf *sb)
{
	char *text;

	if (sb->data == NULL)
		(void)reserve(sb, 0);
	if (sb->is_failed) {
		strbuf_done(sb);
		return NULL;
	}
	text = sb->data;
	text[sb->len] = '\0';
	*sb = (struct strbuf)STRBUF_INIT;
	return text;
}

void
strbuf_done(struct strbuf *sb)
{
	free(sb->data);
	*sb = (struct strbuf)STRBUF_INIT;
}

char *
str_escape(const char *text, size_t left)
{
	const unsigned char *s = (const unsigned char *)text;
	struct strbuf sb = STRBUF_INIT;

	while (left > 0) {
		size_t n = utf8_len(s, left);

		/* U+0080..U+009F are control characters too. */
		if (n == 0 || *s < 0x20 || *s == 0x7f ||
		    (n == 2 && s[0] == 0xc2 && s[1] < 0xa0)) {
			if (*s == '\n')
				strbuf_puts(&sb, "\\n");
			else if (*s == '\t')
				strbuf_puts(&sb, "\\t");
			else if (*s == '\r')
				strbuf_puts(&sb, "\\r");
			else
				strbuf_printf(&sb, "\\x%02x",
				    (unsigned int)*s);
			n = 1;
		} else {
			strbuf_append(&sb, s, n);
		}
		s += n;
		left -= n;
	}
	return strbuf_take(&sb);
}

bool
str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool
str_csv_has(const char *list, const char *name)
{
	size_t n = strlen(name);
	const char *p;

	for (p = list; *p != '\0'; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

bool
str_to_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return false;
	}
	if (v > max)
		return false;
	*ret = v;
	return true;
}

void
str_list_free(char **list, size_t n)
{
	while (n > 0)
		free(list[--n]);
	free(list);
}

int
str_random_key(char ret[65], struct imgd_error **err)
{
	unsigned char raw[32];
	size_t i;

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return imgd_error_set(err, errno, "random bytes: %s",
		    strerror(errno));
	for (i = 0; i < sizeof(raw); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

bool
str_to_size(const char *s, uint64_t *ret)
{
	static const char units[] = "kmgtp";
	unsigned long long n;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)s[0]))
		return false;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno != 0)
		return false;
	unit = *end != '\0' ? strchr(units, tolower((unsigned char)*end))
			    : NULL;
	if (unit != NULL) {
		size_t shift = 10 * ((size_t)(unit - units) + 1);

		if (n > UINT64_MAX >> shift)
			return false;
		n <<= shift;
		end++;
	}
	if (tolower((unsigned char)*end) == 'b')
		end++;
	if (*end != '\0')
		return false;
	*ret = n;
	return true;
}

const char *
str_size(uint64_t bytes, char buf[32])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB",
		"EB" };
	double v = (double)bytes;
	size_t u = 0;

	/* As docker's go-units: three significant digits. */
	while (v >= 1000 && u + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1000;
		u++;
	}
	(void)snprintf(buf, 32, "%.3g%s", v, units[u]);
	return buf;
}
