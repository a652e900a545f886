/* The machine: mounts, and the two programs that this driver runs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "drivers/aufs/mount.h"
#include "lib/cleanup.h"

/* How often an unmount is tried while it is busy, 10 ms apart. */
#define UMOUNT_TRIES 20

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

/* Read to the end, and keep the last of it. */
static void
read_tail(int fd, char *buf, size_t size)
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

/* What a child does between fork and exec: system calls alone.  What it
 * leaves in the background outlives us, so it takes nothing of ours along. */
static void __attribute__((noreturn))
become(const char *program, const char *const *argv, int dir_fd, int out_fd,
    const struct rlimit *files)
{
	static char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char locale[] = "LC_ALL=C";
	char *const env[] = { path, locale, NULL };
	int null_fd = open("/dev/null", O_RDONLY), sig;
	sigset_t none;

	if (setsid() < 0 || fchdir(dir_fd) < 0 || dup2(null_fd, 0) < 0 ||
	    dup2(out_fd, 1) < 0 || dup2(out_fd, 2) < 0)
		_exit(127);
	(void)close_range(3, ~0u, 0);
	(void)setrlimit(RLIMIT_NOFILE, files);
	for (sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(program, (char *const *)(uintptr_t)argv, env);
	_exit(127);
}

static int
wait_for(pid_t pid, const char *program, char *text, struct imgd_error **err)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return imgd_error_set(err, errno, "wait for %s: %s",
			    program, strerror(errno));
	if (WIFSIGNALED(status))
		return imgd_error_set(err, EIO, "%s: killed by signal %d",
		    program, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return imgd_error_set(err, EIO, "%s: exit status %d: %s",
		    program, WEXITSTATUS(status), last_line(text));
	return 0;
}

static int
host_run(const char *program, const char *const *argv, int dir_fd,
    struct imgd_error **err)
{
	cleanup_close int read_fd = -EBADF, write_fd = -EBADF;
	struct rlimit files = { 0, 0 };
	char text[2048];
	int fds[2];
	pid_t pid;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "%s: %s", program,
		    strerror(errno));
	files.rlim_cur = files.rlim_max;
	read_fd = fds[0];
	write_fd = fds[1];
	pid = fork();
	if (pid == 0)
		become(program, argv, dir_fd, write_fd, &files);
	if (pid < 0)
		return imgd_error_set(err, errno, "%s: %s", program,
		    strerror(errno));
	close_fd(&write_fd);
	/* A process that stays in the background lets go of its output. */
	read_tail(read_fd, text, sizeof(text));
	return wait_for(pid, program, text, err);
}

const struct aufs_ops aufs_host_ops = {
	.mount = mount,
	.umount = umount2,
	.run = host_run,
};

int
aufs_umount(const struct aufs_ops *ops, const char *target,
    struct imgd_error **err)
{
	const struct timespec pause = { 0, 10000000 };
	int tries, e = EBUSY;

	/* A program that another thread starts holds our descriptors until
	 * it is executed; who looks at the mount table, for a moment, too. */
	for (tries = 0; tries < UMOUNT_TRIES && e == EBUSY; tries++) {
		if (tries > 0)
			(void)nanosleep(&pause, NULL);
		if (ops->umount(target, UMOUNT_NOFOLLOW) == 0 ||
		    errno == EINVAL)
			return 0;
		e = errno;
	}
	return imgd_error_set(err, e, "unmount %s: %s", target, strerror(e));
}
