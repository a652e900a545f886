#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/cleanup.h"
#include "registry/legacy.h"
#include "registry/session-impl.h"

#define CA_FILE_BYTES (1u << 20)

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static bool
copy(char **to, const char *from)
{
	if (from == NULL)
		return true;
	*to = strdup(from);
	return *to != NULL;
}

static bool
copy_list(char ***to, size_t *n_to, const char *const *from, size_t n)
{
	size_t i;

	if (n == 0)
		return true;
	*to = calloc(n, sizeof(**to));
	if (*to == NULL)
		return false;
	*n_to = n;
	for (i = 0; i < n; i++)
		if (!copy(&(*to)[i], from[i]))
			return false;
	return true;
}

static void
set_scalars(struct registry_params *p, const struct registry_params *from)
{
	*p = (struct registry_params){
		.n_attempts = from->n_attempts != 0 ? from->n_attempts : 5,
		.retry_pause_ms =
		    from->retry_pause_ms != 0 ? from->retry_pause_ms : 1000,
		.connect_timeout_ms = from->connect_timeout_ms != 0 ?
		    from->connect_timeout_ms :
		    30000,
		.stall_timeout_ms = from->stall_timeout_ms != 0 ?
		    from->stall_timeout_ms :
		    60000,
		.is_push = from->is_push,
		.is_login = from->is_login,
		.is_v1 = from->is_v1,
		.cancelled = from->cancelled,
		.retrying = from->retrying,
		.ctx = from->ctx,
	};
}

/* Append the PEM file at path. */
static int
add_ca_file(struct strbuf *sb, const char *path, struct imgd_error **err)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	char buf[4096];
	size_t n, total = 0;

	if (f == NULL)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
		total += n;
		if (total > CA_FILE_BYTES)
			return imgd_error_set(err, EFBIG,
			    "%s: longer than %u bytes", path, CA_FILE_BYTES);
		strbuf_append(sb, buf, n);
	}
	if (ferror(f))
		return imgd_error_set(err, EIO, "%s: cannot be read", path);
	strbuf_putc(sb, '\n');
	return 0;
}

/* All certificates that are added, as one text; NULL if there are none. */
static int
gather_ca(const struct registry_params *p, char **ret, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;
	int r;

	if (p->ca_pem == NULL && p->n_ca_files == 0) {
		*ret = NULL;
		return 0;
	}
	for (i = 0; i < p->n_ca_files; i++) {
		r = add_ca_file(&sb, p->ca_files[i], err);
		if (r < 0) {
			strbuf_done(&sb);
			return r;
		}
	}
	if (p->ca_pem != NULL)
		strbuf_puts(&sb, p->ca_pem);
	*ret = strbuf_take(&sb);
	return *ret != NULL ? 0 : no_memory(err);
}

static bool
is_insecure(void *ctx, const char *host, unsigned port)
{
	struct registry_session *s = ctx;

	return insecure_matches(s->insecure, s->n_insecure, host, port);
}

static int
make_http(struct registry_session *s, const struct registry_params *p,
    struct imgd_error **err)
{
	cleanup_free char *ca_pem = NULL;
	struct http_params params = {
		.user_agent = p->user_agent != NULL ? p->user_agent :
						      "imgd/" PACKAGE_VERSION,
		.ca_bundle = p->ca_bundle,
		.client_cert_pem = p->client_cert_pem,
		.client_key_pem = p->client_key_pem,
		.connect_timeout_ms = s->params.connect_timeout_ms,
		.stall_timeout_ms = s->params.stall_timeout_ms,
		.max_bytes_per_s = p->max_bytes_per_s,
		.http_proxy = p->http_proxy,
		.https_proxy = p->https_proxy,
		.no_proxy = p->no_proxy,
		.is_insecure = is_insecure,
		.insecure_ctx = s,
		.cancelled = s->params.cancelled,
		.cancelled_ctx = s->params.ctx,
	};
	size_t i;
	int r;

	r = gather_ca(p, &ca_pem, err);
	if (r < 0)
		return r;
	params.ca_pem = ca_pem;
	/* The registry comes behind the mirrors, https first. */
	for (i = 0; i < s->n_endpoints && params.client_origin == NULL; i++)
		if (!s->endpoints[i].is_mirror)
			params.client_origin = s->endpoints[i].origin;
	return http_new(&params, &s->http, err);
}

static int
fill(struct registry_session *s, const struct registry_params *p,
    struct imgd_error **err)
{
	int r;

