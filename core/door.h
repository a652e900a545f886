/*
 * ROOT/sock: the door by which verbs send jobs to the engine of their store.
 */
#ifndef CORE_DOOR_H
#define CORE_DOOR_H

#include "core/engine.h"

/* Make the socket and listen. */
int door_open(struct engine *e, struct imgd_error **err);

/* Take one client from the queue; its job gets a thread of its own. */
void door_accept(struct engine *e);

/* No new client finds the door; who is in the queue is answered. */
void door_close(struct engine *e);

#endif
