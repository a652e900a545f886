/* The job "prune": images that nobody needs go. */
#include "config.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "core/events.h"
#include "core/filters.h"
#include "core/images-list.h"
#include "core/images.h"
#include "lib/cleanup-json.h"

static const char *const known_filters[] = { "dangling", "until", "label",
	"label!", NULL };

/* What to list: prune's filters, but dangling only if it is true. */
static char *
list_filters(const struct filters *f, bool is_dangling)
{
	cleanup_json struct json_object *o = json_object_new_object();
	struct json_object *values;
	size_t i;

	for (i = 0; i <= f->n; i++) {
		const char *key = i < f->n ? f->items[i].key : "dangling";
		const char *value = i < f->n ? f->items[i].value : "true";

		if (strcmp(key, "dangling") == 0 && (i < f->n || !is_dangling))
			continue;
		if (!json_object_object_get_ex(o, key, &values)) {
			values = json_object_new_array();
			json_object_object_add(o, key, values);
		}
		(void)json_object_array_add(values,
		    json_object_new_string(value));
	}
	return strdup(json_object_to_json_string(o));
}

static int
list(struct engine *e, const struct filters *f, bool is_dangling,
    struct json_object **ret, struct imgd_error **err)
{
	cleanup_free char *json = list_filters(f, is_dangling);
	const struct images_query query = { .filters = json };
	struct strbuf text = STRBUF_INIT;
	int r;

	if (json == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = images_list(e->store, &query, &text, err);
	if (r >= 0)
		*ret = json_tokener_parse(text.data);
	strbuf_done(&text);
	if (r >= 0 && *ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

static int
prune(struct job *job, struct removal *rm, struct imgd_error **err)
{
	cleanup(filters_done) struct filters f = { 0 };
	cleanup_json struct json_object *images = NULL;
	struct engine *e = job->engine;
	bool is_dangling = true;
	size_t i;
	int r;

	r = filters_parse(job_getenv(job, "filters"), known_filters, &f, err);
	if (r >= 0)
		r = filters_bool(&f, "dangling", true, &is_dangling, err);
	if (r >= 0)
		r = list(e, &f, is_dangling, &images, err);
	if (r < 0)
		return r;
	for (i = 0; r >= 0 && i < json_object_array_length(images); i++) {
		struct json_object *id = NULL;

		if (job_is_abandoned(job) || engine_is_ending(e))
			return imgd_error_set(err, ECANCELED, "cancelled");
		(void)json_object_object_get_ex(
		    json_object_array_get_idx(images, i), "Id", &id);
		pthread_mutex_lock(&e->plan_mutex);
		r = image_prune(rm, json_object_get_string(id), is_dangling,
		    err);
		pthread_mutex_unlock(&e->plan_mutex);
	}
	return r;
}

static void
tell(struct engine *e, uint64_t bytes)
{
	char text[24];
	const char *const attributes[][2] = { { "reclaimed", text } };

	(void)snprintf(text, sizeof(text), "%ju", (uintmax_t)bytes);
	engine_event(e, "image", "prune", "", NULL, attributes, 1);
}

int
job_prune(struct job *job, struct imgd_error **err)
{
	struct engine *e = job->engine;
	struct removal rm = { .engine = e, .job = job,
		.records = STRBUF_INIT };
	int r;

	if (atomic_flag_test_and_set(&e->is_pruning))
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "a prune operation is already running");
	r = prune(job, &rm, err);
	if (r >= 0)
		r = engine_reap(e, err);
	else
		(void)engine_reap(e, NULL);
	atomic_flag_clear(&e->is_pruning);
	if (rm.records.len > 0)
		strbuf_printf(&job->result, "{\"ImagesDeleted\":[%s]",
		    rm.records.data);
	else
		strbuf_puts(&job->result, "{\"ImagesDeleted\":null");
	strbuf_printf(&job->result, ",\"SpaceReclaimed\":%ju}",
	    (uintmax_t)rm.bytes);
	strbuf_done(&rm.records);
	if (r >= 0)
		tell(e, rm.bytes);
	return r;
}
