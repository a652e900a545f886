#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "lib/tar-name.h"
#include "lib/tar-tree.h"
#include "lib/tar-writer.h"

#define COMPARE_SIZE (64u << 10)
#define AUFS_PLNK    ".wh..wh.plnk/"
#define AUFS_OPAQUE  ".wh..wh..opq"

struct tar_writer {
	struct tar_tree *tree;
	/* What a new file gets by itself. */
	uid_t uid;
	gid_t gid;
	mode_t umask;

	/* the current entry */
	struct archive_entry *entry; /* borrowed */
	const char *linkname;        /* borrowed */
	struct tar_meta meta;
	struct tar_dir *dir; /* the tree's; the entry's directory */
	char *base;          /* its last component, in name */
	size_t name_len;
	char name[LIMIT_PATH_BYTES + 1]; /* cleaned */
	size_t path_len;
	char path[LIMIT_PATH_BYTES + 1]; /* resolved */

	/* the regular file that waits for content */
	int fd;        /* -EBADF: none */
	bool has_owner, has_mode; /* from its making */
	bool compares; /* a hard link's content is there already */
	uint64_t size;
	uint64_t end; /* of the content so far */
	char *compare_buf; /* COMPARE_SIZE bytes once needed, owned */
};

int
tar_writer_new(const struct tar_unpack *params, struct recipe_writer *recipe,
    struct tar_writer **ret, struct imgd_error **err)
{
	cleanup(tar_writer_freep) struct tar_writer *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	w->fd = -EBADF;
	w->uid = geteuid();
	w->gid = getegid();
	w->umask = umask(077);
	(void)umask(w->umask);
	r = tree_new(params, recipe, &w->tree, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&w);
	return 0;
}

void
tar_writer_free(struct tar_writer *w)
{
	if (w == NULL)
		return;
	close_fd(&w->fd);
	tree_free(w->tree);
	free(w->compare_buf);
	free(w);
}

const char *
tar_writer_path(const struct tar_writer *w)
{
	return w->path;
}

static int
refuse(struct imgd_error **err, const char *why)
{
	return imgd_error_set(err, IMGD_E_FORMAT, "%s", why);
}

static int
fail_errno(struct imgd_error **err, const char *what)
{
	return imgd_error_set(err, errno, "%s: %s", what, strerror(errno));
}

static int
read_meta(struct tar_writer *w, struct imgd_error **err)
{
	const int64_t uid = archive_entry_uid(w->entry);
	const int64_t gid = archive_entry_gid(w->entry);

	/* (uid_t)-1 would mean "leave it". */
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return refuse(err, "its owner is out of range");
	w->meta = (struct tar_meta){
		.uid = (uid_t)uid,
		.gid = (gid_t)gid,
		.mode = archive_entry_perm(w->entry) & 07777,
		.mtime.tv_sec = archive_entry_mtime(w->entry),
		.mtime.tv_nsec = archive_entry_mtime_nsec(w->entry),
		.entry = w->entry,
	};
	if (w->meta.mtime.tv_nsec < 0 || w->meta.mtime.tv_nsec > 999999999)
		return refuse(err, "its time is out of range");
	return 0;
}

/* ---- making objects ---- */

/* How the object of an entry comes to be: 0, or -1 with errno. */
typedef int make_fn(struct tar_writer *w, const void *how);

static int
make_file(struct tar_writer *w, const void *how)
{
	(void)how;
	/* Most files need neither chown nor chmod.  The group may also be the
	 * directory's (S_ISGID, "grpid"); an ACL among the attributes changes
	 * the mode. */
	w->has_owner = w->meta.uid == w->uid && w->meta.gid == w->gid &&
	    w->dir->gid == w->gid;
	w->has_mode = (w->meta.mode & (S_ISUID | S_ISGID | S_ISVTX |
			  w->umask)) == 0 &&
	    !w->dir->has_default_acl &&
	    archive_entry_xattr_count(w->entry) == 0;
	w->fd = openat(w->dir->fd, w->base,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	    w->has_mode ? w->meta.mode : 0600);
	return w->fd < 0 ? -1 : 0;
}

static int
make_dir(struct tar_writer *w, const void *how)
{
	(void)how;
	return mkdirat(w->dir->fd, w->base, 0700);
}

static int
make_symlink(struct tar_writer *w, const void *how)
{
	return symlinkat(how, w->dir->fd, w->base);
}

