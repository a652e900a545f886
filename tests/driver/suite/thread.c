/* Many threads, as the declared model allows. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

#define N_THREADS 8
#define N_ROUNDS  10

struct crew {
	struct store *s;
	pthread_mutex_t lock; /* held for each call of a serial driver */
	atomic_bool is_over;
};

struct worker {
	struct crew *crew;
	unsigned int first; /* its own ids begin here */
};

static void
enter(struct crew *c)
{
	if (c->s->threads == IMGD_THREADS_SERIAL)
		(void)pthread_mutex_lock(&c->lock);
}

static void
leave(struct crew *c)
{
	if (c->s->threads == IMGD_THREADS_SERIAL)
		(void)pthread_mutex_unlock(&c->lock);
}

/* A call as the core makes it. */
#define call(c, what)                                                        \
	do {                                                                 \
		enter(c);                                                    \
		what;                                                        \
		leave(c);                                                    \
	} while (0)

static void
one_life(struct crew *c, const char *id, const char *parent)
{
	struct store *s = c->s;
	char text[32];
	bool is_there_now;
	int fd;

	call(c, layer_create(s, id, parent));
	call(c, fd = layer_fill(s, id));
	(void)snprintf(text, sizeof(text), "%.16s", id);
	put_file(fd, "own", text);
	call(c, layer_filled(s, id, fd));
	call(c, layer_seal(s, id));
	call(c, fd = layer_look(s, id));
	expect(is_there(fd, "own") && is_there(fd, "parents"));
	call(c, layer_looked(s, id, fd));
	call(c, is_there_now = layer_exists(s, id));
	expect(is_there_now);
	call(c, layer_remove(s, id));
	call(c, is_there_now = layer_exists(s, id));
	expect(!is_there_now);
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < N_ROUNDS; i++)
		one_life(w->crew, id_of(w->first + i), id_of(1));
	return NULL;
}

/* Calls that mean no layer in particular. */
static void *
look_around(void *arg)
{
	struct crew *c = arg;

	while (!atomic_load(&c->is_over)) {
		call(c, store_flush(c->s));
		if (c->s->d->list != NULL) {
			uint32_t state;

			call(c, state = listed_state(c->s, id_of(1)));
			expect(state != 0);
		}
		(void)usleep(2000);
	}
	return NULL;
}

static void
make_parent(struct store *s)
{
	struct strbuf tar = STRBUF_INIT;

	tar_file(&tar, "parents", "x");
	tar_end(&tar);
	layer_from_tar(s, id_of(1), NULL, &tar);
	strbuf_done(&tar);
}

static void
start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	expect_int(pthread_create(t, NULL, fn, arg), 0);
}

static void
threads_work_on_different_layers(struct store *s)
{
	struct crew c = { .s = s, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct worker workers[N_THREADS];
	pthread_t threads[N_THREADS], watcher;
	unsigned int i;

	make_parent(s);
	start(&watcher, look_around, &c);
	for (i = 0; i < N_THREADS; i++) {
		workers[i] = (struct worker) { &c, 100 * (i + 1) };
		start(&threads[i], work, &workers[i]);
	}
	for (i = 0; i < N_THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	atomic_store(&c.is_over, true);
	(void)pthread_join(watcher, NULL);
	expect_listed(s, 1);
}

/* Only a driver that locks for itself is called like this. */
static void *
look_at_one(void *arg)
{
	struct crew *c = arg;
	unsigned int i;

	for (i = 0; i < 50; i++) {
		cleanup_free char *path = layer_get(c->s, id_of(1),
		    IMGD_GET_TREE);
		bool found = layer_exists(c->s, id_of(1));

		expect(found);
	}
	return NULL;
}

static void
threads_get_one_layer(struct store *s)
{
	struct crew c = { .s = s, .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t threads[N_THREADS];
	unsigned int i;

	if (s->threads != IMGD_THREADS_PARALLEL)
		return;
	make_parent(s);
	for (i = 0; i < N_THREADS; i++)
		start(&threads[i], look_at_one, &c);
	for (i = 0; i < N_THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	layer_put(s, id_of(1), IMGD_GET_TREE);
}

const struct suite_case thread_cases[] = {
	CASE(threads_work_on_different_layers, 0, 0),
	CASE(threads_get_one_layer, 0, 0),
	CASES_END,
};
