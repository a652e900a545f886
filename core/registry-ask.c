/* Jobs that ask a registry something and keep nothing: login, search. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/protocol.h"
#include "core/registry-request.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/message.h"

#define LOOK_MS      100
#define SEARCH_LIMIT 25
#define SEARCH_MAX   100

/* Take one message; returns 1 after the last. */
typedef int answer_fn(struct job *job, struct message *m,
    struct imgd_error **err);

static int
hear(struct job *job, int sock, answer_fn *take, struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		struct pollfd fd = { .fd = sock, .events = POLLIN };
		int r;

		message_init(&m, 0);
		if (job_is_abandoned(job) || engine_is_ending(job->engine))
			return imgd_error_set(err, ECANCELED, "cancelled");
		if (poll(&fd, 1, LOOK_MS) <= 0)
			continue;
		r = message_recv(sock, PROTOCOL_MAX_BYTES, &m, err);
		if (r == 0)
			return imgd_error_set(err, EPIPE, "the puller died");
		if (r < 0)
			return r;
		if (m.type == PULLER_FAILED)
			return message_get_error(&m, err);
		if (m.type == PULLER_RETRYING)
			continue;
		r = take(job, &m, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

/* Run a puller with params and take its answers. */
static int
ask(struct job *job, const struct puller_params *params, answer_fn *take,
    struct imgd_error **err)
{
	cleanup_close int sock = -EBADF;
	int pair[2], pidfd = -EBADF, r;
	struct message m;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	sock = pair[0];
	r = engine_exec(job->engine, ROLE_PULLER, pair[1], &pidfd, err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	puller_params_put(&m, params);
	r = message_send(sock, &m, err);
	if (r >= 0)
		r = hear(job, sock, take, err);
	close_fd(&sock);
	worker_end(&pidfd);
	return r;
}

/* Parameters for any repository of the registry: none is asked for. */
static int
fill(struct job *job, struct puller_params *params, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	int r;

	r = reference_parse(job->args[0], REFERENCE_DEFAULT_TAG, &ref, err);
	return r < 0 ? r : registry_request_fill(job, &ref, params, err);
}

/* ---- login ---- */

static int
take_login(struct job *job, struct message *m, struct imgd_error **err)
{
	int r;

	if (m->type != PULLER_LOGGED_IN)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: unexpected message %u", (unsigned int)m->type);
	strbuf_puts(&job->result, message_get_str(m));
	r = message_end(m, err);
	return r < 0 ? r : 1;
}

int
job_login(struct job *job, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	int r = fill(job, &params, err);

	params.is_login = true;
	return r < 0 ? r : ask(job, &params, take_login, err);
}

/* ---- search ---- */

static int
take_found(struct job *job, struct message *m, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	bool is_official, is_automated;
	int r;

	if (m->type == PULLER_RESOLVED)
		return 1;
	if (m->type != PULLER_FOUND)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "puller: unexpected message %u", (unsigned int)m->type);
	strbuf_puts(&sb, "{\"name\":");
	strbuf_json(&sb, message_get_str(m));
	strbuf_puts(&sb, ",\"description\":");
	strbuf_json(&sb, message_get_str(m));
	strbuf_printf(&sb, ",\"star_count\":%ju",
	    (uintmax_t)message_get_u64(m));
	is_official = message_get_u32(m) != 0;
	is_automated = message_get_u32(m) != 0;
	strbuf_printf(&sb, ",\"is_official\":%s,\"is_automated\":%s}",
	    is_official ? "true" : "false", is_automated ? "true" : "false");
	r = message_end(m, err);
	if (r >= 0 && !sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
	return r;
}

int
job_search(struct job *job, struct imgd_error **err)
{
	cleanup(puller_params_done) struct puller_params params = { 0 };
	const char *text = job_getenv(job, "limit");
	uint64_t limit = SEARCH_LIMIT;
	int r = fill(job, &params, err);

	if (r < 0)
		return r;
	if (text != NULL && (!str_to_u64(text, SEARCH_MAX, &limit) ||
				limit == 0))
		return imgd_error_set(err, EINVAL,
		    "limit: %s is not between 1 and %d", text, SEARCH_MAX);
	free(params.search);
	params.search = strdup(job->args[1]);
	params.search_limit = (uint32_t)limit;
	if (params.search == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return ask(job, &params, take_found, err);
}
