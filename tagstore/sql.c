#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "tagstore/sql.h"

int
sql_error(struct tagstore *ts, const char *what, struct imgd_error **err)
{
	int code;

	switch (sqlite3_errcode(ts->db)) {
	case SQLITE_NOMEM:
		code = ENOMEM;
		break;
	case SQLITE_FULL:
		code = ENOSPC;
		break;
	case SQLITE_READONLY:
		code = EROFS;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		code = EBUSY;
		break;
	case SQLITE_CONSTRAINT:
		code = EEXIST;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		code = EUCLEAN;
		break;
	default:
		code = EIO;
	}
	return imgd_error_set(err, code, "imgd.db: %s: %s", what,
	    sqlite3_errmsg(ts->db));
}

static int
bind_all(sqlite3_stmt *st, const char *types, va_list ap)
{
	int i, rc = SQLITE_OK;

	for (i = 1; *types != '\0' && rc == SQLITE_OK; types++, i++) {
		if (*types == 's') {
			const char *s = va_arg(ap, const char *);

			rc = s != NULL ? sqlite3_bind_text(st, i, s, -1,
					     SQLITE_TRANSIENT)
				       : sqlite3_bind_null(st, i);
		} else if (*types == 'i') {
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
		} else {
			const void *data = va_arg(ap, const void *);
			size_t len = va_arg(ap, size_t);

			/* A NULL pointer would bind SQL's NULL. */
			rc = sqlite3_bind_blob64(st, i,
			    data != NULL ? data : "", len, SQLITE_TRANSIENT);
		}
	}
	return rc;
}

static int
vprepare(struct tagstore *ts, sqlite3_stmt **ret, struct imgd_error **err,
    const char *text, const char *types, va_list ap)
{
	sqlite3_stmt *st = NULL;
	size_t i;

	for (i = 0; i < ts->n_cached; i++)
		if (ts->cache[i].text == text)
			st = ts->cache[i].stmt;
	if (st == NULL) {
		if (ts->n_cached == SQL_CACHE)
			return imgd_error_set(err, ENOMEM,
			    "imgd.db: too many statements");
		if (sqlite3_prepare_v3(ts->db, text, -1,
			SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK)
			return sql_error(ts, "prepare", err);
		ts->cache[ts->n_cached].text = text;
		ts->cache[ts->n_cached++].stmt = st;
	}
	if (bind_all(st, types, ap) != SQLITE_OK) {
		sql_reset(st);
		return sql_error(ts, "bind", err);
	}
	*ret = st;
	return 0;
}

int
sql_prepare(struct tagstore *ts, sqlite3_stmt **ret, struct imgd_error **err,
    const char *text, const char *types, ...)
{
	va_list ap;
	int r;

	va_start(ap, types);
	r = vprepare(ts, ret, err, text, types, ap);
	va_end(ap);
	return r;
}

int
sql_step(struct tagstore *ts, sqlite3_stmt *st, struct imgd_error **err)
{
	switch (sqlite3_step(st)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return sql_error(ts, "step", err);
	}
}

void
sql_reset(sqlite3_stmt *st)
{
	if (st == NULL)
		return;
	(void)sqlite3_reset(st);
	(void)sqlite3_clear_bindings(st);
}

int
sql_run(struct tagstore *ts, struct imgd_error **err, const char *text,
    const char *types, ...)
{
	sqlite3_stmt *st = NULL;
	va_list ap;
	int r;

	va_start(ap, types);
	r = vprepare(ts, &st, err, text, types, ap);
	va_end(ap);
	if (r < 0)
		return r;
	do
		r = sql_step(ts, st, err);
	while (r > 0);
	sql_reset(st);
	return r;
}

const char *
sql_text(sqlite3_stmt *st, int column)
{
	const unsigned char *s = sqlite3_column_text(st, column);

	return s != NULL ? (const char *)s : "";
}

char *
sql_strdup(sqlite3_stmt *st, int column)
{
	return strdup(sql_text(st, column));
}

int
sql_begin(struct tagstore *ts, struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_run(ts, err, "BEGIN IMMEDIATE", "");
	if (r < 0)
		pthread_mutex_unlock(&ts->mutex);
	return r;
}

int
sql_end(struct tagstore *ts, int r, struct imgd_error **err)
{
	FAIL_POINT("database-uncommitted");
	if (r >= 0)
		r = sql_run(ts, err, "COMMIT", "");
	FAIL_POINT("database-committed");
	if (r < 0)
		(void)sql_run(ts, NULL, "ROLLBACK", "");
	else
		ts->n_commits++;
	pthread_mutex_unlock(&ts->mutex);
	return r;
}
