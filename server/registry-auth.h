/*
 * Credentials that a caller sends along: X-Registry-Auth, and /auth's body.
 */
#ifndef SERVER_REGISTRY_AUTH_H
#define SERVER_REGISTRY_AUTH_H

#include "imgd/error.h"

struct registry_auth {
	char *username, *password, *identity_token, *registry_token;
	char *server; /* what they are said to be for */
};

/* Read a JSON text; ret: zeroed before, registry_auth_done() after success
 * and failure. */
int registry_auth_parse(const char *json, size_t len,
    struct registry_auth *ret, struct imgd_error **err);

/* Read the header, base64url of JSON; NULL, or one that nobody can read, is
 * nobody's, as Docker has it. */
void registry_auth_decode(const char *header, struct registry_auth *ret);

/* Zero and free. */
void registry_auth_done(struct registry_auth *a);

#endif
