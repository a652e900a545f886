/* The base: the one formatted, empty device that base layers start from. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/superblock.h"

static int
read_super(struct devmapper *d, struct fs_super *ret, struct imgd_error **err)
{
	unsigned char buf[SUPERBLOCK_BYTES];
	char path[DEVICE_PATH_SIZE];
	int r;

	thin_path(d, BASE_ID, path);
	r = d->host->device_read(path, buf, sizeof(buf), err);
	if (r < 0)
		return r;
	if (!superblock_fs(buf, d->fs, ret))
		return imgd_error_set(err, EUCLEAN,
		    "the base device %s has no %s filesystem: this is another "
		    "store's pool, or it is damaged", path, d->fs);
	return 0;
}

/* ---- making it ---- */

static int
make_device(struct devmapper *d, struct row *ret, struct imgd_error **err)
{
	uint64_t bytes = d->options.base_bytes > 0 ? d->options.base_bytes
	    : OPTION_BASE_BYTES;
	struct change c = { .kind = CHANGE_CREATE };
	int r;

	(void)snprintf(c.row.id, sizeof(c.row.id), BASE_ID);
	c.row.state = ROW_BASE;
	c.row.bytes = (bytes + d->block_bytes - 1) / d->block_bytes *
	    d->block_bytes;
	r = pool_change(d, &c, NULL, err);
	if (r == 0)
		*ret = c.row;
	return r;
}

/* What mkfs puts into the root is not the image's. */
static int
empty_root(struct devmapper *d, int root_fd, struct imgd_error **err)
{
	if (unlinkat(root_fd, "lost+found", AT_REMOVEDIR) < 0 &&
	    errno != ENOENT)
		return imgd_error_set(err, errno, "lost+found: %s",
		    strerror(errno));
	if (fchown(root_fd, 0, 0) < 0 || fchmod(root_fd, 0755) < 0 ||
	    d->host->syncfs(root_fd) < 0)
		return imgd_error_set(err, errno, "base filesystem: %s",
		    strerror(errno));
	return 0;
}

/* Mount the base, which makes its filesystem as large as its device, and have
 * its root as it must be. */
static int
with_mounted(struct devmapper *d, struct imgd_error **err)
{
	struct row row;
	struct use *u;
	int r, v;

	r = journal_row(d->journal, BASE_ID, &row, err);
	if (r < 0)
		return r;
	row.state = IMGD_STATE_STAGED;
	u = layer_lock(d, BASE_ID, err);
	if (u == NULL)
		return -ENOMEM;
	r = layer_mount(d, &row, u, err);
	if (r == 0)
		r = empty_root(d, u->root_fd, err);
	v = layer_unmount(d, BASE_ID, u, /* keep_active= */ false,
	    r < 0 ? NULL : err);
	layer_unlock(d, u);
	return r < 0 ? r : v;
}

static int
format(struct devmapper *d, const struct row *row, struct imgd_error **err)
{
	char path[DEVICE_PATH_SIZE];
	struct fs_super super;
	int r;

	r = thin_activate(d, row, /* is_readonly= */ false, err);
	if (r < 0)
		return r;
	thin_path(d, BASE_ID, path);
	r = d->host->make_fs(d->fs, d->options.mkfs_args, path, err);
	FAIL_POINT("devmapper-base-formatted");
	if (r == 0)
		r = with_mounted(d, err);
	if (r == 0)
		r = thin_activate(d, row, /* is_readonly= */ true, err);
	if (r == 0)
		r = read_super(d, &super, err);
	if (r == 0)
		r = journal_set(d->journal, "base_uuid", super.uuid, err);
	if (r == 0)
		r = journal_set(d->journal, "fs", d->fs, err);
	if (r == 0)
		r = journal_set_u64(d->journal, "block_bytes", d->block_bytes,
		    err);
	if (r == 0)
		r = journal_set_u64(d->journal, "initialized", 1, err);
	FAIL_POINT("devmapper-base-done");
	if (r == 0)
		d->is_initialized = true;
	(void)thin_deactivate(d, BASE_ID, NULL);
	return r;
}

static int
make(struct devmapper *d, struct imgd_error **err)
{
	struct pool_status ps;
	struct row row;
	int r;

	r = journal_row(d->journal, BASE_ID, &row, err);
	if (r > 0)
		return format(d, &row, err);
	if (r < 0)
		return r;
	r = pool_status(d, &ps, err);
	if (r < 0)
		return r;
	if (ps.transaction != 0 || ps.data_used != 0)
		return imgd_error_set(err, EBUSY,
		    "the thin pool %s is in use: it is at transaction %llu "
		    "with %llu blocks used; a pool for imgd must be new",
		    d->pool, (unsigned long long)ps.transaction,
		    (unsigned long long)ps.data_used);
	r = make_device(d, &row, err);
	return r < 0 ? r : format(d, &row, err);
}

/* ---- growing and recognising it ---- */

static int
grow(struct devmapper *d, struct row *row, struct imgd_error **err)
{
	uint64_t want = d->options.base_bytes;

	want = (want + d->block_bytes - 1) / d->block_bytes * d->block_bytes;
	if (want > 0 && want < row->bytes)
		d->env->log(IMGD_LOG_WARN,
		    "the base device has %llu bytes and is not made smaller",
		    (unsigned long long)row->bytes);
	if (want <= row->bytes)
		return 0;
	/* First the journal: a device larger than its filesystem harms
	 * nobody, and is noticed. */
	row->bytes = want;
	return journal_set_bytes(d->journal, BASE_ID, want, err);
}

/* The pool is the one that pool.db belongs to if its base is. */
static int
recognise(struct devmapper *d, const struct row *row,
    struct fs_super *ret, struct imgd_error **err)
{
	cleanup_free char *known = NULL;
	int r, v;

	r = journal_get(d->journal, "base_uuid", &known, err);
	if (r == 0)
		r = thin_activate(d, row, /* is_readonly= */ true, err);
	if (r < 0)
		return imgd_error_prefix(err, "base device");
	r = read_super(d, ret, err);
	if (r == 0 && strcmp(ret->uuid, known) != 0)
		r = imgd_error_set(err, EUCLEAN,
		    "this is another store's pool: the filesystem of its base "
		    "device has the UUID %s, pool.db knows %s", ret->uuid,
		    known);
	v = thin_deactivate(d, BASE_ID, r < 0 ? NULL : err);
	return r < 0 ? r : v;
}

/* A process that was killed while it worked on the base left it mounted. */
static int
release_base(struct devmapper *d, struct imgd_error **err)
{
	struct mapper_info info;
	struct use *u;
	int r = thin_info(d, BASE_ID, &info, err);

	if (r < 0 || !info.exists)
		return r;
	u = layer_lock(d, BASE_ID, err);
	if (u == NULL)
		return -ENOMEM;
	r = layer_unmount(d, BASE_ID, u, /* keep_active= */ false, err);
	layer_unlock(d, u);
	return r;
}

int
base_ensure(struct devmapper *d, struct imgd_error **err)
{
	struct fs_super super;
	struct row row;
	int r;

	r = release_base(d, err);
	if (r < 0)
		return r;
	if (!d->is_initialized)
		return make(d, err);
	r = journal_row(d->journal, BASE_ID, &row, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, EUCLEAN,
		    "pool.db has no row of the base device");
	r = recognise(d, &row, &super, err);
	if (r == 0)
		r = grow(d, &row, err);
	if (r == 0 && row.bytes > super.bytes + FS_SLACK_BYTES)
		r = with_mounted(d, err);
	return r;
}
