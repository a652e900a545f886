/* Containers: writable layers. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "lib/cleanup.h"
#include "tagstore/layers.h"
#include "tagstore/sql.h"
#include "tagstore/tagstore.h"

void
container_row_done(struct container_row *row)
{
	free(row->key);
	free(row->name);
	free(row->driver);
	free(row->image);
	free(row->reference);
	free(row->parent);
	free(row->state);
	*row = (struct container_row) { 0 };
}

#define COLUMNS \
	"key, name, driver, image, reference, parent, state, quota, created_at"

/* Borrow the current row of "SELECT " COLUMNS. */
static struct container_row
borrow_row(sqlite3_stmt *st)
{
	return (struct container_row) {
		.key = (char *)(uintptr_t)sql_text(st, 0),
		.name = (char *)(uintptr_t)sql_text(st, 1),
		.driver = (char *)(uintptr_t)sql_text(st, 2),
		.image = (char *)(uintptr_t)sql_text(st, 3),
		.reference = (char *)(uintptr_t)sql_text(st, 4),
		.parent = (char *)(uintptr_t)sql_text(st, 5),
		.state = (char *)(uintptr_t)sql_text(st, 6),
		.quota_bytes = (uint64_t)sqlite3_column_int64(st, 7),
		.created_at = sqlite3_column_int64(st, 8),
	};
}

static int
copy_row(sqlite3_stmt *st, struct container_row *row, struct imgd_error **err)
{
	*row = (struct container_row) {
		.key = sql_strdup(st, 0),
		.name = sql_strdup(st, 1),
		.driver = sql_strdup(st, 2),
		.image = sql_strdup(st, 3),
		.reference = sql_strdup(st, 4),
		.parent = sql_strdup(st, 5),
		.state = sql_strdup(st, 6),
		.quota_bytes = (uint64_t)sqlite3_column_int64(st, 7),
		.created_at = sqlite3_column_int64(st, 8),
	};
	if (row->key == NULL || row->name == NULL || row->driver == NULL ||
	    row->image == NULL || row->reference == NULL ||
	    row->parent == NULL || row->state == NULL)
		return imgd_error_set(err, ENOMEM, "imgd.db: out of memory");
	return 0;
}

int
tagstore_container_add(struct tagstore *ts, const struct container_row *row,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT INTO containers(" COLUMNS ")"
	    " VALUES(?, ?, ?, ?, ?, ?, 'making', ?, ?)",
	    "ssssssii", row->key, row->name, row->driver, row->image,
	    row->reference, row->parent, (int64_t)row->quota_bytes,
	    (int64_t)time(NULL));
	return sql_end(ts, r, err);
}

static int
set_state(struct tagstore *ts, const char *key, const char *state,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err, "UPDATE containers SET state = ? WHERE key = ?",
	    "ss", state, key);
	return sql_end(ts, r, err);
}

int
tagstore_container_ready(struct tagstore *ts, const char *key,
    struct imgd_error **err)
{
	return set_state(ts, key, "ready", err);
}

int
tagstore_container_dying(struct tagstore *ts, const char *key,
    struct imgd_error **err)
{
	return set_state(ts, key, "dying", err);
}

static int
container_gone(struct tagstore *ts, const char *key, struct imgd_error **err)
{
	cleanup_free char *parent = NULL;
	sqlite3_stmt *st;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT parent FROM containers WHERE key = ?", "s", key);
	if (r < 0)
		return r;
	r = sql_step(ts, st, err);
	if (r > 0 && (parent = sql_strdup(st, 0)) == NULL)
		r = imgd_error_set(err, ENOMEM, "imgd.db: out of memory");
	sql_reset(st);
	if (r <= 0)
		return r;
	r = sql_run(ts, err, "DELETE FROM containers WHERE key = ?", "s",
	    key);
	return r < 0 ? r : layers_reap(ts, parent, err);
}

int
tagstore_container_gone(struct tagstore *ts, const char *key,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = container_gone(ts, key, err);
	return sql_end(ts, r, err);
}

int
tagstore_container(struct tagstore *ts, const char *name,
    struct container_row *ret, struct imgd_error **err)
{
	struct container_row row = { 0 };
	sqlite3_stmt *st;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT " COLUMNS " FROM containers WHERE name = ?"
	    " AND state = 'ready'",
	    "s", name);
	if (r >= 0) {
		r = sql_step(ts, st, err);
		if (r == 0)
			r = imgd_error_set(err, ENOENT,
			    "no such container: %s", name);
		else if (r > 0)
			r = copy_row(st, &row, err);
		sql_reset(st);
	}
	pthread_mutex_unlock(&ts->mutex);
	if (r < 0)
		container_row_done(&row);
	else
		*ret = row;
	return r < 0 ? r : 0;
}

int
tagstore_containers(struct tagstore *ts, tagstore_container_cb *cb, void *ctx,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT " COLUMNS " FROM containers ORDER BY name, key", "");
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0) {
		struct container_row row = borrow_row(st);

		r = cb(ctx, &row);
	}
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r;
}
