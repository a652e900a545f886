/* What only the aufs driver does, shown by fuse-overlayfs. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/fs-at.h"
#include "tests/driver/harness.h"

const char *harness_driver = "aufs";

static char *
get_path(struct store *s, const char *id)
{
	char *path;

	ok(s->d->get(s->h, id, IMGD_GET_TREE, &path, &ok_err));
	return path;
}

static void
put(struct store *s, const char *id)
{
	ok(s->d->put(s->h, id, IMGD_GET_TREE, &ok_err));
}

static void
seal_base(struct store *s)
{
	int fd;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	put_file(fd, "file", "lower");
	put_file(fd, "gone", "lower");
	sys(mkdirat(fd, "dir", 0755));
	put_file(fd, "dir/old", "lower");
	sys(mkdirat(fd, "keep", 0755));
	put_file(fd, "keep/a", "lower");
	put_file(fd, "keep/b", "lower");
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
}

/* A base and a writable layer on it: 1 and 2. */
static void
make_rw(struct store *s)
{
	seal_base(s);
	ok(s->d->create_rw(s->h, id_of(2), id_of(1), NULL, &ok_err));
}

static int
own_dir(struct store *s, const char *id)
{
	uint32_t form;
	char *path;
	int fd;

	ok(s->d->own_dir(s->h, id, &path, &form, &ok_err));
	assert_int_equal(form, IMGD_WH_AUFS);
	fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	free(path);
	return fd;
}

static const char *
in_home(struct store *s, const char *sub, const char *id)
{
	static char paths[4][800];
	static unsigned int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s/%s", s->home, sub, id);
	return path;
}

static bool
is_there(int fd, const char *name)
{
	struct stat st;

	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The process that serves id, by its last argument; -1. */
static pid_t
server_of(struct store *s, const char *id)
{
	const char *target = in_home(s, "mnt", id);
	DIR *d = opendir("/proc");
	struct dirent *de;
	pid_t pid = -1;

	assert_non_null(d);
	while ((de = readdir(d)) != NULL) {
		char path[300], *line = NULL;
		size_t len = 0, n = strlen(target);

		(void)snprintf(path, sizeof(path), "/proc/%s/cmdline",
		    de->d_name);
		if (atoi(de->d_name) > 0 && fs_read_file(AT_FDCWD, path,
		    1 << 20, &line, &len, NULL) >= 0 && len > n &&
		    strcmp(line + len - n - 1, target) == 0)
			pid = (pid_t)atoi(de->d_name);
		free(line);
	}
	(void)closedir(d);
	return pid;
}

/* Kill what serves id, and wait for its end. */
static void
kill_server(struct store *s, const char *id)
{
	pid_t pid = server_of(s, id);
	struct pollfd p = { .events = POLLIN };

	assert_true(pid > 0);
	p.fd = sys(pidfd_open(pid, 0));
	sys(kill(pid, SIGKILL));
	assert_int_equal(poll(&p, 1, 10000), 1);
	(void)close(p.fd);
}

static void
layout_is_the_classic_one(void **state)
{
	struct store *s = *state;
	char want[300], *text, *path;

	seal_base(s);
	layer_create(s, id_of(2), id_of(1));
	layer_seal(s, id_of(2));
	layer_create(s, id_of(3), id_of(2));
	(void)snprintf(want, sizeof(want), "%s\n%s\n", id_of(2), id_of(1));
	ok(fs_read_file(AT_FDCWD, in_home(s, "layers", id_of(3)), 4096, &text,
	    NULL, &ok_err));
	assert_string_equal(text, want);
	free(text);
	ok(fs_read_file(AT_FDCWD, in_home(s, "layers", id_of(1)), 4096, &text,
	    NULL, &ok_err));
	assert_string_equal(text, "");
	free(text);
	sys(access(in_home(s, "diff", id_of(3)), F_OK));
	path = get_path(s, id_of(2));
	assert_string_equal(path, in_home(s, "mnt", id_of(2)));
	free(path);
	put(s, id_of(2));
	ok(s->d->remove(s->h, id_of(3), &ok_err));
	assert_true(access(in_home(s, "layers", id_of(3)), F_OK) < 0);
	assert_true(access(in_home(s, "diff", id_of(3)), F_OK) < 0);
	assert_true(access(in_home(s, "mnt", id_of(3)), F_OK) < 0);
}

static int
nothing_foreign(int fd, const char *name)
{
	char path[600], list[4096];
	ssize_t n;
	struct stat st;

	sys(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW));
	assert_false(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
	n = llistxattr(path, list, sizeof(list));
	assert_int_equal(n, 0);
	return S_ISDIR(st.st_mode);
}

/* No device 0/0 and no attribute below fd. */
static void
expect_aufs_form(int fd)
{
	DIR *d = fdopendir(sys(openat(fd, ".", O_RDONLY | O_DIRECTORY)));
	struct dirent *de;

	assert_non_null(d);
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, "..") == 0 ||
		    !nothing_foreign(fd, de->d_name) ||
		    strcmp(de->d_name, ".") == 0)
			continue;
		{
			int sub = sys(openat(fd, de->d_name,
			    O_RDONLY | O_DIRECTORY));

			expect_aufs_form(sub);
			(void)close(sub);
		}
	}
	(void)closedir(d);
}

