/*
 * Layers that are made again, because what the store has of them is damaged,
 * or to find whether it is.
 *
 * Such a layer comes under a fresh key, beside the old one.  Sealed and
 * durable, the two exchange their contents; then the fresh key goes, with what
 * was damaged.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pull.h"
#include "core/tree-diff.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "tagstore/health.h"

/* So many files are told by name. */
#define MAX_NAMED 3

bool
pull_repairs(const struct pull *p, const struct layer_row *row)
{
	return p->repair_key[0] != '\0'
	    ? strcmp(row->key, p->repair_key) == 0
	    : row->is_damaged;
}

int
layer_repair_begin(struct pull *p, size_t index, const char *parent,
    struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	char fresh[65];
	int r = str_random_key(fresh, err);

	if (r >= 0)
		r = tagstore_repair_begin(p->engine->store->tags, p->id,
		    driver_name(p->driver), fresh, parent, err);
	if (r >= 0)
		memcpy(l->fresh_key, fresh, sizeof(l->fresh_key));
	return r;
}

/* ---- comparing ---- */

/* Where a layer's own files are; is_got: driver_put is due. */
struct own_files {
	int fd;
	bool is_got;
};

static int
open_own(struct driver *d, const char *key, struct own_files *ret,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	uint32_t whiteouts;
	int r;

	if (driver_has_own_dir(d))
		r = driver_own_dir(d, key, &path, &whiteouts, err);
	else
		r = driver_get(d, key, IMGD_GET_TREE, &path, err);
	if (r < 0)
		return r;
	ret->is_got = !driver_has_own_dir(d);
	ret->fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return ret->fd >= 0 ? 0
			    : imgd_error_set(err, errno, "%s: %s", path,
				  strerror(errno));
}

static void
close_own(struct driver *d, const char *key, struct own_files *o)
{
	close_fd(&o->fd);
	if (o->is_got)
		(void)driver_put(d, key, IMGD_GET_TREE, NULL);
}

struct difference {
	struct strbuf text;
	size_t n;
	/* A directory is told before what changed in it: it waits. */
	char *held;
	int held_kind;
	const atomic_bool *is_cancelled;
};

static void
tell_held(struct difference *d)
{
	static const char *const kinds[] = {
		[IMGD_CHANGE_MODIFY] = "is not what it was in the layer",
		[IMGD_CHANGE_ADD] = "is not in the layer",
		[IMGD_CHANGE_DELETE] = "is missing",
	};

	if (d->held == NULL)
		return;
	if (d->n++ < MAX_NAMED)
		strbuf_printf(&d->text, "%s%s: %s", d->n > 1 ? "; " : "",
		    d->held[1] != '\0' ? d->held + 1 : "/",
		    kinds[d->held_kind]);
	free(d->held);
	d->held = NULL;
}

static int
take_difference(void *ctx, const char *path, int kind)
{
	struct difference *d = ctx;
	size_t len = d->held != NULL ? strlen(d->held) : 0;

	if (d->held != NULL && d->held_kind == IMGD_CHANGE_MODIFY &&
	    strncmp(path, d->held, len) == 0 && path[len] == '/') {
		free(d->held);
		d->held = NULL;
	}
	tell_held(d);
	d->held = strdup(path);
	d->held_kind = kind;
	return d->held != NULL ? 0 : -ENOMEM;
}

static int
is_cancelled(void *ctx)
{
	const struct difference *d = ctx;

	return atomic_load(d->is_cancelled);
}

/* What the stored layer has otherwise than the fresh one: *ret is malloc'ed,
 * NULL if nothing. */
static int
compare(struct pull *p, const char *stored, const char *fresh, char **ret,
    struct imgd_error **err)
{
	struct own_files old = { .fd = -EBADF }, new = { .fd = -EBADF };
	struct difference d = { .text = STRBUF_INIT,
		.is_cancelled = &p->is_cancelled };
	struct tree_diff params = { .own_fd = -EBADF,
		.is_raw = driver_has_own_dir(p->driver),
		.cb = take_difference, .cancelled = is_cancelled, .ctx = &d };
	cleanup_error struct imgd_error *why = NULL;
	int r;

