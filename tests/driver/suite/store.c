/* Stores and layers: the driver called as the core calls it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fs-at.h"
#include "lib/log.h"
#include "tests/driver/suite/suite.h"

int store_cancelled;

static char last_problem[256];

static void IMGD_PRINTF(2, 3)
log_line(int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (level == IMGD_LOG_WARN)
		(void)fprintf(stderr, "# warning: %s\n", text);
	else
		log_debug("driver", "%s", text);
}

static int
is_cancelled(void)
{
	return store_cancelled;
}

static void
join(char *buf, size_t size, const char *dir, const char *name)
{
	if ((size_t)snprintf(buf, size, "%s/%s", dir, name) >= size)
		fail("%s: too long a path", dir);
}

void
store_init(struct store *s, const struct imgd_driver *d, const char *dir)
{
	*s = (struct store) { .d = d, .threads = d->threads, .caps = d->caps,
		.max_depth = d->max_depth };
	(void)snprintf(s->dir, sizeof(s->dir), "%s", dir);
	join(s->home, sizeof(s->home), s->dir, "home");
	join(s->run, sizeof(s->run), s->dir, "run");
	sys(mkdir(s->home, 0700));
	sys(mkdir(s->run, 0700));
	s->env = (struct imgd_env) {
		.struct_size = sizeof(s->env),
		.home_fd = open_dir(s->home),
		.home = s->home,
		.run_dir = s->run,
		.log = log_line,
		.cancelled = is_cancelled,
	};
	if (d == suite->driver) {
		s->env.options = suite->options;
		s->env.n_options = suite->n_options;
	}
}

void
store_open(struct store *s, uint32_t flags)
{
	s->env.flags = flags;
	ok(s->d->open(&s->env, &s->h, &ok_err));
	s->threads = s->d->threads;
	s->caps = s->d->caps;
	s->max_depth = s->d->max_depth;
	if (s->d->narrow != NULL)
		ok(s->d->narrow(s->h, &s->threads, &s->caps, &s->max_depth,
		    &ok_err));
}

void
store_probe_and_open(struct store *s)
{
	ok(s->d->probe(&s->env, &ok_err));
	store_open(s, 0);
}

void
store_close(struct store *s)
{
	s->d->close(s->h);
	s->h = NULL;
}

void
store_cleanup(struct store *s)
{
	if (s->d->cleanup != NULL)
		ok((s->d->cleanup)(s->h, &ok_err));
}

void
store_end(struct store *s)
{
	store_cleanup(s);
	store_close(s);
}

void
store_reopen(struct store *s, uint32_t flags)
{
	store_close(s);
	store_open(s, flags);
}

void
store_finish(struct store *s)
{
	store_cancelled = 0;
	if (s->h != NULL) {
		store_cleanup(s);
		if (!s->is_damaged &&
		    check_store(s, IMGD_CHECK_DEEP, NULL) != 0)
			fail("check finds problems at the end: %s",
			    last_problem);
		/* In any state a layer can be removed. */
		if (!s->is_damaged && s->d->list != NULL) {
			store_remove_all(s, 0);
			store_cleanup(s);
		}
		store_close(s);
	}
	(void)close(s->env.home_fd);
}

void
store_reference(struct store *s, struct store *ret)
{
	char dir[420];

	if (suite->reference == NULL)
		fail("the reference driver, vfs, is not installed");
	join(dir, sizeof(dir), s->dir, "reference");
	sys(mkdir(dir, 0700));
	store_init(ret, suite->reference, dir);
	store_probe_and_open(ret);
}

const char *
id_of(unsigned int n)
{
	static __thread char ids[16][ID_SIZE];
	static __thread unsigned int next;
	char *id = ids[next++ % 16];

	/* Scrambled, so that the order of names says nothing. */
	(void)snprintf(id, ID_SIZE, "%08x%056x", n * 2654435761u, n);
	return id;
}

/* ---- layers ---- */

void
layer_create(struct store *s, const char *id, const char *parent)
{
	ok(s->d->create(s->h, id, parent, NULL, &ok_err));
}

void
layer_create_rw(struct store *s, const char *id, const char *parent)
{
	ok(s->d->create_rw(s->h, id, parent, NULL, &ok_err));
}

char *
layer_get(struct store *s, const char *id, uint32_t kind)
{
	char *path = NULL;

	ok(s->d->get(s->h, id, kind, &path, &ok_err));
	if (path == NULL || path[0] != '/')
		fail("get: \"%s\" is not an absolute path",
		    path != NULL ? path : "(null)");
	return path;
}

