/* Running the cases: each in a process of its own, then a look for leaks. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

/* A case that takes longer hangs: an emulated kernel on a busy machine needs
 * a twentieth of this. */
#define CASE_TIMEOUT_S 600
/* And one that takes this long is worth a line. */
#define SLOW_S 5

const struct driver_suite_params *suite;

static const struct suite_case *const groups[] = { life_cases, state_cases,
	content_cases, whiteout_cases, archive_cases, changes_cases, rw_cases,
	thread_cases, crash_cases, mount_cases, space_cases, block_cases,
	repair_cases, native_cases, NULL };

/* What the first process learned of the driver; shared. */
static struct facts {
	uint32_t caps;
	int probe_result;
	char probe_text[512];
} *facts;

static char scratch[300];

/* ---- what applies ---- */

static uint32_t
needs_met(const struct imgd_driver *d)
{
	const struct {
		bool is_met;
		uint32_t need;
	} needs[] = {
		{ d->seal != NULL, NEED_SEAL },
		{ d->list != NULL, NEED_LIST },
		{ d->replace != NULL, NEED_REPLACE },
		{ d->check != NULL, NEED_CHECK },
		{ d->own_dir != NULL, NEED_OWN_DIR },
		{ d->own_dir == NULL, NEED_TREES },
		{ d->status != NULL, NEED_STATUS },
		{ d->metadata != NULL, NEED_METADATA },
		{ d->diff != NULL, NEED_DIFF },
		{ d->changes != NULL, NEED_CHANGES },
		{ d->diff_size != NULL, NEED_SIZE },
		{ d->apply_diff != NULL, NEED_APPLY },
		{ d->options_help != NULL, NEED_OPTIONS },
		{ d->apply_diff == NULL, NEED_UNPACKED },
	};
	uint32_t met = 0;
	size_t i;

	for (i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (needs[i].is_met)
			met |= needs[i].need;
	return met;
}

static bool
applies(const struct suite_case *c)
{
	return (c->caps & ~facts->caps) == 0 &&
	    (c->lacks & facts->caps) == 0 &&
	    (c->needs & ~needs_met(suite->driver)) == 0 &&
	    (suite->glob == NULL || fnmatch(suite->glob, c->name, 0) == 0);
}

/* ---- leaks ---- */

/* Device-mapper devices there are, as "name\n…". */
static char *
list_mapped(void)
{
	struct strbuf sb = STRBUF_INIT;
	DIR *d = opendir("/sys/block");
	struct dirent *de;

	strbuf_puts(&sb, "");
	while (d != NULL && (de = readdir(d)) != NULL) {
		cleanup_free char *name = NULL;
		char path[300];

		(void)snprintf(path, sizeof(path), "/sys/block/%s/dm/name",
		    de->d_name);
		if (fs_read_file(AT_FDCWD, path, 4096, &name, NULL, NULL) >= 0)
			strbuf_puts(&sb, name);
	}
	if (d != NULL)
		(void)closedir(d);
	return strbuf_take(&sb);
}

static int
find_loop(const char *dir, char *ret, size_t size)
{
	DIR *d = opendir("/sys/block");
	struct dirent *de;
	int found = 0;

	while (d != NULL && !found && (de = readdir(d)) != NULL) {
		cleanup_free char *file = NULL;
		char path[300];

		(void)snprintf(path, sizeof(path),
		    "/sys/block/%s/loop/backing_file", de->d_name);
		if (fs_read_file(AT_FDCWD, path, 4096, &file, NULL, NULL) < 0 ||
		    strstr(file, dir) == NULL)
			continue;
		(void)snprintf(ret, size, "%s", de->d_name);
		found = 1;
	}
	if (d != NULL)
		(void)closedir(d);
	return found;
}

/* Unmount what is below dir, deepest first.  Returns how many there were. */
static int
unmount_below(const char *dir)
{
	int n = 0;

	for (;;) {
		FILE *f = fopen("/proc/self/mountinfo", "re");
		char line[8192], path[4096], last[4096] = "";

		while (f != NULL && fgets(line, sizeof(line), f) != NULL)
			if (sscanf(line, "%*s %*s %*s %*s %4095s", path) == 1 &&
			    str_starts(path, dir))
				(void)snprintf(last, sizeof(last), "%s", path);
		if (f != NULL)
			(void)fclose(f);
		if (last[0] == '\0' || umount2(last, MNT_DETACH) < 0)
			return n;
		n++;
	}
}

/* Processes that a case left came to us.  Returns how many. */
static int
kill_orphans(void)
{
	char path[64], text[4096];
	cleanup_free char *list = NULL;
	char *at, *save = NULL;
	int n = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children",
	    (int)getpid());
	if (fs_read_file(AT_FDCWD, path, sizeof(text), &list, NULL, NULL) < 0)
		return 0;
	for (at = strtok_r(list, " \n", &save); at != NULL;
	    at = strtok_r(NULL, " \n", &save)) {
		pid_t pid = (pid_t)atoi(at);

		/* One that has ended already was only not waited for. */
		if (waitpid(pid, NULL, WNOHANG) != 0)
			continue;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		n++;
	}
	return n;
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* What is left after a case, as one line for each; "" if all is well. */
static void
find_leaks(const char *dir, const char *mapped_before, struct strbuf *ret)
{
	cleanup_free char *mapped = NULL;
	char loop[300];
	int n;

	strbuf_puts(ret, "");
	n = kill_orphans();
	if (n > 0)
		strbuf_printf(ret, "%d processes are left\n", n);
	n = unmount_below(dir);
	if (n > 0)
		strbuf_printf(ret, "%d mounts are left\n", n);
	mapped = list_mapped();
	if (mapped != NULL && strcmp(mapped, mapped_before) != 0)
		strbuf_printf(ret, "mapped devices are left: %s", mapped);
	if (find_loop(dir, loop, sizeof(loop)))
		strbuf_printf(ret, "a loop device is left: %s\n", loop);
	/* The first goes deeper, the second into subvolumes. */
	if (fs_remove_tree(AT_FDCWD, dir, NULL) < 0 &&
	    nftw(dir, remove_one, 64, FTW_DEPTH | FTW_PHYS) < 0)
		strbuf_printf(ret, "%s cannot be removed: %s\n", dir,
		    strerror(errno));
}

/* ---- one case ---- */

static int
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		(void)closedir(d);
	return n;
}

