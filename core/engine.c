#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/containers.h"
#include "core/engine.h"
#include "core/exec.h"
#include "core/job.h"
#include "core/lock.h"
#include "core/mount.h"
#include "core/partials.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/message.h"
#include "tagstore/uploads.h"

#define LOG_ENGINE   "engine"
#define UPLOAD_MAX_S (7 * 86400) /* longer no registry keeps a part */

/* A client's connection, on its way to its thread. */
struct connection {
	struct engine *engine;
	int sock;
};

bool
engine_is_ending(struct engine *e)
{
	bool is_ending;

	pthread_mutex_lock(&e->mutex);
	is_ending = e->is_ending;
	pthread_mutex_unlock(&e->mutex);
	return is_ending;
}

void
engine_enter(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->n_jobs++;
	pthread_mutex_unlock(&e->mutex);
}

void
engine_leave(struct engine *e)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&e->mutex);
	e->n_jobs--;
	(void)!write(e->wake_fd, &one, sizeof(one));
	pthread_mutex_unlock(&e->mutex);
}

/* ---- jobs ---- */

static void
job_free(struct job *job)
{
	size_t i;

	for (i = 0; i < job->n_args; i++)
		free(job->args[i]);
	for (i = 0; i < job->n_env; i++) {
		free(job->env[i].key);
		free(job->env[i].value);
	}
	free(job->args);
	free(job->env);
	free(job->name);
	strbuf_done(&job->result);
	close_fd(&job->sock);
}

static int
parse_job(struct message *m, struct job *job, struct imgd_error **err)
{
	uint32_t i, n;

	if (m->type != JOB_RUN)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	job->name = strdup(message_get_str(m));
	n = message_get_u32(m);
	if (n > JOB_MAX_ARGS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d arguments", JOB_MAX_ARGS);
	job->args = calloc((size_t)n + 1, sizeof(*job->args));
	for (i = 0; job->args != NULL && i < n; i++, job->n_args++)
		if ((job->args[i] = strdup(message_get_str(m))) == NULL)
			break;
	n = message_get_u32(m);
	if (n > JOB_MAX_ARGS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d variables", JOB_MAX_ARGS);
	job->env = calloc((size_t)n + 1, sizeof(*job->env));
	for (i = 0; job->env != NULL && i < n; i++, job->n_env++) {
		job->env[i].key = strdup(message_get_str(m));
		job->env[i].value = strdup(message_get_str(m));
		if (job->env[i].key == NULL || job->env[i].value == NULL) {
			job->n_env++;
			break;
		}
	}
	if (job->name == NULL || job->args == NULL || job->env == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return message_end(m, err);
}

static int
run_job(struct job *job, struct imgd_error **err)
{
	const struct job_type *t;

	for (t = job_types; t->name != NULL; t++)
		if (strcmp(t->name, job->name) == 0)
			break;
	if (t->name == NULL)
		return imgd_error_set(err, EINVAL, "no such job: %s",
		    job->name);
	if (job->n_args < t->min_args || job->n_args > t->max_args)
		return imgd_error_set(err, EINVAL,
		    "job %s: wrong number of arguments", job->name);
	log_debug(LOG_ENGINE, "job %s begins", job->name);
	return t->run(job, err);
}

/* Only who may enter ROOT reaches the socket; check all the same. */
static int
check_peer(int sock, struct imgd_error **err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return imgd_error_set(err, errno, "peer: %s", strerror(errno));
	if (cred.uid != 0 && cred.uid != geteuid())
		return imgd_error_set(err, EPERM, "user %u may not use this",
		    (unsigned int)cred.uid);
	return 0;
}

static void
send_end(struct job *job, int r, struct imgd_error *e)
{
	struct message m;

	if (r == -IMGD_E_GOING) {
		message_init(&m, JOB_GOING);
	} else if (r < 0) {
		message_init(&m, JOB_FAILED);
		message_put_error(&m, e);
	} else {
		message_init(&m, JOB_DONE);
		message_put_str(&m, job->result.data);
	}
	(void)message_send(job->sock, &m, NULL);
}

static void *
job_thread(void *arg)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup(message_done) struct message m;
	struct connection *c = arg;
	struct engine *e = c->engine;
	struct job job = { .engine = e, .sock = c->sock,
		.result = STRBUF_INIT };
	int r;

	free(c);
	message_init(&m, 0);
	r = message_set_timeout(job.sock, PROTOCOL_TIMEOUT_S, &err);
	if (r >= 0)
		r = check_peer(job.sock, &err);
	if (r >= 0)
		r = message_recv(job.sock, PROTOCOL_MAX_BYTES, &m, &err);
	if (r > 0 && engine_is_ending(e)) {
		send_end(&job, -IMGD_E_GOING, NULL);
	} else if (r != 0) {
		if (r > 0)
			r = parse_job(&m, &job, &err);
		if (r >= 0)
			r = run_job(&job, &err);
		if (r < 0)
			log_debug(LOG_ENGINE, "job failed: %s",
			    imgd_error_msg(err));
		send_end(&job, r, err);
	}
	job_free(&job);
	message_done(&m);
	imgd_error_free(err);
	err = NULL;
	engine_leave(e);
	return NULL;
}

static void
accept_client(struct engine *e)
{
	cleanup_close int sock = accept4(e->listen_fd, NULL, NULL,
	    SOCK_CLOEXEC);
	struct connection *c;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (sock < 0)
		return;
	c = malloc(sizeof(*c));
	if (c == NULL)
		return;
	*c = (struct connection) { e, sock };
	engine_enter(e);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, ENGINE_THREAD_STACK);
	r = pthread_create(&thread, &attr, job_thread, c);
	(void)pthread_attr_destroy(&attr);
	if (r != 0) {
		log_warn("thread: %s, ignoring a client", strerror(r));
		free(c);
		engine_leave(e);
		return;
	}
	(void)take_fd(&sock);
}

/* ---- the main loop ---- */

static unsigned int
count_jobs(struct engine *e)
{
	unsigned int n;

	pthread_mutex_lock(&e->mutex);
	n = e->n_jobs;
	pthread_mutex_unlock(&e->mutex);
	return n;
}

static void
set_ending(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->is_ending = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->mutex);
}

