#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/gc.h"
#include "core/jobs.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"

/* ---- the pull's own thread ---- */

void
pull_release_flights(struct pull *p, bool is_published)
{
	struct engine *e = p->engine;
	size_t i;

	pthread_mutex_lock(&e->mutex);
	for (i = 0; i < p->n_layers; i++) {
		struct pull_layer *l = &p->layers[i];
		struct flight *f = l->flight, **link;

		if (f == NULL)
			continue;
		l->flight = NULL;
		if (!is_published && l->state != LAYER_FOREIGN &&
		    f->state == FLIGHT_ACTIVE)
			f->state = FLIGHT_ORPHAN;
		if (--f->n_refs > 0)
			continue;
		for (link = &e->flights; *link != f; link = &(*link)->next)
			;
		*link = f->next;
		free(f);
	}
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->mutex);
}

int
pull_start_source(struct pull *p, struct imgd_error **err)
{
	return p->source->start(p, err);
}

void
pull_end_source(struct pull *p)
{
	close_fd(&p->source_sock);
	if (p->source->is_remote && p->n_layers == 0)
		worker_dismiss(&p->source_pidfd);
	else
		worker_end(&p->source_pidfd);
	if (p->source->end != NULL)
		p->source->end(p);
}

/* Recipes are data too: durable before any row says so. */
static int
sync_recipes(struct pull *p, struct imgd_error **err)
{
	cleanup_close int dir_fd = fs_open_dir(p->engine->store->root_fd,
	    "recipes", err);
	size_t i;

	if (dir_fd < 0)
		return dir_fd;
	for (i = 0; i < p->n_layers; i++) {
		cleanup_close int fd = -EBADF;

		if (p->layers[i].state == LAYER_PRESENT)
			continue;
		fd = openat(dir_fd, p->layers[i].key,
		    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			return imgd_error_set(err, errno, "recipe %.12s: %s",
			    p->layers[i].key, strerror(errno));
	}
	if (fsync(dir_fd) < 0)
		return imgd_error_set(err, errno, "recipes: %s",
		    strerror(errno));
	return 0;
}

/* What the pull's own layers came out as; the others have rows already. */
static struct layer_result *
layer_results(struct pull *p, size_t *ret_n)
{
	struct layer_result *results = calloc(p->n_layers + 1,
	    sizeof(*results));
	size_t i, n = 0;

	for (i = 0; results != NULL && i < p->n_layers; i++) {
		const struct pull_layer *l = &p->layers[i];

		if (l->state == LAYER_PRESENT)
			continue;
		results[n++] = (struct layer_result) {
			.key = l->key,
			.size_bytes = l->content_bytes,
			.tar_bytes = l->tar_bytes,
		};
	}
	*ret_n = n;
	return results;
}

static const char *
name_digest(const struct pull *p, const struct pull_name *n)
{
	return n->digest[0] != '\0' ? n->digest : p->top_digest;
}

static int
publish(struct pull *p, struct imgd_error **err)
{
	cleanup_free struct publication_name *names = NULL;
	cleanup_free struct layer_result *results = NULL;
	cleanup(trust_rows_done) struct image_signatures signatures = {
		.n = 0
	};
	struct publication pub = {
		.pull = p->id,
		.driver = driver_name(p->driver),
		.image = &p->image,
		.created = p->config->created != NULL ? p->config->created
						      : "",
		.is_copy = p->source->is_copy,
		.keeps_names = p->source->keeps_names,
		.v1_layers = legacy_v1_layers(p),
		.signatures = &signatures,
		.registry = p->registry,
		.path = p->path,
	};
	size_t i;
	int r = 0;

	pub.layers = results = layer_results(p, &pub.n_layers);
	pub.names = names = calloc(p->n_names + 1, sizeof(*names));
	if (results == NULL || names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < p->n_names; i++)
		names[pub.n_names++] = (struct publication_name) {
			.repository = p->names[i].repository,
			.tag = p->names[i].tag,
			.manifest_digest = name_digest(p, &p->names[i]),
		};
	trust_keep_own(&p->trust, p->image.id);
	r = trust_rows(&p->trust, &signatures, err);
	if (r >= 0 && pub.n_layers > 0) {
		r = sync_recipes(p, err);
		FAIL_POINT("pull-recipes-synced");
		if (r >= 0)
			r = driver_flush(p->driver, err);
	}
	FAIL_POINT("pull-flushed");
	if (r >= 0)
		r = tagstore_publish(p->engine->store->tags, &pub, err);
	FAIL_POINT("pull-published");
	return r;
}

/* Whether the pull brought anything that the store had not under its names. */
static bool
is_news(struct pull *p)
{
	size_t i;

	for (i = 0; i < p->n_layers; i++)
		if (p->layers[i].state != LAYER_PRESENT)
			return true;
	for (i = 0; i < p->n_names; i++) {
		cleanup(image_name_done) struct image_name row = { 0 };
		const struct pull_name *n = &p->names[i];

		if (tagstore_name(p->engine->store->tags, n->repository,
			n->tag, name_digest(p, n), &row, NULL) < 0 ||
		    strcmp(row.image, p->image.id) != 0)
			return true;
	}
	return false;
}

/* Whether this very image is there, under whatever name; then its layers are
 * not worth a word. */
static bool
is_known(const struct pull *p)
{
	cleanup(image_done) struct image row = { 0 };
	size_t i;

	for (i = 0; i < p->n_layers; i++)
		if (p->layers[i].state != LAYER_PRESENT)
			return false;
	return tagstore_image(p->engine->store->tags, p->image.id, &row,
		   NULL) >= 0;
}

/* The name means what it meant before.  Returns 1 if that image is there, and
 * notes its use; it may have been removed since the pull began. */
static int
use_known(struct pull *p, struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup_error struct imgd_error *why = NULL;
	struct tagstore *tags = p->engine->store->tags;
	cleanup_free char *held = NULL;
	int r;

	pthread_mutex_lock(&p->engine->plan_mutex);
	r = tagstore_name(tags, p->names[0].repository, p->names[0].tag, NULL,
	    &row, &why);
	if (r >= 0)
		r = tagstore_image_drivers(tags, row.image, &held, &why);
	if (r >= 0)
		r = strcmp(row.manifest_digest, p->known_digest) == 0 &&
		    str_csv_has(held, driver_name(p->driver));
	if (r > 0)
		store_note_use(p->engine->store, row.image);
	pthread_mutex_unlock(&p->engine->plan_mutex);
	if (r < 0 && r != -ENOENT)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	return r > 0;
}

/* As pull_resolve. */
static int
resolve(struct pull *p, struct imgd_error **err)
{
	int r;

	for (;;) {
		r = pull_start_source(p, err);
		if (r >= 0)
			r = pull_resolve(p, err);
		if (r > 0)
			r = use_known(p, err);
		else
			return r;
		if (r != 0)
			return r;
		pull_end_source(p);
		p->source->forget(p);
	}
}

/* Before a layer is asked for: what the image demands is there. */
static int
check_trust(struct pull *p, struct imgd_error **err)
{
	int r = 0;

	if (trust_is_wanted(&p->trust) && p->legacy != NULL)
		return imgd_error_set(err, EKEYREJECTED,
		    "signature: images of version 1 and of schema 1 cannot have one");
	if (trust_is_wanted(&p->trust))
		r = trust_judge(&p->trust, p->image.id, NULL, err);
	return r;
}

static int
run(struct pull *p, struct imgd_error **err)
{
	bool has_news;
	int r;

	r = resolve(p, err);
	if (r >= 0 && p->source->resolved != NULL)
		p->source->resolved(p);
	if (r > 0) {
		p->is_unchanged = true;
		return 0;
	}
	if (r >= 0)
		r = check_trust(p, err);
	if (r >= 0)
		r = pull_plan(p, err);
	if (r >= 0 && p->source->planned != NULL)
		r = p->source->planned(p, err);
	if (r >= 0 && !is_known(p))
		r = pull_show_layers(p, err);
	if (r >= 0)
		r = pull_layers(p, err);
	if (r >= 0 && p->legacy != NULL)
		r = legacy_finish_image(p, err);
	if (r >= 0 && p->source->finish != NULL)
		r = p->source->finish(p, err);
	if (r < 0)
		return r;
	has_news = is_news(p);
	r = publish(p, err);
	if (r < 0)
		return r;
	p->is_unchanged = !has_news;
	p->has_rows = false;
	pull_release_flights(p, /* is_published= */ true);
	pull_drop_spools(p);
	if (p->has_repaired)
		(void)engine_reap(p->engine, NULL);
	if (p->repair_key[0] == '\0')
		gc_after_pull(p->engine);
	return 0;
}

/*
 * Delete the data of layers that no other pull has joined.  Under plan_mutex,
 * so nobody joins meanwhile; their rows still say staging, so a crash here is
 * like one before.
 */
static void
remove_own_data(struct pull *p)
{
	struct engine *e = p->engine;
	size_t i;

	for (i = p->n_layers; i > 0; i--) {
		struct pull_layer *l = &p->layers[i - 1];
		bool is_own;

		if (l->flight == NULL || l->state == LAYER_FOREIGN ||
		    (l->is_repair && l->fresh_key[0] == '\0'))
			continue;
		pthread_mutex_lock(&e->mutex);
		is_own = l->flight->n_refs == 1;
		pthread_mutex_unlock(&e->mutex);
		if (is_own)
			(void)engine_remove_layer(e, driver_name(p->driver),
			    layer_made_key(l), NULL);
	}
}

static int
abandon(struct pull *p, struct imgd_error **err)
{
	struct tagstore *tags = p->engine->store->tags;

	if (!p->has_rows || tagstore_pull_abandon(tags, p->id, NULL) >= 0)
		return 0;
	/* The database cannot write where the disk is full: make room. */
	remove_own_data(p);
	return tagstore_pull_abandon(tags, p->id, err);
}

/* Nothing of a failed pull stays, but what another pull still wants. */
static void
clean_up(struct pull *p)
{
	cleanup_error struct imgd_error *e = NULL;
	struct engine *eng = p->engine;
	int r;

	pthread_mutex_lock(&eng->plan_mutex);
	r = abandon(p, &e);
	FAIL_POINT("pull-abandoned");
	pull_release_flights(p, /* is_published= */ false);
	pthread_mutex_unlock(&eng->plan_mutex);
	if (r >= 0 && p->has_rows)
		r = engine_reap(eng, &e);
	if (r < 0)
		log_warn("%s; undone at the next start, ignoring",
		    imgd_error_msg(e));
}

void
pull_free(struct pull *p)
{
	size_t i;

	if (p == NULL)
		return;
	for (i = 0; i < p->n_lines; i++)
		free(p->lines[i]);
	free(p->lines);
	free(p->progress);
	free(p->layers);
	free(p->sizes);
	free(p->difference);
	legacy_free(p->legacy);
	trust_done(&p->trust);
	image_done(&p->image);
	manifest_free(p->manifest);
	image_config_free(p->config);
	for (i = 0; i < p->n_names; i++) {
		free(p->names[i].repository);
		free(p->names[i].tag);
		free(p->names[i].digest);
	}
	free(p->names);
	imgd_error_free(p->error);
	free(p->label);
	free(p->pool_key);
	close_fd(&p->source_sock);
	p->source->ctx_free(p->ctx);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->mutex);
	free(p);
}

