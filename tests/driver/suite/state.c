/* States, their rules, and what a restart keeps. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* A sealed layer with one file. */
static void
make_layer(struct store *s, const char *id, const char *parent,
    const char *name, const char *text)
{
	struct strbuf tar = STRBUF_INIT;

	tar_file(&tar, name, text);
	tar_end(&tar);
	layer_from_tar(s, id, parent, &tar);
	strbuf_done(&tar);
}

static void
expect_text(struct store *s, const char *id, const char *name,
    const char *text)
{
	int fd = layer_look(s, id);

	expect_str(get_text(fd, name), text);
	layer_looked(s, id, fd);
}

static void
sealed_is_final(struct store *s)
{
	layer_create(s, id_of(1), NULL);
	expect(is_listed_as(s, id_of(1), IMGD_STATE_STAGED));
	layer_seal(s, id_of(1));
	expect(is_listed_as(s, id_of(1), IMGD_STATE_SEALED));
	fails(EROFS, s->d->seal(s->h, id_of(1), &ok_err));
	store_reopen(s, 0);
	fails(EROFS, s->d->seal(s->h, id_of(1), &ok_err));
}

static void
writable_layers_are_no_parents(struct store *s)
{
	layer_create(s, id_of(1), NULL);
	refused(s->d->create_rw(s->h, id_of(2), id_of(1), NULL, &ok_err));
	expect(!layer_exists(s, id_of(2)));
	layer_seal(s, id_of(1));
	layer_create_rw(s, id_of(2), id_of(1));
	expect(is_listed_as(s, id_of(2), IMGD_STATE_RW));
	refused(s->d->seal(s->h, id_of(2), &ok_err));
	refused(s->d->create(s->h, id_of(3), id_of(2), NULL, &ok_err));
	expect(!layer_exists(s, id_of(3)));
	expect(is_listed_as(s, id_of(2), IMGD_STATE_RW));
}

static void
staged_parents_are_refused(struct store *s)
{
	layer_create(s, id_of(1), NULL);
	refused(s->d->create(s->h, id_of(2), id_of(1), NULL, &ok_err));
	expect(!layer_exists(s, id_of(2)));
	expect_listed(s, 1);
}

/* All are created before the first is filled; sealed parent first. */
static void
children_are_made_while_parents_are_staged(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;
	unsigned int i;
	int fd;

	layer_create(s, id_of(1), NULL);
	for (i = 2; i <= 5; i++)
		layer_create(s, id_of(i), id_of(i - 1));
	for (i = 1; i <= 5; i++) {
		char name[16];

		tar = (struct strbuf) STRBUF_INIT;
		(void)snprintf(name, sizeof(name), "file-%u", i);
		tar_file(&tar, name, name);
		tar_file(&tar, "top", name);
		tar_end(&tar);
		layer_unpack_into(s, id_of(i), i > 1 ? id_of(i - 1) : NULL,
		    &tar, NULL);
		strbuf_done(&tar);
	}
	for (i = 1; i <= 5; i++)
		if (is_listed_as(s, id_of(i), IMGD_STATE_STAGED))
			layer_seal(s, id_of(i));
	fd = layer_look(s, id_of(5));
	expect_int(count_entries(fd), 6);
	expect_str(get_text(fd, "top"), "file-5");
	expect_str(get_text(fd, "file-1"), "file-1");
	layer_looked(s, id_of(5), fd);
	expect_text(s, id_of(3), "top", "file-3");
}

static void
removal_of_parents_is_decided(struct store *s)
{
	struct imgd_error *err = NULL;
	int r;

	make_layer(s, id_of(1), NULL, "below", "1");
	make_layer(s, id_of(2), id_of(1), "above", "2");
	r = s->d->remove(s->h, id_of(1), &err);
	/* Either children need it, or they do not. */
	if (r < 0) {
		expect_int(r, -EBUSY);
		expect(err != NULL);
		imgd_error_free(err);
		expect(layer_exists(s, id_of(1)));
	} else {
		expect(err == NULL);
		expect(!layer_exists(s, id_of(1)));
	}
	expect_text(s, id_of(2), "below", "1");
	expect_text(s, id_of(2), "above", "2");
	store_reopen(s, 0);
	expect_text(s, id_of(2), "below", "1");
	layer_remove(s, id_of(2));
	layer_remove(s, id_of(1));
}

static void
states_survive_a_restart(struct store *s)
{
	make_layer(s, id_of(1), NULL, "file", "one");
	layer_create(s, id_of(2), id_of(1));
	layer_create(s, id_of(3), NULL);
	if (s->caps & IMGD_CAP_RW)
		layer_create_rw(s, id_of(4), id_of(1));
	store_reopen(s, 0);
	expect_listed(s, s->caps & IMGD_CAP_RW ? 4 : 3);
	expect(is_listed_as(s, id_of(1), s->d->seal != NULL
	    ? IMGD_STATE_SEALED : IMGD_STATE_STAGED));
	expect(is_listed_as(s, id_of(2), IMGD_STATE_STAGED));
	expect(is_listed_as(s, id_of(3), IMGD_STATE_STAGED));
	if (s->caps & IMGD_CAP_RW)
		expect(is_listed_as(s, id_of(4), IMGD_STATE_RW));
	expect_text(s, id_of(1), "file", "one");
	expect_text(s, id_of(2), "file", "one");
	store_end(s);
	store_open(s, 0);
	expect_text(s, id_of(2), "file", "one");
	expect_listed(s, s->caps & IMGD_CAP_RW ? 4 : 3);
}

