/* A layer: its record, its device, its filesystem. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "adopt/docker-pool-impl.h"
#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/superblock.h"
#include "registry/json-get.h"

#define MAX_RECORD    4096
#define MAX_DEVICE_ID ((1u << 24) - 1)
#define MAX_BYTES     (1ull << 50)

struct record {
	uint64_t device, bytes, transaction;
	bool is_deleted;
};

/* ---- devicemapper/metadata/ID: moby graphdriver/devmapper, devInfo ---- */

static int
parse_record(const char *text, size_t len, struct record *ret,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *o = NULL;
	bool has_transaction = false;
	int r;

	*ret = (struct record) { .is_deleted = false };
	r = json_get_root(text, len, &o, err);
	if (r >= 0)
		r = json_get_u64(o, "device_id", &ret->device, NULL, err);
	if (r >= 0)
		r = json_get_u64(o, "size", &ret->bytes, NULL, err);
	if (r >= 0)
		r = json_get_u64(o, "transaction_id", &ret->transaction,
		    &has_transaction, err);
	if (r >= 0)
		r = json_get_bool(o, "deleted", &ret->is_deleted, err);
	return r;
}

/* Docker, too, takes no record of a later transaction than the pool's: the
 * device may be another's by now. */
static int
check_record(const struct docker_pool *p, const struct record *rec,
    struct imgd_error **err)
{
	if (rec->is_deleted)
		return imgd_error_set(err, EUCLEAN, "it is deleted");
	if (rec->device > MAX_DEVICE_ID || rec->bytes == 0 ||
	    rec->bytes > MAX_BYTES || rec->bytes % 512 != 0)
		return imgd_error_set(err, EUCLEAN,
		    "no device has the id %llu and %llu bytes",
		    (unsigned long long)rec->device,
		    (unsigned long long)rec->bytes);
	if (rec->transaction > p->transaction)
		return imgd_error_set(err, EUCLEAN,
		    "it is of transaction %llu, and the pool at %llu",
		    (unsigned long long)rec->transaction,
		    (unsigned long long)p->transaction);
	return 0;
}

static int
read_record(const struct docker_pool *p, const char *id, struct record *ret,
    struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	char path[128];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "devicemapper/metadata/%.64s", id);
	r = beneath_read(p->dir_fd, path, MAX_RECORD, &text, &len, err);
	if (r < 0)
		return imgd_error_prefix(err, "its device's record");
	r = parse_record(text, len, ret, err);
	if (r >= 0)
		r = check_record(p, ret, err);
	return r < 0 ? imgd_error_prefix(err, "its device's record %s", path)
		     : 0;
}

/* ---- the device ---- */

static int
activate(struct docker_pool *p, const struct record *rec,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char name[MAPPER_NAME_SIZE], params[64];
	int fd;

	(void)snprintf(name, sizeof(name), "%s-%u", p->prefix,
	    p->n_devices++);
	(void)snprintf(params, sizeof(params), "%s %u", p->number,
	    (unsigned int)rec->device);
	fd = docker_pool_activate(p, name, "thin", params, rec->bytes / 512,
	    &e);
	if (fd == -ENODATA)
		return imgd_error_set(err, EUCLEAN,
		    "its device %u is not in the pool",
		    (unsigned int)rec->device);
	if (fd < 0)
		return imgd_error_set(err, -fd, "its device %u: %s",
		    (unsigned int)rec->device, imgd_error_msg(e));
	return fd;
}

/* "ext4", "xfs" */
static int
find_fs(int device_fd, const char **ret_fs, bool *ret_is_unclean,
    struct imgd_error **err)
{
	static const char *const known[] = { "ext4", "xfs" };
	unsigned char buf[SUPERBLOCK_BYTES];
	ssize_t n = pread(device_fd, buf, sizeof(buf), 0);
	struct fs_super super;
	size_t i;

	if (n != sizeof(buf))
		return imgd_error_set(err, n < 0 ? errno : EUCLEAN,
		    "its device: %s",
		    n < 0 ? strerror(errno) : "it is too small");
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!superblock_fs(buf, known[i], &super))
			continue;
		*ret_fs = known[i];
		*ret_is_unclean = super.needs_recovery;
		return 0;
	}
	return imgd_error_set(err, EOPNOTSUPP,
	    "its device has neither an ext4 nor an xfs filesystem");
}

/* ---- the filesystem ---- */

struct fs_option {
	const char *key, *value; /* NULL: a flag */
};

/* No journal is played back, since nothing can be written; and a filesystem
 * that asks the kernel to panic over its errors does not get that. */
static const struct fs_option ext4_options[] = {
	{ "ro", NULL }, { "noload", NULL }, { "errors", "remount-ro" },
	{ NULL, NULL },
};
/* Twins of it, as all layers are, may be mounted. */
static const struct fs_option xfs_options[] = {
	{ "ro", NULL }, { "norecovery", NULL }, { "nouuid", NULL },
	{ NULL, NULL },
};

static int
configure(int fs_fd, const char *source, const struct fs_option *o)
{
	int r = fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", source, 0);

	for (; r == 0 && o->key != NULL; o++)
		r = fsconfig(fs_fd,
		    o->value != NULL ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
		    o->key, o->value, 0);
	return r < 0 ? r : fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* A mount that is in no namespace: it goes with its descriptors. */
static int
mount_device(int device_fd, const char *fs, struct imgd_error **err)
{
	cleanup_close int fs_fd = fsopen(fs, FSOPEN_CLOEXEC);
	char source[32];
	int fd;

	if (fs_fd < 0)
		return imgd_error_set(err, errno, "filesystem %s: %s", fs,
		    strerror(errno));
	if (configure(fs_fd, fs_fd_path(device_fd, source),
		strcmp(fs, "xfs") == 0 ? xfs_options : ext4_options) < 0)
		return imgd_error_set(err, errno,
		    "mount its %s filesystem: %s (the kernel's log says more)",
		    fs, strerror(errno));
	fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY |
	    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		return imgd_error_set(err, errno,
		    "mount its %s filesystem: %s", fs, strerror(errno));
	return fd;
}

int
docker_pool_layer(struct docker_pool *p, const char *id,
    bool *ret_is_unclean, struct imgd_error **err)
{
	cleanup_close int device_fd = -EBADF, mount_fd = -EBADF;
	struct record rec;
	const char *fs;
	int fd, r;

	r = read_record(p, id, &rec, err);
	if (r < 0)
		return r;
	device_fd = activate(p, &rec, err);
	if (device_fd < 0)
		return device_fd;
	r = find_fs(device_fd, &fs, ret_is_unclean, err);
	if (r < 0)
		return r;
	mount_fd = mount_device(device_fd, fs, err);
	if (mount_fd < 0)
		return mount_fd;
	fd = openat(mount_fd, "rootfs",
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return imgd_error_set(err, EUCLEAN,
		    "its tree, rootfs on its device: %s", strerror(errno));
	return fd;
}
