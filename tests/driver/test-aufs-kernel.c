/* The aufs driver's mounts by the kernel, on one that keeps to aufs's rules
 * and fails as it is told. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "drivers/aufs/aufs.h"
#include "drivers/aufs/mount.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tests/driver/harness.h"

const char *harness_driver = "aufs";

#define MOST 600

static struct {
	int mount, remount;     /* errno; 0 lets it pass */
	int remount_at;         /* which remount fails */
	bool no_dirperm1, no_dio;
	size_t most_branches;
	const char *no_xino;    /* a prefix that is refused */
	bool is_used;           /* files appear as in the probe's stack */

	/* What is mounted. */
	char branches[MOST][256]; /* "PATH=MODE" */
	size_t n;
	char options[512];
	unsigned long flags;
	int n_mounts, n_remounts, n_umounts, umount_flags;
} fake;

static int
answer(int e)
{
	errno = e;
	return e != 0 ? -1 : 0;
}

static int
add_branch(const char *text)
{
	if (fake.n >= (fake.most_branches > 0 ? fake.most_branches : MOST))
		return answer(EINVAL);
	(void)snprintf(fake.branches[fake.n++], sizeof(fake.branches[0]),
	    "%s", text);
	return 0;
}

/* "br:A=rw:B=ro+wh" */
static int
take_branches(char *text)
{
	char *save = NULL, *at;

	for (at = strtok_r(text + 3, ":", &save); at != NULL;
	    at = strtok_r(NULL, ":", &save))
		if (add_branch(at) < 0)
			return -1;
	return 0;
}

static int
take_option(char *text)
{
	if (strncmp(text, "br:", 3) == 0)
		return take_branches(text);
	if (strncmp(text, "append:", 7) == 0)
		return add_branch(text + 7);
	if ((strcmp(text, "dirperm1") == 0 && fake.no_dirperm1) ||
	    (strcmp(text, "dio") == 0 && fake.no_dio) ||
	    (strncmp(text, "xino=", 5) == 0 && fake.no_xino != NULL &&
	    strncmp(text + 5, fake.no_xino, strlen(fake.no_xino)) == 0))
		return answer(EINVAL);
	(void)strncat(fake.options, ",",
	    sizeof(fake.options) - strlen(fake.options) - 1);
	(void)strncat(fake.options, text,
	    sizeof(fake.options) - strlen(fake.options) - 1);
	return 0;
}

/* What a use of the probe's stack finds and leaves. */
static void
show_stack(const char *target)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/file", target);
	sys(mknod(path, S_IFREG | 0644, 0));
	(void)snprintf(path, sizeof(path), "%s/../diff/upper/.wh.file",
	    target);
	sys(mknod(path, S_IFREG | 0444, 0));
	fake.is_used = false;
}

static int
fake_mount(const char *source, const char *target, const char *type,
    unsigned long flags, const void *data)
{
	/* The kernel copies one page and forgets what does not fit. */
	char page[4096], *save = NULL, *at;

	assert_string_equal(source, "none");
	assert_string_equal(type, "aufs");
	memcpy(page, data, sizeof(page));
	assert_non_null(memchr(page, '\0', sizeof(page)));
	if ((flags & MS_REMOUNT) != 0) {
		fake.n_remounts++;
		if (fake.remount != 0 && fake.n_remounts > fake.remount_at)
			return answer(fake.remount);
		assert_int_equal(flags & ~MS_REMOUNT, fake.flags);
	} else {
		if (fake.mount != 0)
			return answer(fake.mount);
		fake.n_mounts++;
		fake.flags = flags;
		fake.n = 0;
		fake.options[0] = '\0';
	}
	for (at = strtok_r(page, ",", &save); at != NULL;
	    at = strtok_r(NULL, ",", &save))
		if (take_option(at) < 0)
			return -1;
	if (fake.is_used)
		show_stack(target);
	return 0;
}

static int
fake_umount(const char *target, int flags)
{
	(void)target;
	fake.n_umounts++;
	fake.umount_flags = flags;
	return 0;
}

static const struct aufs_ops fake_ops = {
	.mount = fake_mount,
	.umount = fake_umount,
};

static char ids[MOST][LAYER_ID_SIZE];

