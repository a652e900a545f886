/*
 * Garbage collection: images that were not used for long go, and parts of
 * blobs that nobody came back for.
 */
#ifndef CORE_GC_H
#define CORE_GC_H

#include "core/engine.h"

struct gc;

/* What the engine's collections share; NULL if memory is out. */
struct gc *gc_new(void);
void gc_free(struct gc *gc);

/* An image was published: keep to the configuration's limits again, on a
 * thread of its own. */
void gc_after_pull(struct engine *e);

/*
 * Begin a collection if the configuration's interval has passed since the one
 * before; the first call is in time for one.  Main thread.
 * Returns after how many ms that is to be asked again, -1: never.
 */
int gc_tick(struct engine *e);

#endif
