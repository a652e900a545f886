#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "core/confinement.h"
#include "core/engine.h"
#include "core/info.h"
#include "core/job.h"
#include "core/partials.h"
#include "lib/cleanup-json.h"
#include "registry/manifest.h"

struct counts {
	int64_t images, layers, containers;
	uint64_t layer_bytes;
};

static int
count_image(void *ctx, const struct image_summary *s)
{
	struct counts *c = ctx;

	(void)s;
	c->images++;
	return 0;
}

static int
count_layer(void *ctx, const struct layer_row *row)
{
	struct counts *c = ctx;

	c->layers++;
	c->layer_bytes += row->size_bytes;
	return 0;
}

static int
count_container(void *ctx, const struct container_row *row)
{
	struct counts *c = ctx;

	c->containers += strcmp(row->state, "ready") == 0;
	return 0;
}

static void
add_status(void *ctx, const char *key, const char *value)
{
	json_object_object_add(ctx, key, json_object_new_string(value));
}

/* Each driver that the store uses, opened only to be asked. */
static int
add_drivers(struct store *s, struct json_object *o, struct imgd_error **err)
{
	struct json_object *drivers = json_object_new_object();
	cleanup_free char *names = NULL;
	char *name, *save = NULL;
	int r;

	json_object_object_add(o, "Drivers", drivers);
	r = tagstore_drivers(s->tags, &names, err);
	if (r < 0)
		return r;
	for (name = strtok_r(names, ",", &save); name != NULL;
	    name = strtok_r(NULL, ",", &save)) {
		cleanup_error struct imgd_error *e = NULL;
		struct json_object *status = json_object_new_object();
		struct driver *d;

		json_object_object_add(drivers, name, status);
		if (store_driver(s, name, &d, &e) < 0 ||
		    driver_status(d, add_status, status, &e) < 0)
			add_status(status, "Error", imgd_error_msg(e));
	}
	return 0;
}

static int
add_counts(struct store *s, struct json_object *o, struct imgd_error **err)
{
	struct partials_usage partials = { 0 };
	struct counts c = { 0 };
	int r = 0;

	if (s->tags != NULL) {
		r = tagstore_images(s->tags, count_image, &c, err);
		if (r >= 0)
			r = tagstore_layers(s->tags, NULL, "ready",
			    count_layer, &c, err);
		if (r >= 0)
			r = tagstore_containers(s->tags, count_container, &c,
			    err);
		if (r >= 0)
			r = partials_count(s, &partials, err);
	}
	json_object_object_add(o, "Images", json_object_new_int64(c.images));
	json_object_object_add(o, "Layers", json_object_new_int64(c.layers));
	json_object_object_add(o, "Containers",
	    json_object_new_int64(c.containers));
	json_object_object_add(o, "LayerBytes",
	    json_object_new_int64((int64_t)c.layer_bytes));
	json_object_object_add(o, "PartialBlobs",
	    json_object_new_int64((int64_t)partials.n));
	json_object_object_add(o, "PartialBytes",
	    json_object_new_int64((int64_t)partials.bytes));
	if (r >= 0 && s->tags != NULL)
		r = add_drivers(s, o, err);
	return r;
}

static void
add_confinement(struct json_object *o)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *text = NULL;

	if (confinement_describe(&text, &err) < 0)
		text = strdup(imgd_error_msg(err));
	json_object_object_add(o, "Confinement",
	    json_object_new_string(text != NULL ? text : "unknown"));
}

int
info_gather(struct store *s, struct json_object **ret,
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = json_object_new_object();
	char platform[PLATFORM_STR_SIZE];
	struct platform host;
	struct utsname uts;
	int r;

	platform_host(&host);
	(void)uname(&uts);
	json_object_object_add(o, "Root", json_object_new_string(s->root));
	json_object_object_add(o, "Version",
	    json_object_new_string(PACKAGE_VERSION));
	json_object_object_add(o, "Platform",
	    json_object_new_string(platform_format(&host, platform)));
	json_object_object_add(o, "Kernel",
	    json_object_new_string(uts.release));
	add_confinement(o);
	pthread_mutex_lock(&s->mutex);
	if (s->default_driver != NULL)
		json_object_object_add(o, "DefaultDriver",
		    json_object_new_string(s->default_driver));
	pthread_mutex_unlock(&s->mutex);
	r = add_counts(s, o, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&o);
	return 0;
}

int
job_info(struct job *job, struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	struct driver *unused;
	int r;

	/* So that it tells the driver that a pull would choose. */
	(void)store_driver(job->engine->store, NULL, &unused, NULL);
	r = info_gather(job->engine->store, &o, err);

	if (r >= 0)
		strbuf_puts(&job->result,
		    json_object_to_json_string_ext(o,
			JSON_C_TO_STRING_PLAIN |
			    JSON_C_TO_STRING_NOSLASHESCAPE));
	return r;
}