static struct aufs_stack
stack_of(size_t n, const char *home, bool is_rw)
{
	size_t i;

	memset(&fake, 0, sizeof(fake));
	for (i = 0; i < n; i++)
		(void)snprintf(ids[i], sizeof(ids[i]), "%064zx", i);
	return (struct aufs_stack){
		.home_fd = -EBADF, .home = home, .target = "/mnt",
		.id = ids[0],
		.branches = (const char (*)[LAYER_ID_SIZE])ids,
		.n_branches = n, .is_rw = is_rw,
	};
}

static const struct aufs_limits limits = {
	.max_branches = 511, .has_dio = true, .has_dirperm1 = true,
	.xino_dir = "/dev/shm",
};

/* All branches, in order, whole, with their modes. */
static void
expect_branches(const struct aufs_stack *s)
{
	size_t i;

	assert_int_equal(fake.n, s->n_branches);
	for (i = 0; i < s->n_branches; i++) {
		char want[256];

		(void)snprintf(want, sizeof(want), "%s/diff/%.64s=%s",
		    s->home, ids[i], i == 0 && s->is_rw ? "rw" : "ro+wh");
		assert_string_equal(fake.branches[i], want);
	}
}

static void
short_chain_is_one_mount(void **state)
{
	struct aufs_stack s = stack_of(3, "/store", true);

	(void)state;
	ok(aufs_kernel_mount(&fake_ops, &s, &limits, &ok_err));
	expect_branches(&s);
	assert_int_equal(fake.n_remounts, 0);
	assert_int_equal(fake.flags, 0);
	assert_string_equal(fake.options, ",dio,dirperm1,xino=/dev/shm/imgd-"
	    "00000000000000000000000000000000.xino");
	s = stack_of(3, "/store", false);
	ok(aufs_kernel_mount(&fake_ops, &s, &limits, &ok_err));
	expect_branches(&s);
	assert_int_equal(fake.flags, MS_RDONLY);
}

static void
only_known_options_are_used(void **state)
{
	const struct aufs_limits few = { .max_branches = 127 };
	struct aufs_stack s = stack_of(2, "/store", true);

	(void)state;
	ok(aufs_kernel_mount(&fake_ops, &s, &few, &ok_err));
	assert_string_equal(fake.options, "");
}

/* Whatever the length of the store's path, so that the page ends anywhere in
 * a branch, its path or its mode. */
static void
no_branch_is_cut_at_the_page(void **state)
{
	size_t len, n;

	(void)state;
	for (len = 1; len < 150; len++) {
		for (n = 20; n <= 126; n += 53) {
			char home[160] = "/";
			struct aufs_stack s;

			memset(home + 1, 'h', len);
			s = stack_of(n, home, len % 2 == 0);
			ok(aufs_kernel_mount(&fake_ops, &s, &limits, &ok_err));
			expect_branches(&s);
			assert_non_null(strstr(fake.options, ".xino"));
		}
	}
}

static void
long_chain_is_continued_by_few_remounts(void **state)
{
	struct aufs_stack s = stack_of(501, "/var/lib/imgd/drivers/aufs",
	    false);

	(void)state;
	ok(aufs_kernel_mount(&fake_ops, &s, &limits, &ok_err));
	expect_branches(&s);
	assert_in_range(fake.n_remounts, 10, 20);
}

static void
too_many_branches_are_refused(void **state)
{
	struct aufs_stack s = stack_of(512, "/store", true);

	(void)state;
	fails(E2BIG, aufs_kernel_mount(&fake_ops, &s, &limits, &ok_err));
	assert_int_equal(fake.n_mounts, 0);
}

static void
failed_remount_leaves_no_mount(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct aufs_stack s = stack_of(300, "/store", true);

		fake.remount = EIO;
		fake.remount_at = i;
		fails(EIO, aufs_kernel_mount(&fake_ops, &s, &limits,
		    &ok_err));
		assert_int_equal(fake.n_umounts, 1);
		assert_int_equal(fake.umount_flags, MNT_DETACH);
	}
}

static void
failed_mount_needs_no_umount(void **state)
{
	struct aufs_stack s = stack_of(3, "/store", true);

	(void)state;
	fake.mount = ENODEV;
	fails(ENODEV, aufs_kernel_mount(&fake_ops, &s, &limits, &ok_err));
	assert_int_equal(fake.n_umounts, 0);
}

