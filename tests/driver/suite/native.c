/* Operations that a driver does itself give the generic code's answers. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/tree-diff.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* Two layers; the second changes, adds and deletes. */
static void
make_two(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;

	tar_dir(&tar, "d/");
	tar_file(&tar, "d/changed", "old text");
	tar_file(&tar, "d/gone", "x");
	tar_file(&tar, "kept", "x");
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
	tar = (struct strbuf) STRBUF_INIT;
	tar_file(&tar, "d/changed", "new text");
	tar_file(&tar, "d/.wh.gone", "");
	tar_dir(&tar, "e/");
	tar_file(&tar, "e/added", "12345");
	tar_end(&tar);
	layer_from_tar(s, id_of(2), id_of(1), &tar);
	strbuf_done(&tar);
}

/* Changes as lines, sorted: their order is the driver's own. */
struct lines {
	char *list[64];
	int n;
};

static int
note_change(void *ctx, const char *path, int kind)
{
	struct lines *l = ctx;

	expect(path[0] == '/');
	expect(l->n < 64);
	expect(asprintf(&l->list[l->n++], "%d %s", kind, path) > 0);
	return 0;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
changes_equal_the_generic_ones(struct store *s)
{
	struct lines own = { .n = 0 }, generic = { .n = 0 };
	struct tree_diff td = { .own_fd = -EBADF, .cb = note_change,
		.ctx = &generic };
	int i;

	make_two(s);
	ok(s->d->changes(s->h, id_of(2), id_of(1), note_change, &own,
	    &ok_err));
	td.old_fd = layer_look(s, id_of(1));
	td.new_fd = layer_look(s, id_of(2));
	ok(tree_diff(&td, &ok_err));
	layer_looked(s, id_of(1), td.old_fd);
	layer_looked(s, id_of(2), td.new_fd);
	qsort(own.list, (size_t)own.n, sizeof(own.list[0]), by_text);
	qsort(generic.list, (size_t)generic.n, sizeof(own.list[0]), by_text);
	for (i = 0; i < generic.n; i++)
		expect_str(i < own.n ? own.list[i] : NULL, generic.list[i]);
	expect_int(own.n, generic.n);
	fails(ENOENT, s->d->changes(s->h, id_of(3), id_of(1), note_change,
	    &own, &ok_err));
}

static int
append(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	(void)err;
	strbuf_append(ctx, buf, len);
	return 0;
}

static void
diff_makes_the_layer_again(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;
	struct imgd_sink sink = { sizeof(sink), &tar, append };
	int fd, wanted;

	make_two(s);
	ok(s->d->diff(s->h, id_of(2), id_of(1), &sink, &ok_err));
	layer_from_tar(s, id_of(3), id_of(1), &tar);
	strbuf_done(&tar);
	fd = layer_look(s, id_of(3));
	wanted = layer_look(s, id_of(2));
	expect_same(fd, wanted, SAME_ALL, "a layer of diff's tar");
	layer_looked(s, id_of(3), fd);
	layer_looked(s, id_of(2), wanted);
}

static void
diff_size_is_that_of_the_files(struct store *s)
{
	uint64_t n = 0;

	make_two(s);
	ok(s->d->diff_size(s->h, id_of(2), id_of(1), &n, &ok_err));
	expect_int(n, 8 + 5);
}

static void
applied_layers_show_their_files(struct store *s)
{
	int fd;

	make_two(s);
	fd = layer_look(s, id_of(2));
	expect_str(get_text(fd, "d/changed"), "new text");
	expect(!is_there(fd, "d/gone"));
	expect_str(get_text(fd, "e/added"), "12345");
	expect_str(get_text(fd, "kept"), "x");
	layer_looked(s, id_of(2), fd);
}

const struct suite_case native_cases[] = {
	CASE(changes_equal_the_generic_ones, 0, NEED_CHANGES),
	CASE(diff_makes_the_layer_again, 0, NEED_DIFF),
	CASE(diff_size_is_that_of_the_files, 0, NEED_SIZE),
	CASE(applied_layers_show_their_files, 0, NEED_APPLY),
	CASES_END,
};
