/* Layers in use: mounts that stay, and that do not. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

static void
make_two(struct store *s)
{
	unsigned int i;

	for (i = 1; i <= 2; i++) {
		struct strbuf tar = STRBUF_INIT;

		tar_file(&tar, i == 1 ? "one" : "two", "text");
		tar_end(&tar);
		layer_from_tar(s, id_of(i), i > 1 ? id_of(1) : NULL, &tar);
		strbuf_done(&tar);
	}
}

/* Mounts below the store. */
static int
count_mounts(struct store *s)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192], path[4096];
	int n = 0;

	expect(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "%*s %*s %*s %*s %4095s", path) == 1)
			n += str_starts(path, s->dir);
	(void)fclose(f);
	return n;
}

static void
get_twice_gives_the_same_path(struct store *s)
{
	char *a, *b;
	int n;

	make_two(s);
	a = layer_get(s, id_of(2), IMGD_GET_TREE);
	n = count_mounts(s);
	b = layer_get(s, id_of(2), IMGD_GET_TREE);
	expect_str(a, b);
	expect_int(count_mounts(s), n);
	free(a);
	free(b);
	layer_put(s, id_of(2), IMGD_GET_TREE);
	expect_int(count_mounts(s), 0);
}

static void
each_layer_has_a_place_of_its_own(struct store *s)
{
	char *a, *b;

	make_two(s);
	a = layer_get(s, id_of(1), IMGD_GET_TREE);
	b = layer_get(s, id_of(2), IMGD_GET_TREE);
	expect(strcmp(a, b) != 0);
	free(a);
	free(b);
	layer_put(s, id_of(1), IMGD_GET_TREE);
	layer_put(s, id_of(2), IMGD_GET_TREE);
	expect_int(count_mounts(s), 0);
}

static void
parents_can_be_looked_at_under_their_children(struct store *s)
{
	int one, two;

	make_two(s);
	two = layer_look(s, id_of(2));
	one = layer_look(s, id_of(1));
	expect_int(count_entries(one), 1);
	expect_int(count_entries(two), 2);
	layer_looked(s, id_of(1), one);
	expect_int(count_entries(two), 2);
	layer_looked(s, id_of(2), two);
}

/* Somebody has a file open in it: removal waits or refuses, and never takes
 * the data away half. */
static void
busy_layers_stay_whole(struct store *s)
{
	struct imgd_error *err = NULL;
	int fd, file, r;

	make_two(s);
	fd = layer_look(s, id_of(2));
	file = sys(openat(fd, "two", O_RDONLY | O_CLOEXEC));
	(void)close(fd);
	r = s->d->put(s->h, id_of(2), IMGD_GET_TREE, &err);
	if (r < 0) {
		expect_int(r, -EBUSY);
		expect(err != NULL);
		imgd_error_free(err);
		err = NULL;
		r = s->d->remove(s->h, id_of(2), &err);
		/* A driver may be told to delete it once it is free. */
		expect(r == 0 || (r == -EBUSY && err != NULL));
		imgd_error_free(err);
		expect_int(layer_exists(s, id_of(2)), r != 0);
		if (r == 0) {
			char c;

			expect_int(read(file, &c, 1), 1);
			(void)close(file);
			return;
		}
	} else {
		expect(err == NULL);
	}
	(void)close(file);
	fd = layer_look(s, id_of(2));
	expect_str(get_text(fd, "two"), "text");
	expect_str(get_text(fd, "one"), "text");
	layer_looked(s, id_of(2), fd);
	layer_remove(s, id_of(2));
	expect(!layer_exists(s, id_of(2)));
}

static void
leftover_mounts_go_with_their_layer(struct store *s)
{
	make_two(s);
	free(layer_get(s, id_of(2), IMGD_GET_TREE));
	/* The process ends without a put. */
	store_reopen(s, 0);
	layer_remove(s, id_of(2));
	expect(!layer_exists(s, id_of(2)));
	expect_int(count_mounts(s), 0);
	expect_listed(s, 1);
}

static void
cleanup_unmounts_what_nobody_uses(struct store *s)
{
	make_two(s);
	free(layer_get(s, id_of(1), IMGD_GET_TREE));
	free(layer_get(s, id_of(2), IMGD_GET_TREE));
	store_reopen(s, 0);
	store_cleanup(s);
	expect_int(count_mounts(s), 0);
}

static void
cleanup_leaves_users_alone(struct store *s)
{
	int fd;

	make_two(s);
	fd = layer_look(s, id_of(2));
	store_cleanup(s);
	expect_str(get_text(fd, "two"), "text");
	expect_int(count_entries(fd), 2);
	layer_looked(s, id_of(2), fd);
	expect_int(count_mounts(s), 0);
}

static void
open_touches_no_mount(struct store *s)
{
	char *path;
	int fd, n;

	make_two(s);
	path = layer_get(s, id_of(2), IMGD_GET_TREE);
	n = count_mounts(s);
	store_reopen(s, 0);
	expect_int(count_mounts(s), n);
	fd = open_dir(path);
	expect_str(get_text(fd, "two"), "text");
	(void)close(fd);
	free(path);
	store_reopen(s, IMGD_OPEN_READONLY);
	expect_int(count_mounts(s), n);
	store_end(s);
	expect_int(count_mounts(s), n);
	store_open(s, 0);
}

static void
mounted_layers_are_listed_so(struct store *s)
{
	int n;

	make_two(s);
	free(layer_get(s, id_of(2), IMGD_GET_TREE));
	n = count_mounts(s);
	expect_int((listed_state(s, id_of(2)) & IMGD_STATE_MOUNTED) != 0,
	    n > 0);
	layer_put(s, id_of(2), IMGD_GET_TREE);
	expect((listed_state(s, id_of(2)) & IMGD_STATE_MOUNTED) == 0);
}

/* moby's MountLeaks: a namespace that somebody made meanwhile has a copy of
 * the mount. */
static void
another_namespace_does_not_hold_it(struct store *s)
{
	int ready[2], status;
	pid_t pid;
	char c;

	make_two(s);
	free(layer_get(s, id_of(2), IMGD_GET_TREE));
	sys(pipe(ready));
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	(void)close(ready[1]);
	expect_int(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	layer_put(s, id_of(2), IMGD_GET_TREE);
	layer_remove(s, id_of(2));
	expect(!layer_exists(s, id_of(2)));
	sys(kill(pid, SIGKILL));
	expect_int(waitpid(pid, &status, 0), pid);
	expect_int(count_mounts(s), 0);
}

const struct suite_case mount_cases[] = {
	CASE(get_twice_gives_the_same_path, 0, 0),
	CASE(each_layer_has_a_place_of_its_own, 0, 0),
	CASE(parents_can_be_looked_at_under_their_children, 0, 0),
	CASE(busy_layers_stay_whole, 0, 0),
	CASE(leftover_mounts_go_with_their_layer, 0, 0),
	CASE(cleanup_unmounts_what_nobody_uses, 0, 0),
	CASE(cleanup_leaves_users_alone, 0, 0),
	CASE(open_touches_no_mount, 0, 0),
	CASE(mounted_layers_are_listed_so, 0, NEED_LIST),
	CASE(another_namespace_does_not_hold_it, 0, 0),
	CASES_END,
};
