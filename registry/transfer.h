/*
 * A body on its way, of either protocol: attempts, resumed where they broke,
 * until all of it was taken.
 */
#ifndef REGISTRY_TRANSFER_H
#define REGISTRY_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "registry/session-impl.h"

/* A transfer that brought so much was worth it: attempts count anew. */
#define TRANSFER_PROGRESS_BYTES (64u << 10)

struct transfer;

/* What a protocol says of it; ctx is the transfer's. */
struct transfer_ops {
	/* Ask for the body; req lacks only where from.  ret as with
	 * http_do. */
	int (*ask)(void *ctx, struct http_request *req, struct http_reply *ret,
	    struct imgd_error **err);
	/* An answer with the whole body begins. */
	int (*begin_whole)(void *ctx, const struct http_reply *reply,
	    struct imgd_error **err);
	/* Whether the value of Content-Range is what was asked for. */
	bool (*range_fits)(void *ctx, const char *range);
	/* The next bytes.  A failure of what takes them is final. */
	int (*take)(void *ctx, const void *data, size_t len,
	    struct imgd_error **err);
	/* An answer ended: whether all has come. */
	int (*judge)(void *ctx, const struct http_request *req,
	    const struct http_reply *reply, struct imgd_error **err);
	/* One broke: whether all has come all the same; NULL: never. */
	bool (*is_whole)(void *ctx);
	/* An attempt failed; NULL: nothing to do. */
	int (*broken)(void *ctx, struct imgd_error **err);
};

struct transfer {
	const struct transfer_ops *ops;
	void *ctx;
	struct registry_session *s;
	struct registry_blob_stats *stats; /* grow as bytes come */

	uint64_t have;     /* bytes taken so far */
	bool no_range;     /* the server resumes wrongly: skip instead */
	bool is_final;     /* neither another try nor another place helps */
	long last_status;  /* of HTTP; 0 = no answer */

	uint64_t skip;     /* bytes of this answer that we have */
	int64_t taking_ms; /* in this attempt, of those who take them */
};

/* Ask until all has come, or until nothing is left to try here; gives_up tells
 * after a failure r whether somebody else is to be asked first. */
int transfer_run(struct transfer *t, bool (*gives_up)(void *ctx, int r),
    struct imgd_error **err);

/* "416 Range Not Satisfiable" and what there is nothing of. */
int transfer_no_range(struct transfer *t, struct imgd_error **err);
/* have < size: the answer ended too early. */
int transfer_is_short(const struct transfer *t, uint64_t size,
    struct imgd_error **err);

#endif
