/*
 * Docker's data directory, since 1.10: image/DRIVER has imagedb (configs),
 * layerdb (a directory per chain id) and repositories.json (names).  Source:
 * moby image/fs.go, layer/filestore.go, reference/store.go.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adopt/adopt-impl.h"
#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"

#define MAX_LINE 128 /* diff, parent and cache-id hold one id each */

/* ---- names ---- */

static int
add_named(const struct store *s, struct adopt_images *images,
    struct json_object *refs, struct imgd_error **err)
{
	struct adopt_image *img;
	int r;

	json_object_object_foreach(refs, name, value) {
		const char *id = json_object_get_string(value);

		if (!json_object_is_type(value, json_type_string) ||
		    !digest_is_valid(id))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "the image of \"%s\" has no valid id", name);
		r = images_add(images, id, s->driver->name, &img, err);
		if (r >= 0)
			r = image_add_name(img, name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int
parse_names(const struct store *s, const char *text, size_t len,
    struct adopt_images *images, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	struct json_object *repositories = NULL;
	int r;

	r = json_get_root(text, len, &root, err);
	if (r >= 0)
		r = json_get_object(root, "Repositories", &repositories, err);
	if (r < 0 || repositories == NULL)
		return r;
	json_object_object_foreach(repositories, name, refs) {
		if (!json_object_is_type(refs, json_type_object))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "\"%s\" is not an object", name);
		r = add_named(s, images, refs, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A directory without names is one in which nothing was tagged. */
static int
list_names(const struct store *s, struct adopt_images *images,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *text = NULL;
	char path[256];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "image/%s/repositories.json",
	    s->driver->name);
	r = beneath_read(s->dir_fd, path, LIMIT_ADOPT_INDEX_BYTES, &text, &len,
	    &e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	r = parse_names(s, text, len, images, err);
	return r < 0 ? imgd_error_prefix(err, "%s", path) : 0;
}

/* ---- images ---- */

static int
list_configs(const struct store *s, struct adopt_images *images,
    struct imgd_error **err)
{
	cleanup_closedir DIR *d = NULL;
	struct adopt_image *img;
	struct dirent *de;
	char path[256], id[DIGEST_STR_SIZE];
	int fd;

	(void)snprintf(path, sizeof(path), "image/%s/imagedb/content/sha256",
	    s->driver->name);
	fd = beneath_open(s->dir_fd, path, O_DIRECTORY);
	if (fd < 0)
		return imgd_error_set(err, -fd, "%s: %s", path, strerror(-fd));
	d = fdopendir(fd);
	if (d == NULL) {
		cleanup_closep(&fd);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	while (errno = 0, (de = readdir(d)) != NULL) {
		int r;

		if (!digest_is_hex(de->d_name))
			continue;
		(void)snprintf(id, sizeof(id), "sha256:%.64s", de->d_name);
		r = images_add(images, id, s->driver->name, &img, err);
		if (r < 0)
			return r;
	}
	if (errno != 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	return 0;
}

/* Images that others were built on keep no name: steps of a build. */
static void
mark_steps(const struct store *s, struct adopt_images *images)
{
	size_t i, k;

	for (i = 0; i < images->n; i++) {
		cleanup_free char *parent = NULL;
		char path[256];

		(void)snprintf(path, sizeof(path),
		    "image/%s/imagedb/metadata/sha256/%s/parent",
		    s->driver->name, digest_hex(images->items[i].id));
		if (beneath_read(s->dir_fd, path, MAX_LINE, &parent,
			/* ret_len= */ NULL, NULL) < 0)
			continue;
		for (k = 0; k < images->n; k++)
			if (strcmp(images->items[k].id, parent) == 0 &&
			    images->items[k].n_names == 0)
				images->items[k].is_step = true;
	}
}

static int
docker_list(const struct store *s, struct adopt_images *images,
    struct imgd_error **err)
{
	int r = list_names(s, images, err);

	if (r >= 0)
		r = list_configs(s, images, err);
	if (r >= 0)
		mark_steps(s, images);
	return r;
}

static int
docker_find(const struct store *s, const char *id, struct adopt_found *f,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char path[256];
	int r;

	(void)snprintf(path, sizeof(path),
	    "image/%s/imagedb/content/sha256/%s", s->driver->name,
	    digest_hex(id));
	r = beneath_read(s->dir_fd, path, LIMIT_CONFIG_BYTES, &f->config,
	    &f->config_len, &e);
	if (r == -ENOENT)
		return imgd_error_set(err, ENOENT,
		    "a name points to it, but it is not there");
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	return found_take_config(f, id, err);
}

/* ---- layers ---- */

static int
read_line(int dir_fd, const char *name, char **ret, struct imgd_error **err)
{
	int r = beneath_read(dir_fd, name, MAX_LINE, ret, /* ret_len= */ NULL,
	    err);

	if (r >= 0)
		(*ret)[strcspn(*ret, "\n")] = '\0';
	return r < 0 ? imgd_error_prefix(err, "its metadata") : 0;
}

static int
docker_open_layer(const struct store *s, const struct adopt_layer *l,
    int *ret_split_fd, char ret_dir[65], struct imgd_error **err)
{
	cleanup_free char *diff_id = NULL, *cache_id = NULL;
	cleanup_close int dir_fd = -EBADF, fd = -EBADF;
	char path[256];
	int r;

	(void)snprintf(path, sizeof(path), "image/%s/layerdb/sha256/%s",
	    s->driver->name, digest_hex(l->chain_id));
	dir_fd = beneath_open(s->dir_fd, path, O_DIRECTORY);
	if (dir_fd < 0)
		return imgd_error_set(err, EUCLEAN, "its metadata: %s: %s",
		    path, strerror(-dir_fd));
	r = read_line(dir_fd, "diff", &diff_id, err);
	if (r >= 0)
		r = read_line(dir_fd, "cache-id", &cache_id, err);
	if (r < 0)
		return r;
	if (strcmp(diff_id, l->diff_id) != 0)
		return imgd_error_set(err, EUCLEAN,
		    "its metadata is another layer's: \"%s\"", diff_id);
	if (!digest_is_hex(cache_id))
		return imgd_error_set(err, EUCLEAN,
		    "its metadata: \"%s\" is no cache-id", cache_id);
	fd = beneath_open(dir_fd, "tar-split.json.gz", 0);
	if (fd < 0)
		return imgd_error_set(err, EUCLEAN,
		    "its tar-split, without which its tar cannot be had: %s",
		    strerror(-fd));
	memcpy(ret_dir, cache_id, 65);
	*ret_split_fd = take_fd(&fd);
	return 0;
}

static const struct layout_driver docker_drivers[] = {
	{ .name = "overlay2", .tree = "overlay2/%s/diff" },
	{ .name = "overlay", .tree = "overlay/%s/root" },
	{ .name = "fuse-overlayfs", .tree = "fuse-overlayfs/%s/diff" },
	{ .name = "aufs", .tree = "aufs/diff/%s" },
	{ .name = "btrfs", .tree = "btrfs/subvolumes/%s" },
	{ .name = "vfs", .tree = "vfs/dir/%s" },
	{ .name = ADOPT_DEVICEMAPPER, .is_on_devices = true },
	{ .name = "zfs" },
	{ .name = NULL },
};

const struct layout docker_layout = {
	.engine = "Docker",
	.drivers = docker_drivers,
	.mark = "image/%s/imagedb/content/sha256",
	.list = docker_list,
	.find = docker_find,
	.open_layer = docker_open_layer,
};
