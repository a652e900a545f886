/* One upload to a v2 registry: what its ways of sending share. */
#ifndef REGISTRY_V2_UPLOAD_H
#define REGISTRY_V2_UPLOAD_H

#include "registry/push.h"
#include "registry/v2-push.h"

/* How often a prefix is told of that another session may go on behind. */
#define UPLOAD_MARK_BYTES (8u << 20)

struct upload_mark {
	uint64_t bytes; /* 0 = none */
	char digest[DIGEST_STR_SIZE];
};

struct upload {
	struct registry_session *s;
	struct registry_upload *from;
	struct endpoint *e;
	char *location;   /* absolute; NULL: not begun */
	uint64_t offset;  /* what the registry has */
	uint64_t min_piece; /* it wants pieces of at least so much */

	uint64_t pos;       /* what was read of the source */
	uint64_t sent_from; /* pos when the request was made */
	struct upload_mark check;   /* what the source must begin with */
	struct upload_mark pending; /* sent, and surely soon there */
	bool is_read;       /* the source was begun at least once */

	bool has_all;     /* all is there but the PUT */
	bool has_gone_on; /* behind bytes that were not sent in this go */
	bool no_resume;   /* that went wrong once */
	bool is_astray;   /* what it has must be asked for */
	bool is_final;    /* trying again will not help */
	bool is_confirmed;
	char digest[DIGEST_STR_SIZE];

	bool is_small;    /* everything goes with the PUT, from the source */
	bool is_spooled;  /* no PATCH: likewise, from the scratch file */
	bool has_spool;   /* it is there */

	bool in_pieces, no_pieces; /* are they sent; were they refused */
	bool has_piece;   /* one is in the scratch file: */
	bool is_last;
	uint64_t piece_start, piece_end;
	char piece_digest[DIGEST_STR_SIZE]; /* of all up to its end */
};

/* Ask url; who is not the registry itself gets no credentials. */
int upload_ask(struct registry_session *s, struct endpoint *e,
    const char *url, struct http_request *req, struct http_reply *ret,
    struct imgd_error **err);
/* The place for the next request, from the newest answer. */
int upload_take_location(struct upload *u, const char *base,
    const struct http_reply *reply, struct imgd_error **err);
/* "0-LAST" with or without "bytes=". */
bool upload_range_end(const char *range, uint64_t *ret);
/* The registry is not where we think it is. */
int upload_check_range(const struct upload *u, const struct http_reply *reply,
    struct imgd_error **err);
/* Bytes of the source. */
int64_t upload_read(struct upload *u, void *buf, size_t len,
    struct imgd_error **err);
/* Let the next byte of the source be the one that the registry wants. */
int upload_seek(struct upload *u, const char *why, struct imgd_error **err);
void upload_tell_mark(const struct upload *u, const struct upload_mark *mark);
/* The registry has nothing of it. */
void upload_forget(struct upload *u);

/* Send what is missing, piece by piece (v2-pieces.c). */
int upload_pieces(struct upload *u, const char *why, struct http_reply *reply,
    struct imgd_error **err);

#endif
