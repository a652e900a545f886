/* The export job: the tree of an image or of a writable layer, as a tar that
 * the client gets. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/events.h"
#include "core/job.h"
#include "core/layer-hold.h"
#include "core/layer-pack.h"
#include "core/outlet.h"
#include "lib/cleanup.h"

/* What is exported. */
struct subject {
	char key[65];
	struct driver *driver;
	struct layer_hold hold;      /* of an image */
	struct container_row row;    /* of a container; else empty */
};

/* A container's tree; -ENOENT. */
static int
find_container(struct job *job, struct subject *s, struct imgd_error **err)
{
	struct store *store = job->engine->store;
	int r = tagstore_container(store->tags, job->args[0], &s->row, err);

	if (r < 0)
		return r;
	(void)snprintf(s->key, sizeof(s->key), "%s", s->row.key);
	return store_driver(store, s->row.driver, &s->driver, err);
}

static int
find_image(struct job *job, struct subject *s, struct imgd_error **err)
{
	cleanup(image_done) struct image img = { 0 };
	cleanup_free char *id = NULL, *driver = NULL;
	struct store *store = job->engine->store;
	int r;

	r = store_find_image(store, job->args[0], &id, NULL, err);
	if (r >= 0)
		r = store_image_driver(store, id, job_getenv(job, "driver"),
		    /* caps= */ 0, &driver, err);
	if (r >= 0)
		r = store_driver(store, driver, &s->driver, err);
	if (r >= 0)
		r = tagstore_image(store->tags, id, &img, err);
	if (r >= 0 && img.n_layers == 0)
		r = imgd_error_set(err, EINVAL, "the image has no layers");
	if (r >= 0)
		r = layer_hold(job->engine, s->driver, &img, "export",
		    &s->hold, err);
	if (r >= 0)
		memcpy(s->key, s->hold.layers[img.n_layers - 1].key,
		    sizeof(s->key));
	return r;
}

static int
find(struct job *job, struct subject *s, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r;

	pthread_mutex_lock(&job->engine->plan_mutex);
	r = find_container(job, s, &why);
	if (r == -ENOENT)
		r = find_image(job, s, err);
	else if (r < 0)
		r = imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	pthread_mutex_unlock(&job->engine->plan_mutex);
	return r;
}

static int
write_tree(struct job *job, const struct subject *s, struct imgd_error **err)
{
	cleanup(packing_done) struct packing packing = PACKING_INIT;
	/* Closed first, so that the packer ends. */
	cleanup_close int tar_fd = -EBADF;
	struct outlet out;
	uint64_t bytes = 0;
	int r;

	r = outlet_open(job, job->fds[0], &out, err);
	if (r >= 0)
		r = packing_start(&packing, job->engine, s->driver, s->key,
		    /* is_tree= */ true, &tar_fd, err);
	if (r >= 0)
		r = outlet_copy(&out, tar_fd, UINT64_MAX, &bytes, err);
	return r < 0 ? r : packing_wait(&packing, /* diff_id= */ "", err);
}

int
job_export(struct job *job, struct imgd_error **err)
{
	struct subject s = { .driver = NULL };
	int r;

	if (job->n_fds != 1)
		return imgd_error_set(err, EINVAL,
		    "export needs somewhere to write to");
	r = find(job, &s, err);
	if (r >= 0)
		r = write_tree(job, &s, err);
	if (r >= 0 && s.row.key != NULL)
		container_event(job->engine, "export", &s.row);
	container_row_done(&s.row);
	layer_hold_done(&s.hold);
	return r;
}
