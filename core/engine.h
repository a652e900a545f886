/*
 * The engine: the one process that changes a store.
 *
 * Its main thread accepts clients and starts processes; every job has a
 * thread of its own.
 */
#ifndef CORE_ENGINE_H
#define CORE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/store.h"
#include "imgd/error.h"

#define ENGINE_THREAD_STACK (768u << 10)
#define ENGINE_IDLE_MS      250
#define ENGINE_LOCK_WAIT_S  10

struct events;
struct gc;
struct job;
struct pull;
struct flight;
struct exec_request;

struct engine;

/* What lives in an engine beside its jobs: a daemon's server.  Called on the
 * main thread. */
struct engine_service {
	/* Jobs are accepted from here on. */
	int (*start)(struct engine *e, void *ctx, struct imgd_error **err);
	/* No new job is: the engine is ending. */
	void (*quiesce)(void *ctx);
	/* No job runs any more.  Called also when start failed. */
	void (*stop)(void *ctx);
	/* SIGHUP: the configuration anew, or NULL after a warning. */
	struct config *(*reload)(void *ctx);
};

struct engine_options {
	const char *root;
	const struct config *config; /* outlives the engine */
	int lock_fd;  /* ROOT/lock, locked exclusively; taken */
	int ready_fd; /* told when jobs are accepted: an error's code and text,
		       * or nothing, then closed; taken */
	int idle_ms;  /* end after so long without a job; -1: never */
	const struct engine_service *service; /* NULL: none */
	void *ctx;
};

struct engine {
	const struct engine_options *options;
	struct store *store;
	int lock_fd;      /* ROOT/lock, exclusive */
	int listen_fd;    /* ROOT/sock */
	int wake_fd;      /* eventfd: the main thread looks around */
	int signal_fd;
	int liveness[2];  /* workers hold the read end */
	int workers_lock_fd; /* workers.lock, shared; for workers only */

	struct events *events;
	atomic_flag is_pruning;
	struct gc *gc;

	/* See engine_config(). */
	_Atomic(const struct config *) config;
	struct config **reloaded; /* by the main thread alone */
	size_t n_reloaded;

	pthread_mutex_t mutex; /* for the fields below */
	pthread_cond_t changed;
	struct exec_request *execs;
	struct exec_child *children; /* the main thread's alone */
	unsigned int n_jobs; /* threads that the engine waits for */
	unsigned int n_background; /* of them those that nobody asked for */
	uint64_t n_entered; /* that anybody did ask for, ever */
	bool is_ending;
	struct pull *pulls;     /* in flight */
	struct flight *flights; /* layers in flight */
	unsigned int n_transfers; /* layers being fetched now */
	unsigned int n_uploads;   /* and being sent */
	struct job *jobs; /* that run, the newest first */
	uint64_t last_job_id;

	/* Held from "this layer is there" to the row that says a pull relies
	 * on it, and while rows are made to die. */
	pthread_mutex_t plan_mutex;
	/* Held while a mount is undone; plan_mutex inside it. */
	pthread_mutex_t umount_mutex;

	pthread_mutex_t spawner_mutex;
	int spawner_sock; /* -EBADF: none runs */
};

/* Run an engine until it is idle or told to end; returns 0, or the error that
 * kept it from serving. */
int engine_run(const struct engine_options *o, struct imgd_error **err);

/* The configuration of now; it stays valid as long as the engine lives. */
const struct config *engine_config(struct engine *e);

/* Start a worker program with sock as its socket; main thread does it.
 * ret_pidfd: owned by the caller. */
int engine_exec(struct engine *e, const char *role, int sock, int *ret_pidfd,
    struct imgd_error **err);

/* Let the spawner fork a worker; *ret_sock is this side of its socket. */
int engine_spawn(struct engine *e, uint32_t what, int *ret_sock,
    int *ret_pidfd, struct imgd_error **err);

/* Remove a layer's data and recipe; its row is the caller's. */
int engine_remove_layer(struct engine *e, const char *name, const char *key,
    struct imgd_error **err);

/* Remove what rows call dying, from the drivers and then the rows.  A layer
 * that cannot go now stays dying. */
int engine_reap(struct engine *e, struct imgd_error **err);

/* Have the main thread look around. */
void engine_wake(struct engine *e);

/* A thread that the engine must not end before begins, and ends: the latter
 * is the last thing it does with the engine. */
void engine_enter(struct engine *e);
void engine_leave(struct engine *e);

/* Start a detached thread that has entered; run must end with
 * engine_leave(). */
int engine_thread(struct engine *e, void *(*run)(void *), void *arg,
    struct imgd_error **err);

/* Whether the engine was told to end. */
bool engine_is_ending(struct engine *e);

/* Kill and wait for a worker. */
void worker_end(int *pidfd);
/* Kill a worker that holds nothing of the store: its end takes milliseconds that
 * nobody need wait for. */
void worker_dismiss(int *pidfd);
/* Wait until a worker is gone; killed after timeout_ms. */
void worker_wait(int *pidfd, int timeout_ms);

#endif
