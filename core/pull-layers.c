/* The layers of a pull side by side. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/message.h"

/* Foreign layers and slots are looked at this often. */
#define LOOK_MS 100

static bool
is_done(const struct pull_layer *l)
{
	return l->state == LAYER_PRESENT || l->state == LAYER_SEALED;
}

static bool
parent_is_done(const struct pull *p, size_t i)
{
	return i == 0 || is_done(&p->layers[i - 1]);
}

/* ---- slots: how many layers are on their way at once ---- */

/* The lowest layer that is not done always gets one, so nothing waits for
 * ever; all others share what is left of the engine's. */
static bool
take_slot(struct pull *p, struct pull_layer *l, bool is_lowest)
{
	struct engine *e = p->engine;

	if (l->holds_slot)
		return true;
	pthread_mutex_lock(&e->mutex);
	if (is_lowest ||
	    e->n_transfers < engine_config(e)->max_concurrent_downloads) {
		e->n_transfers++;
		l->holds_slot = true;
	}
	pthread_mutex_unlock(&e->mutex);
	return l->holds_slot;
}

static void
give_slot(struct pull *p, struct pull_layer *l)
{
	if (!l->holds_slot)
		return;
	l->holds_slot = false;
	pthread_mutex_lock(&p->engine->mutex);
	p->engine->n_transfers--;
	pthread_mutex_unlock(&p->engine->mutex);
}

/* ---- layers of other pulls ---- */

static void
look_at_foreign(struct pull *p)
{
	struct engine *e = p->engine;
	size_t i;

	for (i = 0; i < p->n_layers; i++) {
		struct pull_layer *l = &p->layers[i];
		const char *status = NULL;

		if (l->state != LAYER_FOREIGN)
			continue;
		pthread_mutex_lock(&e->mutex);
		if (l->flight->state == FLIGHT_SEALED) {
			l->state = LAYER_SEALED;
			l->content_bytes = l->flight->content_bytes;
			l->tar_bytes = l->flight->tar_bytes;
			status = p->source->done;
		} else if (l->flight->state == FLIGHT_ORPHAN) {
			l->flight->state = FLIGHT_ACTIVE;
			l->state = LAYER_WAITING;
			l->is_takeover = true;
			status = "Waiting";
		}
		pthread_mutex_unlock(&e->mutex);
		if (status != NULL)
			pull_set_progress(p, i, status, 0, 0);
	}
}

/* ---- moving on ---- */

static bool
may_begin(const struct pull *p, size_t i)
{
	const struct pull_layer *parent;

	if (parent_is_done(p, i))
		return true;
	parent = &p->layers[i - 1];
	/* Until it is made again the parent is no good. */
	return !parent->is_repair &&
	    driver_has(p->driver, IMGD_CAP_INDEPENDENT) &&
	    (parent->state == LAYER_RUNNING ||
		parent->state == LAYER_UNPACKED);
}

static int
advance_layer(struct pull *p, size_t i, bool is_lowest, size_t *n_running,
    struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[i];
	const struct config *c = engine_config(p->engine);
	size_t limit = 2 * (size_t)c->max_concurrent_downloads;
	int r = 0;

	if (l->state == LAYER_UNPLANNED && parent_is_done(p, i))
		r = legacy_plan_layer(p, i, err);
	if (r >= 0 && l->state == LAYER_RUNNING && l->is_fetched &&
	    l->is_unpacked) {
		give_slot(p, l);
		r = layer_complete(p, i, err);
		if (r >= 0 && p->legacy != NULL)
			r = legacy_identify(p, i, err);
	}
	if (r >= 0 && l->state == LAYER_UNPACKED && parent_is_done(p, i)) {
		r = layer_seal(p, i, err);
		if (r >= 0)
			pull_set_progress(p, i, p->source->done, 0, 0);
	}
	if (r >= 0 && l->state == LAYER_RUNNING && l->wants_parent &&
	    !l->has_parent && parent_is_done(p, i) &&
	    take_slot(p, l, is_lowest))
		r = layer_give_parent(p, i, err);
	if (r >= 0 && l->state == LAYER_WAITING && may_begin(p, i) &&
	    (is_lowest || *n_running < limit) &&
	    take_slot(p, l, is_lowest)) {
		pull_set_progress(p, i, p->source->fetching, 0,
		    l->expected_bytes);
		r = layer_begin(p, i, err);
	}
	*n_running += l->state == LAYER_RUNNING;
	return r;
}

/* Returns 1 when every layer is done. */
static int
advance(struct pull *p, size_t *ret_failed, struct imgd_error **err)
{
	size_t i, n_running = 0;
	bool is_lowest = true;

	for (i = 0; i < p->n_layers; i++) {
		int r;

		if (is_done(&p->layers[i]))
			continue;
		r = advance_layer(p, i, is_lowest, &n_running, err);
		if (r < 0) {
			*ret_failed = i;
			return r;
		}
		if (!is_done(&p->layers[i]))
			is_lowest = false;
	}
	return is_lowest;
}

/* ---- hearing ---- */

static int
layer_index(struct pull *p, struct message *m, size_t *ret_index,
    struct imgd_error **err)
{
	uint32_t i = message_get_u32(m);

	if (i >= p->n_layers || p->layers[i].state != LAYER_RUNNING ||
	    p->layers[i].is_fetched)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: spoke of layer %u", p->source->name,
		    (unsigned int)i);
	*ret_index = i;
	return 0;
}

/*
 * Read one message of the source.
 *
 * A layer's failure is an error with *ret_failed set; if it failed only
 * because its unpacker is gone, the unpacker tells why: 0.
 */
