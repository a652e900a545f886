#include "config.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "lib/superblock.h"

static uint32_t
le32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t
le64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint64_t
be64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static void
format_uuid(const unsigned char u[16], char ret[FS_UUID_SIZE])
{
	(void)snprintf(ret, FS_UUID_SIZE,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5],
	    u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

/* fs/ext4/ext4.h, struct ext4_super_block, at byte 1024. */
static bool
read_ext4(const unsigned char *buf, struct fs_super *ret)
{
	const unsigned char *sb = buf + 1024;
	uint32_t log_block = le32(sb + 0x18);
	uint64_t blocks = le32(sb + 0x04);

	if (sb[0x38] != 0x53 || sb[0x39] != 0xef || log_block > 6)
		return false;
	if ((le32(sb + 0x60) & 0x80) != 0) /* 64bit */
		blocks |= (uint64_t)le32(sb + 0x150) << 32;
	ret->bytes = blocks * (1024ull << log_block);
	ret->needs_recovery = (le32(sb + 0x60) & 0x4) != 0;
	format_uuid(sb + 0x68, ret->uuid);
	return true;
}

/* fs/xfs/libxfs/xfs_format.h, struct xfs_dsb. */
static bool
read_xfs(const unsigned char *sb, struct fs_super *ret)
{
	uint32_t block_bytes;

	if (memcmp(sb, "XFSB", 4) != 0)
		return false;
	memcpy(&block_bytes, sb + 4, sizeof(block_bytes));
	ret->bytes = be64(sb + 8) * be32toh(block_bytes);
	ret->needs_recovery = false;
	format_uuid(sb + 32, ret->uuid);
	return true;
}

bool
superblock_fs(const unsigned char buf[SUPERBLOCK_BYTES], const char *fs,
    struct fs_super *ret)
{
	return strcmp(fs, "xfs") == 0 ? read_xfs(buf, ret)
	    : read_ext4(buf, ret);
}

bool
superblock_is_blank(const unsigned char buf[SUPERBLOCK_BYTES])
{
	return buf[0] == 0 && memcmp(buf, buf + 1, SUPERBLOCK_BYTES - 1) == 0;
}

/* drivers/md/dm-thin-metadata.c, struct thin_disk_superblock; the space map's
 * root in it begins with the number of blocks. */
bool
superblock_thin(const unsigned char buf[SUPERBLOCK_BYTES],
    struct thin_super *ret)
{
	if (le64(buf + 32) != 27022010)
		return false;
	ret->needs_check = (le32(buf + 4) & 1) != 0;
	ret->transaction = le64(buf + 48);
	ret->block_bytes = (uint64_t)le32(buf + 336) * 512;
	ret->data_blocks = le64(buf + 64);
	ret->metadata_bytes = le64(buf + 344) * 4096;
	return true;
}
