/* A full disk. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

#define DISK_OPTIONS "size=48m,mode=700"

static void
make_first(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;

	tar_file(&tar, "first", "text");
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
	store_flush(s);
}

static void
expect_first(struct store *s)
{
	int fd = layer_look(s, id_of(1));

	expect_str(get_text(fd, "first"), "text");
	layer_looked(s, id_of(1), fd);
}

/* Put the home on a small disk of its own.  false: the driver does not work
 * on one, and said so. */
static bool
on_small_disk(struct store *s)
{
	struct imgd_error *err = NULL;
	int r;

	store_end(s);
	(void)close(s->env.home_fd);
	sys(mount("tmpfs", s->home, "tmpfs", MS_NOSUID, DISK_OPTIONS));
	s->env.home_fd = open_dir(s->home);
	r = s->d->probe(&s->env, &err);
	if (r >= 0)
		r = s->d->open(&s->env, &s->h, &err);
	if (r >= 0)
		r = s->d->create(s->h, id_of(9), NULL, NULL, &err);
	if (r >= 0) {
		layer_remove(s, id_of(9));
		store_end(s);
		store_open(s, 0);
		return true;
	}
	expect(err != NULL && imgd_error_code(err) == -r);
	imgd_error_free(err);
	if (s->h != NULL)
		store_end(s);
	return false;
}

static void
off_small_disk(struct store *s)
{
	if (s->h != NULL)
		store_end(s);
	(void)close(s->env.home_fd);
	sys(umount2(s->home, 0));
	s->env.home_fd = open_dir(s->home);
	store_probe_and_open(s);
}

/* Take all space but some. */
static void
fill_disk(struct store *s, off_t leave)
{
	int fd = sys(openat(s->env.home_fd, "filler",
	    O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	char block[65536];
	off_t size = 0;

	memset(block, 'x', sizeof(block));
	while (write(fd, block, sizeof(block)) > 0)
		size += (off_t)sizeof(block);
	expect(errno == ENOSPC);
	sys(ftruncate(fd, size > leave ? size - leave : 0));
	(void)close(fd);
}

/* Make a layer of size bytes; what the first failure was, or 0. */
static int
try_layer(struct store *s, const char *id, size_t size)
{
	struct imgd_error *err = NULL;
	uint32_t whiteouts;
	char *path = NULL, *block = malloc(size);
	int r, fd, first = 0;

	expect(block != NULL);
	memset(block, 'y', size);
	r = s->d->create(s->h, id, id_of(1), NULL, &err);
	if (r >= 0 && s->d->own_dir != NULL)
		r = s->d->own_dir(s->h, id, &path, &whiteouts, &err);
	else if (r >= 0)
		r = s->d->get(s->h, id, IMGD_GET_TREE, &path, &err);
	if (r >= 0) {
		fd = open_dir(path);
		{
			int f = openat(fd, "big",
			    O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

			if (f < 0 || write(f, block, size) != (ssize_t)size)
				first = -ENOSPC;
			if (f >= 0)
				(void)close(f);
		}
		(void)close(fd);
		if (s->d->own_dir == NULL)
			r = s->d->put(s->h, id, IMGD_GET_TREE, &err);
	}
	if (r >= 0 && first == 0 && s->d->seal != NULL)
		r = s->d->seal(s->h, id, &err);
	if (r >= 0 && first == 0 && s->d->flush != NULL)
		r = s->d->flush(s->h, &err);
	if (r < 0 && (err == NULL || imgd_error_code(err) != -r))
		fail("fails with %d, and no error or another is set", r);
	imgd_error_free(err);
	free(path);
	free(block);
	return first != 0 ? first : r < 0 ? r : 0;
}

static void
full_disk_is_an_error_and_harms_nothing(struct store *s)
{
	int r;

	if (on_small_disk(s)) {
		make_first(s);
		fill_disk(s, 2 << 20);
		r = try_layer(s, id_of(2), 8 << 20);
		if (r >= 0)
			fail("8 MiB fit where 2 MiB are free");
		layer_remove(s, id_of(2));
		expect(!layer_exists(s, id_of(2)));
		expect_first(s);
		store_end(s);
		store_open(s, 0);
		expect_first(s);
		sys(unlinkat(s->env.home_fd, "filler", 0));
		expect_int(try_layer(s, id_of(2), 1 << 20), 0);
		expect_first(s);
		store_remove_all(s, 2);
	}
	off_small_disk(s);
}

/* Not even a directory can be made. */
static void
no_space_at_all(struct store *s)
{
	struct imgd_error *err = NULL;
	int r;

	if (on_small_disk(s)) {
		make_first(s);
		fill_disk(s, 0);
		r = try_layer(s, id_of(2), 4 << 20);
		if (r >= 0)
			fail("4 MiB fit where nothing is free");
		/* Removal may need space where there is none, but then says
		 * so, and succeeds when there is some. */
		r = s->d->remove(s->h, id_of(2), &err);
		expect(r >= 0 || err != NULL);
		imgd_error_free(err);
		expect_first(s);
		store_end(s);
		sys(unlinkat(s->env.home_fd, "filler", 0));
		store_open(s, 0);
		layer_remove(s, id_of(2));
		expect_first(s);
		expect_int(try_layer(s, id_of(2), 1 << 20), 0);
		store_remove_all(s, 2);
	}
	off_small_disk(s);
}

const struct suite_case space_cases[] = {
	CASE(full_disk_is_an_error_and_harms_nothing, 0, 0),
	CASE(no_space_at_all, 0, 0),
	CASES_END,
};
