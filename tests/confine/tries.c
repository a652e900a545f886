/*
 * What a worker that was taken over might try, in the places of the functions
 * that would read hostile data: test-roles.sh has modules that are the real
 * ones but for that.  The answer is an error that says "NAME=ERRNO" of each
 * thing that was refused, and "NAME=DONE" of what was not.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tests/confine/tries.h"

/* Each returns a negative number and errno if it was refused. */
typedef int try_fn(void);

/* ---- files ---- */

static int
passwd(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static int
passwd_above(void)
{
	return open("../../../../../../../../etc/passwd", O_RDONLY);
}

static int
proc(void)
{
	return open("/proc/self/mem", O_RDONLY);
}

static int
device(void)
{
	return open("/dev/null", O_RDWR);
}

/* Made, perhaps, but to no use. */
static int
own_device(void)
{
	if (mknod("tried-device", S_IFCHR | 0600, makedev(1, 3)) < 0)
		return -1;
	return open("tried-device", O_RDONLY | O_NOFOLLOW);
}

static int
parent_dir(void)
{
	struct stat here, there;

	if (stat(".", &here) < 0 || stat("..", &there) < 0)
		return -1;
	if (here.st_ino == there.st_ino && here.st_dev == there.st_dev) {
		errno = ENOENT;
		return -1;
	}
	return 0;
}

static int
second_chroot(void)
{
	(void)mkdir("tried-dir", 0755);
	return chroot("tried-dir");
}

static int
by_handle(void)
{
	struct {
		struct file_handle head;
		unsigned char data[MAX_HANDLE_SZ];
	} h = { .head = { .handle_bytes = 8, .handle_type = 1 } };
	int r = (int)syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY);

	/* Whoever may try hears of a handle that is bad. */
	return r < 0 && (errno == ESTALE || errno == EINVAL) ? 0 : r;
}

static int
write_root(void)
{
	return open("/tried-file", O_CREAT | O_WRONLY, 0600);
}

static int
change_root_mode(void)
{
	return chmod("/", 0777);
}

/* ---- processes ---- */

static int
execute(void)
{
	static const char *const argv[] = { "true", NULL };
	int fd;

	(void)execve("/bin/true", (char *const *)(uintptr_t)argv,
	    (char *const *)(uintptr_t)argv);
	if (errno != ENOENT)
		return -1;
	fd = (int)syscall(SYS_memfd_create, "tried", 0);
	if (fd < 0)
		return -1;
	(void)!write(fd, "#!/bin/true\n", 12);
	return (int)syscall(SYS_execveat, fd, "", argv, argv, AT_EMPTY_PATH);
}

static int
new_process(void)
{
	int pid = (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid;
}

static int
new_process_by_clone3(void)
{
	uint64_t args[8] = { [4] = SIGCHLD };
	int pid = (int)syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid;
}

static void *
sleeper(void *arg)
{
	sleep(600);
	return arg;
}

static int
thousand_threads(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int i, e = 0;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 64 << 10);
	for (i = 0; i < 1000 && e == 0; i++)
		e = pthread_create(&thread, &attr, sleeper, NULL);
	errno = e;
	return e == 0 ? 0 : -1;
}

static int
trace_parent(void)
{
	return (int)syscall(SYS_ptrace, PTRACE_SEIZE, getppid(), 0, 0);
}

static int
read_parent(void)
{
	char c;
	struct iovec iov = { &c, 1 };

	if (syscall(SYS_process_vm_readv, getppid(), &iov, 1, &iov, 1, 0) >= 0)
		return 0;
	return errno == EFAULT ? 0 : -1;
}

static int
signal_init(void)
{
	return (int)syscall(SYS_kill, 1, 0);
}

static int
signal_parent(void)
{
	return (int)syscall(SYS_kill, getppid(), 0);
}

static int
signal_all(void)
{
	return (int)syscall(SYS_tkill, getppid(), 0);
}

static int
signal_by_file(void)
{
	return fcntl(STDERR_FILENO, F_SETOWN, getppid());
}

static int
become_root(void)
{
	return (int)syscall(SYS_setresuid, 0, 0, 0);
}

static int
become_other(void)
{
	return (int)syscall(SYS_setresuid, 4321, 4321, 4321);
}

static int
take_rights(void)
{
	uint32_t head[2] = { 0x20080522, 0 };
	uint32_t data[6] = { 1u << 21, 1u << 21, 0, 0, 0, 0 };

	return (int)syscall(SYS_capset, head, data);
}

/* ---- the machine ---- */

static int
mount_tmpfs(void)
{
	return mount("tmpfs", "/", "tmpfs", 0, NULL);
}

