/* Chains of layers, each compared with a plain directory that underwent the
 * same. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* A chain, and the plain directories before and after the next layer. */
struct chain {
	struct store *s;
	int dir_fd; /* holds the directories */
	int old_fd, new_fd;
	unsigned int n; /* layers so far; their ids are 1 to n */
};

static void
chain_begin(struct chain *c, struct store *s)
{
	*c = (struct chain) { .s = s, .dir_fd = make_flat(s, "flat"),
		.old_fd = -EBADF };
	sys(mkdirat(c->dir_fd, "new", 0755));
	c->new_fd = open_dir_at(c->dir_fd, "new");
}

static void
chain_compare(struct chain *c, unsigned int id, int wanted_fd)
{
	char what[32];
	int fd = layer_look(c->s, id_of(id));

	(void)snprintf(what, sizeof(what), "layer %u", id);
	expect_same(fd, wanted_fd, SAME_ALL, what);
	layer_looked(c->s, id_of(id), fd);
}

/* What was done to new_fd becomes a layer; then new_fd is a copy to go on
 * with. */
static void
chain_step(struct chain *c)
{
	struct strbuf tar = STRBUF_INIT;

	tar_of_changes(&tar, c->old_fd, c->new_fd);
	c->n++;
	layer_from_tar(c->s, id_of(c->n), c->n > 1 ? id_of(c->n - 1) : NULL,
	    &tar);
	strbuf_done(&tar);
	chain_compare(c, c->n, c->new_fd);
	if (c->old_fd >= 0) {
		(void)close(c->old_fd);
		remove_tree(c->dir_fd, "old");
	}
	sys(renameat(c->dir_fd, "new", c->dir_fd, "old"));
	c->old_fd = c->new_fd;
	copy_flat(c->old_fd, c->dir_fd, "new");
	c->new_fd = open_dir_at(c->dir_fd, "new");
}

static void
chain_end(struct chain *c)
{
	/* Still the same for a new process. */
	store_reopen(c->s, 0);
	chain_compare(c, c->n, c->old_fd);
	(void)close(c->old_fd);
	(void)close(c->new_fd);
	(void)close(c->dir_fd);
}

static void
changes_of_each_kind(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	put_file(c.new_fd, "foo", "foo\n");
	sys(mkdirat(c.new_fd, "a", 0755));
	sys(mkdirat(c.new_fd, "a/b", 0755));
	put_file(c.new_fd, "a/b/c", "c\n");
	chain_step(&c);
	put_file(c.new_fd, "foo", "changed\n");
	put_file(c.new_fd, "bar", "bar\n");
	remove_tree(c.new_fd, "a/b");
	chain_step(&c);
	put_file(c.new_fd, "a/again", "x");
	chain_step(&c);
	chain_end(&c);
}

/* docker #21555: the same size, within the second of the parent's. */
static void
same_size_within_a_second(struct store *s)
{
	struct chain c;
	unsigned int i;

	chain_begin(&c, s);
	put_file(c.new_fd, "x", "0");
	put_file(c.new_fd, "mode", "0");
	set_mtime(c.new_fd, "x", 1000000000, 1);
	chain_step(&c);
	for (i = 1; i <= 5; i++) {
		char text[2] = { (char)('0' + i), '\0' };

		put_file(c.new_fd, "x", text);
		set_mtime(c.new_fd, "x", 1000000000, 1 + (long)i);
		sys(fchmodat(c.new_fd, "mode", 0600 + i, 0));
		chain_step(&c);
	}
	chain_end(&c);
}

/* docker #25244 */
static void
recreated_directory_hides_the_old_one(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	sys(mkdirat(c.new_fd, "lib", 0755));
	put_file(c.new_fd, "lib/hidden", "x");
	put_file(c.new_fd, "lib/again", "1");
	sys(mkdirat(c.new_fd, "lib/sub", 0755));
	put_file(c.new_fd, "lib/sub/deep", "x");
	chain_step(&c);
	remove_tree(c.new_fd, "lib");
	sys(mkdirat(c.new_fd, "lib", 0700));
	put_file(c.new_fd, "lib/not-hidden", "x");
	put_file(c.new_fd, "lib/again", "2");
	chain_step(&c);
	put_file(c.new_fd, "other", "x");
	chain_step(&c);
	sys(mkdirat(c.new_fd, "lib/sub", 0755));
	chain_step(&c);
	chain_end(&c);
}

