/* What every driver must do, whatever it stores layers in. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "lib/fs-at.h"
#include "tests/driver/harness.h"

const char *harness_driver = DRIVER;

static void
empty_base_has_a_plain_root(void **state)
{
	struct store *s = *state;
	struct stat st;
	int fd;

	layer_create(s, id_of(1), NULL);
	assert_int_equal(s->d->exists(s->h, id_of(1), NULL), 1);
	fd = layer_look(s, id_of(1));
	sys(fstat(fd, &st));
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 0);
	assert_int_equal(count_entries(fd), 0);
	layer_looked(s, id_of(1), fd);
	ok(s->d->remove(s->h, id_of(1), &ok_err));
	assert_int_equal(s->d->exists(s->h, id_of(1), NULL), 0);
}

/* "a subdir" and "a file", as the classic graph tests have them. */
static void
fill_base(struct store *s, const char *id)
{
	int fd = layer_fill(s, id);

	sys(mkdirat(fd, "a subdir", 0700));
	sys(fchownat(fd, "a subdir", 1, 2, 0));
	sys(fchmodat(fd, "a subdir", 01705, 0));
	put_file(fd, "a file", "Some data");
	sys(fchmodat(fd, "a file", 04222, 0));
	layer_filled(s, id, fd);
}

static void
expect_base(int fd)
{
	struct stat st;

	sys(fstatat(fd, "a subdir", &st, AT_SYMLINK_NOFOLLOW));
	assert_int_equal(st.st_mode, S_IFDIR | 01705);
	assert_int_equal(st.st_uid, 1);
	assert_int_equal(st.st_gid, 2);
	sys(fstatat(fd, "a file", &st, AT_SYMLINK_NOFOLLOW));
	assert_int_equal(st.st_mode, S_IFREG | 04222);
	assert_string_equal(get_text(fd, "a file"), "Some data");
}

static void
child_shows_its_parent(void **state)
{
	struct store *s = *state;
	struct stat st;
	int fd;

	layer_create(s, id_of(1), NULL);
	fill_base(s, id_of(1));
	fd = layer_fill(s, id_of(1));
	sys(fchown(fd, 3, 4));
	sys(fchmod(fd, 0711));
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	expect_base(fd);
	assert_int_equal(count_entries(fd), 2);
	sys(fstat(fd, &st));
	assert_int_equal(st.st_mode, S_IFDIR | 0711);
	assert_int_equal(st.st_uid, 3);
	layer_looked(s, id_of(2), fd);
	layer_seal(s, id_of(2));
	fd = layer_look(s, id_of(2));
	expect_base(fd);
	layer_looked(s, id_of(2), fd);
	ok(s->d->remove(s->h, id_of(2), &ok_err));
	ok(s->d->remove(s->h, id_of(1), &ok_err));
	assert_int_equal(listed_count(s), 0);
}

static void
taken_id_is_eexist_and_nothing_changes(void **state)
{
	struct store *s = *state;
	int fd;

	layer_create(s, id_of(1), NULL);
	fill_base(s, id_of(1));
	fails(EEXIST, s->d->create(s->h, id_of(1), NULL, NULL, &ok_err));
	layer_seal(s, id_of(1));
	fails(EEXIST, s->d->create(s->h, id_of(1), NULL, NULL, &ok_err));
	fails(EEXIST, s->d->create_rw(s->h, id_of(1), id_of(1), NULL,
	    &ok_err));
	fd = layer_look(s, id_of(1));
	expect_base(fd);
	layer_looked(s, id_of(1), fd);
	assert_int_equal(listed_state(s, id_of(1)) & IMGD_STATE_MASK,
	    IMGD_STATE_SEALED);
}

static void
missing_parent_leaves_nothing(void **state)
{
	struct store *s = *state;

	fails(ENOENT, s->d->create(s->h, id_of(2), id_of(1), NULL, &ok_err));
	fails(ENOENT, s->d->create_rw(s->h, id_of(2), id_of(1), NULL,
	    &ok_err));
	assert_int_equal(s->d->exists(s->h, id_of(2), NULL), 0);
	assert_int_equal(listed_count(s), 0);
}

