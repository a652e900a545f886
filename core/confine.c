#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef WITH_SANITIZERS
#include <sanitizer/common_interface_defs.h>
#endif

#include "core/confine.h"
#include "core/leave.h"
#include "core/protocol.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define CAP(name) (1ull << CAP_##name)
#define LAST_CAP  63

#ifdef WITH_SANITIZERS
/* Their shadows take terabytes of addresses. */
#define MIB(n) RLIM_INFINITY
#else
#define MIB(n) ((rlim_t)(n) << 20)
#endif

enum root {
	ROOT_EMPTY,    /* nothing in it */
	ROOT_GIVEN,    /* the directory that it works in */
	ROOT_RESOLVER, /* what names are resolved with */
	ROOT_PROGRAMS  /* its own affair */
};

static const struct profile {
	int namespaces; /* CLONE_NEW*, beside that of mounts */
	enum root root;
	bool has_own_uid;
	uint64_t caps; /* the most it has */
	struct confine_rights files;
	unsigned int calls; /* 0: the role sees to that */
	rlim_t memory_bytes; /* of addresses */
	rlim_t n_files, n_threads;
} profiles[CONFINE_N] = {
	/* Trees are LIMIT_PATH_DEPTH deep, and each level takes a descriptor
	 * or two. */
	[CONFINE_UNPACKER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_GIVEN,
		.caps = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) |
		    CAP(FSETID) | CAP(MKNOD) | CAP(SETFCAP),
		.files = { .may_write = true },
		.calls = CALLS_TREE_READ | CALLS_TREE_WRITE | CALLS_FILE_WRITE,
		.memory_bytes = MIB(1024),
		.n_files = 8192,
		.n_threads = 0,
	},
	[CONFINE_PACKER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_GIVEN,
		.caps = CAP(DAC_READ_SEARCH),
		.files = { .no_reading = true },
		.calls = CALLS_TREE_READ,
		.memory_bytes = MIB(1024),
		.n_files = 8192,
		.n_threads = 0,
	},
	/* The kernel shows trusted.* to none but who has SYS_ADMIN, which is
	 * good for nothing else with these calls. */
	[CONFINE_EXPORTER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_GIVEN,
		.caps = CAP(DAC_READ_SEARCH) | CAP(SYS_ADMIN),
		.files = { .no_reading = true },
		.calls = CALLS_TREE_READ,
		.memory_bytes = MIB(1024),
		.n_files = 8192,
		.n_threads = 0,
	},
	/* A layer's window is 128 MiB at most, and there are up to 64. */
	[CONFINE_PULLER] = {
		.namespaces = CLONE_NEWIPC,
		.root = ROOT_RESOLVER,
		.has_own_uid = true,
		.files = { .no_reading = true, .has_network = true },
		.calls = CALLS_TREE_READ | CALLS_FILE_WRITE | CALLS_THREADS |
		    CALLS_NETWORK,
		.memory_bytes = MIB(16384),
		.n_files = 1024,
		.n_threads = 512,
	},
	/* What it was passed may be a directory that is not open to all. */
	[CONFINE_LOADER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_EMPTY,
		.has_own_uid = true,
		.caps = CAP(DAC_READ_SEARCH),
		.calls = CALLS_TREE_READ | CALLS_FILE_WRITE | CALLS_THREADS,
		.memory_bytes = MIB(16384),
		.n_files = 1024,
		.n_threads = 512,
	},
	[CONFINE_ADOPTER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_EMPTY,
		.has_own_uid = true,
		.caps = CAP(DAC_READ_SEARCH) | CAP(SYS_ADMIN),
		.calls = CALLS_TREE_READ | CALLS_FILE_WRITE | CALLS_THREADS |
		    CALLS_LOCKS,
		.memory_bytes = MIB(16384),
		.n_files = 16384,
		.n_threads = 512,
	},
	/* A bit of everything. */
	[CONFINE_PROBER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_RESOLVER,
		.has_own_uid = true,
		.files = { .no_reading = true },
		.calls = CALLS_TREE_READ | CALLS_THREADS | CALLS_NETWORK,
		.memory_bytes = MIB(1024),
		.n_files = 1024,
		.n_threads = 512,
	},
	[CONFINE_MAKER] = {
		.namespaces = CLONE_NEWNET | CLONE_NEWIPC,
		.root = ROOT_PROGRAMS,
	},
};

/* Compiled by confine_prepare(). */
static struct filter {
	void *data;
	size_t n;
} filters[CONFINE_N];

static bool is_prepared; /* namespaces, and an empty root */

/* ---- what is missing ---- */

