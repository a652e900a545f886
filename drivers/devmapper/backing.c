/* What the pool lies on: two sparse files, or devices that were given. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/superblock.h"

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- what the journal and the options say ---- */

/* The device of an option, or the one that was used last, or the file. */
static int
settle(struct devmapper *d, struct backing *b, const char *device,
    const char *device_fact, const char *bytes_fact, struct imgd_error **err)
{
	cleanup_free char *known = NULL, *path = NULL;
	int r;

	r = journal_get(d->journal, device_fact, &known, err);
	if (r == 0)
		r = journal_get_u64(d->journal, bytes_fact, &b->bytes, err);
	if (r < 0)
		return r;
	if (device == NULL && known[0] != '\0')
		device = known;
	if (d->is_initialized && device != NULL && known[0] == '\0')
		return imgd_error_set(err, EINVAL,
		    "the store's %s is in %s/%s, not on %s", b->what, d->home,
		    b->what, device);
	b->is_file = device == NULL;
	if (b->is_file && d->is_fresh)
		b->bytes = 0;
	if (asprintf(&path, "%s%s%s", device != NULL ? device : d->home,
		device != NULL ? "" : "/", device != NULL ? "" : b->what) < 0)
		return no_memory(err);
	free(b->path);
	b->path = take_ptr(&path);
	return 0;
}

static int
settle_pool(struct devmapper *d, struct imgd_error **err)
{
	const char *given = d->options.pool_device;
	cleanup_free char *known = NULL;
	int r;

	r = journal_get(d->journal, "pool_device", &known, err);
	if (r < 0)
		return r;
	if (given == NULL && known[0] != '\0')
		given = known;
	if (d->is_initialized && given != NULL && known[0] == '\0')
		return imgd_error_set(err, EINVAL,
		    "the store has a pool of its own and cannot move to %s",
		    given);
	d->is_given_pool = given != NULL;
	if (d->is_given_pool)
		(void)snprintf(d->pool, sizeof(d->pool), "%s",
		    given + strlen("/dev/mapper/"));
	return 0;
}

static int
settle_format(struct devmapper *d, struct imgd_error **err)
{
	const struct options *o = &d->options;
	cleanup_free char *fs = NULL;
	uint64_t bytes;
	int r;

	r = journal_get(d->journal, "fs", &fs, err);
	if (r >= 0)
		r = journal_get_u64(d->journal, "block_bytes", &bytes, err);
	if (r < 0)
		return r;
	if (!d->is_initialized) {
		(void)snprintf(d->fs, sizeof(d->fs), "%s",
		    o->fs != NULL ? o->fs : "ext4");
		d->block_bytes = o->block_bytes > 0 ? o->block_bytes
		    : OPTION_BLOCK_BYTES;
		return 0;
	}
	if (o->fs != NULL && strcmp(o->fs, fs) != 0)
		return imgd_error_set(err, EINVAL,
		    "option dm.fs=%s: the store was made with %s", o->fs, fs);
	if (o->block_bytes > 0 && o->block_bytes != bytes)
		return imgd_error_set(err, EINVAL,
		    "option dm.blocksize=%llu: the pool was made with %llu",
		    (unsigned long long)o->block_bytes,
		    (unsigned long long)bytes);
	(void)snprintf(d->fs, sizeof(d->fs), "%s", fs);
	d->block_bytes = bytes;
	return 0;
}

/* ---- what is there ---- */

