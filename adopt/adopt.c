#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "adopt/adopt-impl.h"
#include "lib/beneath.h"
#include "adopt/tar-split.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/manifest.h"

#define MAX_STORES 8

struct adopt {
	int dir_fd; /* borrowed */
	const struct layout *layout;
	struct store stores[MAX_STORES];
	size_t n_stores;
	adopt_mounter *mounter; /* NULL: there is none */
	void *mounter_ctx;
};

/* ---- the directory ---- */

/* FORMAT with NAME for its one %s; false if it does not fit. */
static bool
put_name(const char *format, const char *name, char *buf, size_t size)
{
	const char *at = strstr(format, "%s");
	int n = snprintf(buf, size, "%.*s%s%s", (int)(at - format), format,
	    name, at + 2);

	return n >= 0 && (size_t)n < size;
}

static void
find_stores(struct adopt *a, const struct layout *layout)
{
	const struct layout_driver *d;
	char path[256];

	a->layout = layout;
	for (d = layout->drivers; d->name != NULL; d++) {
		cleanup_close int fd = -EBADF;

		if (!put_name(layout->mark, d->name, path, sizeof(path)))
			continue;
		fd = beneath_open(a->dir_fd, path, O_DIRECTORY);
		if (fd >= 0 && a->n_stores < MAX_STORES)
			a->stores[a->n_stores++] = (struct store) {
				.layout = layout,
				.driver = d,
				.dir_fd = a->dir_fd,
			};
	}
}

int
adopt_open(int dir_fd, struct adopt **ret, struct imgd_error **err)
{
	struct adopt *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	a->dir_fd = dir_fd;
	find_stores(a, &docker_layout);
	if (a->n_stores == 0)
		find_stores(a, &containers_layout);
	if (a->n_stores == 0) {
		free(a);
		return imgd_error_set(err, EINVAL,
		    "no images of Docker or containers-storage are here");
	}
	*ret = a;
	return 0;
}

void
adopt_close(struct adopt *a)
{
	free(a);
}

const char *
adopt_engine(const struct adopt *a)
{
	return a->layout->engine;
}

void
adopt_set_mounter(struct adopt *a, adopt_mounter *mounter, void *ctx)
{
	a->mounter = mounter;
	a->mounter_ctx = ctx;
}

/* A daemon holds its databases (bbolt) locked as long as it runs. */
bool
adopt_is_live(const struct adopt *a)
{
	static const char *const databases[] = { "volumes/metadata.db",
		"network/files/local-kv.db", "buildkit/cache.db" };
	size_t i;

	for (i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		cleanup_close int fd = beneath_open(a->dir_fd, databases[i],
		    0);

		if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 &&
		    errno == EWOULDBLOCK)
			return true;
	}
	return false;
}

/* ---- the list ---- */

int
images_add(struct adopt_images *images, const char *id, const char *driver,
    struct adopt_image **ret, struct imgd_error **err)
{
	struct adopt_image *items, *img;
	size_t i;

