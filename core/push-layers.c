/* The layers of a push side by side. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "core/protocol.h"
#include "core/push.h"
#include "lib/cleanup.h"

/* What an upload takes of the pusher's and its packer's memory, about, and what
 * all of them may take. */
#define GZIP_UPLOAD_KB 1200u
#define ZSTD_UPLOAD_KB 3000u
#define UPLOADS_KB     6000u

unsigned int
push_max_uploads(const struct push *p)
{
	unsigned int n = p->engine->config->max_concurrent_uploads;
	unsigned int most = UPLOADS_KB /
	    (p->format == DEFLATE_ZSTD ? ZSTD_UPLOAD_KB : GZIP_UPLOAD_KB);

	return n < most ? n : most;
}

/* ---- slots: how many layers are on their way at once ---- */

/* The lowest layer that is not done always gets one, so nothing waits for
 * ever; all others share what is left of the engine's. */
static bool
take_slot(struct push *p, struct push_layer *l, bool is_lowest)
{
	struct engine *e = p->engine;

	pthread_mutex_lock(&e->mutex);
	if (is_lowest || e->n_uploads < push_max_uploads(p)) {
		e->n_uploads++;
		l->holds_slot = true;
	}
	pthread_mutex_unlock(&e->mutex);
	return l->holds_slot;
}

static void
give_slot(struct push *p, struct push_layer *l)
{
	if (!l->holds_slot)
		return;
	l->holds_slot = false;
	pthread_mutex_lock(&p->engine->mutex);
	p->engine->n_uploads--;
	pthread_mutex_unlock(&p->engine->mutex);
}

/* ---- moving on ---- */

/* The same layer twice is one blob. */
static void
find_same(struct push *p)
{
	size_t i, j;

	for (i = 0; i < p->image.n_layers; i++)
		for (j = 0; j < i && p->layers[i].state == PUSH_WAITING; j++)
			if (strcmp(p->image.layers[j].diff_id,
				p->image.layers[i].diff_id) == 0) {
				p->layers[i].state = PUSH_SAME;
				p->layers[i].same_as = j;
			}
}

static void
copy_same(struct push *p)
{
	size_t i;

	for (i = 0; i < p->image.n_layers; i++) {
		struct push_layer *l = &p->layers[i];
		const struct push_layer *same = &p->layers[l->same_as];

		if (l->state != PUSH_SAME)
			continue;
		memcpy(l->digest, same->digest, DIGEST_STR_SIZE);
		l->size_bytes = same->size_bytes;
		l->suffix = same->suffix;
		l->state = PUSH_DONE;
	}
}

static const char *
label(const struct push *p, size_t i)
{
	return digest_hex(p->image.layers[i].diff_id);
}

/* Begin what may begin; returns how many are on their way. */
static int
advance(struct push *p, struct imgd_error **err)
{
	bool is_lowest = true;
	int n_running = 0, r;
	size_t i;

	for (i = 0; i < p->image.n_layers; i++) {
		struct push_layer *l = &p->layers[i];

		if (l->state == PUSH_DONE)
			give_slot(p, l);
		if (l->state == PUSH_DONE || l->state == PUSH_SAME)
			continue;
		if (l->state == PUSH_WAITING && take_slot(p, l, is_lowest)) {
			r = push_layer_begin(p, i, err);
			if (r < 0)
				return imgd_error_prefix(err, "layer %.12s",
				    label(p, i));
		}
		n_running += l->state != PUSH_WAITING;
		is_lowest = false;
	}
	return n_running;
}

static int
hear(struct push *p, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	uint32_t i;
	int r;

	message_init(&m, 0);
	r = push_hear(p, PROTOCOL_MAX_BYTES, &m, err);
	if (r < 0)
		return r;
	i = message_get_u32(&m);
	if (i >= p->image.n_layers)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "pusher: unexpected message %u", (unsigned int)m.type);
	r = m.type == PULLER_LAYER_FAILED ? message_get_error(&m, err)
					  : push_layer_take(p, i, &m, err);
	return r < 0 ? imgd_error_prefix(err, "layer %.12s", label(p, i)) : 0;
}

int
push_layers(struct push *p, struct imgd_error **err)
{
	size_t i;
	int r;

	find_same(p);
	for (i = 0; i < p->image.n_layers; i++) {
		char id[13];

		(void)snprintf(id, sizeof(id), "%.12s", label(p, i));
		push_show(p, id, "Preparing", 0, 0);
	}
	while ((r = advance(p, err)) > 0) {
		r = hear(p, err);
		if (r < 0)
			return r;
	}
	copy_same(p);
	return r;
}

void
push_layers_end(struct push *p)
{
	size_t i;

	for (i = 0; p->layers != NULL && i < p->image.n_layers; i++) {
		give_slot(p, &p->layers[i]);
		packing_done(&p->layers[i].packing);
	}
}