static int
examine_file(struct devmapper *d, struct backing *b, struct imgd_error **err)
{
	struct stat st;

	if (fstatat(d->env->home_fd, b->what, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return imgd_error_set(err, errno, "%s: %s", b->path,
			    strerror(errno));
		if (b->bytes == 0)
			return 0;
		return imgd_error_set(err, EUCLEAN,
		    "%s is missing, and pool.db knows of layers in it: put it "
		    "back, or remove %s to start anew without them", b->path,
		    d->home);
	}
	if (!S_ISREG(st.st_mode))
		return imgd_error_set(err, EUCLEAN, "%s: not a regular file",
		    b->path);
	if ((uint64_t)st.st_size < b->bytes)
		return imgd_error_set(err, EUCLEAN,
		    "%s has %lld bytes and should have %llu: it was "
		    "truncated", b->path, (long long)st.st_size,
		    (unsigned long long)b->bytes);
	return 0;
}

static int
examine(struct devmapper *d, struct backing *b, struct imgd_error **err)
{
	uint64_t bytes;
	int r;

	if (b->is_file)
		return examine_file(d, b, err);
	r = d->host->device_bytes(b->path, &bytes, err);
	if (r < 0)
		return imgd_error_prefix(err, "%s device", b->what);
	if (bytes < b->bytes)
		return imgd_error_set(err, EUCLEAN,
		    "%s has %llu bytes and should have %llu: it is not the "
		    "store's %s device, or it was shrunk", b->path,
		    (unsigned long long)bytes, (unsigned long long)b->bytes,
		    b->what);
	return 0;
}

int
backing_read_metadata(struct devmapper *d, struct thin_super *ret,
    struct imgd_error **err)
{
	unsigned char buf[SUPERBLOCK_BYTES];
	int r;

	if (d->metadata.bytes == 0)
		return 0;
	r = d->host->device_read(d->metadata.path, buf, sizeof(buf), err);
	if (r < 0)
		return r;
	if (superblock_thin(buf, ret))
		return 1;
	if (!d->is_initialized && superblock_is_blank(buf))
		return 0;
	return imgd_error_set(err, EUCLEAN,
	    "%s is %s: the pool's metadata is lost; put the right one back, "
	    "or remove %s to start anew without its layers", d->metadata.path,
	    superblock_is_blank(buf) ? "blank" : "not a thin pool's metadata",
	    d->home);
}

int
backing_mismatch(struct devmapper *d, uint64_t pool, uint64_t journal,
    struct imgd_error **err)
{
	return imgd_error_set(err, EUCLEAN,
	    "the pool is at transaction %llu, %s/pool.db at %llu: they are "
	    "not of one time; put the right pair back, or run imgd "
	    "--driver-opt imgd.accept_transaction=%llu fsck --repair",
	    (unsigned long long)pool, d->home, (unsigned long long)journal,
	    (unsigned long long)pool);
}

/* Metadata that does not fit the journal is refused before the pool is
 * active and could change. */
static int
examine_metadata(struct devmapper *d, struct imgd_error **err)
{
	struct thin_super super;
	struct change pending;
	uint64_t known;
	int r;

	r = backing_read_metadata(d, &super, err);
	if (r <= 0)
		return r;
	r = journal_get_u64(d->journal, "transaction", &known, err);
	if (r >= 0)
		r = journal_pending(d->journal, &pending, err);
	if (r < 0)
		return r;
	if (super.transaction == known ||
	    (r > 0 && super.transaction == pending.target) ||
	    (d->options.has_accept &&
	    d->options.accept_transaction == super.transaction))
		return 0;
	return backing_mismatch(d, super.transaction, known, err);
}

int
backing_examine(struct devmapper *d, struct imgd_error **err)
{
	struct mapper_info info = { .exists = false };
	uint64_t transaction;
	struct change c;
	int r;

	r = journal_get_u64(d->journal, "transaction", &transaction, err);
	if (r == 0)
		r = journal_pending(d->journal, &c, err);
	if (r < 0)
		return r;
	d->is_fresh = r == 0 && transaction == 0;
	r = settle_format(d, err);
	if (r == 0)
		r = settle_pool(d, err);
	if (r < 0 || d->is_given_pool)
		return r;
	r = settle(d, &d->data, d->options.data_device, "data_device",
	    "data_bytes", err);
	if (r == 0)
		r = settle(d, &d->metadata, d->options.metadata_device,
		    "metadata_device", "metadata_bytes", err);
	if (r == 0 && d->has_mapper)
		r = d->mapper->info(d->pool, &info, err);
	if (r == 0)
		r = examine(d, &d->data, err);
	if (r == 0)
		r = examine(d, &d->metadata, err);
	/* Below an active pool the metadata on disk is of some time ago. */
	if (r == 0 && !info.exists)
		r = examine_metadata(d, err);
	return r;
}

bool
backing_wants_growth(const struct devmapper *d)
{
	return (d->data.is_file && d->options.data_bytes > d->data.bytes) ||
	    (d->metadata.is_file &&
	    d->options.metadata_bytes > d->metadata.bytes);
}

/* ---- making, growing, attaching ---- */

static uint64_t
wanted_bytes(const struct devmapper *d, const struct backing *b)
{
	uint64_t given = b == &d->data ? d->options.data_bytes
	    : d->options.metadata_bytes;

	if (given > 0 || b->bytes > 0)
		return given;
	return b == &d->data ? OPTION_DATA_BYTES : OPTION_METADATA_BYTES;
}

/* Make the file as large as wanted; it is never made smaller. */
static int
fit_file(struct devmapper *d, struct backing *b, int fd, uint64_t *ret_bytes,
    struct imgd_error **err)
{
	uint64_t want = wanted_bytes(d, b);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", b->path,
		    strerror(errno));
	*ret_bytes = (uint64_t)st.st_size;
	if (want > 0 && want < *ret_bytes)
		d->env->log(IMGD_LOG_WARN,
		    "%s has %llu bytes and is not made smaller", b->path,
		    (unsigned long long)*ret_bytes);
	if (want <= *ret_bytes)
		return 0;
	if (ftruncate(fd, (off_t)want) < 0 || fsync(fd) < 0)
		return imgd_error_set(err, errno, "%s: grow to %llu: %s",
		    b->path, (unsigned long long)want, strerror(errno));
	*ret_bytes = want;
	return 0;
}

