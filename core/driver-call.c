#include "config.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/driver-call.h"
#include "core/driver-probe.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"

#define LOG_DRIVER "driver"

/* A layer id that some thread is working on. */
struct held {
	struct held *next;
	const char *id; /* NULL: no layer in particular */
	enum { EXCLUSIVE, SHARED, ALONE } how; /* ALONE: nothing beside it */
};

/* A layer that is handed out. */
struct user {
	struct user *next;
	char id[65];
	uint32_t kind;
	unsigned int count;
};

struct driver {
	struct driver_info info;
	void *h;
	struct imgd_env env;
	struct imgd_option *options;
	char *option_text; /* what the options point into */
	char *home, *run_dir;
	int home_fd; /* opened before the first write: for syncfs */
	uint32_t threads, caps, max_depth;

	pthread_mutex_t mutex; /* for all below */
	pthread_cond_t changed;
	struct held *held;
	struct user *users;
};

static __thread const atomic_bool *cancel_flag;

void
driver_set_cancel(const atomic_bool *flag)
{
	cancel_flag = flag;
}

static int
is_cancelled(void)
{
	return cancel_flag != NULL && atomic_load(cancel_flag);
}

static void IMGD_PRINTF(2, 3)
driver_log(int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (level == IMGD_LOG_WARN)
		log_warn("%s", text);
	else
		log_debug(LOG_DRIVER, "%s", text);
}

/* ---- locking by the thread model ---- */

static bool
conflicts(const struct driver *d, const struct held *new)
{
	const struct held *h;

	for (h = d->held; h != NULL; h = h->next) {
		if (d->threads == IMGD_THREADS_SERIAL || h->how == ALONE ||
		    new->how == ALONE)
			return true;
		if (new->id != NULL && h->id != NULL &&
		    strcmp(h->id, new->id) == 0 &&
		    !(new->how == SHARED && h->how == SHARED))
			return true;
	}
	return false;
}

static void
hold(struct driver *d, struct held *h, const char *id, int how)
{
	*h = (struct held) { .id = id, .how = how };
	if (d->threads == IMGD_THREADS_PARALLEL)
		return;
	pthread_mutex_lock(&d->mutex);
	while (conflicts(d, h))
		pthread_cond_wait(&d->changed, &d->mutex);
	h->next = d->held;
	d->held = h;
	pthread_mutex_unlock(&d->mutex);
}

static void
release(struct driver *d, struct held *h)
{
	struct held **p;

	if (d->threads == IMGD_THREADS_PARALLEL)
		return;
	pthread_mutex_lock(&d->mutex);
	for (p = &d->held; *p != h; p = &(*p)->next)
		;
	*p = h->next;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->mutex);
}

/* ---- errors and the debug line ---- */

/* Whether a driver's message begins with the layer that it was called for. */
static bool
names_layer(const char *message, const char *id)
{
	static const char word[] = "layer ";

	return strncmp(message, word, strlen(word)) == 0 &&
	    strncmp(message + strlen(word), id, 12) == 0;
}

static int
finish(struct driver *d, const char *op, const char *id, int r,
    struct imgd_error **err)
{
	struct imgd_error *none = NULL;
	struct imgd_error **e = err != NULL ? err : &none;

	log_debug(LOG_DRIVER, "%s: %s %s = %d", d->info.table.name, op,
	    id != NULL ? id : "-", r);
	if (r < 0) {
		if (*e == NULL)
			(void)imgd_error_set(e, -r, "%s failed without a word",
			    op);
		if (id != NULL && !names_layer(imgd_error_msg(*e), id))
			(void)imgd_error_prefix(e, "driver %s: layer %.12s",
			    d->info.table.name, id);
		else
			(void)imgd_error_prefix(e, "driver %s",
			    d->info.table.name);
		imgd_error_free(none);
	}
	return r;
}

static int
bad_id(struct driver *d, const char *id, struct imgd_error **err)
{
	return imgd_error_set(err, EINVAL, "driver %s: %s is not a layer key",
	    d->info.table.name, id);
}

/* ---- open and close ---- */

/* Keep those options that are meant for this driver. */
static int
parse_options(struct driver *d, const struct driver_open_params *p,
    struct imgd_error **err)
{
	struct strbuf text = STRBUF_INIT;
	size_t i, n, n_options = 0;
	char *s;