static void
drain(int fd)
{
	char buf[1024];

	(void)!read(fd, buf, sizeof(buf));
}

/*
 * Serve until idle for ENGINE_IDLE_MS, or told to end by a signal.
 *
 * On the way out the socket is unlinked and the queue answered GOING: such
 * clients start over, with an engine of their own.
 */
static void
main_loop(struct engine *e)
{
	struct pollfd p[3] = {
		{ .fd = e->listen_fd, .events = POLLIN },
		{ .fd = e->wake_fd, .events = POLLIN },
		{ .fd = e->signal_fd, .events = POLLIN },
	};

	for (;;) {
		unsigned int n_jobs = count_jobs(e);
		bool is_ending = engine_is_ending(e);
		int n;

		if (is_ending && n_jobs == 0)
			return;
		n = poll(p, 3, n_jobs == 0 ? ENGINE_IDLE_MS : -1);
		if (n == 0 && count_jobs(e) == 0) {
			set_ending(e);
			(void)unlinkat(e->store->root_fd, "sock", 0);
			/* Who connected by now is in the queue. */
			while (poll(p, 1, 0) > 0)
				accept_client(e);
			continue;
		}
		if (p[2].revents & POLLIN) {
			log_debug(LOG_ENGINE, "told to end by a signal");
			drain(e->signal_fd);
			set_ending(e);
			(void)unlinkat(e->store->root_fd, "sock", 0);
		}
		if (p[1].revents & POLLIN)
			drain(e->wake_fd);
		if (p[0].revents & POLLIN)
			accept_client(e);
		exec_serve(e);
	}
}

/* ---- removal ---- */

struct dying {
	struct strbuf keys;    /* 65 bytes each */
	struct strbuf drivers; /* 64 bytes each */
};

#define DRIVER_NAME_SIZE 64