static void
what_is_written_is_in_aufs_form(void **state)
{
	const struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	struct store *s = *state;
	struct stat st;
	int fd;

	make_rw(s);
	fd = layer_look(s, id_of(2));
	put_file(fd, "file", "upper");
	sys(unlinkat(fd, "gone", 0));
	ok(fs_remove_tree(fd, "dir", &ok_err));
	sys(mkdirat(fd, "dir", 0755));
	put_file(fd, "dir/new", "upper");
	sys(unlinkat(fd, "keep/a", 0));
	sys(utimensat(fd, "keep", times, 0));
	layer_looked(s, id_of(2), fd);

	fd = own_dir(s, id_of(2));
	expect_aufs_form(fd);
	sys(fstatat(fd, ".wh.gone", &st, AT_SYMLINK_NOFOLLOW));
	assert_true(S_ISREG(st.st_mode) && st.st_size == 0);
	assert_true(is_there(fd, "dir/.wh..wh..opq"));
	assert_false(is_there(fd, "dir/.wh..opq"));
	assert_false(is_there(fd, ".wh.dir"));
	assert_true(is_there(fd, "keep/.wh.a"));
	sys(fstatat(fd, "keep", &st, 0));
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	(void)close(fd);

	/* And it is read as it was written. */
	fd = layer_look(s, id_of(2));
	assert_string_equal(get_text(fd, "file"), "upper");
	assert_null(get_text(fd, "gone"));
	assert_null(get_text(fd, "dir/old"));
	assert_string_equal(get_text(fd, "dir/new"), "upper");
	assert_null(get_text(fd, "keep/a"));
	assert_string_equal(get_text(fd, "keep/b"), "lower");
	put_file(fd, "gone", "again");
	layer_looked(s, id_of(2), fd);
	fd = own_dir(s, id_of(2));
	assert_false(is_there(fd, ".wh.gone"));
	assert_string_equal(get_text(fd, "gone"), "again");
	(void)close(fd);
}

/* A crash may leave any of it, and the mark that says so. */
static void
what_a_crash_left_is_settled_at_the_next_use(void **state)
{
	struct store *s = *state;
	char path[800];
	int fd;

	make_rw(s);
	fd = own_dir(s, id_of(2));
	sys(mknodat(fd, "gone", S_IFCHR, makedev(0, 0)));
	sys(mkdirat(fd, "keep", 0755));
	put_file(fd, ".wh.keep", "");
	put_file(fd, "file", "x");
	put_file(fd, ".wh.file", "");
	sys(mkdirat(fd, "dir", 0755));
	sys(mknodat(fd, "dir/.wh..opq", S_IFCHR, makedev(0, 0)));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/dir", fd);
	sys(setxattr(path, "trusted.overlay.opaque", "y", 1, 0));
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/fuse", in_home(s, "records",
	    id_of(2)));
	sys(symlink("yes", path));
	store_reopen(s, 0);
	fd = own_dir(s, id_of(2));
	expect_aufs_form(fd);
	assert_true(is_there(fd, ".wh.gone"));
	assert_false(is_there(fd, ".wh.keep"));
	assert_true(is_there(fd, "keep/.wh..wh..opq"));
	assert_false(is_there(fd, ".wh.file"));
	assert_true(is_there(fd, "dir/.wh..wh..opq"));
	assert_false(is_there(fd, "dir/.wh..opq"));
	(void)close(fd);
	assert_false(is_there(AT_FDCWD, path));
	fd = layer_look(s, id_of(2));
	assert_null(get_text(fd, "keep/b"));
	assert_null(get_text(fd, "gone"));
	layer_looked(s, id_of(2), fd);
}

