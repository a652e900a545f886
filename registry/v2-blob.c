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
#include "registry/spool.h"
#include "registry/transfer.h"

struct blob {
	struct transfer transfer;
	/* What is asked now: path at an endpoint, or a foreign layer's url. */
	struct endpoint *endpoint;
	const char *path, *url;
	const struct descriptor *descriptor;
	uint64_t size;   /* of the blob */
	bool is_max;     /* it is only the most that may come */
	struct imgd_sink *tar;
	struct imgd_sink guard; /* in front of tar */
	registry_progress_cb *progress;
	void *progress_ctx;

	struct digest_ctx *digest;
	struct inflate *inflate;
	struct spool spool;
	struct imgd_error *damage; /* inflate's, while the digest is awaited */
};

static void
blob_done(struct blob *b)
{
	digest_free(b->digest);
	inflate_free(b->inflate);
	imgd_error_free(b->damage);
}

/* What the sink fails with must not look like the network's failure. */
static int
guard_write(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct blob *b = ctx;
	int r;

	r = b->tar->write(b->tar->ctx, data, len, err);
	if (r < 0)
		b->transfer.is_final = true;
	return r;
}

/* ---- what the server says before the bytes ---- */

/* "bytes FIRST-LAST/TOTAL", TOTAL may be "*". */
static bool
range_fits(void *ctx, const char *range)
{
	const struct blob *b = ctx;
	unsigned long long first, last, total;
	char rest[2];

	if (sscanf(range, "bytes %llu-%llu/%llu%1s", &first, &last, &total,
		rest) == 3)
		return first == b->transfer.have && last < b->size &&
		    (b->is_max ? total <= b->size : total == b->size);
	return sscanf(range, "bytes %llu-%llu/%1s%1s", &first, &last, rest,
		   rest) == 3 &&
	    rest[0] == '*' && first == b->transfer.have && last < b->size;
}

static int
begin_whole(void *ctx, const struct http_reply *reply, struct imgd_error **err)
{
	struct blob *b = ctx;

	if (reply->has_length && b->is_max && reply->length <= b->size) {
		b->size = reply->length;
		b->is_max = false;
	}
	if (!reply->has_length || reply->length == b->size)
		return 0;
	b->transfer.is_final = true;
	return imgd_error_set(err, b->is_max ? ENOSPC : IMGD_E_DIGEST,
	    "%llu bytes are offered instead of %llu%s",
	    (unsigned long long)reply->length, (unsigned long long)b->size,
	    b->is_max ? ", which is all there is room for" : "");
}

/* ---- the bytes ---- */

