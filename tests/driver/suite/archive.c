/* Layers come back byte for byte, and every tree is the reference's. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* Layers of one image. */
#define MAX_LAYERS 4

struct image {
	struct strbuf tars[MAX_LAYERS];
	unsigned int n;
};

static struct strbuf *
next_layer(struct image *im)
{
	expect(im->n < MAX_LAYERS);
	im->tars[im->n] = (struct strbuf) STRBUF_INIT;
	return &im->tars[im->n++];
}

static void
image_done(struct image *im)
{
	while (im->n > 0)
		strbuf_done(&im->tars[--im->n]);
}

/* Unpack with both drivers; the trees are alike, and each layer's tar comes
 * back, also after a restart. */
static void
round_trip(struct store *s, struct image *im)
{
	struct layer_tar made[MAX_LAYERS];
	struct store ref;
	unsigned int i;

	store_reference(s, &ref);
	for (i = 1; i <= im->n; i++) {
		const char *parent = i > 1 ? id_of(i - 1) : NULL;
		char what[32];
		int fd, wanted;

		layer_unpack(s, id_of(i), parent, &im->tars[i - 1],
		    &made[i - 1]);
		layer_seal(s, id_of(i));
		layer_from_tar(&ref, id_of(i), parent, &im->tars[i - 1]);
		fd = layer_look(s, id_of(i));
		wanted = layer_look(&ref, id_of(i));
		(void)snprintf(what, sizeof(what), "layer %u, beside vfs", i);
		expect_same(fd, wanted, SAME_ALL, what);
		layer_looked(&ref, id_of(i), wanted);
		layer_looked(s, id_of(i), fd);
	}
	store_flush(s);
	store_reopen(s, 0);
	for (i = 1; i <= im->n; i++) {
		expect_packed(s, id_of(i), made[i - 1].recipe_fd,
		    &im->tars[i - 1]);
		(void)close(made[i - 1].recipe_fd);
	}
	store_finish(&ref);
	image_done(im);
}

static void
plain_layers_come_back(struct store *s)
{
	struct image im = { .n = 0 };
	struct strbuf *t = next_layer(&im);

	tar_dir(t, "./");
	tar_dir(t, "d/");
	tar_file(t, "d/f", "text");
	tar_put(t, &(struct tar_item) { .name = "d/l", .type = '2',
	    .link = "../elsewhere" });
	tar_put(t, &(struct tar_item) { .name = "d/h", .type = '1',
	    .link = "d/f" });
	tar_end(t);
	t = next_layer(&im);
	tar_file(t, "d/.wh.f", "");
	tar_file(t, "d/g", "more");
	tar_end(t);
	/* Without an end, and with more than one. */
	tar_file(next_layer(&im), "unended", "x");
	t = next_layer(&im);
	tar_file(t, "padded", "x");
	tar_end(t);
	tar_end(t);
	tar_end(t);
	round_trip(s, &im);
}

static void
odd_names_come_back(struct store *s)
{
	struct image im = { .n = 0 };
	struct strbuf *t = next_layer(&im);
	struct strbuf deep = STRBUF_INIT;
	char name[256];
	int i;

	memset(name, 'x', 255);
	name[255] = '\0';
	tar_file(t, name, "255 bytes");
	tar_file(t, "/absolute", "x");
	tar_file(t, "./dotted", "x");
	tar_file(t, "missing/parent/file", "x");
	tar_file(t, "new\nline \\ \x01 \xff", "x");
	tar_file(t, "twice", "first");
	tar_file(t, "twice", "second, longer");
	/* As deep as a driver that works with whole paths can go. */
	name[250] = '\0';
	for (i = 0; i < 14; i++) {
		strbuf_printf(&deep, "%s%s", i > 0 ? "/" : "", name);
		tar_dir(t, deep.data);
	}
	strbuf_done(&deep);
	tar_end(t);
	t = next_layer(&im);
	tar_file(t, "missing/other/file", "x");
	tar_file(t, "missing/.wh.parent", "");
	tar_end(t);
	round_trip(s, &im);
}

