/*
 * One thread that waits for pipes on behalf of exchanges.
 */
#ifndef SERVER_WAITER_H
#define SERVER_WAITER_H

#include <stdint.h>

#include "imgd/error.h"

struct waiter;
struct exchange;

int waiter_new(struct waiter **ret, struct imgd_error **err);
/* No exchange is left. */
void waiter_free(struct waiter *w);

/* Call exchange_wake(x) once when fd is ready for events (of epoll). */
void waiter_watch(struct waiter *w, int fd, uint32_t events,
    struct exchange *x);
/* No more; to be called before fd is closed. */
void waiter_forget(struct waiter *w, int fd);

/* Look at the exchange again. */
void exchange_wake(struct exchange *x);

#endif