static int
make_writable(void)
{
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static int
new_filesystem(void)
{
	return (int)syscall(SYS_fsopen, "tmpfs", 0);
}

static int
user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int
mount_namespace(void)
{
	return unshare(CLONE_NEWNS);
}

static int
io_uring(void)
{
	char params[256] = { 0 };

	return (int)syscall(SYS_io_uring_setup, 1, params);
}

static int
bpf(void)
{
	uint32_t attr[32] = { 2, 4, 4, 1 }; /* an array of one item */

	return (int)syscall(SYS_bpf, 0, attr, sizeof(attr));
}

static int
perf_event(void)
{
	uint32_t attr[32] = { 1, 128 }; /* by software */

	return (int)syscall(SYS_perf_event_open, attr, 0, -1, -1, 0);
}

static int
keyring(void)
{
	return (int)syscall(SYS_keyctl, 0, -3, 1);
}

static int
fault_handler(void)
{
	return (int)syscall(SYS_userfaultfd, 0);
}

static int
host_name(void)
{
	return sethostname("tried", 5);
}

static int
quota(void)
{
	return (int)syscall(SYS_quotactl, 0x80000100u, NULL, 0, NULL);
}

/* ---- memory ---- */

static int
code(void)
{
#ifdef WITH_SANITIZERS
	errno = EPERM;
	return -1;
#else
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
	    ? -1
	    : 0;
#endif
}

static int
memory(void)
{
#ifdef WITH_SANITIZERS
	errno = ENOMEM;
	return -1;
#else
	return mmap(NULL, 32ull << 30, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		   0) == MAP_FAILED
	    ? -1
	    : 0;
#endif
}

/* ---- the network ---- */

static int
any_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int
raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, 1);
}

static int
packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int
local_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int
audit_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 9);
}

static int
serve(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? -1 : listen(fd, 1);
}

#define EVERYBODY (~0u)

static const struct {
	const char *name;
	try_fn *run;
	unsigned int roles;
} tries[] = {
	{ "passwd", passwd, EVERYBODY },
	{ "passwd-above", passwd_above, EVERYBODY },
	{ "proc", proc, EVERYBODY & ~TRY_TOOL },
	{ "device", device, EVERYBODY },
	{ "own-device", own_device, EVERYBODY },
	{ "parent-dir", parent_dir, EVERYBODY },
	{ "second-chroot", second_chroot, EVERYBODY },
	{ "by-handle", by_handle, EVERYBODY },
	{ "write-root", write_root, EVERYBODY & ~TRY_UNPACKER },
	{ "change-root-mode", change_root_mode, EVERYBODY & ~TRY_UNPACKER },
	{ "execute", execute, EVERYBODY & ~TRY_TOOL },
	{ "new-process", new_process, EVERYBODY & ~TRY_TOOL },
	{ "new-process-by-clone3", new_process_by_clone3, EVERYBODY & ~TRY_TOOL },
	{ "trace-parent", trace_parent, EVERYBODY },
	{ "read-parent", read_parent, EVERYBODY },
	{ "signal-init", signal_init, EVERYBODY & ~TRY_TOOL },
	{ "signal-parent", signal_parent, EVERYBODY & ~TRY_TOOL },
	{ "signal-all", signal_all, EVERYBODY & ~TRY_TOOL },
	{ "signal-by-file", signal_by_file, EVERYBODY & ~TRY_TOOL },
	{ "become-root", become_root, EVERYBODY & ~TRY_TOOL },
	{ "become-other", become_other, EVERYBODY },
	{ "take-rights", take_rights, EVERYBODY },
	{ "mount", mount_tmpfs, EVERYBODY },
	{ "make-writable", make_writable, EVERYBODY },
	{ "new-filesystem", new_filesystem, EVERYBODY },
	{ "user-namespace", user_namespace, EVERYBODY },
	{ "mount-namespace", mount_namespace, EVERYBODY },
	{ "io-uring", io_uring, EVERYBODY },
	{ "bpf", bpf, EVERYBODY },
	{ "perf-event", perf_event, EVERYBODY },
	{ "keyring", keyring, EVERYBODY },
	{ "fault-handler", fault_handler, EVERYBODY },
	{ "host-name", host_name, EVERYBODY },
	{ "quota", quota, EVERYBODY },
	{ "code", code, EVERYBODY & ~TRY_TOOL },
	{ "memory", memory, EVERYBODY & ~TRY_TOOL },
	{ "any-socket", any_socket, EVERYBODY & ~TRY_PULLER },
	{ "raw-socket", raw_socket, EVERYBODY },
	{ "packet-socket", packet_socket, EVERYBODY },
	{ "local-socket", local_socket, EVERYBODY },
	{ "audit-socket", audit_socket, EVERYBODY },
	{ "serve", serve, EVERYBODY },
	/* The limit is none for who has SYS_ADMIN. */
	{ "thousand-threads", thousand_threads,
	    EVERYBODY & ~(TRY_ADOPTER | TRY_TOOL) },
};

int
tries_run(unsigned int role, struct imgd_error **err)
{
	cleanup(strbuf_done) struct strbuf sb = STRBUF_INIT;
	size_t i;

	for (i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		if ((tries[i].roles & role) == 0)
			continue;
		errno = 0;
		strbuf_printf(&sb, " %s=", tries[i].name);
		strbuf_printf(&sb, "%s",
		    tries[i].run() >= 0 ? "DONE" : strerrorname_np(errno));
	}
	return imgd_error_set(err, EPERM, "tried:%s", sb.data);
}