/* aufs keeps files of its own in the root of a branch that it writes. */
static void
metadata_of_aufs_does_not_show(void **state)
{
	struct store *s = *state;
	int fd;

	make_rw(s);
	fd = own_dir(s, id_of(2));
	put_file(fd, ".wh..wh.aufs", "");
	sys(mkdirat(fd, ".wh..wh.plnk", 0700));
	sys(mkdirat(fd, ".wh..wh.orph", 0700));
	sys(linkat(fd, ".wh..wh.aufs", fd, ".wh.gone", 0));
	(void)close(fd);
	fd = layer_look(s, id_of(2));
	assert_int_equal(count_entries(fd), 3);
	assert_false(is_there(fd, "gone"));
	layer_looked(s, id_of(2), fd);
}

static void
server_has_nothing_of_ours(void **state)
{
	struct store *s = *state;
	char path[64], target[512], ours[64];
	int inherited = sys(open("/dev/zero", O_RDONLY)); /* not CLOEXEC */
	int pipe_fds[2];
	struct dirent *de;
	ssize_t len;
	pid_t pid;
	DIR *d;

	sys(pipe(pipe_fds));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe_fds[1]);
	len = sys((int)readlink(path, ours, sizeof(ours) - 1));
	ours[len] = '\0';
	make_rw(s);
	free(get_path(s, id_of(2)));
	pid = server_of(s, id_of(2));
	assert_true(pid > 0);
	assert_int_not_equal(getsid(pid), getsid(0));
	assert_int_not_equal(getpgid(pid), getpgrp());
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	assert_non_null(d);
	while ((de = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), de->d_name, target,
		    sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = '\0';
		if (atoi(de->d_name) <= 2)
			assert_string_equal(target, "/dev/null");
		assert_string_not_equal(target, "/dev/zero");
		assert_string_not_equal(target, s->home);
		/* libfuse has a pipe of its own. */
		assert_string_not_equal(target, ours);
		assert_null(strstr(target, "socket:"));
	}
	(void)closedir(d);
	(void)close(inherited);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	put(s, id_of(2));
	assert_int_equal(server_of(s, id_of(2)), -1);
}

static void
mount_outlives_the_process_that_made_it(void **state)
{
	struct store *s = *state;
	pid_t pid;
	int fd;

	make_rw(s);
	free(get_path(s, id_of(2)));
	pid = server_of(s, id_of(2));
	store_reopen(s, 0);
	assert_int_equal(listed_state(s, id_of(2)),
	    IMGD_STATE_RW | IMGD_STATE_MOUNTED);
	fd = layer_look(s, id_of(2));
	assert_int_equal(server_of(s, id_of(2)), pid);
	assert_string_equal(get_text(fd, "file"), "lower");
	layer_looked(s, id_of(2), fd);
}

