/* The devmapper driver on a fake device-mapper: options, status lines, and
 * every call failing or being the last one before a crash. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/fs-at.h"
#include "lib/superblock.h"
#include "tests/driver/harness.h"

const char *harness_driver = "devmapper";

#define MAX_DEVICES 64

/* ---- the fake ---- */

struct fake_device {
	char name[MAPPER_NAME_SIZE], uuid[MAPPER_UUID_SIZE];
	char target[32], params[MAPPER_PARAMS_SIZE];
	uint64_t sectors;
	bool exists, is_readonly, is_mounted;
};

static struct {
	pthread_mutex_t mutex;
	struct fake_device devices[MAX_DEVICES];
	bool thin[MAX_DEVICES]; /* ids that the pool has */
	uint64_t transaction;
	const char *mode;
	struct stat files[2];
	char fs_uuid;
	/* The call that is the last: after it nothing works.  0: none. */
	int calls_left;
	bool is_done_first; /* that call takes effect all the same */
	bool is_dead;
} fake = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* Whether this call fails; *ret_effect: whether it is done anyway. */
static bool
dies(bool *ret_effect)
{
	*ret_effect = !fake.is_dead;
	if (fake.is_dead)
		return true;
	if (fake.calls_left == 0 || --fake.calls_left > 0)
		return false;
	fake.is_dead = true;
	*ret_effect = fake.is_done_first;
	return true;
}

static int
died(struct imgd_error **err)
{
	return imgd_error_set(err, EIO, "the machine died");
}

static struct fake_device *
find_device(const char *name)
{
	int i;

	for (i = 0; i < MAX_DEVICES; i++)
		if (fake.devices[i].exists &&
		    strcmp(fake.devices[i].name, name) == 0)
			return &fake.devices[i];
	return NULL;
}

static int
fake_start(struct imgd_error **err)
{
	(void)err;
	return 0;
}

static void
fake_stop(void)
{
}

static int
fake_versions(char ret_kernel[32], char ret_library[64], bool *ret_udev,
    struct imgd_error **err)
{
	(void)err;
	(void)strcpy(ret_kernel, "4.47.0");
	(void)strcpy(ret_library, "1.02");
	*ret_udev = false;
	return 0;
}

static int
fake_info(const char *name, struct mapper_info *ret, struct imgd_error **err)
{
	struct fake_device *d;

	(void)err;
	(void)pthread_mutex_lock(&fake.mutex);
	d = find_device(name);
	*ret = (struct mapper_info){ .exists = d != NULL };
	if (d != NULL) {
		ret->has_table = true;
		ret->is_readonly = d->is_readonly;
		ret->major = 253;
		ret->minor = (unsigned int)(d - fake.devices);
		(void)strcpy(ret->uuid, d->uuid);
	}
	(void)pthread_mutex_unlock(&fake.mutex);
	return 0;
}

static int
add_device(const struct mapper_device *m, struct imgd_error **err)
{
	struct fake_device *d = fake.devices;
	unsigned int id;

	if (find_device(m->name) != NULL)
		return imgd_error_set(err, EBUSY, "%s exists", m->name);
	if (strcmp(m->target, "thin") == 0 &&
	    (sscanf(m->params, "%*s %u", &id) != 1 || !fake.thin[id]))
		return imgd_error_set(err, ENODATA, "no such thin device");
	while (d->exists)
		d++;
	*d = (struct fake_device){ .exists = true,
		.is_readonly = m->is_readonly, .sectors = m->sectors };
	(void)snprintf(d->name, sizeof(d->name), "%s", m->name);
	(void)snprintf(d->uuid, sizeof(d->uuid), "%s", m->uuid);
	(void)snprintf(d->target, sizeof(d->target), "%s", m->target);
	(void)snprintf(d->params, sizeof(d->params), "%s",
	    strcmp(m->target, "thin") == 0 ? m->params : "7:0 7:1 128 0");
	return 0;
}

static int
fake_create(const struct mapper_device *m, struct imgd_error **err)
{
	bool effect, is_dying;
	int r = 0;

	(void)pthread_mutex_lock(&fake.mutex);
	is_dying = dies(&effect);
	if (effect)
		r = add_device(m, is_dying ? NULL : err);
	(void)pthread_mutex_unlock(&fake.mutex);
	return is_dying ? died(err) : r;
}

static int
fake_reload(const struct mapper_device *m, struct imgd_error **err)
{
	(void)m;
	(void)err;
	return 0;
}

