#include "config.h"

#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar-name.h"

int
tar_name_clean(const char *name, char *out, size_t *ret_len,
    struct imgd_error **err)
{
	size_t len = 0, depth = 0;

	for (;;) {
		size_t n;

		name += strspn(name, "/");
		n = strcspn(name, "/");
		if (n == 0)
			break;
		if (n == 2 && memcmp(name, "..", 2) == 0) {
			if (depth == 0)
				return imgd_error_set(err, IMGD_E_FORMAT,
				    "leaves the layer's root");
			while (len > 0 && out[--len] != '/')
				;
			depth--;
		} else if (n != 1 || *name != '.') {
			if (n > LIMIT_NAME_BYTES)
				return imgd_error_set(err, IMGD_E_LIMIT,
				    "a name exceeds %d bytes",
				    LIMIT_NAME_BYTES);
			if (len + (len > 0) + n > LIMIT_PATH_BYTES)
				return imgd_error_set(err, IMGD_E_LIMIT,
				    "the name exceeds %d bytes",
				    LIMIT_PATH_BYTES);
			if (++depth > LIMIT_PATH_DEPTH)
				return imgd_error_set(err, IMGD_E_LIMIT,
				    "more than %d directories deep",
				    LIMIT_PATH_DEPTH);
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, name, n);
			len += n;
		}
		name += n;
	}
	out[len] = '\0';
	*ret_len = len;
	return 0;
}

