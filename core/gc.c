/*
 * The job "gc", and the collections that nobody asks for.
 *
 * Each goes in rounds: read the store, plan, remove what the plan says and is
 * still unused.  Between reading and removing images may be used and others
 * come; so that the next round looks again.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/gc-read.h"
#include "core/gc.h"
#include "core/images.h"
#include "core/job.h"
#include "core/partials.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/log.h"
#include "registry/reference.h"
#include "tagstore/uploads.h"
#include "tagstore/uses.h"

/* Pulls beside it may make more and more work. */
#define MAX_ROUNDS  32
#define DAY_SECONDS (24 * 60 * 60)

struct gc {
	pthread_mutex_t mutex; /* held by the collection that runs */
	struct disk_usage last; /* what it read before */

	/* guarded by engine.mutex */
	bool is_running; /* one that nobody asked for */
	bool is_wanted;  /* and again one behind it */

	int64_t due_ms; /* main thread: of the monotonic clock */
};

struct gc *
gc_new(void)
{
	struct gc *gc = calloc(1, sizeof(*gc));

	if (gc != NULL)
		(void)pthread_mutex_init(&gc->mutex, NULL);
	return gc;
}

void
gc_free(struct gc *gc)
{
	if (gc == NULL)
		return;
	disk_usage_done(&gc->last);
	(void)pthread_mutex_destroy(&gc->mutex);
	free(gc);
}

/* ---- one collection ---- */

struct collection {
	struct engine *engine;
	struct job *job; /* NULL: nobody watches */
	const struct gc_limits *limits;
	bool is_dry;
	struct strbuf records; /* JSON, with commas between */
	struct strbuf spared;  /* names of what could not go */
	uint64_t n_images, n_partials;
	uint64_t freed;
	uint64_t size, free, in_use; /* afterwards */
};

static bool
is_cancelled(const struct collection *c)
{
	return (c->job != NULL && job_is_abandoned(c->job)) ||
	    engine_is_ending(c->engine);
}

/* What is missing to the limits. */
static uint64_t
goal(const struct gc_limits *l, const struct gc_reading *r)
{
	uint64_t above = l->has_max_size && r->sum > l->max_bytes
	    ? r->sum - l->max_bytes
	    : 0;
	uint64_t missing = l->min_free_bytes > r->free
	    ? l->min_free_bytes - r->free
	    : 0;

	return above > missing ? above : missing;
}

static void
make_policy(const struct gc_limits *l, const struct gc_reading *r,
    struct gc_policy *policy)
{
	*policy = (struct gc_policy) {
		/* With no limit at all only what is due goes. */
		.has_goal = l->has_max_size || l->min_free_bytes > 0 ||
		    !gc_limits_any(l),
		.goal_bytes = goal(l, r),
		.keep_last = (size_t)l->keep_last,
		.keep_since_ms = l->keep_since_s > 0
		    ? ((int64_t)time(NULL) - l->keep_since_s) * 1000
		    : INT64_MAX,
	};
}

/* ---- records ---- */

static int
add_name(void *ctx, const struct image_name *n)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *full = NULL, *familiar = NULL;
	bool is_tag = n->tag[0] != '\0';
	struct strbuf *sb = ctx;

	/* Tags come first, and say enough. */
	if (!is_tag && sb->data[sb->len - 1] != '[')
		return 0;
	if (asprintf(&full, "%s%c%s", n->repository, is_tag ? ':' : '@',
		is_tag ? n->tag : n->manifest_digest) < 0) {
		full = NULL;
		return 0;
	}
	if (reference_parse(full, 0, &ref, NULL) >= 0)
		familiar = reference_familiar(&ref);
	if (sb->is_failed)
		return 0;
	strbuf_puts(sb, sb->data[sb->len - 1] == '[' ? "" : ",");
	strbuf_json(sb, familiar != NULL ? familiar : full);
	return 0;
}

/* The record of an item, while it is still there. */
static void
make_record(struct collection *c, const struct gc_reading *r, size_t i,
    struct strbuf *sb)
{
	const struct gc_item *item = &r->items.list[i];
	uint64_t bytes = 0;
	size_t k;

	for (k = 0; k < item->n; k++)
		bytes += r->items.layers[r->links[item->first + k]].bytes;
	strbuf_printf(sb,
	    "{\"Kind\":\"%s\",\"Id\":\"%s\",\"LastUsed\":%jd,\"Size\":%ju,"
	    "\"Names\":[",
	    item->is_partial ? "partial blob" : "image", r->names[i],
	    (intmax_t)(item->used_at_ms / 1000), (uintmax_t)bytes);
	if (!item->is_partial && !sb->is_failed)
		(void)tagstore_names(c->engine->store->tags, r->names[i],
		    add_name, sb, NULL);
	strbuf_puts(sb, "]}");
}

static void
keep_record(struct collection *c, const struct gc_item *item,
    const struct strbuf *sb)
{
	if (item->is_partial)
		c->n_partials++;
	else
		c->n_images++;
	if (sb->is_failed || c->job == NULL)
		return;
	job_output(c->job, sb->data);
	strbuf_puts(&c->records, c->records.len > 0 ? "," : "");
	strbuf_append(&c->records, sb->data, sb->len);
}

