/* From create to remove: the classic graph tests, and the fixed codes. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* "a subdir" and "a file", as the classic graph tests have them. */
static void
base_tar(struct strbuf *tar)
{
	tar_put(tar, &(struct tar_item) { .name = "a subdir", .type = '5',
	    .mode = 01705, .uid = 1, .gid = 2 });
	tar_put(tar, &(struct tar_item) { .name = "a file", .mode = 04222,
	    .data = "Some data", .len = 9 });
	tar_end(tar);
}

static void
make_base(struct store *s, const char *id)
{
	struct strbuf tar = STRBUF_INIT;

	base_tar(&tar);
	layer_from_tar(s, id, NULL, &tar);
	strbuf_done(&tar);
}

static void
expect_base(int fd)
{
	struct stat st;

	sys(fstatat(fd, "a subdir", &st, AT_SYMLINK_NOFOLLOW));
	expect_int(st.st_mode, S_IFDIR | 01705);
	expect_int(st.st_uid, 1);
	expect_int(st.st_gid, 2);
	sys(fstatat(fd, "a file", &st, AT_SYMLINK_NOFOLLOW));
	expect_int(st.st_mode, S_IFREG | 04222);
	expect_int(st.st_uid, 0);
	expect_str(get_text(fd, "a file"), "Some data");
	expect_int(count_entries(fd), 2);
}

static void
look_base(struct store *s, const char *id)
{
	int fd = layer_look(s, id);

	expect_base(fd);
	layer_looked(s, id, fd);
}

static void
empty_base_has_a_plain_root(struct store *s)
{
	struct stat st;
	int fd;

	expect(!layer_exists(s, id_of(1)));
	layer_create(s, id_of(1), NULL);
	expect(layer_exists(s, id_of(1)));
	fd = layer_look(s, id_of(1));
	sys(fstat(fd, &st));
	expect_int(st.st_mode, S_IFDIR | 0755);
	expect_int(st.st_uid, 0);
	expect_int(st.st_gid, 0);
	expect_int(count_entries(fd), 0);
	layer_looked(s, id_of(1), fd);
	layer_remove(s, id_of(1));
	expect(!layer_exists(s, id_of(1)));
	expect_listed(s, 0);
}

static void
base_keeps_modes_and_owners(struct store *s)
{
	make_base(s, id_of(1));
	look_base(s, id_of(1));
	look_base(s, id_of(1));
	layer_remove(s, id_of(1));
	expect_listed(s, 0);
}

static void
child_shows_its_parent(struct store *s)
{
	make_base(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	look_base(s, id_of(2));
	layer_seal(s, id_of(2));
	look_base(s, id_of(2));
	look_base(s, id_of(1));
	layer_remove(s, id_of(2));
	look_base(s, id_of(1));
	layer_remove(s, id_of(1));
	expect_listed(s, 0);
}

static void
root_attributes_are_inherited(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;
	const struct tar_xattr x = { "user.root", "yes", 3 };
	struct stat st;
	unsigned int i;

	tar_put(&tar, &(struct tar_item) { .name = "./", .type = '5',
	    .mode = 0711, .uid = 3, .gid = 4, .mtime = 1234567890,
	    .nsec = 42, .xattrs = &x, .n_xattrs = 1 });
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
	layer_create(s, id_of(2), id_of(1));
	layer_seal(s, id_of(2));
	layer_create(s, id_of(3), id_of(2));
	for (i = 1; i <= 3; i++) {
		int fd = layer_look(s, id_of(i));
		char value[8];

		sys(fstat(fd, &st));
		expect_int(st.st_mode, S_IFDIR | 0711);
		expect_int(st.st_uid, 3);
		expect_int(st.st_gid, 4);
		expect_int(st.st_mtim.tv_sec, 1234567890);
		expect_int(st.st_mtim.tv_nsec, 42);
		expect_int(fgetxattr(fd, "user.root", value, sizeof(value)),
		    3);
		layer_looked(s, id_of(i), fd);
	}
}

static void
taken_id_is_eexist_and_nothing_changes(struct store *s)
{
	layer_create(s, id_of(1), NULL);
	fails(EEXIST, s->d->create(s->h, id_of(1), NULL, NULL, &ok_err));
	layer_remove(s, id_of(1));
	make_base(s, id_of(1));
	fails(EEXIST, s->d->create(s->h, id_of(1), NULL, NULL, &ok_err));
	fails(EEXIST, s->d->create(s->h, id_of(1), id_of(1), NULL, &ok_err));
	if (s->caps & IMGD_CAP_RW)
		fails(EEXIST, s->d->create_rw(s->h, id_of(1), id_of(1), NULL,
		    &ok_err));
	look_base(s, id_of(1));
	expect(is_listed_as(s, id_of(1), s->d->seal != NULL
	    ? IMGD_STATE_SEALED : IMGD_STATE_STAGED));
}

static void
missing_parent_leaves_nothing(struct store *s)
{
	fails(ENOENT, s->d->create(s->h, id_of(2), id_of(1), NULL, &ok_err));
	if (s->caps & IMGD_CAP_RW)
		fails(ENOENT, s->d->create_rw(s->h, id_of(2), id_of(1), NULL,
		    &ok_err));
	expect(!layer_exists(s, id_of(2)));
	expect_listed(s, 0);
	make_base(s, id_of(2));
	look_base(s, id_of(2));
}

static void
unknown_ids_have_their_codes(struct store *s)
{
	char *path = NULL;

	fails(ENOENT, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path,
	    &ok_err));
	expect(path == NULL);
	if (s->d->seal != NULL)
		fails(ENOENT, s->d->seal(s->h, id_of(1), &ok_err));
	if (s->d->replace != NULL)
		fails(ENOENT, s->d->replace(s->h, id_of(1), id_of(2),
		    &ok_err));
	expect(!layer_exists(s, id_of(1)));
	layer_remove(s, id_of(1));
	expect(!layer_exists(s, id_of(1)));
	expect_listed(s, 0);
}

