#include "config.h"

#include <errno.h>
#include <time.h>

#include "tagstore/health.h"
#include "tagstore/sql.h"

static int
mark(struct tagstore *ts, const char *key, const char *problem,
    struct imgd_error **err)
{
	return sql_run(ts, err,
	    "INSERT INTO damaged(key, problem, found_at)"
	    " SELECT key, ?2, ?3 FROM layers WHERE key = ?1"
	    " AND state = 'ready'"
	    " ON CONFLICT(key) DO UPDATE SET problem = excluded.problem",
	    "ssi", key, problem, (int64_t)time(NULL));
}

static int
unmark(struct tagstore *ts, const char *key, struct imgd_error **err)
{
	return sql_run(ts, err, "DELETE FROM damaged WHERE key = ?", "s",
	    key);
}

int
tagstore_layer_damaged(struct tagstore *ts, const char *key,
    const char *problem, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = mark(ts, key, problem, err);
	return sql_end(ts, r, err);
}

int
tagstore_layer_sound(struct tagstore *ts, const char *key,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = unmark(ts, key, err);
	return sql_end(ts, r, err);
}

int
tagstore_layer_problem(struct tagstore *ts, const char *key, char **ret,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT problem FROM damaged WHERE key = ?", "s", key);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r > 0) {
		*ret = sql_strdup(st, 0);
		if (*ret == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
	}
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r;
}

int
tagstore_image_is_damaged(struct tagstore *ts, const char *image,
    const char *driver, struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT 1 FROM damaged d JOIN layers l ON l.key = d.key"
	    " JOIN image_layers il ON il.chain_id = l.chain_id"
	    " WHERE il.image = ? AND l.driver = ? LIMIT 1",
	    "ss", image, driver);
	if (r >= 0)
		r = sql_step(ts, st, err);
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r;
}

int
tagstore_layer_images(struct tagstore *ts, const char *driver,
    const char *chain_id, tagstore_image_id_cb *cb, void *ctx,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT DISTINCT il.image FROM image_layers il"
	    " JOIN image_drivers d ON d.image = il.image AND d.driver = ?1"
	    " WHERE il.chain_id = ?2 ORDER BY 1",
	    "ss", driver, chain_id);
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0)
		r = cb(ctx, sql_text(st, 0));
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

int
tagstore_layer_sources(struct tagstore *ts, const char *chain_id,
    tagstore_source_cb *cb, void *ctx, struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT DISTINCT s.registry, s.repository FROM image_layers il"
	    " JOIN sources s ON s.blob_digest = il.blob_digest"
	    " WHERE il.chain_id = ? ORDER BY 1, 2",
	    "s", chain_id);
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0)
		r = cb(ctx, sql_text(st, 0), sql_text(st, 1));
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

int
tagstore_repair_begin(struct tagstore *ts, const char *pull,
    const char *driver, const char *fresh, const char *parent,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT INTO layers(key, driver, diff_id, parent, state)"
	    " VALUES(?, ?, '', ?, 'staging')",
	    "sss", fresh, driver, parent);
	if (r >= 0)
		r = sql_run(ts, err,
		    "INSERT INTO pull_layers(pull, key) VALUES(?, ?)", "ss",
		    pull, fresh);
	if (r >= 0)
		r = sql_run(ts, err, "INSERT INTO replaced(key) VALUES(?)",
		    "s", fresh);
	return sql_end(ts, r, err);
}

int
tagstore_repair_end(struct tagstore *ts, const char *key, const char *fresh,
    bool is_exchanged, const char *problem, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = problem == NULL ? unmark(ts, key, err)
			    : mark(ts, key, problem, err);
	if (r >= 0)
		r = sql_run(ts, err,
		    "UPDATE layers SET state = 'dying' WHERE key = ?", "s",
		    fresh);
	if (r >= 0)
		r = sql_run(ts, err, "DELETE FROM pull_layers WHERE key = ?",
		    "s", fresh);
	if (r >= 0 && !is_exchanged)
		r = sql_run(ts, err, "DELETE FROM replaced WHERE key = ?", "s",
		    fresh);
	return sql_end(ts, r, err);
}
