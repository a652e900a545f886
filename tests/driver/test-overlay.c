/* What only the overlay driver does: mounts, and layers that need parents. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/driver/harness.h"

const char *harness_driver = "overlay";

/* A sealed chain of n layers; layer i holds file-i. */
static void
make_chain(struct store *s, unsigned int n)
{
	unsigned int i;

	for (i = 1; i <= n; i++) {
		char name[32];
		int fd;

		layer_create(s, id_of(i), i == 1 ? NULL : id_of(i - 1));
		fd = layer_fill(s, id_of(i));
		(void)snprintf(name, sizeof(name), "file-%u", i);
		put_file(fd, name, name);
		layer_filled(s, id_of(i), fd);
		layer_seal(s, id_of(i));
	}
}

static char *
get_path(struct store *s, const char *id)
{
	char *path;

	ok(s->d->get(s->h, id, IMGD_GET_TREE, &path, &ok_err));
	return path;
}

static void
sealed_layers_are_read_only(void **state)
{
	struct store *s = *state;
	unsigned int i;

	make_chain(s, 2);
	for (i = 1; i <= 2; i++) {
		int fd = layer_look(s, id_of(i));
		struct statvfs sv;

		assert_true(openat(fd, "new", O_WRONLY | O_CREAT, 0600) < 0);
		assert_int_equal(errno, EROFS);
		sys(fstatvfs(fd, &sv));
		assert_true((sv.f_flag & ST_RDONLY) != 0);
		layer_looked(s, id_of(i), fd);
	}
}

static void
writable_layer_changes_nothing_below(void **state)
{
	struct store *s = *state;
	int fd;

	make_chain(s, 3);
	ok(s->d->create_rw(s->h, id_of(9), id_of(3), NULL, &ok_err));
	fd = layer_look(s, id_of(9));
	put_file(fd, "file-1", "mine");
	sys(unlinkat(fd, "file-2", 0));
	layer_looked(s, id_of(9), fd);
	fd = layer_look(s, id_of(3));
	assert_string_equal(get_text(fd, "file-1"), "file-1");
	assert_int_equal(count_entries(fd), 3);
	layer_looked(s, id_of(3), fd);
	fd = layer_look(s, id_of(9));
	assert_string_equal(get_text(fd, "file-1"), "mine");
	assert_int_equal(count_entries(fd), 2);
	layer_looked(s, id_of(9), fd);
	/* One without a parent is a plain directory. */
	ok(s->d->create_rw(s->h, id_of(10), NULL, NULL, &ok_err));
	fd = layer_look(s, id_of(10));
	put_file(fd, "new", "x");
	layer_looked(s, id_of(10), fd);
}

static void
chain_of_500_layers_is_read_and_501_refused(void **state)
{
	struct store *s = *state;
	uint32_t threads = s->d->threads, caps = s->d->caps;
	uint32_t depth = s->d->max_depth;
	char *path = NULL;
	int fd;

	ok(s->d->narrow(s->h, &threads, &caps, &depth, &ok_err));
	assert_int_equal(depth, 500);
	make_chain(s, 501);
	fd = layer_look(s, id_of(500));
	assert_int_equal(count_entries(fd), 500);
	assert_string_equal(get_text(fd, "file-1"), "file-1");
	assert_string_equal(get_text(fd, "file-500"), "file-500");
	layer_looked(s, id_of(500), fd);
	fails(E2BIG, s->d->get(s->h, id_of(501), IMGD_GET_TREE, &path,
	    &ok_err));
	ok(s->d->create_rw(s->h, id_of(999), id_of(500), NULL, &ok_err));
	fd = layer_look(s, id_of(999));
	put_file(fd, "file-1", "top");
	assert_string_equal(get_text(fd, "file-1"), "top");
	layer_looked(s, id_of(999), fd);
}

static void
mount_of_an_earlier_process_is_adopted(void **state)
{
	struct store *s = *state;
	char *before, *after;

	make_chain(s, 3);
	before = get_path(s, id_of(3));
	store_reopen(s, 0);
	assert_int_equal(listed_state(s, id_of(3)),
	    IMGD_STATE_SEALED | IMGD_STATE_MOUNTED);
	after = get_path(s, id_of(3));
	assert_string_equal(before, after);
	ok(s->d->put(s->h, id_of(3), IMGD_GET_TREE, &ok_err));
	assert_int_equal(listed_state(s, id_of(3)), IMGD_STATE_SEALED);
	free(before);
	free(after);
}

