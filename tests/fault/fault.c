/*
 * One fault in one process of imgd, by LD_PRELOAD: the n-th of chosen calls
 * fails or is cut short, or the process dies before it or at a named point.
 *
 *     IMGD_FAULT_AT=WHAT[,WHAT…]          calls by name, points by name, or
 *                                         "malloc" for every allocation
 *     IMGD_FAULT_ROLE=ROLE                client, engine (the default),
 *                                         puller, unpacker, or as
 *                                         core/role.h has them
 *     IMGD_FAULT_N=N                      the N-th strikes; the first is 1,
 *                                         and with 0 none does
 *     IMGD_FAULT_DO=kill|short|ERRNO      a name, EIO say
 *     IMGD_FAULT_FILE=FILE                of 8 MiB, all zero: only one process
 *                                         is struck, and the first 512 bytes
 *                                         then say where
 *     IMGD_FAULT_LOG=yes                  from byte 1024 on is a line for each
 *                                         call that is counted, and each point
 *
 * The file is mapped before a worker confines itself, which could not open it
 * afterwards.  A process counts for itself.  Calls that the C library makes for itself, as
 * stdio does, are not seen.
 */
#include "config.h"

/* Programs call either of open and open64, and so on. */
#undef _FILE_OFFSET_BITS

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/fail-point.h"

#define KILL  (-1)
#define SHORT (-2)

static struct {
	const char *role, *what;
	struct shared *shared; /* NULL: nothing strikes */
	unsigned long n;
	int action; /* an errno, KILL or SHORT */
	bool is_malloc, has_log;
	bool is_on; /* this process has the role */
} fault;

#define FILE_BYTES (8u << 20)

static struct shared {
	char where[512];
	atomic_int is_taken;
	atomic_ulong n_log; /* bytes */
	char pad[512 - 2 * sizeof(long)];
	char log[FILE_BYTES - 1024];
} *map_file(const char *path)
{
	void *map;
	long fd;

	if (path == NULL)
		return NULL;
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
	    (int)fd, 0);
	(void)syscall(SYS_close, fd);
	return map != MAP_FAILED ? map : NULL;
}

static const char *role;
static atomic_ulong count;
static __thread bool is_inside;

static const struct {
	const char *name;
	int code;
} actions[] = {
	{ "kill", KILL },
	{ "short", SHORT },
	{ "EACCES", EACCES },
	{ "EAGAIN", EAGAIN },
	{ "EINTR", EINTR },
	{ "EIO", EIO },
	{ "EMFILE", EMFILE },
	{ "ENOMEM", ENOMEM },
	{ "ENOSPC", ENOSPC },
	{ "EROFS", EROFS },
};

static void
become(const char *name)
{
	role = name;
	atomic_store(&count, 0);
	fault.is_on = fault.shared != NULL && strcmp(fault.role, role) == 0;
}

static void
after_fork(void)
{
	/* Its other children are to be programs. */
	if (strcmp(role, "spawner") == 0)
		become("unpacker");
}

