/* Processes that end in the middle: at their n-th system call, or with a
 * layer in use. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* Layers 1 and 2 are there before and must be there after; 3 and 4 are what
 * an operation works on. */
static void
make_layer(struct store *s, unsigned int n, const char *parent,
    const char *text)
{
	struct strbuf tar = STRBUF_INIT;

	tar_dir(&tar, "d/");
	tar_file(&tar, "d/file", text);
	tar_file(&tar, "other", "x");
	tar_end(&tar);
	layer_from_tar(s, id_of(n), parent, &tar);
	strbuf_done(&tar);
}

static void
prepare(struct store *s)
{
	make_layer(s, 1, NULL, "one");
	make_layer(s, 2, id_of(1), "two");
	store_flush(s);
}

static void
expect_text(struct store *s, unsigned int n, const char *text)
{
	int fd = layer_look(s, id_of(n));

	expect_str(get_text(fd, "d/file"), text);
	expect_int(count_entries(fd), 2);
	layer_looked(s, id_of(n), fd);
}

/* An operation: what must be there before, the calls to be killed in, and
 * what must hold after. */
struct operation {
	const char *name;
	void (*before)(struct store *s);
	void (*run)(struct store *s);
	void (*after)(struct store *s);
};

static void
child(struct store *s, const struct operation *op)
{
	store_open(s, 0);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(99);
	(void)raise(SIGSTOP);
	op->run(s);
	_exit(0);
}

/* Let a child run op and kill it at its n-th system call; 0: at none.
 * Returns how many there were. */
static unsigned int
run_killed(struct store *s, const struct operation *op, unsigned int n)
{
	unsigned int seen = 0;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		child(s, op);
	expect(pid > 0);
	expect_int(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status))
		fail("%s: the process ended before its operation: %#x",
		    op->name, (unsigned int)status);
	(void)ptrace(PTRACE_SETOPTIONS, pid, NULL,
	    (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	for (;;) {
		int sig = 0;

		if (WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			/* Each call stops twice. */
			if (++seen == 2 * n - 1 && n > 0)
				break;
		} else if (WIFSTOPPED(status) && WSTOPSIG(status) != SIGSTOP &&
		    WSTOPSIG(status) != SIGTRAP) {
			sig = WSTOPSIG(status);
		}
		if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)sig) <
		    0)
			break;
		expect_int(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			expect_int(WEXITSTATUS(status), 0);
			return seen / 2;
		}
		if (WIFSIGNALED(status))
			fail("%s: killed by signal %d", op->name,
			    WTERMSIG(status));
	}
	sys(kill(pid, SIGKILL));
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		;
	return n;
}

/* Everything is as it was, and the id can be removed and used again. */
static void
expect_sound(struct store *s, const char *name, unsigned int n)
{
	int told = 0;

	expect_text(s, 1, "one");
	expect_text(s, 2, "two");
	if (check_store(s, 0, &told) != 0 || told != 0)
		fail("%s: killed at call %u: check finds problems", name, n);
}

static void
remove_3_and_4(struct store *s)
{
	layer_remove(s, id_of(4));
	layer_remove(s, id_of(3));
	expect(!layer_exists(s, id_of(3)));
	expect_listed(s, 2);
}

/* Kill op at call n (0: let it end), and see what a new process finds. */
static unsigned int
one_round(struct store *s, const struct operation *op, unsigned int n)
{
	unsigned int n_calls;

	if (op->before != NULL)
		op->before(s);
	store_end(s);
	n_calls = run_killed(s, op, n);
	store_open(s, 0);
	expect_sound(s, op->name, n);
	if (op->after != NULL)
		op->after(s);
	remove_3_and_4(s);
	expect_sound(s, op->name, n);
	return n_calls;
}

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What an operation may take, in seconds, and the fewest rounds. */
#define BUDGET_S   8
#define MIN_ROUNDS 8

/* At every call if there is time; else at each of the last ones, where things
 * become valid, and here and there before. */
static void
kill_everywhere(struct store *s, const struct operation *op)
{
	unsigned int n, n_calls, n_rounds, step;
	double begin;

	prepare(s);
	begin = now();
	n_calls = one_round(s, op, 0);
	n_rounds = (unsigned int)(BUDGET_S / (now() - begin + 0.001));
	if (n_rounds < MIN_ROUNDS)
		n_rounds = MIN_ROUNDS;
	step = n_calls > n_rounds ? 2 * n_calls / n_rounds : 1;
	for (n = 1; n <= n_calls; n += n + n_rounds / 2 < n_calls ? step : 1)
		(void)one_round(s, op, n);
	make_layer(s, 3, id_of(2), "three");
	expect_text(s, 3, "three");
}

/* A half layer is not there, or it can be told that it is none. */
static void
expect_staged_or_whole(struct store *s)
{
	if (!layer_exists(s, id_of(3)) || s->d->list == NULL)
		return;
	if ((listed_state(s, id_of(3)) & IMGD_STATE_MASK) !=
	    IMGD_STATE_STAGED)
		expect_text(s, 3, "two");
}

static void
do_create(struct store *s)
{
	layer_create(s, id_of(3), id_of(2));
}

static void
do_create_base(struct store *s)
{
	layer_create(s, id_of(3), NULL);
}

static void
do_create_rw(struct store *s)
{
	layer_create_rw(s, id_of(3), id_of(2));
}

