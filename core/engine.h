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

struct pull;
struct flight;
struct exec_request;

struct engine {
	struct store *store;
	const struct config *config;
	int lock_fd;      /* ROOT/lock, exclusive */
	int listen_fd;    /* ROOT/sock */
	int wake_fd;      /* eventfd: the main thread looks around */
	int signal_fd;
	int liveness[2];  /* workers hold the read end */
	int workers_lock_fd; /* workers.lock, shared; for workers only */

	pthread_mutex_t mutex; /* for the fields below */
	pthread_cond_t changed;
	struct exec_request *execs;
	unsigned int n_jobs; /* threads that the engine waits for */
	bool is_ending;
	struct pull *pulls;     /* in flight */
	struct flight *flights; /* layers in flight */
	unsigned int n_transfers; /* layers being fetched now */
	unsigned int n_uploads;   /* and being sent */

	/* Held from "this layer is there" to the row that says a pull relies
	 * on it, and while rows are made to die. */
	pthread_mutex_t plan_mutex;

	pthread_mutex_t spawner_mutex;
	int spawner_sock; /* -EBADF: none runs */
};

/*
 * Run an engine on ROOT until it is idle.
 *
 * lock_fd: ROOT/lock, locked exclusively; taken.
 * ready_fd: told when the engine accepts jobs: an error's text and code, or
 * nothing, then closed; taken.
 * Returns the process's exit status.
 */
int engine_run(const char *root, const struct config *config, int lock_fd,
    int ready_fd);

/* Start a worker program with sock as its socket; main thread does it.
 * ret_pidfd: owned by the caller. */
int engine_exec(struct engine *e, const char *role, int sock, int *ret_pidfd,
    struct imgd_error **err);

/* Let the spawner fork a worker; *ret_sock is this side of its socket. */
int engine_spawn(struct engine *e, uint32_t what, int *ret_sock,
    int *ret_pidfd, struct imgd_error **err);

/* Remove a layer's data and recipe; its row is the caller's. */
int engine_remove_layer(struct engine *e, const char *driver, const char *key,
    struct imgd_error **err);

/* Remove what rows call dying, from the drivers and then the rows.  A layer
 * that cannot go now stays dying. */
int engine_reap(struct engine *e, struct imgd_error **err);

/* A thread that the engine must not end before begins, and ends: the latter
 * is the last thing it does with the engine. */
void engine_enter(struct engine *e);
void engine_leave(struct engine *e);

/* Whether the engine was told to end. */
bool engine_is_ending(struct engine *e);

/* Kill and wait for a worker. */
void worker_end(int *pidfd);
/* Wait until a worker is gone; killed after timeout_ms. */
void worker_wait(int *pidfd, int timeout_ms);

#endif
