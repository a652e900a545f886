/*
 * The other side of the server: a verb that asks a daemon over HTTP.
 *
 * libcurl is in a module of its own (client-curl.c), loaded when it is needed.
 */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H

#include <stddef.h>

#include "core/client.h"
#include "imgd/error.h"

/* What goes over the wire, for the module. */
struct http_call {
	const char *socket_path, *method, *target;
	const char *content_type; /* NULL: no body */
	const char *body;         /* NULL: the body is what body_fd gives */
	int body_fd;              /* -EBADF: there is none */
	/* A part of the answer's body; a negative code ends the call. */
	int (*take)(void *ctx, unsigned int status, const void *data,
	    size_t len);
	void *ctx;
};

#define HTTP_CALL_SYMBOL "imgd_http_call"
/* Make the call; *ret_status is the answer's.  A failure of take is returned
 * as it is, without an error. */
typedef int http_call_fn(const struct http_call *call,
    unsigned int *ret_status, struct imgd_error **err);

/*
 * Run a job in the daemon that listens on socket_path: client_run() by HTTP.
 * A job with a descriptor is one of load, save and import.
 */
int server_client_run(const char *socket_path,
    const struct job_request *request, job_output_cb *cb, void *ctx,
    char **ret_result, struct imgd_error **err);

#endif