static void
cleanup_unmounts_what_has_no_user(void **state)
{
	struct store *s = *state;

	make_chain(s, 3);
	free(get_path(s, id_of(1)));
	free(get_path(s, id_of(2)));
	store_reopen(s, IMGD_OPEN_READONLY);
	ok(s->d->cleanup(s->h, &ok_err));
	assert_int_equal(listed_state(s, id_of(1)),
	    IMGD_STATE_SEALED | IMGD_STATE_MOUNTED);
	store_reopen(s, 0);
	free(get_path(s, id_of(3)));
	ok(s->d->cleanup(s->h, &ok_err));
	assert_int_equal(listed_state(s, id_of(1)), IMGD_STATE_SEALED);
	assert_int_equal(listed_state(s, id_of(2)), IMGD_STATE_SEALED);
	assert_int_equal(listed_state(s, id_of(3)),
	    IMGD_STATE_SEALED | IMGD_STATE_MOUNTED);
	ok(s->d->cleanup(s->h, &ok_err));
	ok(s->d->put(s->h, id_of(3), IMGD_GET_TREE, &ok_err));
}

static void
removal_knows_users_children_and_leftovers(void **state)
{
	struct store *s = *state;
	char *path;
	int fd;

	make_chain(s, 2);
	fails(EBUSY, s->d->remove(s->h, id_of(1), &ok_err));
	path = get_path(s, id_of(2));
	fails(EBUSY, s->d->remove(s->h, id_of(2), &ok_err));
	/* A busy leftover of an earlier process, and then an idle one. */
	store_reopen(s, 0);
	fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	fails(EBUSY, s->d->remove(s->h, id_of(2), &ok_err));
	assert_int_equal(s->d->exists(s->h, id_of(2), NULL), 1);
	assert_string_equal(get_text(fd, "file-1"), "file-1");
	(void)close(fd);
	ok(s->d->remove(s->h, id_of(2), &ok_err));
	ok(s->d->remove(s->h, id_of(1), &ok_err));
	assert_int_equal(listed_count(s), 0);
	free(path);
}

static void
busy_put_is_ebusy_and_can_be_repeated(void **state)
{
	struct store *s = *state;
	int fd;

	make_chain(s, 2);
	fd = layer_look(s, id_of(2));
	fails(EBUSY, s->d->put(s->h, id_of(2), IMGD_GET_TREE, &ok_err));
	/* A failure that is survived is a warning. */
	harness_warnings = 0;
	ok(s->d->cleanup(s->h, &ok_err));
	assert_int_equal(harness_warnings, 1);
	layer_looked(s, id_of(2), fd);
}

static void
child_is_made_and_filled_before_its_parent_is_sealed(void **state)
{
	struct store *s = *state;
	unsigned int i;
	int fd;

	assert_true((s->d->caps & IMGD_CAP_INDEPENDENT) != 0);
	for (i = 1; i <= 3; i++)
		layer_create(s, id_of(i), i == 1 ? NULL : id_of(i - 1));
	for (i = 3; i >= 1; i--) {
		char name[32];

		fd = layer_fill(s, id_of(i));
		(void)snprintf(name, sizeof(name), "file-%u", i);
		put_file(fd, name, name);
		layer_filled(s, id_of(i), fd);
	}
	for (i = 1; i <= 3; i++)
		layer_seal(s, id_of(i));
	fd = layer_look(s, id_of(3));
	assert_int_equal(count_entries(fd), 3);
	layer_looked(s, id_of(3), fd);
}

static void
opaque_directories_hide_even_at_the_root(void **state)
{
	struct store *s = *state;
	int fd, dir_fd;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	sys(mkdirat(fd, "lib", 0755));
	put_file(fd, "lib/hidden", "x");
	put_file(fd, "other", "x");
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_fill(s, id_of(2));
	sys(mkdirat(fd, "lib", 0755));
	put_file(fd, "lib/new", "x");
	dir_fd = sys(openat(fd, "lib", O_RDONLY | O_CLOEXEC));
	sys(fsetxattr(dir_fd, "trusted.overlay.opaque", "y", 1, 0));
	(void)close(dir_fd);
	layer_filled(s, id_of(2), fd);
	layer_seal(s, id_of(2));
	fd = layer_look(s, id_of(2));
	dir_fd = sys(openat(fd, "lib", O_RDONLY | O_CLOEXEC));
	assert_int_equal(count_entries(dir_fd), 1);
	(void)close(dir_fd);
	layer_looked(s, id_of(2), fd);

	layer_create(s, id_of(3), id_of(2));
	fd = layer_fill(s, id_of(3));
	put_file(fd, "only", "x");
	sys(fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0));
	layer_filled(s, id_of(3), fd);
	layer_seal(s, id_of(3));
	layer_create(s, id_of(4), id_of(3));
	fd = layer_fill(s, id_of(4));
	put_file(fd, "more", "x");
	/* The mark is not inherited with the root's other attributes. */
	assert_true(fgetxattr(fd, "trusted.overlay.opaque", NULL, 0) < 0);
	layer_filled(s, id_of(4), fd);
	layer_seal(s, id_of(4));
	fd = layer_look(s, id_of(3));
	assert_int_equal(count_entries(fd), 1);
	layer_looked(s, id_of(3), fd);
	fd = layer_look(s, id_of(4));
	assert_int_equal(count_entries(fd), 2);
	layer_looked(s, id_of(4), fd);
}

