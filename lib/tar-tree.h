/*
 * The directory that a layer is unpacked into, for the tar-*.c files alone:
 * finding and making directories, and the book of what this layer has done.
 *
 * All paths here are resolved: relative to the root, without "." or "..", and
 * no component but perhaps the last is a link.  The root is "".
 */
#ifndef LIB_TAR_TREE_H
#define LIB_TAR_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/limits.h"
#include "lib/path-set.h"
#include "lib/recipe.h"
#include "lib/tar.h"

/* Where bodies of aufs's pseudo-links wait; no entry's name reaches it. */
#define TREE_PLNK_DIR ".wh..wh.imgd-plnk"

/* Tags under which paths are in tar_tree.set. */
#define TAG_WRITTEN  'w' /* this layer's entry, or a directory made for one */
#define TAG_HOLDS    'h' /* a directory with something written in or below */
#define TAG_TIMED    't' /* a directory whose time stands in the spool */
#define TAG_PURGED   'p' /* a directory below which nothing lower is left */
#define TAG_COPIED   'c' /* came from the parent's tree … */
#define TAG_EXPLICIT 'e' /* … and then this layer had an entry for it */
#define TAG_WHITEOUT 'o' /* a marker has stood for it */

struct tar_dir {
	int fd; /* owned; open for reading */
	gid_t gid;
	bool has_default_acl;
	bool holds; /* TAG_HOLDS is set on it and all above */
	size_t len;
	char path[LIMIT_PATH_BYTES + 1];
};

/* Records for the end: spool_fd's content, see tar-spool.c. */
struct tar_spool {
	int fd;
	size_t n_buf;
	unsigned char buf[64u << 10];
};

struct tar_tree {
	const struct tar_unpack *params; /* borrowed */
	struct recipe_writer *recipe;    /* borrowed; for lost bodies */
	int root_fd;                     /* borrowed */
	bool is_own;    /* own directory on a parent: not DELETE, not base */
	bool is_full;   /* DELETE on a parent's copy */
	int parent_fd;  /* borrowed; -EBADF until asked for */
	uint64_t n_searched; /* names of the parent looked at by group_copy_up */
	bool has_true_links; /* the parent's link counts can be believed */
	bool has_copies;    /* any TAG_COPIED */
	bool has_whiteouts; /* any TAG_WHITEOUT */
	bool has_root_entry;
	bool has_hidden_root; /* each name of the parent's root was hidden */
	int plnk_fd;    /* owned; -EBADF until needed */
	struct path_set set;
	struct tar_spool spool;

	/* the directory used last, by the name it was asked for */
	struct tar_dir dir;
	size_t dir_name_len;
	char dir_name[LIMIT_PATH_BYTES + 1];
	bool has_dir;
};

int tree_new(const struct tar_unpack *params, struct recipe_writer *recipe,
    struct tar_tree **ret, struct imgd_error **err);
void tree_free(struct tar_tree *t);
static inline void
tree_freep(struct tar_tree **t)
{
	tree_free(*t);
}
/* After the last entry: check the whiteouts against the parent, set the
 * directories' times and the root's metadata. */
int tree_finish(struct tar_tree *t, struct imgd_error **err);

/* ---- tar-tree.c ---- */

/*
 * The directory with a cleaned name, links on the way resolved inside the
 * root, made or copied from the parent where it is missing.
 *
 * create: false: nothing is invented, only copied from the parent.
 * ret: t->dir, valid until the next call; NULL with result 0 if it is not
 *   there and create is false.
 */
int tree_dir(struct tar_tree *t, const char *name, size_t len, bool create,
    struct tar_dir **ret, struct imgd_error **err);
/* The same without touching t->dir, never creating; dir is closed by the
 * caller.  Returns 1, or 0 if it is not there. */
int tree_find_dir(struct tar_tree *t, const char *name, size_t len,
    struct tar_dir *dir, struct imgd_error **err);
/* A directory or link was removed: t->dir may be stale. */
void tree_forget_dir(struct tar_tree *t);
/* Something of this layer is about to stand in dir. */
int tree_holds(struct tar_tree *t, struct tar_dir *dir,
    struct imgd_error **err);
/* dir's path with name: in buf. -IMGD_E_LIMIT if that is too long. */
int tree_join(const struct tar_dir *dir, const char *name,
    char buf[LIMIT_PATH_BYTES + 1], size_t *ret_len, struct imgd_error **err);
/* Open a directory by its resolved path, following nothing and never leaving
 * root_fd, even if the path is forged.  Returns a
 * descriptor; -ENOENT, -ENOTDIR or -ELOOP without setting an error if it is
 * not there, or no longer a directory. */
int tree_open(int root_fd, const char *path);
static inline bool
tree_is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

/* Whether this path is the parent's and not this layer's. */
bool tree_is_copied(const struct tar_tree *t, const char *path, size_t len);
/* This layer has an entry for path. */
int tree_wrote(struct tar_tree *t, const char *path, size_t len,
    struct imgd_error **err);
static inline bool
tree_has(const struct tar_tree *t, char tag, const char *path, size_t len)
{
	return path_set_has(&t->set, tag, path, len);
}
int tree_tag(struct tar_tree *t, char tag, const char *path, size_t len,
    struct imgd_error **err);

