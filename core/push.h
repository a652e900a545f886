/* The push: an image of the store to a registry. */
#ifndef CORE_PUSH_H
#define CORE_PUSH_H

#include "core/engine.h"
#include "core/job.h"
#include "core/layer-hold.h"
#include "lib/deflate.h"
#include "lib/digest.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

struct push_layer {
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
	struct layer_hold hold;
	int sock, pidfd; /* the pusher */
};

/* Report {"status": …, "id": …}; id NULL: none; total 0: no bar. */
void push_show(struct push *p, const char *id, const char *status,
    uint64_t current, uint64_t total);

/* Receive the pusher's next message, with other work looked after by look.
 * PULLER_FAILED becomes its error. */
int push_hear(struct push *p, size_t max, struct message *m,
    struct imgd_error **err);

/* Make layer i be there. */
int push_layer(struct push *p, size_t i, struct imgd_error **err);

/* The manifest for what is there: the image's own bytes if they still say the
 * truth.  ret: text, borrowed media type. */
int push_manifest(struct push *p, struct strbuf *ret,
    const char **ret_media_type, struct imgd_error **err);

#endif