static void __attribute__((constructor))
begin(void)
{
	const char *n = getenv("IMGD_FAULT_N"), *action =
	    getenv("IMGD_FAULT_DO");
	size_t i;

	is_inside = true;
	fault.has_log = getenv("IMGD_FAULT_LOG") != NULL;
	fault.shared = map_file(getenv("IMGD_FAULT_FILE"));
	fault.what = getenv("IMGD_FAULT_AT");
	fault.role = getenv("IMGD_FAULT_ROLE");
	if (fault.role == NULL)
		fault.role = "engine";
	if (fault.what == NULL || action == NULL)
		fault.shared = NULL;
	fault.n = n != NULL ? strtoul(n, NULL, 10) : 1;
	for (i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (action != NULL && strcmp(action, actions[i].name) == 0)
			fault.action = actions[i].code;
	fault.is_malloc = fault.what != NULL &&
	    strcmp(fault.what, "malloc") == 0;
	(void)pthread_atfork(NULL, NULL, after_fork);
	become(strncmp(program_invocation_short_name, "imgd-", 5) == 0
	    ? program_invocation_short_name + 5
	    : "client");
	is_inside = false;
}

/* Whether the list of what strikes has the name. */
static bool
is_chosen(const char *name)
{
	size_t len = strlen(name);
	const char *at = fault.what;

	while ((at = strstr(at, name)) != NULL) {
		if ((at == fault.what || at[-1] == ',') &&
		    (at[len] == ',' || at[len] == '\0'))
			return true;
		at += len;
	}
	return false;
}

/* The place in a program or library, as addr2line takes it. */
static void
find_site(const void *caller, char *buf, size_t size)
{
	Dl_info info = { .dli_fname = "?" };

	(void)dladdr(caller, &info);
	(void)snprintf(buf, size, "%s+%#lx", info.dli_fname,
	    (unsigned long)((const char *)caller -
		(const char *)info.dli_fbase));
}

/* There is one fault for all. */
static bool
take_turn(const char *name, const void *caller)
{
	char site[400];

	if (atomic_exchange(&fault.shared->is_taken, 1) != 0)
		return false;
	find_site(caller, site, sizeof(site));
	(void)snprintf(fault.shared->where, sizeof(fault.shared->where),
	    "%s %s, %s\n", role, name, site);
	return true;
}

/* A point by its name alone; a call with its place and number, too. */
static void
note(const char *name, const void *caller, unsigned long number)
{
	char site[400], line[512];
	unsigned long at;
	size_t len;

	if (fault.shared == NULL || !fault.has_log)
		return;
	if (caller == NULL) {
		(void)snprintf(line, sizeof(line), "%s\n", name);
	} else {
		find_site(caller, site, sizeof(site));
		(void)snprintf(line, sizeof(line), "%s %s %lu\n", name, site,
		    number);
	}
	len = strlen(line);
	at = atomic_fetch_add(&fault.shared->n_log, len);
	if (at + len <= sizeof(fault.shared->log))
		memcpy(fault.shared->log + at, line, len);
}

static bool
is_nth(const char *name, const void *caller)
{
	unsigned long number;

	if (!is_chosen(name))
		return false;
	number = atomic_fetch_add(&count, 1) + 1;
	note(name, caller, number);
	return number == fault.n;
}

/* Whether this call is the one; errno is set then. */
static bool
strikes(const char *name, const void *caller)
{
	int saved = errno;
	bool is_it;

	if (!fault.is_on || is_inside)
		return false;
	is_inside = true;
	is_it = is_nth(name, caller) && take_turn(name, caller);
	is_inside = false;
	if (is_it && fault.action == KILL) {
		(void)syscall(SYS_kill, getpid(), SIGKILL);
		/* One that is confined may not. */
		(void)syscall(SYS_exit_group, 128 + SIGKILL);
	}
	errno = is_it && fault.action > 0 ? fault.action : saved;
	return is_it;
}

#define CALLER __builtin_return_address(0)
#define STRIKES(name) strikes(name, CALLER)

void
imgd_fail_point(const char *name)
{
	int saved = errno;

	is_inside = true;
	note(name, NULL, 0);
	is_inside = false;
	(void)STRIKES(name);
	errno = saved;
}

pid_t
setsid(void)
{
	static pid_t (*real)(void);

	if (real == NULL)
		real = (pid_t (*)(void))dlsym(RTLD_NEXT, "setsid");
	/* Only who becomes an engine does that without a program of its own. */
	if (strcmp(role, "client") == 0)
		become("engine");
	return real();
}

/* ---- calls that fail ---- */

#define WRAP_AS(type, failure, name, symbol, params, args)        \
	type symbol params                                        \
	{                                                         \
		static type (*real) params;                       \
                                                                  \
		if (real == NULL)                                 \
			*(void **)&real = dlsym(RTLD_NEXT, #symbol); \
		return STRIKES(name) ? failure : real args;       \
	}

#define WRAP(name, params, args) WRAP_AS(int, -1, #name, name, params, args)

WRAP(fsync, (int fd), (fd))
WRAP(fdatasync, (int fd), (fd))
WRAP(syncfs, (int fd), (fd))
WRAP(mkdir, (const char *p, mode_t m), (p, m))
WRAP(mkdirat, (int d, const char *p, mode_t m), (d, p, m))
WRAP(unlink, (const char *p), (p))
WRAP(unlinkat, (int d, const char *p, int f), (d, p, f))
WRAP(renameat, (int a, const char *o, int b, const char *n), (a, o, b, n))
WRAP(renameat2, (int a, const char *o, int b, const char *n, unsigned int f),
    (a, o, b, n, f))
WRAP(linkat, (int a, const char *o, int b, const char *n, int f),
    (a, o, b, n, f))
WRAP(symlinkat, (const char *t, int d, const char *p), (t, d, p))
WRAP(mknodat, (int d, const char *p, mode_t m, dev_t dev), (d, p, m, dev))
WRAP(fchown, (int fd, uid_t u, gid_t g), (fd, u, g))
WRAP(fchownat, (int d, const char *p, uid_t u, gid_t g, int f),
    (d, p, u, g, f))
WRAP(fchmod, (int fd, mode_t m), (fd, m))
WRAP(fchmodat, (int d, const char *p, mode_t m, int f), (d, p, m, f))
WRAP(futimens, (int fd, const struct timespec t[2]), (fd, t))
WRAP(utimensat, (int d, const char *p, const struct timespec t[2], int f),
    (d, p, t, f))
WRAP(fsetxattr, (int fd, const char *n, const void *v, size_t s, int f),
    (fd, n, v, s, f))
WRAP(mount, (const char *s, const char *t, const char *y, unsigned long f,
    const void *d), (s, t, y, f, d))
WRAP(umount2, (const char *t, int f), (t, f))
#define WRAP_BOTH(type, failure, name, params, params64, args) \
	WRAP_AS(type, failure, #name, name, params, args)     \
	WRAP_AS(type, failure, #name, name##64, params64, args)

WRAP_BOTH(int, -1, ftruncate, (int fd, off_t n), (int fd, off64_t n), (fd, n))
WRAP_BOTH(int, -1, fallocate, (int fd, int m, off_t o, off_t n),
    (int fd, int m, off64_t o, off64_t n), (fd, m, o, n))
WRAP_BOTH(int, -1, fstat, (int fd, struct stat *st),
    (int fd, struct stat64 *st), (fd, st))
WRAP_BOTH(int, -1, fstatat, (int d, const char *p, struct stat *st, int f),
    (int d, const char *p, struct stat64 *st, int f), (d, p, st, f))
WRAP_BOTH(int, -1, fstatvfs, (int fd, struct statvfs *st),
    (int fd, struct statvfs64 *st), (fd, st))
WRAP_AS(struct dirent *, NULL, "readdir", readdir, (DIR *d), (d))
WRAP_AS(struct dirent64 *, NULL, "readdir", readdir64, (DIR *d), (d))
WRAP_BOTH(void *, MAP_FAILED, mmap,
    (void *a, size_t n, int p, int f, int fd, off_t o),
    (void *a, size_t n, int p, int f, int fd, off64_t o), (a, n, p, f, fd, o))
WRAP_AS(ssize_t, -1, "readlinkat", readlinkat,
    (int d, const char *p, char *b, size_t n), (d, p, b, n))
WRAP_AS(DIR *, NULL, "fdopendir", fdopendir, (int fd), (fd))
WRAP_AS(DIR *, NULL, "opendir", opendir, (const char *p), (p))
WRAP(socket, (int d, int t, int p), (d, t, p))
WRAP(socketpair, (int d, int t, int p, int fd[2]), (d, t, p, fd))
WRAP(pipe2, (int fd[2], int f), (fd, f))
WRAP(accept4, (int fd, struct sockaddr *a, socklen_t *n, int f),
    (fd, a, n, f))
WRAP(eventfd, (unsigned int n, int f), (n, f))
WRAP(flock, (int fd, int op), (fd, op))
WRAP(poll, (struct pollfd *p, nfds_t n, int t), (p, n, t))
WRAP_AS(pid_t, -1, "waitpid", waitpid, (pid_t p, int *s, int o), (p, s, o))
WRAP_AS(pid_t, -1, "fork", fork, (void), ())
WRAP_AS(ssize_t, -1, "getrandom", getrandom,
    (void *b, size_t n, unsigned int f), (b, n, f))
WRAP_AS(int, fault.action, "pthread_create", pthread_create,
    (pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg),
    (t, a, f, arg))
WRAP_AS(int, fault.action, "posix_spawn", posix_spawn,
    (pid_t *pid, const char *p, const posix_spawn_file_actions_t *fa,
	const posix_spawnattr_t *at, char *const v[], char *const e[]),
    (pid, p, fa, at, v, e))

#define WRAP_OPEN(name, symbol, before, args)                         \
	int symbol(before const char *p, int flags, ...)              \
	{                                                             \
		static int (*real)(before const char *, int, ...);    \
		mode_t mode = 0;                                      \
		va_list ap;                                           \
                                                                      \
		if (flags & (O_CREAT | O_TMPFILE)) {                  \
			va_start(ap, flags);                          \
			mode = va_arg(ap, mode_t);                    \
			va_end(ap);                                   \
		}                                                     \
		if (real == NULL)                                     \
			*(void **)&real = dlsym(RTLD_NEXT, #symbol);  \
		return STRIKES(name) ? -1 : real args;                \
	}
#define DIR_ARGUMENT int d,

WRAP_OPEN("open", open, , (p, flags, mode))
WRAP_OPEN("open", open64, , (p, flags, mode))
WRAP_OPEN("open", openat, DIR_ARGUMENT, (d, p, flags, mode))
WRAP_OPEN("open", openat64, DIR_ARGUMENT, (d, p, flags, mode))

#define WRAP_CONTROL(name, symbol, type)                              \
	int symbol(int fd, type request, ...)                         \
	{                                                             \
		static int (*real)(int, type, ...);                   \
		va_list ap;                                           \
		void *arg;                                            \
                                                                      \
		va_start(ap, request);                                \
		arg = va_arg(ap, void *);                             \
		va_end(ap);                                           \
		if (real == NULL)                                     \
			*(void **)&real = dlsym(RTLD_NEXT, #symbol);  \
		return STRIKES(name) ? -1 : real(fd, request, arg);   \
	}

WRAP_CONTROL("ioctl", ioctl, unsigned long)
WRAP_CONTROL("fcntl", fcntl, int)
WRAP_CONTROL("fcntl", fcntl64, int)

long
syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list ap;
	int i;

	va_start(ap, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return STRIKES("syscall") ? -1
	    : real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- calls that do less ---- */

#define WRAP_IO(name, symbol, params, less, args)                     \
	ssize_t symbol params                                         \
	{                                                             \
		static ssize_t (*real) params;                        \
                                                                      \
		if (real == NULL)                                     \
			*(void **)&real = dlsym(RTLD_NEXT, #symbol);  \
		if (STRIKES(name)) {                                  \
			if (fault.action != SHORT)                    \
				return -1;                            \
			less;                                         \
		}                                                     \
		return real args;                                     \
	}

WRAP_IO("read", read, (int fd, void *b, size_t n), n = (n + 1) / 2, (fd, b, n))

/* An eventfd takes what it is given. */
static bool
is_event(int fd)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

ssize_t
write(int fd, const void *b, size_t n)
{
	static ssize_t (*real)(int, const void *, size_t);

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "write");
	if (fault.is_on && !is_event(fd) && STRIKES("write")) {
		if (fault.action != SHORT)
			return -1;
		n = (n + 1) / 2;
	}
	return real(fd, b, n);
}

WRAP_IO("pread", pread, (int fd, void *b, size_t n, off_t o),
    n = (n + 1) / 2, (fd, b, n, o))
WRAP_IO("pread", pread64, (int fd, void *b, size_t n, off64_t o),
    n = (n + 1) / 2, (fd, b, n, o))
WRAP_IO("pwrite", pwrite, (int fd, const void *b, size_t n, off_t o),
    n = (n + 1) / 2, (fd, b, n, o))
WRAP_IO("pwrite", pwrite64, (int fd, const void *b, size_t n, off64_t o),
    n = (n + 1) / 2, (fd, b, n, o))
WRAP_IO("copy_file_range", copy_file_range,
    (int i, off64_t *io, int o, off64_t *oo, size_t n, unsigned int f),
    n = (n + 1) / 2, (i, io, o, oo, n, f))

static struct msghdr
shorter(const struct msghdr *mh, struct iovec *iov)
{
	struct msghdr less = *mh;

	if (mh->msg_iovlen > 0) {
		*iov = mh->msg_iov[0];
		iov->iov_len = (iov->iov_len + 1) / 2;
		less.msg_iov = iov;
		less.msg_iovlen = 1;
	}
	return less;
}

ssize_t
sendmsg(int fd, const struct msghdr *mh, int flags)
{
	static ssize_t (*real)(int, const struct msghdr *, int);
	struct msghdr less;
	struct iovec iov;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "sendmsg");
	if (!STRIKES("sendmsg"))
		return real(fd, mh, flags);
	if (fault.action != SHORT)
		return -1;
	less = shorter(mh, &iov);
	return real(fd, &less, flags);
}

ssize_t
recvmsg(int fd, struct msghdr *mh, int flags)
{
	static ssize_t (*real)(int, struct msghdr *, int);
	struct msghdr less;
	struct iovec iov;
	ssize_t n;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "recvmsg");
	if (!STRIKES("recvmsg"))
		return real(fd, mh, flags);
	if (fault.action != SHORT)
		return -1;
	less = shorter(mh, &iov);
	n = real(fd, &less, flags);
	mh->msg_controllen = less.msg_controllen;
	mh->msg_flags = less.msg_flags;
	return n;
}

/* ---- memory ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

#define WRAP_MEMORY(symbol, params, args)                             \
	void *symbol params                                           \
	{                                                             \
		return fault.is_malloc && STRIKES("malloc") ? NULL    \
		    : __libc_##symbol args;                           \
	}

WRAP_MEMORY(malloc, (size_t size), (size))
WRAP_MEMORY(calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(realloc, (void *p, size_t size), (p, size))

/* json-c copies names of members so, and takes no look at what came of it
 * (json_tokener_parse_ex() of 0.16). */
static bool
is_json_c(const void *caller)
{
	Dl_info info = { .dli_fname = NULL };
	bool was_inside = is_inside;

	is_inside = true;
	(void)dladdr(caller, &info);
	is_inside = was_inside;
	return info.dli_fname != NULL &&
	    strstr(info.dli_fname, "libjson-c") != NULL;
}

/* By itself, so that its callers are places of their own. */
char *
strdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy;

	if (fault.is_malloc && !is_json_c(CALLER) && STRIKES("malloc"))
		return NULL;
	copy = __libc_malloc(size);
	return copy != NULL ? memcpy(copy, s, size) : NULL;
}

char *
strndup(const char *s, size_t max)
{
	size_t len = strnlen(s, max);
	char *copy;

	if (fault.is_malloc && STRIKES("malloc"))
		return NULL;
	copy = __libc_malloc(len + 1);
	if (copy == NULL)
		return NULL;
	copy[len] = '\0';
	return memcpy(copy, s, len);
}
