/*
 * Jobs: named requests to the engine with arguments, environment and an
 * output stream of JSON objects (Docker's jsonmessage form).
 */
#ifndef CORE_JOB_H
#define CORE_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "imgd/error.h"
#include "lib/strbuf.h"

#define JOB_MAX_ARGS 256

struct engine;

struct job_env {
	char *key, *value;
};

struct job {
	struct engine *engine;
	int sock; /* the client */
	char *name;
	char **args;
	size_t n_args;
	struct job_env *env;
	size_t n_env;
	struct strbuf result;
};

/* The value of an environment key, or NULL if it is unset or empty. */
const char *job_getenv(const struct job *job, const char *key);

/* Send one JSON object to the client.  A client that is gone is no error
 * here; job_is_abandoned tells. */
void job_output(struct job *job, const char *json);

/* Whether the client has hung up. */
bool job_is_abandoned(const struct job *job);

/* A job's work, on a thread of its own. */
typedef int job_handler(struct job *job, struct imgd_error **err);

struct job_type {
	const char *name;
	job_handler *run;
	size_t min_args, max_args;
};

/* The engine's table of jobs, ended by a NULL name. */
extern const struct job_type job_types[];

job_handler job_adopt, job_create, job_diff, job_fsck, job_login, job_migrate,
    job_mount, job_pull, job_push, job_rm, job_rmi, job_search, job_tag,
    job_umount;

#endif
