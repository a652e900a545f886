#include "config.h"

#include <errno.h>
#include <string.h>

#include "core/work-queue.h"

#define THREAD_STACK (384u << 10)

void
work_queue_init(struct work_queue *q)
{
	(void)pthread_mutex_init(&q->mutex, NULL);
	(void)pthread_cond_init(&q->changed, NULL);
	q->first = NULL;
	q->end = &q->first;
	q->n_queued = q->n_idle = q->n_threads = 0;
}

static void *
thread_main(void *arg)
{
	struct work_queue *q = arg;

	for (;;) {
		struct work_item *item;

		pthread_mutex_lock(&q->mutex);
		q->n_idle++;
		while (q->first == NULL)
			pthread_cond_wait(&q->changed, &q->mutex);
		q->n_idle--;
		item = q->first;
		q->first = item->next;
		if (q->first == NULL)
			q->end = &q->first;
		q->n_queued--;
		pthread_mutex_unlock(&q->mutex);
		q->run(q->ctx, item);
	}
	return NULL;
}

/* One more, if all that wait are spoken for. */
static int
ensure_thread(struct work_queue *q, struct imgd_error **err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (q->n_idle > q->n_queued || q->n_threads >= q->max_threads)
		return 0;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, THREAD_STACK);
	r = pthread_create(&thread, &attr, thread_main, q);
	(void)pthread_attr_destroy(&attr);
	/* Others will come to it. */
	if (r != 0 && q->n_threads == 0)
		return imgd_error_set(err, r, "thread: %s", strerror(r));
	q->n_threads += r == 0;
	return 0;
}

int
work_queue_add(struct work_queue *q, struct work_item *item,
    struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&q->mutex);
	r = ensure_thread(q, err);
	if (r >= 0) {
		item->next = NULL;
		*q->end = item;
		q->end = &item->next;
		q->n_queued++;
		pthread_cond_signal(&q->changed);
	}
	pthread_mutex_unlock(&q->mutex);
	return r;
}
