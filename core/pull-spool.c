/* Blobs of a pull that are kept while they come. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "core/partials.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/log.h"

/* Below it, what a cut can lose is not worth a file. */
#define MIN_BLOB_BYTES (256u << 10)
/* A registry below this rate has its blobs kept. */
#define SLOW_BYTES_PER_S (2u << 20)
/* A rate is measured over so much at least. */
#define MIN_RATE_BYTES (1u << 20)

/* Whether the blob is to be kept: decided before its first byte. */
static bool
is_wanted(struct pull *p, const struct descriptor *blob)
{
	struct store *s = p->engine->store;
	uint64_t rate = 0;

	/* How large a legacy image's blob is nobody has said. */
	if (blob == NULL || p->spooling == PULL_SPOOL_NEVER ||
	    p->legacy != NULL || blob->size_bytes < MIN_BLOB_BYTES)
		return false;
	if (p->spooling == PULL_SPOOL_ALWAYS ||
	    partial_exists(s, blob->digest))
		return true;
	(void)tagstore_rate(s->tags, p->registry, &rate, NULL);
	return rate > 0 && rate < SLOW_BYTES_PER_S;
}

void
layer_put_spool(struct pull *p, size_t index, struct message *m,
    struct partial *spool)
{
	cleanup_error struct imgd_error *why = NULL;
	struct pull_layer *l = &p->layers[index];
	size_t i;

	/* Without it the blob is streamed; nothing else is lost. */
	if (is_wanted(p, l->blob) &&
	    partial_open(p->engine->store, l->blob->digest,
		l->blob->size_bytes, spool, &why) < 0)
		log_debug("pull", "%s: streaming", imgd_error_msg(why));
	l->is_spooled = spool->fd >= 0;
	message_put_u32(m, l->is_spooled);
	if (!l->is_spooled)
		return;
	message_put_u32(m, spool->is_kept);
	message_put_u32(m, (uint32_t)spool->row.n_marks);
	for (i = 0; i < spool->row.n_marks; i++) {
		message_put_u64(m, spool->row.marks[i].bytes);
		message_put_str(m, spool->row.marks[i].digest);
	}
	message_put_fd(m, spool->fd);
}

int
layer_take_mark(struct pull *p, size_t index, struct message *m,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	const struct pull_layer *l = &p->layers[index];
	uint64_t bytes = message_get_u64(m);
	const char *digest = message_get_str(m);

	if (!l->is_spooled || bytes == 0 || bytes > l->blob->size_bytes ||
	    !digest_is_valid(digest))
		m->is_bad = true;
	else if (tagstore_partial_mark(p->engine->store->tags,
		     l->blob->digest, bytes, digest, &why) < 0)
		log_warn("%s, ignoring", imgd_error_msg(why));
	return message_end(m, err);
}

int
pull_take_rate(struct pull *p, struct message *m, struct imgd_error **err)
{
	struct tagstore *tags = p->engine->store->tags;
	uint64_t bytes = message_get_u64(m), ms = message_get_u64(m);
	uint64_t old = 0, new;
	int r = message_end(m, err);

	if (r < 0 || p->registry == NULL || bytes < MIN_RATE_BYTES)
		return r;
	new = (uint64_t)((double)bytes * 1000 / (double)(ms > 0 ? ms : 1));
	(void)tagstore_rate(tags, p->registry, &old, NULL);
	/* Only what differs is worth a transaction. */
	if (new > old + old / 2 || new < old - old / 3)
		(void)tagstore_set_rate(tags, p->registry, new, NULL);
	return 0;
}

void
pull_drop_spools(struct pull *p)
{
	size_t i;

	for (i = 0; i < p->n_layers; i++)
		if (p->layers[i].is_spooled)
			partial_drop(p->engine->store,
			    p->layers[i].blob->digest);
}

void
layer_spool_failed(struct pull *p, size_t index, int code)
{
	const struct pull_layer *l = &p->layers[index];

	/* The bytes are at fault, and would be each time. */
	if (l->is_spooled &&
	    (code == -IMGD_E_DIGEST || code == -IMGD_E_FORMAT ||
		code == -IMGD_E_LIMIT))
		partial_drop(p->engine->store, l->blob->digest);
}
