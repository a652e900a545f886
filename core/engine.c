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
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "core/confinement.h"
#include "core/containers.h"
#include "core/door.h"
#include "core/engine.h"
#include "core/events.h"
#include "core/exec.h"
#include "core/gc.h"
#include "core/lock.h"
#include "core/mount.h"
#include "core/partials.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "tagstore/uploads.h"

#define LOG_ENGINE "engine"

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
	e->n_entered++;
	pthread_mutex_unlock(&e->mutex);
}

void
engine_wake(struct engine *e)
{
	const uint64_t one = 1;

	/* -EAGAIN: it has been woken more often than it can count. */
	(void)!write(e->wake_fd, &one, sizeof(one));
}

void
engine_leave(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->n_jobs--;
	engine_wake(e);
	pthread_mutex_unlock(&e->mutex);
}

int
engine_thread(struct engine *e, void *(*run)(void *), void *arg,
    struct imgd_error **err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	engine_enter(e);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, ENGINE_THREAD_STACK);
	r = pthread_create(&thread, &attr, run, arg);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		return 0;
	engine_leave(e);
	return imgd_error_set(err, r, "thread: %s", strerror(r));
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

/* Refuse new jobs, and have those that run told. */
static void
end_service(struct engine *e)
{
	bool was_ending;

	pthread_mutex_lock(&e->mutex);
	was_ending = e->is_ending;
	e->is_ending = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->mutex);
	if (was_ending)
		return;
	if (e->options->service != NULL)
		e->options->service->quiesce(e->options->ctx);
	door_close(e);
}

const struct config *
engine_config(struct engine *e)
{
	return atomic_load(&e->config);
}

static void
drain(int fd)
{
	char buf[1024];

	(void)!read(fd, buf, sizeof(buf));
}

/* Take a new configuration.  Jobs may hold the old one, so it stays. */
static void
reload(struct engine *e)
{
	const struct engine_service *service = e->options->service;
	struct config **all, *c;

	all = reallocarray(e->reloaded, e->n_reloaded + 1, sizeof(*all));
	if (all == NULL)
		return;
	e->reloaded = all;
	c = service->reload(e->options->ctx);
	if (c == NULL)
		return;
	all[e->n_reloaded++] = c;
	atomic_store(&e->config, c);
	log_info("the configuration is read anew");
}

/* End, or with SIGHUP read the configuration anew, where there is one. */
static void
take_signal(struct engine *e)
{
	struct signalfd_siginfo info;

	if (read(e->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP && e->options->service != NULL) {
		reload(e);
		return;
	}
	log_debug(LOG_ENGINE, "told to end by a signal");
	end_service(e);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Since when nothing was asked of the engine. */
struct quiet {
	bool was_busy; /* when it was looked at last */
	uint64_t n_entered;
	int64_t since_ms;
};

/* For how many ms more the engine may idle; -1: for ever. */
static int
idle_left(struct engine *e, struct quiet *q)
{
	int64_t now = now_ms(), left;
	bool is_busy;

	pthread_mutex_lock(&e->mutex);
	is_busy = e->n_jobs > e->n_background || e->n_entered != q->n_entered;
	q->n_entered = e->n_entered;
	pthread_mutex_unlock(&e->mutex);
	if (is_busy || q->was_busy)
		q->since_ms = now;
	q->was_busy = is_busy;
	if (e->options->idle_ms < 0)
		return -1;
	left = q->since_ms + e->options->idle_ms - now;
	return left > 0 ? (int)left : 0;
}

/* How long to wait for something to happen. */
static int
patience_ms(struct engine *e, struct quiet *q, bool is_ending)
{
	int idle = idle_left(e, q), gc = -1;

	/* A verb's own engine lives too short for an interval to pass. */
	if (e->options->service != NULL && !is_ending)
		gc = gc_tick(e);
	if (count_jobs(e) > 0)
		return gc;
	return gc >= 0 && (idle < 0 || gc < idle) ? gc : idle;
}

/*
 * Serve until idle for long enough, or told to end by a signal.
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
	struct quiet quiet = { .since_ms = now_ms() };

	for (;;) {
		bool is_ending = engine_is_ending(e);
		int n;

		if (is_ending && count_jobs(e) == 0)
			return;
		n = poll(p, 3, patience_ms(e, &quiet, is_ending));
		/* Then they tell of the time before. */
		if (n < 0)
			p[0].revents = p[1].revents = p[2].revents = 0;
		if (n == 0 && idle_left(e, &quiet) == 0 &&
		    count_jobs(e) == 0) {
			end_service(e);
			continue;
		}
		if (p[2].revents & POLLIN)
			take_signal(e);
		if (p[1].revents & POLLIN)
			drain(e->wake_fd);
		if (p[0].revents & POLLIN)
			door_accept(e);
		exec_serve(e);
	}
}

/* ---- removal ---- */

struct dying {
	struct strbuf keys;     /* 65 bytes each */
	struct strbuf drivers;  /* 64 bytes each */
	struct strbuf replaced; /* one byte each: layer_row.is_replaced */
};

#define DRIVER_NAME_SIZE 64

/* Whether anything of the driver is handed out: it may be what a layer held
 * before its repair, or lie on that. */
static bool
may_be_mounted(struct engine *e, const char *name)
{
	struct driver *d;

	return store_driver(e->store, name, &d, NULL) < 0 ||
	    driver_has_users(d);
}

