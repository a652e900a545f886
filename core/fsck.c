/* The fsck job: rows against drivers, and with deep=1 bytes against diff_ids. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/layer-pack.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

struct row {
	char key[65];
	char driver[64];
	char diff_id[DIGEST_STR_SIZE];
};

struct fsck {
	struct job *job;
	struct row *rows;
	size_t n_rows;
	uint64_t n_problems, n_layers;
	const char *driver; /* being compared with its rows */
	struct strbuf unknown; /* keys that no row names, 65 bytes each */
};

static void
report(struct fsck *f, const char *driver, const char *key, const char *text)
{
	struct strbuf sb = STRBUF_INIT;

	f->n_problems++;
	strbuf_puts(&sb, "{\"problem\":");
	strbuf_json(&sb, text);
	strbuf_puts(&sb, ",\"driver\":");
	strbuf_json(&sb, driver);
	strbuf_puts(&sb, ",\"layer\":");
	strbuf_json(&sb, key);
	strbuf_putc(&sb, '}');
	if (!sb.is_failed)
		job_output(f->job, sb.data);
	strbuf_done(&sb);
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

/* Whether a row names a key, in whatever state: a pull may run now. */
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
gather_unknown(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct fsck *f = ctx;

	(void)parent;
	(void)state;
	strbuf_append(&f->unknown, id, 65);
	return f->unknown.is_failed ? -ENOMEM : 0;
}

static int
check_driver_list(struct fsck *f, struct driver *d, struct imgd_error **err)
{
	size_t pos;
	int r;

	f->unknown.len = 0;
	r = driver_list(d, gather_unknown, f, err);
	for (pos = 0; r >= 0 && pos < f->unknown.len; pos += 65) {
		struct known k = { f->unknown.data + pos, false };

		r = tagstore_layers(f->job->engine->store->tags, f->driver,
		    NULL, match_key, &k, err);
		if (r >= 0 && !k.is_found)
			report(f, f->driver, k.key,
			    "in the driver, but in no row");
	}
	return r;
}

static int
check_layer(struct fsck *f, const struct row *row, bool is_deep,
    struct imgd_error **err)
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
	if (r == 0) {
		struct known k = { row->key, false };

		/* It may have been removed since the rows were read. */
		r = tagstore_layers(e->store->tags, row->driver, "ready",
		    match_key, &k, err);
		if (r >= 0 && k.is_found)
			report(f, row->driver, row->key,
			    "in a row, but not there");
		return r;
	}
	if (!is_deep)
		return 0;
	r = layer_pack(e, d, row->key, -1, diff_id, &why);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (r < 0)
		report(f, row->driver, row->key, imgd_error_msg(why));
	else if (strcmp(diff_id, row->diff_id) != 0)
		report(f, row->driver, row->key,
		    "its content does not have its diff_id");
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
			r = check_driver_list(f, d, &e);
		if (r < 0 && r != -EOPNOTSUPP)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(e));
	}
	return 0;
}

int
job_fsck(struct job *job, struct imgd_error **err)
{
	struct fsck f = { .job = job, .unknown = STRBUF_INIT };
	bool is_deep = job_getenv(job, "deep") != NULL;
	size_t i;
	int r;

	r = tagstore_layers(job->engine->store->tags, NULL, NULL, gather_row,
	    &f, err);
	if (r == -ENOMEM)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = check_drivers(&f, err);
	for (i = 0; i < f.n_rows && r >= 0; i++) {
		if (job_is_abandoned(job))
			r = imgd_error_set(err, ECANCELED, "cancelled");
		else
			r = check_layer(&f, &f.rows[i], is_deep, err);
	}
	strbuf_printf(&job->result, "%ju %ju", (uintmax_t)f.n_layers,
	    (uintmax_t)f.n_problems);
	free(f.rows);
	strbuf_done(&f.unknown);
	return r;
}