static char missing[512];

void
confine_note(const char *part, const char *why)
{
	size_t len = strlen(missing);

	log_debug("confine", "%s: %s", part, why);
	(void)snprintf(missing + len, sizeof(missing) - len, "%s%s (%s)",
	    len > 0 ? "; " : "", part, why);
}

const char *
confine_missing(void)
{
	return missing;
}

/* ---- parts ---- */

static void
leave_namespaces(int namespaces)
{
	static const struct {
		int flag;
		const char *name;
	} all[] = { { CLONE_NEWNET, "a network of its own" },
		{ CLONE_NEWIPC, "System V IPC of its own" } };
	size_t i;

	for (i = 0; i < 2; i++)
		if ((namespaces & all[i].flag) != 0 &&
		    unshare(all[i].flag) < 0)
			confine_note(all[i].name, strerror(errno));
}

/* Whether there is a root of its own now. */
static bool
change_root(enum root root)
{
	cleanup_close int fd = confine_root_new();

	if (fd < 0) {
		confine_note("a root of its own", strerror(errno));
		return false;
	}
	if (root == ROOT_RESOLVER)
		confine_root_fill(fd);
	if (confine_root_enter(fd) < 0) {
		confine_note("a root of its own", strerror(errno));
		return false;
	}
	return true;
}

/*
 * The given directory is a mount that is nowhere attached, so nothing is above
 * it, and it goes with the process.
 */
static void
enter_given(int root_fd)
{
	if (fchdir(root_fd) < 0 || chroot(".") < 0)
		confine_note("its directory as root", strerror(errno));
}

static void
limit(int what, const char *name, rlim_t max)
{
	struct rlimit now;

	if (getrlimit(what, &now) == 0 && now.rlim_max < max)
		max = now.rlim_max;
	now = (struct rlimit) { max, max };
	if (setrlimit(what, &now) < 0)
		confine_note(name, strerror(errno));
}

static void
limit_all(const struct profile *p)
{
	limit(RLIMIT_CORE, "a bar to core dumps", 0);
	limit(RLIMIT_MSGQUEUE, "a bar to message queues", 0);
	limit(RLIMIT_AS, "a limit of memory", p->memory_bytes);
	limit(RLIMIT_NOFILE, "a limit of files", p->n_files);
	/* It counts for a uid, of which a root has many processes. */
	if (p->has_own_uid)
		limit(RLIMIT_NPROC, "a limit of threads", p->n_threads);
}

/* ---- rights ---- */

/* Of a user namespace the last uid that it has; 0 if that is the only one. */
static uid_t
last_mapped(const char *map)
{
	cleanup_fclose FILE *f = fopen(map, "re");
	unsigned long first, outside, count, last = 0;

	while (f != NULL &&
	    fscanf(f, "%lu %lu %lu", &first, &outside, &count) == 3)
		if (count > 0 && first + count - 1 > last)
			last = first + count - 1;
	return (uid_t)last;
}

/*
 * A uid that no other process has: none are handed out between those of
 * systemd's containers and 2^31, and there are at most 2^22 processes.  In a
 * user namespace it may not be there.
 */
#define FIRST_UID 0x70000000u

struct own_ids {
	uid_t uid; /* 0: there is none */
	gid_t gid;
};

/* While there is a /proc. */
static struct own_ids
choose_ids(void)
{
	const uid_t id = FIRST_UID + (uid_t)getpid();
	const uid_t uid = last_mapped("/proc/self/uid_map");
	const gid_t gid = last_mapped("/proc/self/gid_map");

	return (struct own_ids) { uid < id ? uid : id, gid < id ? gid : id };
}

static void
change_ids(const struct own_ids *ids)
{
	const uid_t uid = ids->uid;
	const gid_t gid = ids->gid;

	if (uid == 0 || gid == 0) {
		confine_note("a uid of its own",
		    "there is no other in the user namespace");
		return;
	}
	(void)setgroups(0, NULL);
	if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		confine_note("a uid of its own", strerror(errno));
}

static int
keep_caps(uint64_t caps)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	int i;

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	for (i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(caps >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &header, data);
}

