/*
 * Version 1: a layer on its way.  It has no digest: what holds it is its
 * length, the checksum of its compression, and what the registry may say of
 * the JSON and the layer together.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/inflate.h"
#include "lib/log.h"
#include "registry/tarsum.h"
#include "registry/v1-impl.h"

/* A transfer that brought so much was worth it: attempts count anew. */
#define PROGRESS_BYTES (64u << 10)

struct transfer {
	struct registry_session *s;
	const struct legacy_layer *layer;
	uint64_t max_bytes;
	struct imgd_sink *tar;
	struct imgd_sink guard; /* in front of tar */
	registry_progress_cb *progress;
	void *progress_ctx;
	struct registry_blob_stats *stats; /* grow as bytes come */
	int64_t taking_ms; /* in this attempt, of those who take them */

	struct digest_ctx *payload; /* JSON, newline, layer */
	struct tarsum *tarsum;      /* NULL: none is known */
	struct inflate *inflate;
	uint64_t have;     /* bytes taken so far */
	uint64_t total;    /* 0 = unknown */
	uint64_t skip;     /* bytes of this answer that we have */
	bool no_range;     /* the server resumes wrongly: skip instead */
	bool is_final;     /* neither another try nor another place helps */
};

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
	digest_free(t->payload);
	tarsum_free(t->tarsum);
	inflate_free(t->inflate);
}

/* What the sink fails with must not look like the network's failure. */
static int
guard_write(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct transfer *t = ctx;
	int r = 0;

	if (t->tarsum != NULL)
		r = tarsum_update(t->tarsum, data, len, err);
	if (r >= 0)
		r = t->tar->write(t->tar->ctx, data, len, err);
	if (r < 0)
		t->is_final = true;
	return r;
}

/* ---- what the server says before the bytes ---- */

/*
 * "bytes FIRST-LAST/TOTAL", TOTAL may be "*".  docker-registry leaves "bytes"
 * out, and its LAST may be one too large.
 */
static bool
range_fits(struct transfer *t, const char *range)
{
	unsigned long long first, last, total;
	char rest[2];

	if (range == NULL)
		return false;
	if (str_starts(range, "bytes "))
		range += strlen("bytes ");
	if (sscanf(range, "%llu-%llu/%llu%1s", &first, &last, &total, rest) !=
	    3) {
		if (sscanf(range, "%llu-%llu/%1s%1s", &first, &last, rest,
			rest) != 3 ||
		    rest[0] != '*')
			return false;
		total = t->total;
	}
	if (first != t->have || last < first ||
	    (t->total != 0 && total != t->total) ||
	    (total != 0 && last > total))
		return false;
	t->total = total;
	return true;
}

static int
begin_whole(struct transfer *t, const struct http_reply *reply,
    struct imgd_error **err)
{
	if (reply->has_length && reply->length > t->max_bytes) {
		t->is_final = true;
		return imgd_error_set(err, ENOSPC,
		    "%llu bytes are offered, there is room for %llu",
		    (unsigned long long)reply->length,
		    (unsigned long long)t->max_bytes);
	}
	if (reply->has_length && t->total != 0 && reply->length != t->total) {
		/* More than announced was compressed anew on its way; but not
		 * half-way through. */
		if (reply->length < t->total || t->have > 0)
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "%llu bytes are offered instead of %llu",
			    (unsigned long long)reply->length,
			    (unsigned long long)t->total);
		log_debug("registry", "a layer is longer than announced");
	}
	if (reply->has_length)
		t->total = reply->length;
	t->skip = t->have;
	return 0;
}

static int
begin(void *ctx, const struct http_reply *reply, struct imgd_error **err)
{
	struct transfer *t = ctx;

	t->skip = 0;
	if (reply->status == 200)
		return begin_whole(t, reply, err);
	if (reply->status != 206)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected HTTP status %ld", reply->status);
	if (t->have == 0 || t->no_range ||
	    !range_fits(t, reply->content_range)) {
		t->no_range = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the server resumes at another place");
	}
	return 0;
}

/* ---- the bytes ---- */

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
	if (len > t->max_bytes - t->have) {
		t->is_final = true;
		return imgd_error_set(err, ENOSPC,
		    "more came than the %llu bytes there is room for",
		    (unsigned long long)t->max_bytes);
	}
	before = now_ms();
	digest_update(t->payload, p, len);
	t->have += len;
	r = inflate_push(t->inflate, p, len, err);
	if (r < 0)
		t->is_final = true;
	if (r >= 0 && t->progress != NULL)
		t->progress(t->progress_ctx, t->have);
	t->taking_ms += now_ms() - before;
	return r;
}

