/*
 * The puller: the worker that talks to the registry.
 *
 * One thread reads the engine's messages; up to n_threads fetch blobs, each
 * with a connection of its own, and write inflated tars into the pipes that
 * came with the orders.
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/confine.h"
#include "core/layer-order.h"
#include "core/leave.h"
#include "core/protocol.h"
#include "core/puller-legacy.h"
#include "core/puller-params.h"
#include "core/pusher.h"
#include "core/role.h"
#include "core/teller.h"
#include "core/work-queue.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/message.h"
#include "registry/session.h"
#include "registry/signature.h"
#include "registry/spool.h"

#define PROGRESS_INTERVAL_MS 100
#define MAX_THREADS          64
#define MAX_URLS             16
#define MAX_MARKS            64
#define MAX_SIGNED           8 /* an index in an index, a manifest */
/* Told in the middle of a blob: who never gets to its end knows it, too. */
#define EARLY_RATE_BYTES     (1u << 20)

struct fetch {
	struct work_item item;
	uint32_t layer;
	int out_fd;
	struct descriptor blob;
	struct registry_spool spool; /* fd -EBADF: the blob is not kept */
	struct spool_mark marks[MAX_MARKS];
	const struct legacy_layer *legacy; /* NULL: of no such image */
};

struct puller {
	struct teller teller;
	struct work_queue fetches;
	struct puller_params params;
	struct registry_session *session;
	struct legacy_image *legacy; /* the image, if it is of that kind */
	/* What on the way to the image may have been signed. */
	char signed_digests[MAX_SIGNED][DIGEST_STR_SIZE];
	size_t n_signed;
	unsigned int n_threads, n_idle;
};

static int
tell(struct puller *p, struct message *m, struct imgd_error **err)
{
	return teller_send(&p->teller, m, err);
}

static int
tell_cb(void *ctx, struct message *m, struct imgd_error **err)
{
	return tell(ctx, m, err);
}

/* ---- fetching ---- */

struct transfer {
	struct puller *puller;
	struct fetch *fetch;
	int64_t last_ms;
	uint64_t last_bytes;
	struct registry_blob_stats stats;
	bool has_told_rate;
};

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What was held back on purpose tells nothing of the link. */
static void
tell_rate(struct transfer *t)
{
	struct message m;

	if (t->puller->params.max_bytes_per_s != 0)
		return;
	t->has_told_rate = true;
	message_init(&m, PULLER_RATE);
	message_put_u64(&m, t->stats.net_bytes);
	message_put_u64(&m, t->stats.net_ms);
	(void)tell(t->puller, &m, NULL);
}

static void
progress(void *ctx, uint64_t bytes)
{
	struct transfer *t = ctx;
	int64_t now = now_ms();
	struct message m;

	if (t->stats.net_bytes >= EARLY_RATE_BYTES && !t->has_told_rate)
		tell_rate(t);
	if (now - t->last_ms < PROGRESS_INTERVAL_MS && bytes >= t->last_bytes)
		return;
	t->last_ms = now;
	t->last_bytes = bytes;
	message_init(&m, PULLER_PROGRESS);
	message_put_u32(&m, t->fetch->layer);
	message_put_u64(&m, bytes);
	(void)tell(t->puller, &m, NULL);
}

static int
write_tar(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	const struct transfer *t = ctx;

	return layer_order_write(t->fetch->out_fd, buf, len, err);
}

static int
tell_mark(void *ctx, const struct spool_mark *mark, struct imgd_error **err)
{
	struct transfer *t = ctx;
	struct message m;

	message_init(&m, PULLER_MARK);
	message_put_u32(&m, t->fetch->layer);
	message_put_u64(&m, mark->bytes);
	message_put_str(&m, mark->digest);
	return tell(t->puller, &m, err);
}

static void
fetch_free(struct fetch *f)
{
	if (f == NULL)
		return;
	close_fd(&f->out_fd);
	close_fd(&f->spool.fd);
	descriptor_done(&f->blob);
	free(f);
}

