/* Asking a driver in a process of its own: one that crashes is refused. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/driver-probe.h"
#include "lib/cleanup.h"

/* What the child tells; it fits into a pipe. */
struct answer {
	int r;
	char text[1024];
};

static void
probe_and_exit(const struct imgd_driver *table, const struct imgd_env *env,
    int fd)
{
	struct imgd_error *err = NULL;
	struct answer a = { 0 };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	a.r = table->probe(env, &err);
	if (err != NULL)
		(void)strncpy(a.text, imgd_error_msg(err), sizeof(a.text) - 1);
	(void)!write(fd, &a, sizeof(a));
	/* No handlers and no buffers of the parent's. */
	_exit(0);
}

int
probe_apart(const struct imgd_driver *table, const struct imgd_env *env,
    struct imgd_error **err)
{
	cleanup_close int rd = -EBADF, wr = -EBADF;
	struct answer a;
	int fds[2], status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	rd = fds[0];
	wr = fds[1];
	pid = fork();
	if (pid < 0)
		return imgd_error_set(err, errno, "fork: %s", strerror(errno));
	if (pid == 0)
		probe_and_exit(table, env, wr);
	close_fd(&wr);
	do
		n = read(rd, &a, sizeof(a));
	while (n < 0 && errno == EINTR);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof(a))
		return WIFSIGNALED(status)
		    ? imgd_error_set(err, ENOEXEC, "crashes: %s",
			  strsignal(WTERMSIG(status)))
		    : imgd_error_set(err, ENOEXEC, "ends without an answer");
	a.text[sizeof(a.text) - 1] = '\0';
	if (a.r < 0 && a.text[0] != '\0')
		return imgd_error_set(err, -a.r, "%s", a.text);
	return a.r;
}