static void
all_types_come_back(struct store *s)
{
	static const unsigned char cap[] = { 1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const unsigned char acl[] = { 2, 0, 0, 0,
		1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
		2, 0, 6, 0, 1, 0, 0, 0,
		4, 0, 5, 0, 0xff, 0xff, 0xff, 0xff,
		0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
		0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff };
	const struct tar_xattr attrs[] = {
		{ "security.capability", cap, sizeof(cap) },
		{ "user.text", "with = and \n", 11 },
	};
	const struct tar_xattr acls[] = {
		{ "system.posix_acl_access", acl, sizeof(acl) },
		{ "system.posix_acl_default", acl, sizeof(acl) },
	};
	struct image im = { .n = 0 };
	struct strbuf *t = next_layer(&im);

	tar_put(t, &(struct tar_item) { .name = "char", .type = '3',
	    .rdev = 0x103, .mode = 0666 });
	tar_put(t, &(struct tar_item) { .name = "block", .type = '4',
	    .rdev = 0x800, .mode = 0660 });
	tar_put(t, &(struct tar_item) { .name = "fifo", .type = '6' });
	tar_put(t, &(struct tar_item) { .name = "sticky/", .type = '5',
	    .mode = 01777, .mtime = 7, .nsec = 123456789 });
	tar_put(t, &(struct tar_item) { .name = "acl/", .type = '5',
	    .mode = 0775, .xattrs = acls, .n_xattrs = 2 });
	tar_put(t, &(struct tar_item) { .name = "set", .mode = 06711,
	    .uid = 12, .gid = 34, .data = "x", .len = 1 });
	tar_put(t, &(struct tar_item) { .name = "attrs", .xattrs = attrs,
	    .n_xattrs = 2, .uid = 3000000000u });
	tar_sparse(t, "sparse", 3 << 20, "the end");
	tar_put(t, &(struct tar_item) { .name = "zeros", .len = 1 << 20 });
	tar_end(t);
	t = next_layer(&im);
	tar_put(t, &(struct tar_item) { .name = "sticky", .mode = 0600,
	    .data = "no directory any more", .len = 21 });
	tar_dir(t, "char/");
	tar_file(t, "char/in", "x");
	tar_put(t, &(struct tar_item) { .name = "acl/", .type = '5',
	    .mode = 0700 });
	tar_end(t);
	round_trip(s, &im);
}

static void
hard_links_come_back(struct store *s)
{
	struct image im = { .n = 0 };
	struct strbuf *t = next_layer(&im);

	tar_file(t, "a", "one file");
	tar_put(t, &(struct tar_item) { .name = "b", .type = '1',
	    .link = "a" });
	tar_dir(t, "d/");
	tar_put(t, &(struct tar_item) { .name = "d/c", .type = '1',
	    .link = "b" });
	tar_put(t, &(struct tar_item) { .name = "soft", .type = '2',
	    .link = "a" });
	tar_put(t, &(struct tar_item) { .name = "hard-soft", .type = '1',
	    .link = "soft" });
	tar_end(t);
	/* To a file of the lower layer. */
	t = next_layer(&im);
	tar_put(t, &(struct tar_item) { .name = "lower", .type = '1',
	    .link = "d/c" });
	tar_end(t);
	t = next_layer(&im);
	tar_file(t, ".wh.a", "");
	tar_file(t, "b", "another file now");
	tar_end(t);
	round_trip(s, &im);
}

static void
metadata_alone_comes_back(struct store *s)
{
	struct image im = { .n = 0 };
	struct strbuf *t = next_layer(&im);

	tar_dir(t, "d/");
	tar_file(t, "d/f", "x");
	tar_dir(t, "e/");
	tar_end(t);
	t = next_layer(&im);
	tar_put(t, &(struct tar_item) { .name = "./", .type = '5',
	    .mode = 0700, .mtime = 99 });
	tar_put(t, &(struct tar_item) { .name = "d/", .type = '5',
	    .mode = 02755, .uid = 5, .mtime = 98 });
	tar_end(t);
	t = next_layer(&im);
	tar_end(t);
	round_trip(s, &im);
}

static void
opaque_directories_come_back(struct store *s)
{
	struct image im = { .n = 0 };
	struct strbuf *t = next_layer(&im);

	tar_dir(t, "d/");
	tar_file(t, "d/old", "x");
	tar_dir(t, "d/sub/");
	tar_file(t, "d/sub/f", "x");
	tar_dir(t, "e/");
	tar_file(t, "e/f", "x");
	tar_end(t);
	t = next_layer(&im);
	tar_dir(t, "d/");
	tar_file(t, "d/new", "x");
	tar_file(t, "d/.wh..wh..opq", "");
	tar_dir(t, "d/sub/");
	tar_file(t, ".wh.e", "");
	tar_dir(t, "e/");
	tar_end(t);
	t = next_layer(&im);
	tar_file(t, ".wh..wh..opq", "");
	tar_file(t, "last", "x");
	tar_end(t);
	round_trip(s, &im);
}

/* The engine hands the parent's tree to an unpacker that asks for it. */
static void
parents_are_asked_for_what_a_layer_lacks(struct store *s)
{
	struct strbuf base = STRBUF_INIT, above = STRBUF_INIT;
	struct layer_tar made;
	struct stat st;
	int fd;

	tar_put(&base, &(struct tar_item) { .name = "a/", .type = '5',
	    .mode = 0750, .uid = 8, .mtime = 77 });
	tar_put(&base, &(struct tar_item) { .name = "a/b/", .type = '5',
	    .mode = 0711, .gid = 9, .mtime = 78 });
	tar_file(&base, "a/b/f", "x");
	tar_end(&base);
	tar_file(&above, "a/b/g", "y");
	tar_end(&above);
	layer_create(s, id_of(1), NULL);
	layer_create(s, id_of(2), id_of(1));
	layer_unpack_into(s, id_of(1), NULL, &base, NULL);
	layer_unpack_into(s, id_of(2), id_of(1), &above, &made);
	expect(made.asked_parent);
	if (is_listed_as(s, id_of(1), IMGD_STATE_STAGED))
		layer_seal(s, id_of(1));
	layer_seal(s, id_of(2));
	fd = layer_look(s, id_of(2));
	sys(fstatat(fd, "a", &st, AT_SYMLINK_NOFOLLOW));
	expect_int(st.st_mode, S_IFDIR | 0750);
	expect_int(st.st_uid, 8);
	expect_int(st.st_mtim.tv_sec, 77);
	sys(fstatat(fd, "a/b", &st, AT_SYMLINK_NOFOLLOW));
	expect_int(st.st_mode, S_IFDIR | 0711);
	expect_int(st.st_gid, 9);
	expect_str(get_text(fd, "a/b/f"), "x");
	layer_looked(s, id_of(2), fd);
	expect_packed(s, id_of(2), made.recipe_fd, &above);
	(void)close(made.recipe_fd);
	strbuf_done(&base);
	strbuf_done(&above);
}

const struct suite_case archive_cases[] = {
	CASE(plain_layers_come_back, 0, NEED_UNPACKED),
	CASE(odd_names_come_back, 0, NEED_UNPACKED),
	CASE(all_types_come_back, 0, NEED_UNPACKED),
	CASE(hard_links_come_back, 0, NEED_UNPACKED),
	CASE(metadata_alone_comes_back, 0, NEED_UNPACKED),
	CASE(opaque_directories_come_back, 0, NEED_UNPACKED),
	CASE(parents_are_asked_for_what_a_layer_lacks, IMGD_CAP_INDEPENDENT,
	    NEED_OWN_DIR | NEED_UNPACKED),
	CASES_END,
};
