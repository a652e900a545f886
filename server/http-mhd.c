/* libmicrohttpd, behind the table of server/http.h. */
#include "config.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "server/http.h"

#define THREAD_STACK (256u << 10)
#define READ_BLOCK   (16u << 10)
#define BACKLOG      512u

struct http_server {
	struct MHD_Daemon *daemon;
	bool has_tls;
	const struct http_handler *handler;
	void *ctx;
	unsigned int body_timeout_s;
};

struct http_exchange {
	struct http_server *server;
	struct MHD_Connection *connection;
	char *target;
	void *state; /* the handler's; NULL before begin() */
	bool has_body_ended;
	pthread_mutex_t mutex; /* for the fields below */
	bool is_waiting, is_woken;
};

/* Called with the request line. */
static void *
on_target(void *ctx, const char *target, struct MHD_Connection *connection)
{
	struct http_exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->server = ctx;
	x->connection = connection;
	x->target = strdup(target);
	(void)pthread_mutex_init(&x->mutex, NULL);
	return x;
}

static void
on_completed(void *ctx, struct MHD_Connection *connection, void **con_cls,
    enum MHD_RequestTerminationCode how)
{
	struct http_exchange *x = *con_cls;

	(void)ctx;
	(void)connection;
	(void)how;
	*con_cls = NULL;
	if (x == NULL)
		return;
	if (x->state != NULL)
		x->server->handler->end(x->state);
	(void)pthread_mutex_destroy(&x->mutex);
	free(x->target);
	free(x);
}

/* Wait for wake(), unless it came meanwhile. */
static void
wait_for_wake(struct http_exchange *x)
{
	pthread_mutex_lock(&x->mutex);
	if (!x->is_woken) {
		MHD_suspend_connection(x->connection);
		x->is_waiting = true;
	}
	x->is_woken = false;
	pthread_mutex_unlock(&x->mutex);
}

static void
mhd_wake(struct http_exchange *x)
{
	pthread_mutex_lock(&x->mutex);
	if (x->is_waiting)
		MHD_resume_connection(x->connection);
	else
		x->is_woken = true;
	x->is_waiting = false;
	pthread_mutex_unlock(&x->mutex);
}

static ssize_t
on_read(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct http_exchange *x = ctx;
	ssize_t n = x->server->handler->read(x->state, buf, max);

	(void)pos;
	if (n == HTTP_READ_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == HTTP_READ_ABORT)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == HTTP_READ_LATER)
		wait_for_wake(x);
	return n;
}

static enum MHD_Result
send_answer(struct http_exchange *x, const struct http_answer *a)
{
	struct MHD_Response *response;
	enum MHD_Result ok;
	size_t i;

	response = a->is_stream
	    ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BLOCK,
		  on_read, x, NULL)
	    : MHD_create_response_from_buffer(a->len,
		  (void *)(uintptr_t)a->data, MHD_RESPMEM_PERSISTENT);
	if (response == NULL)
		return MHD_NO;
	for (i = 0; i < a->n_headers; i++)
		(void)MHD_add_response_header(response, a->headers[i].name,
		    a->headers[i].value);
	ok = MHD_queue_response(x->connection, a->status, response);
	MHD_destroy_response(response);
	return ok;
}

/* Whether the client has shown a certificate that our authority signed. */
static bool
is_certified(struct http_exchange *x)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
	    x->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	unsigned int problems = 0;

	return info != NULL &&
	    gnutls_certificate_verify_peers2(info->tls_session, &problems) ==
	    GNUTLS_E_SUCCESS &&
	    problems == 0;
}

static enum MHD_Result
begin(struct http_exchange *x, const char *method)
{
	struct http_server *s = x->server;

	if (s->has_tls && !is_certified(x))
		return MHD_NO;
	(void)MHD_set_connection_option(x->connection,
	    MHD_CONNECTION_OPTION_TIMEOUT, s->body_timeout_s);
	if (x->target == NULL)
		return MHD_NO;
	x->state = s->handler->begin(s->ctx, x, method, x->target);
	return x->state != NULL ? MHD_YES : MHD_NO;
}

static enum MHD_Result
on_request(void *ctx, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *data, size_t *len,
    void **con_cls)
{
	struct http_exchange *x = *con_cls;
	const struct http_handler *handler;
	struct http_answer a = { 0 };
	size_t n;

	(void)ctx;
	(void)connection;
	(void)url;
	(void)version;
	if (x == NULL)
		return MHD_NO;
	handler = x->server->handler;
	if (x->state == NULL) {
		if (begin(x, method) != MHD_YES)
			return MHD_NO;
		/* Whoever is refused need not send his body. */
		return handler->answer(x->state, &a) ? send_answer(x, &a)
						     : MHD_YES;
	}
	if (*len > 0) {
		n = handler->body(x->state, data, *len);
		*len -= n;
		if (n == 0)
			wait_for_wake(x);
		return MHD_YES;
	}
	if (!x->has_body_ended) {
		x->has_body_ended = true;
		handler->body_end(x->state);
	}
	if (handler->answer(x->state, &a))
		return send_answer(x, &a);
	wait_for_wake(x);
	return MHD_YES;
}

static const char *
mhd_header(struct http_exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND,
	    name);
}

static int
mhd_socket(struct http_exchange *x)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
	    x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info != NULL ? info->connect_fd : -EBADF;
}

static int
mhd_start(const struct http_settings *set, const struct http_handler *handler,
    void *ctx, struct http_server **ret, struct imgd_error **err)
{
	cleanup_close int listen_fd = set->listen_fd;
	struct http_server *s = calloc(1, sizeof(*s));
	const unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD |
	    MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
	    (set->key != NULL ? MHD_USE_TLS : 0u);
	const struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)set->key },
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)set->cert },
		{ MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)set->ca },
		{ MHD_OPTION_END, 0, NULL },
	};
	const struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*s = (struct http_server) {
		.has_tls = set->key != NULL,
		.handler = handler,
		.ctx = ctx,
		.body_timeout_s = set->body_timeout_s,
	};
	s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s,
	    MHD_OPTION_LISTEN_SOCKET, listen_fd,
	    MHD_OPTION_LISTEN_BACKLOG_SIZE, BACKLOG,
	    MHD_OPTION_CONNECTION_LIMIT, set->max_connections,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LIMIT_HEADER_BYTES,
	    MHD_OPTION_CONNECTION_TIMEOUT, set->head_timeout_s,
	    MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK,
	    MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
	    MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_ARRAY,
	    set->key != NULL ? tls : none, MHD_OPTION_END);
	if (s->daemon == NULL) {
		free(s);
		return imgd_error_set(err, EIO,
		    "the HTTP server does not start%s",
		    set->key != NULL ? "; are key and certificates good?"
				     : "");
	}
	(void)take_fd(&listen_fd);
	*ret = s;
	return 0;
}

static void
mhd_quiesce(struct http_server *s)
{
	int fd = MHD_quiesce_daemon(s->daemon);

	if (fd >= 0)
		(void)close(fd);
}

static void
mhd_stop(struct http_server *s)
{
	MHD_stop_daemon(s->daemon);
	free(s);
}

IMGD_EXPORT extern const struct http_module imgd_http_module;

const struct http_module imgd_http_module = {
	.start = mhd_start,
	.quiesce = mhd_quiesce,
	.stop = mhd_stop,
	.header = mhd_header,
	.socket = mhd_socket,
	.wake = mhd_wake,
};
