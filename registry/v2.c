/*
 * The registry protocol version 2 (OCI distribution-spec): the version check,
 * authorized requests, attempts, and the list of tags.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/json-get.h"
#include "registry/session-impl.h"

#define PING_TIMEOUT_MS   15000
#define MAX_PAUSE_MS      60000
#define MAX_AFTER_MS      3600000 /* asked for by a registry */
#define MAX_TAG_PAGES     10000

static void
http_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
}

static char *
url_of(const struct endpoint *e, const char *path)
{
	struct strbuf sb = STRBUF_INIT;

	if (str_starts(path, "http"))
		return strdup(path);
	strbuf_printf(&sb, "%s%s%s", e->url, path, e->query);
	return strbuf_take(&sb);
}

/* ---- version check ---- */

static int
ping_locked(struct registry_session *s, struct endpoint *e,
    struct imgd_error **err)
{
	cleanup(http_reply_donep) struct http_reply reply = { .status = 0 };
	cleanup_free char *url = url_of(e, "/");
	struct http_request req = { .method = "GET", .url = url,
		.max_body = LIMIT_ERROR_BODY_BYTES,
		.timeout_ms = PING_TIMEOUT_MS };
	int r;

	if (url == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = http_do(s->http, &req, &reply, err);
	if (r < 0)
		return r;
	if (reply.status == 429 || reply.status >= 500)
		return reply_error(s, &reply, e->origin, err);
	e->is_not_v2 = reply.status == 404;
	if (reply.status == 404)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s is not a v2 registry", e->origin);
	if (reply.status == 401 && !reply.is_foreign) {
		challenge_done(&e->challenge);
		r = challenge_parse(reply.challenges, reply.n_challenges,
		    &e->challenge, err);
		if (r < 0)
			return r;
	}
	e->is_pinged = true;
	return 0;
}

int
v2_ping(struct registry_session *s, struct endpoint *e, struct imgd_error **err)
{
	int r = 0;

	(void)pthread_mutex_lock(&e->lock);
	if (!e->is_pinged)
		r = ping_locked(s, e, err);
	(void)pthread_mutex_unlock(&e->lock);
	return r;
}

/*
 * What the first answer of an endpoint says of it.  A 404 that does not name
 * the protocol may be anybody's: only then the version check is worth a
 * request of its own.
 */
static int
judge(struct registry_session *s, struct endpoint *e,
    const struct http_reply *reply, struct imgd_error **err)
{
	if (e->is_pinged)
		return 0;
	if (reply->status != 200 &&
	    http_reply_docker(reply, "X-Docker-Registry-Version") != NULL &&
	    http_reply_docker(reply, "Docker-Distribution-Api-Version") ==
		NULL) {
		e->is_not_v2 = true;
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s is not a v2 registry", e->origin);
	}
	if (reply->status != 404 || reply->is_foreign ||
	    http_reply_docker(reply, "Docker-Distribution-Api-Version") !=
		NULL) {
		e->is_pinged = true;
		return 0;
	}
	return v2_ping(s, e, err);
}

/* ---- requests ---- */

int
v2_request(struct registry_session *s, struct endpoint *e, const char *path,
    struct http_request *req, struct http_reply *ret, struct imgd_error **err)
{
	cleanup_free char *url = url_of(e, path);
	int r, round;

