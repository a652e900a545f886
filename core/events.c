#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/events.h"
#include "core/filters.h"
#include "core/job.h"
#include "lib/cleanup-json.h"
#include "registry/reference.h"

#define NS        1000000000LL
#define LOOK_MS   200
#define TIME_NONE INT64_MIN

struct event {
	int64_t time_ns;
	char *json;
};

struct events {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct event kept[EVENTS_KEPT];
	uint64_t n; /* ever made; event i is kept[i % EVENTS_KEPT] */
};

struct events *
events_new(void)
{
	struct events *events = calloc(1, sizeof(*events));

	if (events == NULL)
		return NULL;
	(void)pthread_mutex_init(&events->mutex, NULL);
	(void)pthread_cond_init(&events->changed, NULL);
	return events;
}

void
events_free(struct events *events)
{
	size_t i;

	if (events == NULL)
		return;
	for (i = 0; i < EVENTS_KEPT; i++)
		free(events->kept[i].json);
	(void)pthread_cond_destroy(&events->changed);
	(void)pthread_mutex_destroy(&events->mutex);
	free(events);
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS + ts.tv_nsec;
}

/* ---- making them ---- */

struct attributes {
	const char *items[EVENT_MAX_ATTRIBUTES][2];
	size_t n, bytes;
};

/* The first of a key wins. */
static void
add(struct attributes *a, const char *key, const char *value)
{
	size_t i, bytes;

	if (value == NULL || a->n == EVENT_MAX_ATTRIBUTES)
		return;
	for (i = 0; i < a->n; i++)
		if (strcmp(a->items[i][0], key) == 0)
			return;
	bytes = strlen(key) + strlen(value);
	if (a->bytes + bytes > EVENT_MAX_BYTES)
		return;
	a->bytes += bytes;
	a->items[a->n][0] = key;
	a->items[a->n++][1] = value;
}

static int
by_key(const void *x, const void *y)
{
	return strcmp(((const char *const *)x)[0], ((const char *const *)y)[0]);
}

static void
put_attributes(struct strbuf *sb, struct attributes *a)
{
	size_t i;

	qsort(a->items, a->n, sizeof(a->items[0]), by_key);
	strbuf_putc(sb, '{');
	for (i = 0; i < a->n; i++) {
		if (i > 0)
			strbuf_putc(sb, ',');
		strbuf_json(sb, a->items[i][0]);
		strbuf_putc(sb, ':');
		strbuf_json(sb, a->items[i][1]);
	}
	strbuf_putc(sb, '}');
}

/* What is before the time, which is known under the lock only. */
static void
format(struct strbuf *sb, const char *type, const char *action,
    const char *id, struct attributes *a)
{
	size_t i;

	strbuf_puts(sb, "{\"status\":");
	strbuf_json(sb, action);
	strbuf_puts(sb, ",\"id\":");
	strbuf_json(sb, id);
	for (i = 0; strcmp(type, "container") == 0 && i < a->n; i++)
		if (strcmp(a->items[i][0], "image") == 0) {
			strbuf_puts(sb, ",\"from\":");
			strbuf_json(sb, a->items[i][1]);
		}
	strbuf_puts(sb, ",\"Type\":");
	strbuf_json(sb, type);
	strbuf_puts(sb, ",\"Action\":");
	strbuf_json(sb, action);
	strbuf_puts(sb, ",\"Actor\":{\"ID\":");
	strbuf_json(sb, id);
	strbuf_puts(sb, ",\"Attributes\":");
	put_attributes(sb, a);
	strbuf_puts(sb, "},\"scope\":\"local\"");
}