/* Before its first transaction files are of a cut first start: take fresh
 * ones, for a half-written metadata file could not be told from one that is
 * damaged. */
static int
open_file(struct devmapper *d, struct backing *b, struct imgd_error **err)
{
	int fd, flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
	int home_fd = d->env->home_fd;

	if (b->bytes == 0) {
		if (unlinkat(home_fd, b->what, 0) < 0 && errno != ENOENT)
			return imgd_error_set(err, errno, "%s: %s", b->path,
			    strerror(errno));
		flags |= O_CREAT | O_EXCL;
	}
	fd = openat(home_fd, b->what, flags, 0600);
	if (fd < 0)
		return imgd_error_set(err, errno, "%s: %s", b->path,
		    strerror(errno));
	return fd;
}

static int
attach_file(struct devmapper *d, struct backing *b,
    char ret_path[DEVICE_PATH_SIZE], uint64_t *ret_bytes,
    struct imgd_error **err)
{
	cleanup_close int fd = open_file(d, b, err);
	int r;

	if (fd < 0)
		return fd;
	r = fit_file(d, b, fd, ret_bytes, err);
	if (r == 0 && fsync(d->env->home_fd) < 0)
		r = imgd_error_set(err, errno, "%s: %s", d->home,
		    strerror(errno));
	return r < 0 ? r : d->host->loop_attach(fd, b->path, ret_path, err);
}

/* A device that was not the store's yet must be blank: its content would be
 * overwritten. */
static int
attach_device(struct devmapper *d, struct backing *b,
    char ret_path[DEVICE_PATH_SIZE], uint64_t *ret_bytes,
    struct imgd_error **err)
{
	unsigned char buf[SUPERBLOCK_BYTES];
	int r, fd;

	r = d->host->device_claim(b->path, err);
	if (r == 0)
		r = d->host->device_bytes(b->path, ret_bytes, err);
	if (r == 0 && b->bytes == 0)
		r = d->host->device_read(b->path, buf, sizeof(buf), err);
	if (r < 0)
		return imgd_error_prefix(err, "%s device", b->what);
	if (b->bytes == 0 && !superblock_is_blank(buf))
		return imgd_error_set(err, EEXIST,
		    "%s device %s is not blank: zero its first 4 KiB if what "
		    "is on it may be lost", b->what, b->path);
	(void)snprintf(ret_path, DEVICE_PATH_SIZE, "%s", b->path);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : imgd_error_set(err, errno, "/dev/null: %s",
	    strerror(errno));
}

