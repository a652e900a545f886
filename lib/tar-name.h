/*
 * Names from tars.
 */
#ifndef LIB_TAR_NAME_H
#define LIB_TAR_NAME_H

#include <stddef.h>

#include "imgd/error.h"

/*
 * Clean a name: no leading "/", no empty or "." component, ".." resolved
 * lexically.
 *
 * out: LIMIT_PATH_BYTES + 1 bytes; "" is the root.
 * -IMGD_E_FORMAT if the name leaves the root; -IMGD_E_LIMIT.
 */
int tar_name_clean(const char *name, char *out, size_t *ret_len,
    struct imgd_error **err);

#endif
