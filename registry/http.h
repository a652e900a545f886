/*
 * HTTP for registries: single exchanges by libcurl, and redirects by hand.
 *
 * libcurl's own redirects are off: credentials must not travel to another
 * scheme, host or port, and https must not become http.
 */
#ifndef REGISTRY_HTTP_H
#define REGISTRY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/strbuf.h"

struct http;

struct http_params {
	const char *user_agent;
	const char *ca_bundle; /* NULL: libcurl's own */
	const char *ca_pem;    /* added to it; NULL: nothing */
	const char *client_cert_pem, *client_key_pem; /* NULL: none */
	const char *client_origin; /* the only origin that sees them */
	const char *http_proxy, *https_proxy; /* NULL: none */
	const char *no_proxy; /* hosts that are asked without; NULL: none */
	unsigned connect_timeout_ms, stall_timeout_ms;
	uint64_t max_bytes_per_s; /* 0 = no limit */
	/* Whether the TLS certificate of this host[:port] may be anything. */
	bool (*is_insecure)(void *ctx, const char *host, unsigned port);
	bool (*cancelled)(void *ctx);
	void *insecure_ctx, *cancelled_ctx;
};

/* params: copied. */
int http_new(const struct http_params *params, struct http **ret,
    struct imgd_error **err);
void http_free(struct http *h);
/* Sleep; -ECANCELED if the work was called off. */
int http_pause(struct http *h, unsigned ms, struct imgd_error **err);

struct http_header {
	char *name, *value;
};

struct http_reply {
	long status;
	bool is_foreign; /* from another origin than was asked first */
	bool has_length;
	uint64_t length; /* Content-Length */
	char *content_type; /* NULL: no such header; likewise the others */
	char *location;
	char *content_range;
	char *content_digest; /* Docker-Content-Digest */
	char *link;
	char *retry_after;
	char *accept_ranges;
	char *range; /* of an upload: what the server has */
	char **challenges; /* each WWW-Authenticate line */
	size_t n_challenges;
	struct http_header *docker; /* each X-Docker-* and Docker-* line, and
				     * OCI-Chunk-Min-Length */
	size_t n_docker;
	char *url; /* that answered */
	struct strbuf body; /* what went to no sink */
};

void http_reply_done(struct http_reply *r);
/* The value of the first Docker header of that name; NULL: none. */
const char *http_reply_docker(const struct http_reply *r, const char *name);

struct http_request {
	const char *method; /* "GET", "HEAD", "POST", "PUT" … */
	const char *url;
	const char *accept;        /* NULL: none */
	const char *authorization; /* the header's value; NULL: none */
	const char *form;          /* POST: x-www-form-urlencoded body */
	const char *const *headers; /* more lines, NULL-terminated; NULL: none */
	bool with_cookies;          /* send and keep them */
	bool has_range;
	uint64_t range_from;

	/* The body to send, if send is not NULL: restart is called before it
	 * is sent, each time; send gives up to len bytes, 0 at the end. */
	int (*restart)(void *ctx, struct imgd_error **err);
	int64_t (*send)(void *ctx, void *buf, size_t len,
	    struct imgd_error **err);
	void *send_ctx;
	const char *send_type;  /* Content-Type */
	bool has_send_length;   /* else it goes in chunks */
	uint64_t send_length;

	size_t max_body;     /* of a 2xx reply that goes to no sink */
	unsigned timeout_ms; /* for all of an exchange; 0 = none */

	/* A 2xx reply's body: begin is called once, before the first byte or
	 * at the end of an empty body. */
	int (*begin)(void *ctx, const struct http_reply *reply,
	    struct imgd_error **err);
	int (*data)(void *ctx, const void *data, size_t len,
	    struct imgd_error **err);
	void *ctx;
};

/*
 * Do a request and follow redirects (GET and HEAD only).
 *
 * ret: zeroed before; http_reply_done() after success and failure.
 * Returns 0 whatever the status is; -IMGD_E_NET, -IMGD_E_TLS when there was
 * no whole answer; -IMGD_E_LIMIT; -IMGD_E_PROTOCOL for redirects that are not
 * followed; -ECANCELED; what begin and data returned.
 */
int http_do(struct http *h, const struct http_request *req,
    struct http_reply *ret, struct imgd_error **err);

/* ---- URLs ---- */

/* "scheme://host:port" of an http or https URL in lower case, the port always
 * there; malloc'ed.  -IMGD_E_PROTOCOL for anything else. */
int url_origin(const char *url, char **ret, struct imgd_error **err);
/* Host (without brackets) and port of an origin. */
int url_host_port(const char *url, char **ret_host, unsigned *ret_port,
    struct imgd_error **err);
/* location as seen from base; malloc'ed.  An absolute one is left as it is. */
int url_resolve(const char *base, const char *location, char **ret,
    struct imgd_error **err);
/* Percent-encode all but unreserved characters. */
void url_encode(struct strbuf *sb, const char *s);

#endif
