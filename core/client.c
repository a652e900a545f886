#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/client.h"
#include "core/engine.h"
#include "core/lock.h"
#include "core/protocol.h"
#include "core/proxies.h"
#include "core/store.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/message.h"

/* An engine that neither answers nor ends is given up after this. */
#define CONNECT_WAIT_MS 30000

static int
connect_engine(int root_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[32];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock",
	    fs_fd_path(root_fd, dir));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int e = errno;

		(void)close(fd);
		return -e;
	}
	return fd;
}

/* Everything but the descriptors named is none of the engine's business. */
static void
close_others(int a, int b)
{
	unsigned int low = (unsigned int)(a < b ? a : b);
	unsigned int high = (unsigned int)(a < b ? b : a);

	if (low > 3)
		(void)syscall(SYS_close_range, 3u, low - 1, 0u);
	if (high > low + 1)
		(void)syscall(SYS_close_range, low + 1, high - 1, 0u);
	(void)syscall(SYS_close_range, high + 1, ~0u, 0u);
}

static void
become_engine(const char *root, const struct config *config, int lock_fd,
    int ready_fd)
{
	const struct engine_options o = {
		.root = root,
		.config = config,
		.lock_fd = lock_fd,
		.ready_fd = ready_fd,
		.idle_ms = ENGINE_IDLE_MS,
	};
	struct imgd_error *err = NULL;
	int null_fd;

	(void)setsid();
	close_others(lock_fd, ready_fd);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd >= 0) {
		(void)dup2(null_fd, STDIN_FILENO);
		(void)dup2(null_fd, STDOUT_FILENO);
		/* Whoever reads our stderr to its end must not wait for us. */
		if (getenv("IMGD_DEBUG") == NULL)
			(void)dup2(null_fd, STDERR_FILENO);
		(void)close(null_fd);
	}
	(void)!chdir("/");
	exit(engine_run(&o, &err) < 0);
}

