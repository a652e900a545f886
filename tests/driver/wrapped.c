/*
 * A driver around vfs, to try the conformance suite: it is as good as vfs,
 * but for one fault that an option "wrapped.fault=NAME" chooses.  It also
 * tells changes itself.  The module of vfs lies beside its own.
 *
 * Its faults break a driver's promises in silence, and so know what vfs keeps
 * where; examples/driver-fault fails openly, around any driver.
 */
#include "config.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "imgd/driver.h"

#include "core/tree-diff.h"
#include "lib/cleanup.h"

static const struct imgd_driver *base;

struct wrapped {
	struct imgd_env env; /* without our option */
	void *h;             /* vfs's */
	char *fault;
};

static int
load_base(struct imgd_error **err)
{
	cleanup_free char *copy = NULL, *path = NULL;
	imgd_driver_init_fn *init;
	void *module, *symbol;
	Dl_info self;

	if (base != NULL)
		return 0;
	if (dladdr((void *)(uintptr_t)load_base, &self) == 0 ||
	    (copy = strdup(self.dli_fname)) == NULL ||
	    asprintf(&path, "%s/imgd-vfs-driver.so", dirname(copy)) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	symbol = module != NULL ? dlsym(module, IMGD_DRIVER_INIT_SYMBOL)
				: NULL;
	if (symbol == NULL)
		return imgd_error_set(err, ENOENT, "%s", dlerror());
	memcpy(&init, &symbol, sizeof(init));
	base = init();
	return 0;
}

static bool
has_fault(const struct wrapped *w, const char *name)
{
	return w->fault != NULL && strcmp(w->fault, name) == 0;
}

static int
wrapped_probe(const struct imgd_env *env, struct imgd_error **err)
{
	int r = load_base(err);

	return r < 0 ? r : base->probe(env, err);
}

static void
wrapped_close(void *h)
{
	struct wrapped *w = h;

	if (w->h != NULL)
		base->close(w->h);
	free(w->fault);
	free(w);
}

static int
wrapped_open(const struct imgd_env *env, void **ret_h,
    struct imgd_error **err)
{
	struct wrapped *w;
	int r = load_base(err);
	uint32_t i;

	for (i = 0; r >= 0 && i < env->n_options; i++)
		if (strcmp(env->options[i].key, "wrapped.fault") != 0)
			r = imgd_error_set(err, EINVAL, "unknown option %s",
			    env->options[i].key);
	if (r < 0)
		return r;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	w->env = *env;
	w->env.n_options = 0;
	if (env->n_options > 0)
		w->fault = strdup(env->options[0].value);
	r = base->open(&w->env, &w->h, err);
	if (r < 0) {
		wrapped_close(w);
		return r;
	}
	if (has_fault(w, "writes-when-read-only") &&
	    (env->flags & IMGD_OPEN_READONLY))
		(void)mkdirat(env->home_fd, "stray", 0700);
	*ret_h = w;
	return 0;
}

/* Take the record away for a moment: nobody may be killed just then.  It is a
 * long one, of more calls than the suite leaves out on a slow machine. */
static void
rewrite_record(struct wrapped *w, const char *id)
{
	char path[200], target[32], none[1];
	ssize_t n;
	int i;

	(void)snprintf(path, sizeof(path), "layers/%s/state", id);
	n = readlinkat(w->env.home_fd, path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	(void)unlinkat(w->env.home_fd, path, 0);
	for (i = 0; i < 200; i++)
		(void)!readlinkat(w->env.home_fd, path, none, sizeof(none));
	(void)!symlinkat(target, w->env.home_fd, path);
}

static int
open_tree_root(struct wrapped *w, const char *id)
{
	char path[200];

	(void)snprintf(path, sizeof(path), "layers/%s/root", id);
	return openat(w->env.home_fd, path,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Call for each regular file in a layer's root directory. */
static void
each_file(int root_fd, void (*fn)(int root_fd, const char *name))
{
	cleanup_closedir DIR *d = fdopendir(dup(root_fd));
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL)
		if (de->d_type == DT_REG)
			fn(root_fd, de->d_name);
}

static void
drop_xattr(int root_fd, const char *name)
{
	cleanup_close int fd = openat(root_fd, name, O_RDONLY | O_CLOEXEC);

	(void)fremovexattr(fd, "user.one");
}

/* Give each name a file of its own, with the same text. */
static void
drop_link(int root_fd, const char *name)
{
	cleanup_close int fd = openat(root_fd, name, O_RDONLY | O_CLOEXEC);
	cleanup_close int copy = -EBADF;
	char text[64];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || st.st_nlink == 1)
		return;
	n = read(fd, text, sizeof(text));
	(void)unlinkat(root_fd, name, 0);
	copy = openat(root_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC,
	    st.st_mode & 07777);
	(void)!write(copy, text, n > 0 ? (size_t)n : 0);
	(void)futimens(copy, (const struct timespec[]) { st.st_mtim,
	    st.st_mtim });
}

static int
open_parent_root(struct wrapped *w, const char *id)
{
	char path[200], target[80];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "layers/%s/parent", id);
	n = readlinkat(w->env.home_fd, path, target, sizeof(target) - 1);
	if (n <= 3)
		return -1;
	target[n] = '\0';
	return open_tree_root(w, target + 3);
}

/* Link whatever file of the parent's root is not there. */
static void
bring_back(struct wrapped *w, const char *id, int root_fd)
{
	cleanup_close int fd = open_parent_root(w, id);
	cleanup_closedir DIR *d = fd >= 0 ? fdopendir(dup(fd)) : NULL;
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL)
		if (de->d_type == DT_REG)
			(void)!linkat(fd, de->d_name, root_fd, de->d_name, 0);
}

