#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "tagstore/salvage.h"
#include "tagstore/sql.h"

#define NEW_NAME "imgd.db.new"

#define cleanup_stmt cleanup(stmt_freep)

static void
stmt_freep(sqlite3_stmt **st)
{
	(void)sqlite3_finalize(*st);
}

int
tagstore_check(struct tagstore *ts, bool is_deep, struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r = 0;

	pthread_mutex_lock(&ts->mutex);
	if (sqlite3_prepare_v2(ts->db, is_deep ? "PRAGMA integrity_check(1)"
					       : "PRAGMA quick_check(1)",
		-1, &st, NULL) != SQLITE_OK)
		r = sql_error(ts, "check", err);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r > 0 && strcmp(sql_text(st, 0), "ok") != 0)
		r = imgd_error_set(err, EUCLEAN, "imgd.db: %s",
		    sql_text(st, 0));
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}

struct salvage {
	int root_fd;
	struct tagstore *ts; /* the new one */
	/* Not attached to that: its damage would fail the new one's commits.
	 * NULL: it is no database at all. */
	sqlite3 *old;
};

static void
unlink_new(int root_fd)
{
	(void)unlinkat(root_fd, NEW_NAME, 0);
	(void)unlinkat(root_fd, NEW_NAME "-wal", 0);
	(void)unlinkat(root_fd, NEW_NAME "-shm", 0);
}

static void
close_old(struct salvage *s)
{
	(void)sqlite3_close(s->old);
	s->old = NULL;
}

void
salvage_free(struct salvage *s)
{
	if (s == NULL)
		return;
	close_old(s);
	if (s->ts != NULL) {
		tagstore_close(s->ts);
		unlink_new(s->root_fd);
	}
	free(s);
}

static int
exec(struct salvage *s, const char *sql, struct imgd_error **err)
{
	return sqlite3_exec(s->ts->db, sql, NULL, NULL, NULL) == SQLITE_OK
	    ? 0
	    : sql_error(s->ts, sql, err);
}

/* ---- rows ---- */

/* The text of a statement that stores a row as select gives it; NULL if there
 * is no such table now. */
static char *
insert_text(const char *table, sqlite3_stmt *select)
{
	struct strbuf sb = STRBUF_INIT;
	int i, n = sqlite3_column_count(select);

	strbuf_printf(&sb, "INSERT OR IGNORE INTO \"%s\"(", table);
	for (i = 0; i < n; i++)
		strbuf_printf(&sb, "%s\"%s\"", i > 0 ? "," : "",
		    sqlite3_column_name(select, i));
	strbuf_puts(&sb, ") VALUES(?");
	for (i = 1; i < n; i++)
		strbuf_puts(&sb, ",?");
	strbuf_putc(&sb, ')');
	return strbuf_take(&sb);
}

/* Copy rows in one direction, up to what cannot be read. */
static void
copy_rows(struct salvage *s, const char *table, const char *order)
{
	cleanup_stmt sqlite3_stmt *select = NULL, *insert = NULL;
	cleanup_free char *text = NULL, *into = NULL;
	int i;

	if (asprintf(&text, "SELECT * FROM \"%s\" ORDER BY 1 %s", table,
		order) < 0) {
		text = NULL;
		return;
	}
	if (sqlite3_prepare_v2(s->old, text, -1, &select, NULL) != SQLITE_OK)
		return;
	into = insert_text(table, select);
	if (into == NULL ||
	    sqlite3_prepare_v2(s->ts->db, into, -1, &insert, NULL) !=
		SQLITE_OK)
		return;
	while (sqlite3_step(select) == SQLITE_ROW) {
		for (i = 0; i < sqlite3_column_count(select); i++)
			(void)sqlite3_bind_value(insert, i + 1,
			    sqlite3_column_value(select, i));
		(void)sqlite3_step(insert);
		(void)sqlite3_reset(insert);
	}
}

/* Names of the tables, NUL after each. */
static int
list_tables(struct salvage *s, struct strbuf *ret, struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	if (sqlite3_prepare_v2(s->ts->db,
		"SELECT name FROM sqlite_schema WHERE type = 'table'"
		" AND name NOT LIKE 'sqlite%'",
		-1, &st, NULL) != SQLITE_OK)
		return sql_error(s->ts, "list tables", err);
	while ((r = sql_step(s->ts, st, err)) > 0)
		strbuf_append(ret, sql_text(st, 0),
		    strlen(sql_text(st, 0)) + 1);
	return r;
}

