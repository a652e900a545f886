#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/leave.h"
#include "core/protocol.h"
#include "core/role.h"
#include "core/spawner.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/message.h"

static void
child(role_main_fn *run, int sock, unsigned int what)
{
	(void)close(WORKER_SOCKET_FD);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	leave(run(sock, what));
}

static int
spawn(role_main_fn *run, struct message *m, int *ret_pidfd,
    struct imgd_error **err)
{
	uint32_t what = message_get_u32(m);
	cleanup_close int sock = message_get_fd(m);
	pid_t pid;
	int r, fd;

	r = message_end(m, err);
	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0)
		child(run, sock, what);
	if (pid < 0)
		return imgd_error_set(err, errno, "fork: %s", strerror(errno));
	/* The child cannot be gone for good before SIGCHLD's default, which
	 * reaps it, so the pid is still its own. */
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0) {
		int e = errno;

		(void)kill(pid, SIGKILL);
		return imgd_error_set(err, e, "pidfd: %s", strerror(e));
	}
	*ret_pidfd = fd;
	return 0;
}

static int
serve(role_main_fn *run, struct imgd_error **err)
{
	for (;;) {
		cleanup_error struct imgd_error *e = NULL;
		cleanup(message_done) struct message m;
		cleanup_close int pidfd = -EBADF;
		struct message out;
		int r;

		message_init(&m, 0);
		r = message_recv(WORKER_SOCKET_FD, PROTOCOL_MAX_BYTES, &m,
		    err);
		if (r <= 0)
			return r;
		if (m.type != SPAWN_RUN)
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "unexpected message %u", (unsigned int)m.type);
		r = spawn(run, &m, &pidfd, &e);
		message_init(&out, r < 0 ? SPAWN_FAILED : SPAWN_DONE);
		if (r < 0)
			message_put_error(&out, e);
		else
			message_put_fd(&out, pidfd);
		r = message_send(WORKER_SOCKET_FD, &out, err);
		if (r < 0)
			return r;
	}
}

int
spawner_run(void)
{
	cleanup_error struct imgd_error *err = NULL;
	struct sigaction sa = { .sa_handler = SIG_DFL,
		.sa_flags = SA_NOCLDWAIT };
	role_main_fn *prepare, *run;
	int r;

	/* No zombies: whoever cares holds a pidfd. */
	(void)sigaction(SIGCHLD, &sa, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return 1;
	r = role_load("unpacker", ROLE_PREPARE_SYMBOL, &prepare, &err);
	if (r >= 0)
		r = role_load("unpacker", ROLE_MAIN_SYMBOL, &run, &err);
	if (r >= 0) {
		(void)prepare(WORKER_SOCKET_FD, 0);
		r = serve(run, &err);
	}
	if (r < 0)
		log_warn("spawner: %s", imgd_error_msg(err));
	return r < 0;
}
