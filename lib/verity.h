/*
 * The hash tree of dm-verity, behind the data that it is of.
 *
 * Source: Linux Documentation/admin-guide/device-mapper/verity.rst, and
 * cryptsetup's lib/verity for the superblock.
 */
#ifndef LIB_VERITY_H
#define LIB_VERITY_H

#include <stdint.h>

#include "imgd/error.h"

#define VERITY_BLOCK      4096
#define VERITY_SALT_BYTES 32

struct verity {
	unsigned char uuid[16];               /* what these two are */
	unsigned char salt[VERITY_SALT_BYTES]; /* is the caller's choice */

	/* results */
	uint64_t n_blocks;    /* of data */
	uint64_t hash_offset; /* of the superblock, in bytes */
	uint64_t end;         /* of the tree */
	char root_hash[65];   /* hex */
};

/*
 * Append superblock and tree (version 1, SHA-256, blocks of VERITY_BLOCK) to
 * the file, whose last block is filled up with zeros before.
 *
 * fd: read and written; its position does not matter.
 * -EINVAL for an empty file.
 */
int verity_append(int fd, struct verity *v, struct imgd_error **err);

#endif