static void
keep(struct events *events, struct strbuf *sb)
{
	struct event *slot;
	int64_t now, before;

	pthread_mutex_lock(&events->mutex);
	/* Readers go by the time: no two have the same. */
	now = now_ns();
	before = events->n > 0
	    ? events->kept[(events->n - 1) % EVENTS_KEPT].time_ns
	    : 0;
	now = now > before ? now : before + 1;
	strbuf_printf(sb, ",\"time\":%jd,\"timeNano\":%jd}",
	    (intmax_t)(now / NS), (intmax_t)now);
	if (!sb->is_failed) {
		slot = &events->kept[events->n++ % EVENTS_KEPT];
		free(slot->json);
		*slot = (struct event) { now, strbuf_take(sb) };
	}
	pthread_cond_broadcast(&events->changed);
	pthread_mutex_unlock(&events->mutex);
}

void
engine_event(struct engine *e, const char *type, const char *action,
    const char *id, const char *labels,
    const char *const (*attributes)[2], size_t n_attributes)
{
	cleanup_json struct json_object *o = NULL;
	struct attributes a = { .n = 0 };
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	for (i = 0; i < n_attributes; i++)
		add(&a, attributes[i][0], attributes[i][1]);
	o = labels != NULL ? json_tokener_parse(labels) : NULL;
	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, value) {
			if (json_object_is_type(value, json_type_string))
				add(&a, key, json_object_get_string(value));
		}
	}
	format(&sb, type, action, id, &a);
	keep(e->events, &sb);
	strbuf_done(&sb);
}

char *
event_labels(struct engine *e, const char *image)
{
	char *labels = NULL;

	(void)tagstore_image_labels(e->store->tags, image, &labels, NULL);
	return labels;
}

void
image_event(struct engine *e, const char *action, const char *actor,
    const char *name, const char *image)
{
	cleanup_free char *labels = image != NULL ? event_labels(e, image)
						  : NULL;
	const char *const attributes[][2] = { { "name", name } };

	engine_event(e, "image", action, actor, labels, attributes, 1);
}

void
transfer_event(struct engine *e, const char *action,
    const struct reference *ref)
{
	cleanup_free char *full = reference_familiar(ref);
	cleanup_free char *name = reference_familiar_name(ref);
	cleanup_free char *image = NULL;

	if (full == NULL || name == NULL)
		return;
	(void)store_find_image(e->store, full, &image, NULL, NULL);
	image_event(e, action, full, name, image);
}

void
container_event(struct engine *e, const char *action,
    const struct container_row *row)
{
	cleanup_free char *labels = event_labels(e, row->image);
	const char *const attributes[][2] = { { "image", row->reference },
		{ "name", row->name }, { "driver", row->driver } };

	engine_event(e, "container", action, row->key, labels, attributes, 3);
}

/* ---- reading them ---- */

struct reader {
	struct job *job;
	struct events *events;
	struct filters filters;
	int64_t since_ns, until_ns; /* TIME_NONE: there is none */
	uint64_t next;              /* the first one not read */
};

static const char *
text(struct json_object *o, const char *key)
{
	struct json_object *v;
	const char *s = json_object_object_get_ex(o, key, &v)
	    ? json_object_get_string(v)
	    : NULL;

	return s != NULL ? s : "";
}

/* Whether a value of the key is s, or s without its tag. */
static bool
matches_name(const struct filters *f, const char *key, const char *s)
{
	cleanup_free char *name = strdup(s);
	char *colon = name != NULL ? strrchr(name, ':') : NULL;

	if (filters_match(f, key, s))
		return true;
	if (colon == NULL || strchr(colon, '/') != NULL)
		return false;
	*colon = '\0';
	return filters_match(f, key, name);
}

