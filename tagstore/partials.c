#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tagstore/partials.h"
#include "tagstore/sql.h"

#define MINUTE_SECONDS 60

void
partial_row_done(struct partial_row *row)
{
	size_t i;

	free(row->blob_digest);
	free(row->boot_id);
	for (i = 0; i < row->n_marks; i++)
		free(row->marks[i].digest);
	*row = (struct partial_row) { 0 };
}

static int
read_row(sqlite3_stmt *st, struct partial_row *row, struct imgd_error **err)
{
	row->blob_digest = sql_strdup(st, 0);
	row->size_bytes = (uint64_t)sqlite3_column_int64(st, 1);
	row->boot_id = sql_strdup(st, 2);
	row->used_at = sqlite3_column_int64(st, 3);
	return row->blob_digest != NULL && row->boot_id != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

static int
read_marks(struct tagstore *ts, struct partial_row *row,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT bytes, prefix_digest FROM partial_marks"
	    " WHERE blob_digest = ? ORDER BY bytes",
	    "s", row->blob_digest);
	while (r >= 0 && row->n_marks < PARTIAL_MAX_MARKS &&
	    (r = sql_step(ts, st, err)) > 0) {
		struct partial_mark *m = &row->marks[row->n_marks];

		m->bytes = (uint64_t)sqlite3_column_int64(st, 0);
		m->digest = sql_strdup(st, 1);
		if (m->digest == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		else
			row->n_marks++;
	}
	if (st != NULL)
		sql_reset(st);
	return r < 0 ? r : 0;
}

int
tagstore_partial(struct tagstore *ts, const char *blob_digest,
    struct partial_row *ret, struct imgd_error **err)
{
	struct partial_row row = { 0 };
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT blob_digest, size, boot_id, used_at FROM partials"
	    " WHERE blob_digest = ?",
	    "s", blob_digest);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r > 0)
		r = read_row(st, &row, err);
	else if (r == 0)
		r = imgd_error_set(err, ENOENT, "no part of blob %s is here",
		    blob_digest);
	if (st != NULL)
		sql_reset(st);
	if (r >= 0)
		r = read_marks(ts, &row, err);
	pthread_mutex_unlock(&ts->mutex);
	if (r < 0)
		partial_row_done(&row);
	else
		*ret = row;
	return r;
}

int
tagstore_partial_use(struct tagstore *ts, const char *blob_digest,
    uint64_t size_bytes, const char *boot_id, struct imgd_error **err)
{
	int64_t now = time(NULL);
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	/* Of two in one second, too, one is later; but times of a clock that
	 * was wrong are not gone on from. */
	r = sql_run(ts, err,
	    "INSERT INTO partials(blob_digest, size, boot_id, used_at)"
	    " SELECT ?, ?, ?, MAX(?, 1 + COALESCE(MAX(used_at), 0))"
	    " FROM partials WHERE used_at < ?"
	    " ON CONFLICT(blob_digest) DO UPDATE SET"
	    " size = excluded.size, boot_id = excluded.boot_id,"
	    " used_at = excluded.used_at",
	    "sisii", blob_digest, (int64_t)size_bytes, boot_id, now,
	    now + MINUTE_SECONDS);
	return sql_end(ts, r, err);
}

int
tagstore_partial_mark(struct tagstore *ts, const char *blob_digest,
    uint64_t bytes, const char *digest, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	/* Marks behind this one are of a longer file that was cut. */
	r = sql_run(ts, err,
	    "DELETE FROM partial_marks WHERE blob_digest = ? AND bytes >= ?",
	    "si", blob_digest, (int64_t)bytes);
	if (r >= 0)
		r = sql_run(ts, err,
		    "INSERT INTO partial_marks(blob_digest, bytes,"
		    " prefix_digest) SELECT ?, ?, ?"
		    " WHERE EXISTS(SELECT 1 FROM partials"
		    " WHERE blob_digest = ?)",
		    "siss", blob_digest, (int64_t)bytes, digest, blob_digest);
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM partial_marks WHERE blob_digest = ?"
		    " AND bytes NOT IN (SELECT bytes FROM partial_marks"
		    " WHERE blob_digest = ? ORDER BY bytes DESC LIMIT ?)",
		    "ssi", blob_digest, blob_digest,
		    (int64_t)PARTIAL_MAX_MARKS);
	return sql_end(ts, r, err);
}

int
tagstore_partial_drop(struct tagstore *ts, const char *blob_digest,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err, "DELETE FROM partials WHERE blob_digest = ?",
	    "s", blob_digest);
	return sql_end(ts, r, err);
}

int
tagstore_partials(struct tagstore *ts, tagstore_partial_fn *fn, void *ctx,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT blob_digest, size, boot_id, used_at FROM partials"
	    " ORDER BY used_at, blob_digest",
	    "");
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0) {
		struct partial_row row = { 0 };

		r = read_row(st, &row, err);
		if (r >= 0)
			r = fn(ctx, &row);
		partial_row_done(&row);
	}
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

/* ---- rates ---- */

int
tagstore_rate(struct tagstore *ts, const char *registry,
    uint64_t *ret_bytes_per_s, struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	*ret_bytes_per_s = 0;
	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT bytes_per_s FROM rates WHERE registry = ?", "s",
	    registry);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r > 0)
		*ret_bytes_per_s = (uint64_t)sqlite3_column_int64(st, 0);
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

int
tagstore_set_rate(struct tagstore *ts, const char *registry,
    uint64_t bytes_per_s, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT INTO rates(registry, bytes_per_s) VALUES(?, ?)"
	    " ON CONFLICT(registry) DO UPDATE SET"
	    " bytes_per_s = excluded.bytes_per_s",
	    "si", registry, (int64_t)bytes_per_s);
	return sql_end(ts, r, err);
}