static int
note_dying(void *ctx, const struct layer_row *row)
{
	struct dying *d = ctx;
	char name[DRIVER_NAME_SIZE] = "";

	(void)snprintf(name, sizeof(name), "%s", row->driver);
	if (strlen(row->key) != 64)
		return 0;
	strbuf_putc(&d->replaced, row->is_replaced ? '1' : '0');
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
	FAIL_POINT("remove-layer-gone");
	recipes_fd = fs_open_dir(e->store->root_fd, "recipes", err);
	if (recipes_fd < 0)
		return recipes_fd;
	if (unlinkat(recipes_fd, key, 0) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "recipe %.12s: %s", key,
		    strerror(errno));
	FAIL_POINT("remove-recipe-gone");
	return 0;
}

/* Call engine_remove_layer, and row_gone if it is not NULL, for all layers in
 * a state; a failure is survived. */
static int
remove_all(struct engine *e, const char *state,
    int (*row_gone)(struct tagstore *, const char *, struct imgd_error **),
    struct imgd_error **err)
{
	struct dying d = { STRBUF_INIT, STRBUF_INIT, STRBUF_INIT };
	size_t i, n;
	int r;

	r = tagstore_layers(e->store->tags, NULL, state, note_dying, &d, err);
	n = r < 0 || d.keys.is_failed || d.drivers.is_failed ||
		d.replaced.is_failed
	    ? 0
	    : d.keys.len / 65;
	for (i = 0; i < n; i++) {
		cleanup_error struct imgd_error *why = NULL;
		const char *key = d.keys.data + i * 65;
		const char *driver = d.drivers.data + i * DRIVER_NAME_SIZE;

		if (d.replaced.data[i] == '1' && may_be_mounted(e, driver))
			continue;
		if (engine_remove_layer(e, driver, key, &why) < 0 ||
		    (row_gone != NULL &&
			row_gone(e->store->tags, key, &why) < 0))
			log_warn("%s; removed later, ignoring",
			    imgd_error_msg(why));
		FAIL_POINT("remove-row-gone");
	}
	strbuf_done(&d.keys);
	strbuf_done(&d.drivers);
	strbuf_done(&d.replaced);
	return r;
}

int
engine_reap(struct engine *e, struct imgd_error **err)
{
	return remove_all(e, "dying", tagstore_layer_gone, err);
}

/* ---- start and end ---- */

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
		(void)tagstore_uploads_expire(e->store->tags,
		    UPLOADS_MAX_AGE_S, NULL);
	if (r >= 0 && tagstore_pulls_abandon_all(e->store->tags, NULL) < 0) {
		/* The database cannot write where the disk is full. */
		r = remove_all(e, "staging", NULL, err);
		if (r >= 0)
			r = tagstore_pulls_abandon_all(e->store->tags, err);
	}
	FAIL_POINT("recover-pulls");
	if (r >= 0)
		r = mounts_recover(e, err);
	FAIL_POINT("recover-mounts");
	if (r >= 0)
		r = containers_recover(e, err);
	FAIL_POINT("recover-containers");
	if (r >= 0)
		r = engine_reap(e, err);
	return r;
}

static int
start(struct engine *e, struct imgd_error **err)
{
	const struct engine_options *o = e->options;
	int r;

	e->events = events_new();
	e->gc = gc_new();
	if (e->events == NULL || e->gc == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = store_open(o->root, o->config, /* is_readonly= */ false,
	    &e->store, err);
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
		r = door_open(e, err);
	if (r >= 0 && o->service != NULL) {
		confinement_warn();
		r = o->service->start(e, o->ctx, err);
	}
	return r;
}

static void
finish(struct engine *e)
{
	size_t i;

	if (e->options->service != NULL)
		e->options->service->stop(e->options->ctx);
	/* Queued clients see the end of file and start over. */
	close_fd(&e->listen_fd);
	close_fd(&e->spawner_sock);
	events_free(e->events);
	gc_free(e->gc);
	store_close(e->store);
	close_fd(&e->liveness[1]);
	close_fd(&e->liveness[0]);
	close_fd(&e->workers_lock_fd);
	close_fd(&e->wake_fd);
	close_fd(&e->signal_fd);
	(void)pthread_mutex_destroy(&e->mutex);
	(void)pthread_mutex_destroy(&e->umount_mutex);
	(void)pthread_mutex_destroy(&e->plan_mutex);
	(void)pthread_mutex_destroy(&e->spawner_mutex);
	(void)pthread_cond_destroy(&e->changed);
	for (i = 0; i < e->n_reloaded; i++) {
		config_done(e->reloaded[i]);
		free(e->reloaded[i]);
	}
	free(e->reloaded);
	exec_forget(e);
	close_fd(&e->lock_fd);
}

int
engine_run(const struct engine_options *o, struct imgd_error **err)
{
	struct engine e = {
		.options = o,
		.config = o->config,
		.lock_fd = o->lock_fd,
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
	(void)pthread_mutex_init(&e.umount_mutex, NULL);
	(void)pthread_mutex_init(&e.spawner_mutex, NULL);
	(void)pthread_cond_init(&e.changed, NULL);
	r = start(&e, err);
	if (r < 0 && o->ready_fd >= 0) {
		int code = -r;
		const char *text = err != NULL ? imgd_error_msg(*err) : "";

		(void)!write(o->ready_fd, &code, sizeof(code));
		(void)!write(o->ready_fd, text, strlen(text));
	}
	if (o->ready_fd >= 0)
		(void)close(o->ready_fd);
	if (r >= 0)
		main_loop(&e);
	finish(&e);
	return r;
}
