#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "server/exchange.h"

#define LOG_SERVER  "server"
#define JSON_TYPE   "application/json"
#define TAR_TYPE    "application/x-tar"
#define SERVER_NAME "imgd/" PACKAGE_VERSION " (linux)"

/* Since this version errors are JSON. */
#define MINOR_JSON_ERRORS 24

static struct exchange *
new_exchange(const struct exchange_context *c, struct http_exchange *http)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	*x = (struct exchange) {
		.engine = c->engine,
		.module = c->module,
		.waiter = c->waiter,
		.has_metrics = c->has_metrics,
		.peer = { -1, -1 },
		.http = http,
		.body = STRBUF_INIT,
		.out = STRBUF_INIT,
		.n_refs = 1,
		.in_fd = -EBADF,
		.out_fd = -EBADF,
	};
	(void)pthread_mutex_init(&x->mutex, NULL);
	(void)pthread_cond_init(&x->changed, NULL);
	return x;
}

static void
unref(struct exchange *x)
{
	bool is_last;

	pthread_mutex_lock(&x->mutex);
	is_last = --x->n_refs == 0;
	pthread_mutex_unlock(&x->mutex);
	if (!is_last)
		return;
	request_done(&x->request);
	job_free(x->job);
	free(x->name);
	strbuf_done(&x->body);
	strbuf_done(&x->out);
	close_fd(&x->in_fd);
	close_fd(&x->out_fd);
	(void)pthread_mutex_destroy(&x->mutex);
	(void)pthread_cond_destroy(&x->changed);
	free(x);
}

static void
wake_locked(struct exchange *x)
{
	if (x->http != NULL)
		x->module->wake(x->http);
}

void
exchange_wake(struct exchange *x)
{
	pthread_mutex_lock(&x->mutex);
	wake_locked(x);
	pthread_mutex_unlock(&x->mutex);
}

const char *
exchange_header(struct exchange *x, const char *name)
{
	return x->module->header(x->http, name);
}

/* ---- answers ---- */

static void
answer_locked(struct exchange *x, unsigned int status,
    const char *content_type)
{
	x->status = status;
	x->content_type = content_type;
	if (x->out.is_failed) {
		/* Nothing was sent yet. */
		strbuf_done(&x->out);
		x->status = 500;
	}
}

void
exchange_answer(struct exchange *x, unsigned int status,
    const char *content_type, const char *data)
{
	pthread_mutex_lock(&x->mutex);
	strbuf_puts(&x->out, data);
	answer_locked(x, status, content_type);
	x->is_ended = true;
	wake_locked(x);
	pthread_mutex_unlock(&x->mutex);
}

void
exchange_answer_json(struct exchange *x, unsigned int status,
    const char *json)
{
	exchange_answer(x, status, JSON_TYPE, json);
}

static unsigned int
status_of(int code)
{
	switch (code) {
	case EINVAL:
	case E2BIG:
	case ENAMETOOLONG:
	case IMGD_E_LIMIT:
		return 400;
	case EPERM:
	case EACCES:
		return 403;
	case IMGD_E_DENIED:
	case IMGD_E_UNKNOWN:
	case IMGD_E_PLATFORM:
	case ENOENT:
		return 404;
	case IMGD_E_CONFLICT:
	case EBUSY:
	case EEXIST:
		return 409;
	case EFBIG:
		return 413;
	case EOPNOTSUPP:
		return 501;
	case IMGD_E_GOING:
		return 503;
	default:
		return 500;
	}
}

static void
fail_locked(struct exchange *x, int code, const char *message)
{
	bool is_json = x->request.minor >= MINOR_JSON_ERRORS;

	strbuf_done(&x->out);
	if (is_json) {
		strbuf_puts(&x->out, "{\"message\":");
		strbuf_json(&x->out, message);
		strbuf_puts(&x->out, "}\n");
	} else {
		strbuf_puts(&x->out, message);
		strbuf_putc(&x->out, '\n');
	}
	answer_locked(x,
	    x->is_login && code == IMGD_E_DENIED ? 401 : status_of(code),
	    is_json ? JSON_TYPE : "text/plain; charset=utf-8");
	x->is_ended = true;
}

void
exchange_fail(struct exchange *x, int code, const char *message)
{
	pthread_mutex_lock(&x->mutex);
	fail_locked(x, code, message);
	wake_locked(x);
	pthread_mutex_unlock(&x->mutex);
}

void
exchange_commit(struct exchange *x)
{
	pthread_mutex_lock(&x->mutex);
	x->status = 200;
	x->content_type = JSON_TYPE;
	x->is_streaming = true;
	pthread_mutex_unlock(&x->mutex);
}

