/* What a layer changed, asked as the core asks: the driver itself, or its
 * directory of own changes, or both trees. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/tree-diff.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

#define MAX_CHANGES 64

/* "A /path", sorted: the order of a driver's own answer is its own. */
struct changes {
	char *list[MAX_CHANGES];
	int n;
};

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
add_change(struct changes *c, char kind, const char *path)
{
	expect(c->n < MAX_CHANGES);
	expect(asprintf(&c->list[c->n++], "%c %s", kind, path) > 0);
}

static int
note_change(void *ctx, const char *path, int kind)
{
	expect(kind == IMGD_CHANGE_MODIFY || kind == IMGD_CHANGE_ADD ||
	    kind == IMGD_CHANGE_DELETE);
	add_change(ctx, "CAD"[kind], path);
	return 0;
}

/* Fail unless they are those of wanted, which is emptied with got. */
static void
expect_changes(struct changes *got, struct changes *wanted)
{
	int i;

	qsort(got->list, (size_t)got->n, sizeof(got->list[0]), by_text);
	qsort(wanted->list, (size_t)wanted->n, sizeof(wanted->list[0]),
	    by_text);
	for (i = 0; i < got->n && i < wanted->n; i++)
		expect_str(got->list[i], wanted->list[i]);
	if (got->n != wanted->n)
		fail("%d changes, not %d: \"%s\" is %s", got->n, wanted->n,
		    got->n > i ? got->list[i] : wanted->list[i],
		    got->n > i ? "no change" : "not told");
	while (got->n > 0) {
		free(got->list[--got->n]);
		free(wanted->list[--wanted->n]);
	}
}

enum how { AS_THE_CORE, TREES_ALONE };

/* Two layers that are got: base is id's parent, or NULL and -EBADF. */
struct pair {
	const char *id, *base;
	int fd, base_fd;
};

static void
ask_pair(struct store *s, const struct pair *p, enum how how,
    struct changes *ret)
{
	struct tree_diff td = { .old_fd = p->base_fd, .new_fd = p->fd,
		.own_fd = -EBADF, .cb = note_change, .ctx = ret };
	cleanup_free char *own = NULL;

	if (how == AS_THE_CORE && s->d->changes != NULL) {
		ok(s->d->changes(s->h, p->id, p->base, note_change, ret,
		    &ok_err));
		return;
	}
	if (how == AS_THE_CORE && p->base != NULL && s->d->own_dir != NULL) {
		ok(s->d->own_dir(s->h, p->id, &own, &td.whiteouts, &ok_err));
		td.own_fd = open_dir(own);
	}
	ok(tree_diff(&td, &ok_err));
	close_fd(&td.own_fd);
}

static void
ask(struct store *s, const char *id, const char *base, enum how how,
    struct changes *ret)
{
	struct pair p = { id, base, layer_look(s, id), -EBADF };

	if (base != NULL)
		p.base_fd = layer_look(s, base);
	ask_pair(s, &p, how, ret);
	if (base != NULL)
		layer_looked(s, base, p.base_fd);
	layer_looked(s, id, p.fd);
}

/* moby's DriverTestChanges: of the same size, and within a second. */
static void
changes_are_told_exactly(struct store *s)
{
	struct strbuf base = STRBUF_INIT, above = STRBUF_INIT;
	struct changes got = { .n = 0 }, wanted = { .n = 0 };
	char name[40];
	int i;

	tar_dir(&base, "directory-0/");
	for (i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "directory-0/file-%d", i);
		tar_file(&base, name, "as it was");
		(void)snprintf(name, sizeof(name), "/directory-0/%s%d",
		    i % 3 == 1 ? "file-6-" : "file-", i);
		add_change(&wanted, "CAD"[i % 3], name);
		(void)snprintf(name, sizeof(name), "directory-0/%s%d",
		    i % 3 == 0	   ? "file-"
			: i % 3 == 1 ? "file-6-"
				     : ".wh.file-",
		    i);
		tar_file(&above, name, i % 3 == 2 ? "" : "as it is!");
	}
	add_change(&wanted, 'C', "/directory-0");
	tar_end(&base);
	tar_end(&above);
	layer_from_tar(s, id_of(1), NULL, &base);
	layer_from_tar(s, id_of(2), id_of(1), &above);
	strbuf_done(&base);
	strbuf_done(&above);
	ask(s, id_of(2), id_of(1), AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
}

