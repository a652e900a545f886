/* Asking a registry something that is no pull. */
#ifndef CORE_REGISTRY_ASK_H
#define CORE_REGISTRY_ASK_H

#include "core/job.h"
#include "core/puller-params.h"

/* Take one message; returns 1 after the last. */
typedef int registry_answer_fn(struct job *job, void *ctx, struct message *m,
    struct imgd_error **err);

/* Run a puller with params and take its answers. */
int registry_ask(struct job *job, const struct puller_params *params,
    registry_answer_fn *take, void *ctx, struct imgd_error **err);

#endif
