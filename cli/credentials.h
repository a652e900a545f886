/* Where credentials are kept: files of Docker and of podman, and helpers. */
#ifndef CLI_CREDENTIALS_H
#define CLI_CREDENTIALS_H

#include <stdbool.h>

#include "imgd/error.h"

struct credentials {
	char *username, *password, *identity_token; /* NULL: none */
};

void credentials_done(struct credentials *c);

/*
 * Find what there is for the registry of reference; nothing is no error.
 *
 * Looked at in this order, the first file that has something counts:
 * $REGISTRY_AUTH_FILE, Docker's config.json with its helpers, podman's
 * auth.json, ~/.dockercfg.
 */
int credentials_find(const char *reference, struct credentials *ret,
    struct imgd_error **err);

/*
 * Keep credentials of domain in Docker's config.json, or with the helper that
 * it names; the file is replaced as a whole, with mode 0600.
 */
int credentials_store(const char *domain, const struct credentials *c,
    struct imgd_error **err);
/* Forget them; returns 1 if there were some in the file or with a helper. */
int credentials_erase(const char *domain, struct imgd_error **err);

/* ---- credential-helper.c ---- */

/* Ask docker-credential-NAME for the credentials of key; none is no error.
 * ret: empty before. */
int credential_helper_get(const char *name, const char *key,
    struct credentials *ret, struct imgd_error **err);
int credential_helper_store(const char *name, const char *key,
    const struct credentials *c, struct imgd_error **err);
/* Returns 1 if it had some. */
int credential_helper_erase(const char *name, const char *key,
    struct imgd_error **err);

/* ---- credential-file.c ---- */

struct json_object;

/* Docker's config.json; NULL if there is no home.  malloc'ed. */
char *credential_file_path(void);
/* The key of domain in Docker's files. */
const char *credential_key(const char *domain);
/* Read a file as a JSON object; an absent one is -ENOENT. */
int credential_file_read(const char *path, struct json_object **ret,
    struct imgd_error **err);
/* Replace it, at once and durably. */
int credential_file_write(const char *path, struct json_object *o,
    struct imgd_error **err);
/* The helper for domain: its own, else the one for all; NULL: none. */
const char *credential_file_helper(struct json_object *o,
    const char *domain);

#endif