static void __attribute__((noreturn))
run_child(const struct suite_case *c, const char *dir)
{
	int n_fds = count_fds();
	struct store s;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)umask(022);
	store_init(&s, suite->driver, dir);
	store_probe_and_open(&s);
	c->run(&s);
	store_finish(&s);
	if (count_fds() != n_fds)
		fail("%d descriptors are left open", count_fds() - n_fds);
	_exit(0);
}

static void __attribute__((noreturn))
learn_facts(const struct suite_case *c, const char *dir)
{
	struct imgd_error *err = NULL;
	struct store s;
	int r;

	(void)c;
	store_init(&s, suite->driver, dir);
	r = s.d->probe(&s.env, &err);
	if (r >= 0)
		r = s.d->open(&s.env, &s.h, &err);
	facts->probe_result = r;
	if (r < 0) {
		(void)snprintf(facts->probe_text, sizeof(facts->probe_text),
		    "%s", err != NULL ? imgd_error_msg(err)
				      : "failed without a word");
		_exit(0);
	}
	store_close(&s);
	store_open(&s, 0);
	facts->caps = s.caps;
	store_end(&s);
	_exit(0);
}

/* Wait; -1: it hung and was killed. */
static int
wait_child(pid_t pid)
{
	const struct timespec pause = { 0, 2000000 };
	time_t end = time(NULL) + CASE_TIMEOUT_S;
	int status;

	for (;;) {
		pid_t r = waitpid(pid, &status, WNOHANG);

		if (r == pid)
			return status;
		if (time(NULL) > end) {
			(void)kill(-pid, SIGKILL);
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
			return -1;
		}
		(void)nanosleep(&pause, NULL);
	}
}

static void
describe_end(int status, struct strbuf *ret)
{
	if (status == -1)
		strbuf_printf(ret, "still runs after %d seconds\n",
		    CASE_TIMEOUT_S);
	else if (WIFSIGNALED(status))
		strbuf_printf(ret, "killed by signal %d (%s)\n",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0 && case_diagnostic()[0] == '\0')
		strbuf_printf(ret, "exit %d\n", WEXITSTATUS(status));
}

