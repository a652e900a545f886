/* What the engine tells a puller at its start. */
#ifndef CORE_PULLER_PARAMS_H
#define CORE_PULLER_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/message.h"

#define PULLER_FOREVER UINT32_MAX

struct puller_mirror {
	char *url;
	bool with_ns; /* its requests say whose mirror it is */
};

struct puller_params {
	char *reference;    /* canonical name */
	char *platform;     /* as the user typed it; "" = the host's */
	char *known_digest; /* "" = none */
	char *username, *password, *identity_token, *registry_token;
	bool wants_tags;    /* list tags instead of resolving */
	bool wants_signatures;
	bool is_v1;         /* the registry is of version 1 */
	uint32_t n_threads;
	uint32_t n_attempts;      /* of a request; PULLER_FOREVER */
	uint64_t max_bytes_per_s; /* 0 = no limit */
	bool is_login;      /* try the credentials instead of resolving */
	char *search;       /* search for it instead; "" = no */
	uint32_t search_limit;
	struct puller_mirror *mirrors;
	size_t n_mirrors;
	char **insecure;
	size_t n_insecure;
	/* "" = none; no_proxy is a list of hosts */
	char *http_proxy, *https_proxy, *no_proxy;
	/* PEM texts, "" = none */
	char *ca_pem, *cert_pem, *key_pem;
};

/* Build the message PULLER_START. */
void puller_params_put(struct message *m, const struct puller_params *p);
/* Read one; strings are copied. */
int puller_params_get(struct message *m, struct puller_params *ret,
    struct imgd_error **err);
void puller_params_done(struct puller_params *p);

#endif