static void
dead_mount_is_made_anew_with_its_binds(void **state)
{
	struct store *s = *state;
	char rw[600], ro[600], *path;
	int fd, warnings = harness_warnings;
	struct statvfs sv;

	make_rw(s);
	path = get_path(s, id_of(2));
	(void)snprintf(rw, sizeof(rw), "%s/a bind", s->dir);
	(void)snprintf(ro, sizeof(ro), "%s/ro", s->dir);
	sys(mkdir(rw, 0700));
	sys(mkdir(ro, 0700));
	sys(mount(path, rw, "none", MS_BIND, NULL));
	fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	put_file(fd, "file", "written");
	(void)close(fd);
	{
		char sub[900];

		(void)snprintf(sub, sizeof(sub), "%s/keep", path);
		sys(mount(sub, ro, "none", MS_BIND, NULL));
	}
	sys(mount("none", ro, "none",
	    MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOEXEC, NULL));
	kill_server(s, id_of(2));

	/* Seen by whoever lists, too. */
	assert_int_equal(listed_state(s, id_of(2)),
	    IMGD_STATE_RW | IMGD_STATE_MOUNTED);
	assert_true(harness_warnings > warnings);
	assert_true(server_of(s, id_of(2)) > 0);
	fd = sys(open(rw, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_string_equal(get_text(fd, "file"), "written");
	put_file(fd, "file", "more");
	(void)close(fd);
	fd = sys(open(ro, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_string_equal(get_text(fd, "b"), "lower");
	assert_int_equal(count_entries(fd), 2);
	sys(fstatvfs(fd, &sv));
	assert_int_equal(sv.f_flag & (ST_RDONLY | ST_NOEXEC),
	    ST_RDONLY | ST_NOEXEC);
	(void)close(fd);
	sys(umount(ro));
	sys(umount(rw));
	free(path);
	put(s, id_of(2));
}

static void
dead_mount_is_seen_by_the_next_get(void **state)
{
	struct store *s = *state;
	int fd;

	make_rw(s);
	free(get_path(s, id_of(2)));
	kill_server(s, id_of(2));
	store_reopen(s, 0);
	fd = layer_look(s, id_of(2));
	assert_string_equal(get_text(fd, "file"), "lower");
	layer_looked(s, id_of(2), fd);
}

static void
dead_mount_goes_with_its_last_user(void **state)
{
	struct store *s = *state;

	make_rw(s);
	free(get_path(s, id_of(2)));
	kill_server(s, id_of(2));
	put(s, id_of(2));
	assert_int_equal(listed_state(s, id_of(2)), IMGD_STATE_RW);
	free(get_path(s, id_of(2)));
	kill_server(s, id_of(2));
	store_reopen(s, 0);
	ok(s->d->remove(s->h, id_of(2), &ok_err));
	assert_int_equal(listed_count(s), 1);
}

static void
check_tells_of_a_dead_mount(void **state)
{
	struct store *s = *state;
	int told;

	make_rw(s);
	free(get_path(s, id_of(2)));
	kill_server(s, id_of(2));
	store_reopen(s, IMGD_OPEN_READONLY);
	/* Who only reads leaves it as it is. */
	(void)listed_count(s);
	assert_int_equal(check_store(s, 0, &told), 1);
	store_reopen(s, 0);
	assert_int_equal(check_store(s, 0, &told), 1);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 0);
	assert_int_equal(told, 1);
	assert_int_equal(check_store(s, 0, &told), 0);
}

/* A process that was killed between mount and append leaves a mark. */
static void
half_mount_is_not_taken_over(void **state)
{
	struct store *s = *state;
	char path[800];
	int fd;

	make_rw(s);
	sys(mount("none", in_home(s, "mnt", id_of(2)), "tmpfs", 0, NULL));
	(void)snprintf(path, sizeof(path), "%s/mounting",
	    in_home(s, "records", id_of(2)));
	sys(symlink("yes", path));
	store_reopen(s, 0);
	fd = layer_look(s, id_of(2));
	assert_string_equal(get_text(fd, "file"), "lower");
	layer_looked(s, id_of(2), fd);
	assert_false(is_there(AT_FDCWD, path));
}

static void
parts_without_record_are_swept(void **state)
{
	struct store *s = *state;
	int told, fd;

	seal_base(s);
	sys(mkdir(in_home(s, "diff", id_of(5)), 0755));
	sys(mkdir(in_home(s, "mnt", id_of(5)), 0755));
	fd = sys(open(in_home(s, "layers", id_of(6)), O_WRONLY | O_CREAT,
	    0600));
	(void)close(fd);
	assert_int_equal(check_store(s, 0, &told), 3);
	/* The same id again, over what is left of it. */
	layer_create(s, id_of(5), id_of(1));
	assert_int_equal(check_store(s, 0, &told), 1);
	store_reopen(s, IMGD_OPEN_READONLY);
	assert_int_equal(check_store(s, 0, &told), 1);
	store_reopen(s, 0);
	assert_int_equal(check_store(s, 0, &told), 0);
	assert_int_equal(listed_count(s), 2);
}

static void
wrong_list_is_told_and_repaired(void **state)
{
	struct store *s = *state;
	char want[80], *text;
	int told, fd;

	make_rw(s);
	(void)snprintf(want, sizeof(want), "%s\n", id_of(1));
	fd = sys(open(in_home(s, "layers", id_of(2)), O_WRONLY | O_TRUNC));
	(void)close(fd);
	assert_int_equal(check_store(s, 0, &told), 1);
	assert_int_equal(check_store(s, IMGD_CHECK_REPAIR, &told), 0);
	ok(fs_read_file(AT_FDCWD, in_home(s, "layers", id_of(2)), 4096, &text,
	    NULL, &ok_err));
	assert_string_equal(text, want);
	free(text);
	sys(rmdir(in_home(s, "mnt", id_of(2))));
	assert_int_equal(check_store(s, 0, &told), 1);
	/* A get makes it anew by itself. */
	fd = layer_look(s, id_of(2));
	layer_looked(s, id_of(2), fd);
	assert_int_equal(check_store(s, 0, &told), 0);
}

static void
opaque_root_ends_the_stack(void **state)
{
	struct store *s = *state;
	unsigned int i;
	int fd;

	seal_base(s);
	for (i = 2; i <= 3; i++) {
		layer_create(s, id_of(i), id_of(i - 1));
		fd = layer_fill(s, id_of(i));
		if (i == 2)
			put_file(fd, ".wh..wh..opq", "");
		put_file(fd, i == 2 ? "two" : "three", "x");
		layer_filled(s, id_of(i), fd);
		layer_seal(s, id_of(i));
		fd = layer_look(s, id_of(i));
		assert_int_equal(count_entries(fd), i - 1);
		layer_looked(s, id_of(i), fd);
	}
}

static void
options_are_checked(void **state)
{
	struct store *s = *state;
	struct imgd_option o = { "aufs.mount", "sometimes" };
	struct imgd_env env = s->env;
	void *h = NULL;

	env.options = &o;
	env.n_options = 1;
	fails(EINVAL, s->d->open(&env, &h, &ok_err));
	o.value = "fuse";
	ok(s->d->open(&env, &h, &ok_err));
	s->d->close(h);
	o.key = "aufs.other";
	fails(EINVAL, s->d->open(&env, &h, &ok_err));
}

static void
note_status(void *ctx, const char *key, const char *value)
{
	static const char *const keys[] = { "Root Dir", "Backing Filesystem",
		"Dirs", "Mounted By", "Dirperm1 Supported" };
	int *n = ctx;

	assert_true(*n < 5);
	assert_string_equal(key, keys[*n]);
	if (*n == 2)
		assert_string_equal(value, "2");
	if (*n == 3)
		assert_string_equal(value, "fuse-overlayfs");
	++*n;
}

static void
status_has_the_classic_fields(void **state)
{
	struct store *s = *state;
	int n = 0;
	struct imgd_kv kv = { sizeof(kv), &n, note_status };

	make_rw(s);
	ok(s->d->status(s->h, &kv, &ok_err));
	assert_int_equal(n, 5);
}

static void
trial_of_a_killed_probe_goes_at_the_next_open(void **state)
{
	struct store *s = *state;
	char dir[300], target[320];

	(void)snprintf(dir, sizeof(dir), "%s/probe-0123456789abcdef",
	    s->env.home);
	(void)snprintf(target, sizeof(target), "%s/mnt", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(mkdir(target, 0700), 0);
	assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
	store_reopen(s, IMGD_OPEN_READONLY);
	assert_int_equal(access(target, F_OK), 0);
	store_reopen(s, 0);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(errno, ENOENT);
}

#define unit_case(f)                                                         \
	cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		unit_case(layout_is_the_classic_one),
		unit_case(what_is_written_is_in_aufs_form),
		unit_case(what_a_crash_left_is_settled_at_the_next_use),
		unit_case(metadata_of_aufs_does_not_show),
		unit_case(server_has_nothing_of_ours),
		unit_case(mount_outlives_the_process_that_made_it),
		unit_case(dead_mount_is_made_anew_with_its_binds),
		unit_case(dead_mount_is_seen_by_the_next_get),
		unit_case(dead_mount_goes_with_its_last_user),
		unit_case(check_tells_of_a_dead_mount),
		unit_case(half_mount_is_not_taken_over),
		unit_case(parts_without_record_are_swept),
		unit_case(trial_of_a_killed_probe_goes_at_the_next_open),
		unit_case(wrong_list_is_told_and_repaired),
		unit_case(opaque_root_ends_the_stack),
		unit_case(options_are_checked),
		unit_case(status_has_the_classic_fields),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
