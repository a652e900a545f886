/* Version 1: servers, requests, and what an index says of a repository. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/json-get.h"
#include "registry/v1-impl.h"

#define HUB_INDEX       "https://index.docker.io"
#define PING_TIMEOUT_MS 15000
#define DOC_TIMEOUT_FACTOR 4 /* of the stall timeout, for a whole document */
#define MAX_PLACES      16
#define MAX_TOKENS      8

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- servers ---- */

int
v1_place_make(struct v1_place *p, const char *root, struct imgd_error **err)
{
	if (asprintf(&p->url, "%s/v1", root) < 0) {
		p->url = NULL;
		return no_memory(err);
	}
	return url_origin(p->url, &p->origin, err);
}

void
v1_places_free(struct v1_place *places, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		free(places[i].url);
		free(places[i].origin);
	}
	free(places);
}

void
v1_free(struct v1 *v)
{
	if (v == NULL)
		return;
	v1_places_free(v->indexes, v->n_indexes);
	v1_places_free(v->places, v->n_places);
	free_secret(v->token);
	free_secret(v->basic);
	free(v->remote);
	free(v->full);
	json_object_put(v->images);
	free(v);
}

/* The same hosts as version 2 asks; but the Hub's index is another. */
static int
make_indexes(struct registry_session *s, struct v1 *v, struct imgd_error **err)
{
	bool is_hub = strcmp(s->ref.domain, REFERENCE_DEFAULT_DOMAIN) == 0;
	size_t i;
	int r = 0;

	v->indexes = calloc(s->n_endpoints + 1, sizeof(*v->indexes));
	if (v->indexes == NULL)
		return no_memory(err);
	for (i = 0; r >= 0 && i < s->n_endpoints; i++) {
		const struct endpoint *e = &s->endpoints[i];
		struct v1_place *p = &v->indexes[v->n_indexes];
		cleanup_free char *root = is_hub && !e->is_mirror
		    ? strdup(HUB_INDEX)
		    : strndup(e->url, strlen(e->url) - strlen("/v2"));

		if (root == NULL)
			return no_memory(err);
		/* A mirror of several registries could not tell which is
		 * meant. */
		if (e->query[0] != '\0')
			continue;
		v->n_indexes++;
		r = v1_place_make(p, root, err);
		p->is_mirror = e->is_mirror;
		p->may_fall_back = e->may_fall_back && !is_hub;
		p->is_dead = e->is_dead && !is_hub;
	}
	return r;
}

/* "ubuntu" and "library/ubuntu"; deeper names there are not. */
static int
make_names(struct registry_session *s, struct v1 *v, struct imgd_error **err)
{
	bool is_hub = strcmp(s->ref.domain, REFERENCE_DEFAULT_DOMAIN) == 0;
	const char *path = s->ref.path, *slash = strchr(path, '/');

	if (s->ref.digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "%s: a registry of version 1 has no digests", s->target);
	if (slash != NULL && strchr(slash + 1, '/') != NULL)
		return imgd_error_set(err, EINVAL,
		    "%s: a registry of version 1 has no names like this",
		    s->name);
	if (asprintf(&v->full, "%s%s", slash == NULL ? "library/" : "",
		path) < 0) {
		v->full = NULL;
		return no_memory(err);
	}
	v->remote = strdup(is_hub && str_starts(path, "library/")
		? path + strlen("library/")
		: path);
	return v->remote != NULL ? 0 : no_memory(err);
}

/* ---- ping ---- */

static bool
says_standalone(const struct http_reply *reply)
{
	const char *header = http_reply_docker(reply,
	    "X-Docker-Registry-Standalone");
	cleanup(json_putp) struct json_object *root = NULL;
	bool is = true;

	if (header != NULL && *header != '\0')
		return strcasecmp(header, "true") == 0 ||
		    strcmp(header, "1") == 0;
	if (reply->body.len > 0 &&
	    json_get_root(reply->body.data, reply->body.len, &root,
		NULL) >= 0)
		(void)json_get_bool(root, "standalone", &is, NULL);
	return is;
}