	for (i = 0; i < p->n_options; i++) {
		if (!driver_takes_option(d->info.table.name, p->options[i]))
			continue;
		strbuf_append(&text, p->options[i], strlen(p->options[i]) + 1);
		n_options++;
	}
	d->options = calloc(n_options + 1, sizeof(*d->options));
	d->option_text = strbuf_take(&text);
	if (d->options == NULL || d->option_text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s = d->option_text;
	for (i = 0; i < n_options; i++) {
		char *value = s + strcspn(s, "=") + 1;

		n = strlen(s) + 1;
		value[-1] = '\0';
		d->options[i].key = s;
		d->options[i].value = value;
		s += n;
	}
	d->env.options = d->options;
	d->env.n_options = (uint32_t)n_options;
	return 0;
}

static int
make_home(struct driver *d, const struct driver_open_params *p,
    struct imgd_error **err)
{
	cleanup_close int drivers_fd = -EBADF;

	if (p->is_readonly) {
		drivers_fd = fs_open_dir(p->root_fd, "drivers", err);
		if (drivers_fd < 0)
			return drivers_fd;
		d->home_fd = fs_open_dir(drivers_fd, d->info.table.name, err);
		return d->home_fd;
	}
	drivers_fd = fs_make_open_dir(p->root_fd, "drivers", 0700, err);
	if (drivers_fd < 0)
		return drivers_fd;
	d->home_fd = fs_make_open_dir(drivers_fd, d->info.table.name, 0700,
	    err);
	return d->home_fd;
}

static void
driver_free(struct driver *d)
{
	if (d == NULL)
		return;
	while (d->users != NULL) {
		struct user *u = d->users;

		d->users = u->next;
		free(u);
	}
	close_fd(&d->home_fd);
	free(d->options);
	free(d->option_text);
	free(d->home);
	free(d->run_dir);
	driver_info_done(&d->info);
	(void)pthread_cond_destroy(&d->changed);
	(void)pthread_mutex_destroy(&d->mutex);
	free(d);
}

static void
driver_freep(struct driver **d)
{
	driver_free(*d);
}

/* Load the module and fill in env, short of opening. */
static int
prepare(const char *name, const struct driver_open_params *p,
    struct driver **ret, struct imgd_error **err)
{
	cleanup(driver_freep) struct driver *d = calloc(1, sizeof(*d));
	int r;

