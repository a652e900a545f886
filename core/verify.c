/* The verify job: whether an image that is in the store was signed. */
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
#include "core/trust.h"
#include "lib/cleanup.h"
#include "registry/session.h"

struct verify {
	char *id;
	struct reference ref; /* domain NULL: it was meant by its id */
	char *manifest_digest; /* what its registry calls it; NULL: unknown */
	struct trust trust;
};

static void
verify_done(struct verify *v)
{
	free(v->id);
	free(v->manifest_digest);
	reference_done(&v->ref);
	trust_done(&v->trust);
}

/* ---- what is asked ---- */

static int
find(struct job *job, struct verify *v, struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup_free char *name = NULL;
	int r;

	r = store_find_image(job->engine->store, job->args[0], &v->id, &row,
	    err);
	if (r < 0 || row.repository == NULL || row.repository[0] == '\0')
		return r;
	if (asprintf(&name, "%s%s%s", row.repository,
		row.tag[0] != '\0' ? ":" : "@",
		row.tag[0] != '\0' ? row.tag : row.manifest_digest) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (row.manifest_digest[0] != '\0')
		v->manifest_digest = take_ptr(&row.manifest_digest);
	return reference_parse(name, 0, &v->ref, err);
}

/* By the key that the job gives, or else by those of the policy. */
static int
demand(struct job *job, struct verify *v, struct imgd_error **err)
{
	const char *pem = job_getenv(job, "verify-key");
	int r;

	if (pem != NULL)
		return trust_demand_key(&v->trust, &v->ref,
		    job_getenv(job, "key-name"), pem,
		    job_getenv(job, "any-name") != NULL, err);
	r = trust_demand_policy(&v->trust,
	    &engine_config(job->engine)->signatures, &v->ref, err);
	if (r >= 0 && !trust_is_wanted(&v->trust))
		r = imgd_error_set(err, EINVAL,
		    "no key is given, and the configuration has none for it");
	return r;
}

/* ---- the registry ---- */

static int
take_doc(struct verify *v, struct message *m, struct imgd_error **err)
{
	const void *data;
	uint32_t kind;
	size_t len;
	int r;

	kind = message_get_u32(m);
	(void)message_get_str(m);
	(void)message_get_str(m);
	data = message_get_bytes(m, &len);
	r = message_end(m, err);
	if (r < 0 || kind == REGISTRY_DOC_CONFIG)
		return r;
	return signed_docs_add(&v->trust.docs, data, len, err);
}

static int
take_answer(struct job *job, void *ctx, struct message *m,
    struct imgd_error **err)
{
	const char *text, *payload;
	struct verify *v = ctx;
	size_t len;
	int r;

	(void)job;
	switch (m->type) {
	case PULLER_DOC:
		return take_doc(v, m, err);
	case PULLER_SIGNATURE:
		text = message_get_str(m);
		payload = message_get_bytes(m, &len);
		r = message_end(m, err);
		return r < 0 ? r
			     : signature_list_add(&v->trust.signatures,
				   payload, len, text, err);
	case PULLER_LEGACY_LAYER:
		return imgd_error_set(err, EKEYREJECTED,
		    "images of version 1 and of schema 1 cannot have a signature");
	case PULLER_RESOLVED:
		return 1;
	default:
		return hear_unexpected("puller", m, err);
	}
}

/* What the image is for, so that an index leads to the same one again. */
static int
find_platform(struct job *job, const char *id, char **ret,
    struct imgd_error **err)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	cleanup(image_done) struct image img = { 0 };
	char text[PLATFORM_STR_SIZE];
	int r;

	r = tagstore_image(job->engine->store->tags, id, &img, err);
	if (r >= 0)
		r = image_config_parse(img.config, img.config_len, &c, err);
	if (r < 0)
		return r;
	*ret = strdup(c->platform.os[0] != '\0' && c->platform.arch[0] != '\0'
		? platform_format(&c->platform, text)
		: "");
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}

static int
ask_registry(struct job *job, struct verify *v, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	int r;

	r = reference_copy(&v->ref, &ref, err);
	if (r < 0)
		return r;
	/* What the name is there by now may be another image. */
	if (v->manifest_digest != NULL) {
		free(ref.digest);
		ref.digest = strdup(v->manifest_digest);
		if (ref.digest == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	r = registry_request_fill(job, &ref, &params, err);
	if (r >= 0)
		r = registry_request_add_mirrors(job, &ref, &params, err);
	if (r < 0)
		return r;
	free(params.platform);
	params.platform = NULL;
	params.wants_signatures = true;
	r = find_platform(job, v->id, &params.platform, err);
	if (r >= 0)
		r = registry_ask(job, &params, take_answer, v, err);
	return r;
}

/* What the registry had is kept for the next time, and for archives. */
static int
keep(struct job *job, struct verify *v, struct imgd_error **err)
{
	cleanup(trust_rows_done) struct image_signatures rows = { .n = 0 };
	int r;

	trust_keep_own(&v->trust, v->id);
	r = trust_rows(&v->trust, &rows, err);
	return r < 0 ? r
		     : tagstore_signatures_add(job->engine->store->tags,
			   v->id, &rows, err);
}

static int
judge_with_registry(struct job *job, struct verify *v,
    struct trust_finding *f, struct imgd_error **err)
{
	int r;

	/* Of those that are here none was right, and they count. */
	signature_list_done(&v->trust.signatures);
	signed_docs_done(&v->trust.docs);
	r = ask_registry(job, v, err);
	if (r < 0 && r != -EKEYREJECTED)
		(void)imgd_error_prefix(err,
		    "nothing that is kept here vouches for it; the registry");
	if (r >= 0)
		r = trust_judge(&v->trust, v->id, f, err);
	return r < 0 ? r : keep(job, v, err);
}

/* ---- the answer ---- */

static void
put_member(struct strbuf *sb, const char *key, const char *value)
{
	strbuf_printf(sb, "%s\"%s\":", sb->len > 0 ? "," : "{", key);
	strbuf_json(sb, value);
}

static int
answer(struct job *job, const struct verify *v, const struct trust_finding *f,
    bool is_asked, struct imgd_error **err)
{
	struct strbuf *sb = &job->result;

	put_member(sb, "Image", v->id);
	put_member(sb, "Digest", f->digest);
	put_member(sb, "SignedAs", f->reference);
	put_member(sb, "Key", f->key != NULL ? f->key : "");
	put_member(sb, "Source", is_asked ? "registry" : "store");
	strbuf_putc(sb, '}');
	return sb->is_failed ? imgd_error_set(err, ENOMEM, "out of memory")
			     : 0;
}

int
job_verify(struct job *job, struct imgd_error **err)
{
	cleanup(trust_finding_done) struct trust_finding f = { .key = NULL };
	cleanup(verify_done) struct verify v = { .ref = REFERENCE_INIT };
	cleanup_error struct imgd_error *why = NULL;
	bool is_asked = false;
	int r;

	r = find(job, &v, err);
	if (r >= 0)
		r = demand(job, &v, err);
	if (r >= 0)
		r = trust_load(&v.trust, job->engine->store->tags, v.id, err);
	if (r < 0)
		return r;
	r = trust_judge(&v.trust, v.id, &f, &why);
	if (r == -EKEYREJECTED && v.ref.domain != NULL &&
	    job_getenv(job, "offline") == NULL) {
		is_asked = true;
		r = judge_with_registry(job, &v, &f, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	return answer(job, &v, &f, is_asked, err);
}