	if (url == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	req->url = url;
	for (round = 0;; round++) {
		cleanup_free char *header = NULL;

		r = auth_header(s, e, &header, err);
		if (r < 0)
			break;
		http_reply_done(ret);
		req->authorization = header;
		r = http_do(s->http, req, ret, err);
		req->authorization = NULL;
		/* Nobody answers there, or not in the tongue expected. */
		if (r < 0 && ret->status == 0 && !e->is_pinged &&
		    (r == -IMGD_E_NET || r == -IMGD_E_TLS))
			e->is_dead = true;
		if (r >= 0)
			r = judge(s, e, ret, err);
		if (r < 0 || ret->status != 401 || ret->is_foreign ||
		    round > 0)
			break;
		r = auth_renew(s, e, header, ret, err);
		if (r <= 0)
			break;
	}
	req->url = NULL;
	return r;
}

/* Twice as long each time, and never quite the same, so that a fleet that was
 * cut off does not come back at once. */
static uint64_t
pause_ms(const struct registry_session *s, unsigned attempt)
{
	uint64_t ms = s->params.retry_pause_ms;
	unsigned i;
	uint32_t x = 0;

	for (i = 1; i < attempt && ms < MAX_PAUSE_MS; i++)
		ms *= 2;
	if (ms > MAX_PAUSE_MS)
		ms = MAX_PAUSE_MS;
	if (getrandom(&x, sizeof(x), GRND_NONBLOCK) < 0)
		x = 0;
	return ms * 3 / 4 + x % (ms / 2 + 1);
}

bool
v2_may_retry(struct registry_session *s, int r,
    const struct http_reply *reply, unsigned attempt, unsigned *ret_ms)
{
	bool is_patient = s->params.n_attempts == REGISTRY_FOREVER;
	uint64_t ms = pause_ms(s, attempt);
	long after = reply_retry_after(reply);

	if (attempt >= s->params.n_attempts)
		return false;
	if (r < 0 && r != -IMGD_E_NET && r != -IMGD_E_HTTP &&
	    r != -IMGD_E_RATE)
		return false;
	if (r == -IMGD_E_HTTP && reply->status != 408 &&
	    reply->status != 502 && reply->status != 503 &&
	    reply->status != 504)
		return false;
	if (r == -IMGD_E_RATE && !is_patient &&
	    (after < 0 || after > MAX_PAUSE_MS / 1000))
		return false;
	if (after > 0 && (uint64_t)after * 1000 > ms)
		ms = (uint64_t)after * 1000;
	if (ms > MAX_AFTER_MS)
		ms = MAX_AFTER_MS;
	*ret_ms = ms > MAX_PAUSE_MS && !is_patient ? MAX_PAUSE_MS
						   : (unsigned)ms;
	return true;
}

int
v2_wait(struct registry_session *s, const char *why, unsigned ms,
    struct imgd_error **err)
{
	log_debug("registry", "%s: again in %u ms", why, ms);
	if (s->params.retrying != NULL)
		s->params.retrying(s->params.ctx, why, ms);
	return http_pause(s->http, ms, err);
}

/* ---- rounds ---- */

bool
v2_goes_round(const struct registry_session *s)
{
	return s->params.n_attempts == REGISTRY_FOREVER &&
	    s->n_endpoints > 0 && s->endpoints[0].is_mirror;
}

int
v2_wait_round(struct registry_session *s, int r,
    const struct http_reply *reply, unsigned round, const char *why,
    struct imgd_error **err)
{
	unsigned ms;

	if (!v2_may_retry(s, r, reply, round, &ms))
		return 0;
	r = v2_wait(s, why, ms, err);
	return r < 0 ? r : 1;
}

int
v2_next_round(struct registry_session *s, int r,
    const struct http_reply *reply, unsigned round, const char *why,
    struct imgd_error **err)
{
	size_t i;

