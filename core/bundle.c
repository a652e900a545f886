/*
 * The bundle jobs: a directory that an OCI runtime runs, with an image's
 * settings as config.json and a writable layer mounted as its root.
 *
 * A file in the directory says what was made.  It is there before anything
 * else and goes last, so that a directory which a crash left half-made can be
 * told from somebody else's; the layer is not there for others until the
 * directory is whole.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bundle-config.h"
#include "core/containers.h"
#include "core/engine.h"
#include "core/image-user.h"
#include "core/job.h"
#include "core/mount.h"
#include "lib/cleanup-json.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"
#include "registry/manifest.h"

#define MARKER   ".imgd-bundle"
#define CONFIG   "config.json"
#define ROOTFS   "rootfs"
#define DIR_MODE 0700

struct bundle {
	struct engine *engine;
	int dir_fd;
	char *path;   /* of the directory, without links */
	char *rootfs; /* likewise */
	/* what the marker says */
	char *name;   /* the container's; NULL: there is no marker */
	char key[65];
	bool is_own; /* the directory was made, too */
};

static void
bundle_done(struct bundle *b)
{
	close_fd(&b->dir_fd);
	free(b->path);
	free(b->rootfs);
	free(b->name);
}

static int
fail(const struct bundle *b, const char *name, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s/%s: %s", b->path, name,
	    strerror(errno));
}

static int
open_dir(struct bundle *b, const char *path, bool creates,
    struct imgd_error **err)
{
	int r;