	if (d == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	d->home_fd = -EBADF;
	(void)pthread_mutex_init(&d->mutex, NULL);
	(void)pthread_cond_init(&d->changed, NULL);
	r = driver_load(name, &d->info, err);
	if (r >= 0)
		r = parse_options(d, p, err);
	if (r >= 0)
		r = make_home(d, p, err);
	if (r < 0)
		return r;
	if (asprintf(&d->home, "%s/drivers/%s", p->root, d->info.table.name) <
		0 ||
	    asprintf(&d->run_dir, "/run/imgd") < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	d->env.struct_size = sizeof(d->env);
	d->env.flags = p->is_readonly ? IMGD_OPEN_READONLY : 0;
	d->env.home_fd = d->home_fd;
	d->env.home = d->home;
	d->env.run_dir = d->run_dir;
	d->env.log = driver_log;
	d->env.cancelled = is_cancelled;
	*ret = take_ptr(&d);
	return 0;
}

int
driver_probe(const char *name, const struct driver_open_params *params,
    struct imgd_error **err)
{
	cleanup(driver_freep) struct driver *d = NULL;
	int r;

	r = prepare(name, params, &d, err);
	if (r < 0)
		return r;
	r = probe_apart(&d->info.table, &d->env, err);
	r = finish(d, "probe", NULL, r, err);
	/* What was not there before goes again; a used home stays. */
	(void)rmdir(d->home);
	return r;
}

/* Whether the driver has worked in this directory before. */
static bool
is_used(const char *home)
{
	cleanup_closedir DIR *dir = opendir(home);
	const struct dirent *de;

	while (dir != NULL && (de = readdir(dir)) != NULL)
		if (de->d_name[0] != '.')
			return true;
	return false;
}

/* A probe writes, which a full disk does not let it.  Where the driver has worked
 * before it goes on without: one removes images to make room. */
static bool
may_go_unprobed(int r, bool was_used)
{
	return was_used &&
	    (r == -ENOSPC || r == -EDQUOT || r == -EROFS || r == -EIO);
}

int
driver_open(const char *name, const struct driver_open_params *params,
    struct driver **ret, struct imgd_error **err)
{
	cleanup(driver_freep) struct driver *d = NULL;
	const struct imgd_driver *t;
	cleanup_error struct imgd_error *why = NULL;
	bool was_used;
	int r;

	r = prepare(name, params, &d, err);
	if (r < 0)
		return r;
	t = &d->info.table;
	was_used = is_used(d->home);
	r = probe_apart(t, &d->env, &why);
	r = finish(d, "probe", NULL, r, &why);
	if (r < 0 && may_go_unprobed(r, was_used)) {
		log_warn("%s; it has worked here before", imgd_error_msg(why));
	} else if (r < 0) {
		(void)rmdir(d->home);
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	}
	r = finish(d, "open", NULL, t->open(&d->env, &d->h, err), err);
	if (r < 0)
		return r;
	d->threads = t->threads;
	d->caps = t->caps;
	d->max_depth = t->max_depth;
	if (t->narrow != NULL) {
		r = t->narrow(d->h, &d->threads, &d->caps, &d->max_depth, err);
		r = finish(d, "narrow", NULL, r, err);
		d->caps &= t->caps;
		if (d->threads > t->threads)
			d->threads = t->threads;
	}
	if (r < 0) {
		t->close(d->h);
		return r;
	}
	*ret = take_ptr(&d);
	return 0;
}

void
driver_close(struct driver *d)
{
	cleanup_error struct imgd_error *e = NULL;
	const struct imgd_driver *t;

	if (d == NULL)
		return;
	t = &d->info.table;
	if (t->cleanup != NULL && !(d->env.flags & IMGD_OPEN_READONLY) &&
	    finish(d, "cleanup", NULL, (t->cleanup)(d->h, &e), &e) < 0)
		log_warn("%s, ignoring", imgd_error_msg(e));
	t->close(d->h);
	driver_free(d);
}

const char *
driver_name(const struct driver *d)
{
	return d->info.table.name;
}

bool
driver_has(const struct driver *d, uint32_t cap)
{
	return (d->caps & cap) != 0;
}

uint32_t
driver_max_depth(const struct driver *d)
{
	return d->max_depth;
}

bool
driver_has_own_dir(const struct driver *d)
{
	return d->info.table.own_dir != NULL;
}

bool
driver_has_changes(const struct driver *d)
{
	return d->info.table.changes != NULL;
}

/* ---- operations ---- */

/* create and create_rw: the parent is read meanwhile. */
static int
create(struct driver *d, const char *op,
    int (*fn)(void *, const char *, const char *,
	const struct imgd_layer_opts *, struct imgd_error **),
    const char *id, const char *parent, const struct imgd_layer_opts *opts,
    struct imgd_error **err)
{
	bool has_parent = parent != NULL && d->threads == IMGD_THREADS_PER_LAYER;
	struct held h, hp;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	if (parent != NULL && !digest_is_hex(parent))
		return bad_id(d, parent, err);
	hold(d, &h, id, EXCLUSIVE);
	if (has_parent)
		hold(d, &hp, parent, SHARED);
	r = fn(d->h, id, parent, opts, err);
	if (has_parent)
		release(d, &hp);
	release(d, &h);
	return finish(d, op, id, r, err);
}

int
driver_create(struct driver *d, const char *id, const char *parent,
    struct imgd_error **err)
{
	const struct imgd_layer_opts opts = { .struct_size = sizeof(opts) };

	return create(d, "create", d->info.table.create, id, parent, &opts,
	    err);
}

int
driver_create_rw(struct driver *d, const char *id, const char *parent,
    uint64_t quota_bytes, struct imgd_error **err)
{
	const struct imgd_layer_opts opts = {
		.struct_size = sizeof(opts),
		.quota_bytes = quota_bytes,
	};

	if (!driver_has(d, IMGD_CAP_RW) || d->info.table.create_rw == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "driver %s: has no writable layers", driver_name(d));
	if (quota_bytes > 0 && !driver_has(d, IMGD_CAP_QUOTA))
		return imgd_error_set(err, EOPNOTSUPP,
		    "driver %s: cannot limit the size of a writable layer",
		    driver_name(d));
	return create(d, "create_rw", d->info.table.create_rw, id, parent,
	    &opts, err);
}

int
driver_seal(struct driver *d, const char *id, struct imgd_error **err)
{
	struct held h;
	int r = 0;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	hold(d, &h, id, EXCLUSIVE);
	if (d->info.table.seal != NULL)
		r = d->info.table.seal(d->h, id, err);
	release(d, &h);
	return finish(d, "seal", id, r, err);
}

int
driver_flush(struct driver *d, struct imgd_error **err)
{
	struct held h;
	int r;

	hold(d, &h, NULL, EXCLUSIVE);
	if (d->info.table.flush != NULL)
		r = d->info.table.flush(d->h, err);
	else if (syncfs(d->home_fd) < 0)
		r = imgd_error_set(err, errno, "syncfs: %s", strerror(errno));
	else
		r = 0;
	if (r >= 0)
		r = fs_check_alive(d->home_fd, err);
	release(d, &h);
	return finish(d, "flush", NULL, r, err);
}

int
driver_replace(struct driver *d, const char *id, const char *with,
    struct imgd_error **err)
{
	struct held h;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	if (!digest_is_hex(with))
		return bad_id(d, with, err);
	if (d->info.table.replace == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "driver %s: cannot replace layers", driver_name(d));
	/* It concerns both, and mounts of what is on them. */
	hold(d, &h, NULL, ALONE);
	r = d->info.table.replace(d->h, id, with, err);
	release(d, &h);
	return finish(d, "replace", id, r, err);
}

/* The user of id in that kind; kind ~0: in any. */
#define ANY_KIND (~(uint32_t)0)

static struct user **
find_user(struct driver *d, const char *id, uint32_t kind)
{
	struct user **p;

	for (p = &d->users; *p != NULL; p = &(*p)->next)
		if (strcmp((*p)->id, id) == 0 &&
		    (kind == ANY_KIND || (*p)->kind == kind))
			break;
	return p;
}

bool
driver_has_users(struct driver *d)
{
	bool has_users;

	pthread_mutex_lock(&d->mutex);
	has_users = d->users != NULL;
	pthread_mutex_unlock(&d->mutex);
	return has_users;
}

int
driver_remove(struct driver *d, const char *id, struct imgd_error **err)
{
	struct held h;
	bool is_used;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	hold(d, &h, id, EXCLUSIVE);
	pthread_mutex_lock(&d->mutex);
	is_used = *find_user(d, id, ANY_KIND) != NULL;
	pthread_mutex_unlock(&d->mutex);
	if (is_used)
		r = imgd_error_set(err, EBUSY, "in use");
	else
		r = d->info.table.remove(d->h, id, err);
	release(d, &h);
	return finish(d, "remove", id, r, err);
}

int
driver_exists(struct driver *d, const char *id, struct imgd_error **err)
{
	struct held h;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	hold(d, &h, id, SHARED);
	r = d->info.table.exists(d->h, id, err);
	release(d, &h);
	return finish(d, "exists", id, r, err);
}

int
driver_list(struct driver *d, imgd_layer_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct held h;
	int r;

	if (d->info.table.list == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "driver %s: cannot list its layers", driver_name(d));
	hold(d, &h, NULL, EXCLUSIVE);
	r = d->info.table.list(d->h, cb, ctx, err);
	release(d, &h);
	return finish(d, "list", NULL, r, err);
}

int
driver_get(struct driver *d, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	struct user *u, *fresh;
	struct held h;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	if (kind == IMGD_GET_BLOCK && !driver_has(d, IMGD_CAP_BLOCKDEV))
		return imgd_error_set(err, EOPNOTSUPP,
		    "driver %s: has no block devices", driver_name(d));
	fresh = calloc(1, sizeof(*fresh));
	if (fresh == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	hold(d, &h, id, EXCLUSIVE);
	r = d->info.table.get(d->h, id, kind, ret_path, err);
	pthread_mutex_lock(&d->mutex);
	u = *find_user(d, id, kind);
	if (r >= 0 && u != NULL) {
		u->count++;
	} else if (r >= 0) {
		memcpy(fresh->id, id, sizeof(fresh->id));
		fresh->kind = kind;
		fresh->count = 1;
		fresh->next = d->users;
		d->users = fresh;
		fresh = NULL;
	}
	pthread_mutex_unlock(&d->mutex);
	release(d, &h);
	free(fresh);
	return finish(d, "get", id, r, err);
}

int
driver_put(struct driver *d, const char *id, uint32_t kind,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *none = NULL;
	struct user **p, *u = NULL;
	struct held h;
	int r = 0;

	/* A driver is always given a place for its reason. */
	if (err == NULL)
		err = &none;
	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	hold(d, &h, id, EXCLUSIVE);
	pthread_mutex_lock(&d->mutex);
	p = find_user(d, id, kind);
	if (*p != NULL && --(*p)->count == 0) {
		u = *p;
		*p = u->next;
	}
	pthread_mutex_unlock(&d->mutex);
	if (u != NULL)
		r = d->info.table.put(d->h, id, kind, err);
	if (u != NULL && r == -EBUSY) {
		/* Still mounted, so still in use. */
		u->count = 1;
		pthread_mutex_lock(&d->mutex);
		u->next = d->users;
		d->users = u;
		pthread_mutex_unlock(&d->mutex);
		u = NULL;
	}
	free(u);
	release(d, &h);
	return finish(d, "put", id, r, err);
}

int
driver_own_dir(struct driver *d, const char *id, char **ret_path,
    uint32_t *ret_whiteouts, struct imgd_error **err)
{
	struct held h;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	hold(d, &h, id, SHARED);
	r = d->info.table.own_dir(d->h, id, ret_path, ret_whiteouts, err);
	release(d, &h);
	return finish(d, "own_dir", id, r, err);
}

int
driver_changes(struct driver *d, const char *id, const char *base,
    imgd_change_cb *cb, void *ctx, struct imgd_error **err)
{
	struct held h;
	int r;

	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	hold(d, &h, id, SHARED);
	r = d->info.table.changes(d->h, id, base, cb, ctx, err);
	release(d, &h);
	return finish(d, "changes", id, r, err);
}

int
driver_check(struct driver *d, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct held h;
	int r;

	if (d->info.table.check == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "driver %s: has no check", driver_name(d));
	hold(d, &h, NULL, ALONE);
	if (driver_has_users(d) && !driver_has(d, IMGD_CAP_LIVE_CHECK))
		r = imgd_error_set(err, EBUSY,
		    "cannot be checked while layers are in use");
	else
		r = d->info.table.check(d->h, flags, cb, ctx, err);
	release(d, &h);
	return finish(d, "check", NULL, r, err);
}

struct kv_ctx {
	driver_kv_cb *cb;
	void *ctx;
};

static void
kv_put(void *ctx, const char *key, const char *value)
{
	struct kv_ctx *k = ctx;

	k->cb(k->ctx, key, value);
}

int
driver_status(struct driver *d, driver_kv_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct kv_ctx k = { cb, ctx };
	struct imgd_kv kv = { sizeof(kv), &k, kv_put };
	struct held h;
	int r;

	if (d->info.table.status == NULL)
		return 0;
	hold(d, &h, NULL, EXCLUSIVE);
	r = d->info.table.status(d->h, &kv, err);
	release(d, &h);
	return finish(d, "status", NULL, r, err);
}

int
driver_metadata(struct driver *d, const char *id, driver_kv_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct kv_ctx k = { cb, ctx };
	struct imgd_kv kv = { sizeof(kv), &k, kv_put };
	cleanup_error struct imgd_error *none = NULL;
	struct held h;
	int r;

	if (err == NULL)
		err = &none;
	if (!digest_is_hex(id))
		return bad_id(d, id, err);
	if (d->info.table.metadata == NULL)
		return 0;
	hold(d, &h, id, SHARED);
	r = d->info.table.metadata(d->h, id, &kv, err);
	release(d, &h);
	return finish(d, "metadata", id, r, err);
}
