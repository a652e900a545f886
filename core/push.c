/* The push job. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/events.h"
#include "core/hear.h"
#include "core/protocol.h"
#include "core/push.h"
#include "core/registry-request.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "tagstore/sources.h"

#define MAX_RETRIES_TOLD 1000

void
push_show(struct push *p, const char *id, const char *status,
    uint64_t current, uint64_t total)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_puts(&sb, "{\"status\":");
	strbuf_json(&sb, status);
	if (id != NULL && total > 0)
		strbuf_printf(&sb,
		    ",\"progressDetail\":{\"current\":%ju,\"total\":%ju}",
		    (uintmax_t)current, (uintmax_t)total);
	else if (id != NULL)
		strbuf_puts(&sb, ",\"progressDetail\":{}");
	if (id != NULL) {
		strbuf_puts(&sb, ",\"id\":");
		strbuf_json(&sb, id);
	}
	strbuf_putc(&sb, '}');
	if (!sb.is_failed)
		job_output(p->job, sb.data);
	strbuf_done(&sb);
}

static int
take_retrying(struct push *p, struct message *m, struct imgd_error **err)
{
	const char *why = message_get_str(m);
	uint32_t ms = message_get_u32(m);
	cleanup_free char *text = NULL;
	int r = message_end(m, err);

	if (r < 0 || p->n_retries++ >= MAX_RETRIES_TOLD)
		return r;
	if (asprintf(&text, "Retrying in %u s: %.400s",
		(unsigned int)(ms + 999) / 1000, why) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	push_show(p, NULL, text, 0, 0);
	return 0;
}

int
push_hear(struct push *p, size_t max, struct message *m,
    struct imgd_error **err)
{
	for (;;) {
		int r = hear_for_job(p->job, p->sock, "pusher", max, m, err);

		if (r < 0)
			return r;
		if (m->type != PULLER_RETRYING)
			return 0;
		r = take_retrying(p, m, err);
		if (r < 0)
			return r;
		message_done(m);
		message_init(m, 0);
	}
}

static int
hear_done(struct push *p, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, 0);
	r = push_hear(p, PROTOCOL_MAX_BYTES, &m, err);
	if (r >= 0 && (m.type != PUSHER_DONE ||
			  message_get_u32(&m) != PUSHER_NO_LAYER))
		r = hear_unexpected("pusher", &m, err);
	return r;
}

const char *
push_format_name(enum deflate_format format)
{
	return format == DEFLATE_ZSTD ? "zstd" : "gzip";
}

/* ---- the image and its layers ---- */

