/*
 * Tars of things in trees, written entry by entry; for tar-export.c and
 * tar-changes.c alone.
 *
 * May change this process's working directory for a moment: attributes of what
 * must not be opened can be read only there.
 */
#ifndef LIB_TAR_ENTRY_H
#define LIB_TAR_ENTRY_H

#include <sys/stat.h>

#include "imgd/driver.h"
#include "imgd/error.h"

struct tar_out;

/* Begin a pax tar.  sink: borrowed, and outlives it. */
int tar_out_new(struct imgd_sink *sink, struct tar_out **ret,
    struct imgd_error **err);

/*
 * Add what is name in dir_fd, called path in the tar: a directory's ends with a
 * slash.  A file that has been added under another name becomes a hard link to
 * that.  Not for sockets.
 *
 * fd: open on it for a directory or a regular file, else -EBADF.
 */
int tar_out_add(struct tar_out *t, const char *path, int dir_fd,
    const char *name, const struct stat *st, int fd, struct imgd_error **err);

/* Add an empty file of mode 0 and time 0, as whiteouts are. */
int tar_out_mark(struct tar_out *t, const char *path, struct imgd_error **err);

/* The tar is complete: write its end. */
int tar_out_finish(struct tar_out *t, struct imgd_error **err);

/* What was not written by then is not. */
void tar_out_free(struct tar_out *t);
static inline void
tar_out_freep(struct tar_out **t)
{
	tar_out_free(*t);
}

/*
 * Open what is name in dir_fd for tar_out_add, and get its state.
 *
 * *ret_fd: a descriptor of the caller's, or -EBADF for what is not opened.
 * Returns 0 or -errno, and sets no error.
 */
int tar_out_open(int dir_fd, const char *name, struct stat *ret_st,
    int *ret_fd);

#endif
