#include "config.h"

#include <errno.h>
#include <time.h>

#include "tagstore/sql.h"
#include "tagstore/uses.h"

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
uses_note(struct tagstore *ts, const char *image, struct imgd_error **err)
{
	return sql_run(ts, err,
	    "INSERT INTO image_uses(image, used_at)"
	    " SELECT id, ?2 FROM images WHERE id = ?1"
	    " ON CONFLICT(image) DO UPDATE SET used_at = excluded.used_at"
	    " WHERE used_at < excluded.used_at",
	    "si", image, now_ms());
}

/* Not sql_run: some pragmas act when they are prepared, which is done once. */
static int
set_synchronous(struct tagstore *ts, const char *pragma,
    struct imgd_error **err)
{
	if (sqlite3_exec(ts->db, pragma, NULL, NULL, NULL) != SQLITE_OK)
		return sql_error(ts, pragma, err);
	return 0;
}

/*
 * In WAL mode a commit with synchronous=NORMAL only appends to the log, which
 * the next commit with FULL, or a checkpoint, syncs: the order of commits
 * holds.
 */
int
tagstore_image_used(struct tagstore *ts, const char *image,
    struct imgd_error **err)
{
	int r, end, changes;

	pthread_mutex_lock(&ts->mutex);
	changes = sqlite3_total_changes(ts->db);
	r = set_synchronous(ts, "PRAGMA synchronous = NORMAL", err);
	if (r >= 0)
		r = uses_note(ts, image, err);
	end = set_synchronous(ts, "PRAGMA synchronous = FULL",
	    r < 0 ? NULL : err);
	ts->n_lazy_changes += sqlite3_total_changes(ts->db) - changes;
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : end;
}

#define LAST_USE \
	"MAX(i.pulled_at * 1000, IFNULL((SELECT used_at FROM image_uses u" \
	" WHERE u.image = i.id), 0))"

int
tagstore_image_uses(struct tagstore *ts, tagstore_use_cb *cb, void *ctx,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT i.id, " LAST_USE ", l.key FROM images i"
	    " LEFT JOIN image_layers il ON il.image = i.id"
	    " LEFT JOIN layers l ON l.chain_id = il.chain_id"
	    "  AND l.state = 'ready' AND l.state <> 'dying'"
	    "  AND l.driver IN (SELECT driver FROM image_drivers d"
	    "   WHERE d.image = i.id)"
	    " ORDER BY i.id",
	    "");
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0) {
		const struct image_use use = {
			.image = sql_text(st, 0),
			.used_at_ms = sqlite3_column_int64(st, 1),
			.key = sql_text(st, 2),
		};

		r = cb(ctx, &use);
	}
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

int
tagstore_image_use(struct tagstore *ts, const char *image, int64_t *ret_ms,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT " LAST_USE " FROM images i WHERE id = ?", "s", image);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r > 0)
		*ret_ms = sqlite3_column_int64(st, 0);
	else if (r == 0)
		r = imgd_error_set(err, ENOENT, "No such image: %s", image);
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

int
tagstore_held_layers(struct tagstore *ts, tagstore_key_cb *cb, void *ctx,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT key FROM pull_layers UNION ALL SELECT key FROM mounts"
	    " UNION ALL SELECT parent FROM containers",
	    "");
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0)
		r = cb(ctx, sql_text(st, 0));
	sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}