static void
path_that_cannot_be_told_is_refused(void **state)
{
	static const char *const homes[] = { "/a,b", "/a:b", "/a=b", "/a\\b" };
	char *long_home = malloc(5000);
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct aufs_stack s = stack_of(2, homes[i], true);

		fails(EOPNOTSUPP, aufs_kernel_mount(&fake_ops, &s, &limits,
		    &ok_err));
		assert_int_equal(fake.n_mounts, 0);
	}
	assert_non_null(long_home);
	memset(long_home, 'h', 4999);
	long_home[0] = '/';
	long_home[4999] = '\0';
	{
		struct aufs_stack s = stack_of(2, long_home, true);

		fails(E2BIG, aufs_kernel_mount(&fake_ops, &s, &limits,
		    &ok_err));
	}
	free(long_home);
}

/* ---- the probe ---- */

/* Files of a stack appear at the second mount, which is the one that is used;
 * the first looks for a place for the xino file. */
static int
mount_and_show(const char *source, const char *target, const char *type,
    unsigned long flags, const void *data)
{
	fake.is_used = fake.n_mounts == 1 && (flags & MS_REMOUNT) == 0;
	return fake_mount(source, target, type, flags, data);
}

static const struct aufs_ops probe_ops = {
	.mount = mount_and_show,
	.umount = fake_umount,
};

static int
run_probe(struct store *s, struct aufs_limits *ret, struct imgd_error **err)
{
	int before = count_entries(s->env.home_fd), r;

	r = aufs_kernel_probe(&probe_ops, s->env.home_fd, "/run", ret, err);
	assert_int_equal(count_entries(s->env.home_fd), before);
	return r;
}

static void
probe_finds_what_the_kernel_has(void **state)
{
	struct store *s = *state;
	struct aufs_limits l;

	memset(&fake, 0, sizeof(fake));
	ok(run_probe(s, &l, &ok_err));
	assert_int_equal(l.max_branches, 501);
	assert_true(l.has_dio && l.has_dirperm1);
	assert_string_equal(l.xino_dir, "/dev/shm");

	memset(&fake, 0, sizeof(fake));
	fake.most_branches = 127;
	fake.no_dirperm1 = fake.no_dio = true;
	ok(run_probe(s, &l, &ok_err));
	assert_int_equal(l.max_branches, 127);
	assert_false(l.has_dio || l.has_dirperm1);
}

static void
probe_finds_another_place_for_xino(void **state)
{
	struct store *s = *state;
	struct aufs_limits l;

	memset(&fake, 0, sizeof(fake));
	fake.no_xino = "/dev/shm";
	fake.n_mounts = -1; /* one more is tried */
	ok(run_probe(s, &l, &ok_err));
	assert_string_equal(l.xino_dir, "/run");
}

static void
probe_says_why_it_does_not_work(void **state)
{
	struct store *s = *state;
	struct aufs_limits l;

	memset(&fake, 0, sizeof(fake));
	fake.mount = EINVAL;
	fails(EOPNOTSUPP, run_probe(s, &l, &ok_err));
	/* A broken disk is no reason to take another driver. */
	fake.mount = EIO;
	fails(EIO, run_probe(s, &l, &ok_err));
	/* Nothing hides, nothing is left by a deletion. */
	memset(&fake, 0, sizeof(fake));
	fails(EOPNOTSUPP, aufs_kernel_probe(&fake_ops, s->env.home_fd, "/run",
	    &l, &ok_err));
	assert_int_equal(fake.n_mounts, fake.n_umounts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_chain_is_one_mount),
		cmocka_unit_test(only_known_options_are_used),
		cmocka_unit_test(no_branch_is_cut_at_the_page),
		cmocka_unit_test(long_chain_is_continued_by_few_remounts),
		cmocka_unit_test(too_many_branches_are_refused),
		cmocka_unit_test(failed_remount_leaves_no_mount),
		cmocka_unit_test(failed_mount_needs_no_umount),
		cmocka_unit_test(path_that_cannot_be_told_is_refused),
		cmocka_unit_test_setup_teardown(
		    probe_finds_what_the_kernel_has, store_setup,
		    store_teardown),
		cmocka_unit_test_setup_teardown(
		    probe_finds_another_place_for_xino, store_setup,
		    store_teardown),
		cmocka_unit_test_setup_teardown(
		    probe_says_why_it_does_not_work, store_setup,
		    store_teardown),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