/* ---- the job's side ---- */

/* Wait until a slow reader has room; the client's absence is room, too. */
static void
wait_for_room(struct exchange *x)
{
	struct timespec until;

	while (x->http != NULL &&
	    x->out.len - x->n_read > LIMIT_OUTPUT_BYTES) {
		/* The engine's end is told to nobody. */
		if (engine_is_ending(x->engine))
			return;
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		(void)pthread_cond_timedwait(&x->changed, &x->mutex, &until);
	}
}

static void
job_said(void *ctx, const char *json)
{
	struct exchange *x = ctx;

	pthread_mutex_lock(&x->mutex);
	if (x->kind == ANSWER_LIST) {
		strbuf_putc(&x->out, x->has_output ? ',' : '[');
		strbuf_puts(&x->out, json);
	} else if (x->kind == ANSWER_STREAM || x->kind == ANSWER_JOB) {
		wait_for_room(x);
		if (x->http != NULL) {
			strbuf_puts(&x->out, json);
			strbuf_puts(&x->out, "\r\n");
		}
		x->status = 200;
		x->content_type = JSON_TYPE;
		x->is_streaming = true;
		wake_locked(x);
	}
	x->has_output = true;
	pthread_mutex_unlock(&x->mutex);
}

static bool
client_is_gone(void *ctx)
{
	struct exchange *x = ctx;
	bool is_gone = true;

	pthread_mutex_lock(&x->mutex);
	if (x->http != NULL) {
		struct pollfd p = {
			.fd = x->module->socket(x->http),
			.events = POLLRDHUP,
		};

		is_gone = poll(&p, 1, 0) > 0 &&
		    (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
	}
	pthread_mutex_unlock(&x->mutex);
	return is_gone;
}

static void
succeed_locked(struct exchange *x, struct job *job)
{
	const char *result = job->result.data != NULL ? job->result.data : "";

	switch (x->kind) {
	case ANSWER_JOB:
		strbuf_puts(&x->out, "{\"result\":");
		strbuf_json(&x->out, result);
		strbuf_puts(&x->out, "}\r\n");
		/* fallthrough */
	case ANSWER_STREAM:
	case ANSWER_FILE:
		if (x->status == 0) {
			x->is_streaming = true;
			answer_locked(x, 200,
			    x->kind == ANSWER_FILE ? TAR_TYPE : JSON_TYPE);
		}
		break;
	case ANSWER_LIST:
		strbuf_puts(&x->out, x->has_output ? "]\n" : "[]\n");
		answer_locked(x, 200, JSON_TYPE);
		break;
	case ANSWER_RESULT:
	case ANSWER_MADE:
		if (x->convert != NULL) {
			x->convert(x, result, &x->out);
		} else {
			/* It may be long, and nobody else wants it. */
			x->out = job->result;
			job->result = (struct strbuf)STRBUF_INIT;
		}
		strbuf_putc(&x->out, '\n');
		answer_locked(x, x->kind == ANSWER_MADE ? 201 : 200,
		    x->result_type != NULL ? x->result_type : JSON_TYPE);
		break;
	case ANSWER_CREATED:
		answer_locked(x, 201, NULL);
		break;
	case ANSWER_EMPTY:
		answer_locked(x, 204, NULL);
		break;
	}
}

static void
job_ended(void *ctx, struct job *job, int r, const struct imgd_error *err)
{
	struct exchange *x = ctx;
	const char *text = imgd_error_msg(err);

	pthread_mutex_lock(&x->mutex);
	if (r >= 0) {
		succeed_locked(x, job);
	} else if (!x->is_streaming) {
		fail_locked(x, -r, text);
	} else if (x->kind != ANSWER_FILE) {
		strbuf_puts(&x->out, "{\"errorDetail\":{\"message\":");
		strbuf_json(&x->out, text);
		strbuf_puts(&x->out, "},\"error\":");
		strbuf_json(&x->out, text);
		strbuf_puts(&x->out, "}\r\n");
	}
	x->is_broken = (r < 0 && x->kind == ANSWER_FILE) ||
	    (x->is_streaming && x->out.is_failed);
	x->is_ended = true;
	wake_locked(x);
	pthread_mutex_unlock(&x->mutex);
	unref(x);
}

static void
tell_peer(void *ctx, struct job_peer *ret)
{
	const struct exchange *x = ctx;

	*ret = x->peer;
}

static const struct job_client exchange_client = {
	.peer = tell_peer,
	.output = job_said,
	.is_abandoned = client_is_gone,
	.end = job_ended,
};

/* A pipe; the side that the server keeps does not block. */
static int
make_pipe(struct job *job, bool is_input, int *ret_fd,
    struct imgd_error **err)
{
	int fds[2], mine = is_input ? 1 : 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	(void)fcntl(fds[mine], F_SETFL, O_NONBLOCK);
	*ret_fd = fds[mine];
	job->fds[job->n_fds++] = fds[1 - mine];
	return 0;
}

int
exchange_job(struct exchange *x, const char *name, enum answer_kind kind,
    struct imgd_error **err)
{
	int r = 0;

	x->kind = kind;
	x->job = job_new(x->engine, &exchange_client, x, name);
	if (x->job == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (x->route->body == BODY_JOB)
		r = make_pipe(x->job, /* is_input= */ true, &x->in_fd, err);
	if (r >= 0 && kind == ANSWER_FILE)
		r = make_pipe(x->job, /* is_input= */ false, &x->out_fd, err);
	return r;
}

int
exchange_run(struct exchange *x, struct imgd_error **err)
{
	struct job *job = x->job;
	int r;

	x->job = NULL;
	pthread_mutex_lock(&x->mutex);
	x->n_refs++;
	pthread_mutex_unlock(&x->mutex);
	r = job_start(job, err);
	if (r >= 0)
		return 0;
	job_free(job);
	unref(x);
	return r;
}

/* ---- the module's side ---- */

static void
find_route(struct exchange *x, const char *method)
{
	const struct route *t;

	for (t = routes; t->method != NULL && x->route == NULL; t++)
		if ((strcmp(t->method, method) == 0 ||
			strcmp(t->method, "*") == 0) &&
		    request_matches(&x->request, t->pattern, &x->name))
			x->route = t;
}

static void
run_route(struct exchange *x)
{
	cleanup_error struct imgd_error *err = NULL;
	int r = x->route->run(x, &err);

	if (r < 0)
		exchange_fail(x, -r, imgd_error_msg(err));
}

/* Who it is, and what he does, if it changes something. */
static void
log_request(struct exchange *x, const char *method, const char *target)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(x->module->socket(x->http), SOL_SOCKET, SO_PEERCRED,
		&cred, &len) == 0 &&
	    cred.pid > 0)
		x->peer = (struct job_peer) { cred.pid, cred.uid };
	if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		log_debug(LOG_SERVER, "%s %s", method, target);
	else
		log_info("%s %s from pid %jd, uid %jd", method, target,
		    (intmax_t)x->peer.pid, (intmax_t)x->peer.uid);
}

