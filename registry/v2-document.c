/* One document of a registry, from whichever place has it. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "registry/legacy.h"
#include "registry/v2-document.h"

#define DOC_TIMEOUT_FACTOR 4 /* of the stall timeout, for a whole document */

void
document_donep(struct document *d)
{
	http_reply_done(&d->reply);
}

const char *
document_bytes(const struct document *d)
{
	return d->reply.body.data != NULL ? d->reply.body.data : "";
}

/* Set *err to why, unless the caller does not care. */
static void
hand_over(struct imgd_error **err, struct imgd_error **why)
{
	if (err != NULL)
		*err = take_ptr(why);
}

/* Digests of manifests of schema 1 leave out their signatures. */
static int
unwrap(struct document *d, struct imgd_error **err)
{
	struct strbuf *body = &d->reply.body;
	size_t len;
	char *payload;
	int r;

	r = schema1_payload(body->data, body->len, &payload, &len, err);
	if (r < 0)
		return r;
	strbuf_done(body);
	body->data = payload;
	body->len = len;
	body->size = len + 1;
	d->is_schema1 = true;
	return 0;
}

static int
verify(const struct document_want *w, struct document *d,
    struct imgd_error **err)
{
	const char *expected = w->expected_digest;
	const char *type = w->media_type != NULL ? w->media_type
						 : d->reply.content_type;
	size_t len = d->reply.body.len;
	int r;

	if (w->may_be_schema1 && schema1_is(type, document_bytes(d), len) &&
	    (r = unwrap(d, err)) < 0)
		return r;
	/* Lists give the size of schema 1 with its signatures or without. */
	if (w->has_size && len != w->expected_bytes &&
	    !(d->is_schema1 && d->reply.body.len == w->expected_bytes))
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "%s: %zu bytes came instead of %llu", w->what, len,
		    (unsigned long long)w->expected_bytes);
	r = digest_of(document_bytes(d), d->reply.body.len, d->digest, err);
	if (r < 0)
		return r;
	if (expected == NULL && d->reply.content_digest != NULL &&
	    digest_is_valid(d->reply.content_digest))
		expected = d->reply.content_digest;
	if (expected != NULL && strcmp(expected, d->digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "%s: digest mismatch: %s came instead of %s", w->what,
		    d->digest, expected);
	return 0;
}

static int
get_from(struct registry_session *s, struct endpoint *e,
    const struct document_want *w, struct document *d,
    struct imgd_error **err)
{
	struct http_request req = { .method = "GET", .accept = w->accept,
		.max_body = w->max_bytes,
		.timeout_ms = s->params.stall_timeout_ms * DOC_TIMEOUT_FACTOR };
	unsigned attempt, ms;
	int r;

	for (attempt = 1;; attempt++) {
		cleanup_error struct imgd_error *why = NULL;

		r = v2_request(s, e, w->path, &req, &d->reply, &why);
		if (r >= 0 && d->reply.status != 200)
			r = reply_error(s, &d->reply, w->what, &why);
		if (r >= 0)
			return verify(w, d, err);
		if (r == -IMGD_E_LIMIT || r == -IMGD_E_PROTOCOL)
			(void)imgd_error_prefix(&why, "%s", w->what);
		if (v2_goes_round(s) ||
		    (e->is_dead && endpoint_falls_through(e, r)) ||
		    !v2_may_retry(s, r, &d->reply, attempt, &ms)) {
			hand_over(err, &why);
			return r;
		}
		r = v2_wait(s, imgd_error_msg(why), ms, err);
		if (r < 0)
			return r;
	}
}

/* Ask every place in turn. */
static int
get_once(struct registry_session *s, const struct document_want *w,
    struct document *d, struct imgd_error **err)
{
	struct endpoint *e;
	bool is_last;
	size_t i;
	int r = 0;

	for (i = 0; i < s->n_endpoints; i++) {
		cleanup_error struct imgd_error *why = NULL;

		e = &s->endpoints[i];
		is_last = i + 1 == s->n_endpoints;
		if (e->is_dead && !is_last)
			continue;
		r = get_from(s, e, w, d, &why);
		if (r < 0 && !is_last && endpoint_falls_through(e, r)) {
			log_debug("registry", "%s, asking the next",
			    imgd_error_msg(why));
			continue;
		}
		if (r < 0)
			hand_over(err, &why);
		return r;
	}
	return r;
}

int
v2_document(struct registry_session *s, const struct document_want *w,
    struct document *d, struct imgd_error **err)
{
	unsigned round;
	int r, more;

	for (round = 1;; round++) {
		cleanup_error struct imgd_error *why = NULL;

		r = get_once(s, w, d, &why);
		if (r >= 0)
			return r;
		more = v2_next_round(s, r, &d->reply, round,
		    imgd_error_msg(why), err);
		if (more == 0)
			hand_over(err, &why);
		if (more <= 0)
			return more < 0 ? more : r;
	}
}
