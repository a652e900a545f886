#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/confinement.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define TEXT_BYTES 1024
#define FULL       "full"

/* What a worker expects to be open: where it writes, a pipe that we hold open,
 * and a lock that it has no use for.  Returns 0 or an errno. */
static int
spawn(int out_fd, int liveness_fd, int null_fd, pid_t *ret)
{
	static const char role[] = ROLE_PROBER;
	char *argv[] = { (char *)(uintptr_t)role, NULL };
	posix_spawn_file_actions_t fa;
	int r;

	(void)posix_spawn_file_actions_init(&fa);
	r = posix_spawn_file_actions_adddup2(&fa, out_fd, WORKER_SOCKET_FD);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&fa, liveness_fd,
		    WORKER_LIVENESS_FD);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&fa, null_fd,
		    WORKER_LOCK_FD);
	if (r == 0)
		r = posix_spawn(ret, "/proc/self/exe", &fa, NULL, argv,
		    environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	return r;
}

struct pair {
	int ends[2];
};

#define PAIR_INIT { { -EBADF, -EBADF } }

static void
pair_done(struct pair *p)
{
	close_fd(&p->ends[0]);
	close_fd(&p->ends[1]);
}

/* A pipe above the descriptors that a worker knows. */
static int
high_pipe(struct pair *ret)
{
	int fds[2], i;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	for (i = 0; i < 2; i++) {
		ret->ends[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 16);
		close_fd(&fds[i]);
	}
	return ret->ends[0] < 0 || ret->ends[1] < 0 ? -1 : 0;
}

static void
read_all(int fd, char text[TEXT_BYTES])
{
	size_t len = 0;
	ssize_t n;

	while (len < TEXT_BYTES - 1 &&
	    (n = read(fd, text + len, TEXT_BYTES - 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
}

int
confinement_describe(char **ret, struct imgd_error **err)
{
	cleanup(pair_done) struct pair out = PAIR_INIT, liveness = PAIR_INIT;
	cleanup_close int null_fd = -EBADF;
	char text[TEXT_BYTES];
	int r, status;
	pid_t pid;

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || high_pipe(&out) < 0 || high_pipe(&liveness) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	r = spawn(out.ends[1], liveness.ends[0], null_fd, &pid);
	if (r != 0)
		return imgd_error_set(err, r, "start %s: %s", ROLE_PROBER,
		    strerror(r));
	close_fd(&out.ends[1]);
	read_all(out.ends[0], text);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return imgd_error_set(err, EIO, "%s failed", ROLE_PROBER);
	if (asprintf(ret, "%s%s", *text == '\0' ? FULL : "without ", text) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

void
confinement_warn(void)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *text = NULL;

	if (confinement_describe(&text, &err) < 0)
		log_warn("confinement: %s", imgd_error_msg(err));
	else if (strcmp(text, FULL) != 0)
		log_warn("confinement of workers: %s", text);
}
