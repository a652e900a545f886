/*
 * A blob on its way: http → size cap → digest → inflate → sink, resumed where
 * it broke.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/inflate.h"
#include "lib/log.h"
#include "registry/session-impl.h"

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
	uint64_t have;   /* bytes hashed so far */
	uint64_t skip;   /* bytes of this answer that we have */
	bool no_range;   /* the server resumes wrongly: skip instead */
	bool is_final;   /* what happened cannot be helped by trying again */
	struct imgd_error *damage; /* inflate's, while the digest is awaited */
};

static void
http_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
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
		return first == t->have && last < t->blob->size_bytes &&
		    total == t->blob->size_bytes;
	return sscanf(range, "bytes %llu-%llu/%1s%1s", &first, &last, rest,
		   rest) == 3 &&
	    rest[0] == '*' && first == t->have && last < t->blob->size_bytes;
}

static int
begin(void *ctx, const struct http_reply *reply, struct imgd_error **err)
{
	struct transfer *t = ctx;
	uint64_t size = t->blob->size_bytes;

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
	if (reply->has_length && reply->length != size) {
		t->is_final = true;
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "%llu bytes are offered instead of %llu",
		    (unsigned long long)reply->length,
		    (unsigned long long)size);
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

static int
on_data(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct transfer *t = ctx;
	const uint8_t *p = data;
	size_t n;
	int r;

	n = t->skip < len ? (size_t)t->skip : len;
	t->skip -= n;
	p += n;
	len -= n;
	if (len == 0)
		return 0;
	if (len > t->blob->size_bytes - t->have) {
		t->is_final = true;
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "more came than the %llu bytes declared",
		    (unsigned long long)t->blob->size_bytes);
	}
	digest_update(t->digest, p, len);
	t->have += len;
	r = push(t, p, len, err);
	if (r >= 0 && t->progress != NULL)
		t->progress(t->progress_ctx, t->have);
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
	int r;

	if (t->have > 0 && !t->no_range) {
		req.has_range = true;
		req.range_from = t->have;
	}
	if (url != NULL) {
		req.url = url;
		r = http_do(t->s->http, &req, reply, err);
	} else {
		r = v2_request(t->s, e, path, &req, reply, err);
	}
	if (r < 0)
		return r;
	if (reply->status == 416 && req.has_range) {
		t->no_range = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the server does not resume");
	}
	if (reply->status < 200 || reply->status >= 300)
		return reply_error(t->s, reply, "blob", err);
	if (t->have < t->blob->size_bytes)
		return imgd_error_set(err, IMGD_E_NET,
		    "%llu bytes came instead of %llu",
		    (unsigned long long)t->have,
		    (unsigned long long)t->blob->size_bytes);
	return 0;
}

static int
all_attempts(struct transfer *t, struct endpoint *e, const char *path,
    const char *url, struct registry_blob_stats *stats,
    struct imgd_error **err)
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
		stats->n_attempts++;
		r = attempt(t, e, path, url, &reply, &why);
		if (r >= 0)
			return 0;
		if (t->have - before >= PROGRESS_BYTES)
			n = 1;
		if (t->is_final ||
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
all_places(struct transfer *t, const char *path,
    struct registry_blob_stats *stats, struct imgd_error **err)
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
		r = all_attempts(t, e, path, url, stats, &why);
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
run(struct transfer *t, struct registry_blob_stats *stats,
    struct imgd_error **err)
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
	/* Nothing to fetch: an empty layer. */
	if (t->blob->size_bytes > 0)
		r = all_places(t, path, stats, err);
	return r < 0 ? r : finish(t, err);
}

int
v2_blob(struct registry_session *s, const struct descriptor *blob,
    struct imgd_sink *tar, registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *ret, struct imgd_error **err)
{
	struct registry_blob_stats stats = { .format = "none" };
	struct transfer t = { .s = s, .blob = blob, .tar = tar,
		.progress = progress, .progress_ctx = ctx };
	int r;

	r = run(&t, &stats, err);
	if (r >= 0 && ret != NULL) {
		stats.blob_bytes = t.have;
		stats.tar_bytes = inflate_bytes(t.inflate);
		stats.format = inflate_format(t.inflate);
		*ret = stats;
	}
	transfer_done(&t);
	return r;
}
