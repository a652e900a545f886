/*
 * Authorization: Basic, and Bearer by a token server.  Sources: distribution
 * docs spec/auth/token.md and oauth.md.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/session-impl.h"

#define TOKEN_TIMEOUT_MS 30000
#define TOKEN_MIN_SECONDS 60 /* what servers that say less really mean */
#define TOKEN_EARLY_SECONDS 10
#define CLIENT_ID "imgd"
#define DENIED_HINT \
	"repository does not exist or may require 'docker login'"

static void
http_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
}

static time_t
monotonic_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

int
auth_basic(const struct registry_session *s, char **ret,
    struct imgd_error **err)
{
	struct strbuf plain = STRBUF_INIT;
	cleanup_free char *text = NULL;
	cleanup_free char *coded = NULL;
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&plain, "%s:%s", s->username,
	    s->password != NULL ? s->password : "");
	text = strbuf_take(&plain);
	if (text == NULL)
		return no_memory(err);
	coded = malloc(4 * (strlen(text) / 3 + 1) + 1);
	if (coded == NULL)
		return no_memory(err);
	(void)EVP_EncodeBlock((unsigned char *)coded,
	    (const unsigned char *)text, (int)strlen(text));
	strbuf_printf(&sb, "Basic %s", coded);
	*ret = strbuf_take(&sb);
	return *ret != NULL ? 0 : no_memory(err);
}

/* ---- the token server ---- */

static void
add_field(struct strbuf *sb, const char *name, const char *value)
{
	strbuf_printf(sb, "%s%s=", sb->len > 0 ? "&" : "", name);
	url_encode(sb, value);
}

/* One "scope" field for each of the blank-separated scopes. */
static void
add_scopes(struct strbuf *sb, const char *scopes)
{
	size_t len;

	while (*scopes != '\0') {
		len = strcspn(scopes, " ");
		if (len > 0) {
			cleanup_free char *one = strndup(scopes, len);

			if (one == NULL)
				sb->is_failed = true;
			else
				add_field(sb, "scope", one);
		}
		scopes += len + strspn(scopes + len, " ");
	}
}

static char *
default_scope(const struct registry_session *s)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&sb, "repository:%s:pull%s", s->ref.path,
	    s->params.is_push ? ",push" : "");
	return strbuf_take(&sb);
}