static int
note_dying(void *ctx, const struct layer_row *row)
{
	struct dying *d = ctx;
	char name[DRIVER_NAME_SIZE] = "";

	(void)snprintf(name, sizeof(name), "%s", row->driver);
	if (strlen(row->key) != 64)
		return 0;
	strbuf_append(&d->keys, row->key, 65);
	strbuf_append(&d->drivers, name, sizeof(name));
	return 0;
}

int
engine_remove_layer(struct engine *e, const char *name, const char *key,
    struct imgd_error **err)
{
	cleanup_close int recipes_fd = -EBADF;
	struct driver *driver;
	int r;

	r = store_driver(e->store, name, &driver, err);
	if (r >= 0)
		r = driver_remove(driver, key, err);
	if (r < 0)
		return r;
	recipes_fd = fs_open_dir(e->store->root_fd, "recipes", err);
	if (recipes_fd < 0)
		return recipes_fd;
	if (unlinkat(recipes_fd, key, 0) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "recipe %.12s: %s", key,
		    strerror(errno));
	return 0;
}

/* Call engine_remove_layer, and row_gone if it is not NULL, for all layers in
 * a state; a failure is survived. */
static int
remove_all(struct engine *e, const char *state,
    int (*row_gone)(struct tagstore *, const char *, struct imgd_error **),
    struct imgd_error **err)
{
	struct dying d = { STRBUF_INIT, STRBUF_INIT };
	size_t i, n;
	int r;

	r = tagstore_layers(e->store->tags, NULL, state, note_dying, &d, err);
	n = r < 0 || d.keys.is_failed || d.drivers.is_failed
	    ? 0
	    : d.keys.len / 65;
	for (i = 0; i < n; i++) {
		cleanup_error struct imgd_error *why = NULL;
		const char *key = d.keys.data + i * 65;

		if (engine_remove_layer(e,
			d.drivers.data + i * DRIVER_NAME_SIZE, key, &why) < 0 ||
		    (row_gone != NULL &&
			row_gone(e->store->tags, key, &why) < 0))
			log_warn("%s; removed later, ignoring",
			    imgd_error_msg(why));
	}
	strbuf_done(&d.keys);
	strbuf_done(&d.drivers);
	return r;
}

int
engine_reap(struct engine *e, struct imgd_error **err)
{
	return remove_all(e, "dying", tagstore_layer_gone, err);
}

/* ---- start and end ---- */

static int
open_socket(struct engine *e, struct imgd_error **err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[32];
	int fd;

	if (unlinkat(e->store->root_fd, "sock", 0) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "sock: %s", strerror(errno));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return imgd_error_set(err, errno, "socket: %s",
		    strerror(errno));
	/* ROOT's own path may be longer than sun_path. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock",
	    fs_fd_path(e->store->root_fd, dir));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    fchmodat(e->store->root_fd, "sock", 0600, 0) < 0 ||
	    listen(fd, 128) < 0) {
		int code = errno;

		close_fd(&fd);
		return imgd_error_set(err, code, "sock: %s", strerror(code));
	}
	e->listen_fd = fd;
	return 0;
}

static int
open_fds(struct engine *e, struct imgd_error **err)
{
	sigset_t set;
	int pipe_fds[2], i;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	e->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->signal_fd < 0 || e->wake_fd < 0 ||
	    pipe2(pipe_fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "engine: %s",
		    strerror(errno));
	for (i = 0; i < 2; i++) {
		/* Above the workers' well-known descriptors. */
		e->liveness[i] = fcntl(pipe_fds[i], F_DUPFD_CLOEXEC, 16);
		close_fd(&pipe_fds[i]);
	}
	if (e->liveness[0] < 0 || e->liveness[1] < 0)
		return imgd_error_set(err, EMFILE, "engine: descriptors");
	return 0;
}

/* An engine that was killed may have left mounts and devices of drivers that
 * nothing asks for now: whoever opens a driver cleans up behind it. */
static void
open_all_drivers(struct engine *e)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	int fd = fs_open_dir(e->store->root_fd, "drivers", NULL);

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		cleanup_closep(&fd);
		return;
	}
	while ((de = readdir(dir)) != NULL) {
		cleanup_error struct imgd_error *why = NULL;
		struct driver *driver;

		if (de->d_name[0] != '.' &&
		    store_driver(e->store, de->d_name, &driver, &why) < 0)
			log_debug(LOG_ENGINE, "%s, ignoring",
			    imgd_error_msg(why));
	}
}

