/* The overlay driver's mount calls, on a kernel that fails as it is told. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "drivers/overlay/mount.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tests/driver/harness.h"

const char *harness_driver = "overlay";

/* errno for each call; 0 lets it pass. */
static struct {
	int fsopen, fsconfig, fsmount, move_mount, mount, remount, umount;
	const char *fsconfig_key; /* which key fails */
	bool is_legacy; /* fsconfig takes any key, create refuses it */
	bool is_real;             /* mount(2) is the kernel's */
	char data[8192];          /* mount(2)'s last */
	int n_umounts;
} fake;

static int
answer(int e)
{
	errno = e;
	return e != 0 ? -1 : 0;
}

static int
fake_fd(int e)
{
	return e != 0 ? answer(e) : open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int
fake_fsopen(const char *type, unsigned int flags)
{
	(void)flags;
	assert_string_equal(type, "overlay");
	return fake_fd(fake.fsopen);
}

static int
fake_fsconfig(int fd, unsigned int cmd, const char *key, const void *value,
    int aux)
{
	(void)fd;
	(void)cmd;
	(void)value;
	(void)aux;
	if (key == NULL)
		key = "create";
	if (fake.is_legacy)
		return answer(strcmp(key, "create") == 0 ? EINVAL : 0);
	if (strcmp(key, "no-such-option") == 0)
		return answer(EINVAL);
	return answer(fake.fsconfig_key != NULL &&
	    strcmp(key, fake.fsconfig_key) == 0 ? fake.fsconfig : 0);
}

static int
fake_fsmount(int fd, unsigned int flags, unsigned int attrs)
{
	(void)fd;
	(void)flags;
	(void)attrs;
	return fake_fd(fake.fsmount);
}

static int
fake_move_mount(int from_fd, const char *from, int to_fd, const char *to,
    unsigned int flags)
{
	(void)from_fd;
	(void)from;
	(void)to_fd;
	(void)to;
	(void)flags;
	return answer(fake.move_mount);
}

static int
fake_mount(const char *source, const char *target, const char *type,
    unsigned long flags, const void *data)
{
	if (data != NULL)
		(void)snprintf(fake.data, sizeof(fake.data), "%s",
		    (const char *)data);
	if (fake.is_real)
		return mount(source, target, type, flags, data);
	return answer((flags & MS_REMOUNT) != 0 ? fake.remount : fake.mount);
}

static int
fake_umount(const char *target, int flags)
{
	(void)target;
	(void)flags;
	fake.n_umounts++;
	return answer(fake.umount);
}

static const struct mount_ops fake_ops = {
	.fsopen = fake_fsopen,
	.fsconfig = fake_fsconfig,
	.fsmount = fake_fsmount,
	.move_mount = fake_move_mount,
	.mount = fake_mount,
	.umount = fake_umount,
};

#define N_LOWERS OVERLAY_MAX_LOWERS

static char names[N_LOWERS][8];
static const char *lowers[N_LOWERS];

static int
reset(void **state)
{
	size_t i;

	(void)state;
	memset(&fake, 0, sizeof(fake));
	for (i = 0; i < N_LOWERS; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "d%05zu", i);
		lowers[i] = names[i];
	}
	return 0;
}

static struct overlay_mount
some_mount(size_t n)
{
	struct overlay_mount om = { .dir_fd = AT_FDCWD, .dir = "/x",
		.lowers = lowers, .n_lowers = n, .target = "merged" };

	return om;
}

static void
failures_are_reported_with_their_codes(void **state)
{
	static const char *const keys[] = { "source", "create" };
	struct overlay_mount om = some_mount(2);
	size_t i;

	(void)state;
	ok(overlay_mount(&fake_ops, &om, &ok_err));
	fake.fsopen = ENODEV;
	fails(EOPNOTSUPP, overlay_mount(&fake_ops, &om, &ok_err));
	fake.fsopen = EPERM;
	fails(EPERM, overlay_mount(&fake_ops, &om, &ok_err));
	fake.fsopen = 0;
	for (i = 0; i < 2; i++) {
		fake.fsconfig_key = keys[i];
		fake.fsconfig = ENOMEM;
		fails(ENOMEM, overlay_mount(&fake_ops, &om, &ok_err));
	}
	fake.fsconfig_key = NULL;
	fake.fsmount = EPERM;
	fails(EPERM, overlay_mount(&fake_ops, &om, &ok_err));
	fake.fsmount = 0;
	fake.move_mount = ENOENT;
	fails(ENOENT, overlay_mount(&fake_ops, &om, &ok_err));
}

static void
upper_directory_failure_is_reported(void **state)
{
	struct overlay_mount om = some_mount(1);

	(void)state;
	om.upper = "u";
	om.work = "w";
	fake.fsconfig_key = "workdir";
	fake.fsconfig = EINVAL;
	fails(EINVAL, overlay_mount(&fake_ops, &om, &ok_err));
}

/* Kernels before 6.8 have no "lowerdir+", those before 6.5 only say so at the
 * end, those before 5.2 have no fsopen. */
