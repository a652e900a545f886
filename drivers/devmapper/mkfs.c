/* mkfs.ext4 and mkfs.xfs: the only programs that this driver runs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
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

static int
spawn(const char *program, const char *const *argv, int out_fd,
    pid_t *ret_pid)
{
	static char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char locale[] = "LC_ALL=C";
	char *const env[] = { path, locale, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int e;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	e = posix_spawn_file_actions_init(&actions);
	if (e != 0)
		return e;
	e = posix_spawnattr_init(&attr);
	if (e != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return e;
	}
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setflags(&attr,
	    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	e = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null",
	    O_RDONLY, 0);
	if (e == 0)
		e = posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	if (e == 0)
		e = posix_spawn_file_actions_adddup2(&actions, out_fd, 2);
	if (e == 0)
		e = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	if (e == 0)
		e = posix_spawn(ret_pid, program, &actions, &attr,
		    (char *const *)(uintptr_t)argv, env);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return e;
}

static int
run(const char *program, const char *const *argv, struct imgd_error **err)
{
	cleanup_close int read_fd = -EBADF, write_fd = -EBADF;
	char text[2048];
	int fds[2], e, status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	read_fd = fds[0];
	write_fd = fds[1];
	e = spawn(program, argv, write_fd, &pid);
	close_fd(&write_fd);
	if (e != 0)
		return imgd_error_set(err, e, "%s: %s", program, strerror(e));
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