static int
record(struct devmapper *d, struct backing *b, struct imgd_error **err)
{
	bool is_data = b == &d->data;
	int r;

	r = journal_set(d->journal, is_data ? "data_device"
	    : "metadata_device", b->is_file ? "" : b->path, err);
	if (r == 0)
		r = journal_set_u64(d->journal, is_data ? "data_bytes"
		    : "metadata_bytes", b->bytes, err);
	return r;
}

int
backing_attach(struct devmapper *d, struct backing *b,
    char ret_path[DEVICE_PATH_SIZE], struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	uint64_t bytes = 0;
	int r;

	fd = b->is_file ? attach_file(d, b, ret_path, &bytes, err)
	    : attach_device(d, b, ret_path, &bytes, err);
	if (fd < 0)
		return fd;
	if (bytes != b->bytes) {
		b->bytes = bytes;
		r = record(d, b, err);
		if (r < 0)
			return r;
	}
	return take_fd(&fd);
}

/* ---- below an active pool ---- */

/* The devices of the active pool, as the first two words of its table. */
static int
active_devices(struct devmapper *d, dev_t *ret_metadata, dev_t *ret_data,
    struct imgd_error **err)
{
	unsigned int major[2], minor[2];
	struct mapper_line line;
	int r = d->mapper->table(d->pool, &line, err);

	if (r < 0)
		return r;
	if (sscanf(line.params, "%u:%u %u:%u", &major[0], &minor[0],
		&major[1], &minor[1]) != 4)
		return imgd_error_set(err, EPROTO,
		    "pool %s: table not understood: %s", d->pool, line.params);
	*ret_metadata = makedev(major[0], minor[0]);
	*ret_data = makedev(major[1], minor[1]);
	return 0;
}

static int
check_file(struct devmapper *d, const struct backing *b, dev_t device,
    struct imgd_error **err)
{
	struct stat st;
	dev_t dev;
	ino_t ino;
	int r;

	if (!b->is_file)
		return 0;
	r = d->host->loop_file(device, &dev, &ino, err);
	if (r < 0)
		return r;
	if (r > 0 && fstatat(d->env->home_fd, b->what, &st,
		AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == dev && st.st_ino == ino)
		return 0;
	return imgd_error_set(err, EUCLEAN,
	    "the active pool %s uses another file than %s, which was deleted "
	    "or exchanged: copy /dev/block/%u:%u before the pool goes", d->pool,
	    b->path, major(device), minor(device));
}

int
backing_check_active(struct devmapper *d, struct imgd_error **err)
{
	dev_t metadata, data;
	int r = active_devices(d, &metadata, &data, err);

	if (r == 0)
		r = check_file(d, &d->metadata, metadata, err);
	if (r == 0)
		r = check_file(d, &d->data, data, err);
	return r;
}

static int
grow_file(struct devmapper *d, struct backing *b, dev_t device,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	char path[LOOP_PATH_SIZE];
	uint64_t bytes;
	int r;

	if (!b->is_file)
		return 0;
	fd = open_file(d, b, err);
	if (fd < 0)
		return fd;
	r = fit_file(d, b, fd, &bytes, err);
	if (r < 0 || bytes == b->bytes)
		return r;
	(void)snprintf(path, sizeof(path), "/dev/loop%u", minor(device));
	r = d->host->loop_resize(path, err);
	if (r < 0)
		return r;
	b->bytes = bytes;
	return record(d, b, err);
}

int
backing_grow_active(struct devmapper *d, struct imgd_error **err)
{
	dev_t metadata, data;
	int r = active_devices(d, &metadata, &data, err);

	if (r == 0)
		r = grow_file(d, &d->metadata, metadata, err);
	if (r == 0)
		r = grow_file(d, &d->data, data, err);
	return r;
}