/* None but these can be had again, by nothing. */
static int
bound_caps(uint64_t caps)
{
	int cap;

	for (cap = 0; cap <= LAST_CAP; cap++)
		if ((caps & (1ull << cap)) == 0 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EINVAL)
			return -1;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static void
drop_rights(const struct profile *p, const struct own_ids *ids)
{
	if (bound_caps(p->caps) < 0)
		confine_note("a bound of capabilities", strerror(errno));
	if (p->has_own_uid) {
		(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
		change_ids(ids);
	}
	if (keep_caps(p->caps) < 0)
		confine_note("few capabilities", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		confine_note("a bar to new privileges", strerror(errno));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		confine_note("a bar to debuggers", strerror(errno));
}

static struct filter tool_filter;

static int
compile_tool(void)
{
	if (tool_filter.data != NULL)
		return 0;
	return confine_calls_compile(CALLS_TOOL, &tool_filter.data,
	    &tool_filter.n);
}

int
confine_tool(void)
{
	const uint64_t caps = CAP(DAC_READ_SEARCH);
	const struct rlimit none = { 0, 0 };

	if (bound_caps(caps) < 0 || keep_caps(caps) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	if (compile_tool() < 0 ||
	    confine_calls_enter(tool_filter.data, tool_filter.n) < 0)
		log_debug("confine", "system calls: %s", strerror(errno));
	return 0;
}

/* ---- the end ---- */

/* The liveness pipe ends with the engine, however that ended. */
static void *
watch(void *arg)
{
	struct pollfd p = { .fd = (int)(intptr_t)arg };

	for (;;) {
		if (poll(&p, 1, -1) > 0 && p.revents != 0)
			_exit(1);
	}
	return NULL;
}

int
confine_watch(struct imgd_error **err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int e;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return imgd_error_set(err, errno, "PR_SET_PDEATHSIG: %s",
		    strerror(errno));
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, 64 << 10);
	e = pthread_create(&thread, &attr, watch,
	    (void *)(intptr_t)WORKER_LIVENESS_FD);
	(void)pthread_attr_destroy(&attr);
	if (e != 0)
		return imgd_error_set(err, e, "thread: %s", strerror(e));
	return 0;
}

/* ---- all of it ---- */

/* A sanitizer's report goes where log_path says, also from a root without. */
static void
keep_report(void)
{
#ifdef WITH_SANITIZERS
	static int report_fd = -EBADF;
	const char *path = report_fd < 0 ? __sanitizer_get_report_path()
					 : NULL;

	if (path != NULL && *path != '\0')
		report_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	/* In a child, once more. */
	if (report_fd >= 0)
		__sanitizer_set_report_fd((void *)(intptr_t)report_fd);
#endif
}

static int
compile(enum confine_role role)
{
	struct filter *f = &filters[role];

	if (f->data != NULL || profiles[role].calls == 0)
		return 0;
	return confine_calls_compile(profiles[role].calls, &f->data, &f->n);
}

static void
filter_calls(enum confine_role role)
{
	if (profiles[role].calls == 0)
		return;
	if (compile(role) < 0 ||
	    confine_calls_enter(filters[role].data, filters[role].n) < 0)
		confine_note("a list of system calls", strerror(errno));
}

void
confine_prepare(const enum confine_role *roles)
{
	keep_report();
	if (leave_seeks_leaks())
		return;
	leave_namespaces(CLONE_NEWNET | CLONE_NEWIPC);
	for (; *roles != CONFINE_N; roles++)
		(void)compile(*roles);
	(void)change_root(ROOT_EMPTY);
	is_prepared = true;
}

int
confine_enter(enum confine_role role, int root_fd, struct imgd_error **err)
{
	const struct profile *p = &profiles[role];
	int rights_fd = CONFINE_NO_ROOT, r;
	cleanup_close int own_fd = -EBADF;
	struct own_ids ids = { 0, 0 };
	bool has_root = is_prepared;

	/* Whoever starts programs does it between fork and exec, where another
	 * thread may have had the lock of what allocates memory. */
	if (p->calls == 0)
		(void)compile_tool();
	if (leave_seeks_leaks())
		return confine_watch(err);
	if (p->has_own_uid)
		ids = choose_ids();
	keep_report();
	if (!is_prepared) {
		leave_namespaces(p->namespaces);
		if (p->root != ROOT_PROGRAMS)
			has_root = change_root(p->root);
	}
	if (p->root == ROOT_GIVEN) {
		enter_given(root_fd);
		rights_fd = root_fd;
	} else if (p->root == ROOT_RESOLVER) {
		own_fd = has_root ? open("/", O_PATH | O_CLOEXEC) : -EBADF;
		rights_fd = has_root ? own_fd : CONFINE_RESOLVER_ROOT;
	}
	if (p->calls != 0) {
		limit_all(p);
		drop_rights(p, &ids);
		if (confine_landlock(&p->files, rights_fd) < 0)
			confine_note("landlock", strerror(errno));
	}
	r = confine_watch(err);
	if (r >= 0)
		filter_calls(role);
	return r;
}
