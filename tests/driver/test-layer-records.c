/* The records of drivers that keep layers as directories (lib/layer-dirs.h):
 * what a crash cut, and damage. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/fs-at.h"
#include "tests/driver/harness.h"

const char *harness_driver;

static void
restart_finishes_what_a_crash_cut(void **state)
{
	struct store *s = *state;
	char path[700];
	int tmp_fd, dying_fd, told;

	layer_create(s, id_of(1), NULL);
	(void)snprintf(path, sizeof(path), "%s/tmp", s->home);
	tmp_fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	(void)snprintf(path, sizeof(path), "%s/dying", s->home);
	dying_fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	/* A creation in the middle, and a removal after its rename. */
	sys(mkdirat(tmp_fd, id_of(2), 0700));
	put_file(tmp_fd, "junk", "x");
	sys(mkdirat(dying_fd, "half", 0700));
	sys(mkdirat(dying_fd, "half/dir", 0700));
	put_file(dying_fd, "half/dir/file", "x");
	sys(mkdirat(s->env.home_fd, "probe-0123456789abcdef", 0700));
	assert_int_equal(s->d->exists(s->h, id_of(2), NULL), 0);
	assert_int_equal(listed_count(s), 1);
	assert_int_equal(check_store(s, 0, &told), 3);
	/* The same id again, over its own leftover. */
	layer_create(s, id_of(2), NULL);
	assert_int_equal(check_store(s, 0, &told), 2);
	store_reopen(s, IMGD_OPEN_READONLY);
	assert_int_equal(check_store(s, 0, &told), 2);
	store_reopen(s, 0);
	assert_int_equal(check_store(s, 0, &told), 0);
	assert_true(unlinkat(s->env.home_fd, "probe-0123456789abcdef",
	    AT_REMOVEDIR) < 0);
	put_file(tmp_fd, "junk", "x");
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 0);
	assert_int_equal(told, 1);
	assert_int_equal(count_entries(tmp_fd), 0);
	assert_int_equal(count_entries(dying_fd), 0);
	sys(mkdirat(tmp_fd, id_of(3), 0700));
	ok(s->d->remove(s->h, id_of(3), &ok_err));
	assert_int_equal(count_entries(tmp_fd), 0);
	(void)close(tmp_fd);
	(void)close(dying_fd);
}

static void
damaged_records_are_told_and_removable(void **state)
{
	struct store *s = *state;
	char path[800];
	const char *sub = s->d->own_dir == NULL ? "/layers" : "";
	int told;

	layer_create(s, id_of(1), NULL);
	layer_seal(s, id_of(1));
	(void)snprintf(path, sizeof(path), "%s%s/%s/state", s->home, sub,
	    id_of(1));
	sys(unlink(path));
	fails(EUCLEAN, s->d->seal(s->h, id_of(1), &ok_err));
	fails(EUCLEAN, s->d->create(s->h, id_of(2), id_of(1), NULL, &ok_err));
	assert_int_equal(listed_state(s, id_of(1)), IMGD_STATE_STAGED);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 1);
	ok(s->d->remove(s->h, id_of(1), &ok_err));
	assert_int_equal(listed_count(s), 0);
}

/* u::rwx, g::rwx, o::rwx and user 1: what a default ACL looks like. */
static const unsigned char acl[] = { 2, 0, 0, 0,
	1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 7, 0, 1, 0, 0, 0,
	4, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x20, 0, 7, 0, 0xff, 0xff, 0xff, 0xff };

static void
layers_inherit_no_acl_from_the_store(void **state)
{
	struct store *s = *state;
	unsigned int i;
	int file;

	s->d->close(s->h);
	ok(fs_remove_tree(AT_FDCWD, s->home, &ok_err));
	(void)close(s->env.home_fd);
	sys(mkdir(s->home, 0700));
	sys(chown(s->home, 0, 50));
	sys(chmod(s->home, 02700));
	sys(setxattr(s->home, "system.posix_acl_default", acl, sizeof(acl),
	    0));
	s->env.home_fd = sys(open(s->home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	ok(s->d->open(&s->env, &s->h, &ok_err));
	layer_create(s, id_of(1), NULL);
	file = layer_fill(s, id_of(1));
	put_file(file, "a file", "x");
	layer_filled(s, id_of(1), file);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	for (i = 1; i <= 2; i++) {
		int fd = layer_look(s, id_of(i));
		int f = sys(openat(fd, "a file", O_RDONLY | O_CLOEXEC));
		struct stat st;

		sys(fstat(fd, &st));
		assert_int_equal(st.st_mode, S_IFDIR | 0755);
		assert_int_equal(st.st_gid, 0);
		assert_int_equal(flistxattr(fd, NULL, 0), 0);
		assert_int_equal(flistxattr(f, NULL, 0), 0);
		(void)close(f);
		layer_looked(s, id_of(i), fd);
	}
}

static int
on_vfs(void **state)
{
	harness_driver = "vfs";
	return store_setup(state);
}

static int
on_overlay(void **state)
{
	harness_driver = "overlay";
	return store_setup(state);
}

#define unit_case(f, setup)                                                  \
	{ #f " " #setup, f, setup, store_teardown, NULL }

int
main(void)
{
	const struct CMUnitTest tests[] = {
		unit_case(layers_inherit_no_acl_from_the_store, on_vfs),
		unit_case(layers_inherit_no_acl_from_the_store, on_overlay),
		unit_case(restart_finishes_what_a_crash_cut, on_vfs),
		unit_case(restart_finishes_what_a_crash_cut, on_overlay),
		unit_case(damaged_records_are_told_and_removable, on_vfs),
		unit_case(damaged_records_are_told_and_removable, on_overlay),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
