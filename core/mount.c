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
#include "core/events.h"
#include "core/job.h"
#include "core/layer-damage.h"
#include "core/lock.h"
#include "core/mount.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/log.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

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
tree_clone_mount(const char *path, int *ret_fd, struct imgd_error **err)
{
	return clone_mount(path,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
		MOUNT_ATTR_NOEXEC,
	    ret_fd, err);
}

/* A descriptor on a copy of the mount; what a container may not have is the
 * directory itself. */
static int
open_clone(const char *path, uint64_t attrs, int *ret_fd,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	cleanup_close int tree_fd = -EBADF;
	int fd, r = clone_mount(path, attrs, &tree_fd, &why);

	if (r < 0 && r != -EPERM && r != -ENOSYS)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	/* open_tree gives a path-only descriptor. */
	fd = r < 0 ? open(path, DIR_FLAGS) : openat(tree_fd, ".", DIR_FLAGS);
	if (fd < 0)
		return imgd_error_set(err, errno, "open %s: %s", path,
		    strerror(errno));
	*ret_fd = fd;
	return 0;
}

int
tree_clone(const char *path, int *ret_fd, struct imgd_error **err)
{
	return open_clone(path,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
		MOUNT_ATTR_NOEXEC,
	    ret_fd, err);
}

int
stage_clone(const char *path, int *ret_fd, struct imgd_error **err)
{
	return open_clone(path,
	    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, ret_fd,
	    err);
}

