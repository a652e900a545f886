/* Jobs that change names: tag and rmi. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/containers.h"
#include "core/engine.h"
#include "core/images.h"
#include "core/job.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

int
job_tag(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup(image_name_done) struct image_name source = { 0 };
	cleanup_free char *id = NULL, *name = NULL;
	struct engine *e = job->engine;
	int r;

	r = reference_parse(job->args[1], REFERENCE_DEFAULT_TAG, &ref, err);
	if (r < 0)
		return r;
	if (ref.digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "%s: a tag cannot be a digest", job->args[1]);
	name = reference_name(&ref);
	if (name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (strcmp(ref.path, "library/sha256") == 0)
		return imgd_error_set(err, EINVAL,
		    "%s: a repository named sha256 would read as an image id",
		    job->args[1]);
	pthread_mutex_lock(&e->plan_mutex);
	r = store_find_image(e->store, job->args[0], &id, &source, err);
	if (r >= 0)
		r = tagstore_tag(e->store->tags, name, ref.tag, id,
		    source.manifest_digest != NULL ? source.manifest_digest
						   : "",
		    err);
	pthread_mutex_unlock(&e->plan_mutex);
	return r;
}

/* ---- rmi ---- */

struct names {
	struct image_name *items;
	size_t n, n_tags;
	bool has_two_repositories;
};

static int
gather_name(void *ctx, const struct image_name *n)
{
	struct names *names = ctx;
	struct image_name *items, *to;

	items = reallocarray(names->items, names->n + 1, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	names->items = items;
	to = &items[names->n++];
	*to = (struct image_name) {
		.repository = strdup(n->repository),
		.tag = strdup(n->tag),
		.manifest_digest = strdup(n->manifest_digest),
	};
	if (to->repository == NULL || to->tag == NULL ||
	    to->manifest_digest == NULL)
		return -ENOMEM;
	names->n_tags += n->tag[0] != '\0';
	if (strcmp(items[0].repository, to->repository) != 0)
		names->has_two_repositories = true;
	return 0;
}

static void
names_done(struct names *names)
{
	while (names->n > 0)
		image_name_done(&names->items[--names->n]);
	free(names->items);
}

/* Print "WHAT: text" as one object of the output stream. */
static void
output_pair(struct job *job, const char *what, const char *text)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&sb, "{\"%s\":", what);
	strbuf_json(&sb, text);
	strbuf_putc(&sb, '}');
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
}

static void
output_untagged(struct job *job, const struct image_name *n)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *full = NULL, *familiar = NULL;

	if (asprintf(&full, "%s%s%s", n->repository,
		n->tag[0] != '\0' ? ":" : "@",
		n->tag[0] != '\0' ? n->tag : n->manifest_digest) < 0)
		return;
	if (reference_parse(full, 0, &ref, NULL) >= 0)
		familiar = reference_familiar(&ref);
	output_pair(job, "Untagged", familiar != NULL ? familiar : full);
}

struct mounted {
	const char *image, *driver;
	char *target;
};

static int
find_mounted(void *ctx, const struct mount_row *row)
{
	struct mounted *m = ctx;

	if (m->target == NULL && strcmp(row->image, m->image) == 0 &&
	    (m->driver == NULL || strcmp(row->driver, m->driver) == 0) &&
	    strcmp(row->kind, MOUNT_KIND_RW) != 0)
		m->target = strdup(row->target);
	return 0;
}

int
image_check_unused(struct engine *e, const char *image, const char *driver,
    struct imgd_error **err)
{
	struct mounted m = { image, driver, NULL };
	int r = tagstore_mounts(e->store->tags, find_mounted, &m, err);

	if (r >= 0 && m.target != NULL)
		r = imgd_error_set(err, IMGD_E_CONFLICT,
		    "image is mounted at %s", m.target);
	free(m.target);
	return r < 0 ? r
		     : containers_check_unused(e, image, driver, err);
}

/* Remove the image from one driver or all, with what it then no longer has:
 * its names and the layers that nothing else needs. */
static int
delete_image(struct job *job, const char *id, const char *driver,
    const struct names *names, struct imgd_error **err)
{
	struct engine *e = job->engine;
	bool is_gone = false;
	size_t i;
	int r;

	r = tagstore_image_remove(e->store->tags, id, driver, &is_gone, err);
	if (r < 0)
		return r;
	if (!is_gone) {
		output_pair(job, "Dropped", driver);
		return 0;
	}
	for (i = 0; i < names->n; i++)
		output_untagged(job, &names->items[i]);
	output_pair(job, "Deleted", id);
	return 0;
}

static int
rmi_locked(struct job *job, const char *typed, const char *driver,
    struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup(names_done) struct names names = { 0 };
	cleanup_error struct imgd_error *why = NULL;
	struct engine *e = job->engine;
	cleanup_free char *id = NULL;
	bool is_forced = job_getenv(job, "force") != NULL, is_last;
	int r;

	r = store_find_image(e->store, typed, &id, &row, err);
	if (r >= 0)
		r = tagstore_names(e->store->tags, id, gather_name, &names,
		    err);
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	/* With its last tag an image goes; digest names do not hold it. */
	is_last = row.repository == NULL || driver != NULL ||
	    (row.tag[0] != '\0' ? names.n_tags <= 1
				: names.n_tags == 0 && names.n <= 1);
	if (!is_last) {
		r = tagstore_untag(e->store->tags, row.repository, row.tag,
		    row.tag[0] != '\0' ? NULL : row.manifest_digest, err);
		if (r >= 0)
			output_untagged(job, &row);
		return r;
	}
	if (row.repository == NULL && names.has_two_repositories &&
	    !is_forced && driver == NULL)
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: unable to delete %s (must be forced) - image "
		    "is referenced in multiple repositories",
		    typed);
	r = image_check_unused(e, id, driver, &why);
	if (r == -IMGD_E_CONFLICT)
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: unable to delete %s - %s", typed,
		    imgd_error_msg(why));
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	return delete_image(job, id, driver, &names, err);
}

int
job_rmi(struct job *job, struct imgd_error **err)
{
	cleanup(driver_info_done) struct driver_info info = { 0 };
	const char *driver = job_getenv(job, "driver");
	struct engine *e = job->engine;
	size_t i;
	int r = 0;

	if (driver != NULL) {
		r = store_load_driver(e->store, driver, &info, err);
		if (r < 0)
			return r;
		driver = info.table.name;
	}
	for (i = 0; i < job->n_args && r >= 0; i++) {
		pthread_mutex_lock(&e->plan_mutex);
		r = rmi_locked(job, job->args[i], driver, err);
		pthread_mutex_unlock(&e->plan_mutex);
	}
	if (r >= 0)
		return engine_reap(e, err);
	(void)engine_reap(e, NULL);
	return r;
}