/* Give a file the blocks that it has done without. */
static void
fill_holes(int root_fd, const char *name)
{
	cleanup_close int fd = openat(root_fd, name, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_size > 0)
		(void)posix_fallocate(fd, 0, st.st_size);
}

/* What a new layer, that is as it should be, suffers. */
static void
spoil_new(struct wrapped *w, const char *id, const char *parent)
{
	cleanup_close int root_fd = open_tree_root(w, id);
	cleanup_close int parent_fd = -EBADF;

	if (has_fault(w, "fills-holes"))
		each_file(root_fd, fill_holes);
	if (has_fault(w, "half-made"))
		rewrite_record(w, id);
	if (has_fault(w, "forgets-mode") && parent != NULL)
		(void)fchmod(root_fd, 0700);
	if (has_fault(w, "writes-to-parent") && parent != NULL) {
		parent_fd = open_tree_root(w, parent);
		(void)mkdirat(parent_fd, ".child", 0700);
	}
	if (has_fault(w, "leaks-process") && fork() == 0) {
		(void)pause();
		_exit(0);
	}
}

static int
wrapped_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	struct wrapped *w = h;
	static atomic_int n_inside;
	int r;

	if (has_fault(w, "one-at-a-time")) {
		r = atomic_fetch_add(&n_inside, 1);
		(void)usleep(1000);
		atomic_fetch_sub(&n_inside, 1);
		if (r > 0)
			return imgd_error_set(err, EIO, "two at once");
	}
	if (has_fault(w, "overwrites") && base->exists(w->h, id, NULL) == 1)
		(void)base->remove(w->h, id, NULL);
	r = base->create(w->h, id, parent, opts, &e);
	if (r == -EEXIST && has_fault(w, "says-nothing"))
		return r;
	if (r == -ECANCELED && has_fault(w, "gives-up-badly"))
		return imgd_error_set(err, EIO, "somehow no copy");
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	spoil_new(w, id, parent);
	return 0;
}

static int
wrapped_create_rw(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	struct wrapped *w = h;

	return has_fault(w, "rw-is-staged")
	    ? base->create(w->h, id, parent, opts, err)
	    : base->create_rw(w->h, id, parent, opts, err);
}

static int
wrapped_seal(void *h, const char *id, struct imgd_error **err)
{
	struct wrapped *w = h;

	cleanup_close int root_fd = open_tree_root(w, id);

	if (has_fault(w, "loses-xattrs"))
		each_file(root_fd, drop_xattr);
	if (has_fault(w, "loses-links"))
		each_file(root_fd, drop_link);
	if (has_fault(w, "brings-back"))
		bring_back(w, id, root_fd);
	return has_fault(w, "forgets-seal") ? 0 : base->seal(w->h, id, err);
}

static int
wrapped_flush(void *h, struct imgd_error **err)
{
	struct wrapped *w = h;

	return base->flush(w->h, err);
}

static int
wrapped_replace(void *h, const char *id, const char *with,
    struct imgd_error **err)
{
	struct wrapped *w = h;

	return has_fault(w, "replaces-nothing")
	    ? 0
	    : base->replace(w->h, id, with, err);
}

static int
wrapped_remove(void *h, const char *id, struct imgd_error **err)
{
	struct wrapped *w = h;

	if (has_fault(w, "leaves-files"))
		(void)mkdirat(w->env.home_fd, id, 0700);
	return has_fault(w, "removes-nothing") ? 0
					       : base->remove(w->h, id, err);
}

static int
wrapped_exists(void *h, const char *id, struct imgd_error **err)
{
	struct wrapped *w = h;
	int r = base->exists(w->h, id, err);

	if (r == 0 && has_fault(w, "finds-too-much"))
		return 1;
	return r;
}

