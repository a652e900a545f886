/* What is kept of an answer's headers. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "registry/http-impl.h"

#define MAX_CHALLENGES 16
#define MAX_DOCKER     64 /* headers */

void
http_reply_forget(struct http_reply *r)
{
	size_t i;

	free(r->content_type);
	free(r->location);
	free(r->content_range);
	free(r->content_digest);
	free(r->link);
	free(r->retry_after);
	free(r->accept_ranges);
	free(r->range);
	r->range = NULL;
	for (i = 0; i < r->n_challenges; i++)
		free(r->challenges[i]);
	free(r->challenges);
	for (i = 0; i < r->n_docker; i++) {
		free(r->docker[i].name);
		free(r->docker[i].value);
	}
	free(r->docker);
	r->docker = NULL;
	r->n_docker = 0;
	r->accept_ranges = NULL;
	r->content_type = r->location = r->content_range = NULL;
	r->content_digest = r->link = r->retry_after = NULL;
	r->challenges = NULL;
	r->n_challenges = 0;
	r->has_length = false;
}

void
http_reply_done(struct http_reply *r)
{
	http_reply_forget(r);
	free(r->url);
	strbuf_done(&r->body);
	memset(r, 0, sizeof(*r));
}

static int
add_challenge(struct http_reply *r, char *value)
{
	char **list;

	if (r->n_challenges == MAX_CHALLENGES) {
		free(value);
		return 0;
	}
	list = reallocarray(r->challenges, r->n_challenges + 1,
	    sizeof(*list));
	if (list == NULL) {
		free(value);
		return -ENOMEM;
	}
	list[r->n_challenges++] = value;
	r->challenges = list;
	return 0;
}

const char *
http_reply_docker(const struct http_reply *r, const char *name)
{
	size_t i;

	for (i = 0; i < r->n_docker; i++)
		if (strcasecmp(r->docker[i].name, name) == 0)
			return r->docker[i].value;
	return NULL;
}

static int
add_docker(struct http_reply *r, const char *name, size_t name_len,
    const char *value)
{
	struct http_header *list, h;

	if (r->n_docker == MAX_DOCKER)
		return 0;
	list = reallocarray(r->docker, r->n_docker + 1, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	r->docker = list;
	h.name = strndup(name, name_len);
	h.value = strdup(value);
	if (h.name == NULL || h.value == NULL) {
		free(h.name);
		free(h.value);
		return -ENOMEM;
	}
	list[r->n_docker++] = h;
	return 0;
}

static bool
is_named(const char *name, size_t name_len, const char *wanted)
{
	return name_len == strlen(wanted) &&
	    strncasecmp(name, wanted, name_len) == 0;
}

int
http_reply_keep(struct http_reply *r, const char *name, size_t name_len,
    const char *value, size_t len)
{
	const struct {
		const char *name;
		char **to;
	} known[] = {
		{ "Accept-Ranges", &r->accept_ranges },
		{ "Content-Type", &r->content_type },
		{ "Location", &r->location },
		{ "Content-Range", &r->content_range },
		{ "Docker-Content-Digest", &r->content_digest },
		{ "Link", &r->link },
		{ "Retry-After", &r->retry_after },
		{ "Range", &r->range },
	};
	cleanup_free char *text = strndup(value, len);
	uint64_t n;
	size_t i;

	if (text == NULL)
		return -ENOMEM;
	if (is_named(name, name_len, "WWW-Authenticate"))
		return add_challenge(r, take_ptr(&text));
	if ((name_len > 9 && strncasecmp(name, "X-Docker-", 9) == 0) ||
	    (name_len > 7 && strncasecmp(name, "Docker-", 7) == 0) ||
	    is_named(name, name_len, "OCI-Chunk-Min-Length")) {
		if (add_docker(r, name, name_len, text) < 0)
			return -ENOMEM;
	}
	if (is_named(name, name_len, "Content-Length") &&
	    str_to_u64(text, INT64_MAX, &n)) {
		r->has_length = true;
		r->length = n;
		return 0;
	}
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!is_named(name, name_len, known[i].name))
			continue;
		free(*known[i].to);
		*known[i].to = take_ptr(&text);
		return 0;
	}
	return 0;
}
