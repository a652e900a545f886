#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/module.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "server/exchange.h"
#include "server/listen.h"
#include "server/notify.h"
#include "server/server.h"
#include "server/waiter.h"

/* A head that does not come, and a client that does not ask again. */
#define HEAD_TIMEOUT_S 60u
/* A body or an answer of which no byte moves. */
#define BODY_TIMEOUT_S 600u

struct server {
	const struct server_options *options;
	const struct http_module *module;
	struct exchange_context context;
	struct listener listeners[LISTEN_MAX];
	struct http_server *http[LISTEN_MAX];
	size_t n_listeners;
};

int
server_new(const struct server_options *o, struct server **ret,
    struct imgd_error **err)
{
	struct server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->options = o;
	*ret = s;
	return 0;
}

void
server_free(struct server *s)
{
	free(s);
}

static int
start_http(struct server *s, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < s->n_listeners; i++) {
		const struct server_options *o = s->options;
		const bool has_tls = s->listeners[i].is_tcp;
		const struct http_settings set = {
			.key = has_tls ? o->tls_key : NULL,
			.cert = has_tls ? o->tls_cert : NULL,
			.ca = has_tls ? o->tls_ca : NULL,
			.listen_fd = s->listeners[i].fd,
			.max_connections = LIMIT_CONNECTIONS,
			.head_timeout_s = HEAD_TIMEOUT_S,
			.body_timeout_s = BODY_TIMEOUT_S,
		};

		s->listeners[i].fd = -EBADF;
		r = s->module->start(&set, &exchange_handler, &s->context,
		    &s->http[i], err);
	}
	return r;
}

static int
server_start(struct engine *e, void *ctx, struct imgd_error **err)
{
	struct server *s = ctx;
	void *module;
	size_t i;
	int r;

	r = module_symbol("http", HTTP_MODULE_SYMBOL, &module, err);
	if (r < 0)
		return r;
	s->module = module;
	s->context.engine = e;
	s->context.has_metrics = s->options->has_metrics;
	s->context.module = s->module;
	r = waiter_new(&s->context.waiter, err);
	if (r >= 0)
		r = listen_open(s->options->socket_path, s->options->group,
		    s->listeners, &s->n_listeners, err);
	if (r >= 0 && s->options->tcp_address != NULL)
		r = listen_tcp(s->options->tcp_address, s->listeners,
		    &s->n_listeners, err);
	if (r >= 0)
		r = start_http(s, err);
	if (r < 0)
		return r;
	for (i = 0; i < s->n_listeners; i++)
		log_info("listening on %s", s->listeners[i].path);
	notify_manager("READY=1");
	return 0;
}

static void
server_quiesce(void *ctx)
{
	struct server *s = ctx;
	size_t i;

	notify_manager("STOPPING=1");
	log_info("ending");
	for (i = 0; i < s->n_listeners; i++) {
		listen_close(&s->listeners[i]);
		if (s->http[i] != NULL)
			s->module->quiesce(s->http[i]);
	}
}

static void
server_stop(void *ctx)
{
	struct server *s = ctx;
	size_t i;

	for (i = 0; i < s->n_listeners; i++) {
		listen_close(&s->listeners[i]);
		if (s->http[i] != NULL)
			s->module->stop(s->http[i]);
		s->http[i] = NULL;
	}
	s->n_listeners = 0;
	waiter_free(s->context.waiter);
	s->context.waiter = NULL;
}

static struct config *
server_reload(void *ctx)
{
	struct server *s = ctx;
	struct config *c;

	notify_manager("RELOADING=1");
	c = s->options->reload(s->options->ctx);
	notify_manager("READY=1");
	return c;
}

const struct engine_service server_service = {
	.start = server_start,
	.quiesce = server_quiesce,
	.stop = server_stop,
	.reload = server_reload,
};
