#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/layer-order.h"
#include "core/orders.h"
#include "core/protocol.h"
#include "lib/cleanup.h"

#define PROGRESS_INTERVAL_MS 100
#define LAYER_STACK          (384u << 10)

struct order {
	struct orders *all;
	uint32_t layer;
	int out_fd;
	int64_t last_ms;
};

void
orders_init(struct orders *all, int sock)
{
	teller_init(&all->teller, sock);
	(void)pthread_mutex_init(&all->mutex, NULL);
	(void)pthread_cond_init(&all->changed, NULL);
	all->n_threads = 0;
}

/* ---- one order ---- */

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
order_progress(struct order *o, uint64_t bytes)
{
	int64_t now = now_ms();
	struct message m;

	if (now - o->last_ms < PROGRESS_INTERVAL_MS)
		return;
	o->last_ms = now;
	message_init(&m, PULLER_PROGRESS);
	message_put_u32(&m, o->layer);
	message_put_u64(&m, bytes);
	(void)teller_send(&o->all->teller, &m, NULL);
}

static int
write_tar(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	const struct order *o = ctx;

	return layer_order_write(o->out_fd, buf, len, err);
}

static void
leave(struct orders *all)
{
	pthread_mutex_lock(&all->mutex);
	all->n_threads--;
	pthread_cond_signal(&all->changed);
	pthread_mutex_unlock(&all->mutex);
}

static void *
layer_thread(void *arg)
{
	cleanup_error struct imgd_error *err = NULL;
	struct order *o = arg;
	struct orders *all = o->all;
	struct imgd_sink sink = { sizeof(sink), o, write_tar };
	struct order_counts counts = { 0, 0 };
	struct message m;
	int r;

	r = all->ops->write_layer(all->ctx, o->layer, o, &sink, &counts,
	    &err);
	message_init(&m, r < 0 ? PULLER_LAYER_FAILED : PULLER_LAYER_DONE);
	message_put_u32(&m, o->layer);
	if (r < 0) {
		message_put_error(&m, err);
	} else {
		message_put_u64(&m, counts.blob_bytes);
		message_put_u64(&m, counts.tar_bytes);
	}
	teller_send_awaited(&all->teller, &m);
	/* Closed after the word: an end of file alone means nothing. */
	close_fd(&o->out_fd);
	free(o);
	leave(all);
	return NULL;
}

static int
start_thread(struct order *o, struct imgd_error **err)
{
	struct orders *all = o->all;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	/* The engine orders no more at once than it said; one that has just
	 * been told about may be on its way out. */
	pthread_mutex_lock(&all->mutex);
	while (all->n_threads >= all->max_threads)
		pthread_cond_wait(&all->changed, &all->mutex);
	all->n_threads++;
	pthread_mutex_unlock(&all->mutex);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, LAYER_STACK);
	r = pthread_create(&thread, &attr, layer_thread, o);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		return 0;
	leave(all);
	return imgd_error_set(err, r, "thread: %s", strerror(r));
}

/* ---- all of them ---- */

static int
take_order(struct orders *all, struct message *m, struct imgd_error **err)
{
	struct order *o = calloc(1, sizeof(*o));
	int r;

	if (o == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->all = all;
	r = layer_order_take(m, &o->layer, &o->out_fd, err);
	if (r >= 0 && o->layer >= all->n_layers)
		r = imgd_error_set(err, IMGD_E_PROTOCOL,
		    "there is no layer %u", (unsigned int)o->layer);
	if (r >= 0 && all->ops->ordered != NULL)
		all->ops->ordered(all->ctx, o->layer);
	if (r >= 0)
		r = start_thread(o, err);
	if (r < 0) {
		close_fd(&o->out_fd);
		free(o);
	}
	return r;
}

int
orders_serve(struct orders *all, struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		int r;

		message_init(&m, 0);
		r = message_recv(all->teller.sock, PROTOCOL_MAX_ORDER, &m, err);
		if (r <= 0)
			return r;
		if (m.type == PULLER_FETCH)
			r = take_order(all, &m, err);
		else if (all->ops->hear != NULL)
			r = all->ops->hear(all->ctx, &m, err);
		else
			r = imgd_error_set(err, IMGD_E_PROTOCOL,
			    "unexpected message %u", (unsigned int)m.type);
		if (r < 0)
			return r;
	}
}
