/*
 * A look at a JSON text from outside before a parser that allocates sees it.
 */
#ifndef LIB_JSON_SCAN_H
#define LIB_JSON_SCAN_H

#include <stddef.h>

#include "imgd/error.h"

/*
 * Check that len bytes are one JSON text (RFC 8259) and nothing more, within
 * imgd's limits.
 *
 * The text is UTF-8, at most LIMIT_JSON_DEPTH deep, and has at most
 * LIMIT_JSON_VALUES values.  No object has a key twice, however the key is
 * escaped; a key holds no NUL and no lone surrogate, which parsers tell apart
 * differently.  The size is the caller's to limit, 2^32 - 1 at most.
 * Nothing is allocated; the stack use is below 256 KiB.
 * Returns 0; -IMGD_E_FORMAT; -IMGD_E_LIMIT.
 */
int json_scan(const void *data, size_t len, struct imgd_error **err);

#endif
