/*
 * The line between the server and the library that speaks HTTP.
 *
 * libmicrohttpd is in a module of its own (http-mhd.c), which only a daemon
 * loads; what requests mean is the program's.  Everything here is called on
 * the module's one thread unless it says otherwise, and must not block it.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "imgd/error.h"

struct http_server;
struct http_exchange; /* one request and its answer */

/* What read() returns beside a number of bytes. */
#define HTTP_READ_LATER 0  /* nothing now; http_module.wake() follows */
#define HTTP_READ_END   (-1)
#define HTTP_READ_ABORT (-2) /* the answer stays incomplete, visibly */

#define HTTP_MAX_HEADERS 12

struct http_header {
	const char *name, *value;
};

struct http_answer {
	unsigned int status;
	struct http_header headers[HTTP_MAX_HEADERS];
	size_t n_headers;
	bool is_stream;   /* chunked, by read(); else */
	const char *data; /* the whole body, valid until end() */
	size_t len;
};

struct http_handler {
	/* The head is here.  target: as sent, percent signs and all.  Returns
	 * the state for the other calls; NULL: out of memory. */
	void *(*begin)(void *ctx, struct http_exchange *x, const char *method,
	    const char *target);
	/* A part of the body: how much was taken; 0: none now, and
	 * http_module.wake() follows. */
	size_t (*body)(void *state, const void *data, size_t len);
	void (*body_end)(void *state);
	/* Whether there is an answer by now; if not, wake() follows. */
	bool (*answer)(void *state, struct http_answer *ret);
	/* More of a streamed answer: bytes, or one of HTTP_READ_*. */
	ssize_t (*read)(void *state, void *buf, size_t max);
	/* All is sent, or the client is gone: x is no more. */
	void (*end)(void *state);
};

struct http_settings {
	int listen_fd; /* taken also on failure */
	unsigned int max_connections;
	unsigned int head_timeout_s; /* for a head, and between requests */
	unsigned int body_timeout_s; /* without a byte moving */
	/* PEM texts; NULL: no TLS.  Clients must show a certificate that ca
	 * has signed. */
	const char *key, *cert, *ca;
};

struct http_module {
	int (*start)(const struct http_settings *s,
	    const struct http_handler *handler, void *ctx,
	    struct http_server **ret, struct imgd_error **err);
	/* Accept no more connections. */
	void (*quiesce)(struct http_server *s);
	/* Close all connections; no exchange may be waiting. */
	void (*stop)(struct http_server *s);
	/* A header of the request, or NULL. */
	const char *(*header)(struct http_exchange *x, const char *name);
	int (*socket)(struct http_exchange *x);
	/* Look at the exchange again; from any thread, until end(). */
	void (*wake)(struct http_exchange *x);
};

#define HTTP_MODULE_SYMBOL "imgd_http_module"

#endif
