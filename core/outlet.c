#include "config.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/engine.h"
#include "core/outlet.h"
#include "lib/cleanup.h"

#define LOOK_MS      100
#define BUFFER_BYTES (64u << 10)

int
outlet_open(struct job *job, int fd, struct outlet *ret,
    struct imgd_error **err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "output: %s",
		    strerror(errno));
	*ret = (struct outlet) {
		.job = job,
		.fd = fd,
		/* A pipe that can be written to has room for so much; the
		 * descriptor is the client's, too, and stays blocking. */
		.max_bytes = S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode)
		    ? BUFFER_BYTES
		    : PIPE_BUF,
		.is_socket = S_ISSOCK(st.st_mode),
	};
	return 0;
}

/* Wait until fd is ready. */
static int
wait_for(const struct outlet *o, int fd, short events, struct imgd_error **err)
{
	struct pollfd p = { .fd = fd, .events = events };

	while (poll(&p, 1, LOOK_MS) <= 0)
		if (job_is_abandoned(o->job) ||
		    engine_is_ending(o->job->engine))
			return imgd_error_set(err, ECANCELED, "cancelled");
	return 0;
}

int
outlet_write(struct outlet *o, const void *data, size_t len,
    struct imgd_error **err)
{
	const char *p = data;

	while (len > 0) {
		size_t want = len < o->max_bytes ? len : o->max_bytes;
		ssize_t n;
		int r = wait_for(o, o->fd, POLLOUT, err);

		if (r < 0)
			return r;
		n = o->is_socket
		    ? send(o->fd, p, want, MSG_DONTWAIT | MSG_NOSIGNAL)
		    : write(o->fd, p, want);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "output: %s",
			    strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int
outlet_copy(struct outlet *o, int fd, uint64_t max, uint64_t *ret_bytes,
    struct imgd_error **err)
{
	cleanup_free char *buf = malloc(BUFFER_BYTES);

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (;;) {
		ssize_t n;
		int r = wait_for(o, fd, POLLIN, err);

		if (r < 0)
			return r;
		n = read(fd, buf, BUFFER_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "read: %s",
			    strerror(errno));
		if (n == 0)
			return 0;
		if ((uint64_t)n > max - *ret_bytes)
			return imgd_error_set(err, EUCLEAN,
			    "it is longer than it was");
		*ret_bytes += (uint64_t)n;
		r = outlet_write(o, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
}
