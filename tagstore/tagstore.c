/* Opening, migrating and closing imgd.db. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tagstore/schema.h"
#include "tagstore/sql.h"
#include "tagstore/tagstore.h"

static int
exec(struct tagstore *ts, const char *sql, struct imgd_error **err)
{
	if (sqlite3_exec(ts->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return sql_error(ts, sql, err);
	return 0;
}

static int
read_version(struct tagstore *ts, int *ret, struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r;

	r = sql_prepare(ts, &st, err, "PRAGMA user_version", "");
	if (r < 0)
		return r;
	r = sql_step(ts, st, err);
	if (r > 0)
		*ret = sqlite3_column_int(st, 0);
	sql_reset(st);
	return r < 0 ? r : 0;
}

static int
migrate(struct tagstore *ts, bool is_readonly, struct imgd_error **err)
{
	int r, version = 0;

	r = read_version(ts, &version, err);
	if (r < 0)
		return r;
	if (version > SCHEMA_VERSION)
		return imgd_error_set(err, EPROTONOSUPPORT,
		    "imgd.db: version %d was made by a newer imgd; this one "
		    "reads up to %d",
		    version, SCHEMA_VERSION);
	if (version < 0)
		return imgd_error_set(err, EUCLEAN,
		    "imgd.db: version %d makes no sense", version);
	/* Version 0 is a store that its engine is just making. */
	if (is_readonly && version < SCHEMA_VERSION)
		return imgd_error_set(err, version == 0 ? ENOENT : ESTALE,
		    "imgd.db: version %d is older than %d; any verb that "
		    "changes something brings it up to date",
		    version, SCHEMA_VERSION);
	for (; version < SCHEMA_VERSION; version++) {
		char pragma[64];

		r = sql_begin(ts, err);
		if (r < 0)
			return r;
		r = exec(ts, schema_migrations[version], err);
		if (r >= 0) {
			(void)snprintf(pragma, sizeof(pragma),
			    "PRAGMA user_version = %d", version + 1);
			r = exec(ts, pragma, err);
		}
		r = sql_end(ts, r, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Whether nothing can have been in the database: drivers have their homes only
 * after it was made, and its log may still hold all of it. */
static bool
is_new(int root_fd, const char *name)
{
	char wal[32];

	(void)snprintf(wal, sizeof(wal), "%s-wal", name);
	return faccessat(root_fd, "drivers", F_OK, 0) < 0 ||
	    faccessat(root_fd, wal, F_OK, 0) == 0;
}

int
tagstore_open(int root_fd, bool is_readonly, struct tagstore **ret,
    struct imgd_error **err)
{
	return tagstore_open_file(root_fd, "imgd.db", is_readonly, ret, err);
}

int
tagstore_open_file(int root_fd, const char *name, bool is_readonly,
    struct tagstore **ret, struct imgd_error **err)
{
	cleanup(tagstore_closep) struct tagstore *ts = NULL;
	cleanup_free char *root = NULL;
	cleanup_free char *path = NULL;
	struct stat st;
	int r, flags;

	/* SQLite names -wal and -shm after the path, so /proc/self/fd is no
	 * use: its own links would be followed, but not those names. */
	r = fs_real_path(root_fd, &root, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%s", root, name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (fstatat(root_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISREG(st.st_mode))
			return imgd_error_set(err, EUCLEAN,
			    "%s: not a regular file", path);
		/* SQLite would take it for a new one. */
		if (st.st_size == 0 && !is_new(root_fd, name))
			return imgd_error_set(err, EUCLEAN,
			    "%s: the file is empty, but the store is not",
			    name);
	} else if (is_readonly || errno != ENOENT) {
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	}

	ts = calloc(1, sizeof(*ts));
	if (ts == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	(void)pthread_mutex_init(&ts->mutex, NULL);
	flags = is_readonly ? SQLITE_OPEN_READONLY
			    : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	if (sqlite3_open_v2(path, &ts->db,
		flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
		NULL) != SQLITE_OK)
		return sql_error(ts, "open", err);
	(void)sqlite3_extended_result_codes(ts->db, 0);
	(void)sqlite3_busy_timeout(ts->db, 10000);
	r = exec(ts, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
		     "PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;"
		     "PRAGMA temp_store = MEMORY",
	    err);
	if (r >= 0 && !is_readonly)
		r = exec(ts, "PRAGMA journal_mode = WAL;"
			     "PRAGMA synchronous = FULL",
		    err);
	if (r >= 0)
		r = migrate(ts, is_readonly, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&ts);
	return 0;
}

unsigned int
tagstore_commits(struct tagstore *ts)
{
	return ts->n_commits;
}

int
tagstore_version(struct tagstore *ts, uint64_t *ret, struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err, "PRAGMA data_version", "");
	if (r >= 0) {
		r = sql_step(ts, st, err);
		/* The pragma counts what others commit, and nothing that we
		 * do; both only grow. */
		if (r > 0)
			*ret = (uint64_t)sqlite3_column_int64(st, 0) << 32 |
			    (uint32_t)sqlite3_total_changes(ts->db);
		sql_reset(st);
	}
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

void
tagstore_close(struct tagstore *ts)
{
	size_t i;

	if (ts == NULL)
		return;
	for (i = 0; i < ts->n_cached; i++)
		(void)sqlite3_finalize(ts->cache[i].stmt);
	/* A checkpoint would sync what is not worth it: the log stays, and the
	 * next one to write takes it in. */
	if (ts->n_lazy_changes > 0 &&
	    sqlite3_total_changes(ts->db) == ts->n_lazy_changes)
		(void)sqlite3_db_config(ts->db,
		    SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_close(ts->db);
	(void)pthread_mutex_destroy(&ts->mutex);
	free(ts);
}
