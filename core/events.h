/*
 * Events: what the engine did, in the form of Docker's /events.
 *
 * The last EVENTS_KEPT are remembered.  Whoever reads them holds up nobody who
 * makes them: a reader that falls behind misses the oldest and goes on.
 */
#ifndef CORE_EVENTS_H
#define CORE_EVENTS_H

#include <stddef.h>

#include "core/engine.h"

#define EVENTS_KEPT       256
#define EVENT_MAX_BYTES   4096 /* of labels; what is more is left out */
#define EVENT_MAX_ATTRIBUTES 64

struct events *events_new(void);
void events_free(struct events *events);

/*
 * The labels of an image (its id), for an event about it after which it may be
 * gone; malloc'ed JSON, or NULL.
 */
char *event_labels(struct engine *e, const char *image);

/*
 * Remember an event and wake up those who wait for one.
 *
 * type: "image" or "container".  id: the actor.  labels: of event_labels, or
 * NULL.  attributes: key and value; a NULL value is left out.  Nothing can
 * fail that the caller could help.
 */
void engine_event(struct engine *e, const char *type, const char *action,
    const char *id, const char *labels,
    const char *const (*attributes)[2], size_t n_attributes);

/* About an image: its name among the attributes, and its labels.  image: the
 * id to look labels up by; NULL: no labels. */
void image_event(struct engine *e, const char *action, const char *actor,
    const char *name, const char *image);

/* An image of that name came or went over the network: "pull", "push". */
struct reference;
void transfer_event(struct engine *e, const char *action,
    const struct reference *ref);

/* About a writable layer. */
struct container_row;
void container_event(struct engine *e, const char *action,
    const struct container_row *row);

#endif