static void
unknown_ids_have_their_codes(void **state)
{
	struct store *s = *state;
	char *path = NULL;

	fails(ENOENT, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path,
	    &ok_err));
	assert_null(path);
	fails(ENOENT, s->d->seal(s->h, id_of(1), &ok_err));
	fails(ENOENT, s->d->replace(s->h, id_of(1), id_of(2), &ok_err));
	assert_int_equal(s->d->exists(s->h, id_of(1), NULL), 0);
	ok(s->d->remove(s->h, id_of(1), &ok_err));
	layer_create(s, id_of(1), NULL);
	fails(EOPNOTSUPP, s->d->get(s->h, id_of(1), IMGD_GET_BLOCK, &path,
	    &ok_err));
}

static void
get_twice_gives_the_same_path(void **state)
{
	struct store *s = *state;
	char *a, *b;

	layer_create(s, id_of(1), NULL);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	layer_seal(s, id_of(2));
	ok(s->d->get(s->h, id_of(2), IMGD_GET_TREE, &a, &ok_err));
	ok(s->d->get(s->h, id_of(2), IMGD_GET_TREE, &b, &ok_err));
	assert_string_equal(a, b);
	free(a);
	free(b);
	ok(s->d->put(s->h, id_of(2), IMGD_GET_TREE, &ok_err));
}

static void
sealed_is_final(void **state)
{
	struct store *s = *state;

	layer_create(s, id_of(1), NULL);
	assert_int_equal(listed_state(s, id_of(1)), IMGD_STATE_STAGED);
	fails(EINVAL, s->d->create_rw(s->h, id_of(2), id_of(1), NULL,
	    &ok_err));
	layer_seal(s, id_of(1));
	fails(EROFS, s->d->seal(s->h, id_of(1), &ok_err));
	ok(s->d->create_rw(s->h, id_of(2), id_of(1), NULL, &ok_err));
	fails(EINVAL, s->d->seal(s->h, id_of(2), &ok_err));
	fails(EINVAL, s->d->create(s->h, id_of(3), id_of(2), NULL, &ok_err));
	fails(EINVAL, s->d->replace(s->h, id_of(1), id_of(2), &ok_err));
	ok(s->d->flush(s->h, &ok_err));
	ok(s->d->flush(s->h, &ok_err));
}

static void
states_survive_a_restart(void **state)
{
	struct store *s = *state;
	int fd;

	layer_create(s, id_of(1), NULL);
	fill_base(s, id_of(1));
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	ok(s->d->create_rw(s->h, id_of(3), id_of(1), NULL, &ok_err));
	fd = layer_look(s, id_of(3));
	put_file(fd, "a file", "changed");
	sys(unlinkat(fd, "a subdir", AT_REMOVEDIR));
	layer_looked(s, id_of(3), fd);
	store_reopen(s, 0);
	assert_int_equal(listed_state(s, id_of(1)), IMGD_STATE_SEALED);
	assert_int_equal(listed_state(s, id_of(2)), IMGD_STATE_STAGED);
	assert_int_equal(listed_state(s, id_of(3)), IMGD_STATE_RW);
	assert_int_equal(listed_count(s), 3);
	fd = layer_look(s, id_of(3));
	assert_string_equal(get_text(fd, "a file"), "changed");
	assert_int_equal(count_entries(fd), 1);
	layer_looked(s, id_of(3), fd);
	fd = layer_look(s, id_of(1));
	expect_base(fd);
	layer_looked(s, id_of(1), fd);
	store_reopen(s, IMGD_OPEN_READONLY);
	assert_int_equal(listed_count(s), 3);
	store_reopen(s, 0);
}

