/*
 * The devmapper driver on a real device-mapper: run as root where there is
 * one, with a disk below $IMGD_TEST_STORES and the filesystem's name as
 * argument.  Each test leaves no mount, device or loop, and metadata that
 * thin_check finds sound.
 *
 *     devmapper-guest FS [TEST]        all tests, or one
 *     devmapper-guest FS work SEED     make layers until the power goes
 *     devmapper-guest FS verify -      see that they are all there
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/fs-at.h"
#include "tests/driver/harness.h"

const char *harness_driver = "devmapper";

static struct imgd_option options[16];
static const char *fs_name = "ext4";

static void
set_options(const char *const (*more)[2], uint32_t n)
{
	uint32_t i;

	options[0] = (struct imgd_option){ "dm.fs", fs_name };
	options[1] = (struct imgd_option){ "dm.loopdatasize", "2G" };
	options[2] = (struct imgd_option){ "dm.loopmetadatasize", "16M" };
	options[3] = (struct imgd_option){ "dm.basesize", "512M" };
	options[4] = (struct imgd_option){ "dm.min_free_space", "5%" };
	for (i = 0; i < n; i++)
		options[5 + i] = (struct imgd_option){ more[i][0],
			more[i][1] };
	harness_options = options;
	harness_n_options = 5 + n;
}

/* ---- leaks ---- */

static int
count_in(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	int n = 0;

	while (d != NULL && (de = readdir(d)) != NULL)
		n += strncmp(de->d_name, prefix, strlen(prefix)) == 0;
	if (d != NULL)
		(void)closedir(d);
	return n;
}

/* Loop devices with a file, by sysfs. */
static int
count_loops(void)
{
	char path[300];
	DIR *d = opendir("/sys/block");
	struct dirent *de;
	int n = 0;

	assert_non_null(d);
	while ((de = readdir(d)) != NULL) {
		(void)snprintf(path, sizeof(path),
		    "/sys/block/%s/loop/backing_file", de->d_name);
		n += access(path, F_OK) == 0;
	}
	(void)closedir(d);
	return n;
}

static int
run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
expect_metadata_sound(struct store *s)
{
	char command[700];

	(void)snprintf(command, sizeof(command), "thin_check -q %s/metadata",
	    s->home);
	assert_int_equal(run(command), 0);
}

static void
expect_nothing_left(void)
{
	assert_int_equal(count_in("/dev/mapper", "imgd-"), 0);
	assert_int_equal(count_in("/sys/block", "dm-"), 0);
	assert_int_equal(count_loops(), 0);
}

static int
setup(void **state)
{
	set_options(NULL, 0);
	return store_setup(state);
}

static int
teardown(void **state)
{
	struct store *s = *state;

	ok(s->d->cleanup(s->h, &ok_err));
	if (!s->is_damaged)
		expect_metadata_sound(s);
	if (store_teardown(state) != 0)
		return -1;
	expect_nothing_left();
	return 0;
}

/* ---- helpers ---- */

static void
make_sealed(struct store *s, const char *id, const char *parent,
    const char *name, const char *text)
{
	int fd;

	layer_create(s, id, parent);
	fd = layer_fill(s, id);
	put_file(fd, name, text);
	layer_filled(s, id, fd);
	layer_seal(s, id);
}

static void
expect_file(struct store *s, const char *id, const char *name,
    const char *text)
{
	int fd = layer_look(s, id);

	assert_string_equal(get_text(fd, name), text);
	layer_looked(s, id, fd);
}

static void
close_store(struct store *s)
{
	ok(s->d->cleanup(s->h, &ok_err));
	s->d->close(s->h);
	s->h = NULL;
}

static void
open_store(struct store *s)
{
	s->env.options = harness_options;
	s->env.n_options = harness_n_options;
	ok(s->d->open(&s->env, &s->h, &ok_err));
}

/* Opening fails with code, and the message has text. */
static void
open_fails(struct store *s, int code, const char *text)
{
	struct imgd_error *err = NULL;
	int r;

	s->env.options = harness_options;
	s->env.n_options = harness_n_options;
	r = s->d->open(&s->env, &s->h, &err);
	if (r == 0)
		fail_msg("opened, instead of: %s", text);
	print_message("# %s\n", imgd_error_msg(err));
	assert_int_equal(r, -code);
	if (strstr(imgd_error_msg(err), text) == NULL)
		fail_msg("\"%s\" does not say: %s", imgd_error_msg(err), text);
	imgd_error_free(err);
	assert_int_equal(count_in("/sys/block", "dm-"), 0);
}

static void
get_path(struct store *s, const char *id, uint32_t kind, char ret[300])
{
	char *path;

	ok(s->d->get(s->h, id, kind, &path, &ok_err));
	(void)snprintf(ret, 300, "%s", path);
	free(path);
}

