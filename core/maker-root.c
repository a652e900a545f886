/* Where the maker's programs run: a root of their own, no network, and hardly a
 * right. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/maker.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/program.h"

#define TAIL_BYTES 512
#define LAST_CAP   63

/* ---- the root ---- */

/* What programs are made of, as far as the machine has it. */
static const char *const system_dirs[] = { "usr", "bin", "sbin", "lib",
	"lib32", "lib64", "libx32", NULL };
/* A mount point for a moment; nothing of theirs is needed. */
static const char *const spare_dirs[] = { "/tmp", "/run", "/mnt", "/var",
	NULL };

static int
fail(const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s", what, strerror(errno));
}

static int
mount_base(struct imgd_error **err)
{
	size_t i;

	for (i = 0; spare_dirs[i] != NULL; i++) {
		if (mount("tmpfs", spare_dirs[i], "tmpfs",
			MS_NOSUID | MS_NODEV, "mode=755,size=64m") < 0) {
			if (errno == ENOENT || errno == ENOTDIR)
				continue;
			return fail("mount a root", err);
		}
		return chdir(spare_dirs[i]) < 0 ? fail(spare_dirs[i], err) : 0;
	}
	return imgd_error_set(err, ENOENT, "no directory to mount a root on");
}

/* The machine's directory of that name, or its link: a merged /usr has some. */
static int
bring_in(const char *name, struct imgd_error **err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY |
		    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
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
		return symlink(target, name) < 0 ? fail(name, err) : 0;
	}
	if (mkdir(name, 0755) < 0 ||
	    mount(path, name, NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount_setattr(AT_FDCWD, name, AT_RECURSIVE, &attr, sizeof(attr)) <
		0)
		return fail(path, err);
	return 0;
}

static int
build_root(struct maker *mk, struct imgd_error **err)
{
	size_t i;
	int r = mount_base(err);

	for (i = 0; r >= 0 && system_dirs[i] != NULL; i++)
		r = bring_in(system_dirs[i], err);
	if (r < 0)
		return r;
	if (mkdir("tmp", 0755) < 0 || mkdir("proc", 0755) < 0 ||
	    mkdir("tree", 0755) < 0 ||
	    move_mount(mk->tree_fd, "", AT_FDCWD, "tree",
		MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail("make a root", err);
	return 0;
}

int
maker_root_enter(struct maker *mk, struct imgd_error **err)
{
	int r;

	mk->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (mk->null_fd < 0)
		return fail("/dev/null", err);
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail("mount namespace", err);
	r = build_root(mk, err);
	if (r < 0)
		return r;
	/* The new root lies on the old one, until that is taken away. */
	if (syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return fail("change the root", err);
	return 0;
}

/* ---- programs ---- */

static int
drop_rights(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { { 0 } };
	const struct rlimit none = { 0, 0 };
	int cap;

	for (cap = 0; cap <= LAST_CAP; cap++)
		if (cap != CAP_DAC_READ_SEARCH &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EINVAL)
			return -1;
	data[0].effective = data[0].permitted = 1u << CAP_DAC_READ_SEARCH;
	if (syscall(SYS_capset, &header, data) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	return 0;
}

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
	return drop_rights() < 0 ? fail("drop rights", err) : 0;
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
	    drop_rights() < 0)
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
