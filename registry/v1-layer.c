/*
 * Version 1: a layer on its way.  It has no digest: what holds it is its
 * length, the checksum of its compression, and what the registry may say of
 * the JSON and the layer together.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/inflate.h"
#include "lib/log.h"
#include "registry/tarsum.h"
#include "registry/v1-impl.h"

struct layer {
	struct transfer transfer;
	struct v1_place *place; /* that is asked now */
	const struct legacy_layer *legacy;
	uint64_t max_bytes;
	uint64_t total; /* 0 = unknown */
	struct imgd_sink *tar;
	struct imgd_sink guard; /* in front of tar */
	registry_progress_cb *progress;
	void *progress_ctx;

	struct digest_ctx *payload; /* JSON, newline, layer */
	struct tarsum *tarsum;      /* NULL: none is known */
	struct inflate *inflate;
};

static void
layer_done(struct layer *l)
{
	digest_free(l->payload);
	tarsum_free(l->tarsum);
	inflate_free(l->inflate);
}

/* What the sink fails with must not look like the network's failure. */
static int
guard_write(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct layer *l = ctx;
	int r = 0;

	if (l->tarsum != NULL)
		r = tarsum_update(l->tarsum, data, len, err);
	return r < 0 ? r : l->tar->write(l->tar->ctx, data, len, err);
}

/* ---- what the server says before the bytes ---- */

/*
 * "bytes FIRST-LAST/TOTAL", TOTAL may be "*".  docker-registry leaves "bytes"
 * out, and its LAST may be one too large.
 */
static bool
range_fits(void *ctx, const char *range)
{
	struct layer *l = ctx;
	unsigned long long first, last, total;
	char rest[2];

	if (str_starts(range, "bytes "))
		range += strlen("bytes ");
	if (sscanf(range, "%llu-%llu/%llu%1s", &first, &last, &total, rest) !=
	    3) {
		if (sscanf(range, "%llu-%llu/%1s%1s", &first, &last, rest,
			rest) != 3 ||
		    rest[0] != '*')
			return false;
		total = l->total;
	}
	if (l->transfer.have == 0 || first != l->transfer.have ||
	    last < first || (l->total != 0 && total != l->total) ||
	    (total != 0 && last > total))
		return false;
	l->total = total;
	return true;
}

static int
begin_whole(void *ctx, const struct http_reply *reply, struct imgd_error **err)
{
	struct layer *l = ctx;

	if (reply->has_length && reply->length > l->max_bytes) {
		l->transfer.is_final = true;
		return imgd_error_set(err, ENOSPC,
		    "%llu bytes are offered, there is room for %llu",
		    (unsigned long long)reply->length,
		    (unsigned long long)l->max_bytes);
	}
	if (reply->has_length && l->total != 0 && reply->length != l->total) {
		/* More than announced was compressed anew on its way; but not
		 * half-way through. */
		if (reply->length < l->total || l->transfer.have > 0)
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "%llu bytes are offered instead of %llu",
			    (unsigned long long)reply->length,
			    (unsigned long long)l->total);
		log_debug("registry", "a layer is longer than announced");
	}
	if (reply->has_length)
		l->total = reply->length;
	return 0;
}

/* ---- the bytes ---- */

static int
take(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct layer *l = ctx;
	int r;

	if (len > l->max_bytes - l->transfer.have) {
		l->transfer.is_final = true;
		return imgd_error_set(err, ENOSPC,
		    "more came than the %llu bytes there is room for",
		    (unsigned long long)l->max_bytes);
	}
	digest_update(l->payload, data, len);
	l->transfer.have += len;
	r = inflate_push(l->inflate, data, len, err);
	if (r < 0)
		l->transfer.is_final = true;
	if (r >= 0 && l->progress != NULL)
		l->progress(l->progress_ctx, l->transfer.have);
	return r;
}