/* ---- removal ---- */

/* Returns 1 if the image went; 0 if it is used now. */
static int
remove_image(struct collection *c, const char *id, int64_t used_at_ms,
    struct imgd_error **err)
{
	struct removal rm = { .engine = c->engine, .records = STRBUF_INIT };
	struct engine *e = c->engine;
	int64_t now_used_ms;
	int r;

	pthread_mutex_lock(&e->plan_mutex);
	r = tagstore_image_use(e->store->tags, id, &now_used_ms, NULL);
	if (r >= 0 && now_used_ms == used_at_ms)
		r = pull_wants_image(e, id, err);
	else
		r = 1;
	if (r == 0)
		r = image_prune(&rm, id, /* is_untagged= */ false, err);
	else if (r > 0)
		r = 0;
	pthread_mutex_unlock(&e->plan_mutex);
	if (r >= 0)
		r = rm.records.len > 0;
	strbuf_done(&rm.records);
	return r;
}

/* Returns 1 if the item went. */
static int
remove_item(struct collection *c, const struct gc_reading *r, size_t i,
    struct imgd_error **err)
{
	const struct gc_item *item = &r->items.list[i];

	if (c->is_dry)
		return 1;
	if (!item->is_partial)
		return remove_image(c, r->names[i], item->used_at_ms, err);
	return partial_drop_idle(c->engine->store, r->names[i], NULL) >= 0;
}

static bool
is_spared(const struct collection *c, const char *name)
{
	size_t pos;

	for (pos = 0; pos < c->spared.len; pos += DIGEST_STR_SIZE)
		if (strcmp(c->spared.data + pos, name) == 0)
			return true;
	return false;
}

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Returns how many were chosen: some may be in use by now. */
static int
remove_chosen(struct collection *c, struct gc_reading *r,
    struct imgd_error **err)
{
	uint64_t freed;
	int n = 0, ret = 0;
	size_t i;

	for (i = 0; ret >= 0 && i < r->items.n; i++) {
		struct strbuf sb = STRBUF_INIT;

		if (!r->items.list[i].is_chosen)
			continue;
		if (is_cancelled(c))
			return imgd_error_set(err, ECANCELED, "cancelled");
		n++;
		make_record(c, r, i, &sb);
		ret = remove_item(c, r, i, err);
		if (ret > 0) {
			keep_record(c, &r->items.list[i], &sb);
		} else {
			r->items.list[i].is_chosen = false;
			strbuf_append(&c->spared, r->names[i],
			    DIGEST_STR_SIZE);
		}
		strbuf_done(&sb);
	}
	freed = gc_freed(&r->items);
	c->freed += freed;
	c->size = less(c->size, freed);
	c->free += freed;
	return ret < 0 ? ret : n;
}

/* Returns 1 if another round may do more. */
static int
run_round(struct collection *c, struct gc_reading *r, struct imgd_error **err)
{
	struct gc *gc = c->engine->gc;
	struct gc_policy policy;
	uint64_t bytes;
	size_t i;
	int ret;

	ret = gc_read(c->engine, &gc->last,
	    (int64_t)time(NULL) - PARTIAL_MAX_DAYS * DAY_SECONDS, r, err);
	if (ret < 0)
		return ret;
	for (i = 0; i < r->items.n; i++)
		if (is_spared(c, r->names[i]))
			r->items.list[i].is_pinned = true;
	c->size = r->sum;
	c->free = r->free;
	c->in_use = less(r->sum, gc_freeable(&r->items));
	make_policy(c->limits, r, &policy);
	ret = gc_plan(&r->items, &policy, &bytes, err);
	if (ret >= 0)
		ret = remove_chosen(c, r, err);
	FAIL_POINT("gc-condemned");
	return ret > 0 && !c->is_dry ? engine_reap(c->engine, err) + 1 : ret;
}

static void
ignore_problem(void *ctx, const char *text, bool is_repaired)
{
	(void)ctx;
	log_debug("gc", "%s%s", text, is_repaired ? "" : ", ignoring");
}

/* What belongs to nothing. */
static int
sweep(struct collection *c, struct imgd_error **err)
{
	struct engine *e = c->engine;
	int r;

	pthread_mutex_lock(&e->plan_mutex);
	r = tagstore_unneeded_reap(e->store->tags, err);
	pthread_mutex_unlock(&e->plan_mutex);
	if (r >= 0)
		r = engine_reap(e, err);
	if (r >= 0)
		r = partials_check(e->store, /* is_repairing= */ true,
		    ignore_problem, NULL, err);
	if (r >= 0)
		r = tagstore_uploads_expire(e->store->tags, UPLOADS_MAX_AGE_S,
		    err);
	return r;
}

