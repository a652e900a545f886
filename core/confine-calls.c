/*
 * The system calls that workers may make.
 *
 * What is not named looks as if the kernel lacked it (ENOSYS): so a C library
 * that tries something new falls back to what it did before, and a worker that
 * was taken over gets nothing from trying.  A call of another ABI kills.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "core/confine.h"
#include "lib/cleanup.h"

int
confine_calls_enter(const void *filter, size_t n)
{
	struct sock_fprog prog = { .len = (unsigned short)n,
		.filter = (struct sock_filter *)(uintptr_t)filter };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	    SECCOMP_FILTER_FLAG_TSYNC, &prog);
}

#ifdef HAVE_SECCOMP
/* Memory, time, messages, descriptors that are open: what everybody needs.
 * Names that an architecture lacks are passed over. */
static const char *const basic_calls[] = { "_llseek", "brk", "clock_getres",
	"clock_getres_time64", "clock_gettime", "clock_gettime64",
	"clock_nanosleep", "clock_nanosleep_time64", "close", "close_range",
	"dup", "exit", "exit_group", "fstat", "fstat64", "futex",
	"futex_time64", "getegid", "geteuid", "getgid", "getpid", "getrandom",
	"gettid", "gettimeofday", "getuid", "lseek", "madvise", "mremap",
	"munmap", "nanosleep", "poll", "ppoll", "ppoll_time64", "pread64",
	"read", "readv", "recvmsg", "restart_syscall", "rseq",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield",
	"sendmsg", "set_robust_list", "shutdown", "sigaltstack", "sigreturn",
	"sysinfo", "time", "uname", "write", "writev", NULL };

static const char *const tree_read_calls[] = { "access", "faccessat",
	"faccessat2", "fadvise64", "fadvise64_64", "fchdir", "fgetxattr",
	"flistxattr", "fstatat64", "fstatfs", "fstatfs64", "getcwd",
	"getdents", "getdents64", "getxattr", "lgetxattr", "listxattr",
	"llistxattr", "lstat", "lstat64", "newfstatat", "open", "openat",
	"openat2", "readlink", "readlinkat", "stat", "stat64", "statx",
	NULL };

static const char *const file_write_calls[] = { "copy_file_range",
	"fallocate", "fdatasync", "fsync", "ftruncate", "ftruncate64",
	"pwrite64", "pwritev", "sync_file_range", NULL };

static const char *const tree_write_calls[] = { "chmod", "fchmod",
	"fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat",
	"fremovexattr", "fsetxattr", "lchown", "link", "linkat",
	"lremovexattr", "lsetxattr", "mkdir", "mkdirat", "mknod", "mknodat",
	"rename", "renameat", "renameat2", "rmdir", "symlink", "symlinkat",
	"umask", "unlink", "unlinkat", "utimensat", "utimensat_time64", NULL };

/* Signals are sent to nobody: abort() ends by a trap. */
static const char *const thread_calls[] = { "get_robust_list", "pipe",
	"pipe2", "sched_getaffinity", NULL };

static const char *const network_calls[] = { "bind", "connect",
	"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2",
	"getpeername", "getsockname", "getsockopt", "recv",
	"recvfrom", "recvmmsg", "recvmmsg_time64", "select", "_newselect",
	"pselect6", "pselect6_time64", "send", "sendmmsg", "sendto",
	"setsockopt", NULL };

/* What a program of the system's has no business with. */
static const char *const tool_denied[] = { "acct", "add_key", "bpf",
	"chroot", "clock_settime", "delete_module", "fanotify_init",
	"finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
	"init_module", "io_uring_enter", "io_uring_register",
	"io_uring_setup", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
	"mount", "mount_setattr", "move_mount", "name_to_handle_at",
	"open_by_handle_at", "open_tree", "perf_event_open",
	"pidfd_getfd", "pivot_root", "process_vm_readv",
	"process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot",
	"request_key", "setdomainname", "sethostname", "setns",
	"settimeofday", "socket", "socketcall", "swapoff", "swapon", "syslog",
	"umount", "umount2", "unshare", "userfaultfd", "vhangup", NULL };

