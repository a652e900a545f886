/* RFC 4648, section 4: with "+" and "/", and padding. */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stddef.h>

#include "imgd/error.h"

/* Decode text, strictly; *ret is malloc'ed and NUL-terminated.
 * -IMGD_E_FORMAT for what is none. */
int base64_decode(const char *text, void **ret, size_t *ret_len,
    struct imgd_error **err);

/* Encode len bytes; malloc'ed, NULL if memory is out. */
char *base64_encode(const void *data, size_t len);

#endif
