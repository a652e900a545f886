/*
 * A pull's source inside of the engine: a thread that speaks the puller's side
 * of core/protocol.h, and one for each layer that is ordered, since a layer
 * that waits for its parent must not hold up the parent.
 */
#ifndef CORE_INNER_SOURCE_H
#define CORE_INNER_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/pull.h"

struct inner_source {
	/* Send the documents, or the legacy layers, and PULLER_RESOLVED. */
	int (*tell)(struct inner_source *s, struct imgd_error **err);
	/* Write the layer's tar to out_fd, which stays the caller's; on a
	 * thread of its own. */
	int (*write_layer)(struct inner_source *s, uint32_t layer, int out_fd,
	    uint64_t *ret_bytes, struct imgd_error **err);

	/* private */
	int sock; /* the pull has the other end */
	pthread_mutex_t send_mutex;
	pthread_t thread; /* takes orders */
	bool has_thread;
};

/* Before it is started; both functions are set by then. */
void inner_source_init(struct inner_source *s);
void inner_source_done(struct inner_source *s);

/* What pull_source's start and end do. */
int inner_source_start(struct inner_source *s, struct pull *p,
    struct imgd_error **err);
void inner_source_end(struct inner_source *s);

/* Send a message to the pull; any thread. */
int inner_source_send(struct inner_source *s, struct message *m,
    struct imgd_error **err);
/* All is told. */
int inner_source_resolved(struct inner_source *s, struct imgd_error **err);

#endif
