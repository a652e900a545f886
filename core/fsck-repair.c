/* Making damaged layers again: pulls of an image for one of its layers. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsck.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/reference.h"
#include "tagstore/health.h"

/* So many places are asked at most. */
#define MAX_PLACES 8

static struct tagstore *
tags_of(const struct fsck *f)
{
	return f->job->engine->store->tags;
}

/* ---- one try ---- */

/* Run p, which is taken, for the one layer.  *ret_difference: of fsck's
 * comparison, or NULL. */
static int
run(struct fsck *f, const struct fsck_row *row, struct pull *p,
    bool compares, char **ret_difference, struct imgd_error **err)
{
	int r;

	memcpy(p->repair_key, row->key, sizeof(p->repair_key));
	p->compares = compares;
	p->only_compares = compares && !f->is_repairing;
	r = pull_stay_alone(p, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	r = pull_run(f->job, p, &p, err);
	if (r < 0)
		return r;
	if (ret_difference != NULL)
		*ret_difference = take_ptr(&p->difference);
	pull_unref(p);
	return 0;
}

/* ---- which images have the layer ---- */

struct ids {
	struct strbuf list; /* NUL after each */
};

static int
add_id(void *ctx, const char *id)
{
	struct ids *ids = ctx;

	strbuf_append(&ids->list, id, strlen(id) + 1);
	return 0;
}

static int
find_images(struct fsck *f, const struct fsck_row *row, struct ids *ret,
    struct imgd_error **err)
{
	int r = tagstore_layer_images(tags_of(f), row->driver, row->chain_id,
	    add_id, ret, err);

	if (r >= 0 && ret->list.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0 && ret->list.len == 0)
		return imgd_error_set(err, ENOENT, "no image has it");
	return r;
}

static void
ids_done(struct ids *ids)
{
	strbuf_done(&ids->list);
}

int
fsck_compare(struct fsck *f, const struct fsck_row *row, struct driver *d,
    char **ret_mended, struct imgd_error **err)
{
	cleanup(ids_done) struct ids ids = { STRBUF_INIT };
	cleanup_free char *difference = NULL;
	struct pull *p;
	int r;

	r = find_images(f, row, &ids, err);
	if (r >= 0)
		r = pull_new_copy(f->job->engine, ids.list.data, d,
		    row->driver, &p, err);
	if (r >= 0)
		r = run(f, row, p, /* compares= */ true, &difference, err);
	if (r >= 0 && f->is_repairing)
		*ret_mended = take_ptr(&difference);
	return r;
}

/* ---- where else it is ---- */

struct attempt {
	struct fsck *f;
	const struct fsck_row *row;
	const struct image *image;
	char digest[DIGEST_STR_SIZE]; /* of its manifest; "": none is known */
	struct imgd_error *why; /* the last one's failure */
	unsigned int n;
	char *from; /* where it was had */
};

/* A try is over; 1 if it was the last one needed. */
static int
judge(struct attempt *a, int r, struct imgd_error *err, const char *from)
{
	cleanup_free char *problem = NULL;

	a->n++;
	if (r >= 0)
		r = tagstore_layer_problem(tags_of(a->f), a->row->key,
		    &problem, &err);
	if (r > 0)
		r = imgd_error_set(&err, EUCLEAN,
		    "%s does not give this layer alone", from);
	if (r < 0) {
		imgd_error_free(a->why);
		a->why = err;
		return 0;
	}
	a->from = strdup(from);
	return 1;
}

static int
try_driver(struct attempt *a, const char *name)
{
	cleanup_free char *from = NULL;
	cleanup(layer_row_done) struct layer_row row = { 0 };
	struct engine *e = a->f->job->engine;
	struct imgd_error *err = NULL;
	struct driver *d;
	struct pull *p;
	int r;

	if (strcmp(name, a->row->driver) == 0 ||
	    tagstore_layer(e->store->tags, name, a->row->chain_id, &row,
		NULL) < 0 ||
	    row.is_damaged || asprintf(&from, "its copy in %s", name) < 0)
		return 0;
	r = store_driver(e->store, name, &d, &err);
	if (r >= 0)
		r = pull_new_copy(e, a->image->id, d, a->row->driver, &p,
		    &err);
	if (r >= 0)
		r = run(a->f, a->row, p, false, NULL, &err);
	return judge(a, r, err, from);
}

static int
try_drivers(struct attempt *a)
{
	cleanup_free char *names = NULL;
	char *name, *save = NULL;
	int r = 0;

	if (tagstore_image_drivers(tags_of(a->f), a->image->id, &names,
		NULL) < 0)
		return 0;
	for (name = strtok_r(names, ",", &save); name != NULL && r == 0;
	     name = strtok_r(NULL, ",", &save))
		r = try_driver(a, name);
	return r;
}

static int
try_archive(struct attempt *a)
{
	struct imgd_error *err = NULL;
	struct pull *p;
	int r;

	r = pull_new_archive(a->f->job, a->f->archive, a->image->id,
	    a->row->driver, &p, &err);
	if (r >= 0)
		r = run(a->f, a->row, p, false, NULL, &err);
	return judge(a, r, err, "the archive");
}

/* repository: with its domain. */
static int
try_registry(struct attempt *a, const char *repository)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *text = NULL;
	struct imgd_error *err = NULL;
	struct pull *p;
	int r;

	if (a->n >= MAX_PLACES ||
	    asprintf(&text, "%s@%s", repository, a->digest) < 0) {
		text = NULL;
		return 0;
	}
	r = reference_parse(text, 0, &ref, &err);
	if (r >= 0)
		r = pull_new_registry(a->f->job, &ref, a->row->driver, &p,
		    &err);
	if (r >= 0) {
		memcpy(p->expected_id_buf, a->image->id,
		    sizeof(p->expected_id_buf));
		p->expected_id = p->expected_id_buf;
		r = run(a->f, a->row, p, false, NULL, &err);
	}
	return judge(a, r, err, repository);
}

