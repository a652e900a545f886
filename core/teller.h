/* The engine's socket of a worker with several threads. */
#ifndef CORE_TELLER_H
#define CORE_TELLER_H

#include <pthread.h>
#include <sys/socket.h>

#include "lib/message.h"

struct teller {
	int sock; /* borrowed */
	pthread_mutex_t mutex;
};

static inline void
teller_init(struct teller *t, int sock)
{
	t->sock = sock;
	(void)pthread_mutex_init(&t->mutex, NULL);
}

/* Send a message; any thread. */
static inline int
teller_send(struct teller *t, struct message *m, struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&t->mutex);
	r = message_send(t->sock, m, err);
	pthread_mutex_unlock(&t->mutex);
	return r;
}

/* Send a message that the other side waits for: if that cannot be, it sees the
 * end of the stream instead. */
static inline void
teller_send_awaited(struct teller *t, struct message *m)
{
	if (teller_send(t, m, NULL) < 0)
		(void)shutdown(t->sock, SHUT_WR);
}

#endif
