/*
 * Copy directory trees exactly, and read them through.
 *
 * No path is ever longer than one name and no function recurses, so depth is
 * bounded by memory alone (some 100 bytes a level), and two descriptors are
 * open at a time.  Links follow nobody's symbolic links.
 */
#ifndef LIB_TREE_COPY_H
#define LIB_TREE_COPY_H

#include "imgd/error.h"

/*
 * Copy all that is in the directory src_fd into the empty directory dst_fd,
 * then src's own owner, mode, xattrs and times onto dst.
 *
 * Kept: content, holes, owner, mode, times to the nanosecond, xattrs with
 * ACLs and capabilities, hard links within the tree, devices, fifos, sockets.
 * Content is shared (FICLONE) where the filesystem can.
 *
 * links_fd: an empty directory on dst's filesystem, where names of files with
 *     several links are kept meanwhile, so that no table of them is needed in
 *     memory.  The caller removes it.
 * cancelled: polled, may be NULL; nonzero ends the copy with -ECANCELED.
 * On failure dst holds a part.
 */
int tree_copy(int src_fd, int dst_fd, int links_fd, int (*cancelled)(void),
    struct imgd_error **err);

/* Copy owner, mode, xattrs and times of the directory src_fd to dst_fd, but
 * none of overlayfs's own xattrs: those say how a layer stacks. */
int tree_copy_dir_attrs(int src_fd, int dst_fd, struct imgd_error **err);

/* Read every byte, link and xattr below dir_fd: what can no longer be read is
 * an error that names the file. */
int tree_read(int dir_fd, int (*cancelled)(void), struct imgd_error **err);

#endif