void
layer_put(struct store *s, const char *id, uint32_t kind)
{
	ok(s->d->put(s->h, id, kind, &ok_err));
}

int
layer_look(struct store *s, const char *id)
{
	char *path = layer_get(s, id, IMGD_GET_TREE);
	int fd = open_dir(path);

	free(path);
	return fd;
}

void
layer_looked(struct store *s, const char *id, int fd)
{
	(void)close(fd);
	layer_put(s, id, IMGD_GET_TREE);
}

int
layer_fill(struct store *s, const char *id)
{
	uint32_t whiteouts;
	char *path = NULL;
	int fd;

	if (s->d->own_dir == NULL)
		return layer_look(s, id);
	ok(s->d->own_dir(s->h, id, &path, &whiteouts, &ok_err));
	expect(whiteouts == IMGD_WH_OVERLAY || whiteouts == IMGD_WH_AUFS);
	fd = open_dir(path);
	free(path);
	return fd;
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
	if (s->d->seal != NULL)
		ok(s->d->seal(s->h, id, &ok_err));
}

void
layer_remove(struct store *s, const char *id)
{
	ok(s->d->remove(s->h, id, &ok_err));
}

bool
layer_exists(struct store *s, const char *id)
{
	struct imgd_error *err = NULL;
	int r = s->d->exists(s->h, id, &err);

	if (r < 0)
		fail("exists: %d: %s", r, imgd_error_msg(err));
	expect(r == 0 || r == 1);
	return r == 1;
}

void
store_flush(struct store *s)
{
	if (s->d->flush != NULL)
		ok(s->d->flush(s->h, &ok_err));
	else
		sys(syncfs(s->env.home_fd));
}

/* ---- lists and checks ---- */

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

	expect_int(strlen(id), ID_SIZE - 1);
	for (i = 0; i < l->n; i++) {
		if (strcmp(l->seen[i], id) == 0)
			fail("list: layer %.12s twice", id);
		if (parent != NULL && strcmp(l->seen[i], parent) == 0)
			fail("list: layer %.12s after its parent %.12s", id,
			    parent);
	}
	l->seen = realloc(l->seen, ((size_t)l->n + 1) * sizeof(*l->seen));
	expect(l->seen != NULL);
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

bool
is_listed_as(struct store *s, const char *id, uint32_t state)
{
	return s->d->list == NULL ||
	    (listed_state(s, id) & IMGD_STATE_MASK) == state;
}

void
expect_listed(struct store *s, int n)
{
	struct listing l = { .id = NULL };

	if (s->d->list == NULL)
		return;
	ok(s->d->list(s->h, note_layer, &l, &ok_err));
	free(l.seen);
	if (l.n != n)
		fail("list: %d layers, not %d", l.n, n);
}

static int
stop_at_first(void *ctx, const char *id, const char *parent, uint32_t state)
{
	(void)parent;
	(void)state;
	memcpy(ctx, id, ID_SIZE);
	return 1;
}

void
store_remove_all(struct store *s, unsigned int n)
{
	char id[ID_SIZE];
	int r, i;

	for (; s->d->list == NULL && n > 0; n--)
		layer_remove(s, id_of(n));
	for (i = 0; s->d->list != NULL; i++) {
		struct imgd_error *err = NULL;

		r = s->d->list(s->h, stop_at_first, id, &err);
		if (r < 0)
			fail("list: %d: %s", r, imgd_error_msg(err));
		if (r == 0)
			break;
		expect(i < 10000);
		layer_remove(s, id);
	}
}

static void
note_problem(void *ctx, const char *id, const char *text, int repaired)
{
	(void)repaired;
	if (text == NULL || *text == '\0' || strchr(text, '\n') != NULL)
		fail("check: a problem is not one line of text");
	(void)snprintf(last_problem, sizeof(last_problem), "%.12s: %s",
	    id != NULL ? id : "-", text);
	(*(int *)ctx)++;
}

int
check_store(struct store *s, uint32_t flags, int *ret_told)
{
	struct imgd_error *err = NULL;
	int r, told = 0;

	if (s->d->check == NULL)
		return 0;
	r = s->d->check(s->h, flags, note_problem, &told, &err);
	if (r < 0)
		fail("check: %d: %s", r, imgd_error_msg(err));
	if (ret_told != NULL)
		*ret_told = told;
	return r;
}
