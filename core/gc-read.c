#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "core/gc-read.h"
#include "core/partials.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tagstore/uses.h"

/* ---- layers ---- */

/* The layer's place among the items' layers, or -1. */
static ssize_t
find_layer(const struct gc_reading *r, const char *key)
{
	const struct disk_layer *l = disk_usage_layer(&r->usage, key);

	return l != NULL ? l - r->usage.layers : -1;
}

/* With its recipe, which goes as well.  Of a device only its content is its
 * own; what it has mapped it may share. */
static uint64_t
layer_bytes(const struct disk_layer *l, int recipes_fd)
{
	struct stat st;

	if (fstatat(recipes_fd, l->key, &st, AT_SYMLINK_NOFOLLOW) < 0)
		st.st_blocks = 0;
	return (l->dir != NULL && l->is_measured ? l->bytes
						 : l->content_bytes) +
	    (uint64_t)st.st_blocks * 512;
}

/* The items' layers are the usage's, and behind them those of partials. */
static int
take_layers(struct engine *e, struct gc_reading *r, struct imgd_error **err)
{
	cleanup_close int recipes_fd = fs_open_dir(e->store->root_fd,
	    "recipes", err);
	size_t i;

	if (recipes_fd < 0)
		return recipes_fd;
	r->items.layers = calloc(r->usage.n_layers + 1,
	    sizeof(*r->items.layers));
	if (r->items.layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < r->usage.n_layers; i++) {
		const struct disk_layer *l = &r->usage.layers[i];
		struct gc_layer *to = &r->items.layers[i];

		to->bytes = layer_bytes(l, recipes_fd);
		/* What is being made or unmade is nothing to plan with. */
		to->is_held = l->name != NULL || strcmp(l->state, "ready") != 0;
	}
	r->items.n_layers = r->usage.n_layers;
	return 0;
}

static int
hold(void *ctx, const char *key)
{
	struct gc_reading *r = ctx;
	ssize_t at = find_layer(r, key);

	if (at >= 0)
		r->items.layers[at].is_held = true;
	return 0;
}

/* ---- items ---- */

/* Whether an array of n must grow before one more: at powers of two. */
static bool
is_full(size_t n)
{
	return (n & (n - 1)) == 0;
}

static struct gc_item *
add_item(struct gc_reading *r, const char *name, int64_t used_at_ms)
{
	size_t n = r->items.n, want = n > 0 ? 2 * n : 1;
	struct gc_item *list = r->items.list;
	char (*names)[DIGEST_STR_SIZE] = r->names;

	if (is_full(n)) {
		list = reallocarray(list, want, sizeof(*list));
		if (list != NULL)
			r->items.list = list;
		names = reallocarray(names, want, sizeof(*names));
		if (names != NULL)
			r->names = names;
		if (list == NULL || names == NULL)
			return NULL;
	}
	(void)snprintf(names[n], sizeof(names[n]), "%s", name);
	list[n] = (struct gc_item) { .used_at_ms = used_at_ms,
		.first = r->n_links };
	r->items.n++;
	return &list[n];
}

static int
add_link(struct gc_reading *r, struct gc_item *item, size_t layer)
{
	size_t *links = r->links;

	if (is_full(r->n_links)) {
		links = reallocarray(links,
		    r->n_links > 0 ? 2 * r->n_links : 1, sizeof(*links));
		if (links == NULL)
			return -ENOMEM;
		r->links = links;
	}
	links[r->n_links++] = layer;
	item->n++;
	return 0;
}

static int
take_use(void *ctx, const struct image_use *use)
{
	struct gc_reading *r = ctx;
	struct gc_item *item = NULL;
	ssize_t at;

	if (r->items.n > 0 &&
	    strcmp(r->names[r->items.n - 1], use->image) == 0)
		item = &r->items.list[r->items.n - 1];
	else
		item = add_item(r, use->image, use->used_at_ms);
	/* A layer that came since the layers were read has no place. */
	at = find_layer(r, use->key);
	r->is_failed = item == NULL ||
	    (at >= 0 && add_link(r, item, (size_t)at) < 0);
	return r->is_failed ? -ENOMEM : 0;
}

