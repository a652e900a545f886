/*
 * What mke2fs -d leaves inexact, done by the library it is made of: times have
 * no fractions, access and change times are those of the store, and the root is
 * not the tree's.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ext2fs/ext2fs.h>

#include "core/maker.h"
#include "lib/cleanup.h"
#include "lib/limits.h"

#define LOST_FOUND "lost+found"
/* Above 1970 + 2^32 seconds, an inode's fraction has two bits more. */
#define EPOCH_BITS 2
#define EPOCH_MASK ((1u << EPOCH_BITS) - 1)

struct walk {
	ext2_filsys fs;
	int dir_fd; /* the tree's directory that is compared */
	unsigned int depth;
	int result;
	struct imgd_error **err;
};

static int
fail(errcode_t code, const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, code > 0 && code < 256 ? (int)code : EIO,
	    "ext4: %s: %s", what, error_message(code));
}

static __u32
fraction(const struct timespec *t)
{
	int64_t above = t->tv_sec - (int32_t)t->tv_sec;

	return ((__u32)t->tv_nsec << EPOCH_BITS) |
	    ((__u32)(above >> 32) & EPOCH_MASK);
}

static int
correct_inode(ext2_filsys fs, ext2_ino_t ino, const struct stat *st,
    struct imgd_error **err)
{
	struct ext2_inode_large inode;
	errcode_t e;

	memset(&inode, 0, sizeof(inode));
	e = ext2fs_read_inode_full(fs, ino, EXT2_INODE(&inode), sizeof(inode));
	if (e != 0)
		return fail(e, "read inode", err);
	inode.i_mode = (__u16)st->st_mode;
	inode.i_uid = (__u16)st->st_uid;
	ext2fs_set_i_uid_high(inode, st->st_uid >> 16);
	inode.i_gid = (__u16)st->st_gid;
	ext2fs_set_i_gid_high(inode, st->st_gid >> 16);
	inode.i_mtime = inode.i_ctime = inode.i_atime = inode.i_crtime =
	    (__u32)st->st_mtim.tv_sec;
	inode.i_mtime_extra = inode.i_ctime_extra = inode.i_atime_extra =
	    inode.i_crtime_extra = fraction(&st->st_mtim);
	e = ext2fs_write_inode_full(fs, ino, EXT2_INODE(&inode),
	    sizeof(inode));
	return e != 0 ? fail(e, "write inode", err) : 0;
}

static int correct_dir(struct walk *up, ext2_ino_t ino, int dir_fd);

