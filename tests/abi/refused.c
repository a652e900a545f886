/* A module with one thing wrong, which a macro chooses. */
#include <signal.h>
#include <stddef.h>

#include "imgd/driver.h"

static int
bad_probe(const struct imgd_env *env, struct imgd_error **err)
{
	(void)env;
#ifdef CRASHES
	(void)raise(SIGSEGV);
#endif
	return imgd_error_set(err, 1, "probe was called");
}

#ifndef WITHOUT_SYMBOL
static int
bad_open(const struct imgd_env *env, void **ret_h, struct imgd_error **err)
{
	(void)ret_h;
	return bad_probe(env, err);
}

static void
bad_close(void *h)
{
	(void)h;
}

static int
bad_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	(void)h;
	(void)parent;
	(void)opts;
	return imgd_error_set(err, 1, "%s", id);
}

static int
bad_id(void *h, const char *id, struct imgd_error **err)
{
	(void)h;
	return imgd_error_set(err, 1, "%s", id);
}

static int
bad_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	(void)kind;
	(void)ret_path;
	return bad_id(h, id, err);
}

static int
bad_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	(void)kind;
	return bad_id(h, id, err);
}

static struct imgd_driver bad;

IMGD_EXPORT const struct imgd_driver *imgd_driver_init(void);

const struct imgd_driver *
imgd_driver_init(void)
{
	bad.struct_size = sizeof(bad);
	bad.api = IMGD_DRIVER_API;
	bad.name = "bad";
	bad.probe = bad_probe;
	bad.open = bad_open;
	bad.close = bad_close;
	bad.create = bad_create;
	bad.remove = bad_id;
	bad.exists = bad_id;
	bad.get = bad_get;
	bad.put = bad_put;
#ifdef OTHER_API
	bad.api = IMGD_DRIVER_API + 1;
#endif
#ifdef OTHER_NAME
	bad.name = "good";
#endif
#ifdef TOO_SMALL
	bad.struct_size = offsetof(struct imgd_driver, check);
	bad.struct_size -= 8;
#endif
#ifdef NO_GET
	bad.get = NULL;
#endif
#ifdef NO_TABLE
	return NULL;
#else
	return &bad;
#endif
}
#else
IMGD_EXPORT int (*not_a_driver)(const struct imgd_env *,
    struct imgd_error **) = bad_probe;
#endif
