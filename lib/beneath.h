/* Opening what is inside a directory, and nothing outside. */
#ifndef LIB_BENEATH_H
#define LIB_BENEATH_H

#include <stddef.h>

#include "imgd/error.h"

/*
 * Open path below dir_fd for reading, through no link.
 * flags: 0 or O_DIRECTORY.  Returns a descriptor, or -errno.
 */
int beneath_open(int dir_fd, const char *path, int flags);

/*
 * Open a file of the tree that root_fd is open on, as one who has that tree
 * as root: links on the way stay inside.  The last component is never a link.
 * Returns a descriptor, or -errno.
 */
int beneath_open_in_root(int root_fd, const char *path);

/* Read a whole regular file of at most max bytes, as one who has the tree that
 * root_fd is open on as root: links stay inside, also the last component.
 * *ret_data is malloc'ed and ends with a NUL. */
int beneath_read_in_root(int root_fd, const char *path, size_t max,
    char **ret_data, struct imgd_error **err);

/* Read a whole regular file of at most max bytes; as fs_read_file, but path
 * may have several components. */
int beneath_read(int dir_fd, const char *path, size_t max, char **ret_data,
    size_t *ret_len, struct imgd_error **err);

#endif
