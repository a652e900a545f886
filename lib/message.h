/*
 * Typed, length-prefixed messages over a unix stream socket.
 *
 * On the wire: u32 type, u32 length of the payload, payload; host byte order,
 * both ends are the same program.  Payload: u32, u64, and byte strings (u32
 * length, bytes, one NUL).  Descriptors travel with a message's first byte.
 * Everything received is treated as if an enemy had sent it.
 */
#ifndef LIB_MESSAGE_H
#define LIB_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/strbuf.h"

#define MESSAGE_MAX_FDS 4

/* A message being written, or one received and being read. */
struct message {
	uint32_t type;
	struct strbuf body;
	size_t pos;               /* reader's place in body */
	bool is_bad;              /* a get went wrong */
	int fds[MESSAGE_MAX_FDS]; /* owned when received, else borrowed */
	size_t n_fds;
	bool is_received;
};

/* Begin a message to send. */
void message_init(struct message *m, uint32_t type);
void message_put_u32(struct message *m, uint32_t v);
void message_put_u64(struct message *m, uint64_t v);
/* NULL is sent as the empty string. */
void message_put_str(struct message *m, const char *s);
void message_put_bytes(struct message *m, const void *data, size_t len);
/* Attach a borrowed descriptor. */
void message_put_fd(struct message *m, int fd);
/* An error as code and text; message_get_error is the reverse. */
void message_put_error(struct message *m, const struct imgd_error *e);

/*
 * Send m over sock and release its contents.  Blocks until all is sent or the
 * socket's send time-out ends.  -EPIPE if the other end is gone.
 */
int message_send(int sock, struct message *m, struct imgd_error **err);

/*
 * Receive one message of at most max payload bytes; blocks.
 * Returns 1; 0 if the other end closed between messages;
 * -IMGD_E_PROTOCOL for a longer or cut one.  m is to be released with
 * message_done after 1.
 */
int message_recv(int sock, size_t max, struct message *m,
    struct imgd_error **err);

/* Read the next item; a wrong form yields 0, "" or -EBADF and marks m bad. */
uint32_t message_get_u32(struct message *m);
uint64_t message_get_u64(struct message *m);
/* Inside m, without NUL bytes. */
const char *message_get_str(struct message *m);
/* Inside m, len bytes and a NUL. */
const void *message_get_bytes(struct message *m, size_t *ret_len);
/* The next descriptor, owned by the caller. */
int message_get_fd(struct message *m);
/* Set *err as message_put_error told; returns its -code. */
int message_get_error(struct message *m, struct imgd_error **err);
/* All was read and nothing was wrong: 0, else -IMGD_E_PROTOCOL. */
int message_end(struct message *m, struct imgd_error **err);

/* Free contents; closes received descriptors that nobody took. */
void message_done(struct message *m);

/* A connected pair of CLOEXEC stream sockets, the first one's sends and
 * receives bounded by timeout_s seconds (0 = none). */
int message_pair(int ret[2], int timeout_s, struct imgd_error **err);

/* Bound sends and receives within a message by timeout_s seconds. */
int message_set_timeout(int sock, int timeout_s, struct imgd_error **err);

#endif
