#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/cleanup.h"
#include "tagstore/legacy.h"
#include "tagstore/sql.h"

#define cleanup_stmt cleanup(sql_resetp)

static int
hold(struct tagstore *ts, const char *pull, const char *key,
    struct imgd_error **err)
{
	int r;

	/* Not "or ignore": an image may have the same layer twice, but never
	 * at the same place in the chain. */
	r = sql_run(ts, err,
	    "INSERT INTO pull_layers(pull, key) SELECT ?, key FROM layers"
	    " WHERE key = ? AND state <> 'dying'",
	    "ss", pull, key);
	if (r >= 0 && sqlite3_changes(ts->db) != 1)
		r = imgd_error_set(err, ENOENT, "layer %.12s is gone", key);
	return r;
}

int
tagstore_pull_add(struct tagstore *ts, const char *pull, const char *driver,
    const char *key, const char *parent, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT INTO layers(key, driver, diff_id, parent, state)"
	    " VALUES(?, ?, '', ?, 'staging')",
	    "sss", key, driver, parent);
	if (r >= 0)
		r = hold(ts, pull, key, err);
	return sql_end(ts, r, err);
}

int
tagstore_pull_hold(struct tagstore *ts, const char *pull, const char *key,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = hold(ts, pull, key, err);
	return sql_end(ts, r, err);
}

int
tagstore_layer_identify(struct tagstore *ts, const char *key,
    const char *diff_id, const char *chain_id, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "UPDATE layers SET diff_id = ?, chain_id = ? WHERE key = ?"
	    " AND state = 'staging'",
	    "sss", diff_id, chain_id, key);
	if (r >= 0 && sqlite3_changes(ts->db) != 1)
		r = imgd_error_set(err, EUCLEAN,
		    "imgd.db: layer %.12s has no row", key);
	return sql_end(ts, r, err);
}

int
tagstore_pull_swap(struct tagstore *ts, const char *pull, const char *key,
    const char *other, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = hold(ts, pull, other, err);
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM pull_layers WHERE pull = ? AND key = ?", "ss",
		    pull, key);
	if (r >= 0)
		r = sql_run(ts, err,
		    "UPDATE layers SET state = 'dying' WHERE key = ?", "s",
		    key);
	return sql_end(ts, r, err);
}

/* ---- what is known of other people's names ---- */

static int
copy_digest(sqlite3_stmt *st, char ret[DIGEST_STR_SIZE])
{
	const char *s = sql_text(st, 0);

	if (!digest_is_valid(s))
		return -ENOENT;
	memcpy(ret, s, DIGEST_STR_SIZE);
	return 0;
}

static int
find_blob(struct tagstore *ts, const char *registry, const char *blob_digest,
    char ret_diff_id[DIGEST_STR_SIZE], uint64_t *ret_bytes,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	/* What one registry has given says nothing for another. */
	r = sql_prepare(ts, &st, err,
	    "SELECT diff_id, size FROM image_layers WHERE blob_digest = ?1"
	    " AND EXISTS(SELECT 1 FROM sources s WHERE s.blob_digest = ?1"
	    "  AND s.registry = ?2) LIMIT 1",
	    "ss", blob_digest, registry);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r < 0)
		return r;
	if (r == 0 || copy_digest(st, ret_diff_id) < 0)
		return imgd_error_set(err, ENOENT, "no such blob: %s",
		    blob_digest);
	*ret_bytes = (uint64_t)sqlite3_column_int64(st, 1);
	return 0;
}

int
tagstore_blob(struct tagstore *ts, const char *registry,
    const char *blob_digest, char ret_diff_id[DIGEST_STR_SIZE],
    uint64_t *ret_bytes, struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = find_blob(ts, registry, blob_digest, ret_diff_id, ret_bytes, err);
	pthread_mutex_unlock(&ts->mutex);
	return r;
}

static int
find_v1_layer(struct tagstore *ts, const char *registry, const char *v1_id,
    const void *json, size_t len, char ret_chain_id[DIGEST_STR_SIZE],
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT chain_id FROM v1_layers WHERE registry = ? AND v1_id = ?"
	    " AND json = ?",
	    "ssb", registry, v1_id, json, len);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r < 0)
		return r;
	if (r == 0 || copy_digest(st, ret_chain_id) < 0)
		return imgd_error_set(err, ENOENT, "no such v1 layer: %s",
		    v1_id);
	return 0;
}

int
tagstore_v1_layer(struct tagstore *ts, const char *registry,
    const char *v1_id, const void *json, size_t len,
    char ret_chain_id[DIGEST_STR_SIZE], struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = find_v1_layer(ts, registry, v1_id, json, len, ret_chain_id, err);
	pthread_mutex_unlock(&ts->mutex);
	return r;
}
