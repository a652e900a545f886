/*
 * The save job: images to an archive that the client passed, as a file, a
 * pipe or a directory.
 *
 * Everything is found and held before the first byte is written; what the
 * archive says of its layers is known by then, so documents come first.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/archive-out.h"
#include "core/events.h"
#include "core/inspect.h"
#include "core/job.h"
#include "core/layer-pack.h"
#include "core/save.h"
#include "lib/cleanup.h"
#include "registry/manifest.h"
#include "registry/reference.h"

static void
save_done(struct save *s)
{
	size_t i, k;

	for (i = 0; i < s->n; i++) {
		struct saved_image *img = &s->images[i];

		layer_hold_done(&img->hold);
		image_done(&img->image);
		strbuf_done(&img->manifest);
		for (k = 0; k < img->n_tags; k++) {
			free(img->tags[k].repository);
			free(img->tags[k].tag);
		}
		free(img->tags);
	}
	free(s->images);
	for (i = 0; i < s->n_blobs; i++)
		free(s->blobs[i].data);
	free(s->blobs);
}

/* ---- which images ---- */

static int
add_image(struct save *s, const char *id, struct saved_image **ret,
    struct imgd_error **err)
{
	struct saved_image *images;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strcmp(s->images[i].image.id, id) == 0) {
			*ret = &s->images[i];
			return 0;
		}
	images = reallocarray(s->images, s->n + 1, sizeof(*images));
	if (images == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->images = images;
	images += s->n;
	*images = (struct saved_image) { .manifest = STRBUF_INIT };
	images->image.id = strdup(id);
	if (images->image.id == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->n++;
	*ret = images;
	return 0;
}

static int
add_tag(struct save *s, const char *id, const char *repository,
    const char *tag, struct imgd_error **err)
{
	struct saved_image *img;
	struct saved_tag *tags;
	size_t i;
	int r = add_image(s, id, &img, err);

	if (r < 0)
		return r;
	for (i = 0; i < img->n_tags; i++)
		if (strcmp(img->tags[i].repository, repository) == 0 &&
		    strcmp(img->tags[i].tag, tag) == 0)
			return 0;
	tags = reallocarray(img->tags, img->n_tags + 1, sizeof(*tags));
	if (tags == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	img->tags = tags;
	tags += img->n_tags++;
	*tags = (struct saved_tag) { strdup(repository), strdup(tag) };
	return tags->repository != NULL && tags->tag != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

struct all_tags {
	struct save *save;
	const char *repository;
	size_t n;
	struct imgd_error *error;
};

static int
gather_tag(void *ctx, const struct image_name *n)
{
	struct all_tags *a = ctx;

	if (n->tag[0] == '\0' || strcmp(n->repository, a->repository) != 0)
		return 0;
	a->n++;
	return add_tag(a->save, n->image, n->repository, n->tag, &a->error);
}

/* All tags of a repository: 1; 0 if it has none. */
static int
find_repository(struct store *store, struct save *s, const char *repository,
    struct imgd_error **err)
{
	struct all_tags a = { .save = s, .repository = repository };
	int r = tagstore_names(store->tags, NULL, gather_tag, &a, err);

	if (a.error != NULL && err != NULL && *err == NULL)
		*err = take_ptr(&a.error);
	imgd_error_free(a.error);
	return r < 0 ? r : a.n > 0;
}

/* As docker: NAME alone stands for all its tags, NAME:TAG for that one; an
 * image that is meant by an id or a digest gets no name. */
static int
find_image(struct store *store, struct save *s, const char *typed,
    struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup_free char *id = NULL, *name = NULL;
	struct saved_image *img;
	int r;

	if (!str_starts(typed, "sha256:") &&
	    reference_parse(typed, 0, &ref, NULL) >= 0 && ref.tag == NULL &&
	    ref.digest == NULL) {
		name = reference_name(&ref);
		if (name == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		r = find_repository(store, s, name, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	r = store_find_image(store, typed, &id, &row, err);
	if (r < 0)
		return r;
	return row.repository != NULL && row.tag[0] != '\0'
	    ? add_tag(s, id, row.repository, row.tag, err)
	    : add_image(s, id, &img, err);
}

/* ---- what is written of one ---- */

/* Read an image's row but for the bytes of its documents, which may be long,
 * and hold its layers. */
static int
load_image(struct job *job, struct saved_image *img, struct imgd_error **err)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	const char *platform = job_getenv(job, "platform");
	struct store *s = job->engine->store;
	cleanup_free char *driver = NULL;
	struct image whole = { 0 };
	int r;

	r = store_image_driver(s, img->image.id, job_getenv(job, "driver"),
	    /* caps= */ 0, &driver, err);
	if (r >= 0)
		r = store_driver(s, driver, &img->driver, err);
	if (r >= 0)
		r = tagstore_image(s->tags, img->image.id, &whole, err);
	if (r < 0)
		return r;
	image_done(&img->image);
	img->image = whole;
	r = image_config_parse(whole.config, whole.config_len, &c, err);
	if (r >= 0 && platform != NULL)
		r = image_config_check_platform(c, platform, err);
	if (r < 0)
		return r;
	img->created = c->created != NULL ? inspect_time(c->created) : 0;
	img->config_len = whole.config_len;
	free(img->image.config);
	free(img->image.manifest);
	img->image.config = img->image.manifest = NULL;
	r = layer_hold(job->engine, img->driver, &img->image, "save",
	    &img->hold, err);
	return r < 0 ? r : save_make_manifest(img, err);
}

static int
gather(struct job *job, struct save *s, struct imgd_error **err)
{
	struct engine *e = job->engine;
	size_t i;
	int r = 0;

	pthread_mutex_lock(&e->plan_mutex);
	for (i = 0; r >= 0 && i < job->n_args; i++)
		r = find_image(e->store, s, job->args[i], err);
	for (i = 0; r >= 0 && i < s->n; i++) {
		r = load_image(job, &s->images[i], err);
		if (r < 0)
			(void)imgd_error_prefix(err, "%.19s",
			    s->images[i].image.id);
	}
	/* Docker would take their manifests for images. */
	if (r >= 0 && s->is_oci)
		r = save_find_signatures(s, e->store->tags, err);
	pthread_mutex_unlock(&e->plan_mutex);
	return r;
}

/* ---- writing ---- */

static int
write_text(struct archive_out *a, const char *name, struct strbuf *sb,
    struct imgd_error **err)
{
	int r = 0;

	if (sb->is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	else if (sb->len > 0)
		r = archive_out_file(a, name, sb->data, sb->len, /* time= */ 0,
		    err);
	strbuf_done(sb);
	return r;
}

static int
write_documents(struct archive_out *a, const struct save *s,
    struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	int r;

	strbuf_puts(&sb, "{\"imageLayoutVersion\": \"1.0.0\"}");
	r = write_text(a, "oci-layout", &sb, err);
	if (r < 0)
		return r;
	save_put_index(s, &sb);
	r = write_text(a, "index.json", &sb, err);
	if (r < 0 || s->is_oci)
		return r;
	save_put_docker_manifest(s, &sb);
	r = write_text(a, "manifest.json", &sb, err);
	if (r < 0)
		return r;
	save_put_repositories(s, &sb);
	return write_text(a, "repositories", &sb, err);
}

static int
write_layer(struct job *job, struct archive_out *a,
    const struct saved_image *img, size_t i, struct imgd_error **err)
{
	const char *diff_id = img->image.layers[i].diff_id;
	const struct held_layer *l = &img->hold.layers[i];
	cleanup(packing_done) struct packing packing = PACKING_INIT;
	/* Closed first, so that the packer ends. */
	cleanup_close int tar_fd = -EBADF;
	char name[SAVE_BLOB_NAME_SIZE];
	int r;

	r = archive_out_begin(a, save_blob_name(diff_id, name), l->tar_bytes,
	    img->created, err);
	if (r >= 0)
		r = packing_start(&packing, job->engine, img->driver, l->key,
		    /* is_tree= */ false, &tar_fd, err);
	if (r >= 0)
		r = outlet_copy(&a->to, tar_fd, l->tar_bytes, &a->bytes, err);
	if (r >= 0)
		r = packing_wait(&packing, diff_id, err);
	if (r >= 0)
		r = archive_out_end(a, err);
	return r < 0 ? imgd_error_prefix(err, "layer %.12s",
			   digest_hex(diff_id))
		     : 0;
}

/* Layers that are written already, by digest: several images share some, and
 * one may have the same twice. */
struct written {
	const char **diff_ids;
	size_t n;
};

static bool
is_written(struct written *w, const char *diff_id)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		if (strcmp(w->diff_ids[i], diff_id) == 0)
			return true;
	w->diff_ids[w->n++] = diff_id;
	return false;
}

static int
write_image(struct job *job, struct archive_out *a,
    const struct saved_image *img, struct written *w, struct imgd_error **err)
{
	cleanup(image_done) struct image whole = { 0 };
	char name[SAVE_BLOB_NAME_SIZE];
	size_t i;
	int r;

	r = tagstore_image(job->engine->store->tags, img->image.id, &whole,
	    err);
	if (r >= 0)
		r = archive_out_file(a, save_blob_name(img->image.id, name),
		    whole.config, whole.config_len, img->created, err);
	if (r >= 0)
		r = archive_out_file(a,
		    save_blob_name(img->manifest_digest, name),
		    img->manifest.data, img->manifest.len, img->created, err);
	for (i = 0; r >= 0 && i < img->image.n_layers; i++)
		if (!is_written(w, img->image.layers[i].diff_id))
			r = write_layer(job, a, img, i, err);
	return r;
}

static int
write_all(struct job *job, struct archive_out *a, const struct save *s,
    struct imgd_error **err)
{
	cleanup_free const char **diff_ids = NULL;
	struct written w = { NULL, 0 };
	size_t i, n = 1;
	int r;

	for (i = 0; i < s->n; i++)
		n += s->images[i].image.n_layers;
	w.diff_ids = diff_ids = calloc(n, sizeof(*diff_ids));
	if (diff_ids == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = write_documents(a, s, err);
	if (r >= 0)
		r = archive_out_dir(a, "blobs/", /* time= */ 0, err);
	if (r >= 0)
		r = archive_out_dir(a, "blobs/sha256/", /* time= */ 0, err);
	/* What a reader has to know first comes first: signatures, too. */
	for (i = 0; r >= 0 && i < s->n_blobs; i++) {
		char name[SAVE_BLOB_NAME_SIZE];

		r = archive_out_file(a,
		    save_blob_name(s->blobs[i].digest, name),
		    s->blobs[i].data, s->blobs[i].len, /* time= */ 0, err);
	}
	for (i = 0; r >= 0 && i < s->n; i++) {
		r = write_image(job, a, &s->images[i], &w, err);
		if (r < 0)
			(void)imgd_error_prefix(err, "%.19s",
			    s->images[i].image.id);
	}
	return r < 0 ? r : archive_out_finish(a, err);
}

int
job_save(struct job *job, struct imgd_error **err)
{
	cleanup(save_done) struct save s = { .n = 0 };
	cleanup(archive_out_done) struct archive_out a = { .file_fd = -EBADF };
	const char *format = job_getenv(job, "format");
	size_t i;
	int r;

	s.is_oci = format != NULL && strcmp(format, "oci") == 0;
	if (job->n_fds != 1 ||
	    (format != NULL && !s.is_oci && strcmp(format, "docker") != 0))
		return imgd_error_set(err, EINVAL,
		    "save needs somewhere to write to, and the format docker "
		    "or oci");
	r = archive_out_open(&a, job, job->fds[0], err);
	if (r >= 0 && a.is_dir && !s.is_oci)
		r = imgd_error_set(err, EINVAL,
		    "only the format oci can be a directory");
	if (r >= 0)
		r = gather(job, &s, err);
	if (r >= 0)
		r = write_all(job, &a, &s, err);
	for (i = 0; r >= 0 && i < s.n; i++)
		image_event(job->engine, "save", s.images[i].image.id,
		    s.images[i].image.id, s.images[i].image.id);
	return r;
}