/* Visible ASCII only: a token becomes part of a header. */
static bool
is_token(const char *s)
{
	if (s == NULL || *s == '\0')
		return false;
	for (; *s != '\0'; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

/* Keep the token that the server's answer has. */
static int
keep_token(struct endpoint *e, const struct http_reply *reply,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	struct json_object *expires = NULL;
	struct strbuf sb = STRBUF_INIT;
	const char *token;
	int64_t seconds = 0;
	char *value;
	int r;

	r = json_get_root(reply->body.data, reply->body.len, &root, err);
	if (r >= 0)
		r = json_get_str(root, "access_token", &token, err);
	if (r >= 0 && token == NULL)
		r = json_get_str(root, "token", &token, err);
	if (r < 0)
		return r;
	if (!is_token(token))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the answer holds no token");
	/* Some servers write a float. */
	if (json_object_object_get_ex(root, "expires_in", &expires))
		seconds = json_object_get_int64(expires);
	if (seconds < TOKEN_MIN_SECONDS)
		seconds = TOKEN_MIN_SECONDS;
	if (seconds > 86400)
		seconds = 86400;
	strbuf_printf(&sb, "Bearer %s", token);
	value = strbuf_take(&sb);
	if (value == NULL)
		return no_memory(err);
	free(e->authorization);
	e->authorization = value;
	if (json_get_str(root, "refresh_token", &token, NULL) >= 0 &&
	    is_token(token)) {
		free(e->refresh_token);
		e->refresh_token = strdup(token);
	}
	e->expires = monotonic_seconds() + seconds - TOKEN_EARLY_SECONDS;
	return 0;
}

static int
check_token_status(struct registry_session *s, const struct http_reply *reply,
    struct imgd_error **err)
{
	cleanup_free char *text = NULL;

	if (reply->status >= 200 && reply->status < 300)
		return 0;
	if (reply->status != 401 && reply->status != 403)
		return reply_error(s, reply, "token", err);
	text = reply_text(reply);
	if (text == NULL)
		return no_memory(err);
	if (s->params.is_login)
		return imgd_error_set(err, IMGD_E_DENIED,
		    "unauthorized: incorrect username or password");
	return imgd_error_set(err, IMGD_E_DENIED,
	    "%s access denied for %s, " DENIED_HINT ": %s",
	    s->params.is_push ? "push" : "pull", s->name, text);
}

/* A secret goes to the token server only over TLS, unless the registry itself
 * is spoken to without. */
static int
check_realm(struct endpoint *e, const char *realm, struct imgd_error **err)
{
	if (strncasecmp(realm, "https:", 6) == 0 || e->may_fall_back ||
	    strncmp(e->origin, "http:", 5) == 0)
		return 0;
	return imgd_error_set(err, IMGD_E_PROTOCOL,
	    "\"%s\" is not https: it gets no credentials", realm);
}

static int
ask_token_server(struct registry_session *s, struct endpoint *e,
    const char *realm, struct imgd_error **err)
{
	cleanup(http_reply_donep) struct http_reply reply = { .status = 0 };
	const struct challenge *c = &e->challenge;
	struct http_request req = { .method = "GET",
		.accept = "application/json", .max_body = LIMIT_TOKEN_BYTES,
		.timeout_ms = TOKEN_TIMEOUT_MS };
	bool has_secret = !e->is_mirror &&
	    (s->username != NULL || s->identity_token != NULL);
	cleanup_free char *scope = NULL;
	cleanup_free char *fields_text = NULL;
	cleanup_free char *basic = NULL;
	cleanup_free char *url = NULL;
	struct strbuf fields = STRBUF_INIT, sb = STRBUF_INIT;
	int r;

	if (has_secret && (r = check_realm(e, realm, err)) < 0)
		return r;
	scope = s->params.is_login ? strdup("")
	    : c->scope != NULL	   ? strdup(c->scope)
				   : default_scope(s);
	if (scope == NULL)
		return no_memory(err);
	if (has_secret && s->identity_token != NULL) {
		req.method = "POST";
		add_field(&fields, "grant_type", "refresh_token");
		add_field(&fields, "refresh_token", s->identity_token);
		add_field(&fields, "client_id", CLIENT_ID);
		add_field(&fields, "scope", scope);
	} else {
		if (has_secret)
			add_field(&fields, "account", s->username);
		add_scopes(&fields, scope);
	}
	if (s->params.is_login) {
		add_field(&fields, "offline_token", "true");
		add_field(&fields, "client_id", CLIENT_ID);
	}
	if (c->service != NULL && *c->service != '\0')
		add_field(&fields, "service", c->service);
	if (has_secret && s->identity_token == NULL &&
	    (r = auth_basic(s, &basic, err)) < 0) {
		strbuf_done(&fields);
		return r;
	}
	fields_text = strbuf_take(&fields);
	if (fields_text == NULL)
		return no_memory(err);
	strbuf_puts(&sb, realm);
	if (strcmp(req.method, "POST") == 0)
		req.form = fields_text;
	else
		strbuf_printf(&sb, "%s%s",
		    strchr(realm, '?') != NULL ? "&" : "?", fields_text);
	url = strbuf_take(&sb);
	if (url == NULL)
		return no_memory(err);
	req.url = url;
	req.authorization = basic;
	r = http_do(s->http, &req, &reply, err);
	if (r >= 0)
		r = check_token_status(s, &reply, err);
	return r < 0 ? r : keep_token(e, &reply, err);
}

static int
fetch_token(struct registry_session *s, struct endpoint *e,
    struct imgd_error **err)
{
	cleanup_free char *realm = NULL;
	int r;

	r = url_resolve(e->url, e->challenge.realm, &realm, err);
	if (r >= 0)
		r = ask_token_server(s, e, realm, err);
	if (r < 0 && r != -IMGD_E_DENIED && r != -ECANCELED)
		(void)imgd_error_prefix(err, "token server");
	return r;
}

/* ---- what requests use ---- */

/* Make e->authorization for e->challenge; e is locked. */
static int
make_header(struct registry_session *s, struct endpoint *e,
    struct imgd_error **err)
{
	const struct challenge *c = &e->challenge;
	struct strbuf sb = STRBUF_INIT;

	if (!c->has_bearer && !c->has_basic)
		return 0;
	if (c->has_bearer && !e->is_mirror && s->registry_token != NULL) {
		strbuf_printf(&sb, "Bearer %s", s->registry_token);
		e->authorization = strbuf_take(&sb);
		e->expires = 0;
		return e->authorization != NULL ? 0 : no_memory(err);
	}
	if (c->has_bearer)
		return fetch_token(s, e, err);
	if (e->is_mirror || s->username == NULL)
		return imgd_error_set(err, IMGD_E_DENIED,
		    "no basic auth credentials");
	e->expires = 0;
	return auth_basic(s, &e->authorization, err);
}

int
auth_header(struct registry_session *s, struct endpoint *e, char **ret,
    struct imgd_error **err)
{
	int r = 0;

	/* Held while a token is fetched: the others want the same one. */
	(void)pthread_mutex_lock(&e->lock);
	if (e->authorization != NULL && e->expires != 0 &&
	    monotonic_seconds() >= e->expires) {
		free(e->authorization);
		e->authorization = NULL;
	}
	if (e->authorization == NULL)
		r = make_header(s, e, err);
	if (r >= 0) {
		*ret = NULL;
		if (e->authorization != NULL) {
			*ret = strdup(e->authorization);
			if (*ret == NULL)
				r = no_memory(err);
		}
	}
	(void)pthread_mutex_unlock(&e->lock);
	return r;
}

int
auth_renew(struct registry_session *s, struct endpoint *e, const char *used,
    const struct http_reply *reply, struct imgd_error **err)
{
	struct challenge fresh;
	bool makes_sense;
	int r;

	(void)s;
	r = challenge_parse(reply->challenges, reply->n_challenges, &fresh,
	    err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&e->lock);
	/* The same name and password would be refused again. */
	makes_sense = fresh.has_bearer ||
	    (fresh.has_basic &&
		(used == NULL || strncmp(used, "Basic ", 6) != 0));
	if (fresh.has_bearer && s->registry_token != NULL && used != NULL)
		makes_sense = false;
	if (makes_sense) {
		challenge_done(&e->challenge);
		e->challenge = fresh;
		memset(&fresh, 0, sizeof(fresh));
	}
	/* Another thread may have got a new token since. */
	if (used != NULL && e->authorization != NULL &&
	    strcmp(used, e->authorization) == 0) {
		free(e->authorization);
		e->authorization = NULL;
	}
	(void)pthread_mutex_unlock(&e->lock);
	challenge_done(&fresh);
	return makes_sense;
}