	s->ops = &registry_v2_ops;
	set_scalars(&s->params, p);
	r = reference_copy(p->ref, &s->ref, err);
	if (r < 0)
		return r;
	if (s->ref.tag == NULL && s->ref.digest == NULL &&
	    !copy(&s->ref.tag, REFERENCE_DEFAULT_TAG_NAME))
		return no_memory(err);
	s->name = reference_familiar_name(&s->ref);
	s->target = reference_familiar(&s->ref);
	if (s->name == NULL || s->target == NULL ||
	    !copy(&s->username, p->username) ||
	    !copy(&s->password, p->password) ||
	    !copy(&s->identity_token, p->identity_token) ||
	    !copy(&s->registry_token, p->registry_token) ||
	    !copy_list(&s->insecure, &s->n_insecure, p->insecure,
		p->n_insecure))
		return no_memory(err);
	/* What becomes part of a header must not end it. */
	if (s->registry_token != NULL &&
	    strpbrk(s->registry_token, "\r\n") != NULL)
		return imgd_error_set(err, EINVAL, "bad registry token");
	r = endpoints_make(s, p, err);
	return r < 0 ? r : make_http(s, p, err);
}

int
registry_session_new(const struct registry_params *params,
    struct registry_session **ret, struct imgd_error **err)
{
	struct registry_session *s;
	int r;

	r = registry_start_curl(err);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return no_memory(err);
	r = fill(s, params, err);
	if (r < 0) {
		registry_session_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void
registry_session_free(struct registry_session *s)
{
	size_t i;

	if (s == NULL)
		return;
	http_free(s->http);
	v1_free(s->v1);
	endpoints_free(s);
	for (i = 0; i < s->n_insecure; i++)
		free(s->insecure[i]);
	free(s->insecure);
	free(s->name);
	free(s->target);
	free_secret(s->username);
	free_secret(s->password);
	free_secret(s->identity_token);
	free_secret(s->registry_token);
	reference_done(&s->ref);
	free(s);
}

void
registry_resolved_done(struct registry_resolved *r)
{
	manifest_free(r->manifest);
	image_config_free(r->config);
	legacy_image_free(r->legacy);
	*r = (struct registry_resolved)REGISTRY_RESOLVED_INIT;
}

/* Somebody is there, and nobody speaks version 2. */
static bool
is_no_v2(const struct registry_session *s)
{
	bool is_not = false;
	size_t i;

	for (i = 0; i < s->n_endpoints; i++) {
		if (s->endpoints[i].is_pinged)
			return false;
		is_not |= s->endpoints[i].is_not_v2;
	}
	return is_not;
}

/* Before the first request, and after one that failed: choose the protocol.
 * Returns 1 if the request is to be made (again). */
static int
choose(struct registry_session *s, bool has_failed, struct imgd_error **err)
{
	bool is_asked = s->params.is_v1;
	int r;

	if (s->v1 != NULL || (has_failed ? !is_no_v2(s) : !is_asked))
		return !has_failed;
	r = v1_start(s, is_asked, err);
	if (r < 0)
		return r;
	s->ops = &registry_v1_ops;
	return 1;
}

int
registry_resolve(struct registry_session *s, const struct platform *want,
    const char *known_digest, registry_doc_cb *cb, void *ctx,
    struct registry_resolved *ret, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = choose(s, /* has_failed= */ false, err), again;

	if (r < 0)
		return r;
	r = s->ops->resolve(s, want, known_digest, cb, ctx, ret, &why);
	if (r >= 0)
		return r;
	again = choose(s, /* has_failed= */ true, err);
	if (again > 0)
		return s->ops->resolve(s, want, known_digest, cb, ctx, ret,
		    err);
	if (again == 0 && err != NULL)
		*err = take_ptr(&why);
	return again < 0 ? again : r;
}

int
registry_blob(struct registry_session *s, const struct descriptor *blob,
    struct registry_spool *spool, struct imgd_sink *tar,
    registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *stats, struct imgd_error **err)
{
	return s->ops->blob(s, blob, spool, tar, progress, ctx, stats, err);
}

int
registry_layer(struct registry_session *s, const struct legacy_layer *layer,
    uint64_t max_bytes, struct imgd_sink *tar, registry_progress_cb *progress,
    void *ctx, struct registry_blob_stats *stats, struct imgd_error **err)
{
	if (s->ops->layer == NULL)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "a layer without a digest");
	return s->ops->layer(s, layer, max_bytes, tar, progress, ctx, stats,
	    err);
}

int
registry_tags(struct registry_session *s, registry_tag_cb *cb, void *ctx,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = choose(s, /* has_failed= */ false, err), again;

	if (r < 0)
		return r;
	r = s->ops->tags(s, cb, ctx, &why);
	if (r >= 0)
		return r;
	again = choose(s, /* has_failed= */ true, err);
	if (again > 0)
		return s->ops->tags(s, cb, ctx, err);
	if (again == 0 && err != NULL)
		*err = take_ptr(&why);
	return again < 0 ? again : r;
}

int
registry_signatures(struct registry_session *s, const char *digest,
    registry_signature_cb *cb, void *ctx, struct imgd_error **err)
{
	return s->ops->signatures != NULL
	    ? s->ops->signatures(s, digest, cb, ctx, err)
	    : 0;
}
