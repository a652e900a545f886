/*
 * The sockets that a daemon listens on: one that it makes, and those that the
 * service manager gives (sd_listen_fds(3)).
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "imgd/error.h"

#define LISTEN_MAX 4

struct listener {
	int fd;     /* who takes it sets -EBADF */
	char *path; /* for messages */
	bool is_tcp;
	bool is_ours; /* made here: removed by listen_close() */
	dev_t dev;
	ino_t ino;
};

/*
 * Take what the service manager gave, or, if that is nothing, listen on path
 * (0660, of group if it is not NULL).
 *
 * A socket that nobody listens on any more is replaced; one that is alive is
 * -EADDRINUSE.  On failure those in ret are still to be closed.
 */
int listen_open(const char *path, const char *group,
    struct listener ret[LISTEN_MAX], size_t *ret_n, struct imgd_error **err);

/* Listen on "ADDRESS:PORT" as well; an IPv6 address stands in brackets. */
int listen_tcp(const char *address, struct listener ret[LISTEN_MAX],
    size_t *ret_n, struct imgd_error **err);

/* Remove the socket's name, if it is still ours, and close it. */
void listen_close(struct listener *l);

#endif