static int
check_sums(struct transfer *t, struct imgd_error **err)
{
	const struct legacy_layer *l = t->layer;
	char digest[DIGEST_STR_SIZE];
	int r;

	r = digest_str(t->payload, digest, err);
	if (r < 0)
		return r;
	if (l->payload_checksum != NULL &&
	    strcmp(digest, l->payload_checksum) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "checksum mismatch: the registry says %s, it is %s",
		    l->payload_checksum, digest);
	return t->tarsum != NULL ? tarsum_check(t->tarsum, err) : 0;
}

/* ---- attempts ---- */

static bool
is_whole(const struct transfer *t)
{
	return t->total != 0 && t->have == t->total;
}

static int
attempt(struct transfer *t, struct v1_place *p, const char *path,
    struct http_reply *reply, struct imgd_error **err)
{
	struct http_request req = { .method = "GET", .begin = begin,
		.data = on_data, .ctx = t };
	cleanup_error struct imgd_error *why = NULL;
	int64_t before = now_ms();
	int r;

	t->taking_ms = 0;
	if (t->have > 0 && !t->no_range) {
		req.has_range = true;
		req.range_from = t->have;
	}
	r = v1_request(t->s, p, /* is_index= */ false, path, &req, reply,
	    &why);
	t->stats->net_ms += (uint64_t)(now_ms() - before - t->taking_ms);
	/* docker-registry announces one byte too many with a range. */
	if (r == -IMGD_E_NET && is_whole(t))
		return 0;
	if (r < 0) {
		if (err != NULL)
			*err = take_ptr(&why);
		return r;
	}
	/* Nothing is left of it; or there never was anything. */
	if (reply->status == 416 && (req.has_range ? is_whole(t)
						   : t->have == 0))
		return 0;
	if (reply->status == 416) {
		t->no_range = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the server does not resume");
	}
	if (reply->status < 200 || reply->status >= 300)
		return reply_error(t->s, reply, "layer", err);
	if (t->have < t->total)
		return imgd_error_set(err, IMGD_E_NET,
		    "%llu bytes came instead of %llu",
		    (unsigned long long)t->have,
		    (unsigned long long)t->total);
	return 0;
}

static int
fetch(struct registry_session *s, struct v1_place *p, void *ctx,
    struct imgd_error **err)
{
	struct transfer *t = ctx;
	char path[128];
	unsigned n, ms;
	int r;

	(void)snprintf(path, sizeof(path), "/images/%s/layer", t->layer->id);
	t->no_range = false;
	for (n = 1;; n++) {
		cleanup(v1_reply_donep) struct http_reply reply = {
			.status = 0
		};
		cleanup_error struct imgd_error *why = NULL;
		uint64_t before = t->have;

		t->stats->n_attempts++;
		r = attempt(t, p, path, &reply, &why);
		if (r >= 0)
			return 0;
		if (t->have - before >= PROGRESS_BYTES)
			n = 1;
		if (t->is_final || (p->is_dead && s->v1->n_places > 1) ||
		    !v2_may_retry(s, r, &reply, n, &ms)) {
			if (err != NULL)
				*err = take_ptr(&why);
			return r;
		}
		r = v2_wait(s, imgd_error_msg(why), ms, err);
		if (r < 0)
			return r;
	}
}

static int
run(struct transfer *t, struct imgd_error **err)
{
	const struct legacy_layer *l = t->layer;
	int r;

	t->guard = (struct imgd_sink){ .struct_size = sizeof(t->guard),
		.ctx = t, .write = guard_write };
	r = digest_new(&t->payload, err);
	if (r >= 0)
		r = inflate_new(&t->guard, &t->inflate, err);
	if (r >= 0 && l->tarsum != NULL)
		r = tarsum_new(l->tarsum, l->json, l->json_len, &t->tarsum,
		    err);
	if (r < 0)
		return r;
	digest_update(t->payload, l->json, l->json_len);
	digest_update(t->payload, "\n", 1);
	r = v1_each_place(t->s, fetch, t, &t->is_final, err);
	if (r >= 0)
		r = inflate_end(t->inflate, err);
	return r < 0 ? r : check_sums(t, err);
}

int
v1_layer(struct registry_session *s, const struct legacy_layer *layer,
    uint64_t max_bytes, struct imgd_sink *tar, registry_progress_cb *progress,
    void *ctx, struct registry_blob_stats *stats, struct imgd_error **err)
{
	struct transfer t = { .s = s, .layer = layer, .max_bytes = max_bytes,
		.total = layer->size_bytes, .tar = tar, .progress = progress,
		.progress_ctx = ctx, .stats = stats };
	int r;

	*stats = (struct registry_blob_stats) { .format = "none" };
	r = run(&t, err);
	if (r >= 0) {
		stats->blob_bytes = t.have;
		stats->tar_bytes = inflate_bytes(t.inflate);
		stats->format = inflate_format(t.inflate);
	}
	transfer_done(&t);
	return r;
}