struct sought_status {
	const char *key;
	char value[200];
};

static void
note_status(void *ctx, const char *key, const char *value)
{
	struct sought_status *ss = ctx;

	if (strcmp(key, ss->key) == 0)
		(void)snprintf(ss->value, sizeof(ss->value), "%s", value);
}

static const char *
status_of(struct store *s, const char *key)
{
	static struct sought_status ss;
	struct imgd_kv kv = { sizeof(kv), &ss, note_status };

	ss = (struct sought_status){ .key = key };
	ok(s->d->status(s->h, &kv, &ok_err));
	return ss.value;
}

static void
in_home(struct store *s, const char *format)
{
	char command[2000];

	(void)snprintf(command, sizeof(command), "cd %s && { %s; }", s->home,
	    format);
	if (run(command) != 0)
		fail_msg("%s", command);
}

/* ---- layers ---- */

static void
layers_are_snapshots(void **state)
{
	struct store *s = *state;
	struct stat st;
	int fd;

	make_sealed(s, id_of(1), NULL, "a", "one");
	make_sealed(s, id_of(2), id_of(1), "b", "two");
	fd = layer_look(s, id_of(2));
	assert_string_equal(get_text(fd, "a"), "one");
	assert_string_equal(get_text(fd, "b"), "two");
	assert_int_equal(count_entries(fd), 2);
	sys(fstat(fd, &st));
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(openat(fd, "c", O_CREAT | O_WRONLY, 0600), -1);
	assert_int_equal(errno, EROFS);
	layer_looked(s, id_of(2), fd);
	fd = layer_look(s, id_of(1));
	assert_null(get_text(fd, "b"));
	layer_looked(s, id_of(1), fd);
	ok(s->d->flush(s->h, &ok_err));
	fails(EBUSY, s->d->remove(s->h, id_of(1), &ok_err));
}

static void
a_block_device_has_a_clean_filesystem(void **state)
{
	struct store *s = *state;
	char path[300], tree[300];
	int fd;

	make_sealed(s, id_of(1), NULL, "a", "one");
	make_sealed(s, id_of(2), id_of(1), "b", "two");
	get_path(s, id_of(2), IMGD_GET_BLOCK, path);
	get_path(s, id_of(2), IMGD_GET_TREE, tree);
	fd = sys(open(path, O_RDWR | O_CLOEXEC));
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	(void)close(fd);
	in_home(s, "mkdir ../elsewhere");
	{
		char command[900];

		(void)snprintf(command, sizeof(command),
		    "cd %s/.. && dd if=%s of=copy bs=1M conv=sparse "
		    "status=none && mount -o ro,loop copy elsewhere && "
		    "test $(cat elsewhere/b) = two && umount elsewhere && "
		    "rm copy && rmdir elsewhere", s->home, path);
		assert_int_equal(run(command), 0);
	}
	ok(s->d->put(s->h, id_of(2), IMGD_GET_TREE, &ok_err));
	sys(access(path, F_OK));
	ok(s->d->put(s->h, id_of(2), IMGD_GET_BLOCK, &ok_err));
	assert_int_equal(access(path, F_OK), -1);
}

static void
tree_and_block_of_a_writable_layer_exclude_each_other(void **state)
{
	struct store *s = *state;
	char path[300];
	char *none = NULL;

	make_sealed(s, id_of(1), NULL, "a", "one");
	ok(s->d->create_rw(s->h, id_of(2), id_of(1), NULL, &ok_err));
	get_path(s, id_of(2), IMGD_GET_TREE, path);
	fails(EBUSY, s->d->get(s->h, id_of(2), IMGD_GET_BLOCK, &none,
	    &ok_err));
	ok(s->d->put(s->h, id_of(2), IMGD_GET_TREE, &ok_err));
	get_path(s, id_of(2), IMGD_GET_BLOCK, path);
	fails(EBUSY, s->d->get(s->h, id_of(2), IMGD_GET_TREE, &none,
	    &ok_err));
	ok(s->d->put(s->h, id_of(2), IMGD_GET_BLOCK, &ok_err));
	assert_null(none);
}

static void
a_larger_writable_layer_grows(void **state)
{
	struct store *s = *state;
	struct imgd_layer_opts opts = { .struct_size = sizeof(opts) };
	struct statvfs sv;
	int fd;

	make_sealed(s, id_of(1), NULL, "a", "one");
	opts.quota_bytes = 64ull << 20;
	fails(EINVAL, s->d->create_rw(s->h, id_of(2), id_of(1), &opts,
	    &ok_err));
	opts.quota_bytes = 1ull << 30;
	ok(s->d->create_rw(s->h, id_of(2), id_of(1), &opts, &ok_err));
	fd = layer_look(s, id_of(2));
	sys(fstatvfs(fd, &sv));
	assert_true(sv.f_blocks * sv.f_frsize > 700ull << 20);
	assert_string_equal(get_text(fd, "a"), "one");
	layer_looked(s, id_of(2), fd);
}

