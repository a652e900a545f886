/*
 * A blob on its way: http → size cap → digest → inflate → sink, resumed where
 * it broke.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/inflate.h"
#include "lib/log.h"
#include "registry/session-impl.h"
#include "registry/spool.h"

/* A transfer that brought so much was worth it: attempts count anew. */
#define PROGRESS_BYTES (64u << 10)

struct transfer {
	struct registry_session *s;
	const struct descriptor *blob;
	struct imgd_sink *tar;
	struct imgd_sink guard; /* in front of tar */
	registry_progress_cb *progress;
	void *progress_ctx;

	struct digest_ctx *digest;
	struct inflate *inflate;
	uint64_t size;   /* of the blob */
	bool is_max;     /* it is only the most that may come */
	uint64_t have;   /* bytes hashed so far */
	uint64_t skip;   /* bytes of this answer that we have */
	struct spool spool;
	struct registry_blob_stats *stats; /* grow as bytes come */
	int64_t taking_ms; /* in this attempt, of those who take them */
	long last_status; /* of HTTP; 0 = no answer */
	bool no_range;   /* the server resumes wrongly: skip instead */
	bool is_final;   /* what happened cannot be helped by trying again */
	struct imgd_error *damage; /* inflate's, while the digest is awaited */
};

static void
http_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
}

static int64_t
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
transfer_done(struct transfer *t)
{
	digest_free(t->digest);
	inflate_free(t->inflate);
	imgd_error_free(t->damage);
}

/* What the sink fails with must not look like the network's failure. */
static int
guard_write(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct transfer *t = ctx;
	int r;

	r = t->tar->write(t->tar->ctx, data, len, err);
	if (r < 0)
		t->is_final = true;
	return r;
}

/* ---- what the server says before the bytes ---- */

/* "bytes FIRST-LAST/TOTAL", TOTAL may be "*". */
static bool
range_fits(const struct transfer *t, const char *range)
{
	unsigned long long first, last, total;
	char rest[2];

	if (range == NULL)
		return false;
	if (sscanf(range, "bytes %llu-%llu/%llu%1s", &first, &last, &total,
		rest) == 3)
		return first == t->have && last < t->size &&
		    (t->is_max ? total <= t->size : total == t->size);
	return sscanf(range, "bytes %llu-%llu/%1s%1s", &first, &last, rest,
		   rest) == 3 &&
	    rest[0] == '*' && first == t->have && last < t->size;
}

static int
begin(void *ctx, const struct http_reply *reply, struct imgd_error **err)
{
	struct transfer *t = ctx;

	t->skip = 0;
	if (reply->status == 206) {
		if (t->no_range || !range_fits(t, reply->content_range)) {
			t->no_range = true;
			return imgd_error_set(err, IMGD_E_NET,
			    "the server resumes at another place");
		}
		return 0;
	}
	if (reply->status != 200)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected HTTP status %ld", reply->status);
	if (reply->has_length && t->is_max && reply->length <= t->size) {
		t->size = reply->length;
		t->is_max = false;
	}
	if (reply->has_length && reply->length != t->size) {
		t->is_final = true;
		return imgd_error_set(err,
		    t->is_max ? ENOSPC : IMGD_E_DIGEST,
		    "%llu bytes are offered instead of %llu%s",
		    (unsigned long long)reply->length,
		    (unsigned long long)t->size,
		    t->is_max ? ", which is all there is room for" : "");
	}
	t->skip = t->have;
	return 0;
}

/* ---- the bytes ---- */

static int
push(struct transfer *t, const uint8_t *data, size_t len,
    struct imgd_error **err)
{
	struct imgd_error *why = NULL;
	int r;

	if (t->damage != NULL)
		return 0;
	r = inflate_push(t->inflate, data, len, &why);
	/* Before the stream is called damaged, see whether these are the
	 * right bytes at all. */
	if (r == -IMGD_E_FORMAT && !t->is_final) {
		t->damage = why;
		return 0;
	}
	if (r < 0) {
		t->is_final = true;
		if (err != NULL)
			*err = why;
		else
			imgd_error_free(why);
	}
	return r;
}