/* ---- repositories ---- */

struct places {
	const char *from; /* the registry to ask instead, or NULL */
	struct strbuf list; /* NUL after each */
};

static bool
has_place(const struct places *p, const char *name)
{
	size_t pos;

	for (pos = 0; pos < p->list.len;
	     pos += strlen(p->list.data + pos) + 1)
		if (strcmp(p->list.data + pos, name) == 0)
			return true;
	return false;
}

static void
add_place(struct places *p, const char *domain, const char *path)
{
	cleanup_free char *name = NULL;

	/* A registry with a repository is told whole. */
	if (p->from != NULL && strchr(p->from, '/') != NULL)
		name = strdup(p->from);
	else if (asprintf(&name, "%s/%s", p->from != NULL ? p->from : domain,
		     path) < 0)
		name = NULL;
	if (name != NULL && !has_place(p, name))
		strbuf_append(&p->list, name, strlen(name) + 1);
}

static int
add_source(void *ctx, const char *registry, const char *repository)
{
	add_place(ctx, registry, repository);
	return 0;
}

static int
add_name(void *ctx, const struct image_name *n)
{
	const char *slash = strchr(n->repository, '/');
	cleanup_free char *domain = NULL;

	if (slash == NULL)
		return 0;
	domain = strndup(n->repository, (size_t)(slash - n->repository));
	if (domain != NULL)
		add_place(ctx, domain, slash + 1);
	return 0;
}

static int
try_registries(struct attempt *a)
{
	struct places p = { a->f->from, STRBUF_INIT };
	size_t pos;
	int r = 0;

	(void)tagstore_layer_sources(tags_of(a->f), a->row->chain_id,
	    add_source, &p, NULL);
	(void)tagstore_names(tags_of(a->f), a->image->id, add_name, &p, NULL);
	if (p.from != NULL && strchr(p.from, '/') != NULL)
		add_place(&p, "", "");
	for (pos = 0; r == 0 && pos < p.list.len;
	     pos += strlen(p.list.data + pos) + 1)
		r = try_registry(a, p.list.data + pos);
	strbuf_done(&p.list);
	return r;
}

/* ---- all of it ---- */

/* Returns 1 if the layer is sound again. */
static int
try_image(struct attempt *a)
{
	int r = try_drivers(a);

	if (r == 0 && a->f->archive != NULL)
		return try_archive(a);
	if (r == 0 && a->image->manifest_len > 0 &&
	    digest_of(a->image->manifest, a->image->manifest_len, a->digest,
		NULL) >= 0)
		r = try_registries(a);
	return r;
}

static int
try_images(struct attempt *a, const struct ids *ids, struct imgd_error **err)
{
	size_t pos;
	int r = 0;

	for (pos = 0; r == 0 && pos < ids->list.len;
	     pos += strlen(ids->list.data + pos) + 1) {
		cleanup(image_done) struct image image = { 0 };

		if (job_is_abandoned(a->f->job))
			return imgd_error_set(err, ECANCELED, "cancelled");
		if (tagstore_image(tags_of(a->f), ids->list.data + pos,
			&image, NULL) < 0)
			continue;
		a->image = &image;
		r = try_image(a);
		a->image = NULL;
	}
	return r;
}

int
fsck_repair(struct fsck *f, const struct fsck_row *row, char **ret_from,
    struct imgd_error **err)
{
	cleanup(ids_done) struct ids ids = { STRBUF_INIT };
	cleanup_free char *problem = NULL;
	struct attempt a = { .f = f, .row = row };
	int r = 0;

	if (row->parent[0] != '\0')
		r = tagstore_layer_problem(tags_of(f), row->parent, &problem,
		    err);
	if (r > 0)
		return imgd_error_set(err, EUCLEAN,
		    "the layer below it is damaged");
	if (r >= 0)
		r = find_images(f, row, &ids, err);
	if (r >= 0)
		r = try_images(&a, &ids, err);
	if (r > 0)
		*ret_from = take_ptr(&a.from);
	else if (r == 0 && a.why != NULL)
		r = imgd_error_set(err, imgd_error_code(a.why), "%s",
		    imgd_error_msg(a.why));
	else if (r == 0)
		r = imgd_error_set(err, ENOENT,
		    "it is not known where it can be had again");
	imgd_error_free(a.why);
	return r < 0 ? r : 0;
}
