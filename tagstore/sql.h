/* A thin layer over SQLite's statements, for the files of this room only. */
#ifndef TAGSTORE_SQL_H
#define TAGSTORE_SQL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

#define SQL_CACHE 160

struct sql_cached {
	const char *text; /* a literal: compared by address */
	sqlite3_stmt *stmt;
};

struct tagstore {
	sqlite3 *db;
	pthread_mutex_t mutex;
	struct sql_cached cache[SQL_CACHE];
	size_t n_cached;
	int n_lazy_changes; /* rows written without a sync */
	atomic_uint n_commits;
};

/* tagstore_open() for a file of another name. */
int tagstore_open_file(int root_fd, const char *name, bool is_readonly,
    struct tagstore **ret, struct imgd_error **err);

/* Turn SQLite's current error into one of ours. */
int sql_error(struct tagstore *ts, const char *what, struct imgd_error **err);

/*
 * Prepare (or fetch) text, which must be a string literal, and bind params:
 * 's' const char * (NULL = SQL NULL), 'i' int64_t, 'b' const void *, size_t.
 * The statement is ready to be stepped; end it with sql_reset.
 */
int sql_prepare(struct tagstore *ts, sqlite3_stmt **ret,
    struct imgd_error **err, const char *text, const char *types, ...);
/* Step: 1 = a row, 0 = done. */
int sql_step(struct tagstore *ts, sqlite3_stmt *st, struct imgd_error **err);
void sql_reset(sqlite3_stmt *st);
static inline void
sql_resetp(sqlite3_stmt **st)
{
	sql_reset(*st);
}
/* Prepare, step to the end, reset. */
int sql_run(struct tagstore *ts, struct imgd_error **err, const char *text,
    const char *types, ...);

/* Column as text, never NULL; lives until the next step. */
const char *sql_text(sqlite3_stmt *st, int column);
/* Column as malloc'ed text; NULL if memory is out. */
char *sql_strdup(sqlite3_stmt *st, int column);

/* Lock and begin; unlock and commit, or roll back if r < 0.  Returns r, or
 * the commit's failure. */
int sql_begin(struct tagstore *ts, struct imgd_error **err);
int sql_end(struct tagstore *ts, int r, struct imgd_error **err);

#endif
