/* Certificates for a registry's host, from directories as Docker has them. */
#ifndef CORE_REGISTRY_CERTS_H
#define CORE_REGISTRY_CERTS_H

#include "imgd/error.h"

struct registry_certs {
	char *ca_pem;   /* all *.crt, one after the other; NULL: none */
	char *cert_pem; /* NAME.cert and NAME.key; NULL: none */
	char *key_pem;
};

/*
 * Read HOST[:PORT] below each of dirs; one that is not there is passed over.
 *
 * The first pair of certificate and key, by name, counts.  One without the
 * other is an error that names it.  dirs ends with NULL.
 */
int registry_certs_read(const char *const *dirs, const char *host,
    struct registry_certs *ret, struct imgd_error **err);
void registry_certs_done(struct registry_certs *c);

#endif
