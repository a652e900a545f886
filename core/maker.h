/* The files of the maker, the worker that makes filesystem images; nobody
 * else's. */
#ifndef CORE_MAKER_H
#define CORE_MAKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "imgd/error.h"

/* Where the tree is in the maker's own root, and the file to its programs. */
#define MAKER_TREE   "/tree"
#define MAKER_OUT_FD 3
#define MAKER_OUT    "/proc/self/fd/3"

struct maker {
	int tree_fd; /* the mount, not yet attached; owned */
	int out_fd;  /* an empty file; owned */
	int null_fd; /* /dev/null; owned */
	char uuid[37];
	int64_t time;        /* of the image */
	uint64_t size_bytes; /* of the filesystem; 0 = as needed */
};

/*
 * Leave the machine's root for one with programs and libraries, read-only, and
 * the tree.  Call once, with no thread that needs more.
 */
int maker_root_enter(struct maker *mk, struct imgd_error **err);

/*
 * Run a program of the system's directories and wait for it; it may read every
 * file and nothing else beyond what any user may, and sees no other process.
 *
 * argv: [0] is its name.  env: "KEY=VALUE"; both end with NULL.
 * -EIO with the last line that it wrote if it fails; -ENOENT if it is
 * not installed.
 */
int maker_run(const struct maker *mk, const char *const *argv,
    const char *const *env, struct imgd_error **err);

/* Keep, as the programs do, of all rights only that to read what is closed to
 * others.  No program can be run after that. */
int maker_drop_rights(struct imgd_error **err);

/* What a filesystem for the tree needs. */
struct tree_sums {
	uint64_t n_inodes;
	uint64_t content_bytes; /* in whole blocks of 4096 */
	uint64_t name_bytes;
	int64_t newest;         /* modification time */
	bool has_longest_name;  /* of LIMIT_NAME_BYTES */
};
int maker_measure(struct tree_sums *ret, struct imgd_error **err);

/* Fill the file with a filesystem of the tree's. */
typedef int maker_step(struct maker *mk, struct imgd_error **err);
maker_step maker_ext4, maker_squashfs, maker_erofs;

/*
 * Correct in a filesystem that mke2fs has filled what it leaves inexact: times,
 * owners of all that is there, the root; and remove lost+found unless the tree
 * has one.
 */
maker_step maker_ext4_correct;

#endif