static int
ping(struct registry_session *s, struct v1_place *p, bool is_asked,
    struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	cleanup_free char *url = NULL;
	struct http_request req = { .method = "GET",
		.max_body = LIMIT_ERROR_BODY_BYTES,
		.timeout_ms = PING_TIMEOUT_MS };
	int r;

	if (asprintf(&url, "%s/_ping", p->url) < 0) {
		url = NULL;
		return no_memory(err);
	}
	req.url = url;
	r = http_do(s->http, &req, &reply, err);
	if (r < 0)
		return r;
	if (!is_asked && reply.status != 200 &&
	    http_reply_docker(&reply, "X-Docker-Registry-Version") == NULL)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s is neither a v2 nor a v1 registry", p->origin);
	p->has_answered = true;
	p->is_standalone = says_standalone(&reply);
	return 0;
}

int
v1_start(struct registry_session *s, bool is_asked, struct imgd_error **err)
{
	struct v1 *v = calloc(1, sizeof(*v));
	bool is_last;
	int r;

	if (v == NULL)
		return no_memory(err);
	r = make_names(s, v, err);
	if (r >= 0)
		r = make_indexes(s, v, err);
	while (r >= 0 && v->first < v->n_indexes) {
		struct v1_place *p = &v->indexes[v->first];
		cleanup_error struct imgd_error *why = NULL;

		is_last = v->first + 1 == v->n_indexes;
		if (p->is_dead && !is_last) {
			v->first++;
			continue;
		}
		r = ping(s, p, is_asked, &why);
		if (r >= 0)
			break;
		if (r == -ECANCELED || is_last ||
		    (!p->is_mirror && !p->may_fall_back)) {
			if (err != NULL)
				*err = take_ptr(&why);
			break;
		}
		log_debug("registry", "%s, asking the next",
		    imgd_error_msg(why));
		p->is_dead = true;
		v->first++;
		r = 0;
	}
	if (r < 0) {
		v1_free(v);
		return r;
	}
	s->v1 = v;
	return 0;
}

/* ---- requests ---- */

static const char *
authorization(const struct v1 *v, const struct v1_place *p, bool is_index)
{
	if (p->is_mirror)
		return NULL;
	if (is_index)
		return v->basic;
	return v->basic_origin != NULL &&
		strcmp(v->basic_origin, p->origin) == 0
	    ? v->basic
	    : v->token;
}

int
v1_request(struct registry_session *s, struct v1_place *p, bool is_index,
    const char *path, struct http_request *req, struct http_reply *ret,
    struct imgd_error **err)
{
	cleanup_free char *url = NULL;
	int r;

	if (asprintf(&url, "%s%s", p->url, path) < 0) {
		url = NULL;
		return no_memory(err);
	}
	http_reply_done(ret);
	req->url = url;
	req->authorization = authorization(s->v1, p, is_index);
	req->with_cookies = true;
	r = http_do(s->http, req, ret, err);
	req->url = req->authorization = NULL;
	if (r >= 0)
		p->has_answered = true;
	else if (ret->status == 0 && !p->has_answered &&
	    (r == -IMGD_E_NET || r == -IMGD_E_TLS))
		p->is_dead = true;
	p->last_status = ret->status;
	return r;
}

bool
v1_goes_round(const struct registry_session *s, bool is_index)
{
	return s->params.n_attempts == REGISTRY_FOREVER &&
	    (is_index ? s->v1->n_indexes : s->v1->n_places) > 1;
}

