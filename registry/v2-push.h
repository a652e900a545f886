/* What the files of the v2 push share. */
#ifndef REGISTRY_V2_PUSH_H
#define REGISTRY_V2_PUSH_H

#include "registry/session-impl.h"

static inline void
push_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
}

/* The registry itself, by https or by http. */
int push_endpoint(struct registry_session *s, struct endpoint **ret,
    struct imgd_error **err);

/* One request with attempts; check tells whether an answer is a good one. */
int push_simple(struct registry_session *s, const char *path,
    const char *what, struct http_request *req,
    int (*check)(const struct http_reply *reply), struct http_reply *ret,
    struct imgd_error **err);

/* "/REPOSITORY/rest"; malloc'ed. */
char *push_path(const struct registry_session *s, const char *rest);

/* registry_has_blob; a registry that grants no right to look has it (2). */
int push_look(struct registry_session *s, const char *digest,
    uint64_t *ret_size, struct imgd_error **err);

/* Cancel the upload at location; whether that works matters to nobody. */
void push_forget_upload(struct registry_session *s, struct endpoint *e,
    const char *base, const char *location);

#endif