static int
fake_resume(const char *name, struct imgd_error **err)
{
	(void)name;
	(void)err;
	return 0;
}

static int
fake_remove(const char *name, bool is_deferred, struct imgd_error **err)
{
	struct fake_device *d;
	bool effect, is_dying;

	(void)is_deferred;
	(void)pthread_mutex_lock(&fake.mutex);
	is_dying = dies(&effect);
	d = find_device(name);
	if (effect && d != NULL)
		d->exists = false;
	(void)pthread_mutex_unlock(&fake.mutex);
	return is_dying ? died(err) : 0;
}

static int
obey(const char *text, struct imgd_error **err)
{
	unsigned long long from, to;
	unsigned int id, origin;

	if (sscanf(text, "create_snap %u %u", &id, &origin) == 2 ||
	    sscanf(text, "create_thin %u", &id) == 1) {
		if (fake.thin[id])
			return imgd_error_set(err, EEXIST, "%s: exists", text);
		fake.thin[id] = true;
	} else if (sscanf(text, "delete %u", &id) == 1) {
		if (!fake.thin[id])
			return imgd_error_set(err, ENODATA, "%s: none", text);
		fake.thin[id] = false;
	} else if (sscanf(text, "set_transaction_id %llu %llu", &from,
	    &to) == 2) {
		if (from != fake.transaction)
			return imgd_error_set(err, EINVAL, "%s", text);
		fake.transaction = to;
	} else {
		return imgd_error_set(err, EINVAL, "%s", text);
	}
	return 0;
}

static int
fake_message(const char *name, const char *text, struct imgd_error **err)
{
	bool effect, is_dying;
	int r = 0;

	(void)name;
	(void)pthread_mutex_lock(&fake.mutex);
	is_dying = dies(&effect);
	if (effect)
		r = obey(text, is_dying ? NULL : err);
	(void)pthread_mutex_unlock(&fake.mutex);
	return is_dying ? died(err) : r;
}

static int
fake_status(const char *name, struct mapper_line *ret, struct imgd_error **err)
{
	if (fake.is_dead)
		return died(err);
	(void)name;
	ret->sectors = 4194304;
	(void)strcpy(ret->target, "thin-pool");
	(void)snprintf(ret->params, sizeof(ret->params),
	    "%llu 10/4096 %d/32768 - %s discard_passdown error_if_no_space - "
	    "1024 ", (unsigned long long)fake.transaction,
	    fake.transaction == 0 ? 0 : 10, fake.mode);
	return 0;
}

static int
fake_table(const char *name, struct mapper_line *ret, struct imgd_error **err)
{
	struct fake_device *d;
	int r = 0;

	(void)pthread_mutex_lock(&fake.mutex);
	d = find_device(name);
	if (d == NULL) {
		r = imgd_error_set(err, ENXIO, "%s: no such device", name);
	} else {
		ret->sectors = d->sectors;
		(void)strcpy(ret->target, d->target);
		(void)strcpy(ret->params, d->params);
	}
	(void)pthread_mutex_unlock(&fake.mutex);
	return r;
}

static int
fake_names(mapper_name_cb *cb, void *ctx, struct imgd_error **err)
{
	int i, r = 0;

	(void)err;
	for (i = 0; i < MAX_DEVICES && r == 0; i++)
		if (fake.devices[i].exists)
			r = cb(ctx, fake.devices[i].name);
	return r;
}

static void
fake_tidy(const char *prefix)
{
	(void)prefix;
}

static const struct mapper_ops fake_mapper = {
	.start = fake_start,
	.stop = fake_stop,
	.versions = fake_versions,
	.info = fake_info,
	.create = fake_create,
	.reload = fake_reload,
	.resume = fake_resume,
	.remove = fake_remove,
	.message = fake_message,
	.status = fake_status,
	.table = fake_table,
	.names = fake_names,
	.tidy = fake_tidy,
};