int
v1_document(struct registry_session *s, struct v1_place *p, bool is_index,
    const char *path, const char *what, size_t max_bytes,
    struct http_reply *ret, struct imgd_error **err)
{
	static const char *const index_headers[] = { "X-Docker-Token: true",
		NULL };
	struct http_request req = { .method = "GET",
		.headers = is_index ? index_headers : NULL,
		.max_body = max_bytes,
		.timeout_ms = s->params.stall_timeout_ms * DOC_TIMEOUT_FACTOR };
	bool is_alone = is_index || s->v1->n_places == 1;
	unsigned attempt, ms;
	int r;

	for (attempt = 1;; attempt++) {
		cleanup_error struct imgd_error *why = NULL;

		r = v1_request(s, p, is_index, path, &req, ret, &why);
		if (r >= 0 && ret->status != 200)
			r = reply_error(s, ret, what, &why);
		if (r >= 0)
			return 0;
		if (r == -IMGD_E_LIMIT || r == -IMGD_E_PROTOCOL)
			(void)imgd_error_prefix(&why, "%s", what);
		/* Who is not there is not waited for while there are
		 * others. */
		if ((p->is_dead && (!is_alone || p->is_mirror)) ||
		    v1_goes_round(s, is_index) ||
		    !v2_may_retry(s, r, ret, attempt, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		r = v2_wait(s, imgd_error_msg(why), ms, err);
		if (r < 0)
			return r;
	}
}

/* *ret_status: of the answer that the failure is about. */
static int
each_once(struct registry_session *s, v1_try *try, void *ctx,
    const struct transfer *body, long *ret_status, struct imgd_error **err)
{
	struct v1 *v = s->v1;
	size_t first = v->current, i, n_tried = 0;
	cleanup_error struct imgd_error *last = NULL;
	int r = 0;

	for (i = 0; i < v->n_places; i++) {
		size_t at = (first + i) % v->n_places;
		cleanup_error struct imgd_error *why = NULL;
		struct v1_place *p = &v->places[at];

		if (p->is_dead && (n_tried > 0 || i + 1 < v->n_places))
			continue;
		n_tried++;
		r = try(s, p, ctx, &why);
		if (r >= 0) {
			v->current = at;
			return r;
		}
		log_debug("registry", "%s: %s", p->origin,
		    imgd_error_msg(why));
		/* That somebody is not there tells less than what somebody
		 * else said. */
		if (last == NULL || !p->is_dead) {
			imgd_error_free(last);
			last = take_ptr(&why);
			*ret_status = p->last_status;
		}
		if (r == -ECANCELED || r == -ENOMEM ||
		    (body != NULL && body->is_final))
			break;
	}
	r = -imgd_error_code(last);
	if (err != NULL)
		*err = take_ptr(&last);
	return r;
}

int
v1_each_place(struct registry_session *s, v1_try *try, void *ctx,
    const struct transfer *body, struct imgd_error **err)
{
	struct http_reply last = { .status = 0 };
	unsigned round;
	int r, more;
	size_t i;

	for (round = 1;; round++) {
		uint64_t before = body != NULL ? body->have : 0;
		cleanup_error struct imgd_error *why = NULL;

		r = each_once(s, try, ctx, body, &last.status, &why);
		if (r >= 0)
			return r;
		if (body != NULL &&
		    body->have - before >= TRANSFER_PROGRESS_BYTES)
			round = 1;
		more = !v1_goes_round(s, /* is_index= */ false) ||
			(body != NULL && body->is_final)
		    ? 0
		    : v2_wait_round(s, r, &last, round, imgd_error_msg(why),
			  err);
		if (more == 0 && err != NULL)
			*err = take_ptr(&why);
		if (more <= 0)
			return more < 0 ? more : r;
		for (i = 0; i < s->v1->n_places; i++)
			s->v1->places[i].is_dead = false;
	}
}

/* ---- what the index says ---- */

/* Header values become one of ours: nothing but visible ASCII and blanks. */
static bool
is_plain(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < ' ' || (unsigned char)*s > '~')
			return false;
	return true;
}

static int
take_token(struct v1 *v, const struct http_reply *reply,
    struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i, n = 0;

	/* Even without any: some servers only look for the header. */
	strbuf_puts(&sb, "Token");
	for (i = 0; i < reply->n_docker; i++) {
		const struct http_header *h = &reply->docker[i];

		if (strcasecmp(h->name, "X-Docker-Token") != 0)
			continue;
		if (n == MAX_TOKENS || !is_plain(h->value)) {
			strbuf_done(&sb);
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "the index gives a bad token");
		}
		/* As it is: one that begins with "Token" itself, too. */
		strbuf_printf(&sb, "%s%s", n > 0 ? "," : " ", h->value);
		n++;
	}
	free(v->token);
	v->token = strbuf_take(&sb);
	return v->token != NULL ? 0 : no_memory(err);
}