static void
mounts_are_adopted(void **state)
{
	struct store *s = *state;
	char path[300], again[300];

	make_sealed(s, id_of(1), NULL, "a", "one");
	get_path(s, id_of(1), IMGD_GET_TREE, path);
	store_reopen(s, 0);
	assert_int_equal(listed_state(s, id_of(1)),
	    IMGD_STATE_SEALED | IMGD_STATE_MOUNTED);
	get_path(s, id_of(1), IMGD_GET_TREE, again);
	assert_string_equal(path, again);
	ok(s->d->cleanup(s->h, &ok_err));
	assert_int_equal(listed_state(s, id_of(1)),
	    IMGD_STATE_SEALED | IMGD_STATE_MOUNTED);
	ok(s->d->put(s->h, id_of(1), IMGD_GET_TREE, &ok_err));
	/* And one that nobody asks for is taken down. */
	get_path(s, id_of(1), IMGD_GET_TREE, path);
	store_reopen(s, 0);
	ok(s->d->cleanup(s->h, &ok_err));
	expect_nothing_left();
	expect_file(s, id_of(1), "a", "one");
}

static void
contents_are_exchanged(void **state)
{
	struct store *s = *state;
	char path[300];
	int fd;

	make_sealed(s, id_of(1), NULL, "f", "old");
	make_sealed(s, id_of(2), NULL, "f", "new");
	get_path(s, id_of(1), IMGD_GET_TREE, path);
	ok(s->d->replace(s->h, id_of(1), id_of(2), &ok_err));
	fd = sys(open(path, O_RDONLY | O_DIRECTORY));
	assert_string_equal(get_text(fd, "f"), "old");
	(void)close(fd);
	ok(s->d->put(s->h, id_of(1), IMGD_GET_TREE, &ok_err));
	expect_file(s, id_of(1), "f", "new");
	expect_file(s, id_of(2), "f", "old");
}

