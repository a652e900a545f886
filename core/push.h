/* The push: an image of the store to a registry. */
#ifndef CORE_PUSH_H
#define CORE_PUSH_H

#include "core/engine.h"
#include "core/job.h"
#include "core/layer-hold.h"
#include "core/layer-pack.h"
#include "lib/deflate.h"
#include "lib/digest.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/reference.h"
#include "tagstore/uploads.h"

enum push_state {
	PUSH_WAITING,
	PUSH_SAME,    /* as an earlier layer of the image: its blob is theirs */
	PUSH_FINDING, /* the pusher looks for a blob that may be it */
	PUSH_SENDING,
	PUSH_DONE
};

/* Blobs that may hold a layer: what it came as, what it was sent as. */
#define PUSH_MAX_CANDIDATES 3

struct push_layer {
	enum push_state state;
	size_t same_as; /* if PUSH_SAME */
	bool holds_slot;
	struct layer_blob candidates[PUSH_MAX_CANDIDATES];
	size_t n_candidates, candidate;
	struct packing packing; /* while it is sent */

	char digest[DIGEST_STR_SIZE]; /* of the blob there; "" until known */
	uint64_t size_bytes;          /* of that blob */
	const char *suffix; /* of its media type; NULL: the image's own */
};

struct push {
	struct job *job;
	struct engine *engine;
	struct reference ref;
	struct driver *driver;
	struct image image;
	struct push_layer *layers; /* as many as the image has */
	enum deflate_format format;
	bool in_pieces; /* what is sent is sent in pieces */
	struct layer_hold hold;
	int sock, pidfd; /* the pusher */
	unsigned int n_retries; /* told of */
};

/* ---- push.c ---- */

/* Report {"status": …, "id": …}; id NULL: none; total 0: no bar. */
void push_show(struct push *p, const char *id, const char *status,
    uint64_t current, uint64_t total);

/* Receive the pusher's next message, with other work looked after by look.
 * PULLER_FAILED becomes its error; of pauses the client is told. */
int push_hear(struct push *p, size_t max, struct message *m,
    struct imgd_error **err);

/* "gzip" or "zstd". */
const char *push_format_name(enum deflate_format format);

/* ---- push-layers.c ---- */

/* Most uploads at once: configured, and what memory allows. */
unsigned int push_max_uploads(const struct push *p);
/* Make all layers be there, side by side. */
int push_layers(struct push *p, struct imgd_error **err);
/* End what runs for them. */
void push_layers_end(struct push *p);

/* ---- push-layer.c ---- */

/* Look for the layer there, or begin to send it. */
int push_layer_begin(struct push *p, size_t i, struct imgd_error **err);
/* A message about it, whose layer was read. */
int push_layer_take(struct push *p, size_t i, struct message *m,
    struct imgd_error **err);

/* ---- push-manifest.c ---- */

/* The manifest for what is there: the image's own bytes if they still say the
 * truth.  ret: text, borrowed media type. */
int push_manifest(struct push *p, struct strbuf *ret,
    const char **ret_media_type, struct imgd_error **err);

#endif
