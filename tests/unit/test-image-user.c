/* Users of images, by what /etc/passwd and /etc/group of theirs say. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/image-user.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "\n"
			     "short:x:5\n"
			     "wrong:x:-1:0::/:\n"
			     "big:x:4294967295:0::/:\n"
			     "app:x:1000:1001:a:b:c:d:e:f\n"
			     "app:x:2000:2001::/:\n"
			     "42:x:7:8::/:\n"
			     "last:x:9:9::/:";
static const char groups[] = "root:x:0:\n"
			     "a:x:10:app\n"
			     "b:x:11:other,app\n"
			     "c:x:12:apple,xapp\n"
			     "d:x:x:app\n"
			     "none\n";

static void
expect(const char *spec, uint32_t uid, uint32_t gid, size_t n_groups)
{
	cleanup_error struct imgd_error *err = NULL;
	struct image_user u;

	if (image_user_find(spec, passwd, groups, &u, &err) < 0)
		fail_msg("%s: %s", spec, imgd_error_msg(err));
	assert_int_equal(u.uid, uid);
	assert_int_equal(u.gid, gid);
	assert_int_equal(u.n_groups, n_groups);
}

static void
expect_failure(const char *spec, int code)
{
	cleanup_error struct imgd_error *err = NULL;
	struct image_user u;

	assert_int_equal(image_user_find(spec, passwd, groups, &u, &err),
	    -code);
	assert_non_null(err);
}

static void
found(void **state)
{
	(void)state;
	expect("", 0, 0, 0);
	expect(":", 0, 0, 0);
	expect("root", 0, 0, 0);
	expect("app", 1000, 1001, 2);
	expect("1000", 1000, 1001, 2);
	expect("app:", 1000, 1001, 2);
	expect("app:b", 1000, 11, 0);
	expect("app:77", 1000, 77, 0);
	expect("last", 9, 9, 0);
	/* A number is a number, whoever is called so. */
	expect("42", 42, 0, 0);
	expect("12345:a", 12345, 10, 0);
	expect(":a", 0, 10, 0);
	expect("2147483647", 2147483647, 0, 0);
}

static void
not_found(void **state)
{
	(void)state;
	expect_failure("nobody", ENOENT);
	expect_failure("short", ENOENT);
	expect_failure("wrong", ENOENT);
	expect_failure("big", ENOENT);
	expect_failure("app:nogroup", ENOENT);
	expect_failure("app:d", ENOENT);
	expect_failure("2147483648", EINVAL);
	expect_failure("app:4294967296", EINVAL);
	expect_failure("-1", ENOENT);
}

static void
no_files(void **state)
{
	struct image_user u;

	(void)state;
	assert_int_equal(image_user_find("7:8", NULL, NULL, &u, NULL), 0);
	assert_int_equal(u.uid, 7);
	assert_int_equal(u.gid, 8);
	assert_int_equal(image_user_find("a", NULL, NULL, &u, NULL), -ENOENT);
	assert_int_equal(image_user_find("", NULL, NULL, &u, NULL), 0);
}

/* One group more than there is room for. */
static void
many_groups(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	struct image_user u;
	int i;

	(void)state;
	for (i = 0; i < LIMIT_USER_GROUPS; i++)
		strbuf_printf(&sb, "g%d:x:%d:app\n", i, i);
	assert_int_equal(image_user_find("app", passwd, sb.data, &u, NULL), 0);
	assert_int_equal(u.n_groups, LIMIT_USER_GROUPS);
	strbuf_puts(&sb, "more:x:999:app\n");
	assert_int_equal(image_user_find("app", passwd, sb.data, &u, NULL),
	    -IMGD_E_LIMIT);
	strbuf_done(&sb);
}

static void
put(int dir_fd, const char *name, const char *data, size_t len)
{
	cleanup_close int fd = openat(dir_fd, name,
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
}

/* Links are those of one who has the tree as root. */
static void
in_a_tree(void **state)
{
	char dir[] = "/tmp/imgd-image-user-XXXXXX";
	static char big[LIMIT_PASSWD_BYTES + 1];
	cleanup_close int fd = -EBADF;
	struct image_user u;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(fd, "etc", 0755), 0);
	put(fd, "users", passwd, strlen(passwd));
	assert_int_equal(symlinkat("../../../users", fd, "etc/passwd"), 0);
	assert_int_equal(image_user_read(fd, "app", &u, NULL), 0);
	assert_int_equal(u.uid, 1000);
	/* Outside, there would be one. */
	assert_int_equal(unlinkat(fd, "etc/passwd", 0), 0);
	assert_int_equal(symlinkat("/etc/hostname", fd, "etc/passwd"), 0);
	assert_int_equal(image_user_read(fd, "3", &u, NULL), 0);
	assert_int_equal(image_user_read(fd, "root", &u, NULL), -ENOENT);
	assert_int_equal(unlinkat(fd, "etc/passwd", 0), 0);
	assert_int_equal(symlinkat("/proc/self/fd/0", fd, "etc/passwd"), 0);
	assert_int_equal(image_user_read(fd, "root", &u, NULL), -ENOENT);
	/* As long as it may be, and one byte more. */
	assert_int_equal(unlinkat(fd, "etc/passwd", 0), 0);
	memset(big, '\n', sizeof(big));
	put(fd, "etc/passwd", big, sizeof(big) - 1);
	assert_int_equal(image_user_read(fd, "3", &u, NULL), 0);
	put(fd, "etc/passwd", big, sizeof(big));
	assert_int_equal(image_user_read(fd, "3", &u, NULL), -EFBIG);
	assert_int_equal(fs_remove_tree(AT_FDCWD, dir, NULL), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found),
		cmocka_unit_test(not_found),
		cmocka_unit_test(no_files),
		cmocka_unit_test(many_groups),
		cmocka_unit_test(in_a_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
