#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "core/shell-word.h"
#include "lib/limits.h"

/* Of "${A:-${B:-…}}". */
#define MAX_NESTING 16

struct reading {
	const char *at;
	struct json_object *env;
	unsigned int depth;
};

/* The length of a variable's name: a word, digits, or one of the shell's
 * own. */
static size_t
name_length(const char *s)
{
	size_t n = 0;

	if (isalpha((unsigned char)*s) || *s == '_') {
		while (isalnum((unsigned char)s[n]) || s[n] == '_')
			n++;
		return n;
	}
	if (isdigit((unsigned char)*s))
		return strspn(s, "0123456789");
	return *s != '\0' && strchr("@*#?-$!", *s) != NULL ? 1 : 0;
}

/* NULL: it is not set. */
static const char *
value_of(const struct reading *in, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < json_object_array_length(in->env); i++) {
		const char *pair = json_object_get_string(
		    json_object_array_get_idx(in->env, i));

		if (pair != NULL && strncmp(pair, name, len) == 0 &&
		    (pair[len] == '=' || pair[len] == '\0'))
			return pair[len] == '=' ? pair + len + 1 : "";
	}
	return NULL;
}

/* Values of values of values grow fast. */
static int
put_value(struct strbuf *to, const char *value, struct imgd_error **err)
{
	strbuf_puts(to, value);
	return to->len > LIMIT_EXPANDED_BYTES
	    ? imgd_error_set(err, IMGD_E_LIMIT,
		  "variables' values make more than %u bytes",
		  LIMIT_EXPANDED_BYTES)
	    : 0;
}

static int read_until(struct reading *in, char stop, struct strbuf *to,
    struct imgd_error **err);

/* What stands behind the sign of "${NAME:-WORD}". */
static int
substitute(struct reading *in, const char *name, size_t len, bool is_colon,
    char sign, struct strbuf *to, struct imgd_error **err)
{
	const char *value = value_of(in, name, len);
	struct strbuf word = STRBUF_INIT;
	bool is_set = value != NULL && !(is_colon && *value == '\0');
	int r;

	if (in->depth == MAX_NESTING)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "substitutions are nested more than %d deep", MAX_NESTING);
	in->depth++;
	r = read_until(in, '}', &word, err);
	in->depth--;
	if (r >= 0 && sign == '?' && !is_set)
		r = imgd_error_set(err, EINVAL, "%.*s: %s", (int)len, name,
		    word.len > 0 ? word.data : "not allowed to be unset");
	if (r >= 0 && (sign == '+' ? is_set : !is_set) && word.len > 0)
		r = put_value(to, word.data, err);
	else if (r >= 0 && sign != '+' && is_set)
		r = put_value(to, value, err);
	to->is_failed = to->is_failed || word.is_failed;
	strbuf_done(&word);
	return r;
}

/* Behind "${". */
static int
read_braces(struct reading *in, struct strbuf *to, struct imgd_error **err)
{
	const char *name = in->at, *value;
	size_t len = name_length(name);
	bool is_colon;

	in->at += len;
	if (len == 0)
		return imgd_error_set(err, EINVAL, "bad substitution");
	if (*in->at == '}') {
		value = value_of(in, name, len);
		in->at++;
		return put_value(to, value != NULL ? value : "", err);
	}
	is_colon = *in->at == ':';
	in->at += is_colon;
	if (*in->at == '\0' || strchr("-+?", *in->at) == NULL)
		return imgd_error_set(err, EINVAL,
		    "unsupported modifier in substitution of %.*s", (int)len,
		    name);
	in->at++;
	return substitute(in, name, len, is_colon, in->at[-1], to, err);
}

/* Behind "$". */
static int
read_variable(struct reading *in, struct strbuf *to, struct imgd_error **err)
{
	size_t len = name_length(in->at);
	const char *value;

	if (*in->at == '{') {
		in->at++;
		return read_braces(in, to, err);
	}
	value = len > 0 ? value_of(in, in->at, len) : "$";
	in->at += len;
	return put_value(to, value != NULL ? value : "", err);
}

/* Behind a quote, up to the next. */
static int
read_quotes(struct reading *in, char quote, struct strbuf *to,
    struct imgd_error **err)
{
	int r = 0;

	while (r >= 0 && *in->at != quote) {
		char c = *in->at;

		if (c == '\0')
			return imgd_error_set(err, EINVAL,
			    "a quote is not closed");
		in->at++;
		if (quote == '"' && c == '$') {
			r = read_variable(in, to, err);
			continue;
		}
		/* Others are no escapes in there. */
		if (quote == '"' && c == '\\' && *in->at != '\0' &&
		    strchr("\"$\\", *in->at) != NULL)
			c = *in->at++;
		strbuf_putc(to, c);
	}
	in->at += r >= 0;
	return r;
}

static int
read_until(struct reading *in, char stop, struct strbuf *to,
    struct imgd_error **err)
{
	int r = 0;

	while (r >= 0 && *in->at != stop) {
		char c = *in->at;

		if (c == '\0')
			return imgd_error_set(err, EINVAL,
			    "a substitution is not closed");
		in->at++;
		if (c == '$')
			r = read_variable(in, to, err);
		else if (c == '"' || c == '\'')
			r = read_quotes(in, c, to, err);
		else if (c != '\\')
			strbuf_putc(to, c);
		else if (*in->at != '\0')
			strbuf_putc(to, *in->at++);
	}
	in->at += r >= 0 && stop != '\0';
	return r;
}

int
shell_word_expand(const char *word, struct json_object *env,
    struct strbuf *to, struct imgd_error **err)
{
	struct reading in = { .at = word, .env = env };
	int r = read_until(&in, '\0', to, err);

	if (r >= 0 && to->is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}