static void *
on_begin(void *ctx, struct http_exchange *http, const char *method,
    const char *target)
{
	cleanup_error struct imgd_error *err = NULL;
	struct exchange *x = new_exchange(ctx, http);
	int r;

	if (x == NULL)
		return NULL;
	log_request(x, method, target);
	r = request_parse(target, &x->request, &err);
	if (r >= 0)
		find_route(x, method);
	if (r < 0)
		exchange_fail(x, -r, imgd_error_msg(err));
	else if (x->route == NULL)
		exchange_fail(x, ENOENT, "page not found");
	else if (engine_is_ending(x->engine))
		exchange_fail(x, IMGD_E_GOING, "the daemon is ending");
	else if (x->route->body == BODY_JOB)
		run_route(x);
	return x;
}

static bool
has_answer(struct exchange *x)
{
	bool has_it;

	pthread_mutex_lock(&x->mutex);
	has_it = x->status != 0;
	pthread_mutex_unlock(&x->mutex);
	return has_it;
}

static void
close_input(struct exchange *x)
{
	if (x->in_fd < 0)
		return;
	waiter_forget(x->waiter, x->in_fd);
	close_fd(&x->in_fd);
}

static size_t
on_body(void *state, const void *data, size_t len)
{
	struct exchange *x = state;
	ssize_t n;

	x->n_body += len;
	if (x->route == NULL || x->route->body == BODY_NONE)
		return len;
	if (x->route->body == BODY_SMALL) {
		if (x->n_body <= LIMIT_REQUEST_BODY_BYTES)
			strbuf_append(&x->body, data, len);
		else if (!has_answer(x))
			exchange_fail(x, EFBIG, "the request's body is too "
						"large");
		return len;
	}
	/* A job that needs no more of it does not end the request. */
	if (x->in_fd < 0)
		return len;
	n = write(x->in_fd, data, len);
	if (n >= 0)
		return (size_t)n;
	if (errno == EAGAIN) {
		waiter_watch(x->waiter, x->in_fd, EPOLLOUT, x);
		return 0;
	}
	close_input(x);
	return len;
}

