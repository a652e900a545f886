/* check, replace, and homes that something else wrote into. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

static void
make_layer(struct store *s, unsigned int n, const char *parent,
    const char *text)
{
	struct strbuf tar = STRBUF_INIT;

	tar_file(&tar, "file", text);
	tar_file(&tar, "other", "x");
	tar_end(&tar);
	layer_from_tar(s, id_of(n), parent, &tar);
	strbuf_done(&tar);
}

static void
expect_text(struct store *s, unsigned int n, const char *text)
{
	int fd = layer_look(s, id_of(n));

	expect_str(get_text(fd, "file"), text);
	layer_looked(s, id_of(n), fd);
}

/* A store with a layer in each state. */
static void
make_all(struct store *s)
{
	make_layer(s, 1, NULL, "one");
	make_layer(s, 2, id_of(1), "two");
	layer_create(s, id_of(3), id_of(2));
	if (s->caps & IMGD_CAP_RW)
		layer_create_rw(s, id_of(4), id_of(2));
	store_flush(s);
}

static void
check_finds_nothing_in_a_sound_store(struct store *s)
{
	static const uint32_t flags[] = { 0, IMGD_CHECK_DEEP,
		IMGD_CHECK_REPAIR, IMGD_CHECK_DEEP | IMGD_CHECK_REPAIR };
	size_t i;
	int told;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		told = 0;
		expect_int(check_store(s, flags[i], &told), 0);
		expect_int(told, 0);
		if (i == 0)
			make_all(s);
	}
	store_reopen(s, IMGD_OPEN_READONLY);
	expect_int(check_store(s, 0, &told), 0);
	store_reopen(s, 0);
	expect_listed(s, s->caps & IMGD_CAP_RW ? 4 : 3);
	expect_text(s, 2, "two");
}

static void
check_works_while_layers_are_in_use(struct store *s)
{
	char *path;
	int told = 0, fd;

	make_all(s);
	fd = layer_look(s, id_of(2));
	path = s->caps & IMGD_CAP_RW ? layer_get(s, id_of(4), IMGD_GET_TREE)
				     : NULL;
	expect_int(check_store(s, IMGD_CHECK_DEEP | IMGD_CHECK_REPAIR, &told),
	    0);
	expect_int(told, 0);
	expect_str(get_text(fd, "file"), "two");
	layer_looked(s, id_of(2), fd);
	if (path != NULL)
		layer_put(s, id_of(4), IMGD_GET_TREE);
	free(path);
}

static void
foreign_files_do_no_harm(struct store *s)
{
	static const char *const names[] = { "README", ".hidden",
		"lost+found", "0123456789abcdef" };
	size_t i;

	make_all(s);
	store_end(s);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put_file(s->env.home_fd, names[i], "not ours");
	sys(mkdirat(s->env.home_fd, "directory", 0700));
	sys(symlinkat("/etc", s->env.home_fd, "link"));
	store_open(s, 0);
	expect_listed(s, s->caps & IMGD_CAP_RW ? 4 : 3);
	expect_text(s, 2, "two");
	(void)check_store(s, IMGD_CHECK_REPAIR, NULL);
	make_layer(s, 5, id_of(2), "five");
	expect_text(s, 5, "five");
	layer_remove(s, id_of(5));
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(s->env.home_fd, names[i], 0);
	(void)unlinkat(s->env.home_fd, "directory", AT_REMOVEDIR);
	(void)unlinkat(s->env.home_fd, "link", 0);
}

static void
replace_exchanges_contents(struct store *s)
{
	int fd;

	make_layer(s, 1, NULL, "base");
	make_layer(s, 2, id_of(1), "damaged");
	make_layer(s, 3, id_of(1), "good");
	fd = layer_look(s, id_of(2));
	ok(s->d->replace(s->h, id_of(2), id_of(3), &ok_err));
	/* What is open keeps the old content. */
	expect_str(get_text(fd, "file"), "damaged");
	layer_looked(s, id_of(2), fd);
	expect_text(s, 2, "good");
	expect_text(s, 3, "damaged");
	store_reopen(s, 0);
	expect_text(s, 2, "good");
	expect_text(s, 3, "damaged");
	layer_remove(s, id_of(3));
	expect_text(s, 2, "good");
	store_reopen(s, 0);
	expect_text(s, 2, "good");
}

static void
replace_takes_sealed_layers_alone(struct store *s)
{
	make_layer(s, 1, NULL, "base");
	make_layer(s, 2, id_of(1), "two");
	layer_create(s, id_of(3), id_of(1));
	refused(s->d->replace(s->h, id_of(2), id_of(3), &ok_err));
	refused(s->d->replace(s->h, id_of(3), id_of(2), &ok_err));
	fails(ENOENT, s->d->replace(s->h, id_of(2), id_of(9), &ok_err));
	fails(ENOENT, s->d->replace(s->h, id_of(9), id_of(2), &ok_err));
	if (s->caps & IMGD_CAP_RW) {
		layer_create_rw(s, id_of(4), id_of(1));
		refused(s->d->replace(s->h, id_of(2), id_of(4), &ok_err));
	}
	expect_text(s, 2, "two");
	expect(is_listed_as(s, id_of(3), IMGD_STATE_STAGED));
}