static bool
is_wanted(const struct reader *rd, const char *json)
{
	cleanup_json struct json_object *o = json_tokener_parse(json);
	const struct filters *f = &rd->filters;
	struct json_object *actor, *attributes;
	bool is_image;
	const char *id;

	if (!json_object_object_get_ex(o, "Actor", &actor) ||
	    !json_object_object_get_ex(actor, "Attributes", &attributes))
		return false;
	id = text(actor, "ID");
	is_image = strcmp(text(o, "Type"), "image") == 0;
	return filters_match(f, "type", text(o, "Type")) &&
	    filters_match(f, "event", text(o, "Action")) &&
	    filters_match(f, "scope", "local") &&
	    (matches_name(f, "image", id) ||
		matches_name(f, "image",
		    text(attributes, is_image ? "name" : "image"))) &&
	    (!filters_has(f, "container") ||
		(!is_image &&
		    (filters_match(f, "container", id) ||
			filters_match(f, "container",
			    text(attributes, "name"))))) &&
	    filters_match_labels(f, "label", attributes);
}

/* Copy what is new, NUL after each; wait a little if nothing is.  Returns
 * whether the end of what is wanted was passed. */
static bool
gather(struct reader *rd, struct strbuf *out)
{
	struct events *events = rd->events;
	struct timespec until;
	bool is_past = false;

	pthread_mutex_lock(&events->mutex);
	if (rd->next == events->n) {
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOOK_MS * 1000000L;
		until.tv_sec += until.tv_nsec / NS;
		until.tv_nsec %= NS;
		if (rd->until_ns == TIME_NONE || now_ns() <= rd->until_ns)
			(void)pthread_cond_timedwait(&events->changed,
			    &events->mutex, &until);
	}
	if (events->n - rd->next > EVENTS_KEPT)
		rd->next = events->n - EVENTS_KEPT;
	for (; rd->next < events->n && !is_past; rd->next++) {
		const struct event *ev = &events->kept[rd->next % EVENTS_KEPT];

		is_past = rd->until_ns != TIME_NONE &&
		    ev->time_ns > rd->until_ns;
		if (!is_past && ev->time_ns >= rd->since_ns)
			strbuf_append(out, ev->json, strlen(ev->json) + 1);
	}
	pthread_mutex_unlock(&events->mutex);
	return is_past ||
	    (rd->until_ns != TIME_NONE && now_ns() > rd->until_ns);
}

static void
serve(struct reader *rd)
{
	bool is_past = false;

	while (!is_past && !job_is_abandoned(rd->job) &&
	    !engine_is_ending(rd->job->engine)) {
		struct strbuf out = STRBUF_INIT;
		size_t pos = 0;

		is_past = gather(rd, &out);
		while (!out.is_failed && pos < out.len) {
			if (is_wanted(rd, out.data + pos))
				job_output(rd->job, out.data + pos);
			pos += strlen(out.data + pos) + 1;
		}
		strbuf_done(&out);
	}
}

static int
read_times(struct reader *rd, struct imgd_error **err)
{
	const char *since = job_getenv(rd->job, "since");
	const char *until = job_getenv(rd->job, "until");
	int r = 0;

	if (since != NULL)
		r = filter_parse_time(since, &rd->since_ns, err);
	if (r >= 0 && until != NULL)
		r = filter_parse_time(until, &rd->until_ns, err);
	if (r >= 0 && since != NULL && until != NULL &&
	    rd->since_ns > rd->until_ns)
		return imgd_error_set(err, EINVAL,
		    "`since` time (%s) cannot be after `until` time (%s)",
		    since, until);
	return r;
}

int
job_events(struct job *job, struct imgd_error **err)
{
	struct reader rd = { .job = job, .events = job->engine->events,
		.since_ns = TIME_NONE, .until_ns = TIME_NONE };
	int r;

	r = filters_parse(job_getenv(job, "filters"), NULL, &rd.filters, err);
	if (r >= 0)
		r = read_times(&rd, err);
	if (r >= 0) {
		pthread_mutex_lock(&rd.events->mutex);
		/* dockerd: what was is told if a time was asked for. */
		if (rd.since_ns == TIME_NONE && rd.until_ns == TIME_NONE)
			rd.next = rd.events->n;
		pthread_mutex_unlock(&rd.events->mutex);
		serve(&rd);
	}
	filters_done(&rd.filters);
	return r;
}