static void
on_body_end(void *state)
{
	struct exchange *x = state;

	close_input(x);
	if (!has_answer(x) && x->route->body != BODY_JOB)
		run_route(x);
}

static void
add_header(struct http_answer *a, const char *name, const char *value)
{
	a->headers[a->n_headers++] = (struct http_header) { name, value };
}

static void
fill_answer(struct exchange *x, struct http_answer *a)
{
	const char *content_type;

	pthread_mutex_lock(&x->mutex);
	a->status = x->status;
	a->is_stream = x->is_streaming;
	/* What is no stream is whole, and stays as it is. */
	if (!x->is_streaming) {
		a->data = x->out.data != NULL ? x->out.data : "";
		a->len = x->out.len;
	}
	content_type = x->content_type;
	pthread_mutex_unlock(&x->mutex);
	add_header(a, "Api-Version", API_VERSION);
	add_header(a, "Docker-Experimental", "false");
	add_header(a, "Ostype", "linux");
	add_header(a, "Server", SERVER_NAME);
	if (content_type != NULL)
		add_header(a, "Content-Type", content_type);
	if (x->is_ping) {
		add_header(a, "Cache-Control",
		    "no-cache, no-store, must-revalidate");
		add_header(a, "Pragma", "no-cache");
	}
}

/* A file's head is sent when its first byte is there. */
static void
look_for_file(struct exchange *x)
{
	struct pollfd p = { .fd = x->out_fd, .events = POLLIN };

	if (poll(&p, 1, 0) == 0)
		waiter_watch(x->waiter, x->out_fd, EPOLLIN, x);
	/* At the end of an empty one, the job's end is waited for. */
	if ((p.revents & POLLIN) == 0)
		return;
	pthread_mutex_lock(&x->mutex);
	if (x->status == 0) {
		x->status = 200;
		x->content_type = TAR_TYPE;
		x->is_streaming = true;
	}
	pthread_mutex_unlock(&x->mutex);
}

static bool
on_answer(void *state, struct http_answer *ret)
{
	struct exchange *x = state;
	bool has_it = has_answer(x);

	if (!has_it && x->out_fd >= 0) {
		look_for_file(x);
		has_it = has_answer(x);
	}
	if (has_it)
		fill_answer(x, ret);
	return has_it;
}

/* What the end of a stream means. */
static ssize_t
end_of_stream(const struct exchange *x)
{
	if (!x->is_ended)
		return HTTP_READ_LATER;
	return x->is_broken ? HTTP_READ_ABORT : HTTP_READ_END;
}

static ssize_t
read_file(struct exchange *x, void *buf, size_t max)
{
	ssize_t n = read(x->out_fd, buf, max);

	if (n > 0)
		return n;
	if (n < 0 && errno == EAGAIN) {
		waiter_watch(x->waiter, x->out_fd, EPOLLIN, x);
		return HTTP_READ_LATER;
	}
	if (n < 0)
		return HTTP_READ_ABORT;
	pthread_mutex_lock(&x->mutex);
	n = end_of_stream(x);
	pthread_mutex_unlock(&x->mutex);
	return n;
}

static ssize_t
on_read(void *state, void *buf, size_t max)
{
	struct exchange *x = state;
	size_t n;
	ssize_t r;

	if (x->out_fd >= 0)
		return read_file(x, buf, max);
	pthread_mutex_lock(&x->mutex);
	n = x->out.len - x->n_read;
	n = n < max ? n : max;
	if (n > 0)
		memcpy(buf, x->out.data + x->n_read, n);
	x->n_read += n;
	r = n > 0 ? (ssize_t)n : end_of_stream(x);
	if (n > 0 && x->n_read == x->out.len) {
		strbuf_truncate(&x->out, 0);
		x->n_read = 0;
	}
	(void)pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->mutex);
	return r;
}

/* An upload that broke off must not look like one that ended: its pipe stays
 * open until the job, which looks for its client, is gone. */
static void
on_end(void *state)
{
	struct exchange *x = state;

	pthread_mutex_lock(&x->mutex);
	x->http = NULL;
	(void)pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->mutex);
	if (x->in_fd >= 0)
		waiter_forget(x->waiter, x->in_fd);
	if (x->out_fd >= 0) {
		waiter_forget(x->waiter, x->out_fd);
		close_fd(&x->out_fd);
	}
	unref(x);
}

const struct http_handler exchange_handler = {
	.begin = on_begin,
	.body = on_body,
	.body_end = on_body_end,
	.answer = on_answer,
	.read = on_read,
	.end = on_end,
};