	r = open_own(p->driver, fresh, &old, &why);
	if (r >= 0)
		r = open_own(p->driver, stored, &new, &why);
	params.old_fd = old.fd;
	params.new_fd = new.fd;
	if (r >= 0)
		r = tree_diff(&params, &why);
	tell_held(&d);
	close_own(p->driver, stored, &new);
	close_own(p->driver, fresh, &old);
	if (d.n > MAX_NAMED)
		strbuf_printf(&d.text, "; and %zu more", d.n - MAX_NAMED);
	if (r >= 0 && d.text.is_failed)
		r = -ENOMEM;
	if (r >= 0 && d.n > 0)
		*ret = strbuf_take(&d.text);
	strbuf_done(&d.text);
	return r >= 0 ? 0
	    : why == NULL
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : imgd_error_set(err, -r, "%s", imgd_error_msg(why));
}

/* ---- exchanging ---- */

static int
sync_at(int dir_fd, const char *name, int flags, struct imgd_error **err)
{
	cleanup_close int fd = openat(dir_fd, name,
	    O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags);

	return fd < 0 || fsync(fd) < 0
	    ? imgd_error_set(err, errno, "recipes/%.12s: %s", name,
		  strerror(errno))
	    : 0;
}

/* A driver that has lost the layer altogether gets an empty one, for the
 * exchange. */
static int
make_place(struct pull *p, const char *key, const char *parent,
    struct imgd_error **err)
{
	int r = driver_exists(p->driver, key, err);

	if (r != 0)
		return r;
	r = driver_create(p->driver, key, parent, err);
	return r < 0 ? r : driver_seal(p->driver, key, err);
}

/* The mark of damage goes last: until then it can be done again. */
static int
exchange(struct pull *p, const struct pull_layer *l, const char *parent,
    struct imgd_error **err)
{
	cleanup_close int recipes_fd =
	    fs_open_dir(p->engine->store->root_fd, "recipes", err);
	int r;

	if (recipes_fd < 0)
		return recipes_fd;
	r = sync_at(recipes_fd, l->fresh_key, 0, err);
	if (r >= 0)
		r = make_place(p, l->key, parent, err);
	if (r >= 0)
		r = driver_flush(p->driver, err);
	FAIL_POINT("repair-made");
	if (r >= 0)
		r = driver_replace(p->driver, l->key, l->fresh_key, err);
	if (r < 0)
		return r;
	FAIL_POINT("repair-exchanged");
	if (renameat(recipes_fd, l->fresh_key, recipes_fd, l->key) < 0)
		return imgd_error_set(err, errno, "recipe %.12s: %s", l->key,
		    strerror(errno));
	FAIL_POINT("repair-recipe-moved");
	r = sync_at(recipes_fd, ".", O_DIRECTORY, err);
	return r < 0 ? r : driver_flush(p->driver, err);
}

int
layer_repair(struct pull *p, size_t index, const char *parent,
    struct imgd_error **err)
{
	struct pull_layer *l = &p->layers[index];
	bool exchanges;
	int r = 0;

	if (p->compares)
		r = compare(p, l->key, l->fresh_key, &p->difference, err);
	exchanges = !p->compares ||
	    (p->difference != NULL && !p->only_compares);
	if (r >= 0 && exchanges)
		r = exchange(p, l, parent, err);
	if (r >= 0)
		r = tagstore_repair_end(p->engine->store->tags, l->key,
		    l->fresh_key, exchanges,
		    p->only_compares ? p->difference : NULL, err);
	if (r < 0)
		return r;
	FAIL_POINT("repair-ended");
	log_debug("pull", "layer %.12s is made again", l->key);
	l->fresh_key[0] = '\0';
	p->has_repaired = true;
	return 0;
}