static void
removal_gives_space_back(void **state)
{
	struct store *s = *state;
	struct stat before, full, after;
	int fd, i, f;
	static char block[1 << 20];

	make_sealed(s, id_of(1), NULL, "a", "one");
	ok(s->d->cleanup(s->h, &ok_err));
	sys(fstatat(s->env.home_fd, "data", &before, 0));
	memset(block, 'x', sizeof(block));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_fill(s, id_of(2));
	f = sys(openat(fd, "big", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (i = 0; i < 64; i++)
		assert_int_equal(write(f, block, sizeof(block)),
		    sizeof(block));
	(void)close(f);
	layer_filled(s, id_of(2), fd);
	sys(fstatat(s->env.home_fd, "data", &full, 0));
	assert_true(full.st_blocks > before.st_blocks + (60 << 11));
	ok(s->d->remove(s->h, id_of(2), &ok_err));
	assert_int_equal(s->d->exists(s->h, id_of(2), NULL), 0);
	ok(s->d->cleanup(s->h, &ok_err));
	sys(fstatat(s->env.home_fd, "data", &after, 0));
	assert_true(after.st_blocks < before.st_blocks + (8 << 11));
	assert_int_equal(listed_count(s), 1);
}

/* ---- sizes ---- */

static void
pool_and_base_grow(void **state)
{
	static const char *const larger[][2] = { { "dm.loopdatasize", "3G" },
		{ "dm.loopmetadatasize", "32M" }, { "dm.basesize", "768M" } };
	struct store *s = *state;
	struct statvfs sv;
	char path[300];
	int fd;

	make_sealed(s, id_of(1), NULL, "a", "one");
	/* With the pool active, and again with it inactive. */
	get_path(s, id_of(1), IMGD_GET_TREE, path);
	s->d->close(s->h);
	set_options(larger, 1);
	open_store(s);
	assert_string_equal(status_of(s, "Data Space Total"), "3.22GB");
	close_store(s);
	set_options(larger, 3);
	open_store(s);
	assert_string_equal(status_of(s, "Metadata Space Total"), "33.6MB");
	layer_create(s, id_of(2), NULL);
	fd = layer_fill(s, id_of(2));
	sys(fstatvfs(fd, &sv));
	assert_true(sv.f_blocks * sv.f_frsize > 600ull << 20);
	layer_filled(s, id_of(2), fd);
	/* Nothing is made smaller. */
	close_store(s);
	set_options(NULL, 0);
	open_store(s);
	assert_string_equal(status_of(s, "Data Space Total"), "3.22GB");
	expect_file(s, id_of(1), "a", "one");
}

static void
fill_until_error(int fd)
{
	static char block[1 << 20];
	int i, f;

	memset(block, 'y', sizeof(block));
	f = sys(openat(fd, "big", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (i = 0; i < 400; i++)
		if (write(f, block, sizeof(block)) < 0)
			break;
	(void)close(f);
}

static void
a_full_pool_fails_put_and_recovers(void **state)
{
	static const char *const small[][2] = { { "dm.loopdatasize", "256M" },
		{ "dm.min_free_space", "0%" } };
	struct imgd_error *err = NULL;
	struct store *s = *state;
	int fd, r;

	close_store(s);
	in_home(s, "rm -rf data metadata pool.db* mnt");
	set_options(small, 2);
	open_store(s);
	make_sealed(s, id_of(1), NULL, "a", "one");
	layer_create(s, id_of(2), id_of(1));
	fd = layer_fill(s, id_of(2));
	fill_until_error(fd);
	(void)close(fd);
	r = s->d->put(s->h, id_of(2), IMGD_GET_TREE, &err);
	assert_int_equal(r, -ENOSPC);
	print_message("# %s\n", imgd_error_msg(err));
	imgd_error_free(err);
	err = NULL;
	assert_string_equal(status_of(s, "Pool State"), "out of data space");
	r = s->d->create(s->h, id_of(3), id_of(1), NULL, &err);
	assert_int_equal(r, -ENOSPC);
	imgd_error_free(err);
	err = NULL;
	expect_file(s, id_of(1), "a", "one");
	ok(s->d->remove(s->h, id_of(2), &ok_err));
	ok(s->d->cleanup(s->h, &ok_err));
	make_sealed(s, id_of(3), id_of(1), "b", "three");
	expect_file(s, id_of(3), "b", "three");
}

static void
low_space_is_refused_before_writing(void **state)
{
	static const char *const most[][2] = { { "dm.min_free_space",
		"99%" } };
	struct store *s = *state;

	s->d->close(s->h);
	set_options(most, 1);
	open_store(s);
	fails(ENOSPC, s->d->create(s->h, id_of(1), NULL, NULL, &ok_err));
	assert_int_equal(listed_count(s), 0);
	s->d->close(s->h);
	set_options(NULL, 0);
	open_store(s);
}

/* ---- bad input ---- */

static void
lost_files_are_refused(void **state)
{
	struct store *s = *state;

	make_sealed(s, id_of(1), NULL, "a", "one");
	close_store(s);
	in_home(s, "mv data d");
	open_fails(s, EUCLEAN, "data is missing");
	in_home(s, "test ! -e data && cp --sparse=always d data && "
	    "truncate -s 1G data");
	open_fails(s, EUCLEAN, "truncated");
	in_home(s, "mv -f d data && mv metadata m");
	open_fails(s, EUCLEAN, "metadata is missing");
	in_home(s, "truncate -s 16M metadata");
	open_fails(s, EUCLEAN, "blank");
	in_home(s, "dd if=/dev/urandom of=metadata bs=4k count=4 "
	    "conv=notrunc status=none");
	open_fails(s, EUCLEAN, "not a thin pool's metadata");
	in_home(s, "mv -f m metadata && mkdir aside && mv pool.db aside");
	open_fails(s, EUCLEAN, "pool.db");
	in_home(s, "echo nonsense >pool.db");
	open_fails(s, EUCLEAN, "not a database");
	in_home(s, "rm -f pool.db* && mv aside/pool.db . && rmdir aside");
	open_store(s);
	expect_file(s, id_of(1), "a", "one");
}

static void
transactions_out_of_step_are_refused_and_repaired(void **state)
{
	static const char *const accept[][2] = { { "imgd.accept_transaction",
		"4" } };
	struct store *s = *state;
	int told;

	make_sealed(s, id_of(1), NULL, "a", "one");
	ok(s->d->cleanup(s->h, &ok_err));
	s->d->close(s->h);
	in_home(s, "mkdir ../old && cp pool.db ../old");
	open_store(s);
	make_sealed(s, id_of(2), NULL, "b", "two");
	make_sealed(s, id_of(3), NULL, "c", "three");
	close_store(s);
	in_home(s, "cp ../old/pool.db . && rm -r ../old");
	open_fails(s, EUCLEAN, "imgd.accept_transaction=4 fsck --repair");
	set_options(accept, 1);
	open_store(s);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 0);
	assert_int_equal(told, 2);
	assert_int_equal(check_store(s, 0, &told), 0);
	assert_int_equal(told, 0);
	expect_file(s, id_of(1), "a", "one");
	assert_int_equal(listed_count(s), 1);
	set_options(NULL, 0);
}

static void
another_stores_pool_is_refused(void **state)
{
	struct store *s = *state;

	make_sealed(s, id_of(1), NULL, "a", "one");
	close_store(s);
	in_home(s, "mkdir ../mine && mv data metadata pool.db ../mine");
	open_store(s);
	make_sealed(s, id_of(1), NULL, "a", "other");
	close_store(s);
	in_home(s, "mv ../mine/pool.db .");
	/* Seen when the pool is needed. */
	{
		char *path = NULL;

		open_store(s);
		fails(EUCLEAN, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path,
		    &ok_err));
		s->d->close(s->h);
	}
	expect_nothing_left();
	in_home(s, "mv ../mine/data ../mine/metadata . && rmdir ../mine");
	open_store(s);
	expect_file(s, id_of(1), "a", "one");
}

static void
busy_devices_are_refused(void **state)
{
	struct store *s = *state;
	char *path = NULL;

	make_sealed(s, id_of(1), NULL, "a", "one");
	close_store(s);
	in_home(s, "losetup /dev/loop7 data");
	open_store(s);
	fails(EBUSY, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path, &ok_err));
	s->d->close(s->h);
	in_home(s, "losetup -d /dev/loop7");
	open_store(s);
	expect_file(s, id_of(1), "a", "one");
}

static void
foreign_files_are_reported(void **state)
{
	struct store *s = *state;
	int told;

	make_sealed(s, id_of(1), NULL, "a", "one");
	in_home(s, "echo x >foreign && mkdir mnt/junk");
	assert_int_equal(check_store(s, 0, &told), 2);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 1);
	in_home(s, "test -e foreign && rm foreign && test ! -e mnt/junk");
}

