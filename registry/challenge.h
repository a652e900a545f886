/*
 * WWW-Authenticate (RFC 9110, 11.6.1), as registries really send it.
 */
#ifndef REGISTRY_CHALLENGE_H
#define REGISTRY_CHALLENGE_H

#include <stdbool.h>
#include <stddef.h>

#include "imgd/error.h"

struct challenge {
	bool has_basic;
	bool has_bearer; /* the first one that has a realm */
	char *realm;     /* of Bearer; these are NULL where not given */
	char *service;
	char *scope;
	char *error;
};

/*
 * Read all challenges of an answer's header lines; unknown schemes and what
 * makes no sense are skipped.  ret: release with challenge_done().
 * Returns 0 or -ENOMEM.
 */
int challenge_parse(char *const *lines, size_t n_lines,
    struct challenge *ret, struct imgd_error **err);
void challenge_done(struct challenge *c);

#endif
