/*
 * The way of a verb to the engine of its store: connect to ROOT/sock, or
 * become the parent of a new engine.
 */
#ifndef CORE_CLIENT_H
#define CORE_CLIENT_H

#include <stddef.h>

#include "core/daemon-config.h"
#include "imgd/error.h"

struct job_request {
	const char *name;
	const char *const *args;
	size_t n_args;
	const char *const (*env)[2]; /* key, value; a NULL value is left out */
	size_t n_env;
	bool is_timid; /* -ENOENT if no engine runs: none is started */
	const int *fds; /* borrowed; what the job reads or writes */
	size_t n_fds;
};

/* One JSON object of the job's output stream. */
typedef void job_output_cb(void *ctx, const char *json);

/*
 * Run a job in the engine of root, starting one if none runs.
 *
 * cb may be NULL.  ret_result may be NULL; else malloc'ed on success.
 * SIGINT and SIGTERM are the caller's: when this process ends, its interest
 * in the job ends.
 * Returns 0, or the job's failure.
 */
int client_run(const char *root, const struct config *config,
    const struct job_request *request, job_output_cb *cb, void *ctx,
    char **ret_result, struct imgd_error **err);

#endif
