#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/protocol.h"
#include "core/puller-params.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define MAX_LIST 256

static void
put_list(struct message *m, char *const *list, size_t n)
{
	size_t i;

	message_put_u32(m, (uint32_t)n);
	for (i = 0; i < n; i++)
		message_put_str(m, list[i]);
}

void
puller_params_put(struct message *m, const struct puller_params *p)
{
	size_t i;

	message_init(m, PULLER_START);
	message_put_str(m, p->reference);
	message_put_str(m, p->platform);
	message_put_str(m, p->known_digest);
	message_put_str(m, p->username);
	message_put_str(m, p->password);
	message_put_str(m, p->identity_token);
	message_put_str(m, p->registry_token);
	message_put_u32(m, p->wants_tags);
	message_put_u32(m, p->wants_signatures);
	message_put_u32(m, p->is_v1);
	message_put_u32(m, p->n_threads);
	message_put_u32(m, p->n_attempts);
	message_put_u64(m, p->max_bytes_per_s);
	message_put_u32(m, p->is_login);
	message_put_str(m, p->search);
	message_put_u32(m, p->search_limit);
	message_put_u32(m, (uint32_t)p->n_mirrors);
	for (i = 0; i < p->n_mirrors; i++) {
		message_put_str(m, p->mirrors[i].url);
		message_put_u32(m, p->mirrors[i].with_ns);
	}
	put_list(m, p->insecure, p->n_insecure);
	message_put_str(m, p->http_proxy);
	message_put_str(m, p->https_proxy);
	message_put_str(m, p->no_proxy);
	message_put_str(m, p->ca_pem);
	message_put_str(m, p->cert_pem);
	message_put_str(m, p->key_pem);
}

static void
get_string(struct message *m, char **ret)
{
	*ret = strdup(message_get_str(m));
}

static void
get_list(struct message *m, char ***ret, size_t *ret_n)
{
	uint32_t i, n = message_get_u32(m);

	if (n > MAX_LIST) {
		m->is_bad = true;
		return;
	}
	*ret = calloc((size_t)n + 1, sizeof(**ret));
	for (i = 0; *ret != NULL && i < n; i++) {
		get_string(m, &(*ret)[i]);
		if ((*ret)[i] == NULL)
			break;
		(*ret_n)++;
	}
}

static void
get_mirrors(struct message *m, struct puller_params *p)
{
	uint32_t i, n = message_get_u32(m);

	if (n > MAX_LIST) {
		m->is_bad = true;
		return;
	}
	p->mirrors = calloc((size_t)n + 1, sizeof(*p->mirrors));
	for (i = 0; p->mirrors != NULL && i < n; i++) {
		get_string(m, &p->mirrors[i].url);
		p->mirrors[i].with_ns = message_get_u32(m) != 0;
		if (p->mirrors[i].url == NULL)
			break;
		p->n_mirrors++;
	}
}

int
puller_params_get(struct message *m, struct puller_params *ret,
    struct imgd_error **err)
{
	struct puller_params p = { 0 };
	int r;

	get_string(m, &p.reference);
	get_string(m, &p.platform);
	get_string(m, &p.known_digest);
	get_string(m, &p.username);
	get_string(m, &p.password);
	get_string(m, &p.identity_token);
	get_string(m, &p.registry_token);
	p.wants_tags = message_get_u32(m) != 0;
	p.wants_signatures = message_get_u32(m) != 0;
	p.is_v1 = message_get_u32(m) != 0;
	p.n_threads = message_get_u32(m);
	p.n_attempts = message_get_u32(m);
	p.max_bytes_per_s = message_get_u64(m);
	p.is_login = message_get_u32(m) != 0;
	get_string(m, &p.search);
	p.search_limit = message_get_u32(m);
	get_mirrors(m, &p);
	get_list(m, &p.insecure, &p.n_insecure);
	get_string(m, &p.http_proxy);
	get_string(m, &p.https_proxy);
	get_string(m, &p.no_proxy);
	get_string(m, &p.ca_pem);
	get_string(m, &p.cert_pem);
	get_string(m, &p.key_pem);
	r = message_end(m, err);
	if (r >= 0 &&
	    (p.reference == NULL || p.platform == NULL ||
		p.known_digest == NULL || p.search == NULL ||
		p.username == NULL ||
		p.password == NULL || p.identity_token == NULL ||
		p.registry_token == NULL ||
		p.mirrors == NULL || p.insecure == NULL ||
		p.http_proxy == NULL || p.https_proxy == NULL ||
		p.no_proxy == NULL ||
		p.ca_pem == NULL || p.cert_pem == NULL ||
		p.key_pem == NULL))
		r = imgd_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		puller_params_done(&p);
	else
		*ret = p;
	return r;
}

void
puller_params_done(struct puller_params *p)
{
	size_t i;

	free(p->reference);
	free(p->platform);
	free(p->known_digest);
	free(p->search);
	free(p->username);
	free_secret(p->password);
	free_secret(p->identity_token);
	free_secret(p->registry_token);
	free_secret(p->http_proxy);
	free_secret(p->https_proxy);
	free(p->no_proxy);
	free(p->ca_pem);
	free(p->cert_pem);
	free_secret(p->key_pem);
	for (i = 0; i < p->n_mirrors; i++)
		free(p->mirrors[i].url);
	free(p->mirrors);
	str_list_free(p->insecure, p->n_insecure);
	*p = (struct puller_params) { 0 };
}
