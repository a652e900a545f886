/*
 * Loop devices, by ioctls.
 */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "imgd/error.h"

#define LOOP_PATH_SIZE 32

/* Open /dev/loopN with flags of open(2).  Returns -1 and errno. */
int loop_open(unsigned long n, int flags, char ret_path[LOOP_PATH_SIZE]);

/* A loop device that has the file: 1 and its number, or 0.
 * only_writable: one that can write to it. */
int loop_find(const struct stat *file, bool only_writable,
    unsigned long *ret_n);

/*
 * Attach a file to a free loop device that goes away with its last user.
 *
 * path: the file's name, for messages.
 * is_readonly: nothing can be written through it, even if file_fd can.
 * bytes: how much of the file's beginning it shows; 0: all.
 * Returns a descriptor of the loop device, which keeps it until something else
 * does.
 */
int loop_attach(int file_fd, const char *path, bool is_readonly,
    uint64_t bytes, char ret_path[LOOP_PATH_SIZE], struct imgd_error **err);

#endif