static int
check_sums(struct layer *l, struct imgd_error **err)
{
	const char *expected = l->legacy->payload_checksum;
	char digest[DIGEST_STR_SIZE];
	int r;

	r = digest_str(l->payload, digest, err);
	if (r < 0)
		return r;
	if (expected != NULL && strcmp(digest, expected) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "checksum mismatch: the registry says %s, it is %s",
		    expected, digest);
	return l->tarsum != NULL ? tarsum_check(l->tarsum, err) : 0;
}

/* ---- attempts ---- */

static int
ask(void *ctx, struct http_request *req, struct http_reply *ret,
    struct imgd_error **err)
{
	struct layer *l = ctx;
	char path[128];

	(void)snprintf(path, sizeof(path), "/images/%s/layer",
	    l->legacy->id);
	return v1_request(l->transfer.s, l->place, /* is_index= */ false,
	    path, req, ret, err);
}

/* docker-registry announces one byte too many with a range. */
static bool
is_whole(void *ctx)
{
	const struct layer *l = ctx;

	return l->total != 0 && l->transfer.have == l->total;
}

static int
judge(void *ctx, const struct http_request *req,
    const struct http_reply *reply, struct imgd_error **err)
{
	struct layer *l = ctx;

	/* Nothing is left of it; or there never was anything. */
	if (reply->status == 416 && (req->has_range ? is_whole(l)
						    : l->transfer.have == 0))
		return 0;
	if (reply->status == 416)
		return transfer_no_range(&l->transfer, err);
	if (reply->status < 200 || reply->status >= 300)
		return reply_error(l->transfer.s, reply, "layer", err);
	return l->transfer.have < l->total
	    ? transfer_is_short(&l->transfer, l->total, err)
	    : 0;
}

static const struct transfer_ops ops = {
	.ask = ask,
	.begin_whole = begin_whole,
	.range_fits = range_fits,
	.take = take,
	.judge = judge,
	.is_whole = is_whole,
};

static bool
gives_up(void *ctx, int r)
{
	const struct layer *l = ctx;
	const struct registry_session *s = l->transfer.s;

	(void)r;
	return v1_goes_round(s, /* is_index= */ false) ||
	    (l->place->is_dead && s->v1->n_places > 1);
}

static int
fetch(struct registry_session *s, struct v1_place *p, void *ctx,
    struct imgd_error **err)
{
	struct layer *l = ctx;

	(void)s;
	l->place = p;
	return transfer_run(&l->transfer, gives_up, err);
}

static int
run(struct layer *l, struct imgd_error **err)
{
	const struct legacy_layer *legacy = l->legacy;
	int r;

	l->guard = (struct imgd_sink){ .struct_size = sizeof(l->guard),
		.ctx = l, .write = guard_write };
	r = digest_new(&l->payload, err);
	if (r >= 0)
		r = inflate_new(&l->guard, &l->inflate, err);
	if (r >= 0 && legacy->tarsum != NULL)
		r = tarsum_new(legacy->tarsum, legacy->json, legacy->json_len,
		    &l->tarsum, err);
	if (r < 0)
		return r;
	digest_update(l->payload, legacy->json, legacy->json_len);
	digest_update(l->payload, "\n", 1);
	r = v1_each_place(l->transfer.s, fetch, l, &l->transfer, err);
	if (r >= 0)
		r = inflate_end(l->inflate, err);
	return r < 0 ? r : check_sums(l, err);
}

int
v1_layer(struct registry_session *s, const struct legacy_layer *layer,
    uint64_t max_bytes, struct imgd_sink *tar, registry_progress_cb *progress,
    void *ctx, struct registry_blob_stats *stats, struct imgd_error **err)
{
	struct layer l = { .legacy = layer, .max_bytes = max_bytes,
		.total = layer->size_bytes, .tar = tar, .progress = progress,
		.progress_ctx = ctx,
		.transfer = { .ops = &ops, .s = s, .stats = stats } };
	int r;

	l.transfer.ctx = &l;
	*stats = (struct registry_blob_stats) { .format = "none" };
	r = run(&l, err);
	if (r >= 0) {
		stats->blob_bytes = l.transfer.have;
		stats->tar_bytes = inflate_bytes(l.inflate);
		stats->format = inflate_format(l.inflate);
	}
	layer_done(&l);
	return r;
}
