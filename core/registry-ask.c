/* Jobs that ask a registry something and keep nothing: login, search,
 * distribution. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/hear.h"
#include "core/job.h"
#include "core/protocol.h"
#include "core/registry-ask.h"
#include "core/registry-request.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/message.h"
#include "registry/manifest.h"
#include "registry/session.h"

#define SEARCH_LIMIT 25
#define SEARCH_MAX   100

static int
hear_answers(struct job *job, int sock, registry_answer_fn *take, void *ctx,
    struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		int r;

		message_init(&m, 0);
		r = hear_for_job(job, sock, "puller", PROTOCOL_MAX_DOC, &m,
		    err);
		if (r < 0)
			return r;
		if (m.type == PULLER_RETRYING)
			continue;
		r = take(job, ctx, &m, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

int
registry_ask(struct job *job, const struct puller_params *params,
    registry_answer_fn *take, void *ctx, struct imgd_error **err)
{
	cleanup_close int sock = -EBADF;
	int pair[2], pidfd = -EBADF, r;
	struct message m;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	sock = pair[0];
	r = engine_exec(job->engine, ROLE_PULLER, pair[1], &pidfd, err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	puller_params_put(&m, params);
	r = message_send(sock, &m, err);
	if (r >= 0)
		r = hear_answers(job, sock, take, ctx, err);
	close_fd(&sock);
	worker_end(&pidfd);
	return r;
}

/* Parameters for any repository of the registry: none is asked for. */
static int
fill(struct job *job, struct puller_params *params, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	int r;

	r = reference_parse(job->args[0], REFERENCE_DEFAULT_TAG, &ref, err);
	return r < 0 ? r : registry_request_fill(job, &ref, params, err);
}

/* ---- login ---- */

static int
take_login(struct job *job, void *ctx, struct message *m,
    struct imgd_error **err)
{
	int r;

	(void)ctx;
	if (m->type != PULLER_LOGGED_IN)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: unexpected message %u", (unsigned int)m->type);
	strbuf_puts(&job->result, message_get_str(m));
	r = message_end(m, err);
	return r < 0 ? r : 1;
}

int
job_login(struct job *job, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	int r = fill(job, &params, err);

	params.is_login = true;
	return r < 0 ? r : registry_ask(job, &params, take_login, NULL, err);
}

/* ---- search ---- */

