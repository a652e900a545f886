/* mkfs.ext4 and mkfs.xfs: the only programs that this driver runs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/devmapper/host.h"
#include "lib/cleanup.h"

static int
find_program(const char *name, char *ret, size_t size, struct imgd_error **err)
{
	static const char *const dirs[] = { "/usr/sbin", "/sbin",
		"/usr/local/sbin", "/usr/bin", "/bin" };
	size_t i;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(ret, size, "%s/%s", dirs[i], name);
		if (access(ret, X_OK) == 0)
			return 0;
	}
	return imgd_error_set(err, EOPNOTSUPP,
	    "%s is not installed (looked in /usr/sbin, /sbin, "
	    "/usr/local/sbin, /usr/bin, /bin)", name);
}

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

/* Read all; keep the end. */
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

/* What a child does between fork and exec: system calls alone. */
static void __attribute__((noreturn))
become(const char *program, char *const *argv, int out_fd, pid_t parent)
{
	static char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char locale[] = "LC_ALL=C";
	char *const env[] = { path, locale, NULL };
	int null_fd = open("/dev/null", O_RDONLY), sig;
	sigset_t none;

	/* It must not go on writing to a device that a later process of ours
	 * formats anew. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
	    dup2(null_fd, 0) < 0 || dup2(out_fd, 1) < 0 ||
	    dup2(out_fd, 2) < 0)
		_exit(127);
	(void)close_range(3, ~0u, 0);
	for (sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(program, argv, env);
	_exit(127);
}

static int
run(const char *program, const char *const *argv, struct imgd_error **err)
{
	cleanup_close int read_fd = -EBADF, write_fd = -EBADF;
	char text[2048];
	pid_t parent = getpid(), pid;
	int fds[2], status;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	read_fd = fds[0];
	write_fd = fds[1];
	pid = fork();
	if (pid == 0)
		become(program, (char *const *)(uintptr_t)argv, write_fd,
		    parent);
	if (pid < 0)
		return imgd_error_set(err, errno, "%s: %s", program,
		    strerror(errno));
	close_fd(&write_fd);
	read_tail(read_fd, text, sizeof(text));
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

int
host_make_fs(const char *fs, char *const *args, const char *path,
    struct imgd_error **err)
{
	/* Nothing is written that need not be: blocks of the pool are only
	 * used by what is written. */
	static const char *const ext4[] = { "-q", "-F", "-m0", "-E",
		"nodiscard,lazy_itable_init=1,lazy_journal_init=1", NULL };
	static const char *const xfs[] = { "-q", "-f", "-K", NULL };
	const char *const *fixed = strcmp(fs, "xfs") == 0 ? xfs : ext4;
	cleanup_free const char **argv = NULL;
	char program[64], name[32];
	size_t i, n = 0;
	int r;

	(void)snprintf(name, sizeof(name), "mkfs.%s", fs);
	r = find_program(name, program, sizeof(program), err);
	if (r < 0)
		return r;
	for (i = 0; args[i] != NULL; i++)
		;
	argv = calloc(i + 10, sizeof(*argv));
	if (argv == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	argv[n++] = name;
	for (i = 0; fixed[i] != NULL; i++)
		argv[n++] = fixed[i];
	for (i = 0; args[i] != NULL; i++)
		argv[n++] = args[i];
	argv[n++] = path;
	return run(program, argv, err);
}