/* What a crash left: no worker of it lives any more. */
static int
recover(struct engine *e, struct imgd_error **err)
{
	int r;

	/* The socket is unlinked by an orderly end alone. */
	if (faccessat(e->store->root_fd, "sock", F_OK, AT_SYMLINK_NOFOLLOW) ==
	    0)
		open_all_drivers(e);
	r = fs_make_dir(e->store->root_fd, "recipes", 0700, err);
	if (r >= 0)
		r = fs_make_dir(e->store->root_fd, "spool", 0700, err);
	if (r >= 0)
		r = partials_expire(e->store, err);
	if (r >= 0)
		(void)tagstore_uploads_expire(e->store->tags, UPLOAD_MAX_S,
		    NULL);
	if (r >= 0 && tagstore_pulls_abandon_all(e->store->tags, NULL) < 0) {
		/* The database cannot write where the disk is full. */
		r = remove_all(e, "staging", NULL, err);
		if (r >= 0)
			r = tagstore_pulls_abandon_all(e->store->tags, err);
	}
	if (r >= 0)
		r = mounts_recover(e, err);
	if (r >= 0)
		r = containers_recover(e, err);
	if (r >= 0)
		r = engine_reap(e, err);
	return r;
}

static int
start(struct engine *e, const char *root, struct imgd_error **err)
{
	int r;

	r = store_open(root, e->config, /* is_readonly= */ false, &e->store,
	    err);
	if (r >= 0)
		r = open_fds(e, err);
	if (r >= 0)
		r = lock_workers_exclusive(e->store->root_fd, err);
	if (r < 0)
		return r;
	r = recover(e, err);
	if (r >= 0)
		r = lock_workers_shared(e->store->root_fd,
		    &e->workers_lock_fd, err);
	if (r >= 0)
		r = lock_describe(e->lock_fd, e->store->root, err);
	if (r >= 0)
		r = open_socket(e, err);
	return r;
}

static void
finish(struct engine *e)
{
	/* Queued clients see the end of file and start over. */
	close_fd(&e->listen_fd);
	close_fd(&e->spawner_sock);
	store_close(e->store);
	close_fd(&e->liveness[1]);
	close_fd(&e->liveness[0]);
	close_fd(&e->workers_lock_fd);
	close_fd(&e->wake_fd);
	close_fd(&e->signal_fd);
	(void)pthread_mutex_destroy(&e->mutex);
	(void)pthread_mutex_destroy(&e->plan_mutex);
	(void)pthread_mutex_destroy(&e->spawner_mutex);
	(void)pthread_cond_destroy(&e->changed);
	close_fd(&e->lock_fd);
}

int
engine_run(const char *root, const struct config *config, int lock_fd,
    int ready_fd)
{
	cleanup_error struct imgd_error *err = NULL;
	struct engine e = {
		.config = config,
		.lock_fd = lock_fd,
		.listen_fd = -EBADF,
		.wake_fd = -EBADF,
		.signal_fd = -EBADF,
		.liveness = { -EBADF, -EBADF },
		.workers_lock_fd = -EBADF,
		.spawner_sock = -EBADF,
	};
	int r;

	(void)pthread_mutex_init(&e.mutex, NULL);
	(void)pthread_mutex_init(&e.plan_mutex, NULL);
	(void)pthread_mutex_init(&e.spawner_mutex, NULL);
	(void)pthread_cond_init(&e.changed, NULL);
	r = start(&e, root, &err);
	if (r < 0) {
		int code = imgd_error_code(err);
		const char *text = imgd_error_msg(err);

		(void)!write(ready_fd, &code, sizeof(code));
		(void)!write(ready_fd, text, strlen(text));
		log_debug(LOG_ENGINE, "%s", text);
	}
	close_fd(&ready_fd);
	if (r >= 0)
		main_loop(&e);
	finish(&e);
	return r < 0;
}
