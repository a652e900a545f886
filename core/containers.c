/* Jobs on containers: create, rm and diff. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "core/containers.h"
#include "core/engine.h"
#include "core/events.h"
#include "core/job.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/strbuf.h"

/* ---- create ---- */

static int
check_name(const char *name, struct imgd_error **err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char others[] = "_.-abcdefghijklmnopqrstuvwxyz"
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	if (*name == '\0' || strchr(letters, *name) == NULL ||
	    name[strspn(name, others)] != '\0')
		return imgd_error_set(err, EINVAL,
		    "%s: not a container's name: letters, digits, and after "
		    "the first also _ . -",
		    name);
	if (strlen(name) > LIMIT_CONTAINER_NAME_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "%.20s…: a name has at most %d bytes", name,
		    LIMIT_CONTAINER_NAME_BYTES);
	return 0;
}

static int
read_quota(const struct job *job, uint64_t *ret, struct imgd_error **err)
{
	const char *text = job_getenv(job, "quota");

	*ret = 0;
	if (text != NULL && sscanf(text, "%" SCNu64, ret) != 1)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "quota %s: not a number", text);
	return 0;
}

/* Find image, driver and top layer; from the row on nobody removes them. */
static int
plan_container(struct engine *e, const struct container_spec *spec,
    struct container_row *row, struct imgd_error **err)
{
	cleanup(image_done) struct image img = { 0 };
	cleanup(layer_row_done) struct layer_row top = { 0 };
	cleanup_error struct imgd_error *why = NULL;
	char key[65];
	int r;

	row->quota_bytes = spec->quota_bytes;
	r = store_find_image(e->store, spec->image, &row->image, NULL, err);
	if (r >= 0)
		r = store_image_driver(e->store, row->image, spec->driver,
		    IMGD_CAP_RW, &row->driver, err);
	if (r >= 0)
		r = tagstore_image(e->store->tags, row->image, &img, err);
	if (r < 0)
		return r;
	if (img.n_layers == 0)
		return imgd_error_set(err, EINVAL, "image %.19s has no layers",
		    row->image);
	r = tagstore_layer(e->store->tags, row->driver,
	    img.layers[img.n_layers - 1].chain_id, &top, err);
	if (r >= 0)
		r = str_random_key(key, err);
	if (r < 0)
		return r;
	row->key = strdup(key);
	row->name = strdup(spec->name);
	row->reference = strdup(spec->image);
	row->parent = take_ptr(&top.key);
	if (row->key == NULL || row->name == NULL || row->reference == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = tagstore_container_add(e->store->tags, row, &why);
	if (r == -EEXIST)
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: there is a container named %s already",
		    row->name);
	return r < 0 ? imgd_error_set(err, -r, "%s", imgd_error_msg(why)) : 0;
}

/* Remove a container's data, then its row; under no lock. */
static int
remove_data(struct engine *e, const char *driver_name, const char *key,
    struct imgd_error **err)
{
	struct driver *driver;
	int r;

	r = store_driver(e->store, driver_name, &driver, err);
	if (r >= 0)
		r = driver_remove(driver, key, err);
	if (r < 0)
		return r;
	FAIL_POINT("rm-data-gone");
	pthread_mutex_lock(&e->plan_mutex);
	r = tagstore_container_gone(e->store->tags, key, err);
	pthread_mutex_unlock(&e->plan_mutex);
	return r;
}

int
container_begin(struct engine *e, const struct container_spec *spec,
    struct container_row *ret, struct imgd_error **err)
{
	struct driver *driver;
	int r = check_name(spec->name, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&e->plan_mutex);
	r = plan_container(e, spec, ret, err);
	if (r >= 0)
		store_note_use(e->store, ret->image);
	pthread_mutex_unlock(&e->plan_mutex);
	if (r < 0)
		return r;
	FAIL_POINT("create-planned");
	r = store_driver(e->store, ret->driver, &driver, err);
	if (r >= 0)
		r = driver_create_rw(driver, ret->key, ret->parent,
		    ret->quota_bytes, err);
	FAIL_POINT("create-made");
	if (r < 0)
		container_undo(e, ret);
	return r;
}

int
container_ready(struct engine *e, const struct container_row *row,
    struct imgd_error **err)
{
	int r = tagstore_container_ready(e->store->tags, row->key, err);

	FAIL_POINT("create-ready");
	if (r < 0)
		container_undo(e, row);
	else
		container_event(e, "create", row);
	return r;
}

void
container_undo(struct engine *e, const struct container_row *row)
{
	cleanup_error struct imgd_error *why = NULL;

	if (remove_data(e, row->driver, row->key, &why) < 0)
		log_warn("container %s: %s; removed later, ignoring",
		    row->name, imgd_error_msg(why));
}

