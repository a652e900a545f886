/*
 * What must wait for the end of a tar: times of directories, which every
 * later entry in them would change, and whiteouts, of which only the parent's
 * tree tells whether they hide anything.  It waits in spool_fd, not in memory.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/tar-tree.h"

#define SPOOL_TIME     't'
#define SPOOL_WHITEOUT 'o'

/* Followed by len bytes of path. */
struct record {
	int64_t sec;
	uint32_t nsec;
	uint16_t len;
	char kind;
	char unused;
};

_Static_assert(sizeof(struct record) == 16, "no padding with noise");

static int
flush(struct tar_spool *s, struct imgd_error **err)
{
	int r = fs_write_all(s->fd, s->buf, s->n_buf, err);

	s->n_buf = 0;
	if (r < 0)
		(void)imgd_error_prefix(err, "spool");
	return r;
}

static int
put(struct tar_spool *s, struct record rec, const char *path,
    struct imgd_error **err)
{
	size_t len = strlen(path);
	int r;

	rec.len = (uint16_t)len;
	if (sizeof(s->buf) - s->n_buf < sizeof(rec) + len &&
	    (r = flush(s, err)) < 0)
		return r;
	memcpy(s->buf + s->n_buf, &rec, sizeof(rec));
	memcpy(s->buf + s->n_buf + sizeof(rec), path, len);
	s->n_buf += sizeof(rec) + len;
	return 0;
}

int
spool_time(struct tar_tree *t, const char *path, const struct timespec *mtime,
    struct imgd_error **err)
{
	return put(&t->spool, (struct record){
		.kind = SPOOL_TIME,
		.sec = mtime->tv_sec,
		.nsec = (uint32_t)mtime->tv_nsec,
	    }, path, err);
}

int
spool_whiteout(struct tar_tree *t, const char *path, struct imgd_error **err)
{
	return put(&t->spool, (struct record){ .kind = SPOOL_WHITEOUT }, path,
	    err);
}

/* Reads the spool from its beginning, through the buffer that filled it. */
struct reader {
	struct tar_spool *s;
	off_t offset;
	size_t at;
};

/* The next record: 1, or 0 at the end. */
static int
next(struct reader *rd, struct record *rec, char path[LIMIT_PATH_BYTES + 1],
    struct imgd_error **err)
{
	struct tar_spool *s = rd->s;

	if (s->n_buf - rd->at < sizeof(*rec) + LIMIT_PATH_BYTES) {
		memmove(s->buf, s->buf + rd->at, s->n_buf - rd->at);
		s->n_buf -= rd->at;
		rd->at = 0;
		while (s->n_buf < sizeof(s->buf)) {
			ssize_t n = pread(s->fd, s->buf + s->n_buf,
			    sizeof(s->buf) - s->n_buf, rd->offset);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return imgd_error_set(err, errno, "spool: %s",
				    strerror(errno));
			if (n == 0)
				break;
			s->n_buf += (size_t)n;
			rd->offset += n;
		}
	}
	if (rd->at == s->n_buf)
		return 0;
	if (s->n_buf - rd->at < sizeof(*rec))
		return imgd_error_set(err, EIO, "spool: cut short");
	memcpy(rec, s->buf + rd->at, sizeof(*rec));
	rd->at += sizeof(*rec);
	if (rec->len > LIMIT_PATH_BYTES || rec->len > s->n_buf - rd->at)
		return imgd_error_set(err, EIO, "spool: damaged");
	memcpy(path, s->buf + rd->at, rec->len);
	path[rec->len] = '\0';
	rd->at += rec->len;
	return 1;
}

static int
each(struct tar_tree *t, char kind,
    int (*f)(struct tar_tree *, const char *path, const struct record *,
	struct imgd_error **),
    struct imgd_error **err)
{
	struct reader rd = { .s = &t->spool };
	char path[LIMIT_PATH_BYTES + 1];
	struct record rec;
	int r = flush(&t->spool, err);

	while (r >= 0 && (r = next(&rd, &rec, path, err)) > 0)
		if (rec.kind == kind)
			r = f(t, path, &rec, err);
	t->spool.n_buf = 0;
	return r;
}

static int
set_time(struct tar_tree *t, const char *path, const struct record *rec,
    struct imgd_error **err)
{
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = rec->sec, .tv_nsec = rec->nsec },
	};
	cleanup_close int fd = tree_open(t->root_fd, path);

	/* A later entry has replaced it. */
	if (tree_is_absent(fd))
		return 0;
	if (fd < 0 || futimens(fd, times) < 0)
		return imgd_error_set(err, fd < 0 ? -fd : errno,
		    "%s: set time: %s", path,
		    strerror(fd < 0 ? -fd : errno));
	return 0;
}

int
spool_finish_times(struct tar_tree *t, struct imgd_error **err)
{
	return each(t, SPOOL_TIME, set_time, err);
}

/*
 * A marker that hides nothing shows up: overlayfs lists it in a directory
 * that no lower layer has.
 */
static int
check_whiteout(struct tar_tree *t, const char *path, const struct record *rec,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF, lower_fd = -EBADF;
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	const size_t dir_len = slash == NULL ? 0 : (size_t)(slash - path);
	struct tar_dir dir = { .fd = -EBADF, .len = dir_len };
	struct stat st;
	int r;

	(void)rec;
	memcpy(dir.path, path, dir_len);
	fd = dir.fd = tree_open(t->root_fd, dir.path);
	if (tree_is_absent(fd))
		return 0;
	if (fd < 0)
		return imgd_error_set(err, -fd, "%s: %s", dir.path,
		    strerror(-fd));
	r = tree_lower_dir(t, dir.path, dir_len, &lower_fd, err);
	if (r < 0)
		return r;
	if (r > 0 && fstatat(lower_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = whiteout_unmark(t, &dir, name, path, strlen(path), err);
	return r < 0 ? r : 0;
}

int
spool_finish_whiteouts(struct tar_tree *t, struct imgd_error **err)
{
	return t->has_whiteouts ? each(t, SPOOL_WHITEOUT, check_whiteout, err) :
				  0;
}