static void
staged_layers_go_on_after_a_restart(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;

	make_layer(s, id_of(1), NULL, "file", "one");
	layer_create(s, id_of(2), id_of(1));
	store_reopen(s, 0);
	tar_file(&tar, "more", "two");
	tar_end(&tar);
	layer_unpack_into(s, id_of(2), id_of(1), &tar, NULL);
	strbuf_done(&tar);
	store_reopen(s, 0);
	layer_seal(s, id_of(2));
	store_reopen(s, 0);
	expect_text(s, id_of(2), "file", "one");
	expect_text(s, id_of(2), "more", "two");
}

static void
read_only_open_makes_nothing(struct store *s)
{
	struct stat before, after;

	store_end(s);
	/* A home that no driver has been in yet. */
	(void)close(s->env.home_fd);
	sys(rename(s->home, s->run));
	sys(mkdir(s->home, 0700));
	s->env.home_fd = open_dir(s->home);
	sys(stat(s->home, &before));
	store_open(s, IMGD_OPEN_READONLY);
	expect_listed(s, 0);
	expect(!layer_exists(s, id_of(1)));
	store_close(s);
	sys(stat(s->home, &after));
	expect_int(count_entries(s->env.home_fd), 0);
	expect_int(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	expect_int(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	store_open(s, 0);
}

static void
read_only_open_tells_what_there_is(struct store *s)
{
	make_layer(s, id_of(1), NULL, "file", "one");
	layer_create(s, id_of(2), id_of(1));
	store_end(s);
	store_open(s, IMGD_OPEN_READONLY);
	expect_listed(s, 2);
	expect(layer_exists(s, id_of(1)));
	expect(!layer_exists(s, id_of(3)));
	expect(is_listed_as(s, id_of(2), IMGD_STATE_STAGED));
	store_close(s);
	store_open(s, 0);
}

/* One process changes the store while others look. */
static void
readers_do_not_disturb_an_engine(struct store *s)
{
	struct store reader = *s;

	make_layer(s, id_of(1), NULL, "file", "one");
	reader.env.flags = IMGD_OPEN_READONLY;
	reader.h = NULL;
	store_open(&reader, IMGD_OPEN_READONLY);
	expect_listed(&reader, 1);
	make_layer(s, id_of(2), id_of(1), "file", "two");
	store_end(&reader);
	expect_text(s, id_of(2), "file", "two");
	store_open(&reader, IMGD_OPEN_READONLY);
	expect_listed(&reader, 2);
	store_end(&reader);
	layer_remove(s, id_of(2));
}

static void
children_are_listed_first(struct store *s)
{
	unsigned int i;

	for (i = 1; i <= 40; i++) {
		/* A tree, not a chain. */
		layer_create(s, id_of(i), i == 1 ? NULL : id_of(i / 2));
		layer_seal(s, id_of(i));
	}
	expect_listed(s, 40);
	store_reopen(s, 0);
	expect_listed(s, 40);
}

static int
stop_with_seven(void *ctx, const char *id, const char *parent, uint32_t state)
{
	(void)id;
	(void)parent;
	(void)state;
	(*(int *)ctx)++;
	return 7;
}

static void
listing_can_be_stopped(struct store *s)
{
	struct imgd_error *err = NULL;
	int n = 0;

	layer_create(s, id_of(1), NULL);
	layer_create(s, id_of(2), NULL);
	expect_int(s->d->list(s->h, stop_with_seven, &n, &err), 7);
	expect(err == NULL);
	expect_int(n, 1);
}

const struct suite_case state_cases[] = {
	CASE(sealed_is_final, 0, NEED_SEAL),
	CASE(writable_layers_are_no_parents, IMGD_CAP_RW, NEED_SEAL),
	CASE_LACKING(staged_parents_are_refused, IMGD_CAP_INDEPENDENT,
	    NEED_SEAL),
	CASE(children_are_made_while_parents_are_staged, IMGD_CAP_INDEPENDENT,
	    0),
	CASE(removal_of_parents_is_decided, 0, 0),
	CASE(states_survive_a_restart, 0, 0),
	CASE(staged_layers_go_on_after_a_restart, 0, 0),
	CASE(read_only_open_makes_nothing, 0, 0),
	CASE(read_only_open_tells_what_there_is, 0, 0),
	CASE(readers_do_not_disturb_an_engine, 0, 0),
	CASE(children_are_listed_first, 0, NEED_LIST),
	CASE(listing_can_be_stopped, 0, NEED_LIST),
	CASES_END,
};
