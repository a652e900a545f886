/*
 * Names of filesystems, for messages and for telling what a store lies on.
 */
#ifndef LIB_FS_TYPE_H
#define LIB_FS_TYPE_H

#include "imgd/error.h"

/* The type of the filesystem that fd is on: "ext2/3/4", "xfs", …, or its
 * magic number as "0x…"; in buf or static. */
int fs_type_name(int fd, char buf[32], const char **ret_name,
    struct imgd_error **err);

#endif
