/* The login job: whether a registry takes a user's credentials. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/protocol.h"
#include "core/registry-request.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/message.h"

static int
hear(struct job *job, int sock, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	const char *token;
	int r;

	for (;;) {
		message_init(&m, 0);
		r = message_recv(sock, PROTOCOL_MAX_BYTES, &m, err);
		if (r == 0)
			return imgd_error_set(err, EPIPE, "the puller died");
		if (r < 0)
			return r;
		if (m.type != PULLER_RETRYING)
			break;
		message_done(&m);
	}
	if (m.type == PULLER_FAILED)
		return message_get_error(&m, err);
	if (m.type != PULLER_LOGGED_IN)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: unexpected message %u", (unsigned int)m.type);
	token = message_get_str(&m);
	strbuf_puts(&job->result, token);
	return message_end(&m, err);
}

int
job_login(struct job *job, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_close int sock = -EBADF;
	int pair[2], pidfd = -EBADF, r;
	struct message m;

	/* Any repository of the registry: none is asked for. */
	r = reference_parse(job->args[0], REFERENCE_DEFAULT_TAG, &ref, err);
	if (r >= 0)
		r = registry_request_fill(job, &ref, &params, err);
	if (r >= 0)
		r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	sock = pair[0];
	params.is_login = true;
	r = engine_exec(job->engine, ROLE_PULLER, pair[1], &pidfd, err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	puller_params_put(&m, &params);
	r = message_send(sock, &m, err);
	if (r >= 0)
		r = hear(job, sock, err);
	close_fd(&sock);
	worker_end(&pidfd);
	return r;
}