/*
 * Open the parent's directory at path, if the parent shows through there.
 *
 * Returns 1 with *ret_fd, owned by the caller; 0 if there is none, or this
 * layer hides it.
 */
int tree_lower_dir(struct tar_tree *t, const char *path, size_t len,
    int *ret_fd, struct imgd_error **err);
/* Whether name in dir is hidden by a marker of this layer. */
bool tree_is_whited_out(const struct tar_tree *t, const struct tar_dir *dir,
    const char *name, const struct stat *st);

/* The parent's tree, asked for when first needed; for_root: as in lib/tar.h,
 * and then it is not needed again.  Returns the borrowed descriptor. */
int tree_parent(struct tar_tree *t, bool for_root, struct imgd_error **err);

/* ---- tar-group.c ---- */

/* fstatat in the parent's directory lower_fd, with a link count that holds.
 * Returns 1, or 0 if there is no such file. */
int group_stat(struct tar_tree *t, int lower_fd, const char *base,
    struct stat *ret, struct imgd_error **err);

/*
 * The file base in dir_fd has been copied from the parent's, of state
 * lower_st: link it to the other names that the parent has for it.
 *
 * In a full tree all of them change with it; so they must here.
 * -IMGD_E_LIMIT if a layer asks for this too often.
 */
int group_copy_up(struct tar_tree *t, const struct stat *lower_st, int dir_fd,
    const char *base, struct imgd_error **err);

/* ---- tar-spool.c ---- */

/* Set a directory's time at the end; the last call for a path counts. */
int spool_time(struct tar_tree *t, const char *path,
    const struct timespec *mtime, struct imgd_error **err);
/* Check at the end that the parent has what this marker hides. */
int spool_whiteout(struct tar_tree *t, const char *path,
    struct imgd_error **err);
int spool_finish_whiteouts(struct tar_tree *t, struct imgd_error **err);
int spool_finish_times(struct tar_tree *t, struct imgd_error **err);

/* ---- tar-whiteout.c ---- */

/* Hide name of the lower layers; name is without ".wh.". */
int whiteout_name(struct tar_tree *t, struct tar_dir *dir, const char *name,
    struct imgd_error **err);
/* Hide all that lower layers have in dir. */
int whiteout_opaque(struct tar_tree *t, const struct tar_dir *dir,
    struct imgd_error **err);
/* The directory that fd is open on replaces something that hid the parent's
 * directory of that path: keep it hidden. */
int whiteout_mark_opaque(struct tar_tree *t, int fd, const char *path,
    size_t len, struct imgd_error **err);
/* Make room for an entry: remove what this layer or, in a full tree, the
 * parent has at name, saving lost bodies.  Tells whether something that hid
 * the parent's content was there. */
int whiteout_clear(struct tar_tree *t, struct tar_dir *dir, const char *name,
    bool for_dir, bool *ret_is_dir, bool *ret_hid, struct imgd_error **err);
/* Remove the marker for name, if this layer set one: 1 if it was there. */
int whiteout_unmark(struct tar_tree *t, struct tar_dir *dir, const char *name,
    const char *path, size_t len, struct imgd_error **err);

/* ---- tar-meta.c ---- */

struct archive_entry;

struct tar_meta {
	uid_t uid;
	gid_t gid;
	mode_t mode; /* 07777 */
	struct timespec mtime;
	struct archive_entry *entry; /* borrowed: its xattrs; NULL: none */
};

/* One object: open as fd, or name in dir_fd where it must not be opened. */
struct tar_object {
	int fd;      /* -EBADF: use dir_fd and name */
	int dir_fd;
	const char *name;
	mode_t type; /* S_IFMT part */
	bool has_owner, has_mode; /* already what they should be */
};

/* Set everything but a directory's time, which the caller spools.
 * clear: an object that has been there, or has inherited ACLs, loses
 * attributes that meta lacks. */
int meta_apply(struct tar_tree *t, const struct tar_object *o,
    const struct tar_meta *meta, bool clear, struct imgd_error **err);
/* The header of a hard link: only what differs is changed. */
int meta_apply_link(struct tar_tree *t, int dir_fd, const char *name,
    const struct tar_meta *meta, struct imgd_error **err);
/* Make "to" like "from" in owner, attributes, mode and, unless it is a
 * directory, time; ret_st is from's state. */
int meta_copy(struct tar_tree *t, const struct tar_object *from,
    const struct tar_object *to, struct stat *ret_st,
    struct imgd_error **err);
/* Turn a directory into one that nobody described: 0755 0:0, no attributes,
 * time 0. */
int meta_reset(struct tar_tree *t, int fd, const char *path,
    struct imgd_error **err);
/* Copy the file name from the parent's directory lower_fd into dir. */
int meta_copy_up(struct tar_tree *t, int lower_fd, struct tar_dir *dir,
    const char *name, struct imgd_error **err);
/* Set one attribute by way of params->set_trusted where there is one. */
int meta_set_trusted(struct tar_tree *t, int fd, const char *name,
    const void *value, size_t len, struct imgd_error **err);

#endif
