#include "config.h"

#include <string.h>

#include "adopt/adopt-impl.h"

static int
bad(struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_FORMAT,
	    "bad JSON: an array of objects is expected");
}

static const char *
skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
		p++;
	return p;
}

/* The end of the string whose quote p is at. */
static const char *
skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : end;
}

/* The end of the object that p is at, or NULL; whether it is one in full is
 * for json_scan to say. */
static const char *
skip_object(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
			continue;
		}
		if (*p == '{' || *p == '[')
			depth++;
		if ((*p == '}' || *p == ']') && --depth == 0)
			return p + 1;
		p++;
	}
	return NULL;
}

int
json_elements(const char *text, size_t len, element_cb *cb, void *ctx,
    struct imgd_error **err)
{
	const char *end = text + len, *p = skip_blanks(text, end), *start;
	int r;

	if (p == end || *p != '[')
		return bad(err);
	p = skip_blanks(p + 1, end);
	while (p < end && *p != ']') {
		start = p;
		if (*p != '{' || (p = skip_object(p, end)) == NULL)
			return bad(err);
		r = cb(ctx, start, (size_t)(p - start), err);
		if (r < 0)
			return r;
		p = skip_blanks(p, end);
		if (p < end && *p == ',') {
			p = skip_blanks(p + 1, end);
			if (p < end && *p == ']')
				return bad(err);
		} else if (p < end && *p != ']') {
			return bad(err);
		}
	}
	if (p == end || skip_blanks(p + 1, end) != end)
		return bad(err);
	return 0;
}