	for (i = 0; i < images->n; i++) {
		img = &images->items[i];
		if (strcmp(img->id, id) == 0 &&
		    strcmp(img->driver, driver) == 0) {
			*ret = img;
			return 0;
		}
	}
	if (images->n >= LIMIT_ADOPT_IMAGES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d images", LIMIT_ADOPT_IMAGES);
	items = reallocarray(images->items, images->n + 1, sizeof(*items));
	if (items == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	images->items = items;
	img = &items[images->n++];
	*img = (struct adopt_image) { .driver = driver };
	memcpy(img->id, id, DIGEST_STR_SIZE);
	*ret = img;
	return 0;
}

int
image_add_name(struct adopt_image *img, const char *name,
    struct imgd_error **err)
{
	char **names;

	if (img->n_names >= LIMIT_ADOPT_NAMES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "an image has more than %d names", LIMIT_ADOPT_NAMES);
	names = reallocarray(img->names, img->n_names + 1, sizeof(*names));
	if (names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	img->names = names;
	names[img->n_names] = strdup(name);
	if (names[img->n_names] == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	img->n_names++;
	return 0;
}

void
adopt_images_done(struct adopt_images *images)
{
	size_t i;

	for (i = 0; i < images->n; i++)
		str_list_free(images->items[i].names,
		    images->items[i].n_names);
	free(images->items);
	*images = (struct adopt_images) { NULL, 0 };
}

int
adopt_list(struct adopt *a, struct adopt_images *ret, struct imgd_error **err)
{
	struct adopt_images images = { NULL, 0 };
	size_t i;
	int r = 0;

	for (i = 0; i < a->n_stores && r >= 0; i++)
		r = a->layout->list(&a->stores[i], &images, err);
	if (r < 0)
		adopt_images_done(&images);
	else
		*ret = images;
	return r;
}

/* ---- one image ---- */

int
found_take_config(struct adopt_found *f, const char *id,
    struct imgd_error **err)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	char digest[DIGEST_STR_SIZE];
	size_t i;
	int r;

	r = digest_of(f->config, f->config_len, digest, err);
	if (r < 0)
		return r;
	if (strcmp(digest, id) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "its config is damaged: it has the digest %s", digest);
	r = image_config_parse(f->config, f->config_len, &c, err);
	if (r < 0)
		return imgd_error_prefix(err, "config");
	f->layers = calloc(c->n_diff_ids + 1, sizeof(*f->layers));
	if (f->layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->n_layers = c->n_diff_ids;
	for (i = 0; i < f->n_layers && r >= 0; i++) {
		struct adopt_layer *l = &f->layers[i];

		memcpy(l->diff_id, c->diff_ids[i], DIGEST_STR_SIZE);
		r = digest_chain(i > 0 ? f->layers[i - 1].chain_id : NULL,
		    l->diff_id, l->chain_id, err);
	}
	return r;
}

int
adopt_find(struct adopt *a, const char *driver, const char *id,
    struct adopt_found **ret, struct imgd_error **err)
{
	cleanup(adopt_found_freep) struct adopt_found *f = calloc(1,
	    sizeof(*f));
	size_t i;
	int r;

	if (f == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->adopt = a;
	for (i = 0; i < a->n_stores; i++)
		if (strcmp(a->stores[i].driver->name, driver) == 0)
			f->store = &a->stores[i];
	if (f->store == NULL || !digest_is_valid(id))
		return imgd_error_set(err, ENOENT, "%s: no such image", id);
	r = a->layout->find(f->store, id, f, err);
	if (r >= 0)
		*ret = take_ptr(&f);
	return r;
}

void
adopt_found_free(struct adopt_found *f)
{
	if (f == NULL)
		return;
	free(f->config);
	free(f->manifest);
	free(f->layers);
	free(f);
}

static int
open_tree(const struct adopt *a, const struct store *s, const char *dir,
    bool *ret_is_unclean, struct imgd_error **err)
{
	char path[256];
	int fd;

	if (s->driver->is_on_devices && a->mounter != NULL)
		return a->mounter(a->mounter_ctx, dir, ret_is_unclean, err);
	if (s->driver->tree == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "layers of %s's storage driver %s cannot be read",
		    s->layout->engine, s->driver->name);
	if (!put_name(s->driver->tree, dir, path, sizeof(path)))
		return imgd_error_set(err, ENAMETOOLONG, "%s", dir);
	fd = beneath_open(s->dir_fd, path, O_DIRECTORY);
	if (fd < 0)
		return imgd_error_set(err, EUCLEAN, "its tree %s: %s", path,
		    strerror(-fd));
	return fd;
}

int
adopt_write_layer(const struct adopt_found *f, size_t i,
    struct imgd_sink *sink, uint64_t *ret_bytes, struct imgd_error **err)
{
	cleanup_close int split_fd = -EBADF, tree_fd = -EBADF;
	bool is_unclean = false;
	char dir[65];
	int r;

	r = f->store->layout->open_layer(f->store, &f->layers[i], &split_fd,
	    dir, err);
	if (r < 0)
		return r;
	tree_fd = open_tree(f->adopt, f->store, dir, &is_unclean, err);
	if (tree_fd < 0)
		return tree_fd;
	r = tar_split_write(split_fd, tree_fd, sink, ret_bytes, err);
	if (r < 0 && is_unclean)
		return imgd_error_prefix(err,
		    "its filesystem was not unmounted cleanly");
	return r;
}
