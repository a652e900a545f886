/*
 * Messages between the processes, as they come through a socket: each is read
 * as what its type says where that is a module's own business, and else item by
 * item in an order that its first bytes give.
 */
#include "config.h"

#include <sys/socket.h>
#include <unistd.h>

#include "core/protocol.h"
#include "core/puller-params.h"
#include "lib/cleanup.h"
#include "lib/message.h"
#include "tests/fuzz/fuzz.h"

#define MAX_SENT  (60u << 10) /* what a socket holds */
#define MAX_ITEMS 32

static void
get_any(struct message *m)
{
	uint64_t order = m->body.len;
	const char *s;
	size_t i, len;

	for (i = 0; i < MAX_ITEMS && !m->is_bad; i++) {
		switch (order % 4) {
		case 0:
			(void)message_get_u32(m);
			break;
		case 1:
			order ^= message_get_u64(m);
			break;
		case 2:
			s = message_get_str(m);
			MUST(s != NULL && strlen(s) <= m->body.len);
			break;
		default:
			s = message_get_bytes(m, &len);
			MUST(s != NULL && len <= m->body.len && s[len] == '\0');
		}
		order = order / 4 + i;
	}
}

static void
get(struct message *m)
{
	cleanup_error struct imgd_error *err = NULL;
	struct puller_params params = { 0 };
	int r;

	switch (m->type) {
	case PULLER_START:
		r = puller_params_get(m, &params, &err);
		must_be_told(r, err);
		puller_params_done(&params);
		break;
	case PULLER_FAILED:
	case WORKER_FAILED:
		r = message_get_error(m, &err);
		MUST(r < 0);
		must_be_told(r, err);
		break;
	default:
		get_any(m);
		r = message_end(m, &err);
		must_be_told(r, err);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	int pair[2], r;

	if (len > MAX_SENT)
		return 0;
	MUST(message_pair(pair, 0, NULL) >= 0);
	MUST(send(pair[1], data, len, 0) == (ssize_t)len);
	close_fd(&pair[1]);
	do {
		cleanup(message_done) struct message m;
		cleanup_error struct imgd_error *err = NULL;

		message_init(&m, 0);
		r = message_recv(pair[0], PROTOCOL_MAX_BYTES, &m, &err);
		must_be_told(r, err);
		if (r > 0)
			get(&m);
	} while (r > 0);
	close_fd(&pair[0]);
	return 0;
}