static int
copy_all(struct salvage *s, uint64_t *ret_rows, struct imgd_error **err)
{
	struct strbuf tables = STRBUF_INIT;
	int before = sqlite3_total_changes(s->ts->db), r;
	size_t pos;

	r = list_tables(s, &tables, err);
	if (r >= 0)
		r = exec(s, "PRAGMA foreign_keys = OFF; BEGIN", err);
	for (pos = 0; r >= 0 && pos < tables.len;
	     pos += strlen(tables.data + pos) + 1) {
		copy_rows(s, tables.data + pos, "ASC");
		/* What is behind the damage is reached from the other end. */
		copy_rows(s, tables.data + pos, "DESC");
	}
	*ret_rows = (uint64_t)(sqlite3_total_changes(s->ts->db) - before);
	strbuf_done(&tables);
	return r < 0 ? r : exec(s, "COMMIT", err);
}

/* A database that is none at all gives no rows. */
static int
open_old(struct salvage *s, struct imgd_error **err)
{
	cleanup_free char *root = NULL, *path = NULL;
	int r = fs_real_path(s->root_fd, &root, err);

	if (r < 0)
		return r;
	if (asprintf(&path, "%s/imgd.db", root) < 0) {
		path = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	/* Its log is read only by who may write; but it stays as it is. */
	(void)sqlite3_open_v2(path, &s->old,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
		SQLITE_OPEN_NOFOLLOW,
	    NULL);
	if (s->old == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	(void)sqlite3_db_config(s->old, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
	    NULL);
	(void)sqlite3_exec(s->old,
	    "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", NULL,
	    NULL, NULL);
	return 0;
}

int
salvage_begin(int root_fd, struct salvage **ret, uint64_t *ret_rows,
    struct imgd_error **err)
{
	struct salvage *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->root_fd = root_fd;
	unlink_new(root_fd);
	r = tagstore_open_file(root_fd, NEW_NAME, /* is_readonly= */ false,
	    &s->ts, err);
	if (r >= 0)
		r = open_old(s, err);
	if (r >= 0)
		r = copy_all(s, ret_rows, err);
	close_old(s);
	if (r < 0) {
		salvage_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int
salvage_chain(struct salvage *s, const char *key, char ret[80],
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(s->ts, &st, err,
	    "SELECT chain_id FROM layers WHERE key = ?", "s", key);
	if (r >= 0)
		r = sql_step(s->ts, st, err);
	if (r > 0)
		(void)snprintf(ret, 80, "%s", sql_text(st, 0));
	sql_reset(st);
	return r;
}

int
salvage_add_layer(struct salvage *s, const struct layer_row *row,
    struct imgd_error **err)
{
	return sql_run(s->ts, err,
	    "INSERT OR IGNORE INTO layers(key, driver, chain_id, diff_id,"
	    " parent, state, size, tar_bytes)"
	    " VALUES(?, ?, ?, ?, ?, 'ready', ?, ?)",
	    "sssssii", row->key, row->driver, row->chain_id, row->diff_id,
	    row->parent[0] != '\0' ? row->parent : NULL,
	    (int64_t)row->size_bytes, (int64_t)row->tar_bytes);
}

/* ---- what is whole ---- */

/* Ids of images whose config is not the one that the id is made of, NUL after
 * each. */
static int
find_forged(struct salvage *s, struct strbuf *ret, struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(s->ts, &st, err,
	    "SELECT id, config FROM images", "");
	while (r >= 0 && (r = sql_step(s->ts, st, err)) > 0) {
		char id[DIGEST_STR_SIZE];

		r = digest_of(sqlite3_column_blob(st, 1),
		    (size_t)sqlite3_column_bytes(st, 1), id, err);
		if (r >= 0 && strcmp(id, sql_text(st, 0)) != 0)
			strbuf_append(ret, sql_text(st, 0),
			    strlen(sql_text(st, 0)) + 1);
	}
	sql_reset(st);
	return r;
}

static int
drop_forged(struct salvage *s, struct imgd_error **err)
{
	struct strbuf ids = STRBUF_INIT;
	size_t pos;
	int r = find_forged(s, &ids, err);

	for (pos = 0; r >= 0 && pos < ids.len;
	     pos += strlen(ids.data + pos) + 1)
		r = sql_run(s->ts, err, "DELETE FROM images WHERE id = ?",
		    "s", ids.data + pos);
	strbuf_done(&ids);
	return r;
}

/* An image that lacks a layer is of no use, nor are its names; its next pull
 * finds the layers that are left. */
#define DROP_PARTS \
	"DELETE FROM image_drivers WHERE EXISTS(SELECT 1 FROM image_layers il" \
	" WHERE il.image = image_drivers.image AND NOT EXISTS" \
	"  (SELECT 1 FROM layers l WHERE l.driver = image_drivers.driver" \
	"   AND l.chain_id = il.chain_id AND l.state = 'ready'));" \
	"DELETE FROM images WHERE id NOT IN (SELECT image FROM image_drivers)" \
	" OR NOT json_valid(CAST(config AS TEXT))" \
	" OR IFNULL(json_array_length(CAST(config AS TEXT)," \
	"  '$.rootfs.diff_ids'), -1) <>" \
	" (SELECT COUNT(*) FROM image_layers il WHERE il.image = images.id);"

/* Drop rows of the table that refer to what is not there. */
static int
drop_dangling(struct salvage *s, const char *table, struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r = 0;
	char *text = sqlite3_mprintf("SELECT \"table\", \"from\", \"to\" FROM"
				     " pragma_foreign_key_list(%Q)",
	    table);

	if (text == NULL ||
	    sqlite3_prepare_v2(s->ts->db, text, -1, &st, NULL) != SQLITE_OK)
		r = sql_error(s->ts, "foreign keys", err);
	sqlite3_free(text);
	while (r >= 0 && (r = sql_step(s->ts, st, err)) > 0) {
		text = sqlite3_mprintf(
		    "DELETE FROM \"%w\" WHERE \"%w\" IS NOT NULL AND \"%w\""
		    " NOT IN (SELECT \"%w\" FROM \"%w\")",
		    table, sql_text(st, 1), sql_text(st, 1), sql_text(st, 2),
		    sql_text(st, 0));
		r = text == NULL ? imgd_error_set(err, ENOMEM, "out of memory")
				 : exec(s, text, err);
		sqlite3_free(text);
	}
	return r;
}

static int
drop_all_dangling(struct salvage *s, struct imgd_error **err)
{
	struct strbuf tables = STRBUF_INIT;
	int before, r = list_tables(s, &tables, err);
	size_t pos;

	do {
		before = sqlite3_total_changes(s->ts->db);
		for (pos = 0; r >= 0 && pos < tables.len;
		     pos += strlen(tables.data + pos) + 1)
			r = drop_dangling(s, tables.data + pos, err);
	} while (r >= 0 && sqlite3_total_changes(s->ts->db) != before);
	strbuf_done(&tables);
	return r;
}

static int
count_images(struct salvage *s, uint64_t *ret, struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(s->ts, &st, err, "SELECT COUNT(*) FROM images",
	    "");
	if (r >= 0)
		r = sql_step(s->ts, st, err);
	if (r > 0)
		*ret = (uint64_t)sqlite3_column_int64(st, 0);
	sql_reset(st);
	return r;
}

/* ---- the exchange ---- */

/*
 * The old log must not be taken for the new database's.  A power cut leaves
 * the old database, perhaps without its log, or the new one.
 */
static int
take_place(struct salvage *s, struct imgd_error **err)
{
	int fd = s->root_fd;

	if ((renameat(fd, "imgd.db-wal", fd, SALVAGE_ASIDE "-wal") < 0 &&
		errno != ENOENT) ||
	    (unlinkat(fd, "imgd.db-shm", 0) < 0 && errno != ENOENT) ||
	    (unlinkat(fd, SALVAGE_ASIDE, 0) < 0 && errno != ENOENT) ||
	    linkat(fd, "imgd.db", fd, SALVAGE_ASIDE, 0) < 0 ||
	    fsync(fd) < 0 || renameat(fd, NEW_NAME, fd, "imgd.db") < 0 ||
	    fsync(fd) < 0)
		return imgd_error_set(err, errno, "imgd.db: %s",
		    strerror(errno));
	return 0;
}

int
salvage_end(struct salvage *s, uint64_t *ret_images, uint64_t *ret_lost,
    struct imgd_error **err)
{
	uint64_t before = 0;
	int r = count_images(s, &before, err);

	if (r >= 0)
		r = exec(s, "BEGIN", err);
	if (r >= 0)
		r = drop_forged(s, err);
	if (r >= 0)
		r = exec(s, DROP_PARTS, err);
	if (r >= 0)
		r = drop_all_dangling(s, err);
	if (r >= 0)
		r = count_images(s, ret_images, err);
	if (r >= 0)
		r = exec(s, "COMMIT", err);
	if (r >= 0)
		r = tagstore_check(s->ts, /* is_deep= */ true, err);
	if (r < 0)
		return r;
	*ret_lost = before - *ret_images;
	/* Its end writes the log into it. */
	tagstore_close(s->ts);
	s->ts = NULL;
	r = take_place(s, err);
	if (r < 0)
		unlink_new(s->root_fd);
	return r;
}