static void
block_devices_are_refused(struct store *s)
{
	char *path = NULL;

	make_base(s, id_of(1));
	fails(EOPNOTSUPP, s->d->get(s->h, id_of(1), IMGD_GET_BLOCK, &path,
	    &ok_err));
	expect(path == NULL);
}

static void
removed_id_can_be_used_again(struct store *s)
{
	unsigned int i;

	make_base(s, id_of(9));
	for (i = 0; i < 3; i++) {
		make_base(s, id_of(1));
		look_base(s, id_of(1));
		layer_remove(s, id_of(1));
		layer_create(s, id_of(1), id_of(9));
		look_base(s, id_of(1));
		layer_seal(s, id_of(1));
		layer_remove(s, id_of(1));
		layer_remove(s, id_of(1));
	}
	expect_listed(s, 1);
}

static void
staged_layers_can_be_removed(struct store *s)
{
	make_base(s, id_of(1));
	layer_create(s, id_of(2), NULL);
	layer_create(s, id_of(3), id_of(1));
	layer_remove(s, id_of(2));
	layer_remove(s, id_of(3));
	expect_listed(s, 1);
	look_base(s, id_of(1));
}

static void
get_after_remove_is_enoent(struct store *s)
{
	char *path = NULL;

	make_base(s, id_of(1));
	layer_remove(s, id_of(1));
	fails(ENOENT, s->d->get(s->h, id_of(1), IMGD_GET_TREE, &path,
	    &ok_err));
}

/* An exists() that takes a prefix, or any letter, for an id. */
static void
similar_ids_are_different_layers(struct store *s)
{
	char a[ID_SIZE], b[ID_SIZE];

	memset(a, 'a', ID_SIZE - 1);
	a[ID_SIZE - 1] = '\0';
	memcpy(b, a, ID_SIZE);
	b[ID_SIZE - 2] = 'b';
	make_base(s, a);
	expect(!layer_exists(s, b));
	layer_create(s, b, NULL);
	layer_remove(s, a);
	expect(layer_exists(s, b));
	expect_listed(s, 1);
}

static void
note_key(void *ctx, const char *key, const char *value)
{
	expect(key != NULL && *key != '\0' && strchr(key, '\n') == NULL);
	expect(value != NULL && strchr(value, '\n') == NULL);
	(*(int *)ctx)++;
}

static void
status_tells_something(struct store *s)
{
	int n = 0;
	struct imgd_kv kv = { sizeof(kv), &n, note_key };

	ok(s->d->status(s->h, &kv, &ok_err));
	expect(n > 0);
	make_base(s, id_of(1));
	ok(s->d->status(s->h, &kv, &ok_err));
	store_reopen(s, IMGD_OPEN_READONLY);
	n = 0;
	ok(s->d->status(s->h, &kv, &ok_err));
	expect(n > 0);
	store_reopen(s, 0);
}

static void
metadata_tells_something(struct store *s)
{
	int n = 0;
	struct imgd_kv kv = { sizeof(kv), &n, note_key };

	make_base(s, id_of(1));
	layer_create(s, id_of(2), id_of(1));
	ok(s->d->metadata(s->h, id_of(2), &kv, &ok_err));
	expect(n > 0);
	fails(ENOENT, s->d->metadata(s->h, id_of(3), &kv, &ok_err));
}

