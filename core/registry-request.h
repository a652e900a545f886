/* What a job that speaks to a registry tells its worker. */
#ifndef CORE_REGISTRY_REQUEST_H
#define CORE_REGISTRY_REQUEST_H

#include "core/job.h"
#include "core/puller-params.h"
#include "registry/reference.h"

/*
 * Fill params for ref from the job's environment (platform, username,
 * password, identity-token, registry-token, retry, limit-rate) and the
 * configuration.
 *
 * n_threads is 1, known_digest "", and there are no mirrors.  ret: zeroed
 * before; puller_params_done() after success and failure.
 */
int registry_request_fill(struct job *job, const struct reference *ref,
    struct puller_params *ret, struct imgd_error **err);
/* Add the mirrors of ref's registry. */
int registry_request_add_mirrors(struct job *job,
    const struct reference *ref, struct puller_params *params,
    struct imgd_error **err);

#endif