	if (!v2_goes_round(s))
		return 0;
	r = v2_wait_round(s, r, reply, round, why, err);
	if (r <= 0)
		return r;
	for (i = 0; i < s->n_endpoints; i++)
		s->endpoints[i].is_dead = false;
	return 1;
}

/* ---- tags ---- */

struct tag_list {
	struct registry_session *s;
	struct endpoint *e;
	registry_tag_cb *cb;
	void *ctx;
	bool is_told; /* something has reached cb */
	long last_status; /* of HTTP; 0 = no answer */
};

static int
tell_tags(struct tag_list *l, const struct http_reply *reply,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	struct json_object *tags;
	const char *tag;
	size_t i, n;
	int r;

	r = json_get_root(reply->body.data, reply->body.len, &root, err);
	if (r >= 0)
		r = json_get_array(root, "tags", &tags, err);
	if (r < 0)
		return r;
	n = tags != NULL ? json_object_array_length(tags) : 0;
	for (i = 0; i < n; i++) {
		r = json_get_element_str(tags, i, "tags", &tag, err);
		if (r < 0)
			return r;
		if (!reference_tag_is_valid(tag)) {
			log_debug("registry", "bad tag %s, ignoring", tag);
			continue;
		}
		l->is_told = true;
		r = l->cb(l->ctx, tag, err);
		if (r != 0)
			return r;
	}
	return 0;
}

/* The URL of Link's rel="next", NULL if there is none. */
static int
next_page(const struct http_reply *reply, char **ret, struct imgd_error **err)
{
	cleanup_free char *target = NULL;
	cleanup_free char *here = NULL;
	cleanup_free char *there = NULL;
	cleanup_free char *next = NULL;
	const char *open, *close, *rel;
	int r;

	*ret = NULL;
	if (reply->link == NULL ||
	    (open = strchr(reply->link, '<')) == NULL ||
	    (close = strchr(open, '>')) == NULL)
		return 0;
	rel = strstr(close, "rel=");
	if (rel == NULL)
		return 0;
	rel += rel[4] == '"' ? 5 : 4;
	if (strncasecmp(rel, "next", 4) != 0)
		return 0;
	target = strndup(open + 1, (size_t)(close - open - 1));
	if (target == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = url_resolve(reply->url, target, &next, err);
	if (r >= 0)
		r = url_origin(reply->url, &here, err);
	if (r >= 0)
		r = url_origin(next, &there, err);
	if (r < 0)
		return r;
	if (strcmp(here, there) != 0 || strcmp(next, reply->url) == 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the next page of tags is elsewhere or the same");
	*ret = take_ptr(&next);
	return 0;
}

static int
one_page(struct tag_list *l, const char *url, char **ret_next,
    struct imgd_error **err)
{
	cleanup(http_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "GET",
		.accept = "application/json", .max_body = LIMIT_TAGS_BYTES };
	struct strbuf what = STRBUF_INIT;
	cleanup_free char *text = NULL;
	unsigned attempt, ms;
	int r;

	strbuf_printf(&what, "repository %s", l->s->name);
	text = strbuf_take(&what);
	if (text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (attempt = 1;; attempt++) {
		cleanup_error struct imgd_error *why = NULL;

		r = v2_request(l->s, l->e, url, &req, &reply, &why);
		if (r >= 0 && reply.status != 200)
			r = reply_error(l->s, &reply, text, &why);
		l->last_status = reply.status;
		if (r >= 0)
			break;
		if ((v2_goes_round(l->s) && !l->is_told) ||
		    !v2_may_retry(l->s, r, &reply, attempt, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		r = v2_wait(l->s, imgd_error_msg(why), ms, err);
		if (r < 0)
			return r;
	}
	r = tell_tags(l, &reply, err);
	return r != 0 ? r : next_page(&reply, ret_next, err);
}

static int
all_pages(struct tag_list *l, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *url = NULL;
	unsigned n;
	int r;

	strbuf_printf(&sb, "/%s/tags/list%s", l->s->ref.path,
	    *l->e->query == '\0' ? "?n=1000" : "");
	url = strbuf_take(&sb);
	if (url == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (n = 0; n < MAX_TAG_PAGES; n++) {
		char *next = NULL;

		r = one_page(l, url, &next, err);
		if (r != 0 || next == NULL)
			return r;
		free(url);
		url = next;
	}
	return imgd_error_set(err, IMGD_E_LIMIT,
	    "more than %d pages of tags", MAX_TAG_PAGES);
}

/* Ask every place in turn, until one has told something. */
static int
tags_once(struct tag_list *l, struct imgd_error **err)
{
	struct registry_session *s = l->s;
	bool is_last;
	size_t i;
	int r = 0;

	for (i = 0; i < s->n_endpoints; i++) {
		cleanup_error struct imgd_error *why = NULL;

		is_last = i + 1 == s->n_endpoints;
		l->e = &s->endpoints[i];
		if (l->e->is_dead && !is_last)
			continue;
		r = all_pages(l, &why);
		if (r < 0 && !is_last && !l->is_told &&
		    endpoint_falls_through(l->e, r)) {
			log_debug("registry", "%s, asking the next",
			    imgd_error_msg(why));
			continue;
		}
		if (r < 0 && err != NULL)
			*err = take_ptr(&why);
		return r;
	}
	return r;
}

int
v2_tags(struct registry_session *s, registry_tag_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct tag_list l = { .s = s, .cb = cb, .ctx = ctx };
	unsigned round;
	int r, more;

	for (round = 1;; round++) {
		cleanup_error struct imgd_error *why = NULL;
		struct http_reply last;

		r = tags_once(&l, &why);
		if (r >= 0)
			return r;
		last = (struct http_reply) { .status = l.last_status };
		more = l.is_told ? 0
				 : v2_next_round(s, r, &last, round,
				       imgd_error_msg(why), err);
		if (more == 0 && err != NULL)
			*err = take_ptr(&why);
		if (more <= 0)
			return more < 0 ? more : r;
	}
}

const struct registry_ops registry_v2_ops = {
	.name = "v2",
	.resolve = v2_resolve,
	.blob = v2_blob,
	.tags = v2_tags,
	.signatures = v2_signatures,
};