/* Fork an engine that owns lock_fd and wait until it serves. */
static int
start_engine(const char *root, const struct config *config, int *lock_fd,
    struct imgd_error **err)
{
	cleanup_close int rd = -EBADF, wr = -EBADF;
	char text[2048];
	int fds[2], code = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	rd = fds[0];
	wr = fds[1];
	(void)fflush(NULL);
	pid = fork();
	if (pid < 0)
		return imgd_error_set(err, errno, "fork: %s", strerror(errno));
	if (pid == 0)
		become_engine(root, config, *lock_fd, take_fd(&wr));
	close_fd(lock_fd);
	close_fd(&wr);
	do
		n = read(rd, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	n = read(rd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	(void)waitpid(pid, NULL, 0);
	return imgd_error_set(err, code > 0 ? code : EIO, "%s", text);
}

/* Connect to the store's engine, starting one if nobody owns the store. */
static int
reach_engine(const char *root, const struct config *config, bool is_timid,
    int *ret_sock, struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF;
	int waited, r;

	r = store_open_root(root, /* is_readonly= */ is_timid, &root_fd, err);
	if (r < 0)
		return r;
	for (waited = 0; waited < CONNECT_WAIT_MS;) {
		struct timespec pause = { 0, 50000000 };
		cleanup_close int lock_fd = -EBADF;
		int sock = connect_engine(root_fd);

		if (sock >= 0) {
			*ret_sock = sock;
			return 0;
		}
		if (is_timid && (sock == -ENOENT || sock == -ECONNREFUSED))
			return imgd_error_set(err, ENOENT,
			    "no engine runs on %s", root);
		if (sock != -ENOENT && sock != -ECONNREFUSED &&
		    sock != -EAGAIN)
			return imgd_error_set(err, -sock, "%s/sock: %s", root,
			    strerror(-sock));
		r = lock_try(root_fd, &lock_fd, err);
		if (r < 0)
			return r;
		if (r > 0) {
			r = start_engine(root, config, &lock_fd, err);
			if (r < 0)
				return r;
			continue;
		}
		(void)nanosleep(&pause, NULL);
		waited += 50;
	}
	return imgd_error_set(err, ETIMEDOUT,
	    "the engine of %s does not answer; its pid is in %s/lock", root,
	    root);
}

static void
put_env(struct message *m, const char *const (*env)[2], size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (env[i][1] == NULL)
			continue;
		message_put_str(m, env[i][0]);
		message_put_str(m, env[i][1]);
	}
}

static uint32_t
count_env(const char *const (*env)[2], size_t n)
{
	uint32_t n_set = 0;
	size_t i;

	for (i = 0; i < n; i++)
		n_set += env[i][1] != NULL;
	return n_set;
}

static int
send_request(int sock, const struct job_request *q, struct imgd_error **err)
{
	/* The engine's own environment is that of whichever verb happened to
	 * start it. */
	const struct proxies proxies = proxies_of_environment();
	const char *const more[][2] = {
		{ "has-proxies", "1" },
		{ "http-proxy", proxies.http },
		{ "https-proxy", proxies.https },
		{ "no-proxy", proxies.none },
	};
	const size_t n_more = sizeof(more) / sizeof(more[0]);
	struct message m;
	size_t i;

	message_init(&m, JOB_RUN);
	message_put_str(&m, q->name);
	message_put_u32(&m, (uint32_t)q->n_args);
	for (i = 0; i < q->n_args; i++)
		message_put_str(&m, q->args[i]);
	message_put_u32(&m, count_env(q->env, q->n_env) +
	    count_env(more, n_more));
	put_env(&m, q->env, q->n_env);
	put_env(&m, more, n_more);
	message_put_u32(&m, (uint32_t)q->n_fds);
	for (i = 0; i < q->n_fds; i++)
		message_put_fd(&m, q->fds[i]);
	return message_send(sock, &m, err);
}

/* One attempt: -IMGD_E_GOING if the engine ended before it took the job. */
static int
run_once(int sock, const struct job_request *q, job_output_cb *cb, void *ctx,
    char **ret_result, struct imgd_error **err)
{
	bool is_begun = false;
	int r;

	r = send_request(sock, q, NULL);
	if (r < 0)
		return imgd_error_set(err, IMGD_E_GOING, "the engine ended");
	for (;;) {
		cleanup(message_done) struct message m;

		message_init(&m, 0);
		r = message_recv(sock, PROTOCOL_MAX_DOC, &m, err);
		if (r < 0)
			return r;
		if (r == 0)
			return imgd_error_set(err,
			    is_begun ? EPIPE : IMGD_E_GOING,
			    "the engine died in the middle of the job");
		is_begun = true;
		switch (m.type) {
		case JOB_BEGUN:
			break;
		case JOB_OUTPUT:
			if (cb != NULL)
				cb(ctx, message_get_str(&m));
			break;
		case JOB_GOING:
			return imgd_error_set(err, IMGD_E_GOING,
			    "the engine ended");
		case JOB_FAILED:
			return message_get_error(&m, err);
		case JOB_DONE:
			if (ret_result != NULL) {
				*ret_result = strdup(message_get_str(&m));
				if (*ret_result == NULL)
					return imgd_error_set(err, ENOMEM,
					    "out of memory");
			}
			return 0;
		default:
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "engine: unexpected message %u",
			    (unsigned int)m.type);
		}
	}
}

int
client_run(const char *root, const struct config *config,
    const struct job_request *request, job_output_cb *cb, void *ctx,
    char **ret_result, struct imgd_error **err)
{
	int attempt;

	for (attempt = 0;; attempt++) {
		cleanup_error struct imgd_error *e = NULL;
		cleanup_close int sock = -EBADF;
		int r;

		r = reach_engine(root, config, request->is_timid, &sock, err);
		if (r < 0)
			return r;
		r = run_once(sock, request, cb, ctx, ret_result, &e);
		if (r >= 0)
			return 0;
		if (r != -IMGD_E_GOING || attempt == 100)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(e));
	}
}