static int
add_names(scmp_filter_ctx ctx, uint32_t action, const char *const *names)
{
	int r = 0;

	for (; *names != NULL && r == 0; names++) {
		int nr = seccomp_syscall_resolve_name(*names);

		/* Negative: another architecture's. */
		if (nr >= 0)
			r = seccomp_rule_add(ctx, action, nr, 0);
	}
	return r;
}

/* Allow a call if the bits of mask in its argument are just so. */
static int
add_if(scmp_filter_ctx ctx, int nr, unsigned int arg, uint64_t mask,
    uint64_t value)
{
	const struct scmp_arg_cmp cmp = { .arg = arg,
		.op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value };

	return nr < 0 ? 0
		      : seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 1,
			    &cmp);
}

/* Of two descriptor operations one can have another process killed
 * (F_SETOWN, F_SETSIG): these are the others. */
static int
add_fcntl(scmp_filter_ctx ctx)
{
	static const int allowed[] = { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,
		F_GETFL, F_SETFD, F_SETFL };
	static const char *const names[] = { "fcntl", "fcntl64" };
	size_t i, k;
	int r = 0;

	for (i = 0; i < 2; i++)
		for (k = 0; k < sizeof(allowed) / sizeof(*allowed) && r == 0;
		     k++)
			r = add_if(ctx, seccomp_syscall_resolve_name(names[i]),
			    1, UINT32_MAX, (uint64_t)allowed[k]);
	return r;
}

#ifdef WITH_SANITIZERS
/* What their runtime does beside, which makes code. */
static int
add_memory(scmp_filter_ctx ctx)
{
	static const char *const sanitizer_calls[] = { "getrlimit",
		"mlock", "mmap", "mmap2", "mprotect", "personality",
		"prlimit64", "readlink", "readlinkat", "sched_getaffinity",
		"ugetrlimit", NULL };

	return add_names(ctx, SCMP_ACT_ALLOW, sanitizer_calls);
}
#else
/* No memory becomes code. */
static int
add_memory(scmp_filter_ctx ctx)
{
	static const char *const names[] = { "mmap", "mmap2", "mprotect" };
	size_t i;
	int r = 0;

	for (i = 0; i < 3 && r == 0; i++)
		r = add_if(ctx, seccomp_syscall_resolve_name(names[i]), 2,
		    PROT_EXEC, 0);
	return r;
}
#endif

#if defined(__s390__) || defined(__s390x__)
#define CLONE_FLAGS 1u
#else
#define CLONE_FLAGS 0u
#endif
static const uint64_t spaces[] = { CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS,
	CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET };
#define N_SPACES (sizeof(spaces) / sizeof(*spaces))

/* Threads, no processes; flags of clone3() are out of sight, and the C library
 * does without. */
static int
add_threads(scmp_filter_ctx ctx)
{
	const uint64_t wanted = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
	uint64_t mask = wanted;
	size_t i;
	int r = add_names(ctx, SCMP_ACT_ALLOW, thread_calls);

	for (i = 0; i < N_SPACES; i++)
		mask |= spaces[i];
	if (r == 0)
		r = add_if(ctx, SCMP_SYS(clone), CLONE_FLAGS, mask, wanted);
	if (r == 0)
		r = add_if(ctx, SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME);
	return r;
}

static int
add_network(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp routes[] = {
		SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), /* the resolver asks */
		SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE)
	};
	int r = add_names(ctx, SCMP_ACT_ALLOW, network_calls);

	if (r == 0)
		r = add_if(ctx, SCMP_SYS(socket), 0, UINT32_MAX, AF_INET);
	if (r == 0)
		r = add_if(ctx, SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6);
	if (r == 0)
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW,
		    SCMP_SYS(socket), 2, routes);
	if (r == 0)
		r = add_if(ctx, SCMP_SYS(socketpair), 0, UINT32_MAX, AF_UNIX);
	if (r == 0)
		r = add_if(ctx, SCMP_SYS(ioctl), 1, UINT32_MAX, FIONBIO);
	if (r == 0)
		r = add_if(ctx, SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD);
	return r;
}

