#include "config.h"

#include <time.h>

#include "registry/throttle.h"

#define US_PER_S 1000000

static int64_t
now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

void
throttle_init(struct throttle *t, uint64_t bytes_per_s)
{
	*t = (struct throttle) { .bytes_per_s = bytes_per_s };
	(void)pthread_mutex_init(&t->mutex, NULL);
}

void
throttle_done(struct throttle *t)
{
	(void)pthread_mutex_destroy(&t->mutex);
}

unsigned
throttle_take(struct throttle *t, size_t bytes)
{
	int64_t now, wait_us;

	if (t->bytes_per_s == 0)
		return 0;
	now = now_us();
	(void)pthread_mutex_lock(&t->mutex);
	if (t->free_us < now)
		t->free_us = now;
	t->free_us += (int64_t)((double)bytes * US_PER_S /
	    (double)t->bytes_per_s);
	wait_us = t->free_us - now;
	(void)pthread_mutex_unlock(&t->mutex);
	return (unsigned)(wait_us / 1000);
}