static void
a_lost_device_is_reported(void **state)
{
	struct store *s = *state;
	char *path = NULL;
	int told;

	make_sealed(s, id_of(1), NULL, "a", "one");
	layer_create(s, id_of(2), NULL);
	in_home(s, "p=$(ls /dev/mapper | grep -e -pool) && "
	    "dmsetup message $p 0 'delete 2' && "
	    "dmsetup message $p 0 'delete 3'");
	fails(EUCLEAN, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path,
	    &ok_err));
	assert_int_equal(check_store(s, 0, &told), 2);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 1);
	assert_int_equal(listed_count(s), 1);
	s->is_damaged = true;
}

static void
needs_check_is_told(void **state)
{
	struct store *s = *state;
	struct imgd_error *err = NULL;
	int r;

	make_sealed(s, id_of(1), NULL, "a", "one");
	in_home(s, "p=$(ls /dev/mapper | grep -e -pool) && "
	    "dmsetup table $p | sed 's/ 2 skip/ 3 read_only skip/' | "
	    "dmsetup load $p && dmsetup suspend $p && dmsetup resume $p");
	assert_string_equal(status_of(s, "Pool State"), "read-only");
	r = s->d->create(s->h, id_of(2), id_of(1), NULL, &err);
	assert_int_equal(r, -EUCLEAN);
	print_message("# %s\n", imgd_error_msg(err));
	imgd_error_free(err);
	expect_file(s, id_of(1), "a", "one");
}

/* ---- crashes ---- */

/* Make, fill, seal and remove layers until killed. */
static void
work(struct store *s, unsigned int seed)
{
	unsigned int i;
	char *path;

	for (i = 0;; i++) {
		const char *id = id_of(seed * 1000 + i);
		int fd;

		if (s->d->create(s->h, id, id_of(1), NULL, NULL) < 0 ||
		    s->d->get(s->h, id, IMGD_GET_TREE, &path, NULL) < 0)
			_exit(1);
		fd = open(path, O_RDONLY | O_DIRECTORY);
		free(path);
		put_file(fd, "f", "text");
		(void)close(fd);
		if (s->d->put(s->h, id, IMGD_GET_TREE, NULL) < 0 ||
		    s->d->seal(s->h, id, NULL) < 0 ||
		    (i % 2 == 0 && s->d->remove(s->h, id, NULL) < 0) ||
		    (i % 5 == 0 && s->d->cleanup(s->h, NULL) < 0))
			_exit(2);
	}
}

static int
remember(void *ctx, const char *id, const char *parent, uint32_t state)
{
	char (*ids)[ID_SIZE] = ctx;
	int i;

	(void)parent;
	for (i = 0; ids[i][0] != '\0'; i++)
		;
	if (i < 500 && (state & IMGD_STATE_MASK) == IMGD_STATE_STAGED)
		memcpy(ids[i], id, ID_SIZE);
	return 0;
}