/* docker #20240, #24913, #28391, #27298 */
static void
owners_and_modes_of_directories(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	sys(mkdirat(c.new_fd, "opt", 0700));
	sys(mkdirat(c.new_fd, "opt/a", 0700));
	put_file(c.new_fd, "opt/a/file", "x");
	sys(mkdirat(c.new_fd, "opt/empty", 0755));
	chain_step(&c);
	sys(fchownat(c.new_fd, "opt", 1, 1, 0));
	sys(fchownat(c.new_fd, "opt/a/file", 2, 3, 0));
	sys(fchmodat(c.new_fd, "opt/empty", 01777, 0));
	chain_step(&c);
	remove_tree(c.new_fd, "opt/empty");
	sys(mkdirat(c.new_fd, "opt/empty", 0711));
	sys(fchownat(c.new_fd, "opt/empty", 4, 5, 0));
	chain_step(&c);
	sys(fchownat(c.new_fd, "opt/a", 6, 7, 0));
	sys(fchmodat(c.new_fd, "opt/a", 02750, 0));
	set_xattr(c.new_fd, "opt/a", "user.dir", "1", 1);
	chain_step(&c);
	chain_end(&c);
}

/* docker #24309 */
static void
deletions_last(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	put_file(c.new_fd, "a", "x");
	put_file(c.new_fd, "b", "x");
	sys(mkdirat(c.new_fd, "d", 0755));
	put_file(c.new_fd, "d/f", "x");
	chain_step(&c);
	sys(unlinkat(c.new_fd, "a", 0));
	remove_tree(c.new_fd, "d");
	chain_step(&c);
	chain_step(&c);
	put_file(c.new_fd, "c", "x");
	chain_step(&c);
	put_file(c.new_fd, "a", "back");
	chain_step(&c);
	chain_end(&c);
}

static void
files_become_directories_and_back(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	put_file(c.new_fd, "x", "file");
	sys(mkdirat(c.new_fd, "y", 0755));
	put_file(c.new_fd, "y/in", "x");
	sys(symlinkat("x", c.new_fd, "z"));
	chain_step(&c);
	sys(unlinkat(c.new_fd, "x", 0));
	sys(mkdirat(c.new_fd, "x", 0755));
	put_file(c.new_fd, "x/in", "x");
	remove_tree(c.new_fd, "y");
	put_file(c.new_fd, "y", "file");
	sys(unlinkat(c.new_fd, "z", 0));
	sys(mkdirat(c.new_fd, "z", 0755));
	chain_step(&c);
	remove_tree(c.new_fd, "x");
	sys(symlinkat("y", c.new_fd, "x"));
	sys(unlinkat(c.new_fd, "y", 0));
	sys(mkfifoat(c.new_fd, "y", 0600));
	remove_tree(c.new_fd, "z");
	chain_step(&c);
	chain_end(&c);
}

/* containerd's MoveFileFromLowerLayer, and hard links between layers. */
static void
hard_links_to_lower_files(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	sys(mkdirat(c.new_fd, "dir", 0755));
	put_file(c.new_fd, "dir/f1", "was in the lower layer");
	put_file(c.new_fd, "f2", "x");
	chain_step(&c);
	sys(mkdirat(c.new_fd, "dir2", 0755));
	sys(linkat(c.new_fd, "dir/f1", c.new_fd, "dir2/moved", 0));
	sys(unlinkat(c.new_fd, "dir/f1", 0));
	sys(linkat(c.new_fd, "f2", c.new_fd, "f3", 0));
	chain_step(&c);
	sys(linkat(c.new_fd, "f2", c.new_fd, "dir2/f4", 0));
	chain_step(&c);
	sys(unlinkat(c.new_fd, "f2", 0));
	chain_step(&c);
	chain_end(&c);
}

/* docker #25409 */
static void
renames(struct store *s)
{
	struct chain c;

	chain_begin(&c, s);
	sys(mkdirat(c.new_fd, "dir", 0700));
	sys(mkdirat(c.new_fd, "somefiles", 0700));
	put_file(c.new_fd, "somefiles/f1", "was here first");
	put_file(c.new_fd, "somefiles/f2", "nothing interesting");
	sys(mkdirat(c.new_fd, "dir/sub", 0755));
	put_file(c.new_fd, "dir/sub/f", "x");
	chain_step(&c);
	sys(renameat(c.new_fd, "somefiles/f1", c.new_fd, "somefiles/f2"));
	sys(renameat(c.new_fd, "dir", c.new_fd, "renamed"));
	chain_step(&c);
	sys(renameat(c.new_fd, "renamed/sub", c.new_fd, "sub"));
	chain_step(&c);
	chain_end(&c);
}

