/* Starting and ending worker processes. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/engine.h"
#include "core/exec.h"
#include "core/leave.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/message.h"

struct exec_request {
	struct exec_request *next;
	const char *role;
	int sock;
	int pidfd;
	int error; /* errno; valid once is_done */
	bool is_done;
};

struct exec_child {
	struct exec_child *next;
	pid_t pid;
};

static int
add_fd(posix_spawn_file_actions_t *fa, int fd, int target)
{
	return posix_spawn_file_actions_adddup2(fa, fd, target);
}

/* Returns 0 or an errno. */
static int
spawn_role(struct engine *e, struct exec_request *q)
{
	char *argv[] = { (char *)(uintptr_t)q->role, NULL };
	/* A source below the targets would be overwritten before its turn. */
	cleanup_close int sock = fcntl(q->sock, F_DUPFD_CLOEXEC, 16);
	struct exec_child *child = malloc(sizeof(*child));
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int r;

	if (sock < 0 || child == NULL) {
		free(child);
		return sock < 0 ? errno : ENOMEM;
	}
	(void)sigemptyset(&none);
	(void)posix_spawn_file_actions_init(&fa);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	r = add_fd(&fa, sock, WORKER_SOCKET_FD);
	if (r == 0)
		r = add_fd(&fa, e->liveness[0], WORKER_LIVENESS_FD);
	if (r == 0)
		r = add_fd(&fa, e->workers_lock_fd, WORKER_LOCK_FD);
	if (r == 0)
		r = posix_spawn(&pid, "/proc/self/exe", &fa, &attr, argv,
		    environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (r != 0) {
		free(child);
		return r;
	}
	*child = (struct exec_child) { .next = e->children, .pid = pid };
	e->children = child;
	q->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (q->pidfd < 0) {
		r = errno;
		(void)kill(pid, SIGKILL);
		return r;
	}
	return 0;
}

/* Drivers have children, too, and wait for them themselves. */
static void
reap(struct engine *e)
{
	struct exec_child **at = &e->children, *child;

	while ((child = *at) != NULL) {
		if (waitpid(child->pid, NULL, WNOHANG) == 0) {
			at = &child->next;
			continue;
		}
		*at = child->next;
		free(child);
	}
}

void
exec_serve(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	while (e->execs != NULL) {
		struct exec_request *q = e->execs;

		e->execs = q->next;
		pthread_mutex_unlock(&e->mutex);
		q->error = spawn_role(e, q);
		pthread_mutex_lock(&e->mutex);
		q->is_done = true;
		pthread_cond_broadcast(&e->changed);
	}
	pthread_mutex_unlock(&e->mutex);
	reap(e);
}

void
exec_forget(struct engine *e)
{
	while (e->children != NULL) {
		struct exec_child *child = e->children;

		e->children = child->next;
		free(child);
	}
}

int
engine_exec(struct engine *e, const char *role, int sock, int *ret_pidfd,
    struct imgd_error **err)
{
	struct exec_request q = { .role = role, .sock = sock,
		.pidfd = -EBADF };

	pthread_mutex_lock(&e->mutex);
	q.next = e->execs;
	/* Until it is done. */
	/* cppcheck-suppress autoVariables */
	e->execs = &q;
	engine_wake(e);
	while (!q.is_done)
		pthread_cond_wait(&e->changed, &e->mutex);
	pthread_mutex_unlock(&e->mutex);
	if (q.error != 0)
		return imgd_error_set(err, q.error, "start %s: %s", role,
		    strerror(q.error));
	*ret_pidfd = q.pidfd;
	return 0;
}

static int
ensure_spawner(struct engine *e, struct imgd_error **err)
{
	int pair[2], pidfd, r;

	if (e->spawner_sock >= 0)
		return 0;
	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	r = engine_exec(e, ROLE_SPAWNER, pair[1], &pidfd, err);
	close_fd(&pair[1]);
	if (r < 0) {
		close_fd(&pair[0]);
		return r;
	}
	close_fd(&pidfd);
	e->spawner_sock = pair[0];
	return 0;
}

static int
ask_spawner(struct engine *e, uint32_t what, int sock, int *ret_pidfd,
    struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r, fd;

	message_init(&m, SPAWN_RUN);
	message_put_u32(&m, what);
	message_put_fd(&m, sock);
	r = message_send(e->spawner_sock, &m, err);
	if (r >= 0)
		r = message_recv(e->spawner_sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, EPIPE, "the spawner died");
	if (m.type == SPAWN_FAILED)
		return message_get_error(&m, err);
	if (m.type != SPAWN_DONE)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "spawner: unexpected message %u", (unsigned int)m.type);
	fd = message_get_fd(&m);
	r = message_end(&m, err);
	if (r < 0) {
		cleanup_closep(&fd);
		return r;
	}
	*ret_pidfd = fd;
	return 0;
}

int
engine_spawn(struct engine *e, uint32_t what, int *ret_sock, int *ret_pidfd,
    struct imgd_error **err)
{
	cleanup_close int mine = -EBADF, theirs = -EBADF;
	int pair[2], r;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	mine = pair[0];
	theirs = pair[1];
	pthread_mutex_lock(&e->spawner_mutex);
	r = ensure_spawner(e, err);
	if (r >= 0)
		r = ask_spawner(e, what, theirs, ret_pidfd, err);
	/* A spawner that failed to answer is started anew next time. */
	if (r < 0)
		close_fd(&e->spawner_sock);
	pthread_mutex_unlock(&e->spawner_mutex);
	if (r >= 0)
		*ret_sock = take_fd(&mine);
	return r;
}

void
worker_wait(int *pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = *pidfd, .events = POLLIN };

	if (*pidfd < 0)
		return;
	while (poll(&p, 1, timeout_ms) < 0 && errno == EINTR)
		;
	if ((p.revents & POLLIN) == 0)
		worker_end(pidfd);
	close_fd(pidfd);
}

static void
kill_worker(int *pidfd, bool waits)
{
	struct pollfd p = { .fd = *pidfd, .events = POLLIN };

	if (*pidfd < 0)
		return;
	/* Its socket is closed, so it ends by itself, too. */
	if (leave_seeks_leaks())
		(void)poll(&p, 1, LEAK_CHECK_MS);
	(void)syscall(SYS_pidfd_send_signal, *pidfd, SIGKILL, NULL, 0);
	while (waits && poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	close_fd(pidfd);
}

void
worker_dismiss(int *pidfd)
{
	kill_worker(pidfd, /* waits= */ false);
}

void
worker_end(int *pidfd)
{
	kill_worker(pidfd, /* waits= */ true);
}
