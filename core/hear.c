#include "config.h"

#include <errno.h>
#include <poll.h>

#include "core/engine.h"
#include "core/hear.h"
#include "core/protocol.h"

#define LOOK_MS 100

int
hear(int sock, const char *name, size_t max_bytes, bool (*is_over)(void *ctx),
    void *ctx, struct message *m, struct imgd_error **err)
{
	struct pollfd fd = { .fd = sock, .events = POLLIN };
	int r;

	do {
		if (is_over(ctx))
			return imgd_error_set(err, ECANCELED, "cancelled");
	} while (poll(&fd, 1, LOOK_MS) <= 0);
	r = message_recv(sock, max_bytes, m, err);
	if (r == 0)
		return imgd_error_set(err, EPIPE, "the %s died", name);
	if (r < 0)
		return r;
	return m->type == PULLER_FAILED || m->type == WORKER_FAILED
	    ? message_get_error(m, err)
	    : 0;
}

static bool
job_is_over(void *ctx)
{
	struct job *job = ctx;

	return job_is_abandoned(job) || engine_is_ending(job->engine);
}

int
hear_for_job(struct job *job, int sock, const char *name, size_t max_bytes,
    struct message *m, struct imgd_error **err)
{
	return hear(sock, name, max_bytes, job_is_over, job, m, err);
}

int
hear_unexpected(const char *name, const struct message *m,
    struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_PROTOCOL,
	    "%s: unexpected message %u", name, (unsigned int)m->type);
}
