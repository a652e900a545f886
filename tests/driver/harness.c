#include "config.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fs-at.h"
#include "tests/driver/harness.h"

int harness_cancelled;
int harness_warnings;
const struct imgd_option *harness_options;
uint32_t harness_n_options;

static struct store store;

int
harness_sys(int r, const char *call, const char *file, int line)
{
	if (r < 0) {
		print_error("%s:%d: %s: %s\n", file, line, call,
		    strerror(errno));
		_fail(file, line);
	}
	return r;
}

void
harness_start(void)
{
	(void)umask(022);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
		(void)puts("1..0 # SKIP needs root and mounts");
		exit(0);
	}
}

static void
log_line(int level, const char *fmt, ...)
{
	va_list ap;

	if (level != IMGD_LOG_WARN)
		return;
	harness_warnings++;
	va_start(ap, fmt);
	(void)fputs("# warning: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputs("\n", stderr);
	va_end(ap);
}

static int
is_cancelled(void)
{
	return harness_cancelled;
}

static const struct imgd_driver *
load_driver(void)
{
	const char *builddir = getenv("builddir");
	imgd_driver_init_fn *init;
	char path[512];
	void *dl;

	(void)snprintf(path, sizeof(path),
	    "%s/drivers/%s/.libs/imgd-%s-driver.so",
	    builddir != NULL ? builddir : ".", harness_driver,
	    harness_driver);
	dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (dl == NULL)
		fail_msg("%s", dlerror());
	*(void **)&init = dlsym(dl, IMGD_DRIVER_INIT_SYMBOL);
	assert_non_null(init);
	return init();
}

static int
count_fds(void)
{
	int fd = sys(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
	int n = count_entries(fd);

	(void)close(fd);
	return n;
}

static int
count_mounts(const char *below)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192];
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, below) != NULL;
	(void)fclose(f);
	return n;
}

static void
open_driver(struct store *s, uint32_t flags)
{
	s->env.struct_size = sizeof(s->env);
	s->env.flags = flags;
	s->env.home = s->home;
	s->env.run_dir = s->dir;
	s->env.log = log_line;
	s->env.cancelled = is_cancelled;
	s->env.options = harness_options;
	s->env.n_options = harness_n_options;
	ok(s->d->open(&s->env, &s->h, &ok_err));
}

