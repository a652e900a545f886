#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/program.h"

/* ---- what it says ---- */

/* The last line that is not empty, without its newline. */
static const char *
last_line(char *text)
{
	char *nl;

	for (;;) {
		nl = strrchr(text, '\n');
		if (nl == NULL)
			return text;
		if (nl[1] != '\0')
			return nl + 1;
		*nl = '\0';
	}
}

void
program_read_tail(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	for (;;) {
		if (len == size - 1) {
			memmove(buf, buf + size / 2, len - size / 2);
			len -= size / 2;
		}
		n = read(fd, buf + len, size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
}

int
program_judge(const char *name, int status, char *text,
    struct imgd_error **err)
{
	if (WIFSIGNALED(status))
		return imgd_error_set(err, EIO, "%s: killed by signal %d",
		    name, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return imgd_error_set(err, EIO, "%s: exit status %d: %s",
		    name, WEXITSTATUS(status), last_line(text));
	return 0;
}

/* ---- the run ---- */

struct program {
	const char *path;
	const char *const *argv;
	int dir_fd;
	unsigned int flags;
	pid_t parent;
	struct rlimit files;
};

static int
settle(const struct program *p, int out_fd)
{
	int null_fd = open("/dev/null", O_RDONLY);

	if ((p->flags & PROGRAM_DIES_WITH_US) != 0 &&
	    (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != p->parent))
		return -1;
	if ((p->flags & PROGRAM_MAY_STAY) != 0 &&
	    (setsid() < 0 || setrlimit(RLIMIT_NOFILE, &p->files) < 0))
		return -1;
	if (p->dir_fd != AT_FDCWD && fchdir(p->dir_fd) < 0)
		return -1;
	return dup2(null_fd, 0) < 0 || dup2(out_fd, 1) < 0 ||
		dup2(out_fd, 2) < 0
	    ? -1
	    : 0;
}

/* What a child does between fork and exec: system calls alone. */
static void __attribute__((noreturn))
become(const struct program *p, int out_fd)
{
	static char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char locale[] = "LC_ALL=C";
	char *const env[] = { path, locale, NULL };
	sigset_t none;
	int sig;

	if (settle(p, out_fd) < 0)
		_exit(127);
	(void)close_range(3, ~0u, 0);
	for (sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(p->path, (char *const *)(uintptr_t)p->argv, env);
	_exit(127);
}

int
program_run(const char *path, const char *const *argv, int dir_fd,
    unsigned int flags, struct imgd_error **err)
{
	struct program p = { .path = path, .argv = argv, .dir_fd = dir_fd,
		.flags = flags, .parent = getpid() };
	cleanup_close int read_fd = -EBADF, write_fd = -EBADF;
	char text[2048];
	int fds[2], status;
	pid_t pid;

	if (getrlimit(RLIMIT_NOFILE, &p.files) < 0 ||
	    pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	p.files.rlim_cur = p.files.rlim_max;
	read_fd = fds[0];
	write_fd = fds[1];
	pid = fork();
	if (pid == 0)
		become(&p, write_fd);
	if (pid < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	close_fd(&write_fd);
	/* A process that stays in the background lets go of its output. */
	program_read_tail(read_fd, text, sizeof(text));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return imgd_error_set(err, errno, "wait for %s: %s",
			    path, strerror(errno));
	return program_judge(path, status, text, err);
}