static int
make_node(struct tar_writer *w, const void *how)
{
	const struct stat *st = how;

	return mknodat(w->dir->fd, w->base, st->st_mode, st->st_rdev);
}

struct link_target {
	int dir_fd;
	const char *base;
};

static int
make_link(struct tar_writer *w, const void *how)
{
	const struct link_target *target = how;

	return linkat(target->dir_fd, target->base, w->dir->fd, w->base, 0);
}

/*
 * Make the entry's object in the place of whatever has its name.
 *
 * ret_was_dir: a directory for a directory is left as it is.
 * ret_hid: something was there that hid what the parent has.
 */
static int
place(struct tar_writer *w, make_fn *make, const void *how, bool for_dir,
    bool *ret_was_dir, bool *ret_hid, struct imgd_error **err)
{
	struct tar_tree *t = w->tree;
	bool hid = false, had_marker = false;
	int r;

	*ret_was_dir = false;
	r = whiteout_unmark(t, w->dir, w->base, w->path, w->path_len, err);
	if (r < 0)
		return r;
	had_marker = r > 0;
	if (make(w, how) < 0) {
		if (errno != EEXIST)
			return fail_errno(err, "make it");
		r = whiteout_clear(t, w->dir, w->base, for_dir, ret_was_dir,
		    &hid, err);
		if (r < 0)
			return r;
		if (!*ret_was_dir && make(w, how) < 0)
			return fail_errno(err, "make it");
	}
	*ret_hid = hid || had_marker;
	if ((r = tree_holds(t, w->dir, err)) < 0 ||
	    (r = tree_wrote(t, w->path, w->path_len, err)) < 0)
		return r;
	return 0;
}

static int
begin_file(struct tar_writer *w, struct imgd_error **err)
{
	bool was_dir, hid;
	int r = place(w, make_file, NULL, /* for_dir= */ false, &was_dir, &hid,
	    err);

	if (r < 0)
		return r;
	w->compares = false;
	w->size = (uint64_t)archive_entry_size(w->entry);
	w->end = 0;
	return TAR_BODY_WRITE;
}

/* Metadata of a directory; its time waits for the end. */
static int
apply_dir(struct tar_writer *w, int fd, bool clear, struct imgd_error **err)
{
	const struct tar_object o = { .fd = fd, .type = S_IFDIR };
	struct tar_tree *t = w->tree;
	int r;

	r = meta_apply(t, &o, &w->meta, clear, err);
	if (r < 0)
		return r;
	if (t->is_full &&
	    (r = tree_tag(t, TAG_TIMED, w->path, w->path_len, err)) < 0)
		return r;
	return spool_time(t, w->path, &w->meta.mtime, err);
}

static int
begin_dir(struct tar_writer *w, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	bool was_dir, hid;
	int r = place(w, make_dir, NULL, /* for_dir= */ true, &was_dir, &hid,
	    err);

	if (r < 0)
		return r;
	fd = fs_open_dir(w->dir->fd, w->base, err);
	if (fd < 0)
		return fd;
	if (hid && (r = whiteout_mark_opaque(w->tree, fd, w->path,
		w->path_len, err)) < 0)
		return r;
	r = apply_dir(w, fd, was_dir || w->dir->has_default_acl, err);
	return r < 0 ? r : TAR_BODY_NONE;
}

static int
begin_root(struct tar_writer *w, struct imgd_error **err)
{
	int r;

	w->path[0] = '\0';
	w->path_len = 0;
	w->tree->has_root_entry = true;
	tree_forget_dir(w->tree);
	r = apply_dir(w, w->tree->root_fd, /* clear= */ true, err);
	return r < 0 ? r : TAR_BODY_NONE;
}

/* Links, devices and fifos: everything is known at once. */
static int
begin_special(struct tar_writer *w, mode_t type, make_fn *make,
    const void *how, struct imgd_error **err)
{
	struct tar_object o = { .fd = -EBADF, .name = w->base, .type = type };
	bool was_dir, hid;
	int r = place(w, make, how, /* for_dir= */ false, &was_dir, &hid, err);

	if (r < 0)
		return r;
	o.dir_fd = w->dir->fd;
	r = meta_apply(w->tree, &o, &w->meta, w->dir->has_default_acl, err);
	return r < 0 ? r : TAR_BODY_NONE;
}

static int
begin_symlink(struct tar_writer *w, struct imgd_error **err)
{
	if (*w->linkname == '\0')
		return refuse(err, "a symbolic link without target");
	return begin_special(w, S_IFLNK, make_symlink, w->linkname, err);
}

