#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/message.h"

void
message_init(struct message *m, uint32_t type)
{
	*m = (struct message) { .type = type, .body = STRBUF_INIT };
}

void
message_put_u32(struct message *m, uint32_t v)
{
	strbuf_append(&m->body, &v, sizeof(v));
}

void
message_put_u64(struct message *m, uint64_t v)
{
	strbuf_append(&m->body, &v, sizeof(v));
}

void
message_put_bytes(struct message *m, const void *data, size_t len)
{
	if (len > UINT32_MAX) {
		m->body.is_failed = true;
		return;
	}
	message_put_u32(m, (uint32_t)len);
	strbuf_append(&m->body, data, len);
	strbuf_putc(&m->body, '\0');
}

void
message_put_str(struct message *m, const char *s)
{
	message_put_bytes(m, s != NULL ? s : "", s != NULL ? strlen(s) : 0);
}

void
message_put_fd(struct message *m, int fd)
{
	if (m->n_fds == MESSAGE_MAX_FDS) {
		m->body.is_failed = true;
		return;
	}
	m->fds[m->n_fds++] = fd;
}

void
message_put_error(struct message *m, const struct imgd_error *e)
{
	message_put_u32(m, e != NULL ? (uint32_t)imgd_error_code(e) : EIO);
	message_put_str(m, imgd_error_msg(e));
}

/* Send all of iov; the descriptors go with the first byte. */
static int
send_all(int sock, struct message *m, uint32_t head[2],
    struct imgd_error **err)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * MESSAGE_MAX_FDS)];
		struct cmsghdr head;
	} control;
	size_t total = 2 * sizeof(uint32_t) + m->body.len, sent = 0;

	while (sent < total) {
		struct iovec iov[2];
		struct msghdr mh = { .msg_iov = iov };
		size_t h = 2 * sizeof(uint32_t);
		ssize_t n;

		if (sent < h) {
			iov[0].iov_base = (char *)head + sent;
			iov[0].iov_len = h - sent;
			iov[1].iov_base = m->body.data;
			iov[1].iov_len = m->body.len;
			mh.msg_iovlen = m->body.len > 0 ? 2 : 1;
		} else {
			iov[0].iov_base = m->body.data + (sent - h);
			iov[0].iov_len = total - sent;
			mh.msg_iovlen = 1;
		}
		if (sent == 0 && m->n_fds > 0) {
			struct cmsghdr *c = &control.head;

			memset(&control, 0, sizeof(control));
			mh.msg_control = control.buf;
			mh.msg_controllen = CMSG_SPACE(sizeof(int) * m->n_fds);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int) * m->n_fds);
			memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->n_fds);
		}
		n = sendmsg(sock, &mh, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "send message: %s",
			    strerror(errno));
		sent += (size_t)n;
	}
	return 0;
}

int
message_send(int sock, struct message *m, struct imgd_error **err)
{
	uint32_t head[2] = { m->type, (uint32_t)m->body.len };
	int r;

	if (m->body.is_failed)
		r = imgd_error_set(err, ENOMEM, "send message: out of memory");
	else
		r = send_all(sock, m, head, err);
	message_done(m);
	return r;
}

/* Take descriptors out of mh; what does not fit is closed. */
static void
take_fds(struct message *m, struct msghdr *mh)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		size_t i, n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int),
			    sizeof(fd));
			if (m->n_fds < MESSAGE_MAX_FDS)
				m->fds[m->n_fds++] = fd;
			else
				close_fd(&fd);
		}
	}
	if (mh->msg_flags & MSG_CTRUNC)
		m->is_bad = true;
}

/* Receive exactly len bytes; 0 if the stream ended before the first one. */
static int
recv_exact(int sock, struct message *m, void *data, size_t len,
    struct imgd_error **err)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * MESSAGE_MAX_FDS)];
		struct cmsghdr align;
	} control;
	size_t got = 0;

	while (got < len) {
		struct iovec iov = { (char *)data + got, len - got };
		struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = sizeof(control.buf) };
		ssize_t n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ECONNRESET)
			n = 0;
		if (n < 0)
			return imgd_error_set(err,
			    errno == EAGAIN ? IMGD_E_PROTOCOL : errno,
			    "receive message: %s",
			    errno == EAGAIN ? "the other side stalled"
					    : strerror(errno));
		if (n == 0 && got == 0)
			return 0;
		if (n == 0)
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "receive message: cut short");
		take_fds(m, &mh);
		got += (size_t)n;
	}
	return 1;
}