static void
stage_3(struct store *s)
{
	layer_create(s, id_of(3), id_of(2));
}

static void
do_seal(struct store *s)
{
	layer_seal(s, id_of(3));
}

static void
make_3(struct store *s)
{
	make_layer(s, 3, id_of(2), "three");
}

static void
do_remove(struct store *s)
{
	layer_remove(s, id_of(3));
}

static void
expect_gone_or_whole(struct store *s)
{
	if (layer_exists(s, id_of(3)))
		expect_text(s, 3, "three");
}

static void
do_look(struct store *s)
{
	free(layer_get(s, id_of(3), IMGD_GET_TREE));
	layer_put(s, id_of(3), IMGD_GET_TREE);
}

static void
expect_three(struct store *s)
{
	expect_text(s, 3, "three");
}

static void
do_flush(struct store *s)
{
	store_flush(s);
}

static void
do_cleanup(struct store *s)
{
	free(layer_get(s, id_of(3), IMGD_GET_TREE));
	store_cleanup(s);
}

static void
make_3_and_4(struct store *s)
{
	make_layer(s, 3, id_of(2), "old");
	make_layer(s, 4, id_of(2), "new");
}

static void
do_replace(struct store *s)
{
	ok(s->d->replace(s->h, id_of(3), id_of(4), &ok_err));
}

/* Exchanged or not, but nothing in between. */
static void
expect_old_and_new(struct store *s)
{
	int fd = layer_look(s, id_of(3));
	bool is_done = strcmp(get_text(fd, "d/file"), "new") == 0;

	layer_looked(s, id_of(3), fd);
	expect_text(s, 3, is_done ? "new" : "old");
	expect_text(s, 4, is_done ? "old" : "new");
}

#define KILLED(name, before, run, after)                                     \
	static void name(struct store *s)                                    \
	{                                                                    \
		static const struct operation op = { #name, before, run,     \
			after };                                             \
		kill_everywhere(s, &op);                                     \
	}

KILLED(killed_in_create, NULL, do_create, expect_staged_or_whole)
KILLED(killed_in_create_of_a_base, NULL, do_create_base, NULL)
KILLED(killed_in_create_rw, NULL, do_create_rw, expect_staged_or_whole)
KILLED(killed_in_seal, stage_3, do_seal, expect_staged_or_whole)
KILLED(killed_in_remove, make_3, do_remove, expect_gone_or_whole)
KILLED(killed_in_remove_of_a_staged_layer, stage_3, do_remove, NULL)
KILLED(killed_in_get_and_put, make_3, do_look, expect_three)
KILLED(killed_in_flush, make_3, do_flush, expect_three)
KILLED(killed_in_cleanup, make_3, do_cleanup, expect_three)
KILLED(killed_in_replace, make_3_and_4, do_replace, expect_old_and_new)

/* A process ends with layers in use; the next one takes them over. */
static void
live_mounts_are_adopted(struct store *s)
{
	unsigned int i, n = s->caps & IMGD_CAP_RW ? 4 : 3;
	char *paths[5] = { NULL };
	int to_child[2], status;
	pid_t pid;
	char c;

	prepare(s);
	make_layer(s, 3, id_of(2), "three");
	if (n == 4)
		layer_create_rw(s, id_of(4), id_of(2));
	store_end(s);
	sys(pipe(to_child));
	pid = fork();
	if (pid == 0) {
		store_open(s, 0);
		for (i = 1; i <= n; i++)
			free(layer_get(s, id_of(i), IMGD_GET_TREE));
		(void)!write(to_child[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	expect(pid > 0);
	(void)close(to_child[1]);
	expect_int(read(to_child[0], &c, 1), 1);
	(void)close(to_child[0]);
	sys(kill(pid, SIGKILL));
	expect_int(waitpid(pid, &status, 0), pid);
	store_open(s, 0);
	expect_listed(s, (int)n);
	for (i = 1; i <= n; i++)
		paths[i] = layer_get(s, id_of(i), IMGD_GET_TREE);
	for (i = 1; i <= n; i++) {
		char *again = layer_get(s, id_of(i), IMGD_GET_TREE);

		expect_str(again, paths[i]);
		free(again);
	}
	for (i = 1; i <= n; i++) {
		int fd = open_dir(paths[i]);

		expect_str(get_text(fd, "d/file"), i == 1 ? "one"
			: i == 3			  ? "three"
							  : "two");
		(void)close(fd);
		free(paths[i]);
		layer_put(s, id_of(i), IMGD_GET_TREE);
	}
	for (i = n; i > 2; i--)
		layer_remove(s, id_of(i));
	expect_sound(s, "adoption", 0);
}

const struct suite_case crash_cases[] = {
	CASE(killed_in_create, 0, 0),
	CASE(killed_in_create_of_a_base, 0, 0),
	CASE(killed_in_create_rw, IMGD_CAP_RW, 0),
	CASE(killed_in_seal, 0, NEED_SEAL),
	CASE(killed_in_remove, 0, 0),
	CASE(killed_in_remove_of_a_staged_layer, 0, 0),
	CASE(killed_in_get_and_put, 0, 0),
	CASE(killed_in_flush, 0, 0),
	CASE(killed_in_cleanup, 0, 0),
	CASE(killed_in_replace, 0, NEED_REPLACE),
	CASE(live_mounts_are_adopted, 0, 0),
	CASES_END,
};
