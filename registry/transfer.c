/* Attempts to have a body. */
#include "config.h"

#include <errno.h>
#include <time.h>

#include "lib/cleanup.h"
#include "registry/transfer.h"

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

static int
begin(void *ctx, const struct http_reply *reply, struct imgd_error **err)
{
	struct transfer *t = ctx;
	int r;

	t->skip = 0;
	if (reply->status == 200) {
		r = t->ops->begin_whole(t->ctx, reply, err);
		t->skip = t->have;
		return r;
	}
	if (reply->status != 206)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected HTTP status %ld", reply->status);
	if (t->no_range || reply->content_range == NULL ||
	    !t->ops->range_fits(t->ctx, reply->content_range)) {
		t->no_range = true;
		return imgd_error_set(err, IMGD_E_NET,
		    "the server resumes at another place");
	}
	return 0;
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
	before = now_ms();
	r = t->ops->take(t->ctx, p, len, err);
	t->taking_ms += now_ms() - before;
	return r;
}

static int
attempt(struct transfer *t, struct http_reply *reply, struct imgd_error **err)
{
	struct http_request req = { .method = "GET", .begin = begin,
		.data = on_data, .ctx = t };
	cleanup_error struct imgd_error *why = NULL;
	int64_t before = now_ms();
	int r;

	if (t->have > 0 && !t->no_range) {
		req.has_range = true;
		req.range_from = t->have;
	}
	t->taking_ms = 0;
	t->stats->n_attempts++;
	r = t->ops->ask(t->ctx, &req, reply, &why);
	t->stats->net_ms += (uint64_t)(now_ms() - before - t->taking_ms);
	t->last_status = reply->status;
	if (r >= 0)
		return t->ops->judge(t->ctx, &req, reply, err);
	if (r == -IMGD_E_NET && t->ops->is_whole != NULL &&
	    t->ops->is_whole(t->ctx))
		return 0;
	if (err != NULL)
		*err = take_ptr(&why);
	return r;
}

int
transfer_run(struct transfer *t, bool (*gives_up)(void *ctx, int r),
    struct imgd_error **err)
{
	unsigned n, ms;
	int r;

	t->no_range = false;
	for (n = 1;; n++) {
		cleanup(http_reply_donep) struct http_reply reply = {
			.status = 0
		};
		cleanup_error struct imgd_error *why = NULL;
		uint64_t before = t->have;

		r = attempt(t, &reply, &why);
		if (r >= 0)
			return 0;
		if (t->ops->broken != NULL && t->ops->broken(t->ctx, err) < 0)
			return -ECANCELED;
		if (t->have - before >= TRANSFER_PROGRESS_BYTES)
			n = 1;
		if (t->is_final || gives_up(t->ctx, r) ||
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

int
transfer_no_range(struct transfer *t, struct imgd_error **err)
{
	t->no_range = true;
	return imgd_error_set(err, IMGD_E_NET, "the server does not resume");
}

int
transfer_is_short(const struct transfer *t, uint64_t size,
    struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_NET,
	    "%llu bytes came instead of %llu", (unsigned long long)t->have,
	    (unsigned long long)size);
}
