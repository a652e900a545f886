/* Where the maker's programs run: a root of their own, no network, and hardly a
 * right. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/confine.h"
#include "core/maker.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/program.h"

#define TAIL_BYTES 512

/* ---- the root ---- */

/* What programs are made of, as far as the machine has it. */
static const char *const system_dirs[] = { "usr", "bin", "sbin", "lib",
	"lib32", "lib64", "libx32", NULL };
static int
fail(const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s", what, strerror(errno));
}

/* The machine's directory of that name, or its link: a merged /usr has some. */
static int
bring_in(int root_fd, const char *name, struct imgd_error **err)
{
	char path[32], target[256];
	struct stat st;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/%s", name);
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(path, err);
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			return fail(path, err);
		target[n] = '\0';
		return symlinkat(target, root_fd, name) < 0 ? fail(name, err)
							    : 0;
	}
	return confine_root_bind(root_fd, path, 0) < 0 ? fail(path, err) : 0;
}

int
maker_root_enter(struct maker *mk, struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF;
	size_t i;
	int r = 0;

	mk->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (mk->null_fd < 0)
		return fail("/dev/null", err);
	root_fd = confine_root_new();
	if (root_fd < 0)
		return fail("make a root", err);
	for (i = 0; r >= 0 && system_dirs[i] != NULL; i++)
		r = bring_in(root_fd, system_dirs[i], err);
	if (r < 0)
		return r;
	if (mkdirat(root_fd, "tmp", 0755) < 0 ||
	    mkdirat(root_fd, "proc", 0755) < 0 ||
	    mkdirat(root_fd, "tree", 0755) < 0 ||
	    move_mount(mk->tree_fd, "", root_fd, "tree",
		MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail("make a root", err);
	return confine_root_enter(root_fd) < 0 ? fail("change the root", err)
					       : 0;
}

/* ---- programs ---- */

/* Programs want a path; the file that the client gave may have none. */
static int
mount_proc(void)
{
	return mount("proc", "/proc", "proc",
	    MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid");
}

int
maker_drop_rights(struct imgd_error **err)
{
	return confine_tool() < 0 ? fail("drop rights", err) : 0;
}

static void
child(const struct maker *mk, const char *const *argv,
    const char *const *env, int out_fd)
{
	static const char *const dirs[] = { "/usr/sbin", "/usr/bin", "/sbin",
		"/bin", NULL };
	char path[64];
	size_t i;

	if (dup2(mk->null_fd, STDIN_FILENO) < 0 ||
	    dup2(out_fd, STDOUT_FILENO) < 0 ||
	    dup2(out_fd, STDERR_FILENO) < 0 ||
	    dup2(mk->out_fd, MAKER_OUT_FD) < 0 || mount_proc() < 0 ||
	    confine_tool() < 0)
		_exit(126);
	(void)signal(SIGPIPE, SIG_DFL);
	for (i = 0; dirs[i] != NULL; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], argv[0]);
		(void)execve(path, (char *const *)(uintptr_t)argv,
		    (char *const *)(uintptr_t)env);
	}
	_exit(127);
}

static int
judge(const char *name, int status, char *tail, struct imgd_error **err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return imgd_error_set(err, ENOENT,
		    "%s is not installed in /usr/sbin, /usr/bin, /sbin or "
		    "/bin",
		    name);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
		return imgd_error_set(err, EPERM,
		    "%s: cannot be confined, and is not run otherwise", name);
	return program_judge(name, status, tail, err);
}

int
maker_run(const struct maker *mk, const char *const *argv,
    const char *const *env, struct imgd_error **err)
{
	cleanup_close int read_fd = -EBADF, write_fd = -EBADF;
	char tail[TAIL_BYTES];
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail("pipe", err);
	read_fd = fds[0];
	write_fd = fds[1];
	/* The first of its process namespace: with it all others end. */
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL,
	    NULL, NULL);
	if (pid < 0)
		return fail("fork", err);
	if (pid == 0)
		child(mk, argv, env, write_fd);
	close_fd(&write_fd);
	program_read_tail(read_fd, tail, sizeof(tail));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail("wait", err);
	(void)umount2("/proc", MNT_DETACH);
	return judge(argv[0], status, tail, err);
}