static void
unchanged_layers_have_no_changes(struct store *s)
{
	struct changes got = { .n = 0 }, wanted = { .n = 0 };
	struct strbuf tar = STRBUF_INIT;

	tar_dir(&tar, "d/");
	tar_file(&tar, "d/f", "x");
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	/* The same once more is nothing new, either. */
	layer_from_tar(s, id_of(2), id_of(1), &tar);
	strbuf_done(&tar);
	layer_create(s, id_of(3), id_of(2));
	layer_seal(s, id_of(3));
	ask(s, id_of(2), id_of(1), AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
	ask(s, id_of(3), id_of(2), AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
}

/* ---- containers/storage's Echo ---- */

#define DEPTH 10 /* nine directories, and a file in the last */

/* The path of that depth, "subdir1/…"; its last name after a mark. */
static void
path_of(char path[128], int depth, const char *mark)
{
	size_t len = 0;
	int i;

	for (i = 1; i <= depth; i++) {
		len += (size_t)snprintf(path + len, 128 - len, "%s%s",
		    i > 1 ? "/" : "", i == depth ? mark : "");
		if (i == DEPTH)
			len += (size_t)snprintf(path + len, 128 - len, "file");
		else
			len += (size_t)snprintf(path + len, 128 - len,
			    "subdir%d", i);
	}
}

static void
put_from_depth(struct strbuf *tar, int depth)
{
	char path[128];

	for (; depth < DEPTH; depth++) {
		path_of(path, depth, "");
		tar_put(tar, &(struct tar_item) { .name = path, .type = '5',
		    .mode = 0700 });
	}
	path_of(path, DEPTH, "");
	tar_put(tar, &(struct tar_item) { .name = path, .mode = 0600,
	    .data = "echo", .len = 4 });
}

/* C for what is above depth, kind for it and, of an addition, what is below. */
static void
want_depth(struct changes *wanted, int depth, char kind)
{
	char path[129] = "/";
	int i;

	for (i = 1; i <= (kind == 'A' ? DEPTH : depth); i++) {
		path_of(path + 1, i, "");
		add_change(wanted, i < depth ? 'C' : kind, path);
	}
}

/* Layers 1, without what is at depth, and with it again: all three are got at
 * the same time. */
static void
expect_echo(struct store *s, int depth, const char *gone, const char *again)
{
	struct changes got = { .n = 0 }, wanted = { .n = 0 };
	struct pair first = { gone, id_of(1), layer_look(s, gone),
		layer_look(s, id_of(1)) };
	struct pair second = { again, gone, layer_look(s, again), first.fd };
	char path[128];

	ask_pair(s, &first, AS_THE_CORE, &got);
	want_depth(&wanted, depth, 'D');
	expect_changes(&got, &wanted);
	ask_pair(s, &second, AS_THE_CORE, &got);
	want_depth(&wanted, depth, 'A');
	expect_changes(&got, &wanted);
	path_of(path, depth, "");
	expect(is_there(first.base_fd, path));
	expect(!is_there(first.fd, path));
	expect_same(second.fd, first.base_fd, SAME_ALL, path);
	layer_looked(s, gone, first.fd);
	layer_looked(s, id_of(1), first.base_fd);
	layer_looked(s, again, second.fd);
}

static void
echo_at(struct store *s, int depth)
{
	const char *gone = id_of(2 * (unsigned int)depth);
	const char *again = id_of(2 * (unsigned int)depth + 1);
	struct strbuf without = STRBUF_INIT, with = STRBUF_INIT;
	char path[128];

	path_of(path, depth, ".wh.");
	tar_mark(&without, path);
	tar_end(&without);
	put_from_depth(&with, depth);
	tar_end(&with);
	layer_from_tar(s, gone, id_of(1), &without);
	layer_from_tar(s, again, gone, &with);
	strbuf_done(&without);
	strbuf_done(&with);
	expect_echo(s, depth, gone, again);
}

static void
deletions_and_returns_at_each_depth(struct store *s)
{
	struct changes got = { .n = 0 }, wanted = { .n = 0 };
	struct strbuf tar = STRBUF_INIT;
	int depth;

	tar_file(&tar, "a file", "x");
	tar_dir(&tar, "a subdir/");
	put_from_depth(&tar, 1);
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
	want_depth(&wanted, 1, 'A');
	add_change(&wanted, 'A', "/a file");
	add_change(&wanted, 'A', "/a subdir");
	ask(s, id_of(1), NULL, AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
	for (depth = 1; depth <= DEPTH; depth++)
		echo_at(s, depth);
}

/* ---- moby's ChangesDirs, in a writable layer ---- */

static void
make_sample(struct store *s)
{
	static const char *const dirs[] = { "dir1/", "dir2/", "dir3/",
		"dir4/" };
	struct strbuf tar = STRBUF_INIT;
	char name[16];
	size_t i;

	for (i = 1; i <= 7; i++) {
		(void)snprintf(name, sizeof(name), "file%zu", i);
		tar_file(&tar, name, name);
	}
	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		tar_dir(&tar, dirs[i]);
	tar_file(&tar, "dir1/file1-1", "x");
	tar_file(&tar, "dir1/file1-2", "x");
	tar_file(&tar, "dir2/file2-1", "x");
	tar_file(&tar, "dir3/file3-1", "x");
	tar_put(&tar, &(struct tar_item) { .name = "symlink1", .type = '2',
	    .link = "target1" });
	tar_put(&tar, &(struct tar_item) { .name = "symlink2", .type = '2',
	    .link = "target2" });
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
}

static void
mutate_sample(int fd)
{
	sys(unlinkat(fd, "file1", 0));
	remove_tree(fd, "dir1");
	sys(unlinkat(fd, "symlink1", 0));
	put_file(fd, "file2", "FILE2");
	set_mtime(fd, "file2", 0, 0);
	sys(unlinkat(fd, "file3", 0));
	put_file(fd, "file3", "another one");
	set_mtime(fd, "file4", 1, 0);
	sys(unlinkat(fd, "file5", 0));
	sys(mkdirat(fd, "file5", 0755));
	put_file(fd, "filenew", "x");
	sys(mkdirat(fd, "dirnew", 0755));
	put_file(fd, "dirnew/in", "x");
	sys(symlinkat("targetnew", fd, "symlinknew"));
	sys(unlinkat(fd, "symlink2", 0));
	sys(symlinkat("elsewhere", fd, "symlink2"));
	remove_tree(fd, "dir2");
	put_file(fd, "dir2", "no directory any more");
	set_mtime(fd, "dir3", 2, 0);
	remove_tree(fd, "dir4");
	sys(mkdirat(fd, "dir4", 0700));
	put_file(fd, "passing", "x");
	sys(unlinkat(fd, "passing", 0));
}

/* A directory's time alone is no change: dir3. */
static void
want_sample(struct changes *wanted)
{
	static const char *const paths[] = { "D/file1", "D/dir1", "D/symlink1",
		"C/file2", "C/file3", "C/file4", "C/file5", "A/filenew",
		"A/dirnew", "A/dirnew/in", "A/symlinknew", "C/symlink2",
		"C/dir2", "C/dir4" };
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		add_change(wanted, paths[i][0], paths[i] + 1);
}

static void
changes_of_a_writable_layer(struct store *s)
{
	struct changes got = { .n = 0 }, wanted = { .n = 0 };
	int fd;

	make_sample(s);
	layer_create_rw(s, id_of(2), id_of(1));
	ask(s, id_of(2), id_of(1), AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
	fd = layer_look(s, id_of(2));
	mutate_sample(fd);
	layer_looked(s, id_of(2), fd);
	want_sample(&wanted);
	ask(s, id_of(2), id_of(1), AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
	want_sample(&wanted);
	ask(s, id_of(2), id_of(1), TREES_ALONE, &got);
	expect_changes(&got, &wanted);
	store_reopen(s, 0);
	want_sample(&wanted);
	ask(s, id_of(2), id_of(1), AS_THE_CORE, &got);
	expect_changes(&got, &wanted);
}

/* As a container becomes an image. */
static void
changes_make_the_layer_again(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;
	int fd, parent_fd;

	make_sample(s);
	layer_create_rw(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	mutate_sample(fd);
	/* A tar of changes believes size and time. */
	set_mtime(fd, "file2", 3, 0);
	parent_fd = layer_look(s, id_of(1));
	tar_of_changes(&tar, parent_fd, fd);
	layer_looked(s, id_of(1), parent_fd);
	layer_looked(s, id_of(2), fd);
	layer_from_tar(s, id_of(3), id_of(1), &tar);
	strbuf_done(&tar);
	fd = layer_look(s, id_of(2));
	parent_fd = layer_look(s, id_of(3));
	expect_same(parent_fd, fd, SAME_ALL, "the layer of its changes");
	layer_looked(s, id_of(3), parent_fd);
	layer_looked(s, id_of(2), fd);
}

const struct suite_case changes_cases[] = {
	CASE(changes_are_told_exactly, 0, NEED_UNPACKED),
	CASE(unchanged_layers_have_no_changes, 0, NEED_UNPACKED),
	CASE(deletions_and_returns_at_each_depth, 0, NEED_UNPACKED),
	CASE(changes_of_a_writable_layer, IMGD_CAP_RW, NEED_UNPACKED),
	CASE(changes_make_the_layer_again, IMGD_CAP_RW, NEED_UNPACKED),
	CASES_END,
};
