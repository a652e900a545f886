/*
 * Jobs: named requests to the engine with arguments, environment and an
 * output stream of JSON objects (Docker's jsonmessage form).
 *
 * A job does not know by which door it came: ROOT/sock and HTTP make the same
 * ones.
 */
#ifndef CORE_JOB_H
#define CORE_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/message.h"
#include "lib/strbuf.h"

#define JOB_MAX_ARGS 256

struct engine;
struct job;
struct pull;

struct job_env {
	char *key, *value;
};

struct job_peer {
	int64_t pid, uid; /* -1: unknown */
};

/* Whoever asked for a job; ctx is the job's client_ctx.  The functions are
 * called on the job's thread. */
struct job_client {
	/* One JSON object of the stream. */
	void (*output)(void *ctx, const char *json);
	/* Whether the client has hung up. */
	bool (*is_abandoned)(void *ctx);
	/* The job has ended: r is 0 and job->result is whole, or r and err say
	 * why not.  The last call. */
	void (*end)(void *ctx, struct job *job, int r,
	    const struct imgd_error *err);
	/* The process that asked, for those who list jobs; NULL: unknown.  Any
	 * thread. */
	void (*peer)(void *ctx, struct job_peer *ret);
	const char *door; /* NULL: "http" */
};

struct job {
	struct engine *engine;
	const struct job_client *client;
	void *client_ctx;
	char *name;
	char **args;
	size_t n_args;
	struct job_env *env;
	size_t n_env;
	/* What the client gave along; owned, a handler may take them. */
	int fds[MESSAGE_MAX_FDS];
	size_t n_fds;
	struct strbuf result;

	/* while it runs; guarded by engine.mutex */
	struct job *next;
	uint64_t id;
	int64_t since; /* seconds since the epoch */
	const struct pull *pull; /* that it watches, or NULL */
	atomic_bool is_cancelled;
};

/* A job without arguments; NULL if memory is out. */
struct job *job_new(struct engine *e, const struct job_client *client,
    void *client_ctx, const char *name);
/* Closes descriptors that nobody took. */
void job_free(struct job *job);
static inline void
job_freep(struct job **job)
{
	job_free(*job);
}

/* -E2BIG beyond JOB_MAX_ARGS. */
int job_add_arg(struct job *job, const char *arg, struct imgd_error **err);
/* A NULL value is left out. */
int job_setenv(struct job *job, const char *key, const char *value,
    struct imgd_error **err);

/* The value of an environment key, or NULL if it is unset or empty. */
const char *job_getenv(const struct job *job, const char *key);

/* Run it on this thread and tell its client; consumes the job. */
void job_run(struct job *job);

/* job_run on a thread of its own; the engine does not end before that. */
int job_start(struct job *job, struct imgd_error **err);

/* Send one JSON object to the client.  A client that is gone is no error
 * here; job_is_abandoned tells. */
void job_output(struct job *job, const char *json);

/* Whether the client has hung up, or the job was cancelled. */
bool job_is_abandoned(const struct job *job);

/* A job's work. */
typedef int job_handler(struct job *job, struct imgd_error **err);

struct job_type {
	const char *name;
	job_handler *run;
	size_t min_args, max_args;
};

/* The engine's table of jobs, ended by a NULL name. */
extern const struct job_type job_types[];

job_handler job_adopt, job_bundle, job_bundle_mount, job_bundle_rm,
    job_cancel, job_commit, job_create, job_df, job_diff, job_distribution,
    job_events, job_export, job_fsck, job_gc, job_history, job_images,
    job_import, job_info, job_inspect, job_jobs, job_load, job_login,
    job_migrate, job_mount, job_prune, job_pull, job_push, job_rm, job_rmi,
    job_save, job_search, job_tag, job_umount, job_verify;

#endif
