/* Jobs that change names: tag and rmi. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/containers.h"
#include "core/engine.h"
#include "core/events.h"
#include "core/images.h"
#include "core/job.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fail-point.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

int
job_tag(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup(image_name_done) struct image_name source = { 0 };
	cleanup_free char *id = NULL, *name = NULL, *shown = NULL;
	struct engine *e = job->engine;
	int r;

	r = reference_parse(job->args[1], REFERENCE_DEFAULT_TAG, &ref, err);
	if (r < 0)
		return r;
	if (ref.digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "refusing to create a tag with a digest reference");
	name = reference_name(&ref);
	shown = reference_familiar(&ref);
	if (name == NULL || shown == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	/* It would read as an image id. */
	if (strcmp(ref.path, "library/sha256") == 0)
		return imgd_error_set(err, EINVAL,
		    "refusing to create an ambiguous tag using digest "
		    "algorithm as name");
	pthread_mutex_lock(&e->plan_mutex);
	r = store_find_image(e->store, job->args[0], &id, &source, err);
	if (r >= 0)
		r = tagstore_tag(e->store->tags, name, ref.tag, id,
		    source.manifest_digest != NULL ? source.manifest_digest
						   : "",
		    err);
	pthread_mutex_unlock(&e->plan_mutex);
	if (r >= 0)
		image_event(e, "tag", id, shown, id);
	return r;
}