int
message_recv(int sock, size_t max, struct message *m, struct imgd_error **err)
{
	uint32_t head[2];
	int r;

	message_init(m, 0);
	m->is_received = true;
	r = recv_exact(sock, m, head, sizeof(head), err);
	if (r <= 0) {
		message_done(m);
		return r;
	}
	m->type = head[0];
	if (head[1] > max) {
		message_done(m);
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "receive message: type %u of %u bytes is too long",
		    (unsigned int)head[0], (unsigned int)head[1]);
	}
	m->body.data = malloc((size_t)head[1] + 1);
	if (m->body.data == NULL) {
		message_done(m);
		return imgd_error_set(err, ENOMEM, "receive message: memory");
	}
	m->body.size = (size_t)head[1] + 1;
	if (head[1] > 0) {
		r = recv_exact(sock, m, m->body.data, head[1], err);
		if (r == 0)
			r = imgd_error_set(err, IMGD_E_PROTOCOL,
			    "receive message: cut short");
		if (r < 0) {
			message_done(m);
			return r;
		}
	}
	m->body.len = head[1];
	m->body.data[m->body.len] = '\0';
	return 1;
}

static const void *
get(struct message *m, size_t len)
{
	const void *p;

	if (m->is_bad || m->body.len - m->pos < len) {
		m->is_bad = true;
		return NULL;
	}
	p = m->body.data + m->pos;
	m->pos += len;
	return p;
}

uint32_t
message_get_u32(struct message *m)
{
	const void *p = get(m, sizeof(uint32_t));
	uint32_t v = 0;

	if (p != NULL)
		memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t
message_get_u64(struct message *m)
{
	const void *p = get(m, sizeof(uint64_t));
	uint64_t v = 0;

	if (p != NULL)
		memcpy(&v, p, sizeof(v));
	return v;
}

const void *
message_get_bytes(struct message *m, size_t *ret_len)
{
	uint32_t len = message_get_u32(m);
	const char *p = m->is_bad ? NULL : get(m, (size_t)len + 1);

	if (p == NULL || p[len] != '\0') {
		m->is_bad = true;
		*ret_len = 0;
		return "";
	}
	*ret_len = len;
	return p;
}

const char *
message_get_str(struct message *m)
{
	size_t len;
	const char *s = message_get_bytes(m, &len);

	if (strlen(s) != len) {
		m->is_bad = true;
		return "";
	}
	return s;
}

int
message_get_fd(struct message *m)
{
	int fd;

	if (m->n_fds == 0) {
		m->is_bad = true;
		return -EBADF;
	}
	fd = m->fds[0];
	m->n_fds--;
	memmove(m->fds, m->fds + 1, m->n_fds * sizeof(m->fds[0]));
	return fd;
}

int
message_get_error(struct message *m, struct imgd_error **err)
{
	uint32_t code = message_get_u32(m);
	const char *text = message_get_str(m);

	if (m->is_bad || code == 0 || code > 4095 || text[0] == '\0')
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "malformed error message");
	return imgd_error_set(err, (int)code, "%s", text);
}

int
message_end(struct message *m, struct imgd_error **err)
{
	if (m->is_bad || m->pos != m->body.len || m->n_fds != 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "malformed message of type %u", (unsigned int)m->type);
	return 0;
}

void
message_done(struct message *m)
{
	size_t i;

	for (i = 0; m->is_received && i < m->n_fds; i++)
		close_fd(&m->fds[i]);
	m->n_fds = 0;
	strbuf_done(&m->body);
}

int
message_set_timeout(int sock, int timeout_s, struct imgd_error **err)
{
	struct timeval tv = { .tv_sec = timeout_s };

	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		return imgd_error_set(err, errno, "socket time-out: %s",
		    strerror(errno));
	return 0;
}

int
message_pair(int ret[2], int timeout_s, struct imgd_error **err)
{
	int r = 0, fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return imgd_error_set(err, errno, "socket pair: %s",
		    strerror(errno));
	if (timeout_s > 0)
		r = message_set_timeout(fds[0], timeout_s, err);
	if (r < 0) {
		close_fd(&fds[0]);
		close_fd(&fds[1]);
		return r;
	}
	ret[0] = fds[0];
	ret[1] = fds[1];
	return 0;
}