static void
descendants_see_a_replaced_layer(void **state)
{
	struct store *s = *state;
	int fd;

	make_chain(s, 3);
	/* One more layer 2, to repair with. */
	layer_create(s, id_of(20), id_of(1));
	fd = layer_fill(s, id_of(20));
	put_file(fd, "file-2", "repaired");
	layer_filled(s, id_of(20), fd);
	layer_seal(s, id_of(20));
	/* A leftover mount of layer 3 must not be adopted with old content;
	 * one in use stays as it is. */
	free(get_path(s, id_of(3)));
	store_reopen(s, 0);
	ok(s->d->replace(s->h, id_of(2), id_of(20), &ok_err));
	fd = layer_look(s, id_of(3));
	assert_string_equal(get_text(fd, "file-2"), "repaired");
	ok(s->d->replace(s->h, id_of(2), id_of(20), &ok_err));
	assert_string_equal(get_text(fd, "file-2"), "repaired");
	layer_looked(s, id_of(3), fd);
	fd = layer_look(s, id_of(3));
	assert_string_equal(get_text(fd, "file-2"), "file-2");
	layer_looked(s, id_of(3), fd);
	ok(s->d->remove(s->h, id_of(20), &ok_err));
}

static void
short_names_are_checked_and_repaired(void **state)
{
	struct store *s = *state;
	char path[800];
	int told, fd;

	make_chain(s, 2);
	(void)snprintf(path, sizeof(path), "%s/l/zzzzzz", s->home);
	sys(symlink("../gone/diff", path));
	(void)snprintf(path, sizeof(path), "%s/%s/link", s->home, id_of(1));
	sys(unlink(path));
	(void)snprintf(path, sizeof(path), "%s/%s/merged", s->home, id_of(2));
	sys(rmdir(path));
	assert_int_equal(check_store(s, 0, &told), 3);
	assert_int_equal(told, 3);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 0);
	assert_int_equal(told, 3);
	fd = layer_look(s, id_of(2));
	assert_int_equal(count_entries(fd), 2);
	layer_looked(s, id_of(2), fd);
	(void)snprintf(path, sizeof(path), "%s/l/zzzzzz", s->home);
	sys(symlink("../gone/diff", path));
	store_reopen(s, 0);
	assert_int_equal(unlink(path), -1);
}

static void
long_home_is_mounted_through_a_descriptor(void **state)
{
	struct store *s = *state;
	char name[201];
	int fd;

	memset(name, 'n', 200);
	name[200] = '\0';
	s->d->close(s->h);
	(void)close(s->env.home_fd);
	free(s->home);
	assert_true(asprintf(&s->home, "%s/%s,:", s->dir, name) > 0);
	sys(mkdir(s->home, 0700));
	s->env.home = s->home;
	s->env.home_fd = sys(open(s->home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	ok(s->d->probe(&s->env, &ok_err));
	ok(s->d->open(&s->env, &s->h, &ok_err));
	make_chain(s, 3);
	ok(s->d->create_rw(s->h, id_of(4), id_of(3), NULL, &ok_err));
	fd = layer_look(s, id_of(4));
	assert_int_equal(count_entries(fd), 3);
	layer_looked(s, id_of(4), fd);
}

/* An overlay cannot be stacked on a read-only place, or where xattrs are
 * missing: the answer is "try the next driver". */
static void
probe_refuses_unfit_filesystems(void **state)
{
	struct store *s = *state;
	struct imgd_env env = s->env;
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/ramfs", s->dir);
	sys(mkdir(path, 0700));
	sys(mount("ramfs", path, "ramfs", 0, NULL));
	env.home = path;
	env.home_fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	fails(EOPNOTSUPP, s->d->probe(&env, &ok_err));
	assert_int_equal(count_entries(env.home_fd), 0);
	sys(mount("none", path, "none", MS_REMOUNT | MS_BIND | MS_RDONLY,
	    NULL));
	fails(EROFS, s->d->probe(&env, &ok_err));
	(void)close(env.home_fd);
	sys(umount(path));
}

#define unit_case(f)                                                         \
	cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		unit_case(sealed_layers_are_read_only),
		unit_case(writable_layer_changes_nothing_below),
		unit_case(chain_of_500_layers_is_read_and_501_refused),
		unit_case(mount_of_an_earlier_process_is_adopted),
		unit_case(cleanup_unmounts_what_has_no_user),
		unit_case(removal_knows_users_children_and_leftovers),
		unit_case(busy_put_is_ebusy_and_can_be_repeated),
		unit_case(
		    child_is_made_and_filled_before_its_parent_is_sealed),
		unit_case(opaque_directories_hide_even_at_the_root),
		unit_case(descendants_see_a_replaced_layer),
		unit_case(short_names_are_checked_and_repaired),
		unit_case(long_home_is_mounted_through_a_descriptor),
		unit_case(probe_refuses_unfit_filesystems),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