static void
kills_at_any_moment_lose_nothing(void **state)
{
	const char *scale = getenv("IMGD_TEST_SCALE");
	static char staged[512][ID_SIZE];
	struct store *s = *state;
	unsigned int i, j, rounds = 6;
	int status, told;

	if (scale != NULL && scale[0] != '\0')
		rounds = 100;
	make_sealed(s, id_of(1), NULL, "a", "one");
	srand((unsigned int)time(NULL));
	for (i = 1; i <= rounds; i++) {
		struct timespec pause = { 0, (rand() % 900) * 1000000l };
		pid_t pid;

		print_message("# kill %u\n", i);
		close_store(s);
		pid = sys(fork());
		if (pid == 0) {
			if (s->d->open(&s->env, &s->h, NULL) < 0)
				_exit(3);
			work(s, i);
		}
		(void)nanosleep(&pause, NULL);
		(void)kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		open_store(s);
		memset(staged, 0, sizeof(staged));
		ok(s->d->list(s->h, remember, staged, &ok_err));
		for (j = 0; staged[j][0] != '\0'; j++)
			ok(s->d->remove(s->h, staged[j], &ok_err));
		ok(s->d->cleanup(s->h, &ok_err));
		expect_nothing_left();
		expect_metadata_sound(s);
		assert_int_equal(check_store(s, 0, &told), 0);
		assert_int_equal(told, 0);
	}
	expect_file(s, id_of(1), "a", "one");
}

/* ---- given devices ---- */

static void
set_only(const char *const (*given)[2], uint32_t n)
{
	uint32_t i;

	options[0] = (struct imgd_option){ "dm.fs", fs_name };
	options[1] = (struct imgd_option){ "dm.basesize", "512M" };
	for (i = 0; i < n; i++)
		options[2 + i] = (struct imgd_option){ given[i][0],
			given[i][1] };
	harness_n_options = 2 + n;
}

static void
start_anew(struct store *s)
{
	close_store(s);
	in_home(s, "rm -rf data metadata pool.db* mnt");
}

static void
end_given(struct store *s, const char *undo)
{
	close_store(s);
	assert_int_equal(count_in("/dev/mapper", "imgd-"), 0);
	in_home(s, undo);
	/* teardown looks at a store with files. */
	in_home(s, "rm -rf pool.db* mnt");
	set_options(NULL, 0);
	open_store(s);
}

static void
given_devices_are_used(void **state)
{
	static const char *const given[][2] = { { "dm.datadev", "/dev/loop5" },
		{ "dm.metadatadev", "/dev/loop6" } };
	struct store *s = *state;
	struct imgd_error *err = NULL;
	char *path = NULL;

	start_anew(s);
	in_home(s, "truncate -s 2G ../d && truncate -s 16M ../m && "
	    "mkfs.ext4 -qF ../d && losetup /dev/loop5 ../d && "
	    "losetup /dev/loop6 ../m");
	set_only(given, 2);
	assert_int_equal(s->d->open(&(struct imgd_env){
	    .struct_size = sizeof(s->env), .home_fd = s->env.home_fd,
	    .home = s->home, .run_dir = s->dir, .log = s->env.log,
	    .cancelled = s->env.cancelled, .options = options,
	    .n_options = harness_n_options }, &s->h, &err), -EEXIST);
	print_message("# %s\n", imgd_error_msg(err));
	imgd_error_free(err);
	in_home(s, "dd if=/dev/zero of=/dev/loop5 bs=4k count=1 status=none");
	open_store(s);
	make_sealed(s, id_of(1), NULL, "a", "one");
	close_store(s);
	/* They are remembered, and another one is noticed. */
	set_only(NULL, 0);
	open_store(s);
	expect_file(s, id_of(1), "a", "one");
	assert_string_equal(status_of(s, "Data file"), "/dev/loop5");
	close_store(s);
	in_home(s, "losetup -d /dev/loop6 && mv ../m ../m0 && "
	    "truncate -s 16M ../m && losetup /dev/loop6 ../m");
	open_fails(s, EUCLEAN, "blank");
	in_home(s, "losetup -d /dev/loop6 && losetup /dev/loop6 ../m0");
	open_store(s);
	in_home(s, "mkdir x; ! mount /dev/loop5 x 2>/dev/null; rmdir x");
	expect_file(s, id_of(1), "a", "one");
	assert_null(path);
	end_given(s, "losetup -d /dev/loop5 && losetup -d /dev/loop6 && "
	    "rm ../d ../m ../m0");
}

