/* Landlock alone: what it leaves of files, where the rest of the confinement
 * would hide a fault of it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/confine.h"

static char dir[] = "/tmp/imgd-landlock-XXXXXX";

/* What a child can do with these rights below dir: one bit for each. */
enum {
	READ_BELOW = 1 << 0,
	WRITE_BELOW = 1 << 1,
	LINK_BELOW = 1 << 2,
	READ_OUTSIDE = 1 << 3,
	WRITE_OUTSIDE = 1 << 4,
	NO_LANDLOCK = 1 << 6
};

static unsigned int
try_all(const struct confine_rights *rights)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned int can = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || chdir(dir) < 0 ||
	    confine_landlock(rights, fd) < 0)
		return NO_LANDLOCK;
	if (open("file", O_RDONLY) >= 0)
		can |= READ_BELOW;
	if (open("new", O_WRONLY | O_CREAT, 0600) >= 0)
		can |= WRITE_BELOW;
	if (link("file", "sub/link") == 0)
		can |= LINK_BELOW;
	if (open("/etc/passwd", O_RDONLY) >= 0)
		can |= READ_OUTSIDE;
	if (mkdir("../imgd-landlock-outside", 0700) == 0) {
		(void)rmdir("../imgd-landlock-outside");
		can |= WRITE_OUTSIDE;
	}
	return can;
}

static void
check(const struct confine_rights *rights, unsigned int expected)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit((int)try_all(rights));
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_LANDLOCK)
		skip();
	assert_int_equal(WEXITSTATUS(status), (int)expected);
}

static void
unpacker_writes_below_its_directory(void **state)
{
	const struct confine_rights r = { .may_write = true };

	(void)state;
	check(&r, READ_BELOW | WRITE_BELOW | LINK_BELOW | READ_OUTSIDE);
}

static void
packer_reads_below_its_tree(void **state)
{
	const struct confine_rights r = { .no_reading = true };

	(void)state;
	check(&r, READ_BELOW);
}

static void
loader_writes_nowhere(void **state)
{
	const struct confine_rights r = { .no_reading = false };

	(void)state;
	check(&r, READ_BELOW | READ_OUTSIDE);
}

static int
make_dir(void **state)
{
	char path[64];
	int fd;

	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/sub", dir);
	if (mkdir(path, 0700) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	return fd < 0 ? -1 : close(fd);
}

static int
remove_dir(void **state)
{
	static const char *const names[] = { "sub/link", "new", "file" };
	char path[64];
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/sub", dir);
	(void)rmdir(path);
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loader_writes_nowhere),
		cmocka_unit_test(packer_reads_below_its_tree),
		cmocka_unit_test(unpacker_writes_below_its_directory),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
