/* Deletions as layers tell them: OCI image-spec, layer.md, "Whiteouts". */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/*
 * A tree is told as "a b/ b/c": all its paths in byte order, directories with
 * a slash.  A layer is a tar of such paths; "x=1" has content "1", default is
 * the path itself.
 */
static void
make_layer(struct store *s, unsigned int n, const char *paths)
{
	struct strbuf tar = STRBUF_INIT;
	char *copy = strdup(paths), *save = NULL, *p;

	expect(copy != NULL);
	for (p = strtok_r(copy, " ", &save); p != NULL;
	    p = strtok_r(NULL, " ", &save)) {
		size_t len = strlen(p);

		if (p[len - 1] == '/')
			tar_dir(&tar, p);
		else
			tar_file(&tar, p, strstr(p, ".wh.") ? "" : p);
	}
	tar_end(&tar);
	layer_from_tar(s, id_of(n), n > 1 ? id_of(n - 1) : NULL, &tar);
	strbuf_done(&tar);
	free(copy);
}

/* The paths must be there and no others; checked by comparing with a plain
 * directory of them. */
static void
expect_paths(struct store *s, unsigned int n, const char *paths)
{
	char *copy = strdup(paths), *save = NULL, *p;
	static unsigned int n_flats;
	char name[32];
	int flat, fd;

	(void)snprintf(name, sizeof(name), "layer-%u-%u", n, n_flats++);
	flat = make_flat(s, name);
	expect(copy != NULL);
	for (p = strtok_r(copy, " ", &save); p != NULL;
	    p = strtok_r(NULL, " ", &save)) {
		size_t len = strlen(p);

		if (p[len - 1] == '/') {
			p[len - 1] = '\0';
			sys(mkdirat(flat, p, 0755));
		} else {
			put_file(flat, p, p);
		}
	}
	free(copy);
	fd = layer_look(s, id_of(n));
	expect_same(fd, flat, 0, name);
	layer_looked(s, id_of(n), fd);
	(void)close(flat);
}

/* The classic four layers (docker's TestWhiteouts). */
static void
four_layers_of_whiteouts(struct store *s)
{
	make_layer(s, 1, ".baz bar/ bar/bax bar/bay/ baz foo/ foo/.abc "
	    "foo/.bcd/ foo/.bcd/a foo/cde/ foo/cde/def foo/cde/efg foo/fgh "
	    "foobar");
	make_layer(s, 2, ".wh.baz foo/ foo/.wh..wh..opq foo/.bce "
	    "foo/cde/ foo/cde/efg");
	expect_paths(s, 2, ".baz bar/ bar/bax bar/bay/ foo/ foo/.bce foo/cde/ "
	    "foo/cde/efg foobar");
	make_layer(s, 3, ".bay .wh..baz .wh.foobar foo/ foo/.abc "
	    "foo/.wh.cde bar/");
	expect_paths(s, 3, ".bay bar/ bar/bax bar/bay/ foo/ foo/.abc "
	    "foo/.bce");
	make_layer(s, 4, ".baz .wh..wh..opq barzy/ foo/ foo/new");
	expect_paths(s, 4, ".baz barzy/ foo/ foo/new");
	make_layer(s, 5, "");
	expect_paths(s, 5, ".baz barzy/ foo/ foo/new");
}

/* A marker hides lower layers only, wherever it stands in the tar. */
static void
place_of_an_opaque_mark_does_not_matter(struct store *s)
{
	make_layer(s, 1, "d/ d/old d/same d/sub/ d/sub/f");
	make_layer(s, 2, "d/ d/.wh..wh..opq d/same d/new");
	expect_paths(s, 2, "d/ d/new d/same");
	store_remove_all(s, 2);
	make_layer(s, 1, "d/ d/old d/same d/sub/ d/sub/f");
	make_layer(s, 2, "d/ d/same d/new d/sub/ d/sub/g d/.wh..wh..opq");
	expect_paths(s, 2, "d/ d/new d/same d/sub/ d/sub/g");
}

static void
place_of_a_whiteout_does_not_matter(struct store *s)
{
	make_layer(s, 1, "d/ d/old f x/ x/a");
	make_layer(s, 2, "d/ d/new .wh.d f .wh.f .wh.x x/ x/b");
	expect_paths(s, 2, "d/ d/new f x/ x/b");
	make_layer(s, 3, "");
	expect_paths(s, 3, "d/ d/new f x/ x/b");
}

static void
whiteout_of_a_directory_takes_all(struct store *s)
{
	make_layer(s, 1, "a/ a/b/ a/b/c/ a/b/c/d a/e");
	make_layer(s, 2, "a/b/c/f");
	make_layer(s, 3, "a/.wh.b");
	expect_paths(s, 3, "a/ a/e");
	make_layer(s, 4, "a/b/ a/b/new");
	expect_paths(s, 4, "a/ a/b/ a/b/new a/e");
}

static void
whiteout_of_nothing_does_nothing(struct store *s)
{
	make_layer(s, 1, "a d/ d/f");
	make_layer(s, 2, ".wh.b d/.wh.g d/.wh.h");
	expect_paths(s, 2, "a d/ d/f");
	make_layer(s, 3, "b");
	expect_paths(s, 3, "a b d/ d/f");
}

static void
base_has_nothing_to_hide(struct store *s)
{
	make_layer(s, 1, ".wh.a a d/ d/.wh..wh..opq d/f .wh.never");
	expect_paths(s, 1, "a d/ d/f");
	make_layer(s, 2, "never");
	expect_paths(s, 2, "a d/ d/f never");
}

/* aufs's own metadata, in images made with it. */
static void
aufs_metadata_is_no_content(struct store *s)
{
	make_layer(s, 1, "a .wh..wh.aufs .wh..wh.plnk/ .wh..wh.orph/");
	expect_paths(s, 1, "a");
	make_layer(s, 2, "b .wh..wh.aufs .wh..wh.plnk/ .wh..wh.orph/ .wh.a");
	expect_paths(s, 2, "b");
}

static void
deleted_in_one_chain_only(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;

	make_layer(s, 1, "a b");
	make_layer(s, 2, ".wh.a");
	tar_file(&tar, ".wh.b", "");
	tar_end(&tar);
	layer_from_tar(s, id_of(3), id_of(1), &tar);
	strbuf_done(&tar);
	expect_paths(s, 2, "b");
	expect_paths(s, 3, "a");
	expect_paths(s, 1, "a b");
}

const struct suite_case whiteout_cases[] = {
	CASE(four_layers_of_whiteouts, 0, NEED_UNPACKED),
	CASE(place_of_an_opaque_mark_does_not_matter, 0, NEED_UNPACKED),
	CASE(place_of_a_whiteout_does_not_matter, 0, NEED_UNPACKED),
	CASE(whiteout_of_a_directory_takes_all, 0, NEED_UNPACKED),
	CASE(whiteout_of_nothing_does_nothing, 0, NEED_UNPACKED),
	CASE(base_has_nothing_to_hide, 0, NEED_UNPACKED),
	CASE(aufs_metadata_is_no_content, 0, NEED_UNPACKED),
	CASE(deleted_in_one_chain_only, 0, NEED_UNPACKED),
	CASES_END,
};
