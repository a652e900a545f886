#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/lock.h"
#include "core/mount.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"

static int
clone_mount(const char *path, uint64_t attrs, int *ret_fd,
    struct imgd_error **err)
{
	struct mount_attr attr = { .attr_set = attrs };
	cleanup_close int fd = -EBADF;

	fd = open_tree(AT_FDCWD, path,
	    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (fd < 0)
		return imgd_error_set(err, errno, "open_tree %s: %s", path,
		    strerror(errno));
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return imgd_error_set(err, errno, "mount_setattr %s: %s",
		    path, strerror(errno));
	*ret_fd = take_fd(&fd);
	return 0;
}

int
tree_clone(const char *path, int *ret_fd, struct imgd_error **err)
{
	cleanup_close int tree_fd = -EBADF;
	int fd, r;

	r = clone_mount(path,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
		MOUNT_ATTR_NOEXEC,
	    &tree_fd, err);
	if (r < 0)
		return r;
	/* open_tree gives a path-only descriptor. */
	fd = openat(tree_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return imgd_error_set(err, errno, "open %s: %s", path,
		    strerror(errno));
	*ret_fd = fd;
	return 0;
}

static int
boot_id(char **ret, struct imgd_error **err)
{
	int r = fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64,
	    ret, NULL, err);

	if (r >= 0)
		(*ret)[strcspn(*ret, "\n")] = '\0';
	return r;
}

/* Bind the tree at path read-only onto target. */
static int
bind_readonly(const char *path, const char *target, struct imgd_error **err)
{
	cleanup_close int tree_fd = -EBADF;
	int r = clone_mount(path, MOUNT_ATTR_RDONLY, &tree_fd, err);

	if (r < 0)
		return r;
	if (move_mount(tree_fd, "", AT_FDCWD, target,
		MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return imgd_error_set(err, errno, "mount at %s: %s", target,
		    strerror(errno));
	return 0;
}

/* A mount point of our own for an image that was given no target. */
static int
own_target(struct engine *e, const char *image, char **ret_target,
    struct imgd_error **err)
{
	cleanup_close int dir_fd = -EBADF;
	char name[13];
	int r;

	dir_fd = fs_make_open_dir(e->store->root_fd, "mnt", 0700, err);
	if (dir_fd < 0)
		return dir_fd;
	(void)snprintf(name, sizeof(name), "%.12s", image + 7);
	r = fs_make_dir(dir_fd, name, 0700, err);
	if (r < 0)
		return r;
	if (asprintf(ret_target, "%s/mnt/%s", e->store->root, name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

struct mount_plan {
	char *image, *target, *driver, *boot;
	struct layer_row layer;
	bool is_own; /* target is below ROOT/mnt */
};

static void
mount_plan_done(struct mount_plan *p)
{
	free(p->image);
	free(p->target);
	free(p->driver);
	free(p->boot);
	layer_row_done(&p->layer);
}

/* Find image, driver and top layer, and record the mount: from then on
 * nobody removes the layer. */
static int
plan_mount(struct job *job, struct mount_plan *p, struct imgd_error **err)
{
	cleanup(image_done) struct image img = { 0 };
	struct engine *e = job->engine;
	struct mount_row row;
	char ns[64];
	int r;

	r = store_find_image(e->store, job->args[0], &p->image, NULL, err);
	if (r >= 0)
		r = store_image_driver(e->store, p->image,
		    job_getenv(job, "driver"), &p->driver, err);
	if (r >= 0)
		r = tagstore_image(e->store->tags, p->image, &img, err);
	if (r < 0)
		return r;
	if (img.n_layers == 0)
		return imgd_error_set(err, EINVAL,
		    "image %.19s has no layers to mount", p->image);
	r = tagstore_layer(e->store->tags, p->driver,
	    img.layers[img.n_layers - 1].chain_id, &p->layer, err);
	if (r >= 0)
		r = boot_id(&p->boot, err);
	if (r >= 0 && job->n_args > 1)
		p->target = strdup(job->args[1]);
	else if (r >= 0) {
		p->is_own = true;
		r = own_target(e, p->image, &p->target, err);
	}
	if (r < 0)
		return r;
	if (p->target == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	row = (struct mount_row) {
		.target = p->target,
		.image = p->image,
		.key = p->layer.key,
		.driver = p->driver,
		.reference = job->args[0],
		.boot_id = p->boot,
		.mnt_ns = (char *)(uintptr_t)lock_mnt_ns(ns),
	};
	r = tagstore_mount_add(e->store->tags, &row, err);
	if (r == -EEXIST)
		(void)imgd_error_prefix(err, "%s: already mounted", p->target);
	return r;
}

int
job_mount(struct job *job, struct imgd_error **err)
{
	cleanup(mount_plan_done) struct mount_plan p = { 0 };
	cleanup_free char *path = NULL;
	struct engine *e = job->engine;
	struct driver *driver;
	int r;

	pthread_mutex_lock(&e->plan_mutex);
	r = plan_mount(job, &p, err);
	pthread_mutex_unlock(&e->plan_mutex);
	if (r < 0)
		return r;
	r = store_driver(e->store, p.driver, &driver, err);
	if (r >= 0)
		r = driver_get(driver, p.layer.key, &path, err);
	if (r >= 0) {
		r = bind_readonly(path, p.target, err);
		if (r < 0)
			(void)driver_put(driver, p.layer.key, NULL);
	}
	if (r < 0) {
		(void)tagstore_mount_gone(e->store->tags, p.target, NULL);
		if (p.is_own)
			(void)rmdir(p.target);
		return r;
	}
	strbuf_puts(&job->result, p.target);
	return 0;
}

/* ---- umount ---- */

struct mount_search {
	const char *typed; /* a target, or a name */
	const char *image; /* its id, or NULL */
	char *target, *key, *driver;
	size_t n_found;
};

static void
mount_search_done(struct mount_search *s)
{
	free(s->target);
	free(s->key);
	free(s->driver);
}

static int
match_mount(void *ctx, const struct mount_row *row)
{
	struct mount_search *s = ctx;

	if (strcmp(row->target, s->typed) != 0 &&
	    (s->image == NULL || strcmp(row->image, s->image) != 0))
		return 0;
	if (s->n_found++ > 0)
		return 0;
	s->target = strdup(row->target);
	s->key = strdup(row->key);
	s->driver = strdup(row->driver);
	return 0;
}

static int
find_mount(struct engine *e, const char *typed, struct mount_search *s,
    struct imgd_error **err)
{
	cleanup_free char *image = NULL;
	int r;

	s->typed = typed;
	if (typed[0] != '/')
		(void)store_find_image(e->store, typed, &image, NULL, NULL);
	s->image = image;
	r = tagstore_mounts(e->store->tags, match_mount, s, err);
	if (r < 0)
		return r;
	if (s->n_found == 0)
		return imgd_error_set(err, ENOENT, "%s: not mounted by imgd",
		    typed);
	if (s->n_found > 1)
		return imgd_error_set(err, EINVAL,
		    "%s: mounted at several places; name one", typed);
	if (s->target == NULL || s->key == NULL || s->driver == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

/* Remove target's directory if it is one of ours. */
static void
drop_own_target(struct engine *e, const char *target)
{
	size_t n = strlen(e->store->root);

	if (strncmp(target, e->store->root, n) == 0 &&
	    strncmp(target + n, "/mnt/", 5) == 0)
		(void)rmdir(target);
}

int
job_umount(struct job *job, struct imgd_error **err)
{
	cleanup(mount_search_done) struct mount_search s = { 0 };
	struct engine *e = job->engine;
	struct driver *driver;
	int r;

	r = find_mount(e, job->args[0], &s, err);
	if (r >= 0)
		r = store_driver(e->store, s.driver, &driver, err);
	if (r < 0)
		return r;
	if (umount2(s.target, UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
	    errno != ENOENT)
		return imgd_error_set(err, errno, "%s: %s", s.target,
		    strerror(errno));
	drop_own_target(e, s.target);
	r = driver_put(driver, s.key, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&e->plan_mutex);
	r = tagstore_mount_gone(e->store->tags, s.target, err);
	pthread_mutex_unlock(&e->plan_mutex);
	return r < 0 ? r : engine_reap(e, err);
}

/* ---- recovery ---- */

struct recovery {
	struct engine *engine;
	const char *boot;
	char ns[64];
	struct mount_row *rows;
	size_t n_rows;
};

static int
copy_mount(void *ctx, const struct mount_row *row)
{
	struct recovery *rec = ctx;
	struct mount_row *rows, *to;

	rows = reallocarray(rec->rows, rec->n_rows + 1, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	rec->rows = rows;
	to = &rows[rec->n_rows++];
	*to = (struct mount_row) {
		.target = strdup(row->target),
		.key = strdup(row->key),
		.driver = strdup(row->driver),
		.boot_id = strdup(row->boot_id),
		.mnt_ns = strdup(row->mnt_ns),
	};
	return to->target && to->key && to->driver && to->boot_id && to->mnt_ns
	    ? 0
	    : -ENOMEM;
}

static int
recover_mount(struct recovery *rec, const struct mount_row *row,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct engine *e = rec->engine;
	struct driver *driver;
	bool is_alive;
	int r;

	/* What another living namespace has mounted cannot be seen from here:
	 * it counts as in use. */
	is_alive = strcmp(row->boot_id, rec->boot) == 0 &&
	    (strcmp(row->mnt_ns, rec->ns) != 0
		    ? lock_mnt_ns_lives(row->mnt_ns)
		    : fs_is_mount_point(row->target, NULL) > 0);
	if (!is_alive) {
		log_debug("engine", "mount %s is gone", row->target);
		drop_own_target(e, row->target);
		return tagstore_mount_gone(e->store->tags, row->target, err);
	}
	r = store_driver(e->store, row->driver, &driver, err);
	return r < 0 ? r : driver_get(driver, row->key, &path, err);
}

int
mounts_recover(struct engine *e, struct imgd_error **err)
{
	struct recovery rec = { .engine = e };
	cleanup_free char *boot = NULL;
	size_t i;
	int r;

	r = boot_id(&boot, err);
	if (r < 0)
		return r;
	rec.boot = boot;
	(void)lock_mnt_ns(rec.ns);
	r = tagstore_mounts(e->store->tags, copy_mount, &rec, err);
	if (r == -ENOMEM)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < rec.n_rows; i++) {
		cleanup_error struct imgd_error *why = NULL;

		if (r >= 0 && recover_mount(&rec, &rec.rows[i], &why) < 0)
			log_warn("mount %s: %s, ignoring", rec.rows[i].target,
			    imgd_error_msg(why));
		mount_row_done(&rec.rows[i]);
	}
	free(rec.rows);
	return r;
}