static void
unknown_option_is_refused(struct store *s)
{
	struct imgd_option option = { "no.such-option", "x" };
	const struct imgd_option *saved = s->env.options;
	uint32_t n_saved = s->env.n_options;
	void *h = NULL;

	store_end(s);
	s->env.options = &option;
	s->env.n_options = 1;
	refused(s->d->open(&s->env, &h, &ok_err));
	expect(h == NULL);
	s->env.options = saved;
	s->env.n_options = n_saved;
	store_open(s, 0);
}

static void
flush_may_be_repeated(struct store *s)
{
	store_flush(s);
	make_base(s, id_of(1));
	store_flush(s);
	store_flush(s);
	layer_create(s, id_of(2), id_of(1));
	store_flush(s);
	look_base(s, id_of(1));
}

static void
cleanup_may_be_repeated(struct store *s)
{
	make_base(s, id_of(1));
	look_base(s, id_of(1));
	store_cleanup(s);
	store_cleanup(s);
	look_base(s, id_of(1));
	store_cleanup(s);
}

/* Entries below a directory, on its filesystem alone. */
static int
count_below(int fd)
{
	cleanup_closedir DIR *d = fdopendir(open_dir_at(fd, "."));
	struct dirent *de;
	struct stat dir, st;
	int n = 0;

	expect(d != NULL);
	sys(fstat(fd, &dir));
	while ((de = readdir(d)) != NULL) {
		cleanup_close int sub = -EBADF;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		n++;
		if (!S_ISDIR(st.st_mode) || st.st_dev != dir.st_dev)
			continue;
		sub = open_dir_at(fd, de->d_name);
		n += count_below(sub);
	}
	return n;
}

/* Of three layers, the first of which is n. */
static void
some_lives(struct store *s, unsigned int n)
{
	make_base(s, id_of(n));
	layer_create(s, id_of(n + 1), id_of(n));
	look_base(s, id_of(n + 1));
	layer_seal(s, id_of(n + 1));
	layer_create(s, id_of(n + 2), id_of(n + 1));
	layer_remove(s, id_of(n + 2));
	layer_remove(s, id_of(n + 1));
	layer_remove(s, id_of(n));
	store_end(s);
	store_open(s, 0);
}

/* What a driver keeps for itself is there after the first; of no id is
 * anything kept. */
static void
removed_layers_leave_no_files(struct store *s)
{
	unsigned int i;
	int n;

	some_lives(s, 1);
	n = count_below(s->env.home_fd);
	for (i = 1; i <= 3; i++)
		some_lives(s, 1 + 10 * i);
	expect_int(count_below(s->env.home_fd), n);
}

/* One that gives up is removed like any other, and one that had nothing long
 * to do has succeeded. */
static void
cancelled_creation_can_be_removed(struct store *s)
{
	struct imgd_error *err = NULL;
	struct strbuf tar = STRBUF_INIT;
	char name[32];
	int r, i;

	for (i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "file-%d", i);
		tar_put(&tar, &(struct tar_item) { .name = name,
		    .len = 64 << 10 });
	}
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
	store_cancelled = 1;
	r = s->d->create(s->h, id_of(2), id_of(1), NULL, &err);
	store_cancelled = 0;
	expect((r < 0) == (err != NULL));
	if (r < 0)
		expect_int(r, -ECANCELED);
	imgd_error_free(err);
	layer_remove(s, id_of(2));
	expect(!layer_exists(s, id_of(2)));
	expect_listed(s, 1);
	layer_create(s, id_of(2), id_of(1));
	i = layer_look(s, id_of(2));
	expect_int(count_entries(i), 200);
	layer_looked(s, id_of(2), i);
}

const struct suite_case life_cases[] = {
	CASE(empty_base_has_a_plain_root, 0, 0),
	CASE(base_keeps_modes_and_owners, 0, 0),
	CASE(child_shows_its_parent, 0, 0),
	CASE(root_attributes_are_inherited, 0, NEED_UNPACKED),
	CASE(taken_id_is_eexist_and_nothing_changes, 0, 0),
	CASE(missing_parent_leaves_nothing, 0, 0),
	CASE(unknown_ids_have_their_codes, 0, 0),
	CASE_LACKING(block_devices_are_refused, IMGD_CAP_BLOCKDEV, 0),
	CASE(removed_id_can_be_used_again, 0, 0),
	CASE(staged_layers_can_be_removed, 0, 0),
	CASE(removed_layers_leave_no_files, 0, 0),
	CASE(cancelled_creation_can_be_removed, 0, NEED_UNPACKED),
	CASE(get_after_remove_is_enoent, 0, 0),
	CASE(similar_ids_are_different_layers, 0, 0),
	CASE(status_tells_something, 0, NEED_STATUS),
	CASE(metadata_tells_something, 0, NEED_METADATA),
	CASE(unknown_option_is_refused, 0, 0),
	CASE(flush_may_be_repeated, 0, 0),
	CASE(cleanup_may_be_repeated, 0, 0),
	CASES_END,
};
