/* Comparing trees: whole, and steered by a layer's own changes. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/tree-diff.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

struct trees {
	char dir[64];
	int dir_fd, old_fd, new_fd, own_fd;
};

static int
sys_ok(int r)
{
	if (r < 0)
		fail_msg("%s", strerror(errno));
	return r;
}

static int
setup(void **state)
{
	struct trees *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)snprintf(t->dir, sizeof(t->dir), "test-tree-diff-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	t->dir_fd = sys_ok(open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	t->old_fd = fs_make_open_dir(t->dir_fd, "old", 0755, NULL);
	t->new_fd = fs_make_open_dir(t->dir_fd, "new", 0755, NULL);
	t->own_fd = fs_make_open_dir(t->dir_fd, "own", 0755, NULL);
	assert_true(t->old_fd >= 0 && t->new_fd >= 0 && t->own_fd >= 0);
	*state = t;
	return 0;
}

static int
teardown(void **state)
{
	struct trees *t = *state;

	(void)close(t->old_fd);
	(void)close(t->new_fd);
	(void)close(t->own_fd);
	(void)close(t->dir_fd);
	assert_int_equal(fs_remove_tree(AT_FDCWD, t->dir, NULL), 0);
	free(t);
	return 0;
}

static const struct timespec then[2] = { { 1000, 0 }, { 1000, 0 } };

/* A file with a fixed time. */
static void
put(int fd, const char *name, const char *text)
{
	cleanup_close int file = sys_ok(openat(fd, name,
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	assert_int_equal(fs_write_all(file, text, strlen(text), NULL), 0);
	sys_ok(futimens(file, then));
}

static void
dir(int fd, const char *name)
{
	sys_ok(mkdirat(fd, name, 0755));
}

static int
note(void *ctx, const char *path, int kind)
{
	strbuf_printf(ctx, "%c %s;",
	    kind == IMGD_CHANGE_ADD	  ? 'A'
		: kind == IMGD_CHANGE_DELETE ? 'D'
					     : 'C',
	    path);
	return 0;
}

/* All changes as one line; with own changes or without. */
static char *
changes(struct trees *t, bool with_own)
{
	struct strbuf sb = STRBUF_INIT;
	const struct tree_diff td = {
		.old_fd = t->old_fd,
		.new_fd = t->new_fd,
		.own_fd = with_own ? t->own_fd : -EBADF,
		.whiteouts = IMGD_WH_AUFS,
		.cb = note,
		.ctx = &sb,
	};
	struct imgd_error *err = NULL;

	strbuf_puts(&sb, "");
	if (tree_diff(&td, &err) < 0)
		fail_msg("%s", imgd_error_msg(err));
	return strbuf_take(&sb);
}

static void
expect(struct trees *t, bool with_own, const char *want)
{
	cleanup_free char *have = changes(t, with_own);

	assert_string_equal(have, want);
}

static void
equal_trees_have_no_changes(void **state)
{
	struct trees *t = *state;
	int fds[2] = { t->old_fd, t->new_fd };
	int i;

	for (i = 0; i < 2; i++) {
		dir(fds[i], "d");
		put(fds[i], "d/f", "text");
		sys_ok(symlinkat("f", fds[i], "d/l"));
		sys_ok(utimensat(fds[i], "d/l", then, AT_SYMLINK_NOFOLLOW));
		sys_ok(mkfifoat(fds[i], "p", 0600));
		sys_ok(utimensat(fds[i], "p", then, 0));
	}
	expect(t, false, "");
	/* Times of directories do not count. */
	sys_ok(utimensat(t->new_fd, "d", then, 0));
	expect(t, false, "");
}

static void
each_kind_of_change_is_told(void **state)
{
	struct trees *t = *state;
	int fds[2] = { t->old_fd, t->new_fd };
	int i;

	for (i = 0; i < 2; i++) {
		int fd = fds[i];

		dir(fd, "mode");
		dir(fd, "d");
		dir(fd, "d/deep");
		put(fd, "d/deep/same", "x");
		put(fd, "d/deep/text", i == 0 ? "abc" : "abd");
		put(fd, "size", i == 0 ? "1" : "22");
		put(fd, "time", "x");
		put(fd, "attr", "x");
		sys_ok(symlinkat(i == 0 ? "aa" : "bb", fd, "link"));
		sys_ok(utimensat(fd, "link", then, AT_SYMLINK_NOFOLLOW));
	}
	sys_ok(fchmodat(t->new_fd, "mode", 0700, 0));
	sys_ok(utimensat(t->new_fd, "time", NULL, 0));
	{
		cleanup_close int fd = sys_ok(openat(t->new_fd, "attr",
		    O_RDONLY | O_CLOEXEC));

		sys_ok(fsetxattr(fd, "user.x", "1", 1, 0));
	}
	/* file ↔ directory */
	put(t->old_fd, "to-dir", "x");
	dir(t->new_fd, "to-dir");
	put(t->new_fd, "to-dir/in", "x");
	dir(t->old_fd, "to-file");
	put(t->old_fd, "to-file/in", "x");
	put(t->new_fd, "to-file", "x");
	/* added and removed */
	dir(t->new_fd, "add");
	dir(t->new_fd, "add/sub");
	put(t->new_fd, "add/sub/f", "x");
	dir(t->old_fd, "gone");
	put(t->old_fd, "gone/f", "x");
	expect(t, false,
	    "A /add;A /add/sub;A /add/sub/f;C /attr;C /d;C /d/deep;"
	    "C /d/deep/text;D /gone;C /link;C /mode;C /size;C /time;"
	    "C /to-dir;A /to-dir/in;C /to-file;");
	sys_ok(fchmod(t->new_fd, 0700));
	sys_ok(unlinkat(t->new_fd, "add/sub/f", 0));
	expect(t, false,
	    "C /;A /add;A /add/sub;C /attr;C /d;C /d/deep;"
	    "C /d/deep/text;D /gone;C /link;C /mode;C /size;C /time;"
	    "C /to-dir;A /to-dir/in;C /to-file;");
}

static void
nothing_before_means_all_is_added(void **state)
{
	struct trees *t = *state;

	dir(t->new_fd, "d");
	put(t->new_fd, "d/f", "x");
	(void)close(t->old_fd);
	t->old_fd = -EBADF;
	expect(t, false, "A /d;A /d/f;");
}

/* In the aufs form: whiteouts, an opaque directory, a directory of its own
 * that only leads to a change, and aufs's own metadata. */
static void
own_changes_give_the_same_answer(void **state)
{
	struct trees *t = *state;

	dir(t->old_fd, "d");
	dir(t->new_fd, "d");
	put(t->old_fd, "d/gone", "x");
	put(t->old_fd, "d/kept", "x");
	put(t->new_fd, "d/kept", "x");
	put(t->old_fd, "d/text", "1");
	put(t->new_fd, "d/text", "2");
	dir(t->old_fd, "opaque");
	put(t->old_fd, "opaque/hidden", "x");
	put(t->old_fd, "opaque/again", "x");
	dir(t->new_fd, "opaque");
	put(t->new_fd, "opaque/again", "x");
	put(t->new_fd, "opaque/new", "x");
	dir(t->old_fd, "way");
	dir(t->new_fd, "way");
	dir(t->new_fd, "add");
	put(t->new_fd, "add/f", "x");

	dir(t->own_fd, "d");
	put(t->own_fd, "d/.wh.gone", "");
	put(t->own_fd, "d/.wh.never-was", "");
	put(t->own_fd, "d/text", "2");
	dir(t->own_fd, "opaque");
	put(t->own_fd, "opaque/.wh..wh..opq", "");
	put(t->own_fd, "opaque/again", "x");
	put(t->own_fd, "opaque/new", "x");
	dir(t->own_fd, "way");
	dir(t->own_fd, "add");
	put(t->own_fd, "add/f", "x");
	put(t->own_fd, ".wh..wh.aufs", "");
	dir(t->own_fd, ".wh..wh.plnk");
	expect(t, false,
	    "A /add;A /add/f;C /d;D /d/gone;C /d/text;"
	    "C /opaque;D /opaque/hidden;A /opaque/new;");
	expect(t, true,
	    "A /add;A /add/f;C /d;D /d/gone;C /d/text;"
	    "C /opaque;D /opaque/hidden;A /opaque/new;");
	/* And it is the own changes that steer. */
	put(t->new_fd, "outside", "x");
	expect(t, true,
	    "A /add;A /add/f;C /d;D /d/gone;C /d/text;"
	    "C /opaque;D /opaque/hidden;A /opaque/new;");
}

/* More levels than descriptors are kept. */
static void
deep_trees_are_walked_to_the_end(void **state)
{
	struct trees *t = *state;
	int fds[2] = { t->old_fd, t->new_fd };
	cleanup_free char *have = NULL;
	const char *p;
	int i, depth, n = 0;

	for (i = 0; i < 2; i++) {
		int fd = sys_ok(dup(fds[i]));

		for (depth = 0; depth < 700; depth++) {
			int next;

			dir(fd, "d");
			put(fd, "z", depth % 2 && i ? "1" : "2");
			next = sys_ok(openat(fd, "d",
			    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
			(void)close(fd);
			fd = next;
		}
		(void)close(fd);
	}
	have = changes(t, false);
	for (p = have; (p = strchr(p, ';')) != NULL; p++)
		n++;
	/* 350 changed files, and each directory above the deepest. */
	assert_int_equal(n, 350 + 699);
}

static int
give_up(void *ctx)
{
	(void)ctx;
	return 1;
}

static int
stop(void *ctx, const char *path, int kind)
{
	(void)ctx;
	(void)path;
	(void)kind;
	return 7;
}

static void
the_caller_can_end_it(void **state)
{
	struct trees *t = *state;
	struct tree_diff td = { .old_fd = t->old_fd, .new_fd = t->new_fd,
		.own_fd = -EBADF, .cb = stop };
	cleanup_error struct imgd_error *err = NULL;

	put(t->new_fd, "a", "x");
	assert_int_equal(tree_diff(&td, &err), 7);
	assert_null(err);
	td.cancelled = give_up;
	assert_int_equal(tree_diff(&td, &err), -ECANCELED);
	assert_non_null(err);
}

#define with_trees(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		with_trees(equal_trees_have_no_changes),
		with_trees(each_kind_of_change_is_told),
		with_trees(nothing_before_means_all_is_added),
		with_trees(own_changes_give_the_same_answer),
		with_trees(deep_trees_are_walked_to_the_end),
		with_trees(the_caller_can_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
