/* What the files of the HTTP client share. */
#ifndef REGISTRY_HTTP_IMPL_H
#define REGISTRY_HTTP_IMPL_H

#include "registry/http.h"

/* Keep a header if it is of interest; 0 or -ENOMEM. */
int http_reply_keep(struct http_reply *r, const char *name, size_t name_len,
    const char *value, size_t len);
/* Another status line came. */
void http_reply_forget(struct http_reply *r);

#endif