/* ---- who needs an image ---- */

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
image_find_user(struct engine *e, const char *image, const char *driver,
    char **ret, struct imgd_error **err)
{
	struct mounted m = { image, driver, NULL };
	cleanup_free char *target = NULL, *container = NULL;
	char *user = NULL;
	int r;

	r = tagstore_mounts(e->store->tags, find_mounted, &m, err);
	target = m.target;
	if (r >= 0 && target == NULL)
		r = containers_find_user(e, image, driver, &container, err);
	if (r < 0)
		return r;
	if ((target != NULL || container != NULL) &&
	    asprintf(&user, "%s %s", target != NULL ? "mount" : "container",
		target != NULL ? target : container) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret = user;
	return 0;
}

int
image_check_unused(struct engine *e, const char *image, const char *driver,
    struct imgd_error **err)
{
	cleanup_free char *user = NULL;
	int r = image_find_user(e, image, driver, &user, err);

	return r < 0 || user == NULL
	    ? r
	    : imgd_error_set(err, IMGD_E_CONFLICT,
		  "image is being used by %s", user);
}

/* ---- removal ---- */

struct names {
	struct image_name *items;
	size_t n, n_tags;
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
	return 0;
}

static void
names_done(struct names *names)
{
	while (names->n > 0)
		image_name_done(&names->items[--names->n]);
	free(names->items);
}

/* One tag at most, and nothing but digests of one repository with it. */
static bool
is_single(const struct names *names)
{
	size_t i;

	/* Tags come first. */
	for (i = 1; i < names->n; i++)
		if (names->items[i].tag[0] != '\0' ||
		    strcmp(names->items[i].repository,
			names->items[0].repository) != 0)
			return false;
	return true;
}

/* One record of what was done. */
static void
record(struct removal *rm, const char *what, const char *text)
{
	size_t start = rm->records.len;

	if (start > 0)
		strbuf_putc(&rm->records, ',');
	start = rm->records.len;
	strbuf_printf(&rm->records, "{\"%s\":", what);
	strbuf_json(&rm->records, text);
	strbuf_putc(&rm->records, '}');
	if (!rm->records.is_failed && rm->job != NULL)
		job_output(rm->job, rm->records.data + start);
}

static void
record_untagged(struct removal *rm, const char *id, const char *labels,
    const struct image_name *n)
{
	const char *const attributes[][2] = { { "name", id } };

	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *full = NULL, *familiar = NULL;
	bool is_tag = n->tag[0] != '\0';

	if (asprintf(&full, "%s%c%s", n->repository, is_tag ? ':' : '@',
		is_tag ? n->tag : n->manifest_digest) < 0) {
		full = NULL;
		return;
	}
	if (reference_parse(full, 0, &ref, NULL) >= 0)
		familiar = reference_familiar(&ref);
	record(rm, "Untagged", familiar != NULL ? familiar : full);
	engine_event(rm->engine, "image", "untag", id, labels, attributes, 1);
}

struct dying {
	struct strbuf keys, chains; /* 65 and DIGEST_STR_SIZE bytes each */
	uint64_t bytes;
};

static int
note_dying(void *ctx, const struct layer_row *row)
{
	struct dying *d = ctx;
	char chain[DIGEST_STR_SIZE] = "";

	if (strlen(row->key) != 64)
		return 0;
	(void)snprintf(chain, sizeof(chain), "%s", row->chain_id);
	strbuf_append(&d->keys, row->key, 65);
	strbuf_append(&d->chains, chain, sizeof(chain));
	d->bytes += row->size_bytes;
	return 0;
}

/* Layers of any image that are on their way out: the top first. */
static int
gather_dying(struct engine *e, struct dying *d, struct imgd_error **err)
{
	return tagstore_layers(e->store->tags, NULL, "dying", note_dying, d,
	    err);
}

static void
dying_done(struct dying *d)
{
	strbuf_done(&d->keys);
	strbuf_done(&d->chains);
}

static bool
is_among(const struct strbuf *sb, size_t n_bytes, size_t size,
    const char *s)
{
	size_t pos;

	for (pos = 0; pos < n_bytes; pos += size)
		if (strcmp(sb->data + pos, s) == 0)
			return true;
	return false;
}

/* Tell of the layers that die with the image, once each whatever the number of
 * drivers. */
static int
record_layers(struct removal *rm, const struct dying *before,
    struct imgd_error **err)
{
	cleanup(dying_done) struct dying now = { STRBUF_INIT, STRBUF_INIT, 0 };
	size_t i, n;
	int r = gather_dying(rm->engine, &now, err);

	if (r < 0)
		return r;
	if (now.keys.is_failed || now.chains.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	n = now.keys.len / 65;
	for (i = 0; i < n; i++) {
		const char *chain = now.chains.data + i * DIGEST_STR_SIZE;

		if (chain[0] != '\0' &&
		    !is_among(&before->keys, before->keys.len, 65,
			now.keys.data + i * 65) &&
		    !is_among(&now.chains, i * DIGEST_STR_SIZE,
			DIGEST_STR_SIZE, chain))
			record(rm, "Deleted", chain);
	}
	rm->bytes += now.bytes - before->bytes;
	return 0;
}

int
image_remove(struct removal *rm, const char *id, const char *driver,
    struct imgd_error **err)
{
	cleanup(dying_done) struct dying before = { STRBUF_INIT, STRBUF_INIT,
		0 };
	cleanup(names_done) struct names names = { 0 };
	struct engine *e = rm->engine;
	cleanup_free char *labels = event_labels(e, id);
	const char *const attributes[][2] = { { "name", id } };
	bool is_gone = false;
	size_t i;
	int r;

	r = tagstore_names(e->store->tags, id, gather_name, &names, err);
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = gather_dying(e, &before, err);
	if (r >= 0)
		r = tagstore_image_remove(e->store->tags, id, driver,
		    &is_gone, err);
	if (r < 0)
		return r;
	if (!is_gone) {
		record(rm, "Dropped", driver);
		return 0;
	}
	for (i = 0; i < names.n; i++)
		record_untagged(rm, id, labels, &names.items[i]);
	record(rm, "Deleted", id);
	engine_event(e, "image", "delete", id, labels, attributes, 1);
	return record_layers(rm, &before, err);
}

int
image_prune(struct removal *rm, const char *id, bool is_untagged,
    struct imgd_error **err)
{
	cleanup(names_done) struct names names = { 0 };
	struct tagstore *tags = rm->engine->store->tags;
	cleanup_free char *user = NULL, *drivers = NULL;
	int r;

	r = tagstore_names(tags, id, gather_name, &names, err);
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = tagstore_image_drivers(tags, id, &drivers, err);
	if (r >= 0)
		r = image_find_user(rm->engine, id, NULL, &user, err);
	if (r < 0 || drivers[0] == '\0' || user != NULL ||
	    (is_untagged && names.n_tags > 0))
		return r;
	return image_remove(rm, id, NULL, err);
}

/* ---- rmi ---- */

/* Whether a name goes when row does: row's own, and the digests of its
 * repository with its last tag there. */
static bool
goes_with(const struct image_name *n, const struct image_name *row,
    bool is_last)
{
	if (strcmp(n->repository, row->repository) != 0)
		return false;
	if (n->tag[0] != '\0' || row->tag[0] == '\0')
		return strcmp(n->tag, row->tag) == 0 &&
		    (n->tag[0] != '\0' ||
			strcmp(n->manifest_digest, row->manifest_digest) == 0);
	return is_last;
}

/* Drop all names of an image that do not go with row; tags come first. */
static void
keep_going(struct names *names, const struct image_name *row)
{
	bool is_last = true;
	size_t i, n = 0;

	for (i = 0; i < names->n; i++)
		if (names->items[i].tag[0] != '\0' &&
		    strcmp(names->items[i].tag, row->tag) != 0 &&
		    strcmp(names->items[i].repository, row->repository) == 0)
			is_last = false;
	for (i = 0; i < names->n; i++) {
		if (goes_with(&names->items[i], row, is_last))
			names->items[n++] = names->items[i];
		else
			image_name_done(&names->items[i]);
	}
	names->n = n;
}

static int
untag(struct removal *rm, const char *id, const struct image_name *row,
    const struct names *going, struct imgd_error **err)
{
	cleanup_free char *labels = event_labels(rm->engine, id);
	size_t i;
	int r;

	r = tagstore_untag(rm->engine->store->tags, row->repository, row->tag,
	    row->tag[0] != '\0' ? NULL : row->manifest_digest, err);
	for (i = 0; i < going->n && r >= 0; i++)
		record_untagged(rm, id, labels, &going->items[i]);
	return r;
}

/*
 * By a name: it goes; the image goes with its last one, unless somebody uses
 * it: then it stays without a name, if that was forced.
 *
 * Name and image go in one transaction: there is no moment when the image is
 * there without it.
 */
static int
rmi_by_name(struct removal *rm, const char *typed, const char *id,
    const struct image_name *row, struct names *names, bool is_forced,
    struct imgd_error **err)
{
	cleanup_free char *user = NULL;
	size_t n = names->n;
	int r;

	r = image_find_user(rm->engine, id, NULL, &user, err);
	if (r < 0)
		return r;
	if (user != NULL && !is_forced && is_single(names))
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: unable to remove repository reference \"%s\" "
		    "(must force) - %s is using its referenced image %.12s",
		    typed, user, digest_hex(id));
	keep_going(names, row);
	return names->n == n && user == NULL
	    ? image_remove(rm, id, NULL, err)
	    : untag(rm, id, row, names, err);
}

static int
rmi_by_id(struct removal *rm, const char *id, const char *driver,
    const struct names *names, bool is_forced, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r = image_check_unused(rm->engine, id, driver, &why);

	if (r == -IMGD_E_CONFLICT)
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: unable to delete %.12s (cannot be forced) - "
		    "%s",
		    digest_hex(id), imgd_error_msg(why));
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	if (!is_forced && driver == NULL && !is_single(names))
		return imgd_error_set(err, IMGD_E_CONFLICT,
		    "conflict: unable to delete %.12s (must be forced) - "
		    "image is referenced in multiple repositories",
		    digest_hex(id));
	return image_remove(rm, id, driver, err);
}