static void
run_fetch(void *ctx, struct work_item *item)
{
	struct puller *p = ctx;
	struct fetch *f = (struct fetch *)item;
	cleanup_error struct imgd_error *err = NULL;
	struct transfer t = { .puller = p, .fetch = f };
	struct imgd_sink sink = { sizeof(sink), &t, write_tar };
	struct message m;
	int r;

	f->spool.marked = tell_mark;
	f->spool.ctx = &t;
	if (f->legacy != NULL && f->blob.digest[0] == '\0')
		r = registry_layer(p->session, f->legacy, f->blob.size_bytes,
		    &sink, progress, &t, &t.stats, &err);
	else
		r = registry_blob(p->session, &f->blob,
		    f->spool.fd >= 0 ? &f->spool : NULL, &sink, progress, &t,
		    &t.stats, &err);
	tell_rate(&t);
	message_init(&m, r < 0 ? PULLER_LAYER_FAILED : PULLER_LAYER_DONE);
	message_put_u32(&m, f->layer);
	if (r < 0) {
		message_put_error(&m, err);
	} else {
		message_put_u64(&m, t.stats.blob_bytes);
		message_put_u64(&m, t.stats.tar_bytes);
	}
	teller_send_awaited(&p->teller, &m);
	/* Closed after the word: an end of file alone means nothing. */
	fetch_free(f);
}

static void
parse_spool(struct message *m, struct fetch *f)
{
	const char *digest;
	uint32_t i, n;

	if (message_get_u32(m) == 0)
		return;
	f->spool.is_kept = message_get_u32(m) != 0;
	n = message_get_u32(m);
	if (n > MAX_MARKS)
		m->is_bad = true;
	for (i = 0; i < n && !m->is_bad; i++) {
		f->marks[i].bytes = message_get_u64(m);
		digest = message_get_str(m);
		if (digest_is_valid(digest))
			memcpy(f->marks[i].digest, digest, DIGEST_STR_SIZE);
		else
			m->is_bad = true;
	}
	f->spool.marks = f->marks;
	f->spool.n_marks = n;
	f->spool.fd = message_get_fd(m);
}

static int
parse_fetch(const struct puller *p, struct message *m, struct fetch *f,
    struct imgd_error **err)
{
	const char *digest;
	uint32_t i, n;

	f->layer = message_get_u32(m);
	if (p->legacy != NULL) {
		f->legacy = puller_legacy_layer(p->legacy, f->layer);
		f->blob.is_max = true;
	}
	digest = message_get_str(m);
	if (digest_is_valid(digest))
		memcpy(f->blob.digest, digest, DIGEST_STR_SIZE);
	else if (*digest != '\0' || f->legacy == NULL)
		m->is_bad = true;
	f->blob.size_bytes = message_get_u64(m);
	f->blob.media_type = strdup(message_get_str(m));
	n = message_get_u32(m);
	if (n > MAX_URLS)
		m->is_bad = true;
	f->blob.urls = calloc(MAX_URLS + 1, sizeof(*f->blob.urls));
	for (i = 0; f->blob.urls != NULL && !m->is_bad && i < n; i++) {
		f->blob.urls[i] = strdup(message_get_str(m));
		if (f->blob.urls[i] != NULL)
			f->blob.n_urls++;
	}
	f->out_fd = message_get_fd(m);
	parse_spool(m, f);
	if (f->blob.media_type == NULL || f->blob.urls == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return message_end(m, err);
}

static int
order(struct puller *p, struct message *m, struct imgd_error **err)
{
	struct fetch *f = calloc(1, sizeof(*f));
	int r;

	if (f == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->out_fd = f->spool.fd = -EBADF;
	r = parse_fetch(p, m, f, err);
	if (r >= 0)
		r = work_queue_add(&p->fetches, &f->item, err);
	if (r < 0)
		fetch_free(f);
	return r;
}

/* ---- resolving ---- */

static int
send_doc(void *ctx, enum registry_doc kind, const char *media_type,
    const char *digest, const void *data, size_t len, struct imgd_error **err)
{
	struct puller *p = ctx;
	struct message m;

	if (kind != REGISTRY_DOC_CONFIG && p->n_signed < MAX_SIGNED)
		memcpy(p->signed_digests[p->n_signed++], digest,
		    DIGEST_STR_SIZE);

	message_init(&m, PULLER_DOC);
	message_put_u32(&m, (uint32_t)kind);
	message_put_str(&m, media_type);
	message_put_str(&m, digest);
	message_put_bytes(&m, data, len);
	return tell(p, &m, err);
}

static int
send_signature(void *ctx, const struct signature *s, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_SIGNATURE);
	message_put_str(&m, s->text);
	message_put_bytes(&m, s->payload, s->payload_len);
	return tell(ctx, &m, err);
}

static int
send_signatures(struct puller *p, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < p->n_signed; i++)
		r = registry_signatures(p->session, p->signed_digests[i],
		    send_signature, p, err);
	if (r < 0)
		(void)imgd_error_prefix(err, "signatures");
	return r;
}