static int
compare_names(const void *name, const void *item)
{
	return strcmp(name, item);
}

static void
pin(struct gc_reading *r, const char *image)
{
	const char(*found)[DIGEST_STR_SIZE] = NULL;

	if (r->n_images > 0)
		found = bsearch(image, r->names, r->n_images,
		    sizeof(*r->names), compare_names);
	if (found != NULL)
		r->items.list[found - r->names].is_pinned = true;
}

static int
pin_mounted(void *ctx, const struct mount_row *row)
{
	pin(ctx, row->image);
	return 0;
}

static int
pin_container(void *ctx, const struct container_row *row)
{
	pin(ctx, row->image);
	return 0;
}

static int
pin_used(struct engine *e, struct gc_reading *r, struct imgd_error **err)
{
	struct tagstore *tags = e->store->tags;
	size_t i;
	int ret;

	ret = tagstore_mounts(tags, pin_mounted, r, err);
	if (ret >= 0)
		ret = tagstore_containers(tags, pin_container, r, err);
	for (i = 0; ret >= 0 && i < r->n_images; i++) {
		ret = pull_wants_image(e, r->names[i], err);
		if (ret > 0)
			r->items.list[i].is_pinned = true;
	}
	return ret;
}

/* ---- partial blobs ---- */

struct partial_reader {
	struct gc_reading *reading;
	int64_t due_s;
};

static int
take_partial(void *ctx, const char *digest, int64_t used_at, uint64_t bytes)
{
	struct partial_reader *p = ctx;
	struct gc_reading *r = p->reading;
	struct gc_item *item = add_item(r, digest, used_at * 1000);
	struct gc_layer *layers;

	layers = reallocarray(r->items.layers, r->items.n_layers + 1,
	    sizeof(*layers));
	if (layers != NULL)
		r->items.layers = layers;
	if (layers == NULL || item == NULL ||
	    add_link(r, item, r->items.n_layers) < 0) {
		r->is_failed = true;
		return -ENOMEM;
	}
	layers[r->items.n_layers++] = (struct gc_layer) { .bytes = bytes };
	item->is_partial = true;
	item->is_due = used_at < p->due_s;
	return 0;
}

int
gc_read(struct engine *e, const struct disk_usage *before, int64_t due_s,
    struct gc_reading *r, struct imgd_error **err)
{
	struct partial_reader p = { r, due_s };
	struct tagstore *tags = e->store->tags;
	cleanup_error struct imgd_error *why = NULL;
	struct statvfs vfs;
	int ret;

	ret = disk_usage_read(e->store, before, &r->usage, err);
	if (ret >= 0)
		ret = take_layers(e, r, err);
	if (ret < 0)
		return ret;
	ret = tagstore_held_layers(tags, hold, r, &why);
	if (ret >= 0)
		ret = tagstore_image_uses(tags, take_use, r, &why);
	r->n_images = r->items.n;
	if (ret >= 0)
		ret = pin_used(e, r, &why);
	if (ret >= 0)
		ret = partials_each(e->store, take_partial, &p, &why);
	if (ret < 0)
		return r->is_failed
		    ? imgd_error_set(err, ENOMEM, "out of memory")
		    : imgd_error_set(err, -ret, "%s", imgd_error_msg(why));
	r->items.links = r->links;
	r->sum = disk_usage_sum(&r->usage);
	if (fstatvfs(e->store->root_fd, &vfs) < 0)
		return imgd_error_set(err, errno, "%s: %s", e->store->root,
		    strerror(errno));
	r->free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	return 0;
}

void
gc_reading_done(struct gc_reading *r)
{
	disk_usage_done(&r->usage);
	free(r->items.list);
	free(r->items.layers);
	free(r->names);
	free(r->links);
	*r = (struct gc_reading) { .n_images = 0 };
}
