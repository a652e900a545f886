#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/leave.h"
#include "core/module.h"
#include "core/protocol.h"
#include "core/role.h"
#include "core/spawner.h"
#include "lib/cleanup.h"
#include "lib/log.h"

int
role_load(const char *name, const char *function, role_main_fn **ret,
    struct imgd_error **err)
{
	void *symbol;
	int r = module_symbol(name, function, &symbol, err);

	if (r >= 0)
		memcpy(ret, &symbol, sizeof(*ret));
	return r;
}

static int
run_worker(const char *name)
{
	cleanup_error struct imgd_error *err = NULL;
	role_main_fn *run;

	/* Once more when it has confined itself, which undoes this. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (role_load(name, ROLE_MAIN_SYMBOL, &run, &err) < 0) {
		log_warn("%s: %s", name, imgd_error_msg(err));
		return 1;
	}
	/* What would be done at an ordinary end needs the old root. */
	leave(run(WORKER_SOCKET_FD, 0));
}

/* The roles that are exec'd, but for the spawner. */
static const struct role {
	const char *argv0, *module;
} roles[] = {
	{ ROLE_PULLER, "puller" },
	{ ROLE_ADOPTER, "adopter" },
	{ ROLE_LOADER, "loader" },
	{ ROLE_MAKER, "maker" },
	{ ROLE_MOUNTER, "mounter" },
	{ ROLE_PROBER, "prober" },
	{ NULL, NULL },
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
		leave(spawner_run());
	return run_worker(role->module);
}
