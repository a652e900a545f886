/*
 * A store: ROOT, its TagStore and its open drivers.
 */
#ifndef CORE_STORE_H
#define CORE_STORE_H

#include <pthread.h>
#include <stdbool.h>

#include "core/daemon-config.h"
#include "core/driver-call.h"
#include "imgd/error.h"
#include "tagstore/tagstore.h"

#define STORE_MAX_DRIVERS 16

struct store {
	int root_fd;
	char *root; /* absolute, without symbolic links */
	bool is_readonly;
	struct tagstore *tags; /* NULL: read-only, and there is no store yet */
	const struct config *config;
	pthread_mutex_t mutex; /* for the fields below */
	char *default_driver;  /* once it was asked for */
	struct driver *drivers[STORE_MAX_DRIVERS];
	size_t n_drivers;
	struct images_cache *images_cache; /* lists that were rendered */
};

/*
 * Open ROOT, making it (0700) unless is_readonly.
 *
 * A root that others may write is refused.  is_readonly without a store
 * there gives an empty one: tags is NULL.
 * config: borrowed, must outlive the store.
 */
int store_open(const char *root, const struct config *config,
    bool is_readonly, struct store **ret, struct imgd_error **err);
/* Open only ROOT itself; make it unless is_readonly (-ENOENT then). */
int store_open_root(const char *root, bool is_readonly, int *ret_fd,
    struct imgd_error **err);
void store_close(struct store *s);
static inline void
store_closep(struct store **s)
{
	store_close(*s);
}

/*
 * driver_load for a name that the store may know: one whose module was once
 * given by path, and is not installed.
 */
int store_load_driver(struct store *s, const char *name,
    struct driver_info *ret, struct imgd_error **err);

/* Remember that the module of info is where it is. */
int store_note_module(struct store *s, const struct driver_info *info,
    struct imgd_error **err);

/*
 * The open driver of that name, opened on first use.  name NULL: the store's
 * choice: configured, else what the store already uses, else the first of
 * the probe order that works.  Owned by the store.
 */
int store_driver(struct store *s, const char *name, struct driver **ret,
    struct imgd_error **err);

/* Open ROOT/recipes/KEY with open(2)'s flags. */
int store_open_recipe(struct store *s, const char *key, int flags,
    int *ret_fd, struct imgd_error **err);

/* Left free for the database and everybody else. */
#define STORE_RESERVE_BYTES (16u << 20)

/* How many bytes of ROOT's filesystem may be filled. */
int store_room(struct store *s, uint64_t *ret, struct imgd_error **err);

/* A scratch file in ROOT/spool that has no name. */
int store_open_scratch(struct store *s, int *ret_fd, struct imgd_error **err);

/* Which driver a verb that reads image (its id) should use: name, else the
 * store's choice if it holds the image, else the first that does.
 * caps: IMGD_CAP_* that it must have; drivers without them are passed over.
 * *ret_name is malloc'ed; -ENOENT if none holds it, -EOPNOTSUPP if none of
 * those has caps. */
int store_image_driver(struct store *s, const char *image, const char *name,
    uint32_t caps, char **ret_name, struct imgd_error **err);

/* The image is used: garbage collection takes those first that were not for
 * long.  What cannot be noted is logged. */
void store_note_use(struct store *s, const char *image);

/* Find an image by what a user typed: a name, NAME@DIGEST, an id or a unique
 * prefix of one.  ret_name, if not NULL, gets the name's row when it was a
 * name (else an empty one).  *ret_id is malloc'ed. */
int store_find_image(struct store *s, const char *typed, char **ret_id,
    struct image_name *ret_name, struct imgd_error **err);

#endif