/* Run in a fresh directory; false and why if it failed. */
static bool
run_forked(const struct suite_case *c,
    void (*run)(const struct suite_case *, const char *), struct strbuf *why)
{
	cleanup_free char *mapped = list_mapped();
	char dir[400];
	int status;
	pid_t pid;

	(void)snprintf(dir, sizeof(dir), "%s/%s", scratch, c->name);
	case_diagnostic_clear();
	if (mkdir(dir, 0755) < 0 || fflush(stdout) != 0 || mapped == NULL) {
		strbuf_printf(why, "%s: %s\n", dir, strerror(errno));
		return false;
	}
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		run(c, dir);
	}
	status = pid < 0 ? -1 : wait_child(pid);
	find_leaks(dir, mapped, why);
	strbuf_puts(why, case_diagnostic());
	describe_end(status, why);
	return status == 0 && why->len == 0;
}

static void
print_lines(const char *text)
{
	cleanup_free char *copy = strdup(text);
	char *line, *save = NULL;

	for (line = copy != NULL ? strtok_r(copy, "\n", &save) : NULL;
	    line != NULL; line = strtok_r(NULL, "\n", &save))
		(void)printf("# %s\n", line);
}

/* ---- all of them ---- */

static int
set_up(void)
{
	const char *root = suite->root != NULL ? suite->root : "/var/tmp";
	char *real = realpath(root, NULL);

	facts = mmap(NULL, sizeof(*facts), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (real == NULL || facts == MAP_FAILED || case_diagnostic_init() < 0 ||
	    snprintf(scratch, sizeof(scratch), "%s/imgd-suite-XXXXXX", real) >=
		(int)sizeof(scratch) ||
	    mkdtemp(scratch) == NULL ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		(void)printf("Bail out! %s: %s\n", root, strerror(errno));
		free(real);
		return -1;
	}
	free(real);
	return 0;
}

/* What the driver can do here; -1 after "Bail out!". */
static int
ask_driver(void)
{
	const struct suite_case c = { .name = "probe" };
	cleanup_free char *text = NULL;
	struct strbuf why = STRBUF_INIT;
	bool is_fine = run_forked(&c, learn_facts, &why);

	text = strbuf_take(&why);
	if (is_fine && facts->probe_result >= 0)
		return 0;
	if (text != NULL && text[strcspn(text, "\n")] == '\n')
		text[strcspn(text, "\n")] = '\0';
	(void)printf("Bail out! driver %s: %s\n", suite->driver->name,
	    facts->probe_result < 0 ? facts->probe_text
		: text != NULL	    ? text
				    : "out of memory");
	return -1;
}

static int
run_all(void)
{
	const struct suite_case *const *g, *c;
	int n = 0, n_failed = 0;

	for (g = groups; *g != NULL; g++) {
		for (c = *g; c->name != NULL; c++) {
			cleanup_free char *text = NULL;
			struct strbuf why = STRBUF_INIT;
			time_t begin = time(NULL);
			bool is_ok;

			if (!applies(c))
				continue;
			n++;
			if (suite->is_list) {
				(void)puts(c->name);
				continue;
			}
			is_ok = run_forked(c, run_child, &why);
			text = strbuf_take(&why);
			(void)printf("%s %d - %s\n", is_ok ? "ok" : "not ok", n,
			    c->name);
			if (time(NULL) - begin >= SLOW_S)
				(void)printf("# that took %ld seconds\n",
				    (long)(time(NULL) - begin));
			n_failed += !is_ok;
			if (!is_ok)
				print_lines(text != NULL ? text
							 : "out of memory");
			(void)fflush(stdout);
		}
	}
	if (!suite->is_list)
		(void)printf("1..%d\n", n);
	return n_failed > 0 || n == 0;
}

extern driver_suite_main_fn imgd_driver_suite_main IMGD_EXPORT;

int
imgd_driver_suite_main(const struct driver_suite_params *params)
{
	int status = 1;

	suite = params;
	if (set_up() < 0)
		return 1;
	if (ask_driver() == 0)
		status = run_all();
	(void)unmount_below(scratch);
	(void)nftw(scratch, remove_one, 64, FTW_DEPTH | FTW_PHYS);
	return status;
}