/* ---- damage ---- */

#define MAX_FILES 24

static struct {
	char *paths[MAX_FILES];
	unsigned int n;
} found;

static int
note_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	if (flag != FTW_F && flag != FTW_SL && flag != FTW_SLN)
		return 0;
	if (found.n < MAX_FILES)
		found.paths[found.n++] = strdup(path);
	return 0;
}

static int
ignore_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	(void)ctx;
	(void)id;
	(void)parent;
	(void)state;
	return 0;
}

static void
ignore_problem(void *ctx, const char *id, const char *text, int repaired)
{
	(void)ctx;
	(void)id;
	(void)text;
	(void)repaired;
}

/* Any answer will do, but there must be one, with a reason if it is bad. */
#define answers(call)                                                        \
	do {                                                                 \
		struct imgd_error *ok_err = NULL;                            \
		int a_r = (call);                                            \
		if ((a_r < 0) != (ok_err != NULL))                           \
			fail("%s: %d, and %s", #call, a_r,                   \
			    ok_err != NULL ? imgd_error_msg(ok_err)          \
					   : "no error is set");             \
		imgd_error_free(ok_err);                                     \
	} while (0)

static void
use_damaged(struct store *s)
{
	unsigned int i;

	answers(s->d->open(&s->env, &s->h, &ok_err));
	if (s->h == NULL)
		_exit(0);
	for (i = 1; i <= 4; i++) {
		char *path = NULL;

		answers(s->d->exists(s->h, id_of(i), &ok_err));
		answers(s->d->get(s->h, id_of(i), IMGD_GET_TREE, &path,
		    &ok_err));
		if (path != NULL)
			answers(s->d->put(s->h, id_of(i), IMGD_GET_TREE,
			    &ok_err));
		free(path);
	}
	if (s->d->list != NULL)
		answers(s->d->list(s->h, ignore_layer, NULL, &ok_err));
	if (s->d->check != NULL) {
		answers(s->d->check(s->h, IMGD_CHECK_DEEP, ignore_problem,
		    NULL, &ok_err));
		answers(s->d->check(s->h, IMGD_CHECK_REPAIR, ignore_problem,
		    NULL, &ok_err));
	}
	answers(s->d->create(s->h, id_of(8), id_of(2), NULL, &ok_err));
	answers(s->d->remove(s->h, id_of(8), &ok_err));
	for (i = 4; i >= 3; i--)
		answers(s->d->remove(s->h, id_of(i), &ok_err));
	if (s->d->cleanup != NULL)
		answers((s->d->cleanup)(s->h, &ok_err));
	s->d->close(s->h);
	_exit(0);
}

/* So that nothing is left of what only the driver can remove. */
static void
remove_what_goes(struct store *s)
{
	unsigned int i;

	answers(s->d->open(&s->env, &s->h, &ok_err));
	for (i = 8; s->h != NULL && i > 0; i--)
		answers(s->d->remove(s->h, id_of(i), &ok_err));
	if (s->h == NULL)
		return;
	if (s->d->cleanup != NULL)
		answers((s->d->cleanup)(s->h, &ok_err));
	store_close(s);
}

static void
damage(const char *path, unsigned int how)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return;
	if (how % 2 == 0 || !S_ISREG(st.st_mode)) {
		(void)unlink(path);
	} else {
		(void)!truncate(path, st.st_size / 2);
	}
}

static void
damage_is_answered_with_errors(struct store *s)
{
	unsigned int i;

	make_all(s);
	store_end(s);
	s->is_damaged = true;
	(void)nftw(s->home, note_file, 32, FTW_PHYS | FTW_MOUNT);
	for (i = 0; i < found.n; i++) {
		int status;
		pid_t pid;

		damage(found.paths[i], i);
		pid = fork();
		if (pid == 0) {
			(void)alarm(120);
			use_damaged(s);
		}
		expect(pid > 0);
		expect_int(waitpid(pid, &status, 0), pid);
		if (WIFSIGNALED(status))
			fail("%s: damaged, and the driver ends by signal %d",
			    found.paths[i] + strlen(s->home),
			    WTERMSIG(status));
		expect_int(WEXITSTATUS(status), 0);
		free(found.paths[i]);
	}
	remove_what_goes(s);
}

const struct suite_case repair_cases[] = {
	CASE(check_finds_nothing_in_a_sound_store, 0, NEED_CHECK),
	CASE(check_works_while_layers_are_in_use, IMGD_CAP_LIVE_CHECK,
	    NEED_CHECK),
	CASE(foreign_files_do_no_harm, 0, 0),
	CASE(replace_exchanges_contents, 0, NEED_REPLACE),
	CASE(replace_takes_sealed_layers_alone, 0, NEED_REPLACE | NEED_SEAL),
	CASE(damage_is_answered_with_errors, 0, 0),
	CASES_END,
};