static void
unref(struct pull *p, unsigned int n)
{
	struct engine *e = p->engine;
	bool is_last;

	pthread_mutex_lock(&e->mutex);
	p->n_watchers -= n;
	is_last = p->n_watchers == 0;
	pthread_mutex_unlock(&e->mutex);
	if (is_last)
		pull_free(p);
}

void
pull_unref(struct pull *p)
{
	unref(p, 1);
}

static void
leave_pool(struct pull *p)
{
	struct engine *e = p->engine;
	struct pull **link;

	pthread_mutex_lock(&e->mutex);
	for (link = &e->pulls; *link != NULL; link = &(*link)->next)
		if (*link == p) {
			*link = p->next;
			break;
		}
	pthread_mutex_unlock(&e->mutex);
}

static void *
pull_thread(void *arg)
{
	struct imgd_error *err = NULL;
	struct pull *p = arg;
	struct engine *e = p->engine;
	int r;

	r = run(p, &err);
	/* The source has nothing to say any more; with it go its pipes. */
	pull_end_source(p);
	/* Before the rows go: who asks from now on starts afresh. */
	leave_pool(p);
	if (r < 0)
		clean_up(p);
	pthread_mutex_lock(&p->mutex);
	p->result = r;
	p->error = err;
	p->is_done = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
	pull_unref(p);
	engine_leave(e);
	return NULL;
}