static int
correct_name(struct walk *w, const char *name, ext2_ino_t ino)
{
	cleanup_close int fd = -EBADF;
	struct stat st;
	int r;

	if (fstatat(w->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT && w->depth == 0 &&
		    strcmp(name, LOST_FOUND) == 0)
			return 0;
		return imgd_error_set(w->err, errno, "%s: %s", name,
		    strerror(errno));
	}
	r = correct_inode(w->fs, ino, &st, w->err);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	fd = openat(w->dir_fd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return imgd_error_set(w->err, errno, "%s: %s", name,
		    strerror(errno));
	return correct_dir(w, ino, fd);
}

static int
visit(ext2_ino_t dir, int entry, struct ext2_dir_entry *de, int offset,
    int blocksize, char *buf, void *ctx)
{
	char name[EXT2_NAME_LEN + 1];
	size_t len = (size_t)ext2fs_dirent_name_len(de);
	struct walk *w = ctx;

	(void)dir;
	(void)offset;
	(void)blocksize;
	(void)buf;
	if (entry != DIRENT_OTHER_FILE)
		return 0;
	memcpy(name, de->name, len);
	name[len] = '\0';
	w->result = correct_name(w, name, de->inode);
	return w->result < 0 ? DIRENT_ABORT : 0;
}

static int
correct_dir(struct walk *up, ext2_ino_t ino, int dir_fd)
{
	struct walk w = { .fs = up->fs, .dir_fd = dir_fd,
		.depth = up->depth + 1, .err = up->err };
	errcode_t e;

	if (w.depth > LIMIT_PATH_DEPTH)
		return imgd_error_set(up->err, IMGD_E_LIMIT,
		    "directories more than %d deep", LIMIT_PATH_DEPTH);
	e = ext2fs_dir_iterate2(up->fs, ino, 0, NULL, visit, &w);
	if (w.result < 0)
		return w.result;
	return e != 0 ? fail(e, "read directory", up->err) : 0;
}

/* ---- lost+found ---- */

static int
remove_lost_found(ext2_filsys fs, struct imgd_error **err)
{
	struct ext2_inode inode;
	ext2_ino_t ino;
	errcode_t e;

	e = ext2fs_lookup(fs, EXT2_ROOT_INO, LOST_FOUND, sizeof(LOST_FOUND) - 1,
	    NULL, &ino);
	if (e == EXT2_ET_FILE_NOT_FOUND)
		return 0;
	if (e == 0)
		e = ext2fs_read_inode(fs, ino, &inode);
	if (e == 0)
		e = ext2fs_unlink(fs, EXT2_ROOT_INO, LOST_FOUND, ino, 0);
	if (e == 0)
		e = ext2fs_punch(fs, ino, &inode, NULL, 0, ~0ULL);
	if (e == 0) {
		inode.i_links_count = 0;
		inode.i_dtime = fs->now != 0 ? (__u32)fs->now : 1;
		e = ext2fs_write_inode(fs, ino, &inode);
	}
	if (e == 0) {
		ext2fs_inode_alloc_stats2(fs, ino, -1, /* isdir= */ 1);
		e = ext2fs_read_inode(fs, EXT2_ROOT_INO, &inode);
	}
	if (e == 0) {
		inode.i_links_count--;
		e = ext2fs_write_inode(fs, EXT2_ROOT_INO, &inode);
	}
	return e != 0 ? fail(e, "remove " LOST_FOUND, err) : 0;
}

/* ---- all of it ---- */

static int
correct(ext2_filsys fs, int tree_fd, struct imgd_error **err)
{
	struct walk w = { .fs = fs, .dir_fd = tree_fd, .err = err };
	struct stat st;
	errcode_t e;
	int r = 0;

	if (fstatat(tree_fd, LOST_FOUND, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = remove_lost_found(fs, err);
	if (r < 0)
		return r;
	e = ext2fs_dir_iterate2(fs, EXT2_ROOT_INO, 0, NULL, visit, &w);
	if (w.result < 0)
		return w.result;
	if (e != 0)
		return fail(e, "read directory", err);
	if (fstat(tree_fd, &st) < 0)
		return imgd_error_set(err, errno, "/: %s", strerror(errno));
	return correct_inode(fs, EXT2_ROOT_INO, &st, err);
}

int
maker_ext4_correct(struct maker *mk, struct imgd_error **err)
{
	cleanup_close int tree_fd = open(MAKER_TREE,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char number[16];
	struct rlimit files;
	ext2_filsys fs;
	errcode_t e;
	int fd, r;

	if (tree_fd < 0)
		return imgd_error_set(err, errno, "/: %s", strerror(errno));
	/* One for each level. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	fd = dup(mk->out_fd);
	if (fd < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	(void)snprintf(number, sizeof(number), "%d", fd);
	e = ext2fs_open(number, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0,
	    unixfd_io_manager, &fs);
	if (e != 0) {
		(void)close(fd);
		return fail(e, "open", err);
	}
	fs->now = mk->time;
	e = ext2fs_read_bitmaps(fs);
	r = e != 0 ? fail(e, "read bitmaps", err) : correct(fs, tree_fd, err);
	if (r < 0) {
		ext2fs_free(fs);
		return r;
	}
	e = ext2fs_close(fs);
	return e != 0 ? fail(e, "write", err) : 0;
}
