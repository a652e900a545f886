/* From a name to its documents: index, manifest, config. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/legacy.h"
#include "registry/v2-document.h"

#define ACCEPT_MANIFESTS                                   \
	MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST            \
	    ", " MEDIA_DOCKER_LIST ", " MEDIA_DOCKER_MANIFEST
#define ACCEPT_ALL                                               \
	ACCEPT_MANIFESTS ", " MEDIA_DOCKER_SCHEMA1_SIGNED        \
	    ", " MEDIA_DOCKER_SCHEMA1
#define MAX_INDEX_DEPTH 4

static void
http_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
}

/* Ask only for the digest of what path is now; *ret is "" if nobody says. */
static int
head_digest(struct registry_session *s, const char *path,
    char ret[DIGEST_STR_SIZE], struct imgd_error **err)
{
	struct http_request req = { .method = "HEAD",
		.accept = ACCEPT_ALL,
		.timeout_ms = s->params.stall_timeout_ms };
	struct endpoint *e;
	size_t i;
	int r;

	ret[0] = '\0';
	for (i = 0; i < s->n_endpoints; i++) {
		cleanup(http_reply_donep) struct http_reply reply = {
			.status = 0
		};
		cleanup_error struct imgd_error *why = NULL;

		e = &s->endpoints[i];
		if (e->is_dead)
			continue;
		r = v2_request(s, e, path, &req, &reply, &why);
		if (r == -ECANCELED || r == -ENOMEM) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		if (r < 0 || reply.status != 200 ||
		    reply.content_digest == NULL ||
		    !digest_is_valid(reply.content_digest))
			continue;
		memcpy(ret, reply.content_digest, DIGEST_STR_SIZE);
		return 0;
	}
	return 0;
}

/* ---- the way down ---- */

struct resolution {
	struct registry_session *s;
	const struct platform *want;
	registry_doc_cb *cb;
	void *ctx;
	struct registry_resolved *ret;
};

static char *
path_of(const struct registry_session *s, const char *kind, const char *id)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&sb, "/%s/%s/%s", s->ref.path, kind, id);
	return strbuf_take(&sb);
}

static int
tell(struct resolution *q, enum registry_doc kind, const char *media_type,
    const struct document *d, struct imgd_error **err)
{
	int r;

	if (q->cb == NULL)
		return 0;
	r = q->cb(q->ctx, kind, media_type != NULL ? media_type : "",
	    d->digest, document_bytes(d), d->reply.body.len, err);
	if (r > 0)
		q->ret->is_stopped = true;
	return r;
}

/* The layers are all that there is; the config comes later. */
static int
take_schema1(struct resolution *q, enum registry_doc kind,
    const struct document *d, struct imgd_error **err)
{
	struct legacy_image *image = calloc(1, sizeof(*image));
	int r;

	if (image == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = schema1_layers(document_bytes(d), d->reply.body.len, image, err);
	if (r >= 0)
		r = legacy_check_platform(image, q->want, err);
	if (r >= 0)
		r = tell(q, kind, MEDIA_DOCKER_SCHEMA1, d, err);
	if (r < 0) {
		legacy_image_free(image);
		return r;
	}
	q->ret->legacy = image;
	return 0;
}

/* Fetch the manifest or index that an index names; *ret stays NULL if it is
 * of schema 1. */
static int
get_child(struct resolution *q, const struct descriptor *entry,
    struct manifest **ret, struct imgd_error **err)
{
	cleanup(document_donep) struct document d = { .digest = "" };
	cleanup(manifest_freep) struct manifest *m = NULL;
	cleanup_free char *path = path_of(q->s, "manifests", entry->digest);
	const char *type = entry->media_type;
	struct document_want w = { .path = path, .what = entry->digest,
		.accept = media_type_is_schema1(type) ? ACCEPT_ALL
						      : ACCEPT_MANIFESTS,
		.may_be_schema1 = true,
		.media_type = *type != '\0' ? type : NULL,
		.expected_digest = entry->digest, .has_size = true,
		.expected_bytes = entry->size_bytes,
		.max_bytes = LIMIT_MANIFEST_BYTES };
	int r;

	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = v2_document(q->s, &w, &d, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "manifest");
		return r;
	}
	if (d.is_schema1)
		return take_schema1(q, REGISTRY_DOC_MANIFEST, &d, err);
	if (*type == '\0')
		type = d.reply.content_type;
	r = manifest_parse(type, document_bytes(&d), d.reply.body.len, &m, err);
	if (r >= 0)
		r = tell(q, m->kind == MANIFEST_INDEX ? REGISTRY_DOC_INDEX :
							REGISTRY_DOC_MANIFEST,
		    type, &d, err);
	if (r >= 0)
		*ret = take_ptr(&m);
	return r;
}