static int
send_tag(void *ctx, const char *tag, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_TAG);
	message_put_str(&m, tag);
	return tell(ctx, &m, err);
}

static int
send_found(void *ctx, const struct registry_found *f, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_FOUND);
	message_put_str(&m, f->name);
	message_put_str(&m, f->description);
	message_put_u64(&m, f->n_stars);
	message_put_u32(&m, f->is_official);
	message_put_u32(&m, f->is_automated);
	return tell(ctx, &m, err);
}

static int
search(struct puller *p, struct imgd_error **err)
{
	struct message m;
	int r;

	r = registry_search(p->session, p->params.search,
	    p->params.search_limit, send_found, p, err);
	if (r < 0)
		return r;
	message_init(&m, PULLER_RESOLVED);
	message_put_str(&m, "");
	return tell(p, &m, err);
}

static int
login(struct puller *p, struct imgd_error **err)
{
	const char *token;
	struct message m;
	int r;

	r = registry_login(p->session, &token, err);
	if (r < 0)
		return r;
	message_init(&m, PULLER_LOGGED_IN);
	message_put_str(&m, token);
	return tell(p, &m, err);
}

static int
resolve(struct puller *p, struct imgd_error **err)
{
	cleanup(registry_resolved_done) struct registry_resolved res =
	    REGISTRY_RESOLVED_INIT;
	struct platform want;
	bool has_want = p->params.platform[0] != '\0';
	struct message m;
	int r = 0;

	if (p->params.is_login)
		return login(p, err);
	if (p->params.search[0] != '\0')
		return search(p, err);
	if (p->params.wants_tags) {
		r = registry_tags(p->session, send_tag, p, err);
	} else {
		if (has_want)
			r = platform_parse(p->params.platform, &want, err);
		if (r >= 0)
			r = registry_resolve(p->session,
			    has_want ? &want : NULL,
			    p->params.known_digest[0] != '\0'
				? p->params.known_digest
				: NULL,
			    send_doc, p, &res, err);
		if (r >= 0 && p->params.wants_signatures)
			r = send_signatures(p, err);
	}
	if (r >= 0 && res.legacy != NULL) {
		p->legacy = take_ptr(&res.legacy);
		r = puller_legacy_tell(p->legacy, tell_cb, p, err);
	}
	if (r < 0)
		return r;
	message_init(&m, res.is_unchanged ? PULLER_UNCHANGED
					  : PULLER_RESOLVED);
	message_put_str(&m, res.is_unchanged ? p->params.known_digest
			    : p->params.wants_tags ? ""
						   : res.top_digest);
	return tell(p, &m, err);
}

static bool
is_text(const char *s)
{
	return s != NULL && *s != '\0';
}