/* host, host:port or [address]:port, and nothing that a URL would read
 * otherwise. */
static bool
is_host(const char *s)
{
	size_t len = strlen(s), i;

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) &&
		    strchr(".-_:[]", s[i]) == NULL)
			return false;
	return len > 0 && len <= 255;
}

static int
add_place(struct registry_session *s, struct v1 *v, const char *scheme,
    const char *host, struct imgd_error **err)
{
	struct v1_place *p = &v->places[v->n_places];
	cleanup_free char *root = NULL;
	cleanup_free char *name = NULL;
	unsigned port;
	int r;

	if (asprintf(&root, "%s://%s", scheme, host) < 0) {
		root = NULL;
		return no_memory(err);
	}
	r = url_host_port(root, &name, &port, err);
	if (r < 0)
		return r;
	/* That the index was spoken to without TLS is no leave to speak so to
	 * anybody. */
	if (strcmp(scheme, "http") == 0 &&
	    !insecure_matches(s->insecure, s->n_insecure, name, port)) {
		log_debug("registry", "%s is not asked without TLS", root);
		return 0;
	}
	v->n_places++;
	return v1_place_make(p, root, err);
}

/* Each of the header's hosts, with the index's scheme. */
static int
add_named(struct registry_session *s, struct v1 *v, const char *scheme,
    const char *list, bool *is_named, struct imgd_error **err)
{
	int r = 0;

	while (r >= 0 && *list != '\0') {
		size_t len = strcspn(list, ","), skip = strspn(list, " \t");
		size_t n = len > skip ? len - skip : 0;
		cleanup_free char *host = NULL;

		while (n > 0 && isspace((unsigned char)list[skip + n - 1]))
			n--;
		host = strndup(list + (n > 0 ? skip : 0), n);
		list += len + (list[len] == ',');
		if (host == NULL)
			return no_memory(err);
		if (n == 0)
			continue;
		*is_named = true;
		if (v->n_places >= MAX_PLACES || !is_host(host))
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "the index names a bad registry \"%.80s\"", host);
		r = add_place(s, v, scheme, host, err);
	}
	return r;
}

static int
take_places(struct registry_session *s, struct v1 *v,
    const struct v1_place *index, const struct http_reply *reply,
    struct imgd_error **err)
{
	const char *scheme = str_starts(index->origin, "https:") ? "https"
								 : "http";
	bool is_named = false;
	size_t i, n;
	int r = 0;

