/* The export job: the tree of an image or of a writable layer, as a tar or a
 * filesystem that the client gets. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/events.h"
#include "core/image-file.h"
#include "core/inspect.h"
#include "core/job.h"
#include "core/layer-hold.h"
#include "core/layer-pack.h"
#include "core/outlet.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/strbuf.h"
#include "registry/manifest.h"

/* What is exported. */
struct subject {
	char key[65];
	struct driver *driver;
	struct layer_hold hold;      /* of an image */
	struct container_row row;    /* of a container; else empty */
	char id[65];  /* of the image, or of the container: hex digits */
	int64_t time; /* when it was made; 0: unknown */
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
	memcpy(s->id, s->key, sizeof(s->id));
	s->time = s->row.created_at;
	return store_driver(store, s->row.driver, &s->driver, err);
}

/* When the image says that it was made. */
static int64_t
image_time(const struct image *img)
{
	cleanup(image_config_freep) struct image_config *config = NULL;

	return image_config_parse(img->config, img->config_len, &config,
		   NULL) >= 0 &&
		config->created != NULL
	    ? inspect_time(config->created)
	    : 0;
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
	if (r < 0)
		return r;
	memcpy(s->key, s->hold.layers[img.n_layers - 1].key, sizeof(s->key));
	(void)snprintf(s->id, sizeof(s->id), "%s", digest_hex(id));
	s->time = image_time(&img);
	return 0;
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

static int
write_filesystem(struct job *job, const struct subject *s, const char *format,
    struct imgd_error **err)
{
	const char *size = job_getenv(job, "size");
	struct image_file f = { .format = format, .id = s->id,
		.time = s->time, .out_fd = job->fds[0],
		.has_verity = job_getenv(job, "verity") != NULL };
	int r;

	if (size != NULL && !str_to_u64(size, INT64_MAX, &f.size_bytes))
		return imgd_error_set(err, EINVAL, "size %s: not a number",
		    size);
	if (size != NULL && strcmp(format, "ext4") != 0)
		return imgd_error_set(err, EINVAL,
		    "%s: only ext4 can have a size of its own", format);
	r = image_file_make(job, s->driver, s->key, &f, err);
	if (r < 0)
		return r;
	strbuf_printf(&job->result,
	    "{\"Format\":\"%s\",\"Size\":%ju,\"UUID\":\"%s\"", format,
	    (uintmax_t)f.file_bytes, f.uuid);
	if (f.has_verity)
		strbuf_printf(&job->result,
		    ",\"RootHash\":\"%s\",\"HashOffset\":%ju", f.root_hash,
		    (uintmax_t)f.hash_offset);
	strbuf_putc(&job->result, '}');
	return 0;
}

static int
write_out(struct job *job, const struct subject *s, struct imgd_error **err)
{
	const char *format = job_getenv(job, "format");

	if (format == NULL || strcmp(format, "tar") == 0)
		return write_tree(job, s, err);
	if (strcmp(format, "ext4") != 0 && strcmp(format, "squashfs") != 0 &&
	    strcmp(format, "erofs") != 0)
		return imgd_error_set(err, EINVAL, "no such format: %s",
		    format);
	return write_filesystem(job, s, format, err);
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
		r = write_out(job, &s, err);
	if (r >= 0 && s.row.key != NULL)
		container_event(job->engine, "export", &s.row);
	container_row_done(&s.row);
	layer_hold_done(&s.hold);
	return r;
}
