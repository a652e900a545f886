/*
 * What superblocks on disk say: of ext4, xfs and dm-thin's metadata.
 */
#ifndef LIB_SUPERBLOCK_H
#define LIB_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define SUPERBLOCK_BYTES 4096 /* of a device's beginning: all that is read */
#define FS_UUID_SIZE     37

struct fs_super {
	char uuid[FS_UUID_SIZE];
	uint64_t bytes; /* size of the filesystem */
	/* ext4's journal was not played back; xfs does not say. */
	bool needs_recovery;
};

/* Whether buf is the beginning of an ext4 or xfs filesystem, as fs says. */
bool superblock_fs(const unsigned char buf[SUPERBLOCK_BYTES], const char *fs,
    struct fs_super *ret);

struct thin_super {
	uint64_t transaction;
	uint64_t block_bytes;
	uint64_t data_blocks, metadata_bytes; /* of the pool's devices */
	bool needs_check;
};

bool superblock_is_blank(const unsigned char buf[SUPERBLOCK_BYTES]);
/* Whether buf is the beginning of a thin pool's metadata. */
bool superblock_thin(const unsigned char buf[SUPERBLOCK_BYTES],
    struct thin_super *ret);

#endif