	v1_places_free(v->places, v->n_places);
	v->n_places = 0;
	v->current = 0;
	v->places = calloc(MAX_PLACES + v->n_indexes + 1, sizeof(*v->places));
	if (v->places == NULL)
		return no_memory(err);
	/* A mirror has images, whatever the index says. */
	for (i = 0; r >= 0 && i < v->n_indexes && !index->is_mirror; i++) {
		const struct v1_place *m = &v->indexes[i];

		if (!m->is_mirror || m->is_dead)
			continue;
		v->places[v->n_places].is_mirror = true;
		v->places[v->n_places].url = strdup(m->url);
		v->places[v->n_places].origin = strdup(m->origin);
		v->n_places++;
		if (v->places[v->n_places - 1].url == NULL ||
		    v->places[v->n_places - 1].origin == NULL)
			r = no_memory(err);
	}
	n = v->n_places;
	for (i = 0; r >= 0 && i < reply->n_docker; i++)
		if (strcasecmp(reply->docker[i].name, "X-Docker-Endpoints") ==
		    0)
			r = add_named(s, v, scheme, reply->docker[i].value,
			    &is_named, err);
	if (r >= 0 && is_named && v->n_places == n)
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the index names no registry that may be asked");
	/* A registry that is its own index. */
	if (r >= 0 && !is_named) {
		v->places[n].url = strdup(index->url);
		v->places[n].origin = strdup(index->origin);
		v->n_places++;
		if (v->places[n].url == NULL || v->places[n].origin == NULL)
			r = no_memory(err);
	}
	return r;
}

static int
ask_index(struct registry_session *s, struct v1_place *index,
    struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	cleanup_free char *path = NULL;
	cleanup_free char *what = NULL;
	struct v1 *v = s->v1;
	int r;

	if (asprintf(&path, "/repositories/%s/images", v->remote) < 0 ||
	    asprintf(&what, "repository %s", s->name) < 0)
		return no_memory(err);
	r = v1_document(s, index, /* is_index= */ true, path, what,
	    LIMIT_TAGS_BYTES, &reply, err);
	if (r < 0)
		return r;
	r = json_get_root_array(reply.body.data != NULL ? reply.body.data : "",
	    reply.body.len, &v->images, err);
	if (r >= 0)
		r = take_token(v, &reply, err);
	if (r >= 0)
		r = take_places(s, v, index, &reply, err);
	if (r < 0)
		return imgd_error_prefix(err, "%s", what);
	/* A standalone registry wants to know who asks each time. */
	v->basic_origin = !index->is_mirror && index->is_standalone &&
		v->basic != NULL && str_starts(index->origin, "https:")
	    ? index->origin
	    : NULL;
	return 0;
}

static int
open_once(struct registry_session *s, long *ret_status,
    struct imgd_error **err)
{
	struct v1 *v = s->v1;
	size_t i;
	int r = 0;

	for (i = v->first; i < v->n_indexes; i++) {
		cleanup_error struct imgd_error *why = NULL;
		struct v1_place *p = &v->indexes[i];
		bool is_last = i + 1 == v->n_indexes;

		if (!p->has_answered)
			r = ping(s, p, /* is_asked= */ true, &why);
		if (r >= 0)
			r = ask_index(s, p, &why);
		if (r >= 0)
			return 0;
		*ret_status = p->last_status;
		/* Behind one that speaks TLS there is no other. */
		if (r == -ECANCELED || is_last ||
		    (!p->is_mirror && (p->has_answered || !p->may_fall_back))) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		log_debug("registry", "%s, asking the next",
		    imgd_error_msg(why));
		r = 0;
	}
	return r;
}

int
v1_open(struct registry_session *s, struct imgd_error **err)
{
	struct http_reply last = { .status = 0 };
	struct v1 *v = s->v1;
	unsigned round;
	int r, more;

	if (v->n_places > 0)
		return 0;
	if (s->username != NULL && v->basic == NULL &&
	    (r = auth_basic(s, &v->basic, err)) < 0)
		return r;
	for (round = 1;; round++) {
		cleanup_error struct imgd_error *why = NULL;

		r = open_once(s, &last.status, &why);
		if (r >= 0)
			return r;
		more = v1_goes_round(s, /* is_index= */ true)
		    ? v2_wait_round(s, r, &last, round, imgd_error_msg(why),
			  err)
		    : 0;
		if (more == 0 && err != NULL)
			*err = take_ptr(&why);
		if (more <= 0)
			return more < 0 ? more : r;
	}
}