static int
fake_loop_attach(int file_fd, const char *path,
    char ret_path[LOOP_PATH_SIZE], struct imgd_error **err)
{
	unsigned int i = strstr(path, "metadata") == NULL;

	(void)err;
	(void)fstat(file_fd, &fake.files[i]);
	(void)snprintf(ret_path, LOOP_PATH_SIZE, "/dev/loop%u", i);
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int
fake_loop_resize(const char *path, struct imgd_error **err)
{
	(void)path;
	(void)err;
	return 0;
}

static int
fake_loop_file(dev_t device, dev_t *ret_dev, ino_t *ret_ino,
    struct imgd_error **err)
{
	(void)err;
	*ret_dev = fake.files[minor(device)].st_dev;
	*ret_ino = fake.files[minor(device)].st_ino;
	return 1;
}

static int
fake_device_bytes(const char *path, uint64_t *ret, struct imgd_error **err)
{
	(void)path;
	(void)err;
	*ret = 2ull << 30;
	return 0;
}

static int
fake_device_ok(const char *path, struct imgd_error **err)
{
	(void)path;
	(void)err;
	return 0;
}

static void
put_le(unsigned char *p, uint64_t v, int n)
{
	int i;

	for (i = 0; i < n; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static int
fake_device_read(const char *path, void *buf, size_t len,
    struct imgd_error **err)
{
	unsigned char *p = buf;

	(void)err;
	memset(p, 0, len);
	if (strstr(path, "/metadata") != NULL) {
		put_le(p + 32, 27022010, 8);
		put_le(p + 48, fake.transaction, 8);
		return 0;
	}
	put_le(p + 1024 + 4, 131072, 4); /* 512 MiB in blocks of 4 KiB */
	put_le(p + 1024 + 0x18, 2, 4);
	put_le(p + 1024 + 0x38, 0xef53, 2);
	p[1024 + 0x68] = (unsigned char)fake.fs_uuid;
	return 0;
}

static int
fake_discard(const char *path, uint64_t offset, uint64_t len,
    struct imgd_error **err)
{
	(void)path;
	(void)offset;
	(void)len;
	(void)err;
	return 0;
}

static int
fake_make_fs(const char *fs, char *const *args, const char *path,
    struct imgd_error **err)
{
	(void)fs;
	(void)args;
	(void)path;
	(void)err;
	return 0;
}

/* The device whose layer has this mount point. */
static struct fake_device *
device_at(const char *target)
{
	const char *id = strrchr(target, '/') + 1;
	int i;

	for (i = 0; i < MAX_DEVICES; i++) {
		const char *name = fake.devices[i].name;
		size_t n = strlen(name), m = strlen(id);

		if (fake.devices[i].exists && n > m &&
		    strcmp(name + n - m, id) == 0)
			return &fake.devices[i];
	}
	return NULL;
}

static int
fake_mount(const char *source, const char *target, const char *type,
    unsigned long flags, const void *data)
{
	struct fake_device *d = device_at(target);

	(void)source;
	(void)type;
	(void)flags;
	(void)data;
	if (d == NULL || fake.is_dead) {
		errno = ENXIO;
		return -1;
	}
	d->is_mounted = true;
	return 0;
}

static int
fake_umount(const char *target, int flags)
{
	struct fake_device *d = device_at(target);

	(void)flags;
	if (d == NULL || !d->is_mounted) {
		errno = EINVAL;
		return -1;
	}
	d->is_mounted = false;
	return 0;
}

static int syncfs_error;

static int
fake_syncfs(int fd)
{
	(void)fd;
	errno = syncfs_error;
	return syncfs_error != 0 ? -1 : 0;
}

static int
fake_mounted(int dir_fd, const char *name, dev_t *ret_dev,
    struct imgd_error **err)
{
	struct fake_device *d;
	char path[128];

	(void)dir_fd;
	(void)err;
	(void)snprintf(path, sizeof(path), "/%s", name);
	d = device_at(path);
	if (d == NULL || !d->is_mounted)
		return 0;
	*ret_dev = makedev(253, (unsigned int)(d - fake.devices));
	return 1;
}

static int
fake_grow(int root_fd, const char *fs, uint64_t bytes, struct imgd_error **err)
{
	(void)root_fd;
	(void)fs;
	(void)bytes;
	(void)err;
	return 0;
}

static void
fake_limit(dev_t device)
{
	(void)device;
}

static const struct host_ops fake_host = {
	.loop_attach = fake_loop_attach,
	.loop_resize = fake_loop_resize,
	.loop_file = fake_loop_file,
	.device_bytes = fake_device_bytes,
	.device_claim = fake_device_ok,
	.device_read = fake_device_read,
	.device_sync = fake_device_ok,
	.device_discard = fake_discard,
	.make_fs = fake_make_fs,
	.mount = fake_mount,
	.umount = fake_umount,
	.syncfs = fake_syncfs,
	.mounted = fake_mounted,
	.grow_fs = fake_grow,
	.limit_retries = fake_limit,
};

/* ---- a store on it ---- */

static struct imgd_option store_options[8] = {
	{ "dm.basesize", "512M" },
	{ "dm.loopdatasize", "2G" },
	{ "dm.loopmetadatasize", "16M" },
	{ "dm.min_free_space", "0%" },
};

static char dir[512];
static struct imgd_env env;
static const struct imgd_driver *const drv = &devmapper_driver;
static void *handle;

static void
log_nothing(int level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

static int
try_open(struct imgd_error **err)
{
	fake.is_dead = false;
	fake.calls_left = 0;
	return devmapper_open_with(&env, &fake_mapper, &fake_host, &handle,
	    err);
}

static void
reopen(void)
{
	struct imgd_error *err = NULL;

	if (handle != NULL)
		drv->close(handle);
	handle = NULL;
	if (try_open(&err) < 0)
		fail_msg("open: %s", imgd_error_msg(err));
}

static int
setup(void **state)
{
	const char *builddir = getenv("builddir");

	(void)state;
	memset(fake.devices, 0, sizeof(fake.devices));
	memset(fake.thin, 0, sizeof(fake.thin));
	fake.transaction = 0;
	fake.mode = "rw";
	fake.fs_uuid = 1;
	syncfs_error = 0;
	(void)snprintf(dir, sizeof(dir), "%s/test-dm-XXXXXX",
	    builddir != NULL ? builddir : ".");
	assert_non_null(mkdtemp(dir));
	env = (struct imgd_env){ .struct_size = sizeof(env), .home = dir,
		.run_dir = dir, .log = log_nothing, .options = store_options,
		.n_options = 4 };
	env.home_fd = sys(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	handle = NULL;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	if (handle != NULL)
		drv->close(handle);
	handle = NULL;
	(void)close(env.home_fd);
	ok(fs_remove_tree(AT_FDCWD, dir, &ok_err));
	return 0;
}

/* Journal and pool tell the same story. */
static void
expect_in_step(void)
{
	struct devmapper *d = handle;
	struct change pending;
	struct row *rows;
	uint64_t known;
	size_t i, n, devices = 0;

	ok(journal_get_u64(d->journal, "transaction", &known, &ok_err));
	assert_int_equal(known, fake.transaction);
	assert_int_equal(journal_pending(d->journal, &pending, NULL), 0);
	ok(journal_rows(d->journal, &rows, &n, &ok_err));
	for (i = 0; i < n; i++)
		assert_true(fake.thin[rows[i].device]);
	for (i = 0; i < MAX_DEVICES; i++)
		devices += fake.thin[i];
	assert_int_equal(devices, n);
	free(rows);
}

/* A life of layers, as far as it goes. */
static int
live(void)
{
	char *path = NULL;
	int r;

	r = drv->create(handle, id_of(1), NULL, NULL, NULL);
	if (r == 0)
		r = drv->get(handle, id_of(1), IMGD_GET_TREE, &path, NULL);
	free(path);
	if (r == 0)
		r = drv->put(handle, id_of(1), IMGD_GET_TREE, NULL);
	if (r == 0)
		r = drv->seal(handle, id_of(1), NULL);
	if (r == 0)
		r = drv->create(handle, id_of(2), id_of(1), NULL, NULL);
	if (r == 0)
		r = drv->remove(handle, id_of(2), NULL);
	if (r == 0)
		r = (drv->cleanup)(handle, NULL);
	return fake.is_dead ? -EIO : r;
}

/* ---- tests ---- */

static void
every_call_may_be_the_last(void **state)
{
	int n, k, r;

	for (k = 0; k < 2; k++) {
		for (n = 1;; n++) {
			(void)setup(state);
			reopen();
			fake.is_done_first = k == 1;
			fake.calls_left = n;
			r = live();
			reopen();
			ok(drv->remove(handle, id_of(2), &ok_err));
			ok(drv->remove(handle, id_of(1), &ok_err));
			ok((drv->cleanup)(handle, &ok_err));
			expect_in_step();
			assert_int_equal(live(), 0);
			expect_in_step();
			(void)teardown(state);
			if (r == 0)
				break;
		}
		(void)setup(state);
		assert_true(n > 10);
		(void)teardown(state);
	}
	(void)setup(state);
}

/* The very first start, cut anywhere. */
static void
the_first_start_may_be_cut(void **state)
{
	struct imgd_error *err = NULL;
	int n, k, r;

	for (k = 0; k < 2; k++) {
		for (n = 1;; n++) {
			(void)setup(state);
			fake.is_dead = false;
			fake.is_done_first = k == 1;
			fake.calls_left = n;
			r = devmapper_open_with(&env, &fake_mapper,
			    &fake_host, &handle, &err);
			imgd_error_free(err);
			err = NULL;
			reopen();
			assert_int_equal(live(), 0);
			expect_in_step();
			(void)teardown(state);
			if (r == 0)
				break;
		}
		(void)setup(state);
		assert_true(n > 5);
		(void)teardown(state);
	}
	(void)setup(state);
}

static void
open_fails(int code, const char *text)
{
	struct imgd_error *err = NULL;
	int r = try_open(&err);

	if (r == 0)
		fail_msg("opened, instead of: %s", text);
	if (r != -code || strstr(imgd_error_msg(err), text) == NULL)
		fail_msg("%d, %s; wanted %s", r, imgd_error_msg(err), text);
	imgd_error_free(err);
	handle = NULL;
}

static void
other_transactions_are_refused(void **state)
{
	static const int steps[] = { -2, -1, 1, 2 };
	size_t i;

	(void)state;
	reopen();
	assert_int_equal(live(), 0);
	for (i = 0; i < 4; i++) {
		char text[64];

		drv->close(handle);
		handle = NULL;
		fake.transaction += (uint64_t)(int64_t)steps[i];
		(void)snprintf(text, sizeof(text),
		    "imgd.accept_transaction=%llu",
		    (unsigned long long)fake.transaction);
		open_fails(EUCLEAN, text);
		fake.transaction -= (uint64_t)(int64_t)steps[i];
		reopen();
	}
}

static void
a_pool_with_another_base_is_refused(void **state)
{
	(void)state;
	reopen();
	assert_int_equal(live(), 0);
	fake.fs_uuid = 2;
	reopen();
	fails(EUCLEAN, drv->create(handle, id_of(3), NULL, NULL, &ok_err));
	fake.fs_uuid = 1;
	ok(drv->create(handle, id_of(3), NULL, NULL, &ok_err));
}

static void
foreign_devices_are_left_alone(void **state)
{
	struct devmapper *d;
	struct fake_device *f = &fake.devices[MAX_DEVICES - 1];
	char *path = NULL;

	(void)state;
	reopen();
	assert_int_equal(live(), 0);
	d = handle;
	thin_name(d, id_of(1), f->name);
	(void)strcpy(f->uuid, "LVM-somebody");
	f->exists = true;
	fails(EBUSY, drv->get(handle, id_of(1), IMGD_GET_TREE, &path,
	    &ok_err));
	assert_true(f->exists);
}

static void
write_errors_fail_put(void **state)
{
	char *path = NULL;

	(void)state;
	reopen();
	ok(drv->create(handle, id_of(1), NULL, NULL, &ok_err));
	ok(drv->get(handle, id_of(1), IMGD_GET_TREE, &path, &ok_err));
	free(path);
	syncfs_error = EIO;
	fails(EIO, drv->put(handle, id_of(1), IMGD_GET_TREE, &ok_err));
	syncfs_error = 0;
	/* It is unmounted all the same. */
	ok(drv->get(handle, id_of(1), IMGD_GET_TREE, &path, &ok_err));
	free(path);
	syncfs_error = EIO;
	fake.mode = "out_of_data_space";
	fails(ENOSPC, drv->put(handle, id_of(1), IMGD_GET_TREE, &ok_err));
	syncfs_error = 0;
	fails(ENOSPC, drv->create(handle, id_of(2), NULL, NULL, &ok_err));
	fake.mode = "ro";
	fails(EUCLEAN, drv->create(handle, id_of(2), NULL, NULL, &ok_err));
}

static void
orphans_are_stepped_over_and_deleted(void **state)
{
	struct store s = { .d = drv };
	int told;

	(void)state;
	reopen();
	fake.thin[2] = fake.thin[3] = true;
	ok(drv->create(handle, id_of(1), NULL, NULL, &ok_err));
	assert_true(fake.thin[4]);
	s.h = handle;
	assert_int_equal(check_store(&s, 0, &told), 2);
	assert_int_equal(check_store(&s, IMGD_CHECK_REPAIR, &told), 0);
	assert_int_equal(told, 2);
	assert_false(fake.thin[2] || fake.thin[3]);
	expect_in_step();
}

static void
nonsense_options_are_named(void **state)
{
	static const struct imgd_option bad[] = {
		{ "dm.nothing", "1" }, { "overlay.x", "1" },
		{ "dm.basesize", "" }, { "dm.basesize", "10x" },
		{ "dm.basesize", "-1G" }, { "dm.basesize", "1k" },
		{ "dm.basesize", "99999999999999999999T" },
		{ "dm.fs", "btrfs" }, { "dm.mkfsarg", "" },
		{ "dm.mountopt", "" }, { "dm.blocksize", "100k" },
		{ "dm.blocksize", "2g" }, { "dm.min_free_space", "10" },
		{ "dm.min_free_space", "100%" },
		{ "dm.min_free_space", "-1%" }, { "dm.blkdiscard", "maybe" },
		{ "dm.datadev", "sda" }, { "dm.thinpooldev", "/dev/sda" },
		{ "dm.thinpooldev", "" }, { "dm.loopmetadatasize", "17G" },
		{ "dm.use_deferred_deletion", "true" },
		{ "imgd.accept_transaction", "x" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		env.options = &bad[i];
		env.n_options = 1;
		open_fails(EINVAL, bad[i].key);
		assert_int_equal(count_entries(env.home_fd), 0);
	}
}

static void
options_are_read(void **state)
{
	static const struct imgd_option good[] = {
		{ "DM.BaseSize", "3g" }, { "dm.fs", "xfs" },
		{ "dm.mkfsarg", "-a" }, { "dm.mkfsarg", "-b" },
		{ "dm.mountopt", "x" }, { "dm.mountopt", "y,z" },
		{ "dm.thinpooldev", "/dev/mapper/pool" },
		{ "dm.min_free_space", "7%" }, { "dm.blkdiscard", "false" },
		{ "dm.use_deferred_removal", "1" },
		{ "dm.use_deferred_deletion", "TRUE" },
	};
	struct options o;
	uint64_t n;

	(void)state;
	env.options = good;
	env.n_options = sizeof(good) / sizeof(good[0]);
	ok(options_parse(&o, &env, &ok_err));
	assert_int_equal(o.base_bytes, 3ull << 30);
	assert_string_equal(o.mkfs_args[1], "-b");
	assert_null(o.mkfs_args[2]);
	assert_string_equal(o.mount_options, "x,y,z");
	assert_string_equal(o.pool_device, "/dev/mapper/pool");
	assert_int_equal(o.min_free_percent, 7);
	assert_int_equal(o.discard, 0);
	assert_true(o.deferred_removal && o.deferred_deletion);
	options_done(&o);
	assert_true(options_size("2Tb", &n) && n == 2ull << 40);
	assert_true(options_size("512", &n) && n == 512);
	assert_false(options_size("16777216T", &n));
}

static void
status_lines_are_understood(void **state)
{
	static const char *const bad[] = { "", "x", "1 2/3", "1 2/3 4 - rw",
		"1 2/3 4/5 - strange", "-1 2/3 4/5 - rw" };
	struct pool_status ps;
	size_t i;

	(void)state;
	assert_true(pool_parse_status("7 11/4096 300/32768 - rw "
	    "discard_passdown queue_if_no_space - 1024 ", &ps));
	assert_int_equal(ps.transaction, 7);
	assert_int_equal(ps.metadata_used, 11);
	assert_int_equal(ps.data_total, 32768);
	assert_int_equal(ps.mode, POOL_WRITES);
	assert_false(ps.needs_check);
	assert_true(pool_parse_status("7 11/4096 300/32768 55 ro "
	    "no_discard_passdown error_if_no_space needs_check 1024 ", &ps));
	assert_int_equal(ps.mode, POOL_READ_ONLY);
	assert_true(ps.needs_check);
	assert_true(pool_parse_status("7 1/2 3/3 - out_of_data_space x", &ps));
	assert_int_equal(ps.mode, POOL_OUT_OF_DATA);
	assert_true(pool_parse_status("Fail", &ps));
	assert_int_equal(ps.mode, POOL_FAILED);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(pool_parse_status(bad[i], &ps));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_call_may_be_the_last),
		T(the_first_start_may_be_cut),
		T(other_transactions_are_refused),
		T(a_pool_with_another_base_is_refused),
		T(foreign_devices_are_left_alone),
		T(write_errors_fail_put),
		T(orphans_are_stepped_over_and_deleted),
		T(nonsense_options_are_named),
		T(options_are_read),
		T(status_lines_are_understood),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
