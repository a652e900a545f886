/*
 * Layer tars: from a stream into a directory, and back from the directory.
 *
 * tar_unpack reads a layer's tar, writes its entries below one directory
 * descriptor and makes the layer's *recipe*: what is needed besides the
 * tree to give the very same tar back.  tar_pack is the reverse.  tar_export
 * and tar_changes make tars that nobody has made before.
 * Both treat all their input as hostile.
 *
 * Memory: about 2 MiB, and at most 16 bytes for each entry; more only while
 * a hostile tar's extension headers or sparse map are read (a few MiB).
 */
#ifndef LIB_TAR_H
#define LIB_TAR_H

#include <stdbool.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"
#include "lib/digest.h"

struct tar_unpack {
	int root_fd;        /* the directory to fill; borrowed */
	uint32_t whiteouts; /* IMGD_WH_*: how deletions are written */
	/* No lower layer: whiteouts are dropped, missing parents are made
	 * 0755 0:0. */
	bool is_base;
	int recipe_fd;      /* empty file for the recipe; borrowed */
	/* Empty, unlinked scratch file; borrowed.  It grows with the number of
	 * directories and whiteouts. */
	int spool_fd;
	struct imgd_source *source; /* the uncompressed tar */

	/*
	 * IMGD_WH_AUFS and IMGD_WH_OVERLAY only: the merged tree of the sealed
	 * parent as a read-only directory descriptor, which stays borrowed.
	 * Called at most once, when first needed; it blocks until the parent
	 * is sealed.  for_root: only the root's metadata will be read, and
	 * what is below it does not matter.
	 */
	int (*need_parent)(void *ctx, bool for_root, int *ret_tree_fd,
	    struct imgd_error **err);
	/*
	 * Set a trusted.* attribute (also the opaque mark) on fd, which may be
	 * path-only, and for which the caller may lack the right.  NULL: it is
	 * set directly.
	 */
	int (*set_trusted)(void *ctx, int fd, const char *name,
	    const void *value, size_t len, struct imgd_error **err);
	/*
	 * Give fd the trusted.* attributes that from_fd has (-EBADF: none at
	 * all) and no others, overlayfs's apart: the caller may not see them.
	 * NULL: it may.
	 */
	int (*match_trusted)(void *ctx, int fd, int from_fd,
	    struct imgd_error **err);
	void *ctx;
};

struct tar_result {
	char diff_id[DIGEST_STR_SIZE]; /* SHA-256 of the whole stream */
	uint64_t tar_bytes;            /* length of the whole stream */
	uint64_t content_bytes;        /* sum of the regular files' sizes */
	uint64_t n_entries;
};

/*
 * Unpack a layer.
 *
 * The tree's result equals what applying the layer on its parent's tree
 * gives (OCI image-spec, layer.md), whatever the form of the whiteouts:
 *   - whiteouts hide lower layers only, whatever their place in the tar;
 *   - an entry for a directory replaces all its metadata, a directory without
 *     one keeps what it had below, time included;
 *   - a directory that nobody describes is 0755 0:0 with time 0, and so is
 *     the time of a base's root without an entry: trees are reproducible;
 *   - a hard link's header is applied to the file, under all its names.
 * Names are taken relative to the root, also absolute ones; links on the way
 * are resolved inside it.
 * Returns 0; -IMGD_E_FORMAT for a tar that is malformed or names what it may
 * not; -IMGD_E_LIMIT; errno of a failed call.  The directory is then
 * half-filled: remove it.
 */
int tar_unpack(const struct tar_unpack *params, struct tar_result *ret,
    struct imgd_error **err);

/*
 * Write the tar of a layer to sink.
 *
 * tree_fd: the merged tree with that layer on top, read-only.
 * recipe_fd: what tar_unpack wrote, read from its beginning.
 * ret_diff_id: SHA-256 of what was written; the caller compares it.
 * Returns 0; -EUCLEAN with the file's name for a body that is not what the
 * recipe's checksum says, and for a damaged recipe, also one whose own digest
 * is not what came out; -IMGD_E_LIMIT; what sink returned.
 */
int tar_pack(int tree_fd, int recipe_fd, struct imgd_sink *sink,
    char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err);

/*
 * Write the tar of a whole tree to sink: pax, names sorted, the root as "./".
 *
 * Not for layers: nothing in it says what is gone from below.  Sockets are left
 * out.
 * May raise this process's limit of open files: there is one for each level.
 */
int tar_export(int tree_fd, struct imgd_sink *sink, struct imgd_error **err);

/* What stands before a path in a list of changes, which a NUL ends. */
#define TAR_CHANGE_THERE 'T' /* added or changed */
#define TAR_CHANGE_GONE  'G'

/*
 * Write the tar of a layer that makes a tree of what it was: the things that
 * changed in it, and whiteouts for what is gone.
 *
 * tree_fd: what it is now, read-only.
 * list_fd: a file, read from its beginning: for each change a TAR_CHANGE_*, the
 * path with a slash before it, a NUL; directories before what is in them.
 * What is not there any more by now is left out, and so are sockets.
 * ret_bytes: how long the tar is.
 * -EINVAL for a name that would be a whiteout; -IMGD_E_LIMIT.
 */
int tar_changes(int tree_fd, int list_fd, struct imgd_sink *sink,
    uint64_t *ret_bytes, struct imgd_error **err);

#endif
