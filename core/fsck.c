/* The fsck job: drivers, rows against drivers, and bytes against diff_ids. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/fsck.h"
#include "core/layer-damage.h"
#include "core/layer-pack.h"
#include "core/partials.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "tagstore/health.h"
#include "tagstore/salvage.h"

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

static const struct fsck_row *
find_row(const struct fsck *f, const char *key)
{
	size_t i;

	for (i = 0; i < f->n_rows; i++)
		if (strcmp(f->rows[i].key, key) == 0)
			return &f->rows[i];
	return NULL;
}

/* A driver must not be called back: findings about layers wait. */
static void
take_problem(void *ctx, const char *id, const char *text, int is_repaired)
{
	struct fsck *f = ctx;

	if (id != NULL && !is_repaired && find_row(f, id) != NULL)
		strbuf_printf(&f->findings, "%s%s%c", id, text, 0);
	else
		report(f, f->driver, id, text, is_repaired != 0);
}

/* What a driver found of images' layers is told, and mended, with what else is
 * found of those; but for layers on one that is lost, which is the trouble. */
static void
take_findings(struct fsck *f, struct driver *d)
{
	size_t pos;

	for (pos = 0; !f->findings.is_failed && pos < f->findings.len;
	     pos += strlen(f->findings.data + pos) + 1) {
		const char *text = f->findings.data + pos + 64;
		char key[65];
		const struct fsck_row *row;

		(void)snprintf(key, sizeof(key), "%.64s",
		    f->findings.data + pos);
		row = find_row(f, key);
		if (row != NULL && (row->parent[0] == '\0' ||
				       driver_exists(d, row->parent, NULL) !=
					   0))
			layer_note_damage(f->job->engine, key, text);
	}
	f->findings.len = 0;
}

static int
gather_row(void *ctx, const struct layer_row *row)
{
	struct fsck *f = ctx;
	struct fsck_row *rows;

	if (strcmp(row->state, "ready") != 0)
		return 0;
	/* In powers of two. */
	if ((f->n_rows & (f->n_rows - 1)) == 0) {
		rows = reallocarray(f->rows,
		    f->n_rows > 0 ? 2 * f->n_rows : 1, sizeof(*rows));
		if (rows == NULL)
			return -ENOMEM;
		f->rows = rows;
	}
	rows = &f->rows[f->n_rows++];
	(void)snprintf(rows->key, sizeof(rows->key), "%s", row->key);
	(void)snprintf(rows->driver, sizeof(rows->driver), "%s", row->driver);
	(void)snprintf(rows->diff_id, sizeof(rows->diff_id), "%s",
	    row->diff_id);
	(void)snprintf(rows->chain_id, sizeof(rows->chain_id), "%s",
	    row->chain_id);
	(void)snprintf(rows->parent, sizeof(rows->parent), "%s", row->parent);
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
	strbuf_append(&f->unknown, id, 65);
	strbuf_putc(&f->unknown_states,
	    (state & IMGD_STATE_MASK) == IMGD_STATE_RW ? 'w' : 'l');
	return f->unknown.is_failed || f->unknown_states.is_failed ? -ENOMEM
								   : 0;
}

/* A layer that no row names: nothing can ever use it.  But what somebody wrote
 * is not imgd's to delete. */
