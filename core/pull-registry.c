/* The pull job: images from registries. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/events.h"
#include "core/hear.h"
#include "core/job.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "core/registry-request.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/reference.h"
#include "tagstore/health.h"


/* What is asked of a registry; a pull's ctx. */
struct request {
	struct reference ref;
	struct puller_params params;
};

static void
request_free(void *ctx)
{
	struct request *q = ctx;

	if (q == NULL)
		return;
	puller_params_done(&q->params);
	reference_done(&q->ref);
	free(q);
}

static int
start_puller(struct pull *p, struct imgd_error **err)
{
	const struct request *q = p->ctx;
	struct message m;
	int pair[2], r;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	p->source_sock = pair[0];
	r = engine_exec(p->engine, ROLE_PULLER, pair[1], &p->source_pidfd,
	    err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	puller_params_put(&m, &q->params);
	return message_send(p->source_sock, &m, err);
}

static void
forget(struct pull *p)
{
	struct request *q = p->ctx;

	q->params.known_digest[0] = '\0'; /* it is the pull's, too */
}

/* Before that, a failure is all that a caller should hear of. */
static void
say_pulling(struct pull *p)
{
	const struct request *q = p->ctx;

	pull_say(p, q->ref.digest != NULL ? q->ref.digest : q->ref.tag,
	    "Pulling from %s", q->ref.path);
}

static const struct pull_source registry_source = {
	.name = "puller",
	.waiting = "Pulling fs layer",
	.fetching = "Downloading",
	.fetched = "Download complete",
	.done = "Pull complete",
	.may_be_legacy = true,
	.is_remote = true,
	.forget = forget,
	.resolved = say_pulling,
	.start = start_puller,
	.ctx_free = request_free,
};

/* ---- the request ---- */

static bool
is_v1(struct job *job, const struct request *q)
{
	const struct config *c = engine_config(job->engine);
	size_t i;

	if (job_getenv(job, "registry-v1") != NULL)
		return true;
	for (i = 0; i < c->n_v1_registries; i++)
		if (strcmp(c->v1_registries[i], q->ref.domain) == 0)
			return true;
	return false;
}

static int
fill_params(struct job *job, struct request *q, struct imgd_error **err)
{
	int r;

	r = registry_request_fill(job, &q->ref, &q->params, err);
	if (r >= 0)
		r = registry_request_add_mirrors(job, &q->ref, &q->params,
		    err);
	q->params.is_v1 = is_v1(job, q);
	/* More than may run at once, so that a layer that is taken over is
	 * never behind ones that wait for it. */
	q->params.n_threads =
	    2 * engine_config(job->engine)->max_concurrent_downloads + 1;
	return r;
}

/* The digest that the tag had last time, if this very driver has the image:
 * only then is "unchanged" enough. */
static int
find_known(struct pull *p, struct request *q, const char *name,
    struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name known = { 0 };
	struct tagstore *tags = p->engine->store->tags;
	cleanup_free char *held = NULL;
	const char *digest = "";

	/* What is there may have come without the signature that is demanded
	 * now. */
	if (!trust_is_wanted(&p->trust) &&
	    q->params.platform[0] == '\0' && q->ref.digest == NULL &&
	    tagstore_name(tags, name, q->ref.tag, NULL, &known, NULL) >= 0 &&
	    tagstore_image_drivers(tags, known.image, &held, NULL) >= 0 &&
	    str_csv_has(held, driver_name(p->driver)) &&
	    tagstore_image_is_damaged(tags, known.image,
		driver_name(p->driver), NULL) == 0)
		digest = known.manifest_digest;
	free(q->params.known_digest);
	q->params.known_digest = strdup(digest);
	return q->params.known_digest != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

#define DEMAND_SIZE (DIGEST_STR_SIZE + 1)

/* What the configuration and the job demand; ret stands for the latter, so that
 * nobody joins a pull that demands less. */
static int
demand_signatures(struct job *job, struct pull *p, struct request *q,
    char ret[DEMAND_SIZE], struct imgd_error **err)
{
	const struct config *c = engine_config(job->engine);
	const char *pem = job_getenv(job, "verify-key");
	bool is_any_name = job_getenv(job, "any-name") != NULL;
	int r;

	r = trust_demand_policy(&p->trust, &c->signatures, &q->ref, err);
	if (r >= 0 && pem != NULL)
		r = trust_demand_key(&p->trust, &q->ref,
		    job_getenv(job, "key-name"), pem, is_any_name, err);
	if (r >= 0 && pem != NULL)
		r = digest_of(pem, strlen(pem), ret, err);
	if (r >= 0 && pem != NULL && is_any_name)
		memcpy(ret + strlen(ret), "*", sizeof("*"));
	q->params.wants_signatures = p->keeps_signatures =
	    trust_is_wanted(&p->trust);
	return r;
}

/* What the name is to become, and what it was. */
static int
take_name(struct pull *p, struct request *q, const char *name,
    struct imgd_error **err)
{
	int r = find_known(p, q, name, err);

	if (r >= 0)
		r = pull_add_name(p, name,
		    q->ref.digest == NULL && q->ref.tag != NULL ? q->ref.tag
								: "",
		    /* digest= */ "", err);
	return r;
}

static int
describe(struct pull *p, struct request *q, bool takes_name,
    const char *demand, struct imgd_error **err)
{
	cleanup_free char *name = reference_name(&q->ref);
	int r = 0;

	p->label = reference_canonical(&q->ref);
	if (name == NULL || p->label == NULL ||
	    asprintf(&p->pool_key, "pull%s %s %s:%s@%s %s %s %s %s",
		q->params.is_v1 ? "1" : "", driver_name(p->driver), name,
		q->ref.tag != NULL ? q->ref.tag : "",
		q->ref.digest != NULL ? q->ref.digest : "",
		q->params.platform, q->params.username,
		/* Who brings one does not join who brings none. */
		q->params.registry_token[0] != '\0' ? "token" : "",
		demand) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (takes_name)
		r = take_name(p, q, name, err);
	p->platform = q->params.platform;
	p->known_digest = q->params.known_digest;
	p->expected_digest = q->ref.digest != NULL ? q->ref.digest : "";
	p->registry = q->ref.domain;
	p->path = q->ref.path;
	return r;
}

static int
new_pull(struct job *job, const struct reference *ref, const char *driver,
    bool takes_name, struct pull **ret, struct imgd_error **err)
{
	struct request *q = calloc(1, sizeof(*q));
	char demand[DEMAND_SIZE] = "";
	struct pull *p;
	int r;

	if (q == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	q->ref = (struct reference)REFERENCE_INIT;
	r = reference_copy(ref, &q->ref, err);
	if (r >= 0)
		r = fill_params(job, q, err);
	if (r < 0) {
		request_free(q);
		return r;
	}
	r = pull_new(job->engine, &registry_source, q, driver, &p, err);
	if (r < 0)
		return r;
	p->spooling = job_getenv(job, "retry") != NULL
	    ? PULL_SPOOL_ALWAYS
	    : engine_config(job->engine)->spooling;
	/* A layer that is made again is of an image that is here. */
	r = takes_name ? demand_signatures(job, p, q, demand, err) : 0;
	if (r >= 0)
		r = describe(p, q, takes_name, demand, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int
pull_new_registry(struct job *job, const struct reference *ref,
    const char *driver, struct pull **ret, struct imgd_error **err)
{
	return new_pull(job, ref, driver, /* takes_name= */ false, ret, err);
}

static void
say_result(struct job *job, const struct pull *p)
{
	const struct request *q = p->ctx;
	cleanup_free char *familiar = reference_familiar(&q->ref);
	struct strbuf sb = STRBUF_INIT;
	char *text = NULL;

	/* Version 1 registries have none. */
	if (p->top_digest[0] != '\0') {
		strbuf_puts(&sb, "{\"status\":\"Digest: ");
		strbuf_printf(&sb, "%s\"}", p->top_digest);
		if (!sb.is_failed)
			job_output(job, sb.data);
		strbuf_done(&sb);
	}
	if (asprintf(&text, "Status: %s %s",
		p->is_unchanged ? "Image is up to date for"
				: "Downloaded newer image for",
		familiar != NULL ? familiar : q->params.reference) < 0)
		return;
	strbuf_puts(&sb, "{\"status\":");
	strbuf_json(&sb, text);
	strbuf_putc(&sb, '}');
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
	free(text);
}

static int
pull_one(struct job *job, const struct reference *ref, struct imgd_error **err)
{
	cleanup_free char *canonical = NULL;
	struct pull *p;
	int r;

	r = new_pull(job, ref, job_getenv(job, "driver"),
	    /* takes_name= */ true, &p, err);
	if (r >= 0)
		r = pull_run(job, p, &p, err);
	if (r < 0)
		return r;
	say_result(job, p);
	transfer_event(job->engine, "pull", ref);
	canonical = reference_canonical(ref);
	job->result.len = 0;
	strbuf_puts(&job->result, canonical != NULL ? canonical : "");
	pull_unref(p);
	return 0;
}

/* ---- all tags ---- */

/* Of a pull that nobody watches. */
static void
show_lines(struct job *job, const struct pull *p, size_t *n_shown)
{
	bool is_quiet = job_getenv(job, "quiet") != NULL;

	for (; *n_shown < p->n_lines; (*n_shown)++)
		if (!is_quiet)
			job_output(job, p->lines[*n_shown]);
}

static int
hear_tags(struct job *job, struct pull *p, struct strbuf *tags,
    struct imgd_error **err)
{
	size_t n_shown = 0;

	for (;;) {
		cleanup(message_done) struct message m;
		const char *tag;
		int r;

		message_init(&m, 0);
		r = hear_for_job(job, p->source_sock, "puller",
		    PROTOCOL_MAX_BYTES, &m, err);
		if (r < 0)
			return r;
		if (m.type == PULLER_RESOLVED)
			return 0;
		if (m.type == PULLER_RETRYING) {
			r = pull_take_retrying(p, &m, err);
			if (r < 0)
				return r;
			show_lines(job, p, &n_shown);
			continue;
		}
		tag = message_get_str(&m);
		if (m.type != PULLER_TAG || !reference_tag_is_valid(tag))
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "the registry lists a malformed tag");
		if (tags->len > LIMIT_TAGS_BYTES)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "the registry lists too many tags");
		strbuf_append(tags, tag, strlen(tag) + 1);
	}
}

static int
list_tags(struct job *job, const struct reference *ref, struct strbuf *tags,
    struct imgd_error **err)
{
	struct pull *p;
	int r;

	r = new_pull(job, ref, job_getenv(job, "driver"),
	    /* takes_name= */ true, &p, err);
	if (r < 0)
		return r;
	((struct request *)p->ctx)->params.wants_tags = true;
	r = pull_start_source(p, err);
	if (r >= 0)
		r = hear_tags(job, p, tags, err);
	pull_end_source(p);
	pull_free(p);
	return r;
}

static int
pull_all(struct job *job, struct reference *ref, struct imgd_error **err)
{
	struct strbuf tags = STRBUF_INIT;
	size_t pos = 0;
	int r;

	r = list_tags(job, ref, &tags, err);
	if (r >= 0 && tags.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	while (r >= 0 && pos < tags.len) {
		free(ref->tag);
		ref->tag = strdup(tags.data + pos);
		pos += strlen(tags.data + pos) + 1;
		if (ref->tag == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		else
			r = pull_one(job, ref, err);
	}
	strbuf_done(&tags);
	return r;
}

int
job_pull(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	bool is_all = job_getenv(job, "all-tags") != NULL;
	int r;

	r = reference_parse(job->args[0], is_all ? 0 : REFERENCE_DEFAULT_TAG,
	    &ref, err);
	if (r < 0)
		return r;
	if (!is_all)
		return pull_one(job, &ref, err);
	if (ref.tag != NULL || ref.digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "tag can't be used with --all-tags/-a");
	return pull_all(job, &ref, err);
}
