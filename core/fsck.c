/* The fsck job: drivers, rows against drivers, and bytes against diff_ids. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/layer-pack.h"
#include "core/partials.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/strbuf.h"

struct row {
	char key[65];
	char driver[64];
	char diff_id[DIGEST_STR_SIZE];
};

struct fsck {
	struct job *job;
	bool is_deep, is_repairing;
	struct row *rows;
	size_t n_rows;
	uint64_t n_problems, n_repaired, n_layers;
	const char *driver; /* being compared with its rows */
	struct strbuf unknown; /* keys that no row names, 65 bytes each */
};

/* key NULL: no layer is meant. */
static void
report(struct fsck *f, const char *driver, const char *key, const char *text,
    bool is_repaired)
{
	struct strbuf sb = STRBUF_INIT;

	if (is_repaired)
		f->n_repaired++;
	else
		f->n_problems++;
	strbuf_puts(&sb, "{\"problem\":");
	strbuf_json(&sb, text);
	strbuf_puts(&sb, ",\"driver\":");
	strbuf_json(&sb, driver);
	strbuf_puts(&sb, ",\"layer\":");
	strbuf_json(&sb, key != NULL ? key : "");
	strbuf_printf(&sb, ",\"repaired\":%s}",
	    is_repaired ? "true" : "false");
	if (!sb.is_failed)
		job_output(f->job, sb.data);
	strbuf_done(&sb);
}

static void
take_problem(void *ctx, const char *id, const char *text, int is_repaired)
{
	struct fsck *f = ctx;

	report(f, f->driver, id, text, is_repaired != 0);
}

static int
gather_row(void *ctx, const struct layer_row *row)
{
	struct fsck *f = ctx;
	struct row *rows;

	if (strcmp(row->state, "ready") != 0)
		return 0;
	rows = reallocarray(f->rows, f->n_rows + 1, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	f->rows = rows;
	rows += f->n_rows++;
	(void)snprintf(rows->key, sizeof(rows->key), "%s", row->key);
	(void)snprintf(rows->driver, sizeof(rows->driver), "%s", row->driver);
	(void)snprintf(rows->diff_id, sizeof(rows->diff_id), "%s",
	    row->diff_id);
	return 0;
}

/* Whether a row names a key. */
struct known {
	const char *key;
	bool is_found;
};

static int
match_key(void *ctx, const struct layer_row *row)
{
	struct known *k = ctx;

	if (strcmp(row->key, k->key) == 0)
		k->is_found = true;
	return 0;
}

static int
match_container(void *ctx, const struct container_row *row)
{
	struct known *k = ctx;

	if (strcmp(row->key, k->key) == 0)
		k->is_found = true;
	return 0;
}

/* 1 if any row names the key, in whatever state: a pull may run now. */
static int
is_known(struct fsck *f, const char *key, struct imgd_error **err)
{
	struct tagstore *ts = f->job->engine->store->tags;
	struct known k = { key, false };
	int r;

	r = tagstore_layers(ts, f->driver, NULL, match_key, &k, err);
	if (r >= 0)
		r = tagstore_containers(ts, match_container, &k, err);
	return r < 0 ? r : k.is_found;
}

static int
gather_listed(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct fsck *f = ctx;

	(void)parent;
	(void)state;
	strbuf_append(&f->unknown, id, 65);
	return f->unknown.is_failed ? -ENOMEM : 0;
}

/* A layer that no row names: nothing can ever use it. */
static void
take_unknown(struct fsck *f, struct driver *d, const char *key)
{
	cleanup_error struct imgd_error *why = NULL;

	if (!f->is_repairing)
		report(f, f->driver, key, "in the driver, but in no row",
		    false);
	else if (driver_remove(d, key, &why) >= 0)
		report(f, f->driver, key,
		    "in the driver, but in no row: removed", true);
	else
		report(f, f->driver, key, imgd_error_msg(why), false);
}

static int
check_driver_list(struct fsck *f, struct driver *d, struct imgd_error **err)
{
	size_t pos;
	int r;

	f->unknown.len = 0;
	r = driver_list(d, gather_listed, f, err);
	for (pos = 0; r >= 0 && pos < f->unknown.len; pos += 65) {
		const char *key = f->unknown.data + pos;

		r = is_known(f, key, err);
		if (r == 0)
			take_unknown(f, d, key);
	}
	return r;
}

/* The driver's own check.  One that cannot check now, or at all, is no
 * problem of the store. */
static int
check_driver(struct fsck *f, struct driver *d, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	int r;

	r = driver_check(d,
	    (f->is_deep ? IMGD_CHECK_DEEP : 0) |
		(f->is_repairing ? IMGD_CHECK_REPAIR : 0),
	    take_problem, f, &why);
	if (r == -EBUSY || r == -EOPNOTSUPP)
		log_debug("fsck", "%s", imgd_error_msg(why));
	else if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	return 0;
}

/* The layer has a row, but the driver does not have it. */
static int
take_missing(struct fsck *f, const struct row *row, struct imgd_error **err)
{
	struct known k = { row->key, false };
	int r;

	/* It may have been removed since the rows were read. */
	r = tagstore_layers(f->job->engine->store->tags, row->driver, "ready",
	    match_key, &k, err);
	if (r >= 0 && k.is_found)
		report(f, row->driver, row->key, "in a row, but not there",
		    false);
	return r;
}

static int
check_layer(struct fsck *f, const struct row *row, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct engine *e = f->job->engine;
	char diff_id[DIGEST_STR_SIZE];
	struct driver *d;
	int r;

	f->n_layers++;
	r = store_driver(e->store, row->driver, &d, err);
	if (r >= 0)
		r = driver_exists(d, row->key, err);
	if (r < 0)
		return r;
	if (r == 0)
		return take_missing(f, row, err);
	if (!f->is_deep)
		return 0;
	r = layer_pack(e, d, row->key, -1, diff_id, &why);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (r < 0)
		report(f, row->driver, row->key, imgd_error_msg(why), false);
	else if (strcmp(diff_id, row->diff_id) != 0)
		report(f, row->driver, row->key,
		    "its content does not have its diff_id", false);
	return 0;
}

static int
check_drivers(struct fsck *f, struct imgd_error **err)
{
	struct store *s = f->job->engine->store;
	cleanup_free char *names = NULL;
	char *name, *save = NULL;
	int r;

	r = tagstore_drivers(s->tags, &names, err);
	if (r < 0)
		return r;
	for (name = strtok_r(names, ",", &save); name != NULL;
	    name = strtok_r(NULL, ",", &save)) {
		cleanup_error struct imgd_error *e = NULL;
		struct driver *d;

		f->driver = name;
		r = store_driver(s, name, &d, &e);
		if (r >= 0)
			r = check_driver(f, d, &e);
		if (r >= 0)
			r = check_driver_list(f, d, &e);
		if (r < 0 && r != -EOPNOTSUPP)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(e));
	}
	return 0;
}