static int
push(struct blob *b, const void *data, size_t len, struct imgd_error **err)
{
	struct imgd_error *why = NULL;
	int r;

	if (b->damage != NULL)
		return 0;
	r = inflate_push(b->inflate, data, len, &why);
	/* Before the stream is called damaged, see whether these are the
	 * right bytes at all. */
	if (r == -IMGD_E_FORMAT && !b->transfer.is_final) {
		b->damage = why;
		return 0;
	}
	if (r < 0) {
		b->transfer.is_final = true;
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
	struct blob *b = ctx;

	digest_update(b->digest, data, len);
	b->transfer.have += len;
	return push(b, data, len, err);
}

static int
take_new(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct blob *b = ctx;
	int r;

	if (len > b->size - b->transfer.have) {
		b->transfer.is_final = true;
		return imgd_error_set(err, b->is_max ? ENOSPC : IMGD_E_DIGEST,
		    "more came than the %llu bytes %s",
		    (unsigned long long)b->size,
		    b->is_max ? "there is room for" : "declared");
	}
	r = take(b, data, len, err);
	if (r >= 0)
		r = spool_write(&b->spool, data, len, b->digest, err);
	if (r >= 0 && b->progress != NULL)
		b->progress(b->progress_ctx, b->transfer.have);
	return r;
}

static int
finish(struct blob *b, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	int r;

	r = digest_str(b->digest, digest, err);
	if (r < 0)
		return r;
	if (strcmp(digest, b->descriptor->digest) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "filesystem layer verification failed for digest %s",
		    b->descriptor->digest);
	if (b->damage != NULL) {
		r = -imgd_error_code(b->damage);
		if (err != NULL)
			*err = take_ptr(&b->damage);
		return r;
	}
	return inflate_end(b->inflate, err);
}

/* ---- attempts ---- */

static int
ask(void *ctx, struct http_request *req, struct http_reply *ret,
    struct imgd_error **err)
{
	struct blob *b = ctx;

	if (b->url == NULL)
		return v2_request(b->transfer.s, b->endpoint, b->path, req,
		    ret, err);
	req->url = b->url;
	return http_do(b->transfer.s->http, req, ret, err);
}

static int
judge(void *ctx, const struct http_request *req,
    const struct http_reply *reply, struct imgd_error **err)
{
	struct blob *b = ctx;

	if (reply->status == 416 && req->has_range)
		return transfer_no_range(&b->transfer, err);
	if (reply->status < 200 || reply->status >= 300)
		return reply_error(b->transfer.s, reply, "blob", err);
	return b->transfer.have < b->size && !b->is_max
	    ? transfer_is_short(&b->transfer, b->size, err)
	    : 0;
}

/* A link that broke once may be the one that ends it all. */
static int
broken(void *ctx, struct imgd_error **err)
{
	struct blob *b = ctx;

	return spool_sync(&b->spool, TRANSFER_PROGRESS_BYTES, b->digest, err);
}

static const struct transfer_ops ops = {
	.ask = ask,
	.begin_whole = begin_whole,
	.range_fits = range_fits,
	.take = take_new,
	.judge = judge,
	.broken = broken,
};

static bool
gives_up(void *ctx, int r)
{
	const struct blob *b = ctx;

	return b->url == NULL &&
	    (v2_goes_round(b->transfer.s) ||
		(b->endpoint->is_dead &&
		    endpoint_falls_through(b->endpoint, r)));
}

/* Every place in turn: a foreign layer's own, mirrors, the registry. */
static int
one_round(struct blob *b, struct imgd_error **err)
{
	struct registry_session *s = b->transfer.s;
	size_t n_urls = b->descriptor->n_urls, n = n_urls + s->n_endpoints, i;
	struct endpoint *e;
	int r = 0;

	for (i = 0; i < n; i++) {
		cleanup_error struct imgd_error *why = NULL;

		e = i < n_urls ? NULL : &s->endpoints[i - n_urls];
		if (e != NULL && e->is_dead && i + 1 < n)
			continue;
		b->endpoint = e;
		b->url = e == NULL ? b->descriptor->urls[i] : NULL;
		r = transfer_run(&b->transfer, gives_up, &why);
		if (r < 0 && i + 1 < n && !b->transfer.is_final &&
		    r != -ECANCELED &&
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
all_places(struct blob *b, struct imgd_error **err)
{
	struct transfer *t = &b->transfer;
	uint64_t before;
	unsigned round;
	int r, more;

	for (round = 1;; round++) {
		cleanup_error struct imgd_error *why = NULL;
		struct http_reply last;

		before = t->have;
		r = one_round(b, &why);
		if (r >= 0)
			return r;
		if (t->have - before >= TRANSFER_PROGRESS_BYTES)
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
run(struct blob *b, struct registry_spool *spool, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct strbuf sb = STRBUF_INIT;
	int r;

	b->guard = (struct imgd_sink){ .struct_size = sizeof(b->guard),
		.ctx = b, .write = guard_write };
	r = digest_new(&b->digest, err);
	if (r >= 0)
		r = inflate_new(&b->guard, &b->inflate, err);
	if (r < 0)
		return r;
	strbuf_printf(&sb, "/%s/blobs/%s", b->transfer.s->ref.path,
	    b->descriptor->digest);
	b->path = path = strbuf_take(&sb);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = spool_open(&b->spool, spool, b->size, err);
	if (r >= 0)
		r = spool_replay(&b->spool, take, b, err);
	/* Else there is nothing to fetch: an empty layer, or all is here. */
	if (r >= 0 && b->transfer.have < b->size)
		r = all_places(b, err);
	if (r >= 0)
		r = finish(b, err);
	return r < 0 ? r : spool_sync(&b->spool, 0, b->digest, err);
}

int
v2_blob(struct registry_session *s, const struct descriptor *blob,
    struct registry_spool *spool, struct imgd_sink *tar,
    registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *stats, struct imgd_error **err)
{
	struct blob b = { .descriptor = blob, .size = blob->size_bytes,
		.is_max = blob->is_max, .tar = tar, .progress = progress,
		.progress_ctx = ctx,
		.transfer = { .ops = &ops, .s = s, .stats = stats } };
	int r;

	b.transfer.ctx = &b;
	*stats = (struct registry_blob_stats) { .format = "none" };
	r = run(&b, spool, err);
	if (r >= 0) {
		stats->blob_bytes = b.transfer.have;
		stats->tar_bytes = inflate_bytes(b.inflate);
		stats->format = inflate_format(b.inflate);
	}
	blob_done(&b);
	return r;
}