/* ---- the pool ---- */

int
pull_new(struct engine *e, const struct pull_source *source, void *ctx,
    const char *driver, struct pull **ret, struct imgd_error **err)
{
	struct pull *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL) {
		source->ctx_free(ctx);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	p->engine = e;
	p->source = source;
	p->ctx = ctx;
	p->source_sock = p->source_pidfd = -EBADF;
	p->n_watchers = 2; /* the thread and this job */
	p->platform = p->known_digest = "";
	p->expected_digest = p->expected_id = "";
	(void)pthread_mutex_init(&p->mutex, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	r = store_driver(e->store, driver, &p->driver, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int
pull_stay_alone(struct pull *p, struct imgd_error **err)
{
	char key[65];
	int r = str_random_key(key, err);

	if (r < 0)
		return r;
	free(p->pool_key);
	p->pool_key = strdup(key);
	return p->pool_key != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

int
pull_add_name(struct pull *p, const char *repository, const char *tag,
    const char *digest, struct imgd_error **err)
{
	struct pull_name *names, *n;

	names = reallocarray(p->names, p->n_names + 1, sizeof(*names));
	if (names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	p->names = names;
	n = &names[p->n_names++];
	*n = (struct pull_name) {
		.repository = strdup(repository),
		.tag = strdup(tag),
		.digest = strdup(digest),
	};
	return n->repository != NULL && n->tag != NULL && n->digest != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

struct wanted {
	struct engine *engine;
	bool is_found;
};

static int
match_name(void *ctx, const struct image_name *n)
{
	struct wanted *w = ctx;
	const struct pull *p;
	size_t i;

	pthread_mutex_lock(&w->engine->mutex);
	for (p = w->engine->pulls; p != NULL; p = p->next)
		for (i = 0; i < p->n_names; i++)
			if (strcmp(p->names[i].tag, n->tag) == 0 &&
			    strcmp(p->names[i].repository, n->repository) == 0)
				w->is_found = true;
	pthread_mutex_unlock(&w->engine->mutex);
	return 0;
}

int
pull_wants_image(struct engine *e, const char *image, struct imgd_error **err)
{
	struct wanted w = { e, false };
	const struct pull *p;
	int r;

	pthread_mutex_lock(&e->mutex);
	for (p = e->pulls; p != NULL; p = p->next)
		if (strcmp(p->expected_id, image) == 0)
			w.is_found = true;
	pthread_mutex_unlock(&e->mutex);
	r = tagstore_names(e->store->tags, image, match_name, &w, err);
	return r < 0 ? r : w.is_found;
}

static int
start_thread(struct pull *p, struct imgd_error **err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, ENGINE_THREAD_STACK);
	engine_enter(p->engine);
	r = pthread_create(&thread, &attr, pull_thread, p);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		return 0;
	engine_leave(p->engine);
	return imgd_error_set(err, r, "thread: %s", strerror(r));
}

/* Join the pull of the same image that is in flight, or begin mine, which is
 * taken. */
static int
join(struct pull *mine, struct pull **ret, struct imgd_error **err)
{
	struct engine *e = mine->engine;
	struct pull *p;
	int r;

	pthread_mutex_lock(&e->mutex);
	for (p = e->pulls; p != NULL; p = p->next)
		if (strcmp(p->pool_key, mine->pool_key) == 0 &&
		    !atomic_load(&p->is_cancelled))
			break;
	if (p != NULL) {
		p->n_watchers++;
	} else {
		mine->next = e->pulls;
		e->pulls = mine;
	}
	pthread_mutex_unlock(&e->mutex);
	if (p != NULL) {
		pull_free(mine);
		*ret = p;
		return 0;
	}
	r = start_thread(mine, err);
	if (r < 0) {
		leave_pool(mine);
		unref(mine, 2);
		return r;
	}
	*ret = mine;
	return 0;
}

/* Leave the pull; the last one to leave ends it. */
static void
leave(struct pull *p)
{
	struct engine *e = p->engine;

	pthread_mutex_lock(&e->mutex);
	/* What remains besides this job is the pull's own thread. */
	if (p->n_watchers == 2)
		atomic_store(&p->is_cancelled, true);
	pthread_mutex_unlock(&e->mutex);
}

/* A cancelled pull cleans up on its own thread: wait, so that an ending
 * engine does not close the store under it. */
static void
wait_done(struct pull *p)
{
	pthread_mutex_lock(&p->mutex);
	while (!p->is_done)
		pthread_cond_wait(&p->changed, &p->mutex);
	pthread_mutex_unlock(&p->mutex);
}

int
pull_run(struct job *job, struct pull *mine, struct pull **ret,
    struct imgd_error **err)
{
	struct pull *p;
	int r;

	r = join(mine, &p, err);
	if (r < 0)
		return r;
	jobs_watch(job, p);
	r = pull_watch(job, p, err);
	jobs_watch(job, NULL);
	if (r < 0) {
		leave(p);
		if (atomic_load(&p->is_cancelled))
			wait_done(p);
	} else if (p->result < 0) {
		r = imgd_error_set(err, -p->result, "%s",
		    imgd_error_msg(p->error));
	}
	if (r >= 0 && ret != NULL)
		*ret = p;
	else
		pull_unref(p);
	return r;
}