static int
hear_source(struct pull *p, size_t *ret_failed, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	struct pull_layer *l;
	uint64_t bytes;
	size_t i = 0;
	int r;

	message_init(&m, 0);
	r = message_recv(p->source_sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r == 0)
		r = imgd_error_set(err, EPIPE, "the %s died",
		    p->source->name);
	if (r < 0)
		return r;
	if (m.type == PULLER_FAILED)
		return message_get_error(&m, err);
	if (m.type == PULLER_RATE)
		return pull_take_rate(p, &m, err);
	if (m.type == PULLER_RETRYING)
		return pull_take_retrying(p, &m, err);
	r = layer_index(p, &m, &i, err);
	if (r < 0)
		return r;
	l = &p->layers[i];
	switch (m.type) {
	case PULLER_MARK:
		return layer_take_mark(p, i, &m, err);
	case PULLER_PROGRESS:
		bytes = message_get_u64(&m);
		pull_set_progress(p, i, p->source->fetching, bytes,
		    l->expected_bytes);
		return message_end(&m, err);
	case PULLER_LAYER_DONE:
		l->is_fetched = true;
		l->blob_bytes = message_get_u64(&m);
		l->fetched_tar_bytes = message_get_u64(&m);
		pull_set_progress(p, i, p->source->fetched, 0, 0);
		return message_end(&m, err);
	case PULLER_LAYER_FAILED: {
		cleanup_error struct imgd_error *why = NULL;

		r = message_get_error(&m, &why);
		if (r == -ECANCELED && l->sock >= 0)
			return 0;
		*ret_failed = i;
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	}
	default:
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: unexpected message %u", p->source->name,
		    (unsigned int)m.type);
	}
}

#define EXPLAIN_MS 100

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/*
 * An unpacker failed.  If that is because its tar was cut short, the source
 * has said why before it closed the pipe: that is the better word.  One that
 * was killed says nothing, and the kernel closes its descriptors in an order
 * of its own: its death is waited for a little.
 */
static int
explain(struct pull *p, size_t index, int code, struct imgd_error **err)
{
	struct pollfd fd = { .fd = p->source_sock, .events = POLLIN };
	const int64_t until = now_ms() + EXPLAIN_MS;
	int64_t left = EXPLAIN_MS;

	for (; left > 0 && poll(&fd, 1, (int)left) > 0;
	     left = until - now_ms()) {
		cleanup_error struct imgd_error *why = NULL;
		size_t failed = p->n_layers;
		int r = hear_source(p, &failed, &why);

		if (r < 0 && (failed == index || failed == p->n_layers)) {
			imgd_error_free(*err);
			*err = NULL;
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(why));
		}
		if (r < 0)
			break;
	}
	return code;
}

static int
hear_layers(struct pull *p, const struct pollfd *fds, size_t *ret_failed,
    struct imgd_error **err)
{
	size_t i;

	for (i = 0; i < p->n_layers; i++) {
		struct pull_layer *l = &p->layers[i];
		int r;

		if (l->sock < 0 || fds[1 + i].revents == 0)
			continue;
		r = layer_hear(p, i, err);
		if (r < 0) {
			*ret_failed = i;
			return explain(p, i, r, err);
		}
		if (l->wants_parent && !l->has_parent)
			give_slot(p, l);
	}
	return 0;
}

static int
step(struct pull *p, struct pollfd *fds, size_t *ret_failed,
    struct imgd_error **err)
{
	size_t i;
	int r;

	if (atomic_load(&p->is_cancelled))
		return imgd_error_set(err, ECANCELED, "cancelled");
	look_at_foreign(p);
	r = advance(p, ret_failed, err);
	if (r != 0)
		return r;
	fds[0] = (struct pollfd) { .fd = p->source_sock, .events = POLLIN };
	for (i = 0; i < p->n_layers; i++)
		fds[1 + i] = (struct pollfd) { .fd = p->layers[i].sock,
			.events = POLLIN };
	if (poll(fds, p->n_layers + 1, LOOK_MS) <= 0)
		return 0;
	if (fds[0].revents != 0) {
		r = hear_source(p, ret_failed, err);
		if (r < 0)
			return r;
	}
	return hear_layers(p, fds, ret_failed, err);
}

/*
 * End everything that runs, and delete what is not sealed, children first:
 * who takes such a layer over begins with nothing, and a driver may refuse to
 * remove a parent.  Sealed layers stay for those who wait for them.
 */
static void
abort_all(struct pull *p)
{
	size_t i;

	for (i = 0; i < p->n_layers; i++) {
		layer_abort(p, i);
		give_slot(p, &p->layers[i]);
	}
	for (i = p->n_layers; i > 0; i--) {
		cleanup_error struct imgd_error *e = NULL;
		const struct pull_layer *l = &p->layers[i - 1];

		if ((l->state == LAYER_RUNNING ||
			l->state == LAYER_UNPACKED) &&
		    (!l->is_repair || l->fresh_key[0] != '\0') &&
		    engine_remove_layer(p->engine, driver_name(p->driver),
			layer_made_key(l), &e) < 0)
			log_warn("%s; removed later, ignoring",
			    imgd_error_msg(e));
	}
}

int
pull_layers(struct pull *p, struct imgd_error **err)
{
	cleanup_free struct pollfd *fds = NULL;
	size_t failed = p->n_layers;
	char label[32];
	int r;

	fds = calloc(p->n_layers + 1, sizeof(*fds));
	if (fds == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	driver_set_cancel(&p->is_cancelled);
	do
		r = step(p, fds, &failed, err);
	while (r == 0);
	driver_set_cancel(NULL);
	if (r > 0)
		return 0;
	abort_all(p);
	if (failed < p->n_layers)
		layer_spool_failed(p, failed, r);
	if (failed < p->n_layers)
		return imgd_error_prefix(err, "%s",
		    pull_layer_label(p, failed, label));
	return r;
}
