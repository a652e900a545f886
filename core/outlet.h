/*
 * Where a job writes to what its client passed: a file, a pipe, a socket.  One
 * whose reader stops holds the job up no longer than the client stays.
 */
#ifndef CORE_OUTLET_H
#define CORE_OUTLET_H

#include <stddef.h>
#include <stdint.h>

#include "core/job.h"
#include "imgd/error.h"

struct outlet {
	struct job *job;
	int fd; /* borrowed */
	size_t max_bytes; /* of one write, so that it does not block */
	bool is_socket;
};

/* Take the descriptor that the job's client passed. */
int outlet_open(struct job *job, int fd, struct outlet *ret,
    struct imgd_error **err);

/* Write all of it.  -EPIPE if nobody reads; -ECANCELED if the client has left
 * or the engine ends. */
int outlet_write(struct outlet *o, const void *data, size_t len,
    struct imgd_error **err);

/* Write what comes from fd until its end; *ret_bytes is counted up, to max at
 * most: -EUCLEAN beyond. */
int outlet_copy(struct outlet *o, int fd, uint64_t max, uint64_t *ret_bytes,
    struct imgd_error **err);

#endif
