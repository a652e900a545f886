/*
 * fault: a driver that is another one, until a certain call of one operation,
 * which fails, is late, or kills the process.  README tells how to use it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "imgd/driver.h"

#define MODULE_VARIABLE "IMGD_FAULT_MODULE"
#define PASS_PREFIX     "fault.pass."

enum action { DO_NOTHING, DO_FAIL, DO_DELAY, DO_KILL };

struct fault {
	struct imgd_env env; /* for the wrapped driver: without our options */
	struct imgd_option *options;
	void *h; /* the wrapped driver's */
	const char *op;
	unsigned long at; /* which call of op; 0: each */
	enum action action;
	int code;
	unsigned long delay_ms;
	atomic_ulong n_calls;
};

/* The wrapped driver; NULL, and why. */
static const struct imgd_driver *inner;
static char why_not[512] = MODULE_VARIABLE " names no module";

static const struct {
	const char *name;
	int code;
} codes[] = {
	{ "EBUSY", EBUSY },
	{ "ECANCELED", ECANCELED },
	{ "EEXIST", EEXIST },
	{ "EINVAL", EINVAL },
	{ "EIO", EIO },
	{ "ENOENT", ENOENT },
	{ "ENOMEM", ENOMEM },
	{ "ENOSPC", ENOSPC },
	{ "EOPNOTSUPP", EOPNOTSUPP },
	{ "EPERM", EPERM },
	{ "EROFS", EROFS },
	{ "EUCLEAN", EUCLEAN },
};

static const char *const op_names[] = { "probe", "open", "narrow", "cleanup",
	"create", "create_rw", "seal", "flush", "replace", "remove", "exists",
	"list", "get", "put", "own_dir", "diff", "changes", "diff_size",
	"status", "metadata", "check" };

/* ---- the fault ---- */

/* Before each call: 0, or the failure that the options ask for. */
static int
trip(struct fault *f, const char *op, struct imgd_error **err)
{
	struct timespec left;
	unsigned long n;

	if (f->action == DO_NOTHING || strcmp(f->op, op) != 0)
		return 0;
	n = atomic_fetch_add(&f->n_calls, 1) + 1;
	if (f->at != 0 && n != f->at)
		return 0;
	switch (f->action) {
	case DO_FAIL:
		return imgd_error_set(err, f->code, "call %lu of %s: %s", n,
		    op, strerror(f->code));
	case DO_DELAY:
		left.tv_sec = (time_t)(f->delay_ms / 1000);
		left.tv_nsec = (long)(f->delay_ms % 1000) * 1000000;
		while (nanosleep(&left, &left) < 0 && errno == EINTR)
			;
		return 0;
	default:
		return raise(SIGKILL);
	}
}

static int
parse_number(const char *key, const char *text, unsigned long *ret,
    struct imgd_error **err)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
		return imgd_error_set(err, EINVAL, "%s=%s: not a number", key,
		    text);
	return 0;
}

static int
parse_action(struct fault *f, const char *key, const char *text,
    struct imgd_error **err)
{
	size_t i;

	if (strcmp(text, "kill") == 0) {
		f->action = DO_KILL;
		return 0;
	}
	if (strncmp(text, "delay:", 6) == 0) {
		f->action = DO_DELAY;
		return parse_number(key, text + 6, &f->delay_ms, err);
	}
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strncmp(text, "fail:", 5) == 0 &&
		    strcmp(text + 5, codes[i].name) == 0) {
			f->action = DO_FAIL;
			f->code = codes[i].code;
			return 0;
		}
	return imgd_error_set(err, EINVAL,
	    "%s=%s: not fail:CODE, delay:MS or kill", key, text);
}

static int
parse_op(struct fault *f, const char *key, const char *text,
    struct imgd_error **err)
{
	size_t i;

	for (i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++)
		if (strcmp(text, op_names[i]) == 0) {
			f->op = op_names[i];
			return 0;
		}
	return imgd_error_set(err, EINVAL, "%s=%s: no such operation", key,
	    text);
}

static int
parse_option(struct fault *f, const struct imgd_option *o,
    struct imgd_error **err)
{
	static const size_t n_pass = sizeof(PASS_PREFIX) - 1;