static int
add_allowed(scmp_filter_ctx ctx, unsigned int calls)
{
	static const struct {
		unsigned int group;
		const char *const *names;
	} groups[] = {
		{ CALLS_TREE_READ, tree_read_calls },
		{ CALLS_TREE_WRITE, tree_write_calls },
		{ CALLS_FILE_WRITE, file_write_calls },
	};
	int r = add_names(ctx, SCMP_ACT_ALLOW, basic_calls);
	size_t i;

	for (i = 0; i < 3 && r == 0; i++)
		if ((calls & groups[i].group) != 0)
			r = add_names(ctx, SCMP_ACT_ALLOW, groups[i].names);
	if (r == 0)
		r = add_fcntl(ctx);
	if (r == 0)
		r = add_memory(ctx);
	/* Who may lock may also unlock what keeps a store for its engine. */
	if (r == 0 && (calls & CALLS_LOCKS) != 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(flock), 0);
	if (r == 0 && (calls & CALLS_TREE_WRITE) != 0)
		r = add_if(ctx, SCMP_SYS(ioctl), 1, UINT32_MAX, FICLONE);
	if (r == 0 && (calls & CALLS_THREADS) != 0)
		r = add_threads(ctx);
	if (r == 0 && (calls & CALLS_NETWORK) != 0)
		r = add_network(ctx);
	return r;
}

/* All but what changes the machine, and namespaces in which that is allowed. */
static int
add_denied(scmp_filter_ctx ctx)
{
	size_t i;
	int r = add_names(ctx, SCMP_ACT_ERRNO(EPERM), tool_denied);

	for (i = 0; i < N_SPACES && r == 0; i++) {
		const struct scmp_arg_cmp cmp = { .arg = CLONE_FLAGS,
			.op = SCMP_CMP_MASKED_EQ, .datum_a = spaces[i],
			.datum_b = spaces[i] };

		r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM),
		    SCMP_SYS(clone), 1, &cmp);
	}
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS),
		    SCMP_SYS(clone3), 0);
	return r;
}

/* The program is had through a file alone. */
static int
export(scmp_filter_ctx ctx, void **ret, size_t *ret_n)
{
	cleanup_close int fd = memfd_create("filter", MFD_CLOEXEC);
	cleanup_free char *data = NULL;
	off_t len;
	int r;

	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return r;
	len = lseek(fd, 0, SEEK_END);
	if (len <= 0 || (data = malloc((size_t)len)) == NULL)
		return -ENOMEM;
	if (pread(fd, data, (size_t)len, 0) != len)
		return -EIO;
	*ret_n = (size_t)len / sizeof(struct sock_filter);
	*ret = take_ptr(&data);
	return 0;
}

int
confine_calls_compile(unsigned int calls, void **ret, size_t *ret_n)
{
	bool is_tool = (calls & CALLS_TOOL) != 0;
	scmp_filter_ctx ctx = seccomp_init(is_tool ? SCMP_ACT_ALLOW
						   : SCMP_ACT_ERRNO(ENOSYS));
	int r;

	if (ctx == NULL) {
		errno = ENOMEM;
		return -1;
	}
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH,
	    SCMP_ACT_KILL_PROCESS);
	/* Looked up by halves, not one by one; since libseccomp 2.5. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = is_tool ? add_denied(ctx) : add_allowed(ctx, calls);
	if (r == 0)
		r = export(ctx, ret, ret_n);
	seccomp_release(ctx);
	errno = -r;
	return r < 0 ? -1 : 0;
}
#else
int
confine_calls_compile(unsigned int calls, void **ret, size_t *ret_n)
{
	(void)calls;
	(void)ret;
	(void)ret_n;
	errno = ENOSYS;
	return -1;
}
#endif
