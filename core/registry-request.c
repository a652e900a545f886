#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/proxies.h"
#include "core/registry-certs.h"
#include "core/registry-request.h"

#define FOREVER "forever"

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static char *
env_copy(struct job *job, const char *key)
{
	const char *value = job_getenv(job, key);

	return strdup(value != NULL ? value : "");
}

static int
copy_list(char *const *list, size_t n, char ***ret, size_t *ret_n,
    struct imgd_error **err)
{
	size_t i;

	*ret = calloc(n + 1, sizeof(**ret));
	for (i = 0; *ret != NULL && i < n; i++) {
		(*ret)[i] = strdup(list[i]);
		if ((*ret)[i] == NULL)
			break;
		(*ret_n)++;
	}
	return *ret != NULL && *ret_n == n ? 0 : no_memory(err);
}

/* PEM texts of the registry's host. */
static int
take_certs(struct job *job, const struct reference *ref,
    struct puller_params *p, struct imgd_error **err)
{
	const char *const dirs[] = { "/etc/docker/certs.d",
		engine_config(job->engine)->certs_dir != NULL
		    ? engine_config(job->engine)->certs_dir
		    : IMGD_SYSCONFDIR "/imgd/certs.d",
		NULL };
	struct registry_certs c = { 0 };
	int r = registry_certs_read(dirs, ref->domain, &c, err);

	p->ca_pem = c.ca_pem != NULL ? c.ca_pem : strdup("");
	p->cert_pem = c.cert_pem != NULL ? c.cert_pem : strdup("");
	p->key_pem = c.key_pem != NULL ? c.key_pem : strdup("");
	if (r >= 0 && (p->ca_pem == NULL || p->cert_pem == NULL ||
			  p->key_pem == NULL))
		r = no_memory(err);
	return r;
}

/* The configuration's; else those of the verb that asked; of a request by HTTP
 * nobody knows them, but the daemon has an environment of its own. */
static int
take_proxies(struct job *job, struct puller_params *p, struct imgd_error **err)
{
	const struct config *c = job->engine->config;
	struct proxies of = {
		.http = job_getenv(job, "http-proxy"),
		.https = job_getenv(job, "https-proxy"),
		.none = job_getenv(job, "no-proxy"),
	};

	if (job_getenv(job, "has-proxies") == NULL)
		of = proxies_of_environment();
	if (c->http_proxy != NULL)
		of.http = c->http_proxy;
	if (c->https_proxy != NULL)
		of.https = c->https_proxy;
	if (c->no_proxy != NULL)
		of.none = c->no_proxy;
	p->http_proxy = strdup(of.http != NULL ? of.http : "");
	p->https_proxy = strdup(of.https != NULL ? of.https : "");
	p->no_proxy = strdup(of.none != NULL ? of.none : "");
	return p->http_proxy != NULL && p->https_proxy != NULL &&
		p->no_proxy != NULL
	    ? 0
	    : no_memory(err);
}

/* How patient to be, and how greedy. */
static int
take_numbers(struct job *job, struct puller_params *p,
    struct imgd_error **err)
{
	const struct config *c = engine_config(job->engine);
	const char *retry = job_getenv(job, "retry");
	const char *rate = job_getenv(job, "limit-rate");
	uint64_t n = c->max_download_attempts;

	p->max_bytes_per_s = c->max_bytes_per_s;
	if (retry != NULL && strcmp(retry, FOREVER) == 0)
		n = PULLER_FOREVER;
	else if (retry != NULL &&
	    (!str_to_u64(retry, PULLER_FOREVER - 1, &n) || n == 0))
		return imgd_error_set(err, EINVAL,
		    "retry: %s is neither a number nor \"" FOREVER "\"",
		    retry);
	if (rate != NULL && !str_to_size(rate, &p->max_bytes_per_s))
		return imgd_error_set(err, EINVAL,
		    "limit-rate: %s is not a size", rate);
	p->n_attempts = (uint32_t)n;
	return 0;
}

int
registry_request_fill(struct job *job, const struct reference *ref,
    struct puller_params *ret, struct imgd_error **err)
{
	const struct config *c = engine_config(job->engine);
	int r;

	ret->reference = reference_canonical(ref);
	ret->platform = env_copy(job, "platform");
	ret->known_digest = strdup("");
	ret->search = strdup("");
	ret->username = env_copy(job, "username");
	ret->password = env_copy(job, "password");
	ret->identity_token = env_copy(job, "identity-token");
	ret->registry_token = env_copy(job, "registry-token");
	ret->n_threads = 1;
	if (ret->reference == NULL || ret->platform == NULL ||
	    ret->search == NULL ||
	    ret->known_digest == NULL || ret->username == NULL ||
	    ret->password == NULL || ret->identity_token == NULL ||
	    ret->registry_token == NULL)
		return no_memory(err);
	ret->mirrors = calloc(1, sizeof(*ret->mirrors));
	if (ret->mirrors == NULL)
		return no_memory(err);
	r = copy_list(c->insecure_registries, c->n_insecure_registries,
	    &ret->insecure, &ret->n_insecure, err);
	if (r >= 0)
		r = take_certs(job, ref, ret, err);
	if (r >= 0)
		r = take_proxies(job, ret, err);
	return r < 0 ? r : take_numbers(job, ret, err);
}

int
registry_request_add_mirrors(struct job *job, const struct reference *ref,
    struct puller_params *params, struct imgd_error **err)
{
	const struct config *c = engine_config(job->engine);

	struct puller_mirror *mirrors;
	size_t i;

	mirrors = calloc(c->n_registry_mirrors + 1, sizeof(*mirrors));
	if (mirrors == NULL)
		return no_memory(err);
	free(params->mirrors);
	params->mirrors = mirrors;
	for (i = 0; i < c->n_registry_mirrors; i++) {
		const struct config_mirror *m = &c->registry_mirrors[i];

		if (strcmp(m->registry, ref->domain) != 0 &&
		    strcmp(m->registry, "*") != 0)
			continue;
		mirrors[params->n_mirrors].with_ns = m->with_ns;
		mirrors[params->n_mirrors].url = strdup(m->url);
		if (mirrors[params->n_mirrors].url == NULL)
			return no_memory(err);
		params->n_mirrors++;
	}
	return 0;
}