int
store_setup(void **state)
{
	const char *below = getenv("IMGD_TEST_STORES");
	struct store *s = &store;

	*s = (struct store){ .d = load_driver() };
	s->n_fds = count_fds();
	harness_cancelled = 0;
	if (below == NULL)
		below = getenv("builddir");
	(void)snprintf(s->dir, sizeof(s->dir), "%s/test-store-XXXXXX",
	    below != NULL ? below : ".");
	assert_non_null(mkdtemp(s->dir));
	assert_true(asprintf(&s->home, "%s/home", s->dir) > 0);
	sys(mkdir(s->home, 0700));
	s->env.home_fd = sys(open(s->home,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	ok(s->d->probe(&s->env, &ok_err));
	assert_int_equal(count_entries(s->env.home_fd), 0);
	open_driver(s, 0);
	*state = s;
	return 0;
}

void
store_reopen(struct store *s, uint32_t flags)
{
	s->d->close(s->h);
	open_driver(s, flags);
}

int
store_teardown(void **state)
{
	struct store *s = *state;
	int told;

	harness_cancelled = 0;
	if (s->d->cleanup != NULL)
		ok(s->d->cleanup(s->h, &ok_err));
	if (!s->is_damaged)
		assert_int_equal(check_store(s, IMGD_CHECK_DEEP, &told), 0);
	s->d->close(s->h);
	(void)close(s->env.home_fd);
	free(s->home);
	assert_int_equal(count_mounts(s->dir), 0);
	ok(fs_remove_tree(AT_FDCWD, s->dir, &ok_err));
	assert_int_equal(count_fds(), s->n_fds);
	return 0;
}

const char *
id_of(unsigned int n)
{
	static char ids[8][ID_SIZE];
	static unsigned int next;
	char *id = ids[next++ % 8];

	/* Scrambled, so that the order of names says nothing. */
	(void)snprintf(id, ID_SIZE, "%08x%056x", n * 2654435761u, n);
	return id;
}

void
layer_create(struct store *s, const char *id, const char *parent)
{
	ok(s->d->create(s->h, id, parent, NULL, &ok_err));
}

static int
open_path(char *path)
{
	int fd = sys(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	free(path);
	return fd;
}

int
layer_fill(struct store *s, const char *id)
{
	uint32_t whiteouts;
	char *path;

	if (s->d->own_dir == NULL)
		return layer_look(s, id);
	ok(s->d->own_dir(s->h, id, &path, &whiteouts, &ok_err));
	s->whiteouts = whiteouts;
	return open_path(path);
}

void
layer_filled(struct store *s, const char *id, int fd)
{
	if (s->d->own_dir == NULL)
		layer_looked(s, id, fd);
	else
		(void)close(fd);
}

void
layer_seal(struct store *s, const char *id)
{
	ok(s->d->seal(s->h, id, &ok_err));
}

int
layer_look(struct store *s, const char *id)
{
	char *path;

	ok(s->d->get(s->h, id, IMGD_GET_TREE, &path, &ok_err));
	assert_int_equal(path[0], '/');
	return open_path(path);
}

void
layer_looked(struct store *s, const char *id, int fd)
{
	(void)close(fd);
	ok(s->d->put(s->h, id, IMGD_GET_TREE, &ok_err));
}

void
hide(struct store *s, int fd, const char *name)
{
	char marker[300];

	(void)snprintf(marker, sizeof(marker), ".wh.%s", name);
	if (s->d->own_dir == NULL)
		ok(fs_remove_tree(fd, name, &ok_err));
	else if (s->whiteouts == IMGD_WH_AUFS)
		sys(mknodat(fd, marker, S_IFREG | 0444, 0));
	else
		sys(mknodat(fd, name, S_IFCHR, 0));
}

void
put_file(int fd, const char *name, const char *text)
{
	int f = sys(openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
	    0644));

	assert_int_equal(write(f, text, strlen(text)), strlen(text));
	(void)close(f);
}

const char *
get_text(int fd, const char *name)
{
	static char buf[4096];
	int f = openat(fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (f < 0)
		return NULL;
	n = read(f, buf, sizeof(buf) - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
	(void)close(f);
	return buf;
}

int
count_entries(int fd)
{
	DIR *d = fdopendir(sys(openat(fd, ".", O_RDONLY | O_DIRECTORY)));
	struct dirent *de;
	int n = 0;

	assert_non_null(d);
	while ((de = readdir(d)) != NULL)
		n += strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0;
	(void)closedir(d);
	return n;
}

struct listing {
	const char *id; /* looked for, or NULL */
	uint32_t state;
	int n;
	char (*seen)[ID_SIZE]; /* ids listed so far */
};

static int
note_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct listing *l = ctx;
	int i;

	for (i = 0; parent != NULL && i < l->n; i++)
		if (strcmp(l->seen[i], parent) == 0)
			print_error("%s is listed after its parent\n", id);
	for (i = 0; parent != NULL && i < l->n; i++)
		assert_string_not_equal(l->seen[i], parent);
	l->seen = realloc(l->seen, ((size_t)l->n + 1) * sizeof(*l->seen));
	assert_non_null(l->seen);
	memcpy(l->seen[l->n++], id, ID_SIZE);
	if (l->id != NULL && strcmp(l->id, id) == 0)
		l->state = state;
	return 0;
}

uint32_t
listed_state(struct store *s, const char *id)
{
	struct listing l = { .id = id };

	ok(s->d->list(s->h, note_layer, &l, &ok_err));
	free(l.seen);
	return l.state;
}

int
listed_count(struct store *s)
{
	struct listing l = { .id = NULL };

	ok(s->d->list(s->h, note_layer, &l, &ok_err));
	free(l.seen);
	return l.n;
}

static void
note_problem(void *ctx, const char *id, const char *text, int repaired)
{
	(void)id;
	(void)repaired;
	assert_true(strlen(text) > 0);
	(*(int *)ctx)++;
}

int
check_store(struct store *s, uint32_t flags, int *ret_told)
{
	struct imgd_error *err = NULL;
	int r;

	*ret_told = 0;
	r = s->d->check(s->h, flags, note_problem, ret_told, &err);
	if (r < 0)
		fail_msg("check: %s", imgd_error_msg(err));
	return r;
}