int
puller_open_session(const struct puller_params *params, bool is_push,
    void (*retrying)(void *ctx, const char *why, unsigned pause_ms), void *ctx,
    struct registry_session **ret, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	struct registry_mirror *mirrors;
	struct registry_params rp;
	size_t i;
	int r;

	r = reference_parse(params->reference, 0, &ref, err);
	if (r < 0)
		return r;
	mirrors = calloc(params->n_mirrors + 1, sizeof(*mirrors));
	if (mirrors == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < params->n_mirrors; i++)
		mirrors[i] = (struct registry_mirror) {
			params->mirrors[i].url, params->mirrors[i].with_ns
		};
	rp = (struct registry_params) {
		.ref = &ref,
		.is_push = is_push,
		.is_login = params->is_login,
		.ca_pem = is_text(params->ca_pem) ? params->ca_pem : NULL,
		.client_cert_pem = is_text(params->cert_pem)
		    ? params->cert_pem
		    : NULL,
		.client_key_pem = is_text(params->key_pem) ? params->key_pem
							   : NULL,
		.is_v1 = params->is_v1,
		.n_attempts = params->n_attempts == PULLER_FOREVER
		    ? REGISTRY_FOREVER
		    : params->n_attempts,
		.max_bytes_per_s = params->max_bytes_per_s,
		.retrying = retrying,
		.ctx = ctx,
		.http_proxy = is_text(params->http_proxy)
		    ? params->http_proxy
		    : NULL,
		.https_proxy = is_text(params->https_proxy)
		    ? params->https_proxy
		    : NULL,
		.no_proxy = params->no_proxy,
		.mirrors = mirrors,
		.n_mirrors = params->n_mirrors,
		.insecure = (const char *const *)params->insecure,
		.n_insecure = params->n_insecure,
		.username = is_text(params->username) ? params->username
						      : NULL,
		.password = is_text(params->username) ? params->password
						      : NULL,
		.identity_token = is_text(params->identity_token)
		    ? params->identity_token
		    : NULL,
		.registry_token = is_text(params->registry_token)
		    ? params->registry_token
		    : NULL,
	};
	r = registry_session_new(&rp, ret, err);
	free(mirrors);
	return r;
}

static void
tell_retrying(void *ctx, const char *why, unsigned pause_ms)
{
	struct message m;

	message_init(&m, PULLER_RETRYING);
	message_put_str(&m, why);
	message_put_u32(&m, pause_ms);
	(void)tell(ctx, &m, NULL);
}

static int
serve(struct puller *p, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, 0);
	r = message_recv(p->teller.sock, PROTOCOL_MAX_DOC, &m, err);
	if (r <= 0)
		return r;
	if (m.type == PUSHER_START)
		return pusher_serve(p->teller.sock, &m, err);
	if (m.type != PULLER_START)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m.type);
	r = puller_params_get(&m, &p->params, err);
	if (r < 0)
		return r;
	if (p->params.n_threads < 1 || p->params.n_threads > MAX_THREADS)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "malformed start message");
	p->fetches.max_threads = p->params.n_threads;
	r = puller_open_session(&p->params, /* is_push= */ false,
	    tell_retrying, p, &p->session, err);
	if (r >= 0)
		r = resolve(p, err);
	while (r >= 0) {
		cleanup(message_done) struct message next;

		message_init(&next, 0);
		r = message_recv(p->teller.sock, PROTOCOL_MAX_ORDER, &next,
		    err);
		if (r <= 0)
			return r;
		if (next.type == PULLER_CONFIG_WANTED && p->legacy != NULL) {
			r = puller_legacy_config(p->legacy, &next, tell_cb, p,
			    err);
			continue;
		}
		if (next.type != PULLER_FETCH)
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "unexpected message %u",
			    (unsigned int)next.type);
		r = order(p, &next, err);
	}
	return r;
}

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	struct puller p = { .session = NULL };
	const char *ca_paths[2];
	struct message m;

	(void)what;
	/* One arena: a thread each would cost memory of its own. */
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 128 << 10);
	teller_init(&p.teller, sock);
	p.fetches.run = run_fetch;
	p.fetches.ctx = &p;
	work_queue_init(&p.fetches);
	registry_ca_paths(ca_paths);
	/* A bundle may be in the directory. */
	confine_show(ca_paths[1]);
	confine_show(ca_paths[0]);
	if (registry_prepare(&err) < 0 ||
	    confine_enter(CONFINE_PULLER, -1, &err) < 0 ||
	    serve(&p, &err) < 0) {
		message_init(&m, PULLER_FAILED);
		message_put_error(&m, err);
		(void)tell(&p, &m, NULL);
		/* Threads still run: leave without their teardown. */
		leave(1);
	}
	leave(0);
}
