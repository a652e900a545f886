/* The pusher: what the puller's module does when it is told to push. */
#ifndef CORE_PUSHER_H
#define CORE_PUSHER_H

#include "core/puller-params.h"
#include "registry/session.h"

/* A session for what the engine said; in puller.c. */
int puller_open_session(const struct puller_params *params, bool is_push,
    void (*retrying)(void *ctx, const char *why, unsigned pause_ms), void *ctx,
    struct registry_session **ret, struct imgd_error **err);

/* Serve the engine until it closes.  start: the message PUSHER_START. */
int pusher_serve(int sock, struct message *start, struct imgd_error **err);

#endif