static int
get_config(struct resolution *q, const struct manifest *m,
    struct image_config **ret, struct imgd_error **err)
{
	cleanup(document_donep) struct document d = { .digest = "" };
	cleanup(image_config_freep) struct image_config *config = NULL;
	cleanup_free char *path = path_of(q->s, "blobs", m->config.digest);
	struct document_want w = { .path = path, .what = m->config.digest,
		.expected_digest = m->config.digest, .has_size = true,
		.expected_bytes = m->config.size_bytes,
		.max_bytes = (size_t)m->config.size_bytes };
	char wanted[PLATFORM_STR_SIZE], actual[PLATFORM_STR_SIZE];
	int r;

	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = v2_document(q->s, &w, &d, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "image config");
		return r;
	}
	r = image_config_parse(document_bytes(&d), d.reply.body.len, &config, err);
	if (r >= 0)
		r = manifest_check_config(m, config, err);
	if (r < 0)
		return r;
	if (q->want != NULL && config->platform.arch[0] != '\0' &&
	    platform_rank(q->want, &config->platform) < 0)
		return imgd_error_set(err, IMGD_E_PLATFORM,
		    "image with reference %s was found but does not match the specified platform: wanted %s, actual: %s",
		    q->s->target, platform_format(q->want, wanted),
		    platform_format(&config->platform, actual));
	r = tell(q, REGISTRY_DOC_CONFIG, m->config.media_type, &d, err);
	if (r >= 0)
		*ret = take_ptr(&config);
	return r;
}

/* From the top manifest or index to the config; takes *m. */
static int
descend(struct resolution *q, struct manifest **m, struct imgd_error **err)
{
	const struct descriptor *entry;
	struct manifest *child = NULL;
	unsigned depth;
	int r;

	for (depth = 0; (*m)->kind == MANIFEST_INDEX; depth++) {
		if (depth == MAX_INDEX_DEPTH)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "indexes nested deeper than %d", MAX_INDEX_DEPTH);
		r = manifest_select(*m, q->want, &entry, err);
		if (r < 0)
			return r;
		r = get_child(q, entry, &child, err);
		if (r < 0 || q->ret->legacy != NULL)
			return r;
		manifest_free(*m);
		*m = child;
		if (r > 0)
			break;
	}
	if (!q->ret->is_stopped) {
		r = get_config(q, *m, &q->ret->config, err);
		if (r < 0)
			return r;
	}
	q->ret->manifest = take_ptr(m);
	return 0;
}

static int
get_top(struct resolution *q, const char *path, struct imgd_error **err)
{
	cleanup(document_donep) struct document d = { .digest = "" };
	cleanup(manifest_freep) struct manifest *m = NULL;
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *what = NULL;
	struct document_want w = { .path = path, .accept = ACCEPT_ALL,
		.may_be_schema1 = true, .expected_digest = q->s->ref.digest,
		.max_bytes = LIMIT_MANIFEST_BYTES };
	int r;

	strbuf_printf(&sb, "manifest for %s", q->s->target);
	w.what = what = strbuf_take(&sb);
	if (what == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = v2_document(q->s, &w, &d, err);
	if (r < 0)
		return r;
	memcpy(q->ret->top_digest, d.digest, DIGEST_STR_SIZE);
	if (d.is_schema1)
		return take_schema1(q, REGISTRY_DOC_TOP, &d, err);
	r = manifest_parse(d.reply.content_type, document_bytes(&d),
	    d.reply.body.len, &m, err);
	if (r < 0)
		return r;
	r = tell(q, REGISTRY_DOC_TOP, d.reply.content_type, &d, err);
	/* The document is large and no longer needed. */
	http_reply_done(&d.reply);
	if (r < 0)
		return r;
	if (r > 0) {
		if (m->kind == MANIFEST_IMAGE)
			q->ret->manifest = take_ptr(&m);
		return 0;
	}
	return descend(q, &m, err);
}

int
v2_resolve(struct registry_session *s, const struct platform *want,
    const char *known_digest, registry_doc_cb *cb, void *ctx,
    struct registry_resolved *ret, struct imgd_error **err)
{
	struct registry_resolved found = REGISTRY_RESOLVED_INIT;
	struct resolution q = { .s = s, .want = want, .cb = cb, .ctx = ctx,
		.ret = &found };
	const char *id = s->ref.digest != NULL ? s->ref.digest : s->ref.tag;
	cleanup_free char *path = path_of(s, "manifests", id);
	char now[DIGEST_STR_SIZE] = "";
	int r = 0;

	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (known_digest != NULL) {
		if (s->ref.digest != NULL)
			memcpy(now, s->ref.digest, DIGEST_STR_SIZE);
		else
			r = head_digest(s, path, now, err);
		if (r < 0)
			return r;
		if (strcmp(now, known_digest) == 0) {
			found.is_unchanged = true;
			*ret = found;
			return 0;
		}
	}
	r = get_top(&q, path, err);
	if (r < 0) {
		registry_resolved_done(&found);
		return r;
	}
	*ret = found;
	return 0;
}