/* The listing backwards. */
struct listing {
	char ids[256][65], parents[256][65];
	uint32_t states[256];
	size_t n;
};

static int
note_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct listing *l = ctx;

	if (l->n == 256)
		return -E2BIG;
	(void)snprintf(l->ids[l->n], 65, "%s", id);
	(void)snprintf(l->parents[l->n], 65, "%s",
	    parent != NULL ? parent : "");
	l->states[l->n++] = state;
	return 0;
}

static int
wrapped_list(void *h, imgd_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup_free struct listing *l = NULL;
	struct wrapped *w = h;
	int r;

	if (!has_fault(w, "parents-first"))
		return base->list(w->h, cb, ctx, err);
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = base->list(w->h, note_layer, l, err);
	while (r == 0 && l->n > 0) {
		l->n--;
		r = cb(ctx, l->ids[l->n],
		    l->parents[l->n][0] != '\0' ? l->parents[l->n] : NULL,
		    l->states[l->n]);
	}
	return r;
}

static int
wrapped_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	struct wrapped *w = h;
	int r = base->get(w->h, id, kind, ret_path, &e);

	if (r == -ENOENT && has_fault(w, "wrong-code"))
		return imgd_error_set(err, EINVAL, "%s", imgd_error_msg(e));
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	if (has_fault(w, "leaks-descriptor"))
		(void)!open(*ret_path, O_RDONLY | O_CLOEXEC);
	if (has_fault(w, "leaves-mount"))
		(void)mount("none", w->env.run_dir, "tmpfs", 0, NULL);
	if (has_fault(w, "sets-error-on-success"))
		(void)imgd_error_set(err, EIO, "not really");
	return 0;
}

static int
wrapped_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	struct wrapped *w = h;

	if (has_fault(w, "adds-a-file")) {
		int fd = open_tree_root(w, id);

		(void)mkdirat(fd, ".stray", 0700);
		(void)close(fd);
	}
	if (has_fault(w, "resets-root")) {
		int fd = open_tree_root(w, id);

		(void)fchmod(fd, 0755);
		(void)close(fd);
	}
	if (has_fault(w, "put-fails"))
		return imgd_error_set(err, EIO, "cannot put");
	return base->put(w->h, id, kind, err);
}

static int
wrapped_changes(void *h, const char *id, const char *below,
    imgd_change_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup_close int old_fd = -EBADF, new_fd = -EBADF;
	struct tree_diff td = { .own_fd = -EBADF, .cb = cb, .ctx = ctx };
	struct wrapped *w = h;
	int r = base->exists(w->h, id, err);

	if (r <= 0)
		return r < 0 ? r : imgd_error_set(err, ENOENT,
				       "no such layer");
	new_fd = open_tree_root(w, id);
	old_fd = below != NULL ? open_tree_root(w, below) : -EBADF;
	td.new_fd = new_fd;
	td.old_fd = has_fault(w, "all-is-new") ? -EBADF : old_fd;
	return tree_diff(&td, err);
}

static int
wrapped_status(void *h, struct imgd_kv *kv, struct imgd_error **err)
{
	struct wrapped *w = h;

	return base->status(w->h, kv, err);
}

static int
wrapped_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err)
{
	struct wrapped *w = h;

	return base->metadata(w->h, id, kv, err);
}

static int
wrapped_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct wrapped *w = h;

	if (has_fault(w, "cries-wolf")) {
		cb(ctx, NULL, "there is a wolf", /* repaired= */ 0);
		return 1;
	}
	if (has_fault(w, "crashes"))
		(void)raise(SIGSEGV);
	return base->check(w->h, flags, cb, ctx, err);
}

static struct imgd_driver wrapped_driver = {
	.threads = IMGD_THREADS_PER_LAYER,
	.caps = IMGD_CAP_RW | IMGD_CAP_LIVE_CHECK,
	.name = "wrapped",
	.description = "vfs, or a little worse",
	.probe = wrapped_probe,
	.open = wrapped_open,
	.close = wrapped_close,
	.create = wrapped_create,
	.create_rw = wrapped_create_rw,
	.seal = wrapped_seal,
	.flush = wrapped_flush,
	.replace = wrapped_replace,
	.remove = wrapped_remove,
	.exists = wrapped_exists,
	.list = wrapped_list,
	.get = wrapped_get,
	.put = wrapped_put,
	.changes = wrapped_changes,
	.status = wrapped_status,
	.metadata = wrapped_metadata,
	.check = wrapped_check,
};

IMGD_REGISTER_DRIVER(wrapped_driver);
