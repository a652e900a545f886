/* A limit on bytes in a second, shared by all connections of a session. */
#ifndef REGISTRY_THROTTLE_H
#define REGISTRY_THROTTLE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct throttle {
	uint64_t bytes_per_s; /* 0 = no limit */
	pthread_mutex_t mutex;
	int64_t free_us; /* when what was taken so far is paid for */
};

void throttle_init(struct throttle *t, uint64_t bytes_per_s);
void throttle_done(struct throttle *t);
/* So many bytes went by: how long to wait, in milliseconds. */
unsigned throttle_take(struct throttle *t, size_t bytes);

#endif
