/* What workers say, heard by whoever works for a client that may leave. */
#ifndef CORE_HEAR_H
#define CORE_HEAR_H

#include <stdbool.h>
#include <stddef.h>

#include "core/job.h"
#include "lib/message.h"

/*
 * Wait for the next message of a worker.
 *
 * name: in errors, "puller".  max_bytes: of the message.
 * is_over: nobody wants it any more; it is asked again and again.
 * m: initialized; released by the caller also on failure.
 * Returns 0; -ECANCELED; -EPIPE if the worker has died; what a PULLER_FAILED or
 * WORKER_FAILED says; what message_recv() fails with.
 */
int hear(int sock, const char *name, size_t max_bytes,
    bool (*is_over)(void *ctx), void *ctx, struct message *m,
    struct imgd_error **err);

/* The same until the job's client leaves or the engine ends. */
int hear_for_job(struct job *job, int sock, const char *name,
    size_t max_bytes, struct message *m, struct imgd_error **err);

/* Fail: the worker said something that does not belong here. */
int hear_unexpected(const char *name, const struct message *m,
    struct imgd_error **err);

#endif
