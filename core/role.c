#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/module.h"
#include "core/protocol.h"
#include "core/role.h"
#include "core/spawner.h"
#include "lib/cleanup.h"
#include "lib/log.h"

int
role_load(const char *name, role_main_fn **ret, struct imgd_error **err)
{
	void *symbol;
	int r = module_symbol(name, ROLE_MAIN_SYMBOL, &symbol, err);

	if (r >= 0)
		memcpy(ret, &symbol, sizeof(*ret));
	return r;
}

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
role_watch(int liveness_fd, struct imgd_error **err)
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
	    (void *)(intptr_t)liveness_fd);
	(void)pthread_attr_destroy(&attr);
	if (e != 0)
		return imgd_error_set(err, e, "thread: %s", strerror(e));
	return 0;
}

void
role_leave_network(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
		log_debug("worker", "network namespace: %s", strerror(errno));
}

static int
run_worker(const char *name)
{
	cleanup_error struct imgd_error *err = NULL;
	role_main_fn *run;

	if (role_watch(WORKER_LIVENESS_FD, &err) < 0 ||
	    role_load(name, &run, &err) < 0) {
		log_warn("%s: %s", name, imgd_error_msg(err));
		return 1;
	}
	return run(WORKER_SOCKET_FD, 0);
}

/* The roles that are exec'd, but for the spawner. */
static const struct role {
	const char *argv0, *module;
	bool needs_host; /* its network, or its semaphores */
} roles[] = {
	{ ROLE_PULLER, "puller", true },
	{ ROLE_ADOPTER, "adopter", false },
	{ ROLE_LOADER, "loader", false },
	{ ROLE_MAKER, "maker", false },
	/* udev would not find the mounter's semaphores in a namespace. */
	{ ROLE_MOUNTER, "mounter", true },
	{ NULL, NULL, false },
};

int
role_run(const char *argv0)
{
	bool is_spawner = strcmp(argv0, ROLE_SPAWNER) == 0;
	const struct role *role;
	int fd;

	for (role = roles; role->argv0 != NULL; role++)
		if (strcmp(argv0, role->argv0) == 0)
			break;
	if (!is_spawner && role->argv0 == NULL)
		return -1;
	for (fd = WORKER_SOCKET_FD; fd <= WORKER_LOCK_FD; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return 2; /* started by hand */
	log_set_areas(getenv("IMGD_DEBUG"));
	(void)signal(SIGPIPE, SIG_IGN);
	if (is_spawner)
		return spawner_run();
	/* Before there are threads that would stay behind. */
	if (!role->needs_host)
		role_leave_network();
	return run_worker(role->module);
}