static void
a_given_pool_is_used(void **state)
{
	static const char *const given[][2] = { { "dm.thinpooldev",
		"/dev/mapper/mine" } };
	struct store *s = *state;
	char *path = NULL;

	start_anew(s);
	set_only(given, 1);
	open_fails(s, ENODEV, "does not exist");
	in_home(s, "rm -f pool.db* && truncate -s 2G ../d && "
	    "truncate -s 16M ../m && losetup /dev/loop5 ../d && "
	    "losetup /dev/loop6 ../m && dmsetup create mine --table "
	    "'0 4194304 thin-pool /dev/loop6 /dev/loop5 256 0'");
	open_store(s);
	make_sealed(s, id_of(1), NULL, "a", "one");
	assert_string_equal(status_of(s, "Pool Blocksize"), "131kB");
	close_store(s);
	in_home(s, "dmsetup info mine >/dev/null && dmsetup remove mine");
	set_only(NULL, 0);
	open_store(s);
	fails(ENODEV, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path,
	    &ok_err));
	s->d->close(s->h);
	in_home(s, "dmsetup create mine --table "
	    "'0 4194304 thin-pool /dev/loop6 /dev/loop5 256 0'");
	open_store(s);
	expect_file(s, id_of(1), "a", "one");
	end_given(s, "dmsetup remove mine && losetup -d /dev/loop5 && "
	    "losetup -d /dev/loop6 && rm ../d ../m");
}

/* Layers that write something each, and so break up what they share. */
static unsigned int
make_until_error(struct store *s, unsigned int from, int *ret_r,
    struct imgd_error **err)
{
	unsigned int i;
	char *path;
	int fd, r = 0;

	for (i = from; r == 0 && i < from + 1000; i++) {
		r = s->d->create(s->h, id_of(i), id_of(1), NULL, err);
		if (r < 0)
			break;
		r = s->d->get(s->h, id_of(i), IMGD_GET_TREE, &path, err);
		if (r < 0)
			break;
		fd = open(path, O_RDONLY | O_DIRECTORY);
		free(path);
		(void)mkdirat(fd, "d", 0700);
		(void)close(fd);
		r = s->d->put(s->h, id_of(i), IMGD_GET_TREE, err);
	}
	*ret_r = r;
	return i;
}

static void
full_metadata_is_no_disaster(void **state)
{
	static const char *const tiny[][2] = { { "dm.loopmetadatasize", "2M" },
		{ "dm.min_free_space", "0%" } };
	static const char *const low[][2] = { { "dm.loopmetadatasize", "2M" },
		{ "dm.min_free_space", "30%" } };
	struct store *s = *state;
	struct imgd_error *err = NULL;
	unsigned int i;
	int r = 0;

	start_anew(s);
	set_options(low, 2);
	open_store(s);
	make_sealed(s, id_of(1), NULL, "a", "one");
	i = make_until_error(s, 2, &r, &err);
	assert_int_equal(r, -ENOSPC);
	print_message("# %u: %s\n", i, imgd_error_msg(err));
	imgd_error_free(err);
	err = NULL;
	s->d->close(s->h);
	set_options(tiny, 2);
	open_store(s);
	i = make_until_error(s, i, &r, &err);
	assert_int_equal(r, -ENOSPC);
	print_message("# %u: %s, %s\n", i, imgd_error_msg(err),
	    status_of(s, "Pool State"));
	imgd_error_free(err);
	expect_file(s, id_of(1), "a", "one");
	s->is_damaged = true;
}

static void
reading_changes_nothing(void **state)
{
	struct store *s = *state;
	char *path = NULL;

	make_sealed(s, id_of(1), NULL, "a", "one");
	close_store(s);
	s->env.flags = IMGD_OPEN_READONLY;
	open_store(s);
	assert_int_equal(listed_count(s), 1);
	assert_int_equal(s->d->exists(s->h, id_of(1), NULL), 1);
	assert_string_equal(status_of(s, "Pool State"), "inactive");
	fails(EROFS, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path, &ok_err));
	expect_nothing_left();
	s->d->close(s->h);
	s->env.flags = 0;
	open_store(s);
}

static void
an_idle_store_opens_quickly(void **state)
{
	struct store *s = *state;
	struct timespec a, b, c;
	char *path;

	make_sealed(s, id_of(1), NULL, "a", "one");
	close_store(s);
	set_options(NULL, 0);
	harness_n_options = 1;
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	open_store(s);
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	ok(s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path, &ok_err));
	(void)clock_gettime(CLOCK_MONOTONIC, &c);
	free(path);
	ok(s->d->put(s->h, id_of(1), IMGD_GET_TREE, &ok_err));
	print_message("# open %ld us, first get %ld us\n",
	    (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000,
	    (c.tv_sec - b.tv_sec) * 1000000 + (c.tv_nsec - b.tv_nsec) / 1000);
}

/* ---- power cuts ---- */

/* Make layers until the power goes; tell of each that a flush
 * made durable. */
