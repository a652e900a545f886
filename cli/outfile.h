/* Output that appears when it is complete: a file, or a directory. */
#ifndef CLI_OUTFILE_H
#define CLI_OUTFILE_H

#include <errno.h>
#include <stdbool.h>

#include "imgd/error.h"

struct outfile {
	int fd;       /* what to write to */
	int dir_fd;   /* where it gets its name; -EBADF: it has it */
	char *name;   /* in dir_fd */
	char *temp;   /* its name until then; NULL: none */
	bool is_dir, is_ours;
};

#define OUTFILE_INIT { .fd = -EBADF, .dir_fd = -EBADF }

/*
 * Begin to write path: a directory, which may be there if it is empty, if it
 * ends with "/".  NULL: standard output.  What is there and is no regular
 * file, as a device or a fifo, is written to directly.
 */
int outfile_open(const char *path, struct outfile *ret,
    struct imgd_error **err);
/* It is complete: put it on the disk, and give it its name. */
int outfile_commit(struct outfile *o, struct imgd_error **err);
/* What was not committed is gone. */
void outfile_done(struct outfile *o);

#endif
