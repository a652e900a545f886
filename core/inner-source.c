#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/inner-source.h"
#include "core/layer-order.h"
#include "core/protocol.h"
#include "lib/cleanup.h"

void
inner_source_init(struct inner_source *s)
{
	s->sock = -EBADF;
	s->has_thread = false;
	(void)pthread_mutex_init(&s->send_mutex, NULL);
}

void
inner_source_done(struct inner_source *s)
{
	close_fd(&s->sock);
	(void)pthread_mutex_destroy(&s->send_mutex);
}

int
inner_source_send(struct inner_source *s, struct message *m,
    struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&s->send_mutex);
	r = message_send(s->sock, m, err);
	pthread_mutex_unlock(&s->send_mutex);
	return r;
}

/* Of what the pull waits for: if that cannot be sent, it sees the end of the
 * stream instead. */
static void
send_awaited(struct inner_source *s, struct message *m)
{
	if (inner_source_send(s, m, NULL) < 0)
		(void)shutdown(s->sock, SHUT_WR);
}

int
inner_source_resolved(struct inner_source *s, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_RESOLVED);
	message_put_str(&m, "");
	return inner_source_send(s, &m, err);
}

/* ---- layers ---- */

/* One layer on its way. */
struct passage {
	struct passage *next;
	struct inner_source *source;
	pthread_t thread;
	uint32_t layer;
	int out_fd;
};

static void *
pass_layer(void *arg)
{
	cleanup_error struct imgd_error *err = NULL;
	struct passage *g = arg;
	struct inner_source *s = g->source;
	uint64_t bytes = 0;
	struct message m;
	int r;

	r = s->write_layer(s, g->layer, g->out_fd, &bytes, &err);
	message_init(&m, r < 0 ? PULLER_LAYER_FAILED : PULLER_LAYER_DONE);
	message_put_u32(&m, g->layer);
	if (r < 0) {
		message_put_error(&m, err);
	} else {
		message_put_u64(&m, bytes);
		message_put_u64(&m, bytes);
	}
	send_awaited(s, &m);
	close_fd(&g->out_fd);
	return NULL;
}

static int
start_thread(pthread_t *ret, void *(*run)(void *), void *arg,
    struct imgd_error **err)
{
	pthread_attr_t attr;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, ENGINE_THREAD_STACK);
	r = pthread_create(ret, &attr, run, arg);
	(void)pthread_attr_destroy(&attr);
	return r == 0 ? 0
		      : imgd_error_set(err, r, "thread: %s", strerror(r));
}

static int
take_order(struct inner_source *s, struct message *m, struct passage **ret,
    struct imgd_error **err)
{
	struct passage *g = calloc(1, sizeof(*g));
	int r;

	if (g == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	g->source = s;
	r = layer_order_take(m, &g->layer, &g->out_fd, err);
	if (r >= 0)
		r = start_thread(&g->thread, pass_layer, g, err);
	if (r < 0) {
		close_fd(&g->out_fd);
		free(g);
		return r;
	}
	*ret = g;
	return 0;
}

static int
serve(struct inner_source *s, struct passage **all, struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		struct passage *g = NULL;
		int r;

		message_init(&m, 0);
		r = message_recv(s->sock, PROTOCOL_MAX_BYTES, &m, err);
		if (r <= 0)
			return r;
		if (m.type != PULLER_FETCH)
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "unexpected message %u", (unsigned int)m.type);
		r = take_order(s, &m, &g, err);
		if (r < 0)
			return r;
		g->next = *all;
		*all = g;
	}
}

/* ---- its life ---- */

static void *
source_thread(void *arg)
{
	cleanup_error struct imgd_error *err = NULL;
	struct passage *all = NULL, *next;
	struct inner_source *s = arg;
	struct message m;
	int r;

	r = s->tell(s, &err);
	if (r >= 0)
		r = serve(s, &all, &err);
	if (r < 0) {
		message_init(&m, PULLER_FAILED);
		message_put_error(&m, err);
		send_awaited(s, &m);
	}
	/* A pull that is given up kills its unpackers, so no packer blocks. */
	for (; all != NULL; all = next) {
		next = all->next;
		(void)pthread_join(all->thread, NULL);
		free(all);
	}
	return NULL;
}

int
inner_source_start(struct inner_source *s, struct pull *p,
    struct imgd_error **err)
{
	int pair[2], r;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	p->source_sock = pair[0];
	s->sock = pair[1];
	r = start_thread(&s->thread, source_thread, s, err);
	s->has_thread = r >= 0;
	return r;
}

void
inner_source_end(struct inner_source *s)
{
	if (s->has_thread)
		(void)pthread_join(s->thread, NULL);
	s->has_thread = false;
}
