#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tagstore/sql.h"
#include "tagstore/uploads.h"

/* Of layers that may be long gone: the oldest make room. */
#define MAX_LAYER_BLOBS 20000

/* ---- blobs of layers ---- */

int
tagstore_layer_blobs(struct tagstore *ts, const char *diff_id,
    const char *registry, const char *format, size_t max,
    struct layer_blob *ret, size_t *ret_n, struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	size_t n = 0;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT blob_digest, size, MAX(registry = ?1) AS is_there,"
	    " MAX(used_at) AS at FROM layer_blobs"
	    " WHERE diff_id = ?2 AND format = ?3 GROUP BY blob_digest"
	    " ORDER BY is_there DESC, at DESC, blob_digest",
	    "sss", registry, diff_id, format);
	while (r >= 0 && n < max && (r = sql_step(ts, st, err)) > 0) {
		const char *digest = sql_text(st, 0);

		if (!digest_is_valid(digest))
			continue;
		memcpy(ret[n].digest, digest, DIGEST_STR_SIZE);
		ret[n++].size_bytes = (uint64_t)sqlite3_column_int64(st, 1);
	}
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	*ret_n = n;
	return r < 0 ? r : 0;
}

int
tagstore_layer_blob_add(struct tagstore *ts, const char *diff_id,
    const char *registry, const char *format, const struct layer_blob *blob,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT OR REPLACE INTO layer_blobs(diff_id, registry, format,"
	    " blob_digest, size, used_at) VALUES(?, ?, ?, ?, ?, ?)",
	    "ssssii", diff_id, registry, format, blob->digest,
	    (int64_t)blob->size_bytes, (int64_t)time(NULL));
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM layer_blobs WHERE used_at < (SELECT used_at"
		    " FROM layer_blobs ORDER BY used_at DESC LIMIT 1"
		    " OFFSET ?)",
		    "i", (int64_t)MAX_LAYER_BLOBS);
	return sql_end(ts, r, err);
}

/* ---- uploads ---- */

void
upload_row_done(struct upload_row *row)
{
	free(row->location);
	*row = (struct upload_row) { 0 };
}

static int
read_row(sqlite3_stmt *st, struct upload_row *row, struct imgd_error **err)
{
	const char *digest = sql_text(st, 2);

	row->location = sql_strdup(st, 0);
	row->bytes = (uint64_t)sqlite3_column_int64(st, 1);
	if (digest_is_valid(digest))
		memcpy(row->digest, digest, DIGEST_STR_SIZE);
	return row->location != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

int
tagstore_upload(struct tagstore *ts, const struct upload_key *key,
    struct upload_row *ret, struct imgd_error **err)
{
	struct upload_row row = { 0 };
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT location, bytes, prefix_digest FROM uploads"
	    " WHERE registry = ? AND repository = ? AND diff_id = ?"
	    " AND format = ?",
	    "ssss", key->registry, key->repository, key->diff_id,
	    key->format);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r > 0)
		r = read_row(st, &row, err);
	else if (r == 0)
		r = imgd_error_set(err, ENOENT, "no such upload");
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	if (r < 0)
		upload_row_done(&row);
	else
		*ret = row;
	return r < 0 ? r : 0;
}

int
tagstore_upload_mark(struct tagstore *ts, const struct upload_key *key,
    const struct upload_row *row, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT OR REPLACE INTO uploads(registry, repository, diff_id,"
	    " format, location, bytes, prefix_digest, used_at)"
	    " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
	    "sssssisi", key->registry, key->repository, key->diff_id,
	    key->format, row->location, (int64_t)row->bytes, row->digest,
	    (int64_t)time(NULL));
	return sql_end(ts, r, err);
}

int
tagstore_upload_drop(struct tagstore *ts, const struct upload_key *key,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "DELETE FROM uploads WHERE registry = ? AND repository = ?"
	    " AND diff_id = ? AND format = ?",
	    "ssss", key->registry, key->repository, key->diff_id,
	    key->format);
	return sql_end(ts, r, err);
}

int
tagstore_uploads_expire(struct tagstore *ts, int64_t max_age_s,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err, "DELETE FROM uploads WHERE used_at < ?", "i",
	    (int64_t)time(NULL) - max_age_s);
	return sql_end(ts, r, err);
}
