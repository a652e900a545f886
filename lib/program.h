/* Running the system's programs: mkfs, fuse-overlayfs and the like. */
#ifndef LIB_PROGRAM_H
#define LIB_PROGRAM_H

#include <stddef.h>

#include "imgd/error.h"

enum {
	/* It is killed when this process dies: it must not go on writing to
	 * what a later process of ours has in hand. */
	PROGRAM_DIES_WITH_US = 1 << 0,
	/* What it leaves in the background outlives us: it gets a session of
	 * its own, and as many descriptors as may be. */
	PROGRAM_MAY_STAY = 1 << 1
};

/*
 * Run a program and wait for its end.
 *
 * path: absolute; argv: [0] is its name, ends with NULL; dir_fd: its working
 * directory, or AT_FDCWD.  It inherits nothing else of ours: no descriptor, no
 * environment, no signal's disposition.
 * -EIO with the last line that it wrote if it fails.
 */
int program_run(const char *path, const char *const *argv, int dir_fd,
    unsigned int flags, struct imgd_error **err);

/* Read to the end, and keep the last of it as a string. */
void program_read_tail(int fd, char *buf, size_t size);

/* 0 for a status of waitpid() that means success; else -EIO, with the last line
 * of text, which is changed. */
int program_judge(const char *name, int status, char *text,
    struct imgd_error **err);

#endif
