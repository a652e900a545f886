#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/devmapper/journal.h"
#include "lib/cleanup.h"

#define SCHEMA_VERSION 1
#define MAX_DEVICE     ((1u << 24) - 1) /* dm-thin's device ids have 24 bits */

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE facts(key TEXT PRIMARY KEY, value TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE layers(id TEXT PRIMARY KEY, parent TEXT NOT NULL,"
    " device INTEGER NOT NULL UNIQUE, state INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX layers_parent ON layers(parent);"
    "CREATE TABLE pending(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " kind INTEGER NOT NULL, target INTEGER NOT NULL, id TEXT NOT NULL,"
    " parent TEXT NOT NULL, device INTEGER NOT NULL, state INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL);"
    "PRAGMA user_version = 1;"
    "COMMIT";

struct journal {
	sqlite3 *db;
	char *path;
};

static void
finalizep(sqlite3_stmt **st)
{
	(void)sqlite3_finalize(*st);
}

#define cleanup_stmt cleanup(finalizep)

static int
fail(struct journal *j, struct imgd_error **err)
{
	int code;

	switch (sqlite3_errcode(j->db) & 0xff) {
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
	return imgd_error_set(err, code, "%s: %s", j->path,
	    sqlite3_errmsg(j->db));
}

/* Prepare text and bind its values: s is a string, i an int64_t. */
static int
prepare(struct journal *j, sqlite3_stmt **ret, struct imgd_error **err,
    const char *text, const char *types, va_list ap)
{
	sqlite3_stmt *st;
	int i, rc;

	if (sqlite3_prepare_v2(j->db, text, -1, &st, NULL) != SQLITE_OK)
		return fail(j, err);
	rc = SQLITE_OK;
	for (i = 1; *types != '\0' && rc == SQLITE_OK; types++, i++)
		rc = *types == 's'
		    ? sqlite3_bind_text(st, i, va_arg(ap, const char *), -1,
			  SQLITE_TRANSIENT)
		    : sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
	*ret = st;
	return rc == SQLITE_OK ? 0 : fail(j, err);
}

/* 1: a row, 0: no more. */
static int
step(struct journal *j, sqlite3_stmt *st, struct imgd_error **err)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : fail(j, err);
}

static int
query(struct journal *j, sqlite3_stmt **ret, struct imgd_error **err,
    const char *text, const char *types, ...)
{
	va_list ap;
	int r;

	va_start(ap, types);
	r = prepare(j, ret, err, text, types, ap);
	va_end(ap);
	return r < 0 ? r : step(j, *ret, err);
}

static int
run(struct journal *j, struct imgd_error **err, const char *text,
    const char *types, ...)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	va_list ap;
	int r;

	va_start(ap, types);
	r = prepare(j, &st, err, text, types, ap);
	va_end(ap);
	if (r < 0)
		return r;
	do
		r = step(j, st, err);
	while (r > 0);
	return r;
}

static int
begin(struct journal *j, struct imgd_error **err)
{
	return run(j, err, "BEGIN IMMEDIATE", "");
}

static int
end(struct journal *j, int r, struct imgd_error **err)
{
	if (r >= 0)
		r = run(j, err, "COMMIT", "");
	if (r < 0)
		(void)run(j, NULL, "ROLLBACK", "");
	return r;
}

/* ---- open and close ---- */

static void
closep(struct journal **j)
{
	journal_close(*j);
}

static int
check_version(struct journal *j, bool is_readonly, struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int version, r;

	r = query(j, &st, err, "PRAGMA user_version", "");
	if (r < 0)
		return r;
	version = r > 0 ? sqlite3_column_int(st, 0) : 0;
	if (version > SCHEMA_VERSION)
		return imgd_error_set(err, EPROTONOSUPPORT,
		    "%s: version %d was made by a newer imgd; this one reads "
		    "up to %d", j->path, version, SCHEMA_VERSION);
	if (version < 0)
		return imgd_error_set(err, EUCLEAN,
		    "%s: version %d makes no sense", j->path, version);
	if (version == SCHEMA_VERSION)
		return 0;
	if (is_readonly)
		return imgd_error_set(err, ENOENT, "%s: empty", j->path);
	(void)sqlite3_finalize(take_ptr(&st));
	if (sqlite3_exec(j->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		return fail(j, err);
	return 0;
}

int
journal_open(const char *home, int home_fd, bool is_readonly,
    struct journal **ret, struct imgd_error **err)
{
	cleanup(closep) struct journal *j = calloc(1, sizeof(*j));
	int r, flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
	struct stat st;

	if (j == NULL || asprintf(&j->path, "%s/pool.db", home) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (fstatat(home_fd, "pool.db", &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISREG(st.st_mode))
			return imgd_error_set(err, EUCLEAN,
			    "%s: not a regular file", j->path);
	} else if (is_readonly || errno != ENOENT) {
		return imgd_error_set(err, errno, "%s: %s", j->path,
		    strerror(errno));
	}
	flags |= is_readonly ? SQLITE_OPEN_READONLY
	    : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	if (sqlite3_open_v2(j->path, &j->db, flags, NULL) != SQLITE_OK)
		return j->db != NULL ? fail(j, err)
		    : imgd_error_set(err, ENOMEM, "out of memory");
	(void)sqlite3_busy_timeout(j->db, 10000);
	if (sqlite3_exec(j->db, "PRAGMA trusted_schema = OFF;"
	    "PRAGMA cell_size_check = ON; PRAGMA cache_size = -128;"
	    "PRAGMA temp_store = MEMORY", NULL, NULL, NULL) != SQLITE_OK)
		return fail(j, err);
	if (!is_readonly && sqlite3_exec(j->db, "PRAGMA journal_mode = WAL;"
	    "PRAGMA synchronous = FULL", NULL, NULL, NULL) != SQLITE_OK)
		return fail(j, err);
	r = check_version(j, is_readonly, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&j);
	return 0;
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	(void)sqlite3_close(j->db);
	free(j->path);
	free(j);
}

/* ---- facts ---- */

static const char *
text_of(sqlite3_stmt *st, int column)
{
	const unsigned char *s = sqlite3_column_text(st, column);

	return s != NULL ? (const char *)s : "";
}

int
journal_get(struct journal *j, const char *key, char **ret,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	char *value;
	int r;

	r = query(j, &st, err, "SELECT value FROM facts WHERE key = ?", "s",
	    key);
	if (r < 0)
		return r;
	value = strdup(r > 0 ? text_of(st, 0) : "");
	if (value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret = value;
	return 0;
}

int
journal_get_u64(struct journal *j, const char *key, uint64_t *ret,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = query(j, &st, err, "SELECT value FROM facts WHERE key = ?", "s",
	    key);
	if (r < 0)
		return r;
	*ret = r > 0 ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	return 0;
}

int
journal_set(struct journal *j, const char *key, const char *value,
    struct imgd_error **err)
{
	return run(j, err, "INSERT INTO facts(key, value) VALUES(?, ?)"
	    " ON CONFLICT(key) DO UPDATE SET value = excluded.value", "ss",
	    key, value);
}

int
journal_set_u64(struct journal *j, const char *key, uint64_t value,
    struct imgd_error **err)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return journal_set(j, key, text, err);
}

/* ---- rows ---- */

#define ROW_COLUMNS "id, parent, device, state, bytes"

/* Copy the columns from first on. */
static void
copy_row(sqlite3_stmt *st, int first, struct row *ret)
{
	(void)snprintf(ret->id, sizeof(ret->id), "%s", text_of(st, first));
	(void)snprintf(ret->parent, sizeof(ret->parent), "%s",
	    text_of(st, first + 1));
	ret->device = (uint32_t)sqlite3_column_int64(st, first + 2);
	ret->state = (uint32_t)sqlite3_column_int64(st, first + 3);
	ret->bytes = (uint64_t)sqlite3_column_int64(st, first + 4);
}

int
journal_row(struct journal *j, const char *id, struct row *ret,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = query(j, &st, err,
	    "SELECT " ROW_COLUMNS " FROM layers WHERE id = ?", "s", id);
	if (r > 0 && ret != NULL)
		copy_row(st, 0, ret);
	return r;
}

int
journal_rows(struct journal *j, struct row **ret, size_t *ret_n,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	cleanup_free struct row *rows = NULL;
	size_t n = 0;
	int r;

	/* Rows whose parent is missing have no depth: they come last. */
	r = query(j, &st, err,
	    "WITH RECURSIVE depth(k, d) AS ("
	    " SELECT id, 0 FROM layers WHERE parent = '' UNION ALL"
	    " SELECT l.id, d + 1 FROM layers l JOIN depth ON l.parent = k)"
	    " SELECT " ROW_COLUMNS " FROM layers LEFT JOIN depth ON k = id"
	    " ORDER BY d DESC, id", "");
	while (r > 0) {
		struct row *grown = rows;

		if (n % 64 == 0)
			grown = reallocarray(rows, n + 64, sizeof(*rows));
		if (grown == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		rows = grown;
		copy_row(st, 0, &rows[n++]);
		r = step(j, st, err);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(&rows);
	*ret_n = n;
	return 0;
}

int
journal_has_children(struct journal *j, const char *id,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;

	return query(j, &st, err,
	    "SELECT 1 FROM layers WHERE parent = ? AND state <> ?", "si", id,
	    (int64_t)ROW_DYING);
}

int
journal_free_device(struct journal *j, uint32_t from, uint32_t *ret,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int64_t device;
	int r;

	r = query(j, &st, err,
	    "WITH used(d) AS (SELECT device FROM layers UNION"
	    " SELECT device FROM pending)"
	    " SELECT min(n) FROM (SELECT ?1 AS n UNION"
	    "  SELECT d + 1 FROM used WHERE d + 1 > ?1)"
	    " WHERE n NOT IN used", "i", (int64_t)from);
	if (r < 0)
		return r;
	device = sqlite3_column_int64(st, 0);
	if (device > MAX_DEVICE)
		return imgd_error_set(err, ENOSPC,
		    "%s: all device ids of the pool are in use", j->path);
	*ret = (uint32_t)device;
	return 0;
}

int
journal_set_state(struct journal *j, const char *id, uint32_t state,
    struct imgd_error **err)
{
	return run(j, err, "UPDATE layers SET state = ? WHERE id = ?", "is",
	    (int64_t)state, id);
}

int
journal_set_bytes(struct journal *j, const char *id, uint64_t bytes,
    struct imgd_error **err)
{
	return run(j, err, "UPDATE layers SET bytes = ? WHERE id = ?", "is",
	    (int64_t)bytes, id);
}

int
journal_set_dying(struct journal *j, const char *id, struct imgd_error **err)
{
	return run(j, err, "UPDATE layers SET id = 'dying-' || device,"
	    " parent = '', state = ? WHERE id = ?", "is", (int64_t)ROW_DYING,
	    id);
}

int
journal_drop(struct journal *j, const char *id, struct imgd_error **err)
{
	return run(j, err, "DELETE FROM layers WHERE id = ?", "s", id);
}

/* Device ids are unique, so one of them steps aside meanwhile. */
int
journal_exchange(struct journal *j, const char *a, const char *b,
    struct imgd_error **err)
{
	struct row ra, rb;
	int r = begin(j, err);

	if (r < 0)
		return r;
	r = journal_row(j, a, &ra, err);
	if (r > 0)
		r = journal_row(j, b, &rb, err);
	if (r == 0)
		r = imgd_error_set(err, ENOENT, "no such layer");
	if (r > 0)
		r = run(j, err, "UPDATE layers SET device = -1 WHERE id = ?",
		    "s", a);
	if (r >= 0)
		r = run(j, err, "UPDATE layers SET device = ?, bytes = ?"
		    " WHERE id = ?", "iis", (int64_t)ra.device,
		    (int64_t)ra.bytes, b);
	if (r >= 0)
		r = run(j, err, "UPDATE layers SET device = ?, bytes = ?"
		    " WHERE id = ?", "iis", (int64_t)rb.device,
		    (int64_t)rb.bytes, a);
	return end(j, r, err);
}

/* ---- changes ---- */

int
journal_begin(struct journal *j, const struct change *c,
    struct imgd_error **err)
{
	return run(j, err, "INSERT INTO pending(one, kind, target, "
	    ROW_COLUMNS ") VALUES(1, ?, ?, ?, ?, ?, ?, ?)", "iissiii",
	    (int64_t)c->kind, (int64_t)c->target, c->row.id, c->row.parent,
	    (int64_t)c->row.device, (int64_t)c->row.state,
	    (int64_t)c->row.bytes);
}

/* Device ids above this were never used. */
static int
raise_high_device(struct journal *j, uint32_t device, struct imgd_error **err)
{
	uint64_t high;
	int r = journal_get_u64(j, "high_device", &high, err);

	if (r < 0 || high >= device)
		return r;
	return journal_set_u64(j, "high_device", device, err);
}

int
journal_done(struct journal *j, const struct change *c,
    struct imgd_error **err)
{
	int r = begin(j, err);

	if (r < 0)
		return r;
	if (c->kind == CHANGE_CREATE) {
		r = run(j, err, "INSERT INTO layers(" ROW_COLUMNS ")"
		    " VALUES(?, ?, ?, ?, ?)", "ssiii", c->row.id,
		    c->row.parent, (int64_t)c->row.device,
		    (int64_t)c->row.state, (int64_t)c->row.bytes);
		if (r >= 0)
			r = raise_high_device(j, c->row.device, err);
	} else {
		r = journal_drop(j, c->row.id, err);
	}
	if (r >= 0)
		r = journal_set_u64(j, "transaction", c->target, err);
	if (r >= 0)
		r = journal_cancel(j, err);
	return end(j, r, err);
}

int
journal_cancel(struct journal *j, struct imgd_error **err)
{
	return run(j, err, "DELETE FROM pending", "");
}

int
journal_pending(struct journal *j, struct change *ret,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = query(j, &st, err,
	    "SELECT kind, target, " ROW_COLUMNS " FROM pending", "");
	if (r <= 0)
		return r;
	ret->kind = (enum change_kind)sqlite3_column_int(st, 0);
	ret->target = (uint64_t)sqlite3_column_int64(st, 1);
	copy_row(st, 2, &ret->row);
	return 1;
}

int
journal_accept(struct journal *j, uint64_t transaction,
    struct imgd_error **err)
{
	int r = begin(j, err);

	if (r < 0)
		return r;
	r = journal_cancel(j, err);
	if (r >= 0)
		r = journal_set_u64(j, "transaction", transaction, err);
	return end(j, r, err);
}
