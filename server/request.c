#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "server/request.h"

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decode percent signs, and "+" in a query. */
static int
decode(const char *s, size_t len, bool is_query, char **ret,
    struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	for (i = 0; i < len; i++) {
		char c = s[i];

		if (c == '+' && is_query)
			c = ' ';
		if (c == '%') {
			int high = i + 2 < len ? hex_value(s[i + 1]) : -1;
			int low = i + 2 < len ? hex_value(s[i + 2]) : -1;

			if (high < 0 || low < 0 || (high | low) == 0) {
				strbuf_done(&sb);
				return imgd_error_set(err, EINVAL,
				    "malformed percent sign in the URL");
			}
			c = (char)(high << 4 | low);
			i += 2;
		}
		strbuf_putc(&sb, c);
	}
	if (!str_is_utf8(sb.data != NULL ? sb.data : "", sb.len)) {
		strbuf_done(&sb);
		return imgd_error_set(err, EINVAL, "the URL is not UTF-8");
	}
	*ret = strbuf_take(&sb);
	if (*ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
add_item(struct request *q, const char *s, size_t len,
    struct imgd_error **err)
{
	const char *equals = memchr(s, '=', len);
	size_t key_len = equals != NULL ? (size_t)(equals - s) : len;
	struct request_item *items, *item;
	int r;

	if (len == 0)
		return 0;
	if (q->n_items == LIMIT_QUERY_ITEMS)
		return imgd_error_set(err, EINVAL,
		    "more than %d items in the query", LIMIT_QUERY_ITEMS);
	items = reallocarray(q->items, q->n_items + 1, sizeof(*items));
	if (items == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	q->items = items;
	item = &items[q->n_items++];
	*item = (struct request_item) { NULL, NULL };
	r = decode(s, key_len, /* is_query= */ true, &item->key, err);
	if (r >= 0 && equals != NULL)
		r = decode(equals + 1, len - key_len - 1, /* is_query= */ true,
		    &item->value, err);
	else if (r >= 0 && (item->value = strdup("")) == NULL)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

/* "/v1.41/images/json": take the version off.  Anything else that begins so is
 * left for nobody to know. */
static int
take_version(struct request *q, struct imgd_error **err)
{
	char *end;
	unsigned long minor;

	if (!str_starts(q->path, "/v1.") || q->path[4] < '0' ||
	    q->path[4] > '9')
		return 0;
	minor = strtoul(q->path + 4, &end, 10);
	if (*end != '/')
		return 0;
	if (minor > API_MINOR_MAX)
		return imgd_error_set(err, EINVAL,
		    "client version %.*s is too new. Maximum supported API "
		    "version is " API_VERSION,
		    (int)(end - q->path - 2), q->path + 2);
	q->minor = (unsigned int)minor;
	memmove(q->path, end, strlen(end) + 1);
	return 0;
}

int
request_parse(const char *target, struct request *ret,
    struct imgd_error **err)
{
	const char *query = strchr(target, '?');
	size_t len = query != NULL ? (size_t)(query - target)
				   : strlen(target);
	int r;

	ret->minor = API_MINOR_MAX;
	r = decode(target, len, /* is_query= */ false, &ret->path, err);
	while (r >= 0 && query != NULL) {
		const char *item = query + 1;

		query = strchr(item, '&');
		r = add_item(ret, item,
		    query != NULL ? (size_t)(query - item) : strlen(item),
		    err);
	}
	return r < 0 ? r : take_version(ret, err);
}

void
request_done(struct request *q)
{
	while (q->n_items > 0) {
		q->n_items--;
		free(q->items[q->n_items].key);
		free(q->items[q->n_items].value);
	}
	free(q->items);
	free(q->path);
	*q = (struct request) { .path = NULL };
}

const char *
request_get(const struct request *q, const char *key)
{
	size_t i;

	for (i = 0; i < q->n_items; i++)
		if (strcmp(q->items[i].key, key) == 0)
			return q->items[i].value[0] != '\0'
			    ? q->items[i].value
			    : NULL;
	return NULL;
}

bool
request_flag(const struct request *q, const char *key)
{
	static const char *const no[] = { "0", "no", "false", "none" };
	const char *value = request_get(q, key);
	size_t i;

	for (i = 0; value != NULL && i < sizeof(no) / sizeof(no[0]); i++)
		if (strcasecmp(value, no[i]) == 0)
			return false;
	return value != NULL;
}

bool
request_matches(const struct request *q, const char *pattern,
    char **ret_name)
{
	const char *star = strchr(pattern, '*');
	size_t prefix, suffix, len = strlen(q->path);

	*ret_name = NULL;
	if (star == NULL)
		return strcmp(q->path, pattern) == 0;
	prefix = (size_t)(star - pattern);
	suffix = strlen(star + 1);
	if (len <= prefix + suffix ||
	    strncmp(q->path, pattern, prefix) != 0 ||
	    strcmp(q->path + len - suffix, star + 1) != 0)
		return false;
	*ret_name = strndup(q->path + prefix, len - prefix - suffix);
	return *ret_name != NULL;
}
