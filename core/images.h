/*
 * What the jobs that remove images share.
 */
#ifndef CORE_IMAGES_H
#define CORE_IMAGES_H

#include "core/engine.h"
#include "core/job.h"

/* A removal that may be of several images. */
struct removal {
	struct engine *engine;
	struct job *job; /* is told of each record; may be NULL */
	/* {"Untagged": name}, {"Deleted": id}, {"Dropped": driver}, with commas
	 * between them */
	struct strbuf records;
	uint64_t bytes; /* of the layers that go */
};

/*
 * Remove the image from one driver (NULL: from all) and, with the last, its
 * names and the layers that nothing else needs; engine_reap() then removes
 * their data.  Under plan_mutex; the caller knows that it is not in use.
 */
int image_remove(struct removal *rm, const char *id, const char *driver,
    struct imgd_error **err);

/* Remove the image (its id) with all its names, unless something relies on it,
 * it is gone, or is_untagged and it has a tag.  Under plan_mutex. */
int image_prune(struct removal *rm, const char *id, bool is_untagged,
    struct imgd_error **err);

/*
 * What relies on the image (its id) in driver (NULL: in any), malloc'ed:
 * "container NAME" or "mount TARGET"; NULL if nothing does.  Under plan_mutex.
 */
int image_find_user(struct engine *e, const char *image, const char *driver,
    char **ret, struct imgd_error **err);
/* -IMGD_E_CONFLICT "image is being used by …" if something does. */
int image_check_unused(struct engine *e, const char *image,
    const char *driver, struct imgd_error **err);

#endif
