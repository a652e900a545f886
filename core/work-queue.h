/* Threads of a worker that serve its orders; they live until the process
 * ends. */
#ifndef CORE_WORK_QUEUE_H
#define CORE_WORK_QUEUE_H

#include <pthread.h>
#include <stddef.h>

#include "imgd/error.h"

/* The first member of what is queued. */
struct work_item {
	struct work_item *next;
};

struct work_queue {
	/* Serve an item, and free it; any thread. */
	void (*run)(void *ctx, struct work_item *item);
	void *ctx;
	unsigned int max_threads; /* at least 1 */

	/* private */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct work_item *first, **end;
	unsigned int n_queued, n_idle, n_threads;
};

/* Fill the private part; the rest can be set until the first item. */
void work_queue_init(struct work_queue *q);

/* Have item served, in the order of adding; it is taken, unless this fails:
 * then no thread could be started. */
int work_queue_add(struct work_queue *q, struct work_item *item,
    struct imgd_error **err);

#endif