/* The blob's next bytes, from the network or from what was kept. */
static int
take(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct transfer *t = ctx;

	digest_update(t->digest, data, len);
	t->have += len;
	return push(t, data, len, err);
}

static int
take_new(struct transfer *t, const uint8_t *p, size_t len,
    struct imgd_error **err)
{
	int r;

	r = take(t, p, len, err);
	if (r >= 0)
		r = spool_write(&t->spool, p, len, t->digest, err);
	if (r >= 0 && t->progress != NULL)
		t->progress(t->progress_ctx, t->have);
	return r;
}

static int
on_data(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct transfer *t = ctx;
	const uint8_t *p = data;
	int64_t before;
	size_t n;
	int r;

	t->stats->net_bytes += len;
	n = t->skip < len ? (size_t)t->skip : len;
	t->skip -= n;
	p += n;
	len -= n;
	if (len == 0)
		return 0;
	if (len > t->size - t->have) {
		t->is_final = true;
		return imgd_error_set(err,
		    t->is_max ? ENOSPC : IMGD_E_DIGEST,
		    "more came than the %llu bytes %s",
		    (unsigned long long)t->size,
		    t->is_max ? "there is room for" : "declared");
	}
	before = now_ms();
	r = take_new(t, p, len, err);
	t->taking_ms += now_ms() - before;
	return r;
}

