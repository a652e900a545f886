/*
 * The server: Docker's Engine API over a unix socket, in an engine that stays.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "core/engine.h"

struct server;

struct server_options {
	const char *socket_path; /* NULL: only what the service manager gave */
	const char *group;       /* of the socket; NULL: this process's own */
	/* ADDRESS:PORT to listen on, too, for clients with a certificate that
	 * tls_ca has signed; NULL: none.  The others are PEM texts. */
	const char *tcp_address;
	const char *tls_key, *tls_cert, *tls_ca;
	bool has_metrics; /* for GET /metrics */
	/* The configuration anew, for SIGHUP; see struct engine_service. */
	struct config *(*reload)(void *ctx);
	void *ctx;
};

/* ctx of server_service; o is borrowed. */
int server_new(const struct server_options *o, struct server **ret,
    struct imgd_error **err);
void server_free(struct server *s);

extern const struct engine_service server_service;

#endif