static void
work_until_cut(struct store *s, unsigned int seed)
{
	unsigned int i, n;

	ok(s->d->remove(s->h, id_of(seed * 1000), &ok_err));
	make_sealed(s, id_of(seed * 1000), NULL, "f", id_of(seed * 1000));
	for (i = 1;; i++) {
		n = seed * 1000 + i;
		make_sealed(s, id_of(n), id_of(n - 1), "f", id_of(n));
		ok(s->d->flush(s->h, &ok_err));
		(void)printf("durable %u\n", n);
		(void)fflush(stdout);
		if (i % 4 == 0) {
			make_sealed(s, id_of(900000 + n), id_of(n), "g", "x");
			ok(s->d->remove(s->h, id_of(900000 + n), &ok_err));
		}
	}
}

static void
print_problem(void *ctx, const char *id, const char *text, int repaired)
{
	(void)ctx;
	(void)repaired;
	(void)printf("%.12s: %s\n", id != NULL ? id : "-", text);
}

/* After a cut: the layers whose numbers come on stdin are whole. */
static void
verify_after_cut(struct store *s)
{
	static char staged[512][ID_SIZE];
	unsigned int n, count = 0;
	char line[64];
	int told, j;

	ok(s->d->list(s->h, remember, staged, &ok_err));
	for (j = 0; staged[j][0] != '\0'; j++)
		ok(s->d->remove(s->h, staged[j], &ok_err));
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (sscanf(line, "durable %u", &n) != 1)
			continue;
		assert_int_equal(listed_state(s, id_of(n)) & IMGD_STATE_MASK,
		    IMGD_STATE_SEALED);
		expect_file(s, id_of(n), "f", id_of(n));
		count++;
	}
	ok((s->d->cleanup)(s->h, &ok_err));
	expect_nothing_left();
	expect_metadata_sound(s);
	if (s->d->check(s->h, IMGD_CHECK_DEEP, print_problem, &told,
	    NULL) != 0)
		fail_msg("the check is not clean");
	(void)printf("verified %u\n", count);
}

static const char *mode, *mode_argument;

static void
one_part(void **state)
{
	struct store *s = *state;

	if (strcmp(mode, "work") == 0)
		work_until_cut(s, (unsigned int)atoi(mode_argument));
	verify_after_cut(s);
}

/* harness.c loads the driver, with a store of its own that goes at once; the
 * one that matters stays where it is. */
static int
lasting_setup(void **state)
{
	static struct store lasting;
	const char *below = getenv("IMGD_TEST_STORES");
	void *scratch;

	set_options(NULL, 0);
	if (store_setup(&scratch) != 0)
		return -1;
	lasting = *(struct store *)scratch;
	close_store(&lasting);
	ok(fs_remove_tree(AT_FDCWD, lasting.dir, &ok_err));
	free(lasting.home);
	(void)close(lasting.env.home_fd);
	(void)snprintf(lasting.dir, sizeof(lasting.dir), "%s", below);
	assert_true(asprintf(&lasting.home, "%s/home", below) > 0);
	if (mkdir(lasting.home, 0700) < 0)
		assert_int_equal(errno, EEXIST);
	lasting.env.home_fd = sys(open(lasting.home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	lasting.env.home = lasting.home;
	lasting.env.run_dir = lasting.dir;
	open_store(&lasting);
	*state = &lasting;
	return 0;
}

static int
run_part(void)
{
	const struct CMUnitTest part[] = {
		cmocka_unit_test_setup(one_part, lasting_setup),
	};

	return cmocka_run_group_tests(part, NULL, NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(layers_are_snapshots),
		T(a_block_device_has_a_clean_filesystem),
		T(tree_and_block_of_a_writable_layer_exclude_each_other),
		T(a_larger_writable_layer_grows),
		T(mounts_are_adopted),
		T(contents_are_exchanged),
		T(removal_gives_space_back),
		T(pool_and_base_grow),
		T(a_full_pool_fails_put_and_recovers),
		T(low_space_is_refused_before_writing),
		T(lost_files_are_refused),
		T(transactions_out_of_step_are_refused_and_repaired),
		T(another_stores_pool_is_refused),
		T(busy_devices_are_refused),
		T(foreign_files_are_reported),
		T(a_lost_device_is_reported),
		T(needs_check_is_told),
		T(given_devices_are_used),
		T(a_given_pool_is_used),
		T(full_metadata_is_no_disaster),
		T(reading_changes_nothing),
		T(an_idle_store_opens_quickly),
		T(kills_at_any_moment_lose_nothing),
	};

	if (argc > 1)
		fs_name = argv[1];
	harness_start();
	if (argc > 3) {
		mode = argv[2];
		mode_argument = argv[3];
		return run_part();
	}
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
