/*
 * Storage drivers as the core sees them: loaded, opened for one store, and
 * called only through these wrappers, which check the id, take the lock that
 * the driver's thread model asks for, count users, write one debug line,
 * supply what a NULL operation means, and name driver and layer in errors.
 */
#ifndef CORE_DRIVER_CALL_H
#define CORE_DRIVER_CALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"

struct driver;

/* What is known of a driver without opening it. */
struct driver_info {
	char *path;
	struct imgd_driver table; /* a copy; its strings live for ever */
};

/*
 * Load the module of a driver by name ("vfs") or path (with a slash).
 * -ENOENT if there is no such driver; any malformed module is refused by
 * name.
 */
int driver_load(const char *name, struct driver_info *ret,
    struct imgd_error **err);
void driver_info_done(struct driver_info *info);

/* Names of the installed drivers, sorted; a NULL-terminated malloc'ed list. */
int driver_names(char ***ret_names, struct imgd_error **err);
void driver_names_free(char **names);

/* Whether an option "KEY=VALUE" is for the driver of that name: one whose key
 * begins with another driver's name and a dot ("dm." is devmapper's) is not. */
bool driver_takes_option(const char *name, const char *option);

struct driver_open_params {
	int root_fd;      /* the store's directory; borrowed */
	const char *root; /* its path */
	bool is_readonly;
	char **options; /* "KEY=VALUE" */
	size_t n_options;
};

/* Probe only; leaves no trace.  -EOPNOTSUPP: not on this store. */
int driver_probe(const char *name, const struct driver_open_params *params,
    struct imgd_error **err);

/* Load and open a driver for a store. */
int driver_open(const char *name, const struct driver_open_params *params,
    struct driver **ret, struct imgd_error **err);
/* Release what nobody uses and close.  Mounts with users stay. */
void driver_close(struct driver *d);

const char *driver_name(const struct driver *d);
bool driver_has(const struct driver *d, uint32_t cap);
uint32_t driver_max_depth(const struct driver *d);
/* Whether layers are directories of their own changes (own_dir). */
bool driver_has_own_dir(const struct driver *d);
/* Whether the driver itself tells what a layer changed. */
bool driver_has_changes(const struct driver *d);
/* Whether any layer is handed out. */
bool driver_has_users(struct driver *d);

/* Long operations of the calling thread poll *flag; NULL: none. */
void driver_set_cancel(const atomic_bool *flag);

/* The operations; contracts in imgd/driver.h. */
int driver_create(struct driver *d, const char *id, const char *parent,
    struct imgd_error **err);
/* quota_bytes: 0 = no limit.  -EOPNOTSUPP if the driver cannot do it. */
int driver_create_rw(struct driver *d, const char *id, const char *parent,
    uint64_t quota_bytes, struct imgd_error **err);
int driver_seal(struct driver *d, const char *id, struct imgd_error **err);
int driver_flush(struct driver *d, struct imgd_error **err);
/* -EOPNOTSUPP if the driver cannot. */
int driver_replace(struct driver *d, const char *id, const char *with,
    struct imgd_error **err);
int driver_remove(struct driver *d, const char *id, struct imgd_error **err);
int driver_exists(struct driver *d, const char *id, struct imgd_error **err);
/* -EOPNOTSUPP if the driver cannot list. */
int driver_list(struct driver *d, imgd_layer_cb *cb, void *ctx,
    struct imgd_error **err);
/* kind: IMGD_GET_*.  -EOPNOTSUPP if the driver has no block devices. */
int driver_get(struct driver *d, const char *id, uint32_t kind,
    char **ret_path, struct imgd_error **err);
int driver_put(struct driver *d, const char *id, uint32_t kind,
    struct imgd_error **err);
int driver_own_dir(struct driver *d, const char *id, char **ret_path,
    uint32_t *ret_whiteouts, struct imgd_error **err);
/* Only if driver_has_changes. */
int driver_changes(struct driver *d, const char *id, const char *base,
    imgd_change_cb *cb, void *ctx, struct imgd_error **err);
/*
 * Nothing else runs in the driver meanwhile.  Returns the number of problems
 * that remain; -EOPNOTSUPP if the driver has no check; -EBUSY if it cannot
 * check while layers are in use.
 */
int driver_check(struct driver *d, uint32_t flags, imgd_problem_cb *cb,
    void *ctx, struct imgd_error **err);
typedef void driver_kv_cb(void *ctx, const char *key, const char *value);
int driver_status(struct driver *d, driver_kv_cb *cb, void *ctx,
    struct imgd_error **err);
int driver_metadata(struct driver *d, const char *id, driver_kv_cb *cb,
    void *ctx, struct imgd_error **err);

#endif