	if (*path != '/')
		return imgd_error_set(err, EINVAL, "%s: not an absolute path",
		    path);
	if (creates && mkdir(path, DIR_MODE) == 0)
		b->is_own = true;
	else if (creates && errno != EEXIST)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	b->dir_fd = open(path,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (b->dir_fd < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	r = fs_real_path(b->dir_fd, &b->path, err);
	if (r >= 0 && asprintf(&b->rootfs, "%s/" ROOTFS, b->path) < 0)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

/* ---- the marker ---- */

static int
not_ours(const struct bundle *b, const char *why, struct imgd_error **err)
{
	return imgd_error_set(err, EINVAL,
	    "%s: not a bundle that imgd made: %s", b->path, why);
}

static int
parse_marker(struct bundle *b, const char *text, struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	const char *dir = NULL, *name = NULL, *key = NULL;
	int r = json_get_root(text, strlen(text), &o, err);

	if (r >= 0)
		r = json_get_str(o, "directory", &dir, err);
	if (r >= 0)
		r = json_get_str(o, "name", &name, err);
	if (r >= 0)
		r = json_get_str(o, "key", &key, err);
	if (r >= 0)
		r = json_get_bool(o, "own-directory", &b->is_own, err);
	if (r < 0)
		return imgd_error_prefix(err, "%s/" MARKER, b->path);
	if (dir == NULL || name == NULL || key == NULL || strlen(key) != 64)
		return not_ours(b, MARKER " says too little", err);
	/* Else who may rename directories chooses what is removed. */
	if (strcmp(dir, b->path) != 0)
		return imgd_error_set(err, EINVAL,
		    "%s: made as %s, and moved since", b->path, dir);
	memcpy(b->key, key, sizeof(b->key));
	b->name = strdup(name);
	return b->name != NULL ? 0
			       : imgd_error_set(err, ENOMEM, "out of memory");
}

/* 1; 0: there is none. */
static int
read_marker(struct bundle *b, struct imgd_error **err)
{
	cleanup_close int fd = openat(b->dir_fd, MARKER,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	cleanup_free char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(b, MARKER, err);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 0022) != 0)
		return not_ours(b, "others may write " MARKER, err);
	r = fs_read_fd(fd, MARKER, LIMIT_BUNDLE_BYTES, &text, NULL, err);
	if (r >= 0)
		r = parse_marker(b, text, err);
	return r < 0 ? r : 1;
}

static int
write_file(struct bundle *b, const char *name, const char *text,
    struct imgd_error **err)
{
	cleanup_close int fd = openat(b->dir_fd, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return fail(b, name, err);
	r = fs_write_all(fd, text, strlen(text), err);
	if (r < 0)
		return imgd_error_prefix(err, "%s/%s", b->path, name);
	return fsync(fd) < 0 || fsync(b->dir_fd) < 0 ? fail(b, name, err) : 0;
}

static int
write_marker(struct bundle *b, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	int r;

	strbuf_puts(&sb, "{\"directory\":");
	strbuf_json(&sb, b->path);
	strbuf_puts(&sb, ",\"name\":");
	strbuf_json(&sb, b->name);
	strbuf_printf(&sb, ",\"key\":\"%s\",\"own-directory\":%s}\n", b->key,
	    b->is_own ? "true" : "false");
	r = sb.is_failed ? imgd_error_set(err, ENOMEM, "out of memory")
			 : write_file(b, MARKER, sb.data, err);
	strbuf_done(&sb);
	return r;
}

/* The container that the marker means: 1; 0: it is gone. */
static int
find_container(const struct bundle *b, struct container_row *row,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = tagstore_container(b->engine->store->tags, b->name, row, &why);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	/* Another one may have got the name since. */
	return strcmp(row->key, b->key) == 0;
}

/* ---- files ---- */

/* Remove what was made in the directory, the marker last. */
static int
remove_files(struct bundle *b, struct imgd_error **err)
{
	if (unlinkat(b->dir_fd, CONFIG, 0) < 0 && errno != ENOENT)
		return fail(b, CONFIG, err);
	if (unlinkat(b->dir_fd, ROOTFS, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return fail(b, ROOTFS, err);
	if (unlinkat(b->dir_fd, MARKER, 0) < 0 && errno != ENOENT)
		return fail(b, MARKER, err);
	(void)fsync(b->dir_fd);
	return 0;
}

/* Not if somebody has put something else there. */
static void
remove_dir(const struct bundle *b)
{
	if (b->is_own)
		(void)rmdir(b->path);
}

static int
check_empty(const struct bundle *b, struct imgd_error **err)
{
	int fd = openat(b->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (dir == NULL) {
		cleanup_closep(&fd);
		return fail(b, ".", err);
	}
	while ((de = readdir(dir)) != NULL)
		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0)
			return imgd_error_set(err, ENOTEMPTY,
			    "%s: not empty", b->path);
	return 0;
}

/* Make room: an empty directory stays, what a crash left goes. */
static int
clear_dir(struct bundle *b, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	bool is_made = b->is_own;
	int r = read_marker(b, err);

	if (r > 0) {
		r = find_container(b, &row, err);
		if (r > 0)
			return imgd_error_set(err, EEXIST,
			    "%s: it is the bundle of %s already", b->path,
			    b->name);
		if (r == 0)
			r = remove_files(b, err);
	} else if (r == 0) {
		b->is_own = is_made;
	}
	return r < 0 ? r : check_empty(b, err);
}

/* ---- config.json ---- */

/* Whom the image means by its user: its own files tell. */
static int
find_user(struct engine *e, const struct container_row *row, const char *spec,
    struct image_user *ret, struct imgd_error **err)
{
	cleanup_close int tree_fd = -EBADF;
	cleanup_free char *path = NULL;
	struct driver *driver;
	int r;

	r = store_driver(e->store, row->driver, &driver, err);
	if (r >= 0)
		r = driver_get(driver, row->parent, IMGD_GET_TREE, &path, err);
	if (r < 0)
		return r;
	r = tree_clone(path, &tree_fd, err);
	if (r >= 0)
		r = image_user_read(tree_fd, spec, ret, err);
	close_fd(&tree_fd);
	if (r < 0) {
		(void)driver_put(driver, row->parent, IMGD_GET_TREE, NULL);
		return r;
	}
	return driver_put(driver, row->parent, IMGD_GET_TREE, err);
}

static int
make_config(struct job *job, const struct container_row *row, char **ret,
    struct imgd_error **err)
{
	cleanup(image_config_freep) struct image_config *config = NULL;
	cleanup(image_done) struct image img = { 0 };
	cleanup_free char *user_spec = NULL;
	char hostname[13];
	struct bundle_words words = {
		.hostname = hostname,
		.has_terminal = job_getenv(job, "terminal") != NULL,
	};
	cleanup_free const char **command = NULL;
	struct image_user user;
	int r;

	(void)snprintf(hostname, sizeof(hostname), "%.12s", row->key);
	/* The arguments that follow image and directory. */
	command = calloc(job->n_args + 1, sizeof(*command));
	if (command == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (job->n_args > 2)
		memcpy(command, job->args + 2,
		    (job->n_args - 2) * sizeof(*command));
	words.command = command;
	r = tagstore_image(job->engine->store->tags, row->image, &img, err);
	if (r >= 0)
		r = image_config_parse(img.config, img.config_len, &config,
		    err);
	if (r >= 0)
		r = bundle_user(config, &user_spec, err);
	if (r >= 0)
		r = find_user(job->engine, row, user_spec, &user, err);
	return r < 0 ? r : bundle_config(config, &user, &words, ret, err);
}

static int
fill_dir(struct job *job, struct bundle *b, const struct container_row *row,
    struct imgd_error **err)
{
	cleanup_free char *config = NULL;
	int r;

	memcpy(b->key, row->key, sizeof(b->key));
	free(b->name);
	b->name = strdup(row->name);
	if (b->name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = make_config(job, row, &config, err);
	if (r >= 0)
		r = write_marker(b, err);
	if (r >= 0)
		r = fs_make_dir(b->dir_fd, ROOTFS, DIR_MODE, err);
	return r < 0 ? r : write_file(b, CONFIG, config, err);
}

/* ---- the jobs ---- */

/* Make the container and the files, all or nothing. */
static int
make(struct job *job, struct bundle *b, const struct container_spec *spec,
    struct container_row *row, struct imgd_error **err)
{
	int r = container_begin(b->engine, spec, row, err);

	if (r < 0)
		return r;
	r = fill_dir(job, b, row, err);
	if (r < 0)
		container_undo(b->engine, row);
	else
		r = container_ready(b->engine, row, err);
	if (r < 0)
		(void)remove_files(b, NULL);
	return r;
}

static int
make_and_mount(struct job *job, struct bundle *b, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	char key[65], fresh[32];
	struct container_spec spec = {
		.name = job_getenv(job, "name"),
		.image = job->args[0],
		.driver = job_getenv(job, "driver"),
	};
	int r = str_random_key(key, err);

	if (r < 0)
		return r;
	(void)snprintf(fresh, sizeof(fresh), "bundle-%.12s", key);
	if (spec.name == NULL)
		spec.name = fresh;
	r = make(job, b, &spec, &row, err);
	if (r < 0)
		return r;
	r = mount_container(b->engine, &row, b->rootfs, err);
	if (r < 0) {
		(void)container_rm(b->engine, row.name, NULL);
		(void)remove_files(b, NULL);
		return r;
	}
	strbuf_puts(&job->result, "{\"Name\":");
	strbuf_json(&job->result, row.name);
	strbuf_puts(&job->result, ",\"Bundle\":");
	strbuf_json(&job->result, b->path);
	strbuf_printf(&job->result, ",\"Image\":\"%s\",\"Driver\":\"%s\"}",
	    row.image, row.driver);
	return 0;
}

int
job_bundle(struct job *job, struct imgd_error **err)
{
	cleanup(bundle_done) struct bundle b = { .engine = job->engine,
		.dir_fd = -EBADF };
	int r = open_dir(&b, job->args[1], /* creates= */ true, err);

	if (r >= 0)
		r = clear_dir(&b, err);
	if (r < 0)
		return r;
	r = make_and_mount(job, &b, err);
	if (r < 0)
		remove_dir(&b);
	return r;
}

/* One that was made. */
static int
open_bundle(struct bundle *b, const char *path, struct imgd_error **err)
{
	int r = open_dir(b, path, /* creates= */ false, err);

	if (r >= 0)
		r = read_marker(b, err);
	return r == 0 ? not_ours(b, "there is no " MARKER, err) : r;
}

int
job_bundle_mount(struct job *job, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	cleanup(bundle_done) struct bundle b = { .engine = job->engine,
		.dir_fd = -EBADF };
	int r = open_bundle(&b, job->args[0], err);

	if (r >= 0)
		r = find_container(&b, &row, err);
	if (r == 0)
		return imgd_error_set(err, ENOENT,
		    "%s: its writable layer %s was removed", b.path, b.name);
	if (r >= 0)
		r = fs_is_mount_point(b.rootfs, err);
	if (r != 0)
		return r < 0 ? r : 0;
	/* Somebody else unmounted it, and we still think that it is there. */
	(void)mount_undo(b.engine, b.rootfs, NULL);
	return mount_container(b.engine, &row, b.rootfs, err);
}

int
job_bundle_rm(struct job *job, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	cleanup(bundle_done) struct bundle b = { .engine = job->engine,
		.dir_fd = -EBADF };
	cleanup_error struct imgd_error *why = NULL;
	int r = open_bundle(&b, job->args[0], err);

	if (r >= 0)
		r = find_container(&b, &row, err);
	if (r < 0)
		return r;
	if (r > 0) {
		r = mount_undo(b.engine, b.rootfs, &why);
		if (r < 0 && r != -ENOENT)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(why));
		r = container_rm(b.engine, b.name, err);
	}
	if (r >= 0)
		r = remove_files(&b, err);
	if (r >= 0)
		remove_dir(&b);
	return r;
}
