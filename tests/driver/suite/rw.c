/* Writable layers. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* Layer 1, sealed: a, b, d/f, d/g. */
static void
make_image(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;

	tar_file(&tar, "a", "a");
	tar_file(&tar, "b", "b");
	tar_dir(&tar, "d/");
	tar_file(&tar, "d/f", "f");
	tar_file(&tar, "d/g", "g");
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
}

static void
expect_image(struct store *s)
{
	int fd = layer_look(s, id_of(1));

	expect_int(count_entries(fd), 3);
	expect_str(get_text(fd, "a"), "a");
	expect_str(get_text(fd, "b"), "b");
	expect_str(get_text(fd, "d/f"), "f");
	expect_str(get_text(fd, "d/g"), "g");
	layer_looked(s, id_of(1), fd);
}

/* What a container does. */
static void
change(int fd)
{
	put_file(fd, "a", "changed");
	sys(unlinkat(fd, "b", 0));
	put_file(fd, "new", "new");
	sys(renameat(fd, "d/f", fd, "d/renamed"));
	sys(mkdirat(fd, "e", 0700));
	put_file(fd, "e/in", "x");
	sys(linkat(fd, "new", fd, "link", 0));
	sys(symlinkat("a", fd, "soft"));
	sys(fchmodat(fd, "d/g", 0600, 0));
}

static void
expect_changed(int fd)
{
	struct stat st;

	expect_str(get_text(fd, "a"), "changed");
	expect(!is_there(fd, "b"));
	expect_str(get_text(fd, "new"), "new");
	expect(!is_there(fd, "d/f"));
	expect_str(get_text(fd, "d/renamed"), "f");
	expect_str(get_text(fd, "e/in"), "x");
	expect_str(get_text(fd, "link"), "new");
	sys(fstatat(fd, "link", &st, 0));
	expect_int(st.st_nlink, 2);
	expect_str(get_text(fd, "soft"), "changed");
	sys(fstatat(fd, "d/g", &st, 0));
	expect_int(st.st_mode, S_IFREG | 0600);
	expect_int(count_entries(fd), 6);
}

static void
writes_stay_in_the_writable_layer(struct store *s)
{
	int fd;

	make_image(s);
	layer_create_rw(s, id_of(2), id_of(1));
	layer_create_rw(s, id_of(3), id_of(1));
	fd = layer_look(s, id_of(2));
	change(fd);
	expect_changed(fd);
	layer_looked(s, id_of(2), fd);
	expect_image(s);
	fd = layer_look(s, id_of(3));
	expect_int(count_entries(fd), 3);
	expect_str(get_text(fd, "a"), "a");
	layer_looked(s, id_of(3), fd);
	layer_remove(s, id_of(2));
	expect_image(s);
	expect_listed(s, 2);
}

