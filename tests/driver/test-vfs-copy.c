/* A layer made by vfs is an exact copy of its parent. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/driver/harness.h"

const char *harness_driver = "vfs";

/* security.capability, version 2: cap_net_raw=ep. */
static const unsigned char capability[20] = { 1, 0, 0, 2, 0, 0x20 };
/* POSIX ACL, version 2: u::rw-, u:1:r--, g::r--, m::r--, o::--- */
static const unsigned char acl[] = { 2, 0, 0, 0,
	1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 4, 0, 1, 0, 0, 0,
	4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };

static void
set_times(int fd, const char *name, long seconds)
{
	const struct timespec times[2] = { { seconds, 123456789 },
		{ seconds + 1, 987654321 } };

	sys(utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW));
}

static void
set_xattr(int fd, const char *name, const char *attr, const void *value,
    size_t len)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
	sys(lsetxattr(path, attr, value, len, 0));
}

static const char *const names[] = { "dir", "dir/file", "dir/other", "link",
	"null", "fifo", "socket", "setuid", "cap", "acl", "sparse", "empty",
	".", "blank name\n" };

#define N_NAMES (sizeof(names) / sizeof(names[0]))

static void
fill(int fd)
{
	size_t i;
	int f;

	sys(mkdirat(fd, "dir", 0700));
	put_file(fd, "dir/file", "content");
	sys(linkat(fd, "dir/file", fd, "dir/other", 0));
	sys(symlinkat("/nowhere", fd, "link"));
	sys(fchownat(fd, "link", 5, 6, AT_SYMLINK_NOFOLLOW));
	set_xattr(fd, "link", "trusted.on.link", "x", 1);
	sys(mknodat(fd, "null", S_IFCHR | 0666, makedev(1, 3)));
	sys(mknodat(fd, "fifo", S_IFIFO | 0622, 0));
	sys(mknodat(fd, "socket", S_IFSOCK | 0755, 0));
	put_file(fd, "setuid", "#!");
	sys(fchownat(fd, "setuid", 7, 8, 0));
	sys(fchmodat(fd, "setuid", 06755, 0));
	put_file(fd, "cap", "#!");
	set_xattr(fd, "cap", "security.capability", capability, 20);
	set_xattr(fd, "cap", "user.note", "\0bytes", 6);
	put_file(fd, "acl", "x");
	set_xattr(fd, "acl", "system.posix_acl_access", acl, sizeof(acl));
	set_xattr(fd, "dir", "system.posix_acl_default", acl, sizeof(acl));
	put_file(fd, "empty", "");
	put_file(fd, "blank name\n", "x");
	f = sys(openat(fd, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	sys(ftruncate(f, 64 << 20));
	assert_int_equal(pwrite(f, "middle", 6, 32 << 20), 6);
	(void)close(f);
	sys(fchmodat(fd, "dir", 01777, 0));
	for (i = 0; i < N_NAMES; i++)
		set_times(fd, names[i], 1000000000 + (long)i);
}

static void
expect_same_xattrs(int a, int b, const char *name)
{
	char path_a[300], path_b[300], list[4096], other[4096];
	const char *attr;
	ssize_t n;

	(void)snprintf(path_a, sizeof(path_a), "/proc/self/fd/%d/%s", a, name);
	(void)snprintf(path_b, sizeof(path_b), "/proc/self/fd/%d/%s", b, name);
	n = sys((int)llistxattr(path_a, list, sizeof(list)));
	assert_int_equal(llistxattr(path_b, other, sizeof(other)), n);
	for (attr = list; attr < list + n; attr += strlen(attr) + 1) {
		char x[256], y[256];
		ssize_t len = lgetxattr(path_a, attr, x, sizeof(x));

		assert_true(len > 0);
		assert_int_equal(lgetxattr(path_b, attr, y, sizeof(y)), len);
		assert_memory_equal(x, y, (size_t)len);
	}
}

static void
expect_same(int a, int b, const char *name)
{
	struct stat x, y;

	sys(fstatat(a, name, &x, AT_SYMLINK_NOFOLLOW));
	sys(fstatat(b, name, &y, AT_SYMLINK_NOFOLLOW));
	assert_int_not_equal(x.st_ino, y.st_ino);
	assert_int_equal(x.st_mode, y.st_mode);
	assert_int_equal(x.st_uid, y.st_uid);
	assert_int_equal(x.st_gid, y.st_gid);
	assert_int_equal(x.st_rdev, y.st_rdev);
	assert_int_equal(x.st_nlink, y.st_nlink);
	if (!S_ISDIR(x.st_mode))
		assert_int_equal(x.st_size, y.st_size);
	/* Reading a link touches it, and nothing can forbid that. */
	if (!S_ISLNK(x.st_mode)) {
		assert_int_equal(x.st_atim.tv_sec, y.st_atim.tv_sec);
		assert_int_equal(x.st_atim.tv_nsec, y.st_atim.tv_nsec);
	}
	assert_int_equal(x.st_mtim.tv_sec, y.st_mtim.tv_sec);
	assert_int_equal(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec);
	expect_same_xattrs(a, b, name);
}

static void
copy_is_exact(void **state)
{
	struct store *s = *state;
	char target[32] = "", buf[6];
	struct stat x, y;
	int a, b, f;
	size_t i;

	layer_create(s, id_of(1), NULL);
	a = layer_fill(s, id_of(1));
	fill(a);
	layer_filled(s, id_of(1), a);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	a = layer_look(s, id_of(1));
	b = layer_look(s, id_of(2));
	for (i = 0; i < N_NAMES; i++)
		expect_same(a, b, names[i]);
	assert_int_equal(count_entries(a), count_entries(b));
	sys(fstatat(b, "dir/file", &x, 0));
	sys(fstatat(b, "dir/other", &y, 0));
	assert_int_equal(x.st_ino, y.st_ino);
	assert_int_equal(x.st_nlink, 2);
	assert_string_equal(get_text(b, "dir/other"), "content");
	assert_int_equal(readlinkat(b, "link", target, sizeof(target)), 8);
	assert_string_equal(target, "/nowhere");
	sys(fstatat(b, "sparse", &y, 0));
	assert_true(y.st_blocks * 512 < 1 << 20);
	f = sys(openat(b, "sparse", O_RDONLY | O_CLOEXEC));
	assert_int_equal(pread(f, buf, 6, 32 << 20), 6);
	assert_memory_equal(buf, "middle", 6);
	(void)close(f);
	layer_looked(s, id_of(1), a);
	layer_looked(s, id_of(2), b);
}

/* A change in the copy is not one in the parent. */
static void
copy_shares_nothing_writable(void **state)
{
	struct store *s = *state;
	int fd;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	put_file(fd, "file", "parent");
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_fill(s, id_of(2));
	put_file(fd, "file", "child");
	layer_filled(s, id_of(2), fd);
	fd = layer_look(s, id_of(1));
	assert_string_equal(get_text(fd, "file"), "parent");
	layer_looked(s, id_of(1), fd);
	/* Full trees: a parent may go first. */
	ok(s->d->remove(s->h, id_of(1), &ok_err));
	assert_int_equal(listed_count(s), 1);
	ok(s->d->remove(s->h, id_of(2), &ok_err));
}

/* Far deeper than PATH_MAX and than the limit on open files. */
static void
deep_directories_are_copied(void **state)
{
	static const char name[] = "a-directory-name";
	struct store *s = *state;
	int fd, next, i, depth = 3000;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	for (i = 0; i < depth; i++) {
		sys(mkdirat(fd, name, 0755));
		next = sys(openat(fd, name, O_RDONLY | O_CLOEXEC));
		(void)close(fd);
		fd = next;
	}
	put_file(fd, "bottom", "reached");
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	for (i = 0; i < depth; i++) {
		next = sys(openat(fd, name, O_RDONLY | O_CLOEXEC));
		(void)close(fd);
		fd = next;
	}
	assert_string_equal(get_text(fd, "bottom"), "reached");
	layer_looked(s, id_of(2), fd);
}

static void
many_hard_link_groups_stay_apart(void **state)
{
	struct store *s = *state;
	char a[32], b[32];
	struct stat x, y;
	int fd, i;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	sys(mkdirat(fd, "x", 0755));
	for (i = 0; i < 500; i++) {
		(void)snprintf(a, sizeof(a), "f%d", i);
		(void)snprintf(b, sizeof(b), "x/g%d", i);
		put_file(fd, a, a);
		sys(linkat(fd, a, fd, b, 0));
	}
	sys(symlinkat("t", fd, "s"));
	sys(linkat(fd, "s", fd, "x/s", 0));
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	for (i = 0; i < 500; i++) {
		(void)snprintf(a, sizeof(a), "f%d", i);
		(void)snprintf(b, sizeof(b), "x/g%d", i);
		sys(fstatat(fd, a, &x, 0));
		sys(fstatat(fd, b, &y, 0));
		assert_int_equal(x.st_ino, y.st_ino);
		assert_int_equal(x.st_nlink, 2);
		assert_string_equal(get_text(fd, b), a);
	}
	sys(fstatat(fd, "s", &x, AT_SYMLINK_NOFOLLOW));
	sys(fstatat(fd, "x/s", &y, AT_SYMLINK_NOFOLLOW));
	assert_int_equal(x.st_ino, y.st_ino);
	layer_looked(s, id_of(2), fd);
}

/* As many links as ext4 allows: the name kept meanwhile is one too many. */
static void
file_with_all_links_there_can_be(void **state)
{
	struct store *s = *state;
	struct stat x, y;
	char name[32];
	int fd, n;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	put_file(fd, "0", "x");
	for (n = 1; n < 70000; n++) {
		(void)snprintf(name, sizeof(name), "%d", n);
		if (linkat(fd, "0", fd, name, 0) < 0)
			break;
	}
	sys(fstatat(fd, "0", &x, 0));
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	sys(fstatat(fd, "0", &y, 0));
	assert_int_equal(x.st_nlink, n);
	assert_int_equal(y.st_nlink, n);
	layer_looked(s, id_of(2), fd);
}

static void
cancelled_copy_leaves_nothing(void **state)
{
	struct store *s = *state;
	char path[700];
	int fd;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	fill(fd);
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	harness_cancelled = 1;
	fails(ECANCELED, s->d->create(s->h, id_of(2), id_of(1), NULL,
	    &ok_err));
	fails(ECANCELED, s->d->check(s->h, IMGD_CHECK_DEEP, NULL, NULL,
	    &ok_err));
	harness_cancelled = 0;
	assert_int_equal(s->d->exists(s->h, id_of(2), NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/tmp", s->home);
	fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_int_equal(count_entries(fd), 0);
	(void)close(fd);
	layer_create(s, id_of(2), id_of(1));
}

static void
full_disk_leaves_nothing(void **state)
{
	struct store *s = *state;
	char data[65536] = "x";
	int fd, f, i, told;

	s->d->close(s->h);
	(void)close(s->env.home_fd);
	sys(mount("tmpfs", s->home, "tmpfs", 0, "size=4m"));
	s->env.home_fd = sys(open(s->home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	ok(s->d->open(&s->env, &s->h, &ok_err));
	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	f = sys(openat(fd, "large", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (i = 0; i < 48; i++)
		assert_int_equal(write(f, data, sizeof(data)), sizeof(data));
	(void)close(f);
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	fails(ENOSPC, s->d->create(s->h, id_of(2), id_of(1), NULL, &ok_err));
	fails(ENOSPC, s->d->create_rw(s->h, id_of(2), id_of(1), NULL,
	    &ok_err));
	assert_int_equal(s->d->exists(s->h, id_of(2), NULL), 0);
	assert_int_equal(listed_count(s), 1);
	assert_int_equal(check_store(s, IMGD_CHECK_DEEP, &told), 0);
	/* Back to the store that teardown knows. */
	s->d->close(s->h);
	(void)close(s->env.home_fd);
	sys(umount(s->home));
	s->env.home_fd = sys(open(s->home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	ok(s->d->open(&s->env, &s->h, &ok_err));
}

#define unit_case(f)                                                         \
	cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		unit_case(copy_is_exact),
		unit_case(copy_shares_nothing_writable),
		unit_case(deep_directories_are_copied),
		unit_case(many_hard_link_groups_stay_apart),
		unit_case(file_with_all_links_there_can_be),
		unit_case(cancelled_copy_leaves_nothing),
		unit_case(full_disk_leaves_nothing),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