static int
finish(struct transfer *t, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	int r;

	r = digest_str(t->digest, digest, err);
	if (r < 0)
		return r;
	if (strcmp(digest, t->blob->digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "filesystem layer verification failed for digest %s",
		    t->blob->digest);
	if (t->damage != NULL) {
		r = -imgd_error_code(t->damage);
		if (err != NULL)
			*err = take_ptr(&t->damage);
		return r;
	}
	return inflate_end(t->inflate, err);
}

/* ---- attempts ---- */

/* One answer from e, or from a foreign layer's url if that is not NULL. */
static int
attempt(struct transfer *t, struct endpoint *e, const char *path,
    const char *url, struct http_reply *reply, struct imgd_error **err)
{
	struct http_request req = { .method = "GET", .begin = begin,
		.data = on_data, .ctx = t };
	int64_t before = now_ms();
	int r;

	if (t->have > 0 && !t->no_range) {
		req.has_range = true;
		req.range_from = t->have;
	}
	t->taking_ms = 0;
	if (url != NULL) {
		req.url = url;
		r = http_do(t->s->http, &req, reply, err);
	} else {
		r = v2_request(t->s, e, path, &req, reply, err);
	}
	t->stats->net_ms += (uint64_t)(now_ms() - before - t->taking_ms);
	if (r < 0)
		return r;
	if (reply->status == 416 && req.has_range) {
		t->no_range = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the server does not resume");
	}
	if (reply->status < 200 || reply->status >= 300)
		return reply_error(t->s, reply, "blob", err);
	if (t->have < t->size && !t->is_max)
		return imgd_error_set(err, IMGD_E_NET,
		    "%llu bytes came instead of %llu",
		    (unsigned long long)t->have,
		    (unsigned long long)t->size);
	return 0;
}

static int
all_attempts(struct transfer *t, struct endpoint *e, const char *path,
    const char *url, struct imgd_error **err)
{
	unsigned n, ms;
	uint64_t before;
	int r;

	for (n = 1;; n++) {
		cleanup(http_reply_donep) struct http_reply reply = {
			.status = 0
		};
		cleanup_error struct imgd_error *why = NULL;

		before = t->have;
		t->stats->n_attempts++;
		r = attempt(t, e, path, url, &reply, &why);
		if (r >= 0)
			return 0;
		/* A link that broke once may be the one that ends it all. */
		if (spool_sync(&t->spool, PROGRESS_BYTES, t->digest, err) < 0)
			return -ECANCELED;
		if (t->have - before >= PROGRESS_BYTES)
			n = 1;
		t->last_status = reply.status;
		if (t->is_final || (e != NULL && v2_goes_round(t->s)) ||
		    (e != NULL && e->is_dead && endpoint_falls_through(e, r)) ||
		    !v2_may_retry(t->s, r, &reply, n, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		r = v2_wait(t->s, imgd_error_msg(why), ms, err);
		if (r < 0)
			return r;
	}
}

/* Every place in turn: a foreign layer's own, mirrors, the registry. */
static int
one_round(struct transfer *t, const char *path, struct imgd_error **err)
{
	size_t n_urls = t->blob->n_urls, n = n_urls + t->s->n_endpoints, i;
	struct endpoint *e;
	const char *url;
	int r = 0;

	for (i = 0; i < n; i++) {
		cleanup_error struct imgd_error *why = NULL;

		url = i < n_urls ? t->blob->urls[i] : NULL;
		e = i < n_urls ? NULL : &t->s->endpoints[i - n_urls];
		if (e != NULL && e->is_dead && i + 1 < n)
			continue;
		t->no_range = false;
		r = all_attempts(t, e, path, url, &why);
		if (r < 0 && i + 1 < n && !t->is_final && r != -ECANCELED &&
		    (e == NULL || endpoint_falls_through(e, r))) {
			log_debug("registry", "%s, asking the next",
			    imgd_error_msg(why));
			continue;
		}
		if (r < 0 && err != NULL)
			*err = take_ptr(&why);
		return r;
	}
	return r;
}

static int
all_places(struct transfer *t, const char *path, struct imgd_error **err)
{
	uint64_t before;
	unsigned round;
	int r, more;

	for (round = 1;; round++) {
		cleanup_error struct imgd_error *why = NULL;
		struct http_reply last;

		before = t->have;
		r = one_round(t, path, &why);
		if (r >= 0)
			return r;
		if (t->have - before >= PROGRESS_BYTES)
			round = 1;
		last = (struct http_reply) { .status = t->last_status };
		more = t->is_final ? 0
				   : v2_next_round(t->s, r, &last, round,
					 imgd_error_msg(why), err);
		if (more == 0 && err != NULL)
			*err = take_ptr(&why);
		if (more <= 0)
			return more < 0 ? more : r;
	}
}

static int
run(struct transfer *t, struct registry_spool *spool, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct strbuf sb = STRBUF_INIT;
	int r;

	t->guard = (struct imgd_sink){ .struct_size = sizeof(t->guard),
		.ctx = t, .write = guard_write };
	r = digest_new(&t->digest, err);
	if (r >= 0)
		r = inflate_new(&t->guard, &t->inflate, err);
	if (r < 0)
		return r;
	strbuf_printf(&sb, "/%s/blobs/%s", t->s->ref.path, t->blob->digest);
	path = strbuf_take(&sb);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = spool_open(&t->spool, spool, t->size, err);
	if (r >= 0)
		r = spool_replay(&t->spool, take, t, err);
	/* Else there is nothing to fetch: an empty layer, or all is here. */
	if (r >= 0 && t->have < t->size)
		r = all_places(t, path, err);
	if (r >= 0)
		r = finish(t, err);
	return r < 0 ? r : spool_sync(&t->spool, 0, t->digest, err);
}

int
v2_blob(struct registry_session *s, const struct descriptor *blob,
    struct registry_spool *spool, struct imgd_sink *tar,
    registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *stats, struct imgd_error **err)
{
	struct transfer t = { .s = s, .blob = blob, .size = blob->size_bytes,
		.is_max = blob->is_max, .tar = tar, .progress = progress,
		.progress_ctx = ctx, .stats = stats };
	int r;

	*stats = (struct registry_blob_stats) { .format = "none" };
	r = run(&t, spool, err);
	if (r >= 0) {
		stats->blob_bytes = t.have;
		stats->tar_bytes = inflate_bytes(t.inflate);
		stats->format = inflate_format(t.inflate);
	}
	transfer_done(&t);
	return r;
}
