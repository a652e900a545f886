/* The config of an image that is another one and what was changed on it. */
#ifndef CORE_COMMIT_CONFIG_H
#define CORE_COMMIT_CONFIG_H

#include <stddef.h>

#include "imgd/error.h"

struct commit_words {
	const char *author, *message; /* UTF-8; NULL: none */
	const char *changes; /* lines for config_change(); NULL: none */
	const char *created; /* RFC 3339 */
};

/*
 * Make the config: base's, with the changes, one more layer and its history.
 *
 * What base says that is not about how base itself came about is kept, also
 * what nobody knows here.  Layers that base's history leaves out get entries,
 * so that the new one is the new layer's.
 *
 * base: len bytes, an image config that was let into the store.
 * diff_id: the new layer's; NULL: nothing was changed, there is none.
 * ret: malloc'ed.
 * -EINVAL with the instruction for a change that is none.
 */
int commit_config(const void *base, size_t len, const struct commit_words *w,
    const char *diff_id, char **ret, struct imgd_error **err);

#endif