	if (strcmp(o->key, "fault.op") == 0)
		return parse_op(f, o->key, o->value, err);
	if (strcmp(o->key, "fault.at") == 0)
		return parse_number(o->key, o->value, &f->at, err);
	if (strcmp(o->key, "fault.do") == 0)
		return parse_action(f, o->key, o->value, err);
	f->options[f->env.n_options] = *o;
	if (strncmp(o->key, PASS_PREFIX, n_pass) == 0)
		f->options[f->env.n_options].key += n_pass;
	else if (strncmp(o->key, "fault.", 6) == 0)
		return imgd_error_set(err, EINVAL, "unknown option %s",
		    o->key);
	f->env.n_options++;
	return 0;
}

static void
fault_free(struct fault *f)
{
	free(f->options);
	free(f);
}

static int
fault_new(const struct imgd_env *env, struct fault **ret,
    struct imgd_error **err)
{
	struct fault *f;
	uint32_t i;
	int r = 0;

	if (inner == NULL)
		return imgd_error_set(err, EINVAL, "%s", why_not);
	f = calloc(1, sizeof(*f));
	if (f != NULL)
		f->options = calloc(env->n_options + 1, sizeof(*f->options));
	if (f == NULL || f->options == NULL) {
		free(f);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	f->env = *env;
	f->env.options = f->options;
	f->env.n_options = 0;
	f->at = 1;
	for (i = 0; r >= 0 && i < env->n_options; i++)
		r = parse_option(f, &env->options[i], err);
	if (r >= 0 && (f->op == NULL) != (f->action == DO_NOTHING))
		r = imgd_error_set(err, EINVAL,
		    "fault.op and fault.do go together");
	if (r < 0)
		fault_free(f);
	else
		*ret = f;
	return r;
}

/* ---- operations ---- */

static int
fault_probe(const struct imgd_env *env, struct imgd_error **err)
{
	struct fault *f;
	int r = fault_new(env, &f, err);

	if (r < 0)
		return r;
	r = trip(f, "probe", err);
	if (r >= 0)
		r = inner->probe(&f->env, err);
	fault_free(f);
	return r;
}

static int
fault_open(const struct imgd_env *env, void **ret_h, struct imgd_error **err)
{
	struct fault *f;
	int r = fault_new(env, &f, err);

	if (r < 0)
		return r;
	r = trip(f, "open", err);
	if (r >= 0)
		r = inner->open(&f->env, &f->h, err);
	if (r < 0)
		fault_free(f);
	else
		*ret_h = f;
	return r;
}

static void
fault_close(void *h)
{
	struct fault *f = h;

	inner->close(f->h);
	fault_free(f);
}

/* Operations that only pass on what they get. */
#define PASS_ON(op, parameters, arguments)                                   \
	static int fault_##op parameters                                     \
	{                                                                    \
		struct fault *f = h;                                         \
		int r = trip(f, #op, err);                                   \
                                                                             \
		return r < 0 ? r : (inner->op)arguments;                     \
	}                                                                    \
	static int fault_##op parameters /* swallows the semicolon */

PASS_ON(narrow,
    (void *h, uint32_t *threads, uint32_t *caps, uint32_t *max_depth,
	struct imgd_error **err),
    (f->h, threads, caps, max_depth, err));
PASS_ON(cleanup, (void *h, struct imgd_error **err), (f->h, err));
PASS_ON(create,
    (void *h, const char *id, const char *parent,
	const struct imgd_layer_opts *opts, struct imgd_error **err),
    (f->h, id, parent, opts, err));
PASS_ON(create_rw,
    (void *h, const char *id, const char *parent,
	const struct imgd_layer_opts *opts, struct imgd_error **err),
    (f->h, id, parent, opts, err));
PASS_ON(seal, (void *h, const char *id, struct imgd_error **err),
    (f->h, id, err));
PASS_ON(flush, (void *h, struct imgd_error **err), (f->h, err));
PASS_ON(replace,
    (void *h, const char *id, const char *with, struct imgd_error **err),
    (f->h, id, with, err));
PASS_ON(remove, (void *h, const char *id, struct imgd_error **err),
    (f->h, id, err));
PASS_ON(exists, (void *h, const char *id, struct imgd_error **err),
    (f->h, id, err));
PASS_ON(list,
    (void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err),
    (f->h, cb, ctx, err));
PASS_ON(get,
    (void *h, const char *id, uint32_t kind, char **ret_path,
	struct imgd_error **err),
    (f->h, id, kind, ret_path, err));
PASS_ON(put,
    (void *h, const char *id, uint32_t kind, struct imgd_error **err),
    (f->h, id, kind, err));
PASS_ON(own_dir,
    (void *h, const char *id, char **ret_path, uint32_t *ret_whiteouts,
	struct imgd_error **err),
    (f->h, id, ret_path, ret_whiteouts, err));
PASS_ON(diff,
    (void *h, const char *id, const char *base, struct imgd_sink *sink,
	struct imgd_error **err),
    (f->h, id, base, sink, err));
PASS_ON(changes,
    (void *h, const char *id, const char *base, imgd_change_cb *cb,
	void *ctx, struct imgd_error **err),
    (f->h, id, base, cb, ctx, err));
PASS_ON(diff_size,
    (void *h, const char *id, const char *base, uint64_t *ret_bytes,
	struct imgd_error **err),
    (f->h, id, base, ret_bytes, err));
PASS_ON(status, (void *h, struct imgd_kv *kv, struct imgd_error **err),
    (f->h, kv, err));
PASS_ON(metadata,
    (void *h, const char *id, struct imgd_kv *kv, struct imgd_error **err),
    (f->h, id, kv, err));
PASS_ON(check,
    (void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
	struct imgd_error **err),
    (f->h, flags, cb, ctx, err));

/* ---- the table ---- */

static struct imgd_driver fault_driver = {
	.name = "fault",
	.description = "another driver that fails when told to",
	.options_help =
	    "fault.op=NAME          the operation\n"
	    "fault.at=N             its Nth call in a process (1); 0: each\n"
	    "fault.do=fail:CODE     fail, as fail:ENOSPC\n"
	    "fault.do=delay:MS      be late\n"
	    "fault.do=kill          kill the process\n"
	    "fault.pass.KEY=VALUE   an option of the wrapped driver's",
	.probe = fault_probe,
	.open = fault_open,
	.close = fault_close,
	.create = fault_create,
	.remove = fault_remove,
	.exists = fault_exists,
	.get = fault_get,
	.put = fault_put,
};

static const struct imgd_driver *
load_inner(const char *path)
{
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol;
	const struct imgd_driver *t;
	imgd_driver_init_fn *init;

	symbol = module != NULL ? dlsym(module, IMGD_DRIVER_INIT_SYMBOL)
				: NULL;
	if (symbol == NULL) {
		(void)snprintf(why_not, sizeof(why_not),
		    MODULE_VARIABLE ": %s", dlerror());
		return NULL;
	}
	memcpy(&init, &symbol, sizeof(init));
	t = init();
	if (t->api == IMGD_DRIVER_API &&
	    t->struct_size >= sizeof(struct imgd_driver))
		return t;
	(void)snprintf(why_not, sizeof(why_not),
	    MODULE_VARIABLE ": %s: made for another imgd", path);
	return NULL;
}

/* Offer what the wrapped driver has.  apply_diff has no handle to count with
 * and is passed on as it is. */
static void
offer(const struct imgd_driver *t)
{
	struct imgd_driver *f = &fault_driver;

	f->threads = t->threads;
	f->caps = t->caps;
	f->max_depth = t->max_depth;
	f->apply_diff = t->apply_diff;
#define OFFER(op) f->op = t->op != NULL ? fault_##op : NULL
	OFFER(narrow);
	OFFER(cleanup);
	OFFER(create_rw);
	OFFER(seal);
	OFFER(flush);
	OFFER(replace);
	OFFER(list);
	OFFER(own_dir);
	OFFER(diff);
	OFFER(changes);
	OFFER(diff_size);
	OFFER(status);
	OFFER(metadata);
	OFFER(check);
#undef OFFER
}

/* In place of IMGD_REGISTER_DRIVER: the table must be whole when this returns,
 * before there are options, so the environment names the wrapped module. */
IMGD_EXPORT const struct imgd_driver *imgd_driver_init(void);

const struct imgd_driver *
imgd_driver_init(void)
{
	const char *path = getenv(MODULE_VARIABLE);

	if (inner == NULL && path != NULL)
		inner = load_inner(path);
	if (inner != NULL)
		offer(inner);
	fault_driver.struct_size = (uint32_t)sizeof(fault_driver);
	fault_driver.api = IMGD_DRIVER_API;
	return &fault_driver;
}