int
job_create(struct job *job, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	struct container_spec spec = { job->args[0], job->args[1],
		job_getenv(job, "driver"), 0 };
	int r = read_quota(job, &spec.quota_bytes, err);

	if (r >= 0)
		r = container_begin(job->engine, &spec, &row, err);
	if (r >= 0)
		r = container_ready(job->engine, &row, err);
	if (r >= 0)
		strbuf_puts(&job->result, row.name);
	return r < 0 ? r : 0;
}

/* ---- rm ---- */

struct mounted {
	const char *key;
	char *target;
};

static int
find_mounted(void *ctx, const struct mount_row *row)
{
	struct mounted *m = ctx;

	if (m->target == NULL && strcmp(row->key, m->key) == 0)
		m->target = strdup(row->target);
	return 0;
}

static int
start_removal(struct engine *e, const char *name, struct container_row *row,
    struct imgd_error **err)
{
	struct mounted m = { NULL, NULL };
	int r;

	r = tagstore_container(e->store->tags, name, row, err);
	if (r < 0)
		return r;
	m.key = row->key;
	r = tagstore_mounts(e->store->tags, find_mounted, &m, err);
	if (r >= 0 && m.target != NULL)
		r = imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: container %s is mounted at %s", name,
		    m.target);
	free(m.target);
	return r < 0 ? r : tagstore_container_dying(e->store->tags, row->key,
			       err);
}

int
container_rm(struct engine *e, const char *name, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	int r;

	pthread_mutex_lock(&e->plan_mutex);
	r = start_removal(e, name, &row, err);
	pthread_mutex_unlock(&e->plan_mutex);
	if (r < 0)
		return r;
	FAIL_POINT("rm-condemned");
	r = remove_data(e, row.driver, row.key, err);
	/* Something reads it now: nothing was removed. */
	if (r == -EBUSY)
		(void)tagstore_container_ready(e->store->tags, row.key, NULL);
	if (r < 0)
		return r;
	container_event(e, "destroy", &row);
	return engine_reap(e, err);
}

int
job_rm(struct job *job, struct imgd_error **err)
{
	return container_rm(job->engine, job->args[0], err);
}

/* ---- diff ---- */

static int
is_abandoned(void *ctx)
{
	return job_is_abandoned(ctx);
}

static int
output_change(void *ctx, const char *path, int kind)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&sb, "{\"Kind\":%d,\"Path\":", kind);
	strbuf_json(&sb, path);
	strbuf_putc(&sb, '}');
	if (!sb.is_failed)
		job_output(ctx, sb.data);
	strbuf_done(&sb);
	return 0;
}

int
job_diff(struct job *job, struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	struct engine *e = job->engine;
	struct driver *driver;
	int r;

	r = tagstore_container(e->store->tags, job->args[0], &row, err);
	if (r >= 0)
		r = store_driver(e->store, row.driver, &driver, err);
	return r < 0 ? r : layer_changes(driver, row.key, row.parent,
			       output_change, is_abandoned, job, err);
}

/* ---- for others ---- */

struct users {
	const char *image, *driver;
	char *name;
};

static int
find_user(void *ctx, const struct container_row *row)
{
	struct users *u = ctx;

	if (u->name == NULL && strcmp(row->image, u->image) == 0 &&
	    (u->driver == NULL || strcmp(row->driver, u->driver) == 0) &&
	    strcmp(row->state, "dying") != 0)
		u->name = strdup(row->name);
	return 0;
}

int
containers_find_user(struct engine *e, const char *image, const char *driver,
    char **ret_name, struct imgd_error **err)
{
	struct users u = { image, driver, NULL };
	int r = tagstore_containers(e->store->tags, find_user, &u, err);

	if (r >= 0)
		*ret_name = u.name;
	else
		free(u.name);
	return r;
}

struct leftovers {
	struct strbuf keys;    /* 65 bytes each */
	struct strbuf drivers; /* NUL-terminated, one after the other */
};

static int
gather_leftover(void *ctx, const struct container_row *row)
{
	struct leftovers *l = ctx;

	if (strcmp(row->state, "ready") == 0 || strlen(row->key) != 64)
		return 0;
	strbuf_append(&l->keys, row->key, 65);
	strbuf_append(&l->drivers, row->driver, strlen(row->driver) + 1);
	return 0;
}

int
containers_recover(struct engine *e, struct imgd_error **err)
{
	struct leftovers l = { STRBUF_INIT, STRBUF_INIT };
	const char *driver;
	size_t pos;
	int r;

	r = tagstore_containers(e->store->tags, gather_leftover, &l, err);
	if (r >= 0 && (l.keys.is_failed || l.drivers.is_failed))
		r = imgd_error_set(err, ENOMEM, "out of memory");
	driver = l.drivers.data;
	for (pos = 0; r >= 0 && pos < l.keys.len; pos += 65) {
		cleanup_error struct imgd_error *why = NULL;

		if (remove_data(e, driver, l.keys.data + pos, &why) < 0)
			log_warn("%s; removed later, ignoring",
			    imgd_error_msg(why));
		driver += strlen(driver) + 1;
	}
	strbuf_done(&l.keys);
	strbuf_done(&l.drivers);
	return r;
}