static void
special_files(struct store *s)
{
	static const unsigned char cap[] = { 1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	struct chain c;
	char name[252];

	/* A whiteout's name is four bytes longer. */
	memset(name, 'n', 251);
	name[251] = '\0';
	chain_begin(&c, s);
	sys(mknodat(c.new_fd, "char", S_IFCHR | 0620, 0x103));
	sys(mknodat(c.new_fd, "block", S_IFBLK | 0660, 0x801));
	sys(mkfifoat(c.new_fd, "fifo", 0644));
	sys(symlinkat("nowhere", c.new_fd, "dangling"));
	sys(symlinkat("/etc/passwd", c.new_fd, "absolute"));
	put_file(c.new_fd, "setuid", "x");
	sys(fchmodat(c.new_fd, "setuid", 06755, 0));
	put_file(c.new_fd, "capable", "x");
	set_xattr(c.new_fd, "capable", "security.capability", cap,
	    sizeof(cap));
	put_file(c.new_fd, "attr", "x");
	set_xattr(c.new_fd, "attr", "user.one", "1", 1);
	set_xattr(c.new_fd, "attr", "user.two", "", 0);
	put_file(c.new_fd, name, "a long name");
	put_file(c.new_fd, "empty", "");
	put_file(c.new_fd, " b\\l\ta\nn k\x80", "odd name");
	put_file(c.new_fd, "..gitme", "x");
	put_file(c.new_fd, "owner", "x");
	sys(fchownat(c.new_fd, "owner", 65534, 4000000000u, 0));
	put_file(c.new_fd, "old", "x");
	set_mtime(c.new_fd, "old", 1, 999999999);
	chain_step(&c);
	sys(unlinkat(c.new_fd, "block", 0));
	sys(mknodat(c.new_fd, "block", S_IFBLK | 0660, 0x802));
	sys(fchmodat(c.new_fd, "fifo", 0600, 0));
	set_xattr(c.new_fd, "attr", "user.one", "2", 1);
	set_mtime(c.new_fd, "attr", 5, 0);
	sys(fchmodat(c.new_fd, "capable", 0700, 0));
	sys(unlinkat(c.new_fd, name, 0));
	chain_step(&c);
	chain_end(&c);
}

static void
large_files_and_holes(struct store *s)
{
	struct chain c;
	int fd;

	chain_begin(&c, s);
	put_bytes(c.new_fd, "random", 1, 3 << 20);
	fd = sys(openat(c.new_fd, "holes", O_WRONLY | O_CREAT | O_CLOEXEC,
	    0644));
	sys(ftruncate(fd, 8 << 20));
	expect_int(pwrite(fd, "x", 1, 5 << 20), 1);
	(void)close(fd);
	chain_step(&c);
	put_bytes(c.new_fd, "random", 2, 3 << 20);
	chain_step(&c);
	chain_end(&c);
}

/* Megabytes that nobody stores, here or in the layers above. */
static void
holes_stay_holes(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;
	unsigned int i;
	struct stat st;

	tar_sparse(&tar, "holes", 256 << 20, "the end");
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
	layer_create(s, id_of(2), id_of(1));
	layer_seal(s, id_of(2));
	layer_create(s, id_of(3), id_of(2));
	for (i = 1; i <= 3; i++) {
		int fd = layer_look(s, id_of(i));

		sys(fstatat(fd, "holes", &st, 0));
		expect_int(st.st_size, 256 << 20);
		/* xfs gives a growing file more than it asks for. */
		if (st.st_blocks > (16 << 20) / 512)
			fail("layer %u stores %lld bytes of a hole", i,
			    (long long)st.st_blocks * 512);
		layer_looked(s, id_of(i), fd);
	}
}

#define N_FILES 10000

static void
ten_thousand_files(struct store *s)
{
	struct chain c;
	char name[48];
	int i;

	chain_begin(&c, s);
	for (i = 0; i < N_FILES; i++) {
		(void)snprintf(name, sizeof(name), "directory-%d", i / 100);
		if (i % 100 == 0)
			sys(mkdirat(c.new_fd, name, 0755));
		(void)snprintf(name, sizeof(name), "directory-%d/file-%d",
		    i / 100, i);
		put_bytes(c.new_fd, name, 3 + (unsigned int)i, 64);
	}
	chain_step(&c);
	for (i = 0; i < N_FILES; i += 100) {
		(void)snprintf(name, sizeof(name), "directory-%d/file-%d",
		    i / 100, i);
		put_bytes(c.new_fd, name, 6 + (unsigned int)i, 64);
		(void)snprintf(name, sizeof(name), "directory-%d/file-%d",
		    i / 100, i + 1);
		sys(unlinkat(c.new_fd, name, 0));
	}
	remove_tree(c.new_fd, "directory-7");
	chain_step(&c);
	chain_end(&c);
}

/* Each layer overwrites a file, adds one to a common directory, and makes a
 * directory anew with another file in it. */
static void
deep_step(struct chain *c, unsigned int i)
{
	char name[40], text[40];

	(void)snprintf(text, sizeof(text), "%u", i);
	put_file(c->new_fd, "bottom", text);
	/* Of the same size, by a clock that may not have moved. */
	set_mtime(c->new_fd, "bottom", 1000000000 + i, 0);
	(void)snprintf(name, sizeof(name), "files/layer-%u", i);
	put_file(c->new_fd, name, text);
	remove_tree(c->new_fd, "replaced");
	sys(mkdirat(c->new_fd, "replaced", 0755));
	(void)snprintf(name, sizeof(name), "replaced/%u", i);
	put_file(c->new_fd, name, text);
	if (i % 10 == 0) {
		(void)snprintf(name, sizeof(name), "files/layer-%u", i - 5);
		sys(unlinkat(c->new_fd, name, 0));
	}
	chain_step(c);
}

static void
chain_of_128_layers(struct store *s)
{
	unsigned int i, n = 128;
	struct chain c;

	if (s->max_depth != 0 && s->max_depth < n)
		n = s->max_depth;
	chain_begin(&c, s);
	sys(mkdirat(c.new_fd, "files", 0755));
	sys(mkdirat(c.new_fd, "replaced", 0755));
	put_file(c.new_fd, "bottom", "0");
	chain_step(&c);
	for (i = 1; i < n; i++)
		deep_step(&c, i);
	chain_end(&c);
}

/* As deep as the driver says that it can. */
static void
chain_of_max_depth(struct store *s)
{
	unsigned int i, n = s->max_depth;
	char name[32];
	int fd;

	/* Without a limit 128 layers are enough to see. */
	if (n == 0 || n > 600)
		return;
	for (i = 1; i <= n; i++) {
		struct strbuf tar = STRBUF_INIT;

		(void)snprintf(name, sizeof(name), "file-%u", i);
		tar_file(&tar, name, name);
		tar_end(&tar);
		layer_from_tar(s, id_of(i), i > 1 ? id_of(i - 1) : NULL, &tar);
		strbuf_done(&tar);
	}
	fd = layer_look(s, id_of(n));
	expect_int(count_entries(fd), n);
	expect_str(get_text(fd, "file-1"), "file-1");
	expect_str(get_text(fd, name), name);
	layer_looked(s, id_of(n), fd);
	store_flush(s);
}

/* An image and its sibling share layers and do not see each other. */
static void
siblings_do_not_mix(struct store *s)
{
	unsigned int i;
	int fd;

	for (i = 1; i <= 5; i++) {
		struct strbuf tar = STRBUF_INIT;
		char text[16];

		(void)snprintf(text, sizeof(text), "%u", i);
		tar_file(&tar, "file", text);
		tar_file(&tar, text, text);
		tar_end(&tar);
		layer_from_tar(s, id_of(i), i > 1 ? id_of(1) : NULL, &tar);
		strbuf_done(&tar);
	}
	for (i = 2; i <= 5; i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), "%u", i);
		fd = layer_look(s, id_of(i));
		expect_str(get_text(fd, "file"), text);
		expect_int(count_entries(fd), 3);
		layer_looked(s, id_of(i), fd);
	}
	fd = layer_look(s, id_of(1));
	expect_str(get_text(fd, "file"), "1");
	expect_int(count_entries(fd), 2);
	layer_looked(s, id_of(1), fd);
}

const struct suite_case content_cases[] = {
	CASE(changes_of_each_kind, 0, 0),
	CASE(same_size_within_a_second, 0, 0),
	CASE(recreated_directory_hides_the_old_one, 0, 0),
	CASE(owners_and_modes_of_directories, 0, 0),
	CASE(deletions_last, 0, 0),
	CASE(files_become_directories_and_back, 0, 0),
	CASE(hard_links_to_lower_files, 0, 0),
	CASE(renames, 0, 0),
	CASE(special_files, 0, 0),
	CASE(large_files_and_holes, 0, 0),
	CASE(holes_stay_holes, 0, NEED_UNPACKED),
	CASE(ten_thousand_files, 0, 0),
	CASE(chain_of_128_layers, 0, 0),
	CASE(chain_of_max_depth, 0, 0),
	CASE(siblings_do_not_mix, 0, 0),
	CASES_END,
};