static int
take_found(struct job *job, void *ctx, struct message *m,
    struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	bool is_official, is_automated;
	int r;

	(void)ctx;
	if (m->type == PULLER_RESOLVED)
		return 1;
	if (m->type != PULLER_FOUND)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: unexpected message %u", (unsigned int)m->type);
	strbuf_puts(&sb, "{\"name\":");
	strbuf_json(&sb, message_get_str(m));
	strbuf_puts(&sb, ",\"description\":");
	strbuf_json(&sb, message_get_str(m));
	strbuf_printf(&sb, ",\"star_count\":%ju",
	    (uintmax_t)message_get_u64(m));
	is_official = message_get_u32(m) != 0;
	is_automated = message_get_u32(m) != 0;
	strbuf_printf(&sb, ",\"is_official\":%s,\"is_automated\":%s}",
	    is_official ? "true" : "false", is_automated ? "true" : "false");
	r = message_end(m, err);
	if (r >= 0 && !sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
	return r;
}

int
job_search(struct job *job, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	const char *text = job_getenv(job, "limit");
	uint64_t limit = SEARCH_LIMIT;
	int r = fill(job, &params, err);

	if (r < 0)
		return r;
	if (text != NULL && (!str_to_u64(text, SEARCH_MAX, &limit) ||
				limit == 0))
		return imgd_error_set(err, EINVAL,
		    "limit: %s is not between 1 and %d", text, SEARCH_MAX);
	free(params.search);
	params.search = strdup(job->args[1]);
	params.search_limit = (uint32_t)limit;
	if (params.search == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return registry_ask(job, &params, take_found, NULL, err);
}

/* ---- distribution ---- */

static void
put_platform(struct job *job, const struct platform *p)
{
	struct strbuf *sb = &job->result;

	if (p->arch[0] == '\0' && p->os[0] == '\0')
		return;
	if (sb->len > 0 && sb->data[sb->len - 1] != '[')
		strbuf_putc(sb, ',');
	strbuf_puts(sb, "{\"architecture\":");
	strbuf_json(sb, p->arch);
	strbuf_puts(sb, ",\"os\":");
	strbuf_json(sb, p->os);
	if (p->variant[0] != '\0') {
		strbuf_puts(sb, ",\"variant\":");
		strbuf_json(sb, p->variant);
	}
	strbuf_putc(sb, '}');
}

static void
put_descriptor(struct job *job, const char *media_type, const char *digest,
    size_t len)
{
	strbuf_puts(&job->result, "{\"Descriptor\":{\"mediaType\":");
	strbuf_json(&job->result, media_type);
	strbuf_puts(&job->result, ",\"digest\":");
	strbuf_json(&job->result, digest);
	strbuf_printf(&job->result, ",\"size\":%zu},\"Platforms\":[", len);
}

/* What the name points to: an index tells its platforms itself, a manifest's is
 * in the config that follows.  Returns 1 if nothing more is needed. */
static int
take_top(struct job *job, const char *media_type, const char *digest,
    const void *data, size_t len, struct imgd_error **err)
{
	cleanup(manifest_freep) struct manifest *m = NULL;
	char real[DIGEST_STR_SIZE];
	size_t i;
	int r;

	/* Of what is older only the payload is passed on. */
	if (strcmp(media_type, MEDIA_DOCKER_SCHEMA1) == 0) {
		put_descriptor(job, MEDIA_DOCKER_SCHEMA1_SIGNED, digest, len);
		return 1;
	}
	r = digest_of(data, len, real, err);
	if (r < 0)
		return r;
	if (strcmp(real, digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "manifest: digest is %s, not %s", real, digest);
	r = manifest_parse(media_type, data, len, &m, err);
	if (r < 0)
		return r;
	put_descriptor(job, m->media_type, digest, len);
	for (i = 0; i < m->n_entries; i++)
		if (m->entries[i].has_platform && !m->entries[i].is_artifact)
			put_platform(job, &m->entries[i].platform);
	return m->kind == MANIFEST_INDEX;
}

static int
take_document(struct job *job, void *ctx, struct message *m,
    struct imgd_error **err)
{
	cleanup(image_config_freep) struct image_config *config = NULL;
	const char *media_type, *digest;
	const void *data;
	uint32_t kind;
	size_t len;
	int r;

	(void)ctx;
	if (m->type == PULLER_RESOLVED)
		return 1;
	if (m->type != PULLER_DOC)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: unexpected message %u", (unsigned int)m->type);
	kind = message_get_u32(m);
	media_type = message_get_str(m);
	digest = message_get_str(m);
	data = message_get_bytes(m, &len);
	r = message_end(m, err);
	if (r < 0)
		return r;
	if (kind == REGISTRY_DOC_TOP && job->result.len == 0)
		return take_top(job, media_type, digest, data, len, err);
	if (kind != REGISTRY_DOC_CONFIG || job->result.len == 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: a document that was not asked for");
	r = image_config_parse(data, len, &config, err);
	if (r < 0)
		return r;
	put_platform(job, &config->platform);
	return 1;
}

int
job_distribution(struct job *job, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	int r = fill(job, &params, err);

	if (r >= 0)
		r = registry_ask(job, &params, take_document, NULL, err);
	if (r >= 0 && job->result.len == 0)
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s: the registry is of version 1, which has no manifests",
		    job->args[0]);
	if (r >= 0)
		strbuf_puts(&job->result, "]}");
	else
		job->result.len = 0;
	return r;
}
