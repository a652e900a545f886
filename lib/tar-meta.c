/*
 * Owner, attributes, mode and time of one object, in this order: chown clears
 * set-id bits and security.capability, and all of them change the ctime only.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tar-tree.h"

#define COPY_SIZE (128u << 10)

static int
fail_errno(struct imgd_error **err, const char *what)
{
	return imgd_error_set(err, errno, "%s: %s", what, strerror(errno));
}

/*
 * Attributes of what must not be opened (links, devices, fifos) are reached
 * by name alone, and the calls for that know no directory descriptor.  The
 * sandbox has no /proc, so the working directory goes there and back.
 */
static int
enter(const struct tar_object *o, int *ret_cwd)
{
	*ret_cwd = -EBADF;
	if (o->fd >= 0)
		return 0;
	*ret_cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fchdir(o->dir_fd);
}

static void
leave(int *cwd)
{
	int saved = errno;

	/* The old working directory may be closed to us; the unpacker has no
	 * relative paths. */
	if (*cwd >= 0 && fchdir(*cwd) < 0)
		errno = saved;
	close_fd(cwd);
	errno = saved;
}

static int
set_xattr(const struct tar_object *o, const char *name, const void *value,
    size_t len)
{
	return o->fd >= 0 ? fsetxattr(o->fd, name, value, len, 0) :
			    lsetxattr(o->name, name, value, len, 0);
}

static ssize_t
get_xattr(const struct tar_object *o, const char *name, void *buf, size_t len)
{
	return o->fd >= 0 ? fgetxattr(o->fd, name, buf, len) :
			    lgetxattr(o->name, name, buf, len);
}

static void
remove_xattr(const struct tar_object *o, const char *name)
{
	/* What may not be removed stays; the label of SELinux is so. */
	if (o->fd >= 0)
		(void)fremovexattr(o->fd, name);
	else
		(void)lremovexattr(o->name, name);
}

/* Attributes that are the storage's or the host's, not the layer's. */
static bool
is_foreign(const char *name)
{
	return fs_attr_is_stacking(name) ||
	    strcmp(name, "security.selinux") == 0;
}

int
meta_set_trusted(struct tar_tree *t, int fd, const char *name,
    const void *value, size_t len, struct imgd_error **err)
{
	if (t->params->set_trusted != NULL)
		return t->params->set_trusted(t->params->ctx, fd, name, value,
		    len, err);
	if (fs_set_trusted(fd, name, value, len) < 0)
		return fail_errno(err, name);
	return 0;
}

