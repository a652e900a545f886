#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "lib/fs-type.h"

/* Numbers as statfs(2) and linux/magic.h have them; the older of the two
 * lacks some, so they stand here. */
static const struct {
	uint32_t magic;
	const char *name;
} fs_types[] = {
	{ 0xef53, "ext2/3/4" },
	{ 0x58465342, "xfs" },
	{ 0x9123683e, "btrfs" },
	{ 0x01021994, "tmpfs" },
	{ 0x794c7630, "overlayfs" },
	{ 0x65735546, "fuse" },
	{ 0xf2f52010, "f2fs" },
	{ 0x2fc12fc1, "zfs" },
	{ 0xca451a4e, "bcachefs" },
	{ 0x6969, "nfs" },
	{ 0xf15f, "ecryptfs" },
	{ 0x61756673, "aufs" },
	{ 0x73717368, "squashfs" },
	{ 0xe0f5e1e2, "erofs" },
	{ 0x24051905, "ubifs" },
	{ 0x4d44, "vfat" },
	{ 0xff534d42, "cifs" },
	{ 0x01021997, "9p" },
	{ 0x858458f6, "ramfs" },
};

int
fs_type_name(int fd, char buf[32], const char **ret_name,
    struct imgd_error **err)
{
	struct statfs sfs;
	uint32_t magic;
	size_t i;

	if (fstatfs(fd, &sfs) < 0)
		return imgd_error_set(err, errno, "statfs: %s",
		    strerror(errno));
	/* f_type is signed on some ABIs. */
	magic = (uint32_t)sfs.f_type;
	for (i = 0; i < sizeof(fs_types) / sizeof(fs_types[0]); i++) {
		if (fs_types[i].magic == magic) {
			*ret_name = fs_types[i].name;
			return 0;
		}
	}
	(void)snprintf(buf, 32, "0x%08x", magic);
	*ret_name = buf;
	return 0;
}