static int
check_layers(struct fsck *f, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; i < f->n_rows && r >= 0; i++) {
		if (job_is_abandoned(f->job))
			r = imgd_error_set(err, ECANCELED, "cancelled");
		else
			r = check_layer(f, &f->rows[i], err);
	}
	return r;
}

/* ---- containers ---- */

struct container {
	char key[65];
	char *name, *driver;
};

struct containers {
	struct container *list;
	size_t n;
};

static int
gather_container(void *ctx, const struct container_row *row)
{
	struct containers *all = ctx;
	struct container *list;

	if (strcmp(row->state, "ready") != 0)
		return 0;
	list = reallocarray(all->list, all->n + 1, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	all->list = list;
	list += all->n++;
	(void)snprintf(list->key, sizeof(list->key), "%s", row->key);
	list->name = strdup(row->name);
	list->driver = strdup(row->driver);
	return list->name != NULL && list->driver != NULL ? 0 : -ENOMEM;
}

static int
check_container(struct fsck *f, const struct container *c,
    struct imgd_error **err)
{
	cleanup(container_row_done) struct container_row row = { 0 };
	struct store *s = f->job->engine->store;
	cleanup_free char *text = NULL;
	struct driver *d;
	int r;

	r = store_driver(s, c->driver, &d, err);
	if (r >= 0)
		r = driver_exists(d, c->key, err);
	/* It may have been removed since the rows were read. */
	if (r != 0 || tagstore_container(s->tags, c->name, &row, NULL) < 0)
		return r;
	if (asprintf(&text, "container %s: its writable layer is not there",
		c->name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	report(f, c->driver, c->key, text, false);
	return 0;
}

static int
check_containers(struct fsck *f, struct imgd_error **err)
{
	struct containers all = { NULL, 0 };
	size_t i;
	int r;

	r = tagstore_containers(f->job->engine->store->tags, gather_container,
	    &all, err);
	if (r == -ENOMEM)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < all.n; i++) {
		if (r >= 0)
			r = check_container(f, &all.list[i], err);
		free(all.list[i].name);
		free(all.list[i].driver);
	}
	free(all.list);
	return r;
}

static void
take_partial(void *ctx, const char *text, bool is_repaired)
{
	report(ctx, "", NULL, text, is_repaired);
}

int
job_fsck(struct job *job, struct imgd_error **err)
{
	struct fsck f = {
		.job = job,
		.is_deep = job_getenv(job, "deep") != NULL,
		.is_repairing = job_getenv(job, "repair") != NULL,
		.unknown = STRBUF_INIT,
	};
	int r;

	r = tagstore_layers(job->engine->store->tags, NULL, NULL, gather_row,
	    &f, err);
	if (r == -ENOMEM)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = check_drivers(&f, err);
	if (r >= 0)
		r = check_layers(&f, err);
	if (r >= 0)
		r = check_containers(&f, err);
	if (r >= 0)
		r = partials_check(job->engine->store, f.is_repairing,
		    take_partial, &f, err);
	strbuf_printf(&job->result, "%ju %ju %ju", (uintmax_t)f.n_layers,
	    (uintmax_t)f.n_problems, (uintmax_t)f.n_repaired);
	free(f.rows);
	strbuf_done(&f.unknown);
	return r;
}