/* A descriptor of an object that must not be opened. */
static int
open_path(const struct tar_object *o)
{
	return openat(o->dir_fd, o->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static int
set_trusted(struct tar_tree *t, const struct tar_object *o, const char *name,
    const void *value, size_t len, struct imgd_error **err)
{
	cleanup_close int path_fd = -EBADF;

	if (o->fd >= 0)
		return meta_set_trusted(t, o->fd, name, value, len, err);
	path_fd = open_path(o);
	if (path_fd < 0)
		return fail_errno(err, o->name);
	return meta_set_trusted(t, path_fd, name, value, len, err);
}

/* from: NULL: has none. */
static int
match_trusted(struct tar_tree *t, const struct tar_object *from,
    const struct tar_object *to, struct imgd_error **err)
{
	cleanup_close int path_fd = -EBADF, from_path_fd = -EBADF;
	int fd = to->fd, from_fd = from != NULL ? from->fd : -EBADF;

	if (t->params->match_trusted == NULL)
		return 0;
	if (fd < 0)
		fd = path_fd = open_path(to);
	if (from != NULL && from_fd < 0)
		from_fd = from_path_fd = open_path(from);
	if (fd < 0 || (from != NULL && from_fd < 0))
		return fail_errno(err, "trusted attributes");
	return t->params->match_trusted(t->params->ctx, fd, from_fd, err);
}

static int
set_one(struct tar_tree *t, const struct tar_object *o, const char *name,
    const void *value, size_t len, struct imgd_error **err)
{
	if (is_foreign(name))
		return 0;
	if (str_starts(name, "trusted.") && t->params->set_trusted != NULL)
		return set_trusted(t, o, name, value, len, err);
	/* moby does so too: EPERM is for namespaces that are not ours to
	 * write, and for user.* on links and devices. */
	if (set_xattr(o, name, value, len) < 0 && errno != EPERM)
		return fail_errno(err, name);
	return 0;
}

static int
set_xattrs(struct tar_tree *t, const struct tar_object *o,
    struct archive_entry *entry, struct imgd_error **err)
{
	cleanup_close int cwd = -EBADF;
	const char *name;
	const void *value;
	size_t len, total = 0;
	int r = 0;

	if (entry == NULL || archive_entry_xattr_reset(entry) == 0)
		return 0;
	if (enter(o, &cwd) < 0)
		return fail_errno(err, "enter directory");
	while (r >= 0 && archive_entry_xattr_next(entry, &name, &value,
	    &len) == ARCHIVE_OK) {
		total += len;
		if (total > LIMIT_XATTRS_BYTES)
			r = imgd_error_set(err, IMGD_E_LIMIT,
			    "extended attributes exceed %u bytes",
			    LIMIT_XATTRS_BYTES);
		else if (name != NULL)
			r = set_one(t, o, name, value, len, err);
	}
	leave(&cwd);
	return r;
}

/* Remove all attributes that are the layer's. */
static int
clear_xattrs(const struct tar_object *o, struct imgd_error **err)
{
	cleanup_free char *names = NULL;
	cleanup_close int cwd = -EBADF;
	ssize_t n, at;
	int r = 0;

	if (enter(o, &cwd) < 0)
		return fail_errno(err, "enter directory");
	n = o->fd >= 0 ? flistxattr(o->fd, NULL, 0) :
			 llistxattr(o->name, NULL, 0);
	if (n > 0) {
		names = malloc((size_t)n);
		if (names == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		else
			n = o->fd >= 0 ? flistxattr(o->fd, names, (size_t)n) :
					 llistxattr(o->name, names, (size_t)n);
	}
	if (r >= 0 && n < 0 && errno != EOPNOTSUPP)
		r = fail_errno(err, "list extended attributes");
	for (at = 0; r >= 0 && at < n;
	     at += (ssize_t)strlen(names + at) + 1)
		if (!is_foreign(names + at))
			remove_xattr(o, names + at);
	leave(&cwd);
	return r;
}

static int
set_owner(const struct tar_object *o, uid_t uid, gid_t gid)
{
	return o->fd >= 0 ? fchown(o->fd, uid, gid) :
			    fchownat(o->dir_fd, o->name, uid, gid,
				AT_SYMLINK_NOFOLLOW);
}

static int
set_mode(const struct tar_object *o, mode_t mode)
{
	if (S_ISLNK(o->type))
		return 0;
	/* By name only what was just made, and is no link. */
	return o->fd >= 0 ? fchmod(o->fd, mode) :
			    fchmodat(o->dir_fd, o->name, mode, 0);
}

static int
set_mtime(const struct tar_object *o, const struct timespec *mtime)
{
	const struct timespec times[2] = { *mtime, *mtime };

	return o->fd >= 0 ? futimens(o->fd, times) :
			    utimensat(o->dir_fd, o->name, times,
				AT_SYMLINK_NOFOLLOW);
}

int
meta_apply(struct tar_tree *t, const struct tar_object *o,
    const struct tar_meta *meta, bool clear, struct imgd_error **err)
{
	int r;

	if (!o->has_owner && set_owner(o, meta->uid, meta->gid) < 0)
		return fail_errno(err, "change owner");
	if (clear &&
	    ((r = clear_xattrs(o, err)) < 0 ||
		(r = match_trusted(t, NULL, o, err)) < 0))
		return r;
	r = set_xattrs(t, o, meta->entry, err);
	if (r < 0)
		return r;
	if (!o->has_mode && set_mode(o, meta->mode) < 0)
		return fail_errno(err, "change mode");
	if (!S_ISDIR(o->type) && set_mtime(o, &meta->mtime) < 0)
		return fail_errno(err, "set time");
	return 0;
}

int
meta_apply_link(struct tar_tree *t, int dir_fd, const char *name,
    const struct tar_meta *meta, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	struct tar_object o = { .fd = -EBADF, .dir_fd = dir_fd, .name = name };
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(err, name);
	o.type = st.st_mode & S_IFMT;
	if (S_ISREG(st.st_mode)) {
		fd = o.fd = openat(dir_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return fail_errno(err, name);
	}
	/* A chown, even to the same owner, takes the file's capabilities. */
	if ((st.st_uid != meta->uid || st.st_gid != meta->gid) &&
	    set_owner(&o, meta->uid, meta->gid) < 0)
		return fail_errno(err, "change owner");
	r = set_xattrs(t, &o, meta->entry, err);
	if (r < 0)
		return r;
	if (set_mode(&o, meta->mode) < 0)
		return fail_errno(err, "change mode");
	return set_mtime(&o, &meta->mtime) < 0 ? fail_errno(err, "set time") :
						 0;
}

int
meta_reset(struct tar_tree *t, int fd, const char *path,
    struct imgd_error **err)
{
	const struct tar_object o = { .fd = fd, .dir_fd = -EBADF,
		.name = path, .type = S_IFDIR };
	const struct tar_meta meta = { .mode = 0755 };
	const size_t len = strlen(path);
	int r;

	if ((r = meta_apply(t, &o, &meta, /* clear= */ true, err)) < 0 ||
	    (r = spool_time(t, path, &meta.mtime, err)) < 0)
		return r;
	if (!t->is_full)
		return tree_tag(t, TAG_EXPLICIT, path, len, err);
	r = tree_tag(t, TAG_WRITTEN, path, len, err);
	return r < 0 ? r : tree_tag(t, TAG_TIMED, path, len, err);
}

/* ---- copies from the parent's tree ---- */

/* The value of one attribute, malloc'ed; NULL if it went away. */
static char *
read_value(const struct tar_object *o, const char *name, ssize_t *ret_len)
{
	ssize_t len = get_xattr(o, name, NULL, 0);
	char *value;

	if (len < 0 || len > (ssize_t)LIMIT_XATTRS_BYTES)
		return NULL;
	value = malloc((size_t)len + 1);
	if (value != NULL &&
	    (*ret_len = get_xattr(o, name, value, (size_t)len)) < 0) {
		free(value);
		return NULL;
	}
	return value;
}

static int
copy_xattr(struct tar_tree *t, const struct tar_object *from,
    const struct tar_object *to, const char *name, struct imgd_error **err)
{
	cleanup_close int cwd = -EBADF;
	cleanup_free char *value = NULL;
	ssize_t len = 0;
	int r;

	if (enter(from, &cwd) < 0)
		return fail_errno(err, "enter directory");
	value = read_value(from, name, &len);
	leave(&cwd);
	if (value == NULL)
		return 0;
	if (enter(to, &cwd) < 0)
		return fail_errno(err, "enter directory");
	r = set_one(t, to, name, value, (size_t)len, err);
	leave(&cwd);
	return r;
}

static int
copy_xattrs(struct tar_tree *t, const struct tar_object *from,
    const struct tar_object *to, struct imgd_error **err)
{
	cleanup_free char *names = NULL;
	cleanup_close int cwd = -EBADF;
	ssize_t n, at;
	int r = 0;

	if (enter(from, &cwd) < 0)
		return fail_errno(err, "enter directory");
	n = from->fd >= 0 ? flistxattr(from->fd, NULL, 0) :
			    llistxattr(from->name, NULL, 0);
	if (n > 0 && (names = malloc((size_t)n)) != NULL)
		n = from->fd >= 0 ?
		    flistxattr(from->fd, names, (size_t)n) :
		    llistxattr(from->name, names, (size_t)n);
	leave(&cwd);
	if (n > 0 && names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (at = 0; r >= 0 && at < n; at += (ssize_t)strlen(names + at) + 1)
		r = copy_xattr(t, from, to, names + at, err);
	return r;
}

static int
stat_object(const struct tar_object *o, struct stat *st)
{
	return o->fd >= 0 ? fstat(o->fd, st) :
			    fstatat(o->dir_fd, o->name, st,
				AT_SYMLINK_NOFOLLOW);
}

int
meta_copy(struct tar_tree *t, const struct tar_object *from,
    const struct tar_object *to, struct stat *ret_st, struct imgd_error **err)
{
	int r;

	if (stat_object(from, ret_st) < 0)
		return fail_errno(err, "parent layer");
	if (set_owner(to, ret_st->st_uid, ret_st->st_gid) < 0)
		return fail_errno(err, "change owner");
	if ((r = clear_xattrs(to, err)) < 0 ||
	    (r = copy_xattrs(t, from, to, err)) < 0 ||
	    (r = match_trusted(t, from, to, err)) < 0)
		return r;
	if (set_mode(to, ret_st->st_mode & 07777) < 0)
		return fail_errno(err, "change mode");
	if (!S_ISDIR(to->type) && set_mtime(to, &ret_st->st_mtim) < 0)
		return fail_errno(err, "set time");
	return 0;
}

/* One run of data: the kernel copies, or shares the blocks, where it can. */
static int
copy_run(int from_fd, int to_fd, off_t at, off_t end, char *buf,
    struct imgd_error **err)
{
	while (at < end) {
		off_t in = at, out = at;
		ssize_t n = copy_file_range(from_fd, &in, to_fd, &out,
		    (size_t)(end - at), 0);

		if (n <= 0) {
			size_t want = end - at < (off_t)COPY_SIZE ?
			    (size_t)(end - at) :
			    COPY_SIZE;

			n = pread(from_fd, buf, want, at);
			if (n > 0)
				n = pwrite(to_fd, buf, (size_t)n, at);
			if (n < 0 && errno != EINTR)
				return fail_errno(err, "copy");
			if (n == 0)
				return imgd_error_set(err, EIO,
				    "copy: the file has shrunk");
		}
		if (n > 0)
			at += n;
	}
	return 0;
}

static int
copy_data(int from_fd, int to_fd, off_t size, struct imgd_error **err)
{
	cleanup_free char *buf = malloc(COPY_SIZE);
	off_t at = 0, end;
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	while (at < size) {
		off_t data = lseek(from_fd, at, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = at;
		end = lseek(from_fd, data, SEEK_HOLE);
		if (end < 0 || end > size)
			end = size;
		r = copy_run(from_fd, to_fd, data, end, buf, err);
		if (r < 0)
			return r;
		at = end;
	}
	return ftruncate(to_fd, size) < 0 ? fail_errno(err, "copy") : 0;
}

static int
copy_up_file(struct tar_tree *t, int lower_fd, struct tar_dir *dir,
    const char *name, struct imgd_error **err)
{
	cleanup_close int from_fd = openat(lower_fd, name,
	    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int to_fd = openat(dir->fd, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const struct tar_object from = { .fd = from_fd, .type = S_IFREG };
	const struct tar_object to = { .fd = to_fd, .type = S_IFREG };
	struct stat st;
	int r;

	if (from_fd < 0 || to_fd < 0 || fstat(from_fd, &st) < 0)
		return fail_errno(err, "copy from the parent layer");
	r = copy_data(from_fd, to_fd, st.st_size, err);
	return r < 0 ? r : meta_copy(t, &from, &to, &st, err);
}

int
meta_copy_up(struct tar_tree *t, int lower_fd, struct tar_dir *dir,
    const char *name, struct imgd_error **err)
{
	struct tar_object from = {
		.fd = -EBADF,
		.dir_fd = lower_fd,
		.name = name,
	};
	struct tar_object to = { .fd = -EBADF, .dir_fd = dir->fd, .name = name };
	char target[LIMIT_PATH_BYTES + 1];
	struct stat st;
	ssize_t n;
	int r;

	if (fstatat(lower_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(err, name);
	from.type = to.type = st.st_mode & S_IFMT;
	if (S_ISREG(st.st_mode))
		return copy_up_file(t, lower_fd, dir, name, err);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(lower_fd, name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		r = n < 0 ? -1 : symlinkat(target, dir->fd, name);
	} else {
		r = mknodat(dir->fd, name, st.st_mode & (S_IFMT | 0600),
		    st.st_rdev);
	}
	if (r < 0)
		return fail_errno(err, name);
	return meta_copy(t, &from, &to, &st, err);
}
