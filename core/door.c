#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/door.h"
#include "core/job.h"
#include "core/protocol.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/message.h"

/* A client's connection. */
struct visitor {
	struct engine *engine;
	int sock;
};

static void
visitor_output(void *ctx, const char *json)
{
	struct visitor *v = ctx;
	struct message m;

	message_init(&m, JOB_OUTPUT);
	message_put_str(&m, json);
	(void)message_send(v->sock, &m, NULL);
}

static bool
visitor_is_gone(void *ctx)
{
	struct visitor *v = ctx;
	struct pollfd p = { .fd = v->sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 &&
	    (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void
visitor_end(void *ctx, struct job *job, int r, const struct imgd_error *err)
{
	struct visitor *v = ctx;
	struct message m;

	message_init(&m, r < 0 ? JOB_FAILED : JOB_DONE);
	if (r < 0)
		message_put_error(&m, err);
	else
		message_put_str(&m, job->result.data);
	(void)message_send(v->sock, &m, NULL);
}

static void
visitor_peer(void *ctx, struct job_peer *ret)
{
	struct visitor *v = ctx;
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(v->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		*ret = (struct job_peer) { cred.pid, cred.uid };
}

static const struct job_client visitor_client = {
	.output = visitor_output,
	.is_abandoned = visitor_is_gone,
	.end = visitor_end,
	.peer = visitor_peer,
	.door = "sock",
};

static int
parse_job(struct message *m, struct job *job, struct imgd_error **err)
{
	uint32_t i, n;
	int r = 0;

	n = message_get_u32(m);
	for (i = 0; r >= 0 && !m->is_bad && i < n; i++)
		r = job_add_arg(job, message_get_str(m), err);
	n = r < 0 ? 0 : message_get_u32(m);
	for (i = 0; r >= 0 && !m->is_bad && i < n; i++) {
		const char *key = message_get_str(m);

		r = job_setenv(job, key, message_get_str(m), err);
	}
	n = r < 0 ? 0 : message_get_u32(m);
	if (n > MESSAGE_MAX_FDS)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "more than %d descriptors", MESSAGE_MAX_FDS);
	while (r >= 0 && !m->is_bad && job->n_fds < n)
		job->fds[job->n_fds++] = message_get_fd(m);
	return r < 0 ? r : message_end(m, err);
}

/* Only who may enter ROOT reaches the socket; check all the same. */
static int
check_peer(int sock, struct imgd_error **err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return imgd_error_set(err, errno, "peer: %s", strerror(errno));
	if (cred.uid != 0 && cred.uid != geteuid())
		return imgd_error_set(err, EPERM, "user %u may not use this",
		    (unsigned int)cred.uid);
	return 0;
}

/* Receive a request; 0 if the client left without one. */
static int
receive_job(struct visitor *v, struct job **ret, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	cleanup(job_freep) struct job *job = NULL;
	int r;

	message_init(&m, 0);
	r = message_set_timeout(v->sock, PROTOCOL_TIMEOUT_S, err);
	if (r >= 0)
		r = check_peer(v->sock, err);
	if (r >= 0)
		r = message_recv(v->sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r <= 0)
		return r;
	if (m.type != JOB_RUN)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m.type);
	job = job_new(v->engine, &visitor_client, v, message_get_str(&m));
	if (job == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = parse_job(&m, job, err);
	if (r < 0)
		return r;
	*ret = job;
	job = NULL;
	return 1;
}

/* Say something without contents, or what failed. */
static void
answer(struct visitor *v, uint32_t type, const struct imgd_error *err)
{
	struct message m;

	message_init(&m, type);
	if (type == JOB_FAILED)
		message_put_error(&m, err);
	(void)message_send(v->sock, &m, NULL);
}

static void
serve(struct visitor *v)
{
	cleanup_error struct imgd_error *err = NULL;
	struct job *job = NULL;
	int r = receive_job(v, &job, &err);

	if (r < 0) {
		answer(v, JOB_FAILED, err);
	} else if (r > 0 && engine_is_ending(v->engine)) {
		answer(v, JOB_GOING, NULL);
		job_free(job);
	} else if (r > 0) {
		answer(v, JOB_BEGUN, NULL);
		job_run(job);
	}
}

static void *
visitor_thread(void *arg)
{
	struct visitor *v = arg;
	struct engine *e = v->engine;

	serve(v);
	close_fd(&v->sock);
	free(v);
	engine_leave(e);
	return NULL;
}

void
door_accept(struct engine *e)
{
	cleanup_close int sock = accept4(e->listen_fd, NULL, NULL,
	    SOCK_CLOEXEC);
	cleanup_error struct imgd_error *err = NULL;
	struct visitor *v;

	if (sock < 0)
		return;
	v = malloc(sizeof(*v));
	if (v == NULL)
		return;
	*v = (struct visitor) { e, sock };
	if (engine_thread(e, visitor_thread, v, &err) < 0) {
		log_warn("%s, ignoring a client", imgd_error_msg(err));
		free(v);
		return;
	}
	(void)take_fd(&sock);
}

void
door_close(struct engine *e)
{
	struct pollfd p = { .fd = e->listen_fd, .events = POLLIN };

	(void)unlinkat(e->store->root_fd, "sock", 0);
	while (poll(&p, 1, 0) > 0)
		door_accept(e);
}

int
door_open(struct engine *e, struct imgd_error **err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[32];
	int fd;

	if (unlinkat(e->store->root_fd, "sock", 0) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "sock: %s", strerror(errno));
	/* Whoever a poll told of may have been taken by door_close meanwhile. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return imgd_error_set(err, errno, "socket: %s",
		    strerror(errno));
	/* ROOT's own path may be longer than sun_path. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock",
	    fs_fd_path(e->store->root_fd, dir));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    fchmodat(e->store->root_fd, "sock", 0600, 0) < 0 ||
	    listen(fd, 128) < 0) {
		int code = errno;

		close_fd(&fd);
		return imgd_error_set(err, code, "sock: %s", strerror(code));
	}
	e->listen_fd = fd;
	return 0;
}
