#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "core/partials.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fs-at.h"
#include "lib/log.h"

#define DIR_NAME    "spool"
#define DAY_SECONDS (24 * 60 * 60)
#define ROOM_FACTOR 4 /* free space, as a multiple of the blob */

void
partial_done(struct partial *p)
{
	close_fd(&p->fd);
	partial_row_done(&p->row);
}

bool
partial_exists(struct store *s, const char *blob_digest)
{
	struct partial_row row = { 0 };
	int r = tagstore_partial(s->tags, blob_digest, &row, NULL);

	partial_row_done(&row);
	return r >= 0;
}

/* ---- the rows and their files ---- */

struct item {
	char digest[DIGEST_STR_SIZE];
	int64_t used_at;
	uint64_t bytes; /* of the file; UINT64_MAX: there is none */
	uint64_t disk_bytes;
};

struct items {
	int dir_fd;
	struct item *list; /* the longest unused first */
	size_t n;
};

static void
items_done(struct items *all)
{
	close_fd(&all->dir_fd);
	free(all->list);
}

static int
add_item(void *ctx, const struct partial_row *row)
{
	struct items *all = ctx;
	struct item *list;
	struct stat st;

	if (!digest_is_valid(row->blob_digest))
		return 0;
	list = reallocarray(all->list, all->n + 1, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	all->list = list;
	list += all->n++;
	memcpy(list->digest, row->blob_digest, DIGEST_STR_SIZE);
	list->used_at = row->used_at;
	list->bytes = UINT64_MAX;
	list->disk_bytes = 0;
	if (fstatat(all->dir_fd, digest_hex(row->blob_digest), &st,
		AT_SYMLINK_NOFOLLOW) >= 0) {
		list->bytes = (uint64_t)st.st_size;
		list->disk_bytes = (uint64_t)st.st_blocks * 512;
	}
	return 0;
}

static int
list_items(struct store *s, struct items *all, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	int r;

	all->dir_fd = fs_open_dir(s->root_fd, DIR_NAME, &e);
	if (all->dir_fd == -ENOENT)
		return 0;
	if (all->dir_fd < 0)
		return imgd_error_set(err, -all->dir_fd, "%s",
		    imgd_error_msg(e));
	r = tagstore_partials(s->tags, add_item, all, err);
	if (r == -ENOMEM)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

/* Delete file and row, unless somebody has the file open. */
static int
drop_idle(struct store *s, int dir_fd, const char *digest)
{
	cleanup_close int fd = openat(dir_fd, digest_hex(digest),
	    O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -EBUSY;
	partial_drop(s, digest);
	return 0;
}

void
partial_drop(struct store *s, const char *blob_digest)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_close int dir_fd = fs_open_dir(s->root_fd, DIR_NAME, &e);

	/* The row first: it must not speak of what is gone. */
	if (dir_fd < 0 ||
	    tagstore_partial_drop(s->tags, blob_digest, &e) < 0)
		log_warn("partial blob %.19s: %s, ignoring", blob_digest,
		    imgd_error_msg(e));
	else
		(void)unlinkat(dir_fd, digest_hex(blob_digest), 0);
}

int
partial_drop_idle(struct store *s, const char *blob_digest,
    struct imgd_error **err)
{
	cleanup_close int dir_fd = fs_open_dir(s->root_fd, DIR_NAME, err);

	if (dir_fd < 0)
		return dir_fd;
	return drop_idle(s, dir_fd, blob_digest) < 0
	    ? imgd_error_set(err, EBUSY, "partial blob %.19s is in use",
		  blob_digest)
	    : 0;
}

/* ---- opening ---- */

/* Make room for so many bytes of blob_digest. */
static int
make_room(struct store *s, const char *blob_digest, uint64_t size_bytes,
    struct imgd_error **err)
{
	cleanup(items_done) struct items all = { .dir_fd = -EBADF };
	uint64_t max = s->config->max_partial_bytes, sum = 0;
	struct statvfs vfs;
	size_t i;
	int r = list_items(s, &all, err);

	if (r < 0)
		return r;
	/* The layer itself needs room, too, and comes first. */
	if (fstatvfs(s->root_fd, &vfs) < 0 ||
	    (uint64_t)vfs.f_bavail * vfs.f_frsize / ROOM_FACTOR < size_bytes)
		return imgd_error_set(err, ENOSPC, "the disk is nearly full");
	for (i = 0; i < all.n; i++)
		if (all.list[i].bytes != UINT64_MAX &&
		    strcmp(all.list[i].digest, blob_digest) != 0)
			sum += all.list[i].bytes;
	for (i = 0; i < all.n && size_bytes <= max &&
	     sum > max - size_bytes;
	     i++)
		if (all.list[i].bytes != UINT64_MAX &&
		    strcmp(all.list[i].digest, blob_digest) != 0 &&
		    drop_idle(s, all.dir_fd, all.list[i].digest) >= 0)
			sum -= all.list[i].bytes;
	if (size_bytes > max || sum > max - size_bytes)
		return imgd_error_set(err, ENOSPC,
		    "more than the configuration allows for partial blobs");
	return 0;
}

static int
open_file(struct store *s, const char *blob_digest, int *ret_fd,
    struct imgd_error **err)
{
	cleanup_close int dir_fd = fs_open_dir(s->root_fd, DIR_NAME, err);
	cleanup_close int fd = -EBADF;

	if (dir_fd < 0)
		return dir_fd;
	fd = openat(dir_fd, digest_hex(blob_digest),
	    O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return imgd_error_set(err,
		    errno == EWOULDBLOCK ? EBUSY : errno, "%s",
		    strerror(errno));
	/* Its name must be as durable as what marks say of it. */
	if (fsync(dir_fd) < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	*ret_fd = take_fd(&fd);
	return 0;
}

static int
open_row(struct store *s, const char *blob_digest, uint64_t size_bytes,
    struct partial *p, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *boot_id = NULL;
	int r;

	r = fs_boot_id(&boot_id, err);
	if (r < 0)
		return r;
	r = tagstore_partial(s->tags, blob_digest, &p->row, &e);
	/* A file whose row is lost, or that of another blob, tells nothing. */
	if (r == -ENOENT || (r >= 0 && p->row.size_bytes != size_bytes)) {
		if (ftruncate(p->fd, 0) < 0)
			return imgd_error_set(err, errno, "%s",
			    strerror(errno));
	} else if (r < 0) {
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	}
	p->is_kept = r >= 0 && strcmp(p->row.boot_id, boot_id) == 0;
	return tagstore_partial_use(s->tags, blob_digest, size_bytes, boot_id,
	    err);
}

int
partial_open(struct store *s, const char *blob_digest, uint64_t size_bytes,
    struct partial *ret, struct imgd_error **err)
{
	cleanup(partial_done) struct partial p = PARTIAL_INIT;
	int r;

	r = make_room(s, blob_digest, size_bytes, err);
	if (r >= 0)
		r = open_file(s, blob_digest, &p.fd, err);
	if (r >= 0)
		r = open_row(s, blob_digest, size_bytes, &p, err);
	if (r < 0)
		return imgd_error_prefix(err, "partial blob %.19s",
		    blob_digest);
	*ret = p;
	p = (struct partial) PARTIAL_INIT;
	return 0;
}

/* ---- all of them ---- */

static bool
has_item(const struct items *all, const char *name)
{
	size_t i;

	for (i = 0; i < all->n; i++)
		if (strcmp(digest_hex(all->list[i].digest), name) == 0)
			return true;
	return false;
}

/* Call take for each file that no row names. */
static int
find_strays(struct items *all, void (*take)(void *ctx, const char *name),
    void *ctx, struct imgd_error **err)
{
	int fd = fcntl(all->dir_fd, F_DUPFD_CLOEXEC, 0);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (dir == NULL) {
		cleanup_closep(&fd);
		return imgd_error_set(err, errno, DIR_NAME ": %s",
		    strerror(errno));
	}
	rewinddir(dir);
	while ((de = readdir(dir)) != NULL)
		if (de->d_name[0] != '.' && !has_item(all, de->d_name))
			take(ctx, de->d_name);
	return 0;
}

static void
delete_stray(void *ctx, const char *name)
{
	const struct items *all = ctx;

	if (unlinkat(all->dir_fd, name, 0) < 0)
		log_warn(DIR_NAME "/%s: %s, ignoring", name, strerror(errno));
}

int
partials_expire(struct store *s, struct imgd_error **err)
{
	cleanup(items_done) struct items all = { .dir_fd = -EBADF };
	int64_t oldest = (int64_t)time(NULL) - PARTIAL_MAX_DAYS * DAY_SECONDS;
	size_t i;
	int r = list_items(s, &all, err);

	if (r < 0)
		return r;
	for (i = 0; i < all.n; i++)
		if (all.list[i].used_at < oldest ||
		    all.list[i].bytes == UINT64_MAX)
			partial_drop(s, all.list[i].digest);
	return find_strays(&all, delete_stray, &all, err);
}

int
partials_each(struct store *s, partials_fn *fn, void *ctx,
    struct imgd_error **err)
{
	cleanup(items_done) struct items all = { .dir_fd = -EBADF };
	size_t i;
	int r = list_items(s, &all, err);

	for (i = 0; r >= 0 && i < all.n; i++)
		if (all.list[i].bytes != UINT64_MAX)
			r = fn(ctx, all.list[i].digest, all.list[i].used_at,
			    all.list[i].disk_bytes);
	return r;
}

int
partials_count(struct store *s, struct partials_usage *ret,
    struct imgd_error **err)
{
	cleanup(items_done) struct items all = { .dir_fd = -EBADF };
	size_t i;
	int r;

	*ret = (struct partials_usage) { 0 };
	r = list_items(s, &all, err);
	for (i = 0; r >= 0 && i < all.n; i++)
		if (all.list[i].bytes != UINT64_MAX) {
			ret->n++;
			ret->bytes += all.list[i].bytes;
		}
	return r;
}

struct check {
	struct items all;
	bool is_repairing;
	partials_problem_fn *report;
	void *ctx;
};

static void
report(struct check *c, const char *name, const char *what, bool is_repaired)
{
	cleanup_free char *text = NULL;

	if (asprintf(&text, DIR_NAME "/%.64s: %s%s", name, what,
		is_repaired ? ": removed" : "") < 0)
		text = NULL;
	c->report(c->ctx, text != NULL ? text : what, is_repaired);
}

static void
take_stray(void *ctx, const char *name)
{
	struct check *c = ctx;
	cleanup_close int fd = openat(c->all.dir_fd, name,
	    O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	/* One that was opened since, or lost its name since. */
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return;
	report(c, name, "a file that no row names",
	    c->is_repairing && unlinkat(c->all.dir_fd, name, 0) >= 0);
}

int
partials_check(struct store *s, bool is_repairing,
    partials_problem_fn *report_fn, void *ctx, struct imgd_error **err)
{
	struct check c = { .all = { .dir_fd = -EBADF },
		.is_repairing = is_repairing, .report = report_fn,
		.ctx = ctx };
	size_t i;
	int r = list_items(s, &c.all, err);

	for (i = 0; r >= 0 && i < c.all.n; i++) {
		const char *digest = c.all.list[i].digest;

		/* It may have been dropped since the rows were read. */
		if (c.all.list[i].bytes != UINT64_MAX ||
		    !partial_exists(s, digest))
			continue;
		if (is_repairing)
			partial_drop(s, digest);
		report(&c, digest_hex(digest),
		    "a partial blob's file is missing", is_repairing);
	}
	if (r >= 0)
		r = find_strays(&c.all, take_stray, &c, err);
	items_done(&c.all);
	return r;
}