static int
collect(struct collection *c, struct imgd_error **err)
{
	struct gc *gc = c->engine->gc;
	int i, r = 1;

	pthread_mutex_lock(&gc->mutex);
	for (i = 0; r > 0 && i < MAX_ROUNDS; i++) {
		struct gc_reading reading = { .n_images = 0 };

		r = run_round(c, &reading, err);
		/* For the next to read less. */
		disk_usage_done(&gc->last);
		gc->last = reading.usage;
		reading.usage = (struct disk_usage) { .layers = NULL };
		gc_reading_done(&reading);
		if (c->is_dry)
			break;
	}
	if (r >= 0 && !c->is_dry)
		r = sweep(c, err);
	pthread_mutex_unlock(&gc->mutex);
	return r < 0 ? r : 0;
}

static void
collection_done(struct collection *c)
{
	strbuf_done(&c->records);
	strbuf_done(&c->spared);
}

/* ---- asked for ---- */

static int
read_limits(struct job *job, struct gc_limits *l, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && gc_limit_keys[i] != NULL; i++) {
		const char *text = job_getenv(job, gc_limit_keys[i]);

		if (text != NULL)
			r = gc_limits_set(l, gc_limit_keys[i], text, err);
	}
	if (r >= 0 && !gc_limits_any(l))
		*l = engine_config(job->engine)->gc;
	return r;
}

static bool
is_met(const struct collection *c)
{
	return (!c->limits->has_max_size || c->size <= c->limits->max_bytes) &&
	    c->free >= c->limits->min_free_bytes;
}

int
job_gc(struct job *job, struct imgd_error **err)
{
	struct gc_limits limits = { .has_max_size = false };
	struct collection c = { .engine = job->engine, .job = job,
		.limits = &limits, .records = STRBUF_INIT,
		.spared = STRBUF_INIT,
		.is_dry = job_getenv(job, "dry-run") != NULL };
	int r;

	r = read_limits(job, &limits, err);
	if (r >= 0)
		r = collect(&c, err);
	if (r >= 0)
		strbuf_printf(&job->result,
		    "{\"DryRun\":%s,\"Removed\":[%s],\"SpaceReclaimed\":%ju,"
		    "\"Size\":%ju,\"Free\":%ju,\"InUse\":%ju,\"IsMet\":%s}",
		    c.is_dry ? "true" : "false",
		    c.records.len > 0 ? c.records.data : "",
		    (uintmax_t)c.freed, (uintmax_t)c.size, (uintmax_t)c.free,
		    (uintmax_t)c.in_use, is_met(&c) ? "true" : "false");
	if (r >= 0 && c.records.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	collection_done(&c);
	return r;
}

/* ---- not asked for ---- */

static void
collect_now(struct engine *e)
{
	cleanup_error struct imgd_error *err = NULL;
	struct collection c = { .engine = e,
		.limits = &engine_config(e)->gc, .records = STRBUF_INIT,
		.spared = STRBUF_INIT };
	char text[32];

	if (collect(&c, &err) < 0)
		log_warn("gc: %s", imgd_error_msg(err));
	if (c.n_images + c.n_partials > 0)
		log_info("gc: %ju images and %ju partial blobs removed, "
			 "%s reclaimed",
		    (uintmax_t)c.n_images, (uintmax_t)c.n_partials,
		    str_size(c.freed, text));
	collection_done(&c);
}

/* Whether the thread that collects has more to do; else it is no more. */
static bool
goes_on(struct engine *e)
{
	struct gc *gc = e->gc;
	bool is_more;

	pthread_mutex_lock(&e->mutex);
	is_more = gc->is_wanted && !e->is_ending;
	gc->is_wanted = false;
	gc->is_running = is_more;
	if (!is_more)
		e->n_background--;
	pthread_mutex_unlock(&e->mutex);
	return is_more;
}

static void *
run(void *arg)
{
	struct engine *e = arg;

	do
		collect_now(e);
	while (goes_on(e));
	engine_leave(e);
	return NULL;
}

static void
begin(struct engine *e)
{
	cleanup_error struct imgd_error *err = NULL;
	struct gc *gc = e->gc;
	bool is_first;

	pthread_mutex_lock(&e->mutex);
	is_first = !gc->is_running;
	gc->is_running = true;
	gc->is_wanted = !is_first;
	if (is_first) {
		/* It enters like a job, but nobody asked for it. */
		e->n_background++;
		e->n_entered--;
	}
	pthread_mutex_unlock(&e->mutex);
	if (!is_first || engine_thread(e, run, e, &err) >= 0)
		return;
	log_warn("gc: %s", imgd_error_msg(err));
	(void)goes_on(e);
}

void
gc_after_pull(struct engine *e)
{
	const struct gc_limits *l = &engine_config(e)->gc;

	if (l->has_max_size || l->min_free_bytes > 0)
		begin(e);
}

int
gc_tick(struct engine *e)
{
	const struct config *config = engine_config(e);
	int64_t interval = config->gc_interval_s * 1000, now;
	struct timespec ts;

	if (!gc_limits_any(&config->gc))
		return -1;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (now >= e->gc->due_ms) {
		e->gc->due_ms = now + interval;
		begin(e);
	} else if (e->gc->due_ms > now + interval) {
		/* The configuration was read anew. */
		e->gc->due_ms = now + interval;
	}
	now = e->gc->due_ms - now;
	return now < INT32_MAX ? (int)now : INT32_MAX;
}