static int
begin_node(struct tar_writer *w, mode_t type, struct imgd_error **err)
{
	struct stat how = { .st_mode = type | 0600 };
	int r;

	if (type != S_IFIFO)
		how.st_rdev = makedev(
		    (unsigned int)archive_entry_rdevmajor(w->entry),
		    (unsigned int)archive_entry_rdevminor(w->entry));
	/* In every form, so that all drivers take the same layers. */
	if (type == S_IFCHR && how.st_rdev == makedev(0, 0))
		return refuse(err, "device 0/0 would be a forged whiteout");
	r = begin_special(w, type, make_node, &how, err);
	if (r == -EPERM && type != S_IFIFO) {
		/* In a user namespace nobody may make devices; moby skips
		 * them too. */
		if (err != NULL)
			imgd_error_free(take_ptr(err));
		log_warn("%s: no right to make a device, skipping it", w->path);
		return TAR_BODY_NONE;
	}
	return r;
}

/* ---- hard links ---- */

/* The first component of the name that begins with ".wh.", or NULL. */
static const char *
find_marker(const char *name)
{
	const char *p;

	if (str_starts(name, ".wh."))
		return name;
	p = strstr(name, "/.wh.");
	return p == NULL ? NULL : p + 1;
}

/* The file that a hard link names, in the parent's tree: copied here first,
 * so that both names are one file. */
static int
copy_up_target(struct tar_writer *w, struct tar_dir *dir, const char *base,
    struct imgd_error **err)
{
	cleanup_close int lower_fd = -EBADF;
	struct tar_tree *t = w->tree;
	char path[LIMIT_PATH_BYTES + 1];
	struct stat st;
	size_t len;
	int r;

	r = tree_lower_dir(t, dir->path, dir->len, &lower_fd, err);
	if (r > 0)
		r = group_stat(t, lower_fd, base, &st, err);
	if (r < 0)
		return r;
	if (r == 0)
		return refuse(err, "the hard link's target is missing");
	if (S_ISDIR(st.st_mode))
		return refuse(err, "a hard link to a directory");
	if ((r = tree_join(dir, base, path, &len, err)) < 0 ||
	    (r = meta_copy_up(t, lower_fd, dir, base, err)) < 0)
		return r;
	t->has_copies = true;
	if ((r = tree_tag(t, TAG_COPIED, path, len, err)) < 0 ||
	    st.st_nlink < 2)
		return r;
	return group_copy_up(t, &st, dir->fd, base, err);
}

/* Make sure that base is in dir. */
static int
find_target(struct tar_writer *w, struct tar_dir *dir, const char *base,
    struct imgd_error **err)
{
	struct stat st;
	bool is_there =
	    fstatat(dir->fd, base, &st, AT_SYMLINK_NOFOLLOW) == 0;

	if (!is_there && errno != ENOENT)
		return fail_errno(err, "the hard link's target");
	if (tree_is_whited_out(w->tree, dir, base, is_there ? &st : NULL))
		return refuse(err, "the hard link's target is missing");
	if (!is_there)
		return copy_up_target(w, dir, base, err);
	return S_ISDIR(st.st_mode) ? refuse(err, "a hard link to a directory") :
				     0;
}