static int
rmi_locked(struct removal *rm, const char *typed, const char *driver,
    bool is_forced, struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup(names_done) struct names names = { 0 };
	struct engine *e = rm->engine;
	cleanup_free char *id = NULL;
	int r;

	r = store_find_image(e->store, typed, &id, &row, err);
	if (r >= 0)
		r = tagstore_names(e->store->tags, id, gather_name, &names,
		    err);
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	if (row.repository != NULL && driver == NULL)
		return rmi_by_name(rm, typed, id, &row, &names, is_forced,
		    err);
	return rmi_by_id(rm, id, driver, &names, is_forced, err);
}

int
job_rmi(struct job *job, struct imgd_error **err)
{
	cleanup(driver_info_done) struct driver_info info = { 0 };
	struct engine *e = job->engine;
	struct removal rm = { .engine = e, .job = job,
		.records = STRBUF_INIT };
	const char *driver = job_getenv(job, "driver");
	bool is_forced = job_getenv(job, "force") != NULL;
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
		r = rmi_locked(&rm, job->args[i], driver, is_forced, err);
		pthread_mutex_unlock(&e->plan_mutex);
	}
	FAIL_POINT("rmi-condemned");
	strbuf_printf(&job->result, "[%s]",
	    rm.records.data != NULL ? rm.records.data : "");
	strbuf_done(&rm.records);
	if (r >= 0)
		return engine_reap(e, err);
	(void)engine_reap(e, NULL);
	return r;
}
