/*
 * The list of images as Docker's API gives it.
 */
#ifndef CORE_IMAGES_LIST_H
#define CORE_IMAGES_LIST_H

#include <stdbool.h>

#include "core/store.h"
#include "lib/strbuf.h"

struct images_query {
	/* JSON (core/filters.h); NULL: none.  Keys: dangling, label, label!,
	 * before, since, until, reference. */
	const char *filters;
	bool wants_shared_size; /* else SharedSize is -1 */
	/* One more value of "reference", as clients before 1.41 gave it; NULL:
	 * none. */
	const char *name;
	/* An image without names has "<none>:<none>", as before API 1.43. */
	bool wants_none_names;
	bool wants_virtual_size; /* as before API 1.44 */
	bool wants_layers;       /* "Layers", which Docker has not */
};

/*
 * Append the array of image summaries, the newest first: Containers, Created,
 * Drivers, Id, Labels, ParentId, RepoDigests, RepoTags, SharedSize, Size,
 * VirtualSize; Layers, each with ChainId and Size, base first.
 *
 * An image's digests show if they match filters' "reference", or a tag of
 * their repository does.  No image here has a parent or children: "all" would
 * not show more.
 * Returns 0; -EINVAL for filters that make no sense; -ENOENT if an image that
 * they name is not there.
 */
int images_list(struct store *s, const struct images_query *q,
    struct strbuf *ret, struct imgd_error **err);

/* Lists are kept until the store changes, a few of them; NULL keeps none. */
struct images_cache *images_cache_new(void);
void images_cache_free(struct images_cache *cache);

#endif
