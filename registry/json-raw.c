#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <json-c/json.h>

#include "lib/cleanup.h"
#include "registry/json-raw.h"

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t
skip_blanks(const char *text, size_t len, size_t pos)
{
	while (pos < len && is_blank(text[pos]))
		pos++;
	return pos;
}

/* The end of the value at pos; the text is known to be well-formed. */
static size_t
skip_value(const char *text, size_t len, size_t pos)
{
	bool in_string = false;
	size_t depth = 0;

	for (; pos < len; pos++) {
		char c = text[pos];

		if (in_string) {
			if (c == '\\')
				pos++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				break;
			depth--;
		} else if ((c == ',' || c == ':') && depth == 0) {
			break;
		}
	}
	while (pos > 0 && is_blank(text[pos - 1]))
		pos--;
	return pos;
}

/* The string that a key's text stands for. */
static char *
decode(const char *text, size_t len)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *o;
	char *s = NULL;

	if (tok == NULL)
		return NULL;
	o = json_tokener_parse_ex(tok, text, (int)len);
	if (json_object_is_type(o, json_type_string))
		s = strndup(json_object_get_string(o),
		    (size_t)json_object_get_string_len(o));
	json_object_put(o);
	json_tokener_free(tok);
	return s;
}

static int
add(struct json_raw *r, const char *key, size_t key_len, const char *value,
    size_t len, struct imgd_error **err)
{
	struct json_raw_member *list;

	list = reallocarray(r->members, r->n + 1, sizeof(*list));
	if (list == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r->members = list;
	list[r->n].key = decode(key, key_len);
	if (list[r->n].key == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	list[r->n].value = value;
	list[r->n].len = len;
	r->n++;
	return 0;
}

int
json_raw_parse(const char *text, size_t len, struct json_raw *ret,
    struct imgd_error **err)
{
	size_t pos = skip_blanks(text, len, 0), key, key_end, value, end;
	int r = 0;

	if (pos >= len || text[pos] != '{')
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "bad JSON: an object is expected");
	pos = skip_blanks(text, len, pos + 1);
	while (r >= 0 && pos < len && text[pos] == '"') {
		key = pos;
		key_end = skip_value(text, len, key);
		value = skip_blanks(text, len, key_end);
		value = skip_blanks(text, len, value + 1); /* the colon */
		end = skip_value(text, len, value);
		r = add(ret, text + key, key_end - key, text + value,
		    end - value, err);
		pos = skip_blanks(text, len, end);
		if (pos < len && text[pos] == ',')
			pos = skip_blanks(text, len, pos + 1);
	}
	return r;
}

void
json_raw_done(struct json_raw *r)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		free(r->members[i].key);
	free(r->members);
	*r = (struct json_raw)JSON_RAW_INIT;
}

const struct json_raw_member *
json_raw_find(const struct json_raw *r, const char *key)
{
	const struct json_raw_member *found = NULL;
	size_t i;

	for (i = 0; i < r->n; i++) {
		if (strcmp(r->members[i].key, key) == 0) {
			found = &r->members[i];
			break;
		}
		if (strcasecmp(r->members[i].key, key) == 0)
			found = &r->members[i];
	}
	if (found != NULL && found->len == 4 &&
	    memcmp(found->value, "null", 4) == 0)
		return NULL;
	return found;
}

/* Whether U+2028 or U+2029 stands at s; gives its last digit. */
static bool
is_line_end(const char *s, size_t left, char *ret_digit)
{
	if (left < 3 || memcmp(s, "\xe2\x80", 2) != 0 ||
	    ((unsigned char)s[2] != 0xa8 && (unsigned char)s[2] != 0xa9))
		return false;
	*ret_digit = (unsigned char)s[2] == 0xa8 ? '8' : '9';
	return true;
}

/* What Go escapes wherever it stands; returns the bytes used, or 0. */
static size_t
escape_html(struct strbuf *sb, const char *s, size_t left)
{
	char digit;

	if (*s == '<' || *s == '>' || *s == '&') {
		strbuf_printf(sb, "\\u%04x", (unsigned char)*s);
		return 1;
	}
	if (is_line_end(s, left, &digit)) {
		strbuf_printf(sb, "\\u202%c", digit);
		return 3;
	}
	return 0;
}

void
json_raw_compact(struct strbuf *sb, const char *value, size_t len)
{
	bool in_string = false;
	size_t i = 0, n;

	while (i < len) {
		if (!in_string && is_blank(value[i])) {
			i++;
			continue;
		}
		n = escape_html(sb, value + i, len - i);
		if (n > 0) {
			i += n;
			continue;
		}
		if (in_string && value[i] == '\\' && i + 1 < len)
			strbuf_putc(sb, value[i++]);
		else if (value[i] == '"')
			in_string = !in_string;
		strbuf_putc(sb, value[i++]);
	}
}

void
json_raw_string(struct strbuf *sb, const char *s, size_t len)
{
	size_t i = 0, n;

	strbuf_putc(sb, '"');
	while (i < len) {
		n = escape_html(sb, s + i, len - i);
		if (n > 0) {
			i += n;
			continue;
		}
		switch (s[i]) {
		case '"':
		case '\\':
			strbuf_putc(sb, '\\');
			strbuf_putc(sb, s[i]);
			break;
		case '\n':
			strbuf_puts(sb, "\\n");
			break;
		case '\r':
			strbuf_puts(sb, "\\r");
			break;
		case '\t':
			strbuf_puts(sb, "\\t");
			break;
		default:
			if ((unsigned char)s[i] < 0x20)
				strbuf_printf(sb, "\\u%04x",
				    (unsigned char)s[i]);
			else
				strbuf_putc(sb, s[i]);
		}
		i++;
	}
	strbuf_putc(sb, '"');
}
