/*
 * The inside of a session: endpoints, authorization, and the table of
 * operations that one registry protocol fills.
 */
#ifndef REGISTRY_SESSION_IMPL_H
#define REGISTRY_SESSION_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "registry/challenge.h"
#include "registry/http.h"
#include "registry/session.h"

/* One place where the repository may be. */
struct endpoint {
	char *url;    /* "https://host:port/v2", no slash at the end */
	char *origin; /* of url */
	char *query;  /* "?ns=…", or "" */
	bool is_mirror;     /* any failure leads to the next endpoint */
	bool may_fall_back; /* https that may turn out to be http */
	atomic_bool is_dead;   /* no connection: not tried again */
	atomic_bool is_pinged; /* it has answered as a v2 registry does */
	atomic_bool is_not_v2; /* it has answered as none */

	pthread_mutex_t lock; /* of what follows */
	struct challenge challenge; /* the newest */
	char *authorization;        /* header value; NULL: none yet */
	char *refresh_token;        /* of a login; NULL: none */
	time_t expires;             /* CLOCK_MONOTONIC; 0 = never */
};

/* What a protocol does.  Each is as the function of session.h says. */
struct registry_ops {
	const char *name;
	int (*resolve)(struct registry_session *s, const struct platform *want,
	    const char *known_digest, registry_doc_cb *cb, void *ctx,
	    struct registry_resolved *ret, struct imgd_error **err);
	int (*blob)(struct registry_session *s, const struct descriptor *blob,
	    struct registry_spool *spool, struct imgd_sink *tar,
	    registry_progress_cb *progress, void *ctx,
	    struct registry_blob_stats *stats, struct imgd_error **err);
	/* NULL: all layers are blobs. */
	int (*layer)(struct registry_session *s,
	    const struct legacy_layer *layer, uint64_t max_bytes,
	    struct imgd_sink *tar, registry_progress_cb *progress, void *ctx,
	    struct registry_blob_stats *stats, struct imgd_error **err);
	int (*tags)(struct registry_session *s, registry_tag_cb *cb, void *ctx,
	    struct imgd_error **err);
	/* NULL: nothing can be signed. */
	int (*signatures)(struct registry_session *s, const char *digest,
	    registry_signature_cb *cb, void *ctx, struct imgd_error **err);
};

extern const struct registry_ops registry_v1_ops, registry_v2_ops;

/* Start libcurl, once in a process; threads may not yet run. */
int registry_start_curl(struct imgd_error **err);

struct v1; /* registry/v1-impl.h */

struct registry_session {
	const struct registry_ops *ops;
	struct registry_params params; /* scalars and callbacks only */
	struct reference ref;
	char *name;   /* familiar, without tag and digest */
	char *target; /* familiar, as asked for */
	char *username, *password, *identity_token, *registry_token;
	char **insecure;
	size_t n_insecure;
	struct http *http;
	struct endpoint *endpoints; /* in the order of trial */
	size_t n_endpoints;
	struct v1 *v1; /* once that is what is spoken */
};

/* ---- endpoints (endpoint.c) ---- */

int endpoints_make(struct registry_session *s,
    const struct registry_params *params, struct imgd_error **err);
void endpoints_free(struct registry_session *s);
/* Whether host may be spoken to without verified TLS.  Resolves a name only
 * if insecure has address ranges beside loopback's. */
bool insecure_matches(char *const *insecure, size_t n_insecure,
    const char *host, unsigned port);
/* After r from an endpoint's request: whether the next one is to be asked. */
bool endpoint_falls_through(struct endpoint *e, int r);

/* ---- authorization (auth.c) ---- */

/*
 * Give the Authorization value for e, or NULL: malloc'ed.  Fetches a token if
 * e's challenge asks for one and none is there.
 */
int auth_header(struct registry_session *s, struct endpoint *e, char **ret,
    struct imgd_error **err);
/* A 401 came although used (may be NULL) was sent: keep its challenge, drop
 * used.  Returns 1 if another try makes sense. */
int auth_renew(struct registry_session *s, struct endpoint *e,
    const char *used, const struct http_reply *reply,
    struct imgd_error **err);

/* "Basic …" of the session's user; malloc'ed. */
int auth_basic(const struct registry_session *s, char **ret,
    struct imgd_error **err);

/* ---- words for failures (reply.c) ---- */

/* Turn a status that is no success into an error.  what: "manifest for
 * ubuntu:14.04", "blob sha256:…", "repository ubuntu". */
int reply_error(struct registry_session *s, const struct http_reply *reply,
    const char *what, struct imgd_error **err);
/* The text of an error's body: "denied: requested access …"; malloc'ed. */
char *reply_text(const struct http_reply *reply);
/* Retry-After in seconds; -1 if there is none. */
long reply_retry_after(const struct http_reply *reply);

/* ---- v1 (v1.c) ---- */

/* Find the first index that answers, of the endpoints' hosts.  is_asked: it is
 * taken for one whatever it answers, as 1.2's client does. */
int v1_start(struct registry_session *s, bool is_asked,
    struct imgd_error **err);
void v1_free(struct v1 *v);

/* ---- v2 (v2.c) ---- */

/* The version check, once: before what cannot be tried first, as an upload. */
int v2_ping(struct registry_session *s, struct endpoint *e,
    struct imgd_error **err);
/* Authorize, ask, and once more after a 401.  req->url and
 * req->authorization are set here; path is what follows "/v2". */
int v2_request(struct registry_session *s, struct endpoint *e,
    const char *path, struct http_request *req, struct http_reply *ret,
    struct imgd_error **err);
/* Whether another attempt may help, and what to wait before it. */
bool v2_may_retry(struct registry_session *s, int r,
    const struct http_reply *reply, unsigned attempt, unsigned *ret_ms);
/* Whether there are mirrors and patience without end: then no place is asked
 * twice before all others were. */
bool v2_goes_round(const struct registry_session *s);
/* All places failed, the last with r: wait for the next round, in which all
 * are asked again.  1; 0 if there is none; or a failure. */
int v2_wait_round(struct registry_session *s, int r,
    const struct http_reply *reply, unsigned round, const char *why,
    struct imgd_error **err);
/* The same where v2_goes_round(); the endpoints are alive again. */
int v2_next_round(struct registry_session *s, int r,
    const struct http_reply *reply, unsigned round, const char *why,
    struct imgd_error **err);
/* Tell the caller of the session and wait. */
int v2_wait(struct registry_session *s, const char *why, unsigned ms,
    struct imgd_error **err);

int v2_resolve(struct registry_session *s, const struct platform *want,
    const char *known_digest, registry_doc_cb *cb, void *ctx,
    struct registry_resolved *ret, struct imgd_error **err);
int v2_blob(struct registry_session *s, const struct descriptor *blob,
    struct registry_spool *spool, struct imgd_sink *tar,
    registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *stats, struct imgd_error **err);
int v2_signatures(struct registry_session *s, const char *digest,
    registry_signature_cb *cb, void *ctx, struct imgd_error **err);
int v2_tags(struct registry_session *s, registry_tag_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