/* -1 if it cannot be had. */
static int
clone_below(int dir_fd)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
		    MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
	};
	cleanup_close int tree_fd = open_tree(dir_fd, "",
	    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
		AT_RECURSIVE);

	if (tree_fd < 0 ||
	    mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr,
		sizeof(attr)) < 0)
		return -1;
	return openat(tree_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int
dir_clone(const char *path, int *ret_fd, struct imgd_error **err)
{
	cleanup_close int dir_fd = open(path,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir_fd < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	return dir_clone_fd(dir_fd, ret_fd, err);
}

int
dir_clone_fd(int dir_fd, int *ret_fd, struct imgd_error **err)
{
	int fd = clone_below(dir_fd);

	if (fd < 0)
		fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	*ret_fd = fd;
	return 0;
}

/* Bind the tree at path onto target. */
static int
bind_tree(const char *path, const char *target, bool is_rw,
    struct imgd_error **err)
{
	cleanup_close int tree_fd = -EBADF;
	int r = clone_mount(path, is_rw ? 0 : MOUNT_ATTR_RDONLY, &tree_fd,
	    err);

	if (r < 0)
		return r;
	if (move_mount(tree_fd, "", AT_FDCWD, target,
		MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return imgd_error_set(err, errno, "mount at %s: %s", target,
		    strerror(errno));
	return 0;
}

/* A mount point of our own for what was given no target. */
static int
own_target(struct engine *e, const char *hex, char **ret_target,
    struct imgd_error **err)
{
	cleanup_close int dir_fd = -EBADF;
	char name[13];
	int r;

	dir_fd = fs_make_open_dir(e->store->root_fd, "mnt", 0700, err);
	if (dir_fd < 0)
		return dir_fd;
	(void)snprintf(name, sizeof(name), "%.12s", hex);
	r = fs_make_dir(dir_fd, name, 0700, err);
	if (r < 0)
		return r;
	if (asprintf(ret_target, "%s/mnt/%s", e->store->root, name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

struct mount_plan {
	char *image, *key, *driver; /* what */
	char *target, *boot;
	const char *kind; /* MOUNT_KIND_* */
	const char *reference; /* what was asked for; borrowed */
	bool is_own;      /* target is below ROOT/mnt */
};

static void
mount_plan_done(struct mount_plan *p)
{
	free(p->image);
	free(p->key);
	free(p->driver);
	free(p->target);
	free(p->boot);
}

/* 1 if name is a container's, else 0. */
static int
plan_container(struct job *job, struct mount_plan *p, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	cleanup(driver_info_done) struct driver_info info = { 0 };
	cleanup_error struct imgd_error *why = NULL;
	const char *driver = job_getenv(job, "driver");
	int r;

	r = tagstore_container(job->engine->store->tags, job->args[0], &row,
	    &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	if (driver != NULL) {
		r = store_load_driver(job->engine->store, driver, &info,
		    err);
		if (r < 0)
			return r;
		if (strcmp(info.table.name, row.driver) != 0)
			return imgd_error_set(err, ENOENT,
			    "container %s is in driver %s", row.name,
			    row.driver);
	}
	if (job_getenv(job, "block") != NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s is a container: only images are handed out as block "
		    "devices",
		    row.name);
	p->kind = MOUNT_KIND_RW;
	p->image = take_ptr(&row.image);
	p->key = take_ptr(&row.key);
	p->driver = take_ptr(&row.driver);
	return 1;
}

/* Find the image, a driver that has it, and its top layer there. */
static int
plan_image(struct job *job, struct mount_plan *p, struct imgd_error **err)
{
	bool is_block = job_getenv(job, "block") != NULL;
	cleanup(layer_row_done) struct layer_row top = { 0 };
	cleanup(image_done) struct image img = { 0 };
	struct engine *e = job->engine;
	int r;

	p->kind = is_block ? MOUNT_KIND_BLOCK : MOUNT_KIND_TREE;
	r = store_find_image(e->store, job->args[0], &p->image, NULL, err);
	if (r >= 0)
		r = store_image_driver(e->store, p->image,
		    job_getenv(job, "driver"),
		    is_block ? IMGD_CAP_BLOCKDEV : 0, &p->driver, err);
	if (r >= 0)
		r = tagstore_image(e->store->tags, p->image, &img, err);
	if (r < 0)
		return r;
	if (img.n_layers == 0)
		return imgd_error_set(err, EINVAL,
		    "image %.19s has no layers to mount", p->image);
	r = tagstore_layer(e->store->tags, p->driver,
	    img.layers[img.n_layers - 1].chain_id, &top, err);
	if (r >= 0)
		p->key = take_ptr(&top.key);
	return r;
}

static int
plan_target(struct job *job, struct mount_plan *p, struct imgd_error **err)
{
	if (job->n_args > 1) {
		p->target = strdup(job->args[1]);
		return p->target != NULL ? 0 : imgd_error_set(err, ENOMEM,
						   "out of memory");
	}
	p->is_own = true;
	return own_target(job->engine,
	    strcmp(p->kind, MOUNT_KIND_RW) == 0 ? p->key : p->image + 7,
	    &p->target, err);
}

/* Record the mount: from then on nobody removes the layer. */
static int
add_row(struct engine *e, struct mount_plan *p, struct imgd_error **err)
{
	struct mount_row row;
	char ns[64];
	int r = fs_boot_id(&p->boot, err);

	if (r < 0)
		return r;
	row = (struct mount_row) {
		.target = p->target,
		.kind = (char *)(uintptr_t)p->kind,
		.image = p->image,
		.key = p->key,
		.driver = p->driver,
		.reference = (char *)(uintptr_t)p->reference,
		.boot_id = p->boot,
		.mnt_ns = (char *)(uintptr_t)lock_mnt_ns(ns),
	};
	return tagstore_mount_add(e->store->tags, &row, err);
}

/* Hand out the device.  Its name is only known when it is there, so that the
 * row comes second; asked for again, it is the same. */
static int
hand_out_device(struct job *job, struct mount_plan *p,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct driver *driver;
	int r;

	r = store_driver(job->engine->store, p->driver, &driver, err);
	if (r >= 0)
		r = driver_get(driver, p->key, IMGD_GET_BLOCK, &p->target,
		    err);
	if (r < 0)
		return r;
	r = add_row(job->engine, p, &why);
	if (r >= 0)
		return 0;
	(void)driver_put(driver, p->key, IMGD_GET_BLOCK, NULL);
	return r == -EEXIST ? 0
			    : imgd_error_set(err, -r, "%s",
				  imgd_error_msg(why));
}

static int
claim_target(struct engine *e, struct mount_plan *p, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = add_row(e, p, &why);

	if (r == -EEXIST)
		return imgd_error_set(err, EEXIST, "%s: already mounted",
		    p->target);
	return r < 0 ? imgd_error_set(err, -r, "%s", imgd_error_msg(why)) : 0;
}

/* All that must not be overtaken by a removal. */
static int
plan_mount(struct job *job, struct mount_plan *p, struct imgd_error **err)
{
	int r = plan_container(job, p, err);

	if (r == 0)
		r = plan_image(job, p, err);
	if (r < 0)
		return r;
	if (strcmp(p->kind, MOUNT_KIND_BLOCK) == 0)
		return hand_out_device(job, p, err);
	r = plan_target(job, p, err);
	return r < 0 ? r : claim_target(job->engine, p, err);
}

static int
get_tree(struct engine *e, struct driver *d, const char *key, char **ret_path,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = driver_get(d, key, IMGD_GET_TREE, ret_path, &why);

	if (r >= 0)
		return r;
	layer_note_unreadable(e, d, key, r, imgd_error_msg(why));
	return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
}

static int
mount_tree(struct engine *e, const struct mount_plan *p,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct driver *driver;
	int r;

	r = store_driver(e->store, p->driver, &driver, err);
	if (r >= 0)
		r = get_tree(e, driver, p->key, &path, err);
	if (r < 0)
		return r;
	FAIL_POINT("mount-got");
	r = bind_tree(path, p->target, strcmp(p->kind, MOUNT_KIND_RW) == 0,
	    err);
	FAIL_POINT("mount-bound");
	if (r < 0)
		(void)driver_put(driver, p->key, IMGD_GET_TREE, NULL);
	return r;
}

/* A mount's actor is the image, or the container. */
static void
event(struct engine *e, const char *action, const char *kind,
    const char *image, const char *key, const char *reference,
    const char *driver, const char *target)
{
	bool is_rw = strcmp(kind, MOUNT_KIND_RW) == 0;
	cleanup_free char *labels = event_labels(e, image);
	const char *const attributes[][2] = { { "name", reference },
		{ "driver", driver }, { "destination", target } };

	engine_event(e, is_rw ? "container" : "image", action,
	    is_rw ? key : image, labels, attributes, 3);
}

/* Its row is there; without the mount, it goes. */
static int
carry_out(struct engine *e, const struct mount_plan *p,
    struct imgd_error **err)
{
	int r = strcmp(p->kind, MOUNT_KIND_BLOCK) != 0 ? mount_tree(e, p, err)
						       : 0;

	if (r < 0) {
		(void)tagstore_mount_gone(e->store->tags, p->target, NULL);
		if (p->is_own)
			(void)rmdir(p->target);
		return r;
	}
	event(e, "mount", p->kind, p->image, p->key, p->reference, p->driver,
	    p->target);
	return 0;
}

int
job_mount(struct job *job, struct imgd_error **err)
{
	cleanup(mount_plan_done) struct mount_plan p = { .reference =
							     job->args[0] };
	struct engine *e = job->engine;
	int r;

	pthread_mutex_lock(&e->plan_mutex);
	r = plan_mount(job, &p, err);
	if (r >= 0)
		store_note_use(e->store, p.image);
	pthread_mutex_unlock(&e->plan_mutex);
	FAIL_POINT("mount-claimed");
	if (r >= 0)
		r = carry_out(e, &p, err);
	if (r >= 0)
		strbuf_puts(&job->result, p.target);
	return r;
}

int
mount_container(struct engine *e, const struct container_row *row,
    const char *target, struct imgd_error **err)
{
	cleanup(mount_plan_done) struct mount_plan p = {
		.image = strdup(row->image),
		.key = strdup(row->key),
		.driver = strdup(row->driver),
		.target = strdup(target),
		.kind = MOUNT_KIND_RW,
		.reference = row->name,
	};
	cleanup(container_row_done) struct container_row now = { 0 };
	int r;

	if (p.image == NULL || p.key == NULL || p.driver == NULL ||
	    p.target == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	pthread_mutex_lock(&e->plan_mutex);
	r = tagstore_container(e->store->tags, row->name, &now, err);
	if (r >= 0)
		r = claim_target(e, &p, err);
	pthread_mutex_unlock(&e->plan_mutex);
	return r < 0 ? r : carry_out(e, &p, err);
}

/* ---- umount ---- */

static int
copy_row(const struct mount_row *row, struct mount_row *to)
{
	*to = (struct mount_row) {
		.target = strdup(row->target),
		.kind = strdup(row->kind),
		.image = strdup(row->image),
		.key = strdup(row->key),
		.driver = strdup(row->driver),
		.reference = strdup(row->reference),
		.boot_id = strdup(row->boot_id),
		.mnt_ns = strdup(row->mnt_ns),
	};
	return to->target != NULL && to->kind != NULL && to->image != NULL &&
		to->key != NULL && to->driver != NULL &&
		to->reference != NULL && to->boot_id != NULL &&
		to->mnt_ns != NULL
	    ? 0
	    : -ENOMEM;
}

struct mount_search {
	const char *typed; /* a target, or a name */
	const char *image; /* its id, or NULL */
	const char *key;   /* of the container, or NULL */
	struct mount_row row; /* owned: the first that was found */
	size_t n_found;
};

static bool
is_meant(const struct mount_search *s, const struct mount_row *row)
{
	if (strcmp(row->target, s->typed) == 0)
		return true;
	if (strcmp(row->kind, MOUNT_KIND_RW) == 0)
		return s->key != NULL && strcmp(row->key, s->key) == 0;
	return s->key == NULL && s->image != NULL &&
	    strcmp(row->image, s->image) == 0;
}

static int
match_mount(void *ctx, const struct mount_row *row)
{
	struct mount_search *s = ctx;

	if (!is_meant(s, row) || s->n_found++ > 0)
		return 0;
	return copy_row(row, &s->row);
}

static int
find_mount(struct engine *e, const char *typed, struct mount_search *s,
    struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row container = { 0 };
	cleanup_free char *image = NULL;
	int r;

	s->typed = typed;
	if (typed[0] != '/' &&
	    tagstore_container(e->store->tags, typed, &container, NULL) < 0)
		(void)store_find_image(e->store, typed, &image, NULL, NULL);
	s->image = image;
	s->key = container.key;
	r = tagstore_mounts(e->store->tags, match_mount, s, err);
	s->image = s->key = NULL;
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	if (s->n_found == 0)
		return imgd_error_set(err, ENOENT, "%s: not mounted by imgd",
		    typed);
	if (s->n_found > 1)
		return imgd_error_set(err, EINVAL,
		    "%s: mounted at several places; name one", typed);
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

static uint32_t
get_kind(const struct mount_row *row)
{
	return strcmp(row->kind, MOUNT_KIND_BLOCK) == 0 ? IMGD_GET_BLOCK
							: IMGD_GET_TREE;
}

static int
undo_mount(struct engine *e, const struct mount_row *row,
    struct imgd_error **err)
{
	struct driver *driver;
	int r;

	r = store_driver(e->store, row->driver, &driver, err);
	if (r < 0)
		return r;
	if (get_kind(row) == IMGD_GET_TREE) {
		if (umount2(row->target, UMOUNT_NOFOLLOW) < 0 &&
		    errno != EINVAL && errno != ENOENT)
			return imgd_error_set(err, errno, "%s: %s",
			    row->target, strerror(errno));
		drop_own_target(e, row->target);
	}
	FAIL_POINT("umount-unbound");
	return driver_put(driver, row->key, get_kind(row), err);
}

int
mount_undo(struct engine *e, const char *typed, struct imgd_error **err)
{
	struct mount_search s = { .n_found = 0 };
	int r;

	/* Two that undo the same one would both give it back to the driver. */
	pthread_mutex_lock(&e->umount_mutex);
	r = find_mount(e, typed, &s, err);
	if (r >= 0)
		r = undo_mount(e, &s.row, err);
	FAIL_POINT("umount-put");
	if (r >= 0) {
		pthread_mutex_lock(&e->plan_mutex);
		r = tagstore_mount_gone(e->store->tags, s.row.target, err);
		pthread_mutex_unlock(&e->plan_mutex);
	}
	pthread_mutex_unlock(&e->umount_mutex);
	if (r >= 0)
		event(e, "unmount", s.row.kind, s.row.image, s.row.key,
		    s.row.reference, s.row.driver, s.row.target);
	mount_row_done(&s.row);
	return r < 0 ? r : engine_reap(e, err);
}

int
job_umount(struct job *job, struct imgd_error **err)
{
	return mount_undo(job->engine, job->args[0], err);
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
gather_mount(void *ctx, const struct mount_row *row)
{
	struct recovery *rec = ctx;
	struct mount_row *rows;

	rows = reallocarray(rec->rows, rec->n_rows + 1, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	rec->rows = rows;
	return copy_row(row, &rows[rec->n_rows++]);
}

/* Whether what the row tells of is still there. */
static bool
is_alive(const struct recovery *rec, const struct mount_row *row)
{
	struct stat st;

	if (strcmp(row->boot_id, rec->boot) != 0)
		return false;
	if (get_kind(row) == IMGD_GET_BLOCK)
		return stat(row->target, &st) == 0 && S_ISBLK(st.st_mode);
	/* What another living namespace has mounted cannot be seen from here:
	 * it counts as in use. */
	if (strcmp(row->mnt_ns, rec->ns) != 0)
		return lock_mnt_ns_lives(row->mnt_ns);
	return fs_is_mount_point(row->target, NULL) > 0;
}

static int
recover_mount(struct recovery *rec, const struct mount_row *row,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	struct engine *e = rec->engine;
	struct driver *driver;
	int r;

	if (!is_alive(rec, row)) {
		log_debug("engine", "mount %s is gone", row->target);
		drop_own_target(e, row->target);
		return tagstore_mount_gone(e->store->tags, row->target, err);
	}
	r = store_driver(e->store, row->driver, &driver, err);
	return r < 0 ? r : driver_get(driver, row->key, get_kind(row), &path,
			       err);
}

int
mounts_recover(struct engine *e, struct imgd_error **err)
{
	struct recovery rec = { .engine = e };
	cleanup_free char *boot = NULL;
	size_t i;
	int r;

	r = fs_boot_id(&boot, err);
	if (r < 0)
		return r;
	rec.boot = boot;
	(void)lock_mnt_ns(rec.ns);
	r = tagstore_mounts(e->store->tags, gather_mount, &rec, err);
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