static void
take_unknown(struct fsck *f, struct driver *d, const char *key,
    bool is_writable)
{
	cleanup_error struct imgd_error *why = NULL;

	if (is_writable)
		report(f, f->driver, key,
		    "a writable layer that no row names: what was written is "
		    "left in it",
		    false);
	else if (!f->is_repairing || f->is_salvaged)
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

	f->unknown.len = f->unknown_states.len = 0;
	r = driver_list(d, gather_listed, f, err);
	for (pos = 0; r >= 0 && pos < f->unknown.len; pos += 65) {
		const char *key = f->unknown.data + pos;

		r = is_known(f, key, err);
		if (r == 0)
			take_unknown(f, d, key,
			    f->unknown_states.data[pos / 65] == 'w');
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
	take_findings(f, d);
	if (r == -EBUSY || r == -EOPNOTSUPP)
		log_debug("fsck", "%s", imgd_error_msg(why));
	else if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	return 0;
}

/* The layer has a row, but the driver does not have it. */
static int
take_missing(struct fsck *f, const struct fsck_row *row,
    struct imgd_error **err)
{
	struct known k = { row->key, false };
	int r;

	/* It may have been removed since the rows were read. */
	r = tagstore_layers(f->job->engine->store->tags, row->driver, "ready",
	    match_key, &k, err);
	if (r >= 0 && k.is_found)
		layer_note_damage(f->job->engine, row->key,
		    "in a row, but not there");
	return r;
}

/* Read the layer back: its bytes alone. */
static int
check_bytes(struct fsck *f, const struct fsck_row *row, struct driver *d,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct engine *e = f->job->engine;
	char diff_id[DIGEST_STR_SIZE];
	int r;

	r = layer_pack(e, d, row->key, -1, diff_id, &why);
	if (r >= 0 && strcmp(diff_id, row->diff_id) != 0)
		layer_note_damage(e, row->key,
		    "its content does not have its diff_id");
	else if (r >= 0)
		return tagstore_layer_sound(e->store->tags, row->key, err);
	else if (r == -ECANCELED || !layer_code_is_damage(r))
		return imgd_error_set(err, -r, "layer %.12s: %s", row->key,
		    imgd_error_msg(why));
	return 0;
}

/* Read it back and make it again of that: its bytes, and all else that its
 * tree has. */
static int
check_deep(struct fsck *f, const struct fsck_row *row, struct driver *d,
    struct imgd_error **err)
{
	struct tagstore *tags = f->job->engine->store->tags;
	cleanup_free char *below = NULL, *mended = NULL;
	cleanup_error struct imgd_error *why = NULL;
	int r = 0;

	if (row->parent[0] != '\0')
		r = tagstore_layer_problem(tags, row->parent, &below, err);
	if (r < 0)
		return r;
	/* On a layer that is damaged nothing can be made again; and one that
	 * holds only its changes cannot be read. */
	if (below != NULL && driver_has_own_dir(d))
		return 0;
	r = below != NULL ? -ENOENT : fsck_compare(f, row, d, &mended, &why);
	if (mended != NULL)
		report(f, row->driver, row->key, mended, true);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (r >= 0)
		return 0;
	if (why != NULL)
		log_debug("fsck", "%s", imgd_error_msg(why));
	return check_bytes(f, row, d, err);
}

static int
mend(struct fsck *f, const struct fsck_row *row, const char *problem,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	cleanup_free char *from = NULL, *text = NULL;
	int r = fsck_repair(f, row, &from, &why);

	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (asprintf(&text, "%s: %s%s", problem,
		r < 0 ? "cannot be repaired: " : "made again from ",
		r < 0 ? imgd_error_msg(why) : from) < 0) {
		text = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	report(f, row->driver, row->key, text, r >= 0);
	return 0;
}

/* Tell what is known to be wrong with the layer, and mend it. */
static int
settle(struct fsck *f, const struct fsck_row *row, struct imgd_error **err)
{
	cleanup_free char *problem = NULL;
	int r;

	r = tagstore_layer_problem(f->job->engine->store->tags, row->key,
	    &problem, err);
	if (r <= 0)
		return r;
	if (f->is_repairing)
		return mend(f, row, problem, err);
	report(f, row->driver, row->key, problem, false);
	return 0;
}

static int
check_layer(struct fsck *f, const struct fsck_row *row,
    struct imgd_error **err)
{
	struct driver *d;
	int r;

	f->n_layers++;
	r = store_driver(f->job->engine->store, row->driver, &d, err);
	if (r >= 0)
		r = driver_exists(d, row->key, err);
	if (r == 0)
		r = take_missing(f, row, err);
	else if (r > 0 && f->is_deep)
		r = check_deep(f, row, d, err);
	return r < 0 ? r : settle(f, row, err);
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

/* Bases first: what lies on them is made with them. */
static int
read_rows(struct fsck *f, struct imgd_error **err)
{
	size_t i, n;
	int r;

	r = tagstore_layers(f->job->engine->store->tags, NULL, NULL,
	    gather_row, f, err);
	if (r == -ENOMEM && f->rows == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	n = f->n_rows;
	for (i = 0; r >= 0 && i < n / 2; i++) {
		struct fsck_row row = f->rows[i];

		f->rows[i] = f->rows[n - 1 - i];
		f->rows[n - 1 - i] = row;
	}
	return r;
}

static int
check(struct fsck *f, struct imgd_error **err)
{
	int r = read_rows(f, err);

	if (r >= 0)
		r = check_drivers(f, err);
	if (r >= 0)
		r = check_layers(f, err);
	if (r >= 0)
		r = check_containers(f, err);
	if (r >= 0)
		r = partials_check(f->job->engine->store, f->is_repairing,
		    take_partial, f, err);
	return r < 0 ? r : engine_reap(f->job->engine, err);
}

int
job_fsck(struct job *job, struct imgd_error **err)
{
	struct fsck f = {
		.job = job,
		.is_deep = job_getenv(job, "deep") != NULL,
		.is_repairing = job_getenv(job, "repair") != NULL,
		.is_salvaged = job_getenv(job, "salvaged") != NULL,
		.from = job_getenv(job, "from"),
		.unknown = STRBUF_INIT,
		.unknown_states = STRBUF_INIT,
		.findings = STRBUF_INIT,
	};
	int r;

	/* Of the pulls that mend. */
	r = job_setenv(job, "quiet", "1", err);
	if (r >= 0)
		r = tagstore_check(job->engine->store->tags, f.is_deep, err);
	if (r >= 0 && job->n_fds > 0)
		r = load_archive_open(job, &f.archive, err);
	if (r >= 0)
		r = check(&f, err);
	strbuf_printf(&job->result, "%ju %ju %ju", (uintmax_t)f.n_layers,
	    (uintmax_t)f.n_problems, (uintmax_t)f.n_repaired);
	load_archive_free(f.archive);
	free(f.rows);
	strbuf_done(&f.unknown);
	strbuf_done(&f.unknown_states);
	strbuf_done(&f.findings);
	return r;
}