/* A hard link that carries content (old pax) repeats its target's. */
static int
begin_compare(struct tar_writer *w, struct imgd_error **err)
{
	struct stat st;

	w->size = (uint64_t)archive_entry_size(w->entry);
	w->end = 0;
	w->compares = true;
	w->fd = openat(w->dir->fd, w->base,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (w->fd < 0 || fstat(w->fd, &st) < 0)
		return fail_errno(err, "the hard link's target");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != w->size)
		return refuse(err, "its content is not its target's");
	if (w->compare_buf == NULL &&
	    (w->compare_buf = malloc(COMPARE_SIZE)) == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return TAR_BODY_WRITE;
}

static int
link_to(struct tar_writer *w, struct tar_dir *target_dir, const char *base,
    struct imgd_error **err)
{
	const struct link_target how = {
		.dir_fd = target_dir->fd,
		.base = base,
	};
	char path[LIMIT_PATH_BYTES + 1];
	bool was_dir, hid;
	size_t len;
	int r;

	if ((r = find_target(w, target_dir, base, err)) < 0 ||
	    (r = tree_join(target_dir, base, path, &len, err)) < 0)
		return r;
	if (strcmp(path, w->path) != 0)
		r = place(w, make_link, &how, /* for_dir= */ false, &was_dir,
		    &hid, err);
	else if ((r = tree_holds(w->tree, w->dir, err)) >= 0)
		r = tree_wrote(w->tree, path, len, err);
	if (r < 0)
		return r;
	if (archive_entry_size(w->entry) > 0)
		return begin_compare(w, err);
	r = meta_apply_link(w->tree, w->dir->fd, w->base, &w->meta, err);
	return r < 0 ? r : TAR_BODY_NONE;
}

static int
link_to_plnk(struct tar_writer *w, const char *base, struct imgd_error **err)
{
	const struct link_target how = {
		.dir_fd = w->tree->plnk_fd,
		.base = base,
	};
	bool was_dir, hid;
	int r;

	if (how.dir_fd < 0 || strchr(base, '/') != NULL ||
	    faccessat(how.dir_fd, base, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(err, "the hard link's target is missing");
	r = place(w, make_link, &how, /* for_dir= */ false, &was_dir, &hid,
	    err);
	return r < 0 ? r : TAR_BODY_NONE;
}

static int
begin_link(struct tar_writer *w, struct imgd_error **err)
{
	char name[LIMIT_PATH_BYTES + 1];
	struct tar_dir dir = { .fd = -EBADF };
	const char *base;
	size_t len;
	int r;

	r = tar_name_clean(w->linkname, name, &len, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "hard link to \"%s\"",
		    w->linkname);
		return r;
	}
	if (len == 0)
		return refuse(err, "a hard link to the root");
	if (str_starts(name, AUFS_PLNK))
		return link_to_plnk(w, name + strlen(AUFS_PLNK), err);
	if (find_marker(name) != NULL)
		return refuse(err, "the hard link's target is missing");
	base = strrchr(name, '/');
	base = base == NULL ? name : base + 1;
	r = tree_find_dir(w->tree, name,
	    base == name ? 0 : (size_t)(base - name - 1), &dir, err);
	if (r == 0)
		r = refuse(err, "the hard link's target is missing");
	if (r > 0)
		r = link_to(w, &dir, base, err);
	close_fd(&dir.fd);
	return r;
}

/* ---- names with ".wh." ---- */

/* A body of aufs's pseudo-links: hard links of this layer may name it. */
static int
begin_plnk(struct tar_writer *w, const char *base, struct imgd_error **err)
{
	struct tar_tree *t = w->tree;
	int r;

	/* The root's time is kept, too. */
	r = tree_dir(t, "", 0, /* create= */ false, &w->dir, err);
	if (r < 0)
		return r;
	if (t->plnk_fd < 0)
		t->plnk_fd = fs_make_open_dir(t->root_fd, TREE_PLNK_DIR, 0700,
		    err);
	if (t->plnk_fd < 0)
		return t->plnk_fd;
	if (unlinkat(t->plnk_fd, base, 0) < 0 && errno != ENOENT)
		return fail_errno(err, base);
	w->has_owner = w->has_mode = false;
	w->fd = openat(t->plnk_fd, base,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (w->fd < 0)
		return fail_errno(err, base);
	w->compares = false;
	w->size = (uint64_t)archive_entry_size(w->entry);
	w->end = 0;
	return TAR_BODY_ASIDE;
}

static int
begin_whiteout(struct tar_writer *w, size_t dir_len, bool is_opaque,
    struct imgd_error **err)
{
	struct tar_tree *t = w->tree;
	int r;

	/* There is nothing below a base. */
	if (t->params->is_base)
		return TAR_BODY_NONE;
	r = tree_dir(t, w->name, dir_len, /* create= */ false, &w->dir, err);
	if (r < 0)
		return r;
	if (w->dir != NULL)
		r = is_opaque ? whiteout_opaque(t, w->dir, err) :
				whiteout_name(t, w->dir, w->base + 4, err);
	return r < 0 ? r : TAR_BODY_NONE;
}

/*
 * A name that has ".wh." somewhere: whiteouts, and aufs's own files.
 * at: the first component that begins so.
 */
static int
begin_marker(struct tar_writer *w, const char *at, char type, size_t dir_len,
    struct imgd_error **err)
{
	const char *hidden = w->base + 4;

	if (at == w->base && strcmp(at, AUFS_OPAQUE) == 0)
		return begin_whiteout(w, dir_len, /* is_opaque= */ true, err);
	if (str_starts(at, ".wh..wh.")) {
		const char *base = w->name + strlen(AUFS_PLNK);

		if (type == '0' && str_starts(w->name, AUFS_PLNK) &&
		    strchr(base, '/') == NULL)
			return begin_plnk(w, base, err);
		return TAR_BODY_NONE;
	}
	if (at != w->base)
		return refuse(err, "a directory has a whiteout's name");
	if (*hidden == '\0' || strcmp(hidden, ".") == 0 ||
	    strcmp(hidden, "..") == 0)
		return refuse(err, "a whiteout of no name");
	return begin_whiteout(w, dir_len, /* is_opaque= */ false, err);
}

/* ---- entries ---- */

static int
begin_by_type(struct tar_writer *w, char type, bool is_dir,
    struct imgd_error **err)
{
	switch (type) {
	case '0':
	case 'S':
		return is_dir ? begin_dir(w, err) : begin_file(w, err);
	case '1':
		return begin_link(w, err);
	case '2':
		return begin_symlink(w, err);
	case '3':
		return begin_node(w, S_IFCHR, err);
	case '4':
		return begin_node(w, S_IFBLK, err);
	case '5':
		return begin_dir(w, err);
	case '6':
		return begin_node(w, S_IFIFO, err);
	default:
		return refuse(err, "unknown entry type");
	}
}

int
tar_writer_begin(struct tar_writer *w, struct archive_entry *entry, char type,
    const char *linkname, struct imgd_error **err)
{
	const char *name = archive_entry_pathname(entry);
	const char *marker;
	size_t dir_len;
	bool is_dir;
	int r;

	if (name == NULL)
		name = "";
	w->entry = entry;
	w->linkname = linkname;
	/* POSIX.1-2017 pax, "typeflag": an old way to write a directory. */
	is_dir = type == '5' || (type == '0' && str_ends(name, "/"));
	if ((r = tar_name_clean(name, w->name, &w->name_len, err)) < 0 ||
	    (r = read_meta(w, err)) < 0)
		return r;
	if (w->name_len == 0)
		return is_dir ? begin_root(w, err) :
				refuse(err, "the root is no directory");
	w->base = strrchr(w->name, '/');
	w->base = w->base == NULL ? w->name : w->base + 1;
	dir_len = w->base == w->name ? 0 : (size_t)(w->base - w->name - 1);
	marker = find_marker(w->name);
	if (marker != NULL)
		return begin_marker(w, marker, type, dir_len, err);
	if ((r = tree_dir(w->tree, w->name, dir_len, /* create= */ true,
		 &w->dir, err)) < 0 ||
	    (r = tree_join(w->dir, w->base, w->path, &w->path_len, err)) < 0)
		return r;
	return begin_by_type(w, type, is_dir, err);
}

static int
compare(struct tar_writer *w, const char *data, size_t len, uint64_t offset,
    struct imgd_error **err)
{
	while (len > 0) {
		ssize_t n = pread(w->fd, w->compare_buf,
		    len < COMPARE_SIZE ? len : COMPARE_SIZE, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(err, "read");
		if (n == 0 || memcmp(w->compare_buf, data, (size_t)n) != 0)
			return refuse(err, "its content is not its target's");
		data += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int
tar_writer_data(struct tar_writer *w, const void *data, size_t len,
    uint64_t offset, struct imgd_error **err)
{
	const char *p = data;

	if (offset < w->end || offset > w->size || len > w->size - offset)
		return refuse(err, "a sparse file's map");
	w->end = offset + len;
	if (w->compares)
		return compare(w, data, len, offset, err);
	while (len > 0) {
		ssize_t n = pwrite(w->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(err, "write");
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int
tar_writer_end(struct tar_writer *w, struct imgd_error **err)
{
	const struct tar_object o = { .fd = w->fd, .type = S_IFREG,
		.has_owner = w->has_owner, .has_mode = w->has_mode };
	int r = 0;

	if (w->fd < 0)
		return 0;
	if (w->compares) {
		close_fd(&w->fd);
		return meta_apply_link(w->tree, w->dir->fd, w->base, &w->meta,
		    err);
	}
	if (w->end < w->size && ftruncate(w->fd, (off_t)w->size) < 0)
		r = fail_errno(err, "write");
	if (r >= 0)
		r = meta_apply(w->tree, &o, &w->meta,
		    w->dir != NULL && w->dir->has_default_acl, err);
	close_fd(&w->fd);
	return r;
}

int
tar_writer_finish(struct tar_writer *w, struct imgd_error **err)
{
	return tree_finish(w->tree, err);
}
