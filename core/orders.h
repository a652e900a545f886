/*
 * What sources of pulls that run as workers share: the orders of the engine,
 * each of which has a thread that writes its layer's tar into the pipe that
 * came with it.
 */
#ifndef CORE_ORDERS_H
#define CORE_ORDERS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "core/teller.h"
#include "imgd/driver.h"
#include "imgd/error.h"
#include "lib/message.h"

/* One on its way. */
struct order;

struct order_counts {
	uint64_t blob_bytes; /* as they were read */
	uint64_t tar_bytes;
};

struct orders_ops {
	/* Write the layer's tar to sink; any thread. */
	int (*write_layer)(void *ctx, uint32_t layer, struct order *o,
	    struct imgd_sink *sink, struct order_counts *ret,
	    struct imgd_error **err);
	/* The layer's order has come, the threads of those before it may still
	 * run; NULL: nothing to do. */
	void (*ordered)(void *ctx, uint32_t layer);
	/* A message that is no order; NULL: there is none. */
	int (*hear)(void *ctx, struct message *m, struct imgd_error **err);
};

struct orders {
	struct teller teller;
	const struct orders_ops *ops;
	void *ctx;
	uint32_t max_threads;
	size_t n_layers;

	/* private */
	pthread_mutex_t mutex; /* for n_threads */
	pthread_cond_t changed;
	uint32_t n_threads;
};

/* Most threads that an engine may ask for. */
#define ORDERS_MAX_THREADS 64

/* Fill teller and the private part; the rest can be set until orders_serve.
 * sock: borrowed. */
void orders_init(struct orders *all, int sock);

/* From write_layer: so many bytes of the layer have been read. */
void order_progress(struct order *o, uint64_t bytes);

/* Serve orders until the engine closes the socket.  Threads may still run when
 * this has failed: end the process without their teardown. */
int orders_serve(struct orders *all, struct imgd_error **err);

#endif