static int
find_image(struct push *p, struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup_free char *name = reference_name(&p->ref);
	cleanup_free char *driver = NULL;
	struct store *s = p->engine->store;
	int r;

	if (name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = tagstore_name(s->tags, name, p->ref.tag, NULL, &row, NULL);
	if (r == -ENOENT)
		return imgd_error_set(err, ENOENT,
		    "An image does not exist locally with the tag: %s", name);
	if (r < 0)
		return imgd_error_set(err, -r, "%s: %s", name, strerror(-r));
	r = store_image_driver(s, row.image, job_getenv(p->job, "driver"), 0,
	    &driver, err);
	if (r >= 0)
		r = store_driver(s, driver, &p->driver, err);
	if (r >= 0)
		r = tagstore_image(s->tags, row.image, &p->image, err);
	return r;
}

static int
hold_layers(struct push *p, struct imgd_error **err)
{
	p->layers = calloc(p->image.n_layers + 1, sizeof(*p->layers));
	if (p->layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return layer_hold(p->engine, p->driver, &p->image, "push", &p->hold,
	    err);
}

/* ---- the pusher ---- */

static int
start_pusher(struct push *p, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	struct message m;
	int pair[2], r;

	r = registry_request_fill(p->job, &p->ref, &params, err);
	if (r >= 0)
		r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	p->sock = pair[0];
	r = engine_exec(p->engine, ROLE_PULLER, pair[1], &p->pidfd, err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	params.n_threads = push_max_uploads(p);
	puller_params_put(&m, &params);
	m.type = PUSHER_START;
	return message_send(p->sock, &m, err);
}

/* ---- steps ---- */

static int
push_documents(struct push *p, struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	struct strbuf manifest = STRBUF_INIT;
	char digest[DIGEST_STR_SIZE];
	const char *media_type;
	struct message m;
	int r;

	message_init(&m, PUSHER_CONFIG);
	message_put_u32(&m, PUSHER_NO_LAYER);
	message_put_str(&m, p->image.id);
	message_put_bytes(&m, p->image.config, p->image.config_len);
	r = message_send(p->sock, &m, err);
	if (r >= 0)
		r = hear_done(p, err);
	if (r >= 0)
		r = push_manifest(p, &manifest, &media_type, err);
	if (r >= 0)
		r = digest_of(manifest.data, manifest.len, digest, err);
	if (r >= 0) {
		message_init(&m, PUSHER_MANIFEST);
		message_put_u32(&m, PUSHER_NO_LAYER);
		message_put_str(&m, p->ref.tag);
		message_put_str(&m, media_type);
		message_put_str(&m, digest);
		message_put_bytes(&m, manifest.data, manifest.len);
		r = message_send(p->sock, &m, err);
	}
	if (r >= 0)
		r = hear_done(p, err);
	if (r >= 0 &&
	    asprintf(&text, "%s: digest: %s size: %zu", p->ref.tag, digest,
		manifest.len) < 0)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	strbuf_done(&manifest);
	if (r >= 0)
		push_show(p, NULL, text, 0, 0);
	return r;
}

/* Next time these need not be sent, or not be packed to know what they are
 * there.  A failure only costs that. */
static void
note_blobs(struct push *p)
{
	struct tagstore *tags = p->engine->store->tags;
	const char *format = push_format_name(p->format);
	size_t i;

	for (i = 0; i < p->image.n_layers; i++) {
		struct push_layer *l = &p->layers[i];
		struct layer_blob blob = { .size_bytes = l->size_bytes };

		memcpy(blob.digest, l->digest, DIGEST_STR_SIZE);
		(void)tagstore_source_add(tags, l->digest, p->ref.domain,
		    p->ref.path, NULL);
		/* Of what it came as the image's own row tells. */
		if (l->suffix != NULL)
			(void)tagstore_layer_blob_add(tags,
			    p->image.layers[i].diff_id, p->ref.domain, format,
			    &blob, NULL);
	}
}

static int
run(struct push *p, struct imgd_error **err)
{
	struct engine *e = p->engine;
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *name = reference_name(&p->ref);
	int r;

	strbuf_printf(&sb, "The push refers to repository [%s]",
	    name != NULL ? name : "");
	if (!sb.is_failed)
		push_show(p, NULL, sb.data, 0, 0);
	strbuf_done(&sb);
	pthread_mutex_lock(&e->plan_mutex);
	r = find_image(p, err);
	if (r >= 0)
		r = hold_layers(p, err);
	pthread_mutex_unlock(&e->plan_mutex);
	if (r < 0)
		return r;
	r = start_pusher(p, err);
	if (r >= 0)
		r = push_layers(p, err);
	if (r >= 0)
		r = push_documents(p, err);
	if (r >= 0)
		note_blobs(p);
	return r;
}

static void
clean_up(struct push *p)
{
	/* Its reader gone, a packer ends. */
	close_fd(&p->sock);
	worker_end(&p->pidfd);
	push_layers_end(p);
	layer_hold_done(&p->hold);
	free(p->layers);
	image_done(&p->image);
}

static int
push_one(struct job *job, const struct reference *ref,
    enum deflate_format format, struct imgd_error **err)
{
	struct push p = { .job = job, .engine = job->engine, .ref = *ref,
		.format = format,
		.in_pieces = job_getenv(job, "retry") != NULL,
		.sock = -EBADF, .pidfd = -EBADF };
	cleanup_free char *canonical = reference_canonical(ref);
	int r = run(&p, err);

	clean_up(&p);
	if (r >= 0) {
		transfer_event(job->engine, "push", ref);
		job->result.len = 0;
		strbuf_puts(&job->result, canonical != NULL ? canonical : "");
	}
	return r;
}

/* ---- all tags ---- */

struct tags {
	const char *repository;
	struct strbuf names; /* NUL after each */
};

static int
note_tag(void *ctx, const struct image_name *n)
{
	struct tags *t = ctx;

	if (n->tag[0] != '\0' && strcmp(n->repository, t->repository) == 0)
		strbuf_append(&t->names, n->tag, strlen(n->tag) + 1);
	return 0;
}

static int
push_all(struct job *job, struct reference *ref, enum deflate_format format,
    struct imgd_error **err)
{
	cleanup_free char *name = reference_name(ref);
	struct tags t = { name, STRBUF_INIT };
	size_t pos = 0;
	int r;

	if (name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = tagstore_names(job->engine->store->tags, NULL, note_tag, &t, err);
	if (r >= 0 && t.names.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0 && t.names.len == 0)
		r = imgd_error_set(err, ENOENT,
		    "An image does not exist locally with the tag: %s", name);
	while (r >= 0 && pos < t.names.len) {
		free(ref->tag);
		ref->tag = strdup(t.names.data + pos);
		pos += strlen(t.names.data + pos) + 1;
		r = ref->tag == NULL
		    ? imgd_error_set(err, ENOMEM, "out of memory")
		    : push_one(job, ref, format, err);
	}
	strbuf_done(&t.names);
	return r;
}

int
job_push(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	const char *compression = job_getenv(job, "compression");
	bool is_all = job_getenv(job, "all-tags") != NULL;
	enum deflate_format format = DEFLATE_GZIP;
	int r;

	r = reference_parse(job->args[0], is_all ? 0 : REFERENCE_DEFAULT_TAG,
	    &ref, err);
	if (r < 0)
		return r;
	if (ref.digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "cannot push a digest reference");
	if (compression != NULL && strcmp(compression, "zstd") == 0)
		format = DEFLATE_ZSTD;
	else if (compression != NULL && strcmp(compression, "gzip") != 0)
		return imgd_error_set(err, EINVAL,
		    "compression %s: neither gzip nor zstd", compression);
	if (!is_all)
		return push_one(job, &ref, format, err);
	if (ref.tag != NULL)
		return imgd_error_set(err, EINVAL,
		    "tag can't be used with --all-tags/-a");
	return push_all(job, &ref, format, err);
}