static void
older_kernels_get_one_page_of_data(void **state)
{
	struct overlay_mount om = some_mount(3);

	(void)state;
	om.dir_fd = sys(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	om.upper = "u";
	om.work = "w";
	om.userxattr = true;
	fake.fsconfig_key = "lowerdir+";
	fake.fsconfig = EINVAL;
	ok(overlay_mount(&fake_ops, &om, &ok_err));
	assert_memory_equal(fake.data, "lowerdir=d00000:d00001:d00002,"
	    "upperdir=u,workdir=w,", 51);
	assert_non_null(strstr(fake.data, ",userxattr"));
	fake.fsconfig_key = NULL;
	fake.is_legacy = true;
	memset(fake.data, 0, sizeof(fake.data));
	ok(overlay_mount(&fake_ops, &om, &ok_err));
	assert_memory_equal(fake.data, "lowerdir=d00000:d00001:d00002,", 30);
	fake.is_legacy = false;
	fake.fsopen = ENOSYS;
	fake.mount = ENODEV;
	fails(EOPNOTSUPP, overlay_mount(&fake_ops, &om, &ok_err));
	fake.mount = ESTALE;
	fails(ESTALE, overlay_mount(&fake_ops, &om, &ok_err));
	fake.mount = 0;
	om = some_mount(N_LOWERS);
	om.dir_fd = -EBADF;
	fails(EBADF, overlay_mount(&fake_ops, &om, &ok_err));
}

static void
depth_is_what_fits(void **state)
{
	struct overlay_mount om = some_mount(N_LOWERS);

	(void)state;
	assert_int_equal(overlay_max_lowers(&fake_ops, 6), 500);
	fake.fsopen = ENOSYS;
	assert_int_equal(overlay_max_lowers(&fake_ops, 6), 500);
	assert_int_equal(overlay_max_lowers(&fake_ops, 63), 59);
	om.n_lowers = OVERLAY_MAX_LOWERS + 1;
	fails(E2BIG, overlay_mount(&fake_ops, &om, &ok_err));
}

static void
bind_that_stays_writable_is_undone(void **state)
{
	(void)state;
	ok(overlay_bind_readonly(&fake_ops, "/a", "/b", &ok_err));
	assert_int_equal(fake.n_umounts, 0);
	fake.remount = EPERM;
	fails(EPERM, overlay_bind_readonly(&fake_ops, "/a", "/b", &ok_err));
	assert_int_equal(fake.n_umounts, 1);
	fake.mount = ENOENT;
	fails(ENOENT, overlay_bind_readonly(&fake_ops, "/a", "/b", &ok_err));
	assert_int_equal(fake.n_umounts, 1);
}

static void
umount_tells_busy_from_nothing_there(void **state)
{
	(void)state;
	fake.umount = EINVAL;
	ok(overlay_umount(&fake_ops, "/x", &ok_err));
	fake.umount = EBUSY;
	fails(EBUSY, overlay_umount(&fake_ops, "/x", &ok_err));
}

/* The real mount(2), as an older kernel would be asked: 500 directories in one
 * page. */
static void
five_hundred_layers_fit_into_a_page(void **state)
{
	struct overlay_mount om = some_mount(N_LOWERS);
	char dir[] = "test-mount-XXXXXX", here[512];
	int fd;
	size_t i;

	(void)state;
	assert_non_null(getcwd(here, sizeof(here)));
	assert_non_null(mkdtemp(dir));
	fd = sys(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (i = 0; i < N_LOWERS; i++)
		sys(mkdirat(fd, names[i], 0755));
	put_file(fd, "d00499/bottom", "x");
	sys(mkdirat(fd, "merged", 0755));
	sys(mkdirat(fd, "u", 0755));
	sys(mkdirat(fd, "w", 0755));
	om.dir_fd = fd;
	om.upper = "u";
	om.work = "w";
	fake.fsopen = ENOSYS;
	fake.is_real = true;
	ok(overlay_mount(&fake_ops, &om, &ok_err));
	assert_string_equal(get_text(fd, "merged/bottom"), "x");
	put_file(fd, "merged/new", "y");
	assert_string_equal(get_text(fd, "u/new"), "y");
	/* The thread that mounted has not moved us. */
	assert_string_equal(getcwd((char[512]){ 0 }, 512), here);
	assert_true(asprintf((char **)&om.dir, "%s/merged", dir) > 0);
	sys(umount2(om.dir, UMOUNT_NOFOLLOW));
	free((char *)om.dir);
	(void)close(fd);
	ok(fs_remove_tree(AT_FDCWD, dir, &ok_err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(failures_are_reported_with_their_codes,
		    reset),
		cmocka_unit_test_setup(upper_directory_failure_is_reported,
		    reset),
		cmocka_unit_test_setup(older_kernels_get_one_page_of_data,
		    reset),
		cmocka_unit_test_setup(depth_is_what_fits, reset),
		cmocka_unit_test_setup(bind_that_stays_writable_is_undone,
		    reset),
		cmocka_unit_test_setup(umount_tells_busy_from_nothing_there,
		    reset),
		cmocka_unit_test_setup(five_hundred_layers_fit_into_a_page,
		    reset),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
