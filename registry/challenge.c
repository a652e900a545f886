#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/challenge.h"

enum scheme { SCHEME_NONE, SCHEME_OTHER, SCHEME_BASIC, SCHEME_BEARER };

struct parser {
	const char *p;
	enum scheme scheme;       /* whose parameters come */
	struct challenge current; /* of a Bearer challenge in the making */
	struct challenge *ret;
};

void
challenge_done(struct challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	memset(c, 0, sizeof(*c));
}

static bool
is_token_char(char c)
{
	return isalnum((unsigned char)c) ||
	    (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static char *
take_token(struct parser *s)
{
	const char *from = s->p;

	while (is_token_char(*s->p))
		s->p++;
	return strndup(from, (size_t)(s->p - from));
}

static char *
take_quoted(struct parser *s)
{
	struct strbuf sb = STRBUF_INIT;

	for (s->p++; *s->p != '\0' && *s->p != '"'; s->p++) {
		if (*s->p == '\\' && s->p[1] != '\0')
			s->p++;
		strbuf_putc(&sb, *s->p);
	}
	if (*s->p == '"')
		s->p++;
	return strbuf_take(&sb);
}

/* A value without quotes: up to a comma or blank, whatever it holds. */
static char *
take_bare(struct parser *s)
{
	const char *from = s->p;

	s->p += strcspn(s->p, ", \t");
	return strndup(from, (size_t)(s->p - from));
}

static void
skip_blanks(struct parser *s)
{
	while (*s->p == ' ' || *s->p == '\t')
		s->p++;
}

/* The challenge in the making is over. */
static void
finish(struct parser *s)
{
	if (s->scheme == SCHEME_BASIC)
		s->ret->has_basic = true;
	if (s->scheme == SCHEME_BEARER && s->current.realm != NULL &&
	    !s->ret->has_bearer) {
		s->ret->has_bearer = true;
		s->ret->realm = take_ptr(&s->current.realm);
		s->ret->service = take_ptr(&s->current.service);
		s->ret->scope = take_ptr(&s->current.scope);
		s->ret->error = take_ptr(&s->current.error);
	}
	challenge_done(&s->current);
	s->scheme = SCHEME_NONE;
}

/* Keep the parameter; takes value. */
static void
keep(struct parser *s, const char *name, char *value)
{
	const struct {
		const char *name;
		char **to;
	} known[] = {
		{ "realm", &s->current.realm },
		{ "service", &s->current.service },
		{ "scope", &s->current.scope },
		{ "error", &s->current.error },
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcasecmp(name, known[i].name) == 0 &&
		    *known[i].to == NULL && s->scheme == SCHEME_BEARER) {
			*known[i].to = value;
			return;
		}
	}
	free(value);
}

/* A token: a parameter if "=" follows and a scheme came before, else the
 * next challenge's scheme. */
static int
parse_item(struct parser *s)
{
	cleanup_free char *token = take_token(s);
	char *value;

	if (token == NULL)
		return -ENOMEM;
	skip_blanks(s);
	if (*s->p != '=' || s->scheme == SCHEME_NONE) {
		finish(s);
		s->scheme = strcasecmp(token, "Bearer") == 0 ? SCHEME_BEARER :
		    strcasecmp(token, "Basic") == 0 ? SCHEME_BASIC :
						      SCHEME_OTHER;
		return 0;
	}
	s->p++;
	skip_blanks(s);
	value = *s->p == '"' ? take_quoted(s) : take_bare(s);
	if (value == NULL)
		return -ENOMEM;
	keep(s, token, value);
	return 0;
}

static int
parse_line(struct parser *s, const char *line)
{
	int r = 0;

	s->p = line;
	while (r >= 0 && *s->p != '\0') {
		if (is_token_char(*s->p))
			r = parse_item(s);
		else
			s->p++;
	}
	finish(s);
	return r;
}

int
challenge_parse(char *const *lines, size_t n_lines, struct challenge *ret,
    struct imgd_error **err)
{
	struct challenge found = { .has_basic = false };
	struct parser s = { .ret = &found };
	size_t i;

	for (i = 0; i < n_lines; i++) {
		if (parse_line(&s, lines[i]) < 0) {
			challenge_done(&found);
			return imgd_error_set(err, ENOMEM, "out of memory");
		}
	}
	*ret = found;
	return 0;
}