static void
writes_survive_a_restart(struct store *s)
{
	unsigned int i;
	int fd;

	make_image(s);
	layer_create_rw(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	change(fd);
	layer_looked(s, id_of(2), fd);
	for (i = 0; i < 2; i++) {
		store_end(s);
		store_open(s, 0);
		expect(is_listed_as(s, id_of(2), IMGD_STATE_RW));
		fd = layer_look(s, id_of(2));
		expect_changed(fd);
		layer_looked(s, id_of(2), fd);
	}
	fd = layer_look(s, id_of(2));
	put_file(fd, "later", "x");
	layer_looked(s, id_of(2), fd);
	fd = layer_look(s, id_of(2));
	expect_str(get_text(fd, "later"), "x");
	layer_looked(s, id_of(2), fd);
}

/* Deleting and making anew, as packages do. */
static void
directories_can_be_replaced(struct store *s)
{
	int fd;

	make_image(s);
	layer_create_rw(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	remove_tree(fd, "d");
	sys(mkdirat(fd, "d", 0755));
	put_file(fd, "d/only", "x");
	sys(unlinkat(fd, "a", 0));
	sys(mkdirat(fd, "a", 0755));
	layer_looked(s, id_of(2), fd);
	store_reopen(s, 0);
	fd = layer_look(s, id_of(2));
	expect_str(get_text(fd, "d/only"), "x");
	expect(!is_there(fd, "d/f"));
	expect(!is_there(fd, "d/g"));
	expect(!is_there(fd, "a/in"));
	layer_looked(s, id_of(2), fd);
	expect_image(s);
}

/* A socket's file; its name goes through /proc, for that is short. */
static void
put_socket(int fd, const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int sock = sys(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path),
	    "/proc/self/fd/%d/%s", fd, name);
	sys(bind(sock, (struct sockaddr *)&sa, sizeof(sa)));
	(void)close(sock);
}

/* What programs do to an image's files, each in its own way. */
static void
work_in(int fd)
{
	int f;

	sys(linkat(fd, "a", fd, "a-too", 0));
	sys(unlinkat(fd, "a", 0));
	sys(renameat(fd, "d/f", fd, "d/g"));
	f = sys(openat(fd, "b", O_WRONLY | O_APPEND | O_CLOEXEC));
	expect_int(write(f, " and more", 9), 9);
	sys(ftruncate(f, 4 << 20));
	(void)close(f);
	sys(fchownat(fd, "d", 12, 34, 0));
	sys(fchmodat(fd, "d", 02750, 0));
	set_xattr(fd, "d", "user.of", "a directory", 11);
	set_xattr(fd, "d/g", "user.of", "a file", 6);
	sys(mkdirat(fd, "made", 01777));
	put_socket(fd, "made/socket");
	sys(mkfifoat(fd, "made/fifo", 0600));
	sys(mknodat(fd, "made/null", S_IFCHR | 0666, 0x103));
	sys(renameat(fd, "made", fd, "moved"));
	sys(symlinkat("moved", fd, "made"));
	sys(fchmod(fd, 0711));
	sys(fchown(fd, 5, 6));
}

/* Beside a copy of the image on which the same is done (containerd's snapshot
 * suite). */
static void
writable_layers_are_like_a_plain_directory(struct store *s)
{
	int dir_fd, image_fd, flat_fd, fd, i;

	make_image(s);
	dir_fd = make_flat(s, "flat");
	image_fd = layer_look(s, id_of(1));
	copy_flat(image_fd, dir_fd, "copy");
	layer_looked(s, id_of(1), image_fd);
	flat_fd = open_dir_at(dir_fd, "copy");
	layer_create_rw(s, id_of(2), id_of(1));
	fd = layer_look(s, id_of(2));
	expect_same(fd, flat_fd, SAME_ALL, "before");
	work_in(flat_fd);
	work_in(fd);
	expect_same(fd, flat_fd, SAME_XATTRS, "at once");
	layer_looked(s, id_of(2), fd);
	for (i = 0; i < 2; i++) {
		fd = layer_look(s, id_of(2));
		expect_same(fd, flat_fd, SAME_XATTRS, "later");
		layer_looked(s, id_of(2), fd);
		store_end(s);
		store_open(s, 0);
	}
	expect_image(s);
	(void)close(flat_fd);
	(void)close(dir_fd);
}

static void
depth_is_left_for_a_writable_layer(struct store *s)
{
	unsigned int i, n = s->max_depth;
	int fd;

	if (n == 0 || n > 600)
		n = 20;
	for (i = 1; i < n; i++) {
		struct strbuf tar = STRBUF_INIT;
		char name[24];

		(void)snprintf(name, sizeof(name), "file-%u", i);
		tar_file(&tar, name, name);
		tar_end(&tar);
		layer_from_tar(s, id_of(i), i > 1 ? id_of(i - 1) : NULL, &tar);
		strbuf_done(&tar);
	}
	layer_create_rw(s, id_of(n), id_of(n - 1));
	fd = layer_look(s, id_of(n));
	put_file(fd, "file-1", "changed");
	expect_int(count_entries(fd), n - 1);
	layer_looked(s, id_of(n), fd);
}

static void
quota_is_held(struct store *s)
{
	struct imgd_layer_opts opts = { .struct_size = sizeof(opts),
		.quota_bytes = 1ull << 30 };
	char *block = calloc(1, 1 << 20);
	int fd, f, i, r = 0;

	expect(block != NULL);
	make_image(s);
	/* The smallest that the driver takes, of what it may refuse. */
	for (; opts.quota_bytes >= 32u << 20; opts.quota_bytes /= 2)
		if (s->d->create_rw(s->h, id_of(2), id_of(1), &opts, NULL) ==
		    0)
			layer_remove(s, id_of(2));
		else
			break;
	opts.quota_bytes *= 2;
	ok(s->d->create_rw(s->h, id_of(2), id_of(1), &opts, &ok_err));
	fd = layer_look(s, id_of(2));
	f = sys(openat(fd, "big", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	memset(block, 'x', 1 << 20);
	for (i = 0; r >= 0 && i < (int)(opts.quota_bytes >> 20) + 32; i++) {
		block[0] = (char)i;
		r = (int)write(f, block, 1 << 20);
		if (i % 8 == 7 && r >= 0)
			r = fsync(f);
	}
	expect(r < 0 && (errno == ENOSPC || errno == EDQUOT));
	expect(i > (int)(opts.quota_bytes >> 21));
	sys(unlinkat(fd, "big", 0));
	(void)close(f);
	layer_looked(s, id_of(2), fd);
	free(block);
	expect_image(s);
}

const struct suite_case rw_cases[] = {
	CASE(writes_stay_in_the_writable_layer, IMGD_CAP_RW, 0),
	CASE(writes_survive_a_restart, IMGD_CAP_RW, 0),
	CASE(directories_can_be_replaced, IMGD_CAP_RW, 0),
	CASE(writable_layers_are_like_a_plain_directory, IMGD_CAP_RW, 0),
	CASE(depth_is_left_for_a_writable_layer, IMGD_CAP_RW, 0),
	CASE(quota_is_held, IMGD_CAP_RW | IMGD_CAP_QUOTA, 0),
	CASES_END,
};