static void
read_only_open_makes_nothing(void **state)
{
	struct store *s = *state;

	s->d->close(s->h);
	ok(fs_remove_tree(AT_FDCWD, s->home, &ok_err));
	sys(mkdir(s->home, 0700));
	(void)close(s->env.home_fd);
	s->env.home_fd = sys(open(s->home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	s->env.flags = IMGD_OPEN_READONLY;
	ok(s->d->open(&s->env, &s->h, &ok_err));
	assert_int_equal(listed_count(s), 0);
	assert_int_equal(s->d->exists(s->h, id_of(1), NULL), 0);
	assert_int_equal(count_entries(s->env.home_fd), 0);
	store_reopen(s, 0);
}

/* u::rwx, g::rwx, o::rwx and user 1: what a default ACL looks like. */
static const unsigned char acl[] = { 2, 0, 0, 0,
	1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 7, 0, 1, 0, 0, 0,
	4, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x20, 0, 7, 0, 0xff, 0xff, 0xff, 0xff };

static void
layers_inherit_nothing_from_the_store(void **state)
{
	struct store *s = *state;
	unsigned int i;

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
	fill_base(s, id_of(1));
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	for (i = 1; i <= 2; i++) {
		int fd = layer_look(s, id_of(i));
		int file = sys(openat(fd, "a file", O_RDONLY | O_CLOEXEC));
		struct stat st;

		sys(fstat(fd, &st));
		assert_int_equal(st.st_mode, S_IFDIR | 0755);
		assert_int_equal(st.st_gid, 0);
		assert_int_equal(flistxattr(fd, NULL, 0), 0);
		assert_int_equal(flistxattr(file, NULL, 0), 0);
		(void)close(file);
		layer_looked(s, id_of(i), fd);
	}
}

static void
children_are_listed_first(void **state)
{
	struct store *s = *state;
	unsigned int i;

	for (i = 1; i <= 40; i++) {
		/* A tree, not a chain. */
		layer_create(s, id_of(i), i == 1 ? NULL : id_of(i / 2));
		layer_seal(s, id_of(i));
	}
	assert_int_equal(listed_count(s), 40);
}

/* n layers, each overwriting one file and adding a directory. */
static void
make_deep(struct store *s, unsigned int n)
{
	unsigned int i;

	for (i = 1; i <= n; i++) {
		char name[32];
		int fd;

		layer_create(s, id_of(i), i == 1 ? NULL : id_of(i - 1));
		fd = layer_fill(s, id_of(i));
		put_file(fd, "top-id", id_of(i));
		if (i == 1)
			put_file(fd, "testfile.txt", "test content");
		(void)snprintf(name, sizeof(name), "layer-%u", i);
		sys(mkdirat(fd, name, 0755));
		(void)snprintf(name, sizeof(name), "layer-%u/layer-id", i);
		put_file(fd, name, id_of(i));
		layer_filled(s, id_of(i), fd);
		layer_seal(s, id_of(i));
	}
}

static void
expect_deep(struct store *s, unsigned int n)
{
	int fd = layer_look(s, id_of(n));
	unsigned int i;

	assert_string_equal(get_text(fd, "top-id"), id_of(n));
	assert_string_equal(get_text(fd, "testfile.txt"), "test content");
	for (i = n; i > 0; i--) {
		char name[32];

		(void)snprintf(name, sizeof(name), "layer-%u/layer-id", i);
		assert_string_equal(get_text(fd, name), id_of(i));
	}
	assert_int_equal(count_entries(fd), n + 2);
	layer_looked(s, id_of(n), fd);
}

static void
chain_of_128_layers_is_read(void **state)
{
	struct store *s = *state;

	make_deep(s, 128);
	expect_deep(s, 128);
	store_reopen(s, 0);
	expect_deep(s, 128);
	expect_deep(s, 77);
}

static void
deletions_and_changes_are_seen(void **state)
{
	struct store *s = *state;
	int fd;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	sys(mkdirat(fd, "lib", 0755));
	put_file(fd, "lib/hidden", "old");
	put_file(fd, "file", "1");
	put_file(fd, "gone", "x");
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	fd = layer_fill(s, id_of(2));
	hide(s, fd, "gone");
	hide(s, fd, "lib");
	put_file(fd, "file", "2");
	layer_filled(s, id_of(2), fd);
	layer_seal(s, id_of(2));
	/* An empty third layer must not bring anything back. */
	layer_create(s, id_of(3), id_of(2));
	layer_seal(s, id_of(3));
	fd = layer_look(s, id_of(3));
	assert_string_equal(get_text(fd, "file"), "2");
	assert_int_equal(count_entries(fd), 1);
	layer_looked(s, id_of(3), fd);
	fd = layer_look(s, id_of(1));
	assert_string_equal(get_text(fd, "file"), "1");
	assert_string_equal(get_text(fd, "lib/hidden"), "old");
	layer_looked(s, id_of(1), fd);
}

static void
replace_exchanges_contents(void **state)
{
	struct store *s = *state;
	unsigned int i;
	int fd;

	layer_create(s, id_of(1), NULL);
	layer_seal(s, id_of(1));
	for (i = 2; i <= 3; i++) {
		layer_create(s, id_of(i), id_of(1));
		fd = layer_fill(s, id_of(i));
		put_file(fd, "file", i == 2 ? "damaged" : "good");
		layer_filled(s, id_of(i), fd);
		layer_seal(s, id_of(i));
	}
	fd = layer_look(s, id_of(2));
	ok(s->d->replace(s->h, id_of(2), id_of(3), &ok_err));
	/* What is open keeps the old content. */
	assert_string_equal(get_text(fd, "file"), "damaged");
	layer_looked(s, id_of(2), fd);
	store_reopen(s, 0);
	fd = layer_look(s, id_of(2));
	assert_string_equal(get_text(fd, "file"), "good");
	layer_looked(s, id_of(2), fd);
	fd = layer_look(s, id_of(3));
	assert_string_equal(get_text(fd, "file"), "damaged");
	layer_looked(s, id_of(3), fd);
	ok(s->d->remove(s->h, id_of(3), &ok_err));
}

static void
restart_finishes_what_a_crash_cut(void **state)
{
	struct store *s = *state;
	char path[700];
	int tmp_fd, dying_fd, told;

	layer_create(s, id_of(1), NULL);
	fill_base(s, id_of(1));
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

/* Kill a process somewhere in create, seal or remove; then the ids that were
 * not finished can be removed and used again. */
static void
killed_at_any_moment_leaves_no_half_layer(void **state)
{
	struct store *s = *state;
	unsigned int i, round;
	int fd;

	layer_create(s, id_of(1), NULL);
	fd = layer_fill(s, id_of(1));
	for (i = 0; i < 300; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "file-%u", i);
		put_file(fd, name, name);
	}
	layer_filled(s, id_of(1), fd);
	layer_seal(s, id_of(1));
	for (round = 0; round < 12; round++) {
		struct timespec wait = { 0, (long)round * 900000 + 300000 };
		pid_t pid = fork();

		assert_true(pid >= 0);
		for (i = 2; pid == 0; i = i == 6 ? 2 : i + 1) {
			(void)s->d->create(s->h, id_of(i), id_of(1), NULL,
			    NULL);
			(void)s->d->seal(s->h, id_of(i), NULL);
			(void)s->d->remove(s->h, id_of(i), NULL);
		}
		(void)nanosleep(&wait, NULL);
		sys(kill(pid, SIGKILL));
		sys(waitpid(pid, NULL, 0));
		store_reopen(s, 0);
		for (i = 2; i <= 6; i++) {
			if (s->d->exists(s->h, id_of(i), NULL) == 1) {
				fd = layer_look(s, id_of(i));
				assert_int_equal(count_entries(fd), 300);
				layer_looked(s, id_of(i), fd);
			}
			ok(s->d->remove(s->h, id_of(i), &ok_err));
		}
		assert_int_equal(listed_count(s), 1);
		assert_int_equal(check_store(s, 0, &(int){ 0 }), 0);
	}
}

struct worker {
	struct store *store;
	unsigned int first;
	int n_failed;
};

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct store *s = w->store;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		char id[ID_SIZE], base[ID_SIZE], *path = NULL;

		(void)snprintf(id, sizeof(id), "%064x", w->first + i);
		(void)snprintf(base, sizeof(base), "%064x", 1);
		w->n_failed += s->d->create(s->h, id, base, NULL, NULL) < 0;
		w->n_failed += s->d->seal(s->h, id, NULL) < 0;
		w->n_failed += s->d->get(s->h, id, IMGD_GET_TREE, &path,
		    NULL) < 0;
		free(path);
		w->n_failed += s->d->put(s->h, id, IMGD_GET_TREE, NULL) < 0;
		w->n_failed += s->d->remove(s->h, id, NULL) < 0;
	}
	return NULL;
}

static void
threads_work_on_different_layers(void **state)
{
	struct store *s = *state;
	struct worker workers[8];
	pthread_t threads[8];
	char base[ID_SIZE];
	size_t i;

	assert_true(s->d->threads >= IMGD_THREADS_PER_LAYER);
	(void)snprintf(base, sizeof(base), "%064x", 1);
	layer_create(s, base, NULL);
	fill_base(s, base);
	layer_seal(s, base);
	for (i = 0; i < 8; i++) {
		workers[i] = (struct worker){ s, (unsigned int)i * 100 + 2,
			0 };
		assert_int_equal(pthread_create(&threads[i], NULL, work,
		    &workers[i]), 0);
	}
	for (i = 0; i < 8; i++) {
		(void)pthread_join(threads[i], NULL);
		assert_int_equal(workers[i].n_failed, 0);
	}
	assert_int_equal(listed_count(s), 1);
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

static void
note_key(void *ctx, const char *key, const char *value)
{
	assert_true(strlen(key) > 0);
	assert_non_null(value);
	(*(int *)ctx)++;
}

static void
status_and_metadata_tell_something(void **state)
{
	struct store *s = *state;
	int n = 0;
	struct imgd_kv kv = { sizeof(kv), &n, note_key };

	ok(s->d->status(s->h, &kv, &ok_err));
	assert_true(n >= 2);
	layer_create(s, id_of(1), NULL);
	layer_seal(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	n = 0;
	ok(s->d->metadata(s->h, id_of(2), &kv, &ok_err));
	assert_true(n >= 2);
	fails(ENOENT, s->d->metadata(s->h, id_of(3), &kv, &ok_err));
}

static void
unknown_option_is_refused(void **state)
{
	struct store *s = *state;
	struct imgd_option option = { "no.such", "option" };
	struct imgd_env env = s->env;
	void *h = NULL;

	env.options = &option;
	env.n_options = 1;
	fails(EINVAL, s->d->open(&env, &h, &ok_err));
	assert_null(h);
}

#define unit_case(f)                                                         \
	cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		unit_case(empty_base_has_a_plain_root),
		unit_case(child_shows_its_parent),
		unit_case(taken_id_is_eexist_and_nothing_changes),
		unit_case(missing_parent_leaves_nothing),
		unit_case(unknown_ids_have_their_codes),
		unit_case(get_twice_gives_the_same_path),
		unit_case(sealed_is_final),
		unit_case(states_survive_a_restart),
		unit_case(read_only_open_makes_nothing),
		unit_case(layers_inherit_nothing_from_the_store),
		unit_case(children_are_listed_first),
		unit_case(chain_of_128_layers_is_read),
		unit_case(deletions_and_changes_are_seen),
		unit_case(replace_exchanges_contents),
		unit_case(restart_finishes_what_a_crash_cut),
		unit_case(killed_at_any_moment_leaves_no_half_layer),
		unit_case(threads_work_on_different_layers),
		unit_case(damaged_records_are_told_and_removable),
		unit_case(status_and_metadata_tell_something),
		unit_case(unknown_option_is_refused),
	};

	harness_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
