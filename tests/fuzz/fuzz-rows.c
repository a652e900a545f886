/*
 * Rows of the database that nobody of ours has written: each line of the input
 * sets a column of all rows of a table, "TABLE COLUMN VALUE"; "#" before a
 * value makes it a number.  Then all is read, salvaged, and read again.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tagstore/health.h"
#include "tagstore/salvage.h"
#include "tagstore/tagstore.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define MAX_LINES 16
#define D(x) "sha256:" x x x x x x x x x x x x x x x x

/* What one image in one driver, with a name, a container and a mount takes. */
static const char rows[] =
    "INSERT INTO images(id, config, manifest, manifest_type, created,"
    "  pulled_at) VALUES('" D("1111") "', '{}', '{}', 'x', '2020', 1);"
    "INSERT INTO image_layers VALUES('" D("1111") "', 0, '" D("2222") "',"
    "  '" D("2222") "', '" D("3333") "', 'x', 5);"
    "INSERT INTO image_drivers VALUES('" D("1111") "', 'vfs');"
    "INSERT INTO layers(key, driver, chain_id, diff_id, state, size,"
    "  tar_bytes) VALUES('k', 'vfs', '" D("2222") "', '" D("2222") "',"
    "  'ready', 5, 5);"
    "INSERT INTO tags VALUES('docker.io/x', '1', '" D("1111") "', '');"
    "INSERT INTO digests VALUES('docker.io/x', '" D("4444") "',"
    "  '" D("1111") "');"
    "INSERT INTO sources VALUES('" D("3333") "', 'r', 'x');";

static void
must_do(sqlite3 *db, const char *text)
{
	char *why = NULL;

	if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK) {
		(void)fprintf(stderr, "%s\n", why);
		abort();
	}
}

static sqlite3 *
open_db(void)
{
	sqlite3 *db = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/imgd.db",
	    scratch_dir());
	MUST(sqlite3_open(path, &db) == SQLITE_OK);
	must_do(db, "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF;"
		    "PRAGMA ignore_check_constraints = ON");
	return db;
}

/* An empty store's database with these rows, in memory. */
static char *
template(size_t *ret_len)
{
	static char *data;
	static size_t len;
	struct tagstore *ts = NULL;
	sqlite3 *db;

	if (data == NULL) {
		MUST(tagstore_open(scratch_dir(), false, &ts, NULL) >= 0);
		tagstore_close(ts);
		db = open_db();
		must_do(db, rows);
		must_do(db, "PRAGMA wal_checkpoint(TRUNCATE)");
		MUST(sqlite3_close(db) == SQLITE_OK);
		MUST(fs_read_file(scratch_dir(), "imgd.db", 16 << 20, &data,
		    &len, NULL) >= 0);
	}
	*ret_len = len;
	return data;
}

static bool
is_word(const char *s)
{
	return *s != '\0' &&
	    s[strspn(s, "abcdefghijklmnopqrstuvwxyz_0123456789")] == '\0';
}

static void
set_column(sqlite3 *db, char *line)
{
	char *table = strsep(&line, " "), *column = strsep(&line, " ");
	sqlite3_stmt *st = NULL;
	char text[512];

	if (line == NULL || !is_word(table) || !is_word(column) ||
	    strlen(table) + strlen(column) > 200)
		return;
	(void)snprintf(text, sizeof(text), "UPDATE OR IGNORE %s SET %s = ?",
	    table, column);
	if (sqlite3_prepare_v2(db, text, -1, &st, NULL) != SQLITE_OK)
		return;
	if (line[0] == '#')
		(void)sqlite3_bind_int64(st, 1, strtoll(line + 1, NULL, 0));
	else
		(void)sqlite3_bind_text(st, 1, line, -1, SQLITE_STATIC);
	(void)sqlite3_step(st);
	(void)sqlite3_finalize(st);
}

/* ---- reading ---- */

/* Keys of what there is, for when the store may be asked again. */
struct found {
	char *image, *layer;
};

static int
on_image(void *ctx, const struct image_summary *s)
{
	struct found *found = ctx;

	MUST(s->id != NULL && s->created != NULL && s->drivers != NULL &&
	    s->labels != NULL);
	free(found->image);
	found->image = strdup(s->id);
	return 0;
}

static int
on_name(void *ctx, const struct image_name *n)
{
	(void)ctx;
	MUST(n->repository != NULL && n->tag != NULL && n->image != NULL);
	return 0;
}

static int
on_layer(void *ctx, const struct layer_row *row)
{
	struct found *found = ctx;

	MUST(row->key != NULL && row->driver != NULL && row->state != NULL &&
	    row->parent != NULL && row->chain_id != NULL);
	free(found->layer);
	found->layer = strdup(row->key);
	return 0;
}

static int
on_summary(void *ctx, const struct layer_summary *s)
{
	(void)ctx;
	MUST(s->image != NULL && s->chain_id != NULL);
	return 0;
}

static void
read_found(struct tagstore *ts, struct found *found)
{
	struct image image = { .id = NULL };
	char *text;

	if (found->image != NULL &&
	    tagstore_image(ts, found->image, &image, NULL) >= 0)
		image_done(&image);
	if (found->image != NULL &&
	    tagstore_image_labels(ts, found->image, &text, NULL) >= 0)
		free(text);
	if (found->layer != NULL &&
	    tagstore_layer_problem(ts, found->layer, &text, NULL) > 0)
		free(text);
	free(found->image);
	free(found->layer);
}

static void
read_all(void)
{
	cleanup(tagstore_closep) struct tagstore *ts = NULL;
	cleanup_error struct imgd_error *err = NULL;
	struct found found = { NULL, NULL };
	char *drivers = NULL;
	int r = tagstore_open(scratch_dir(), false, &ts, &err);

	must_be_told(r, err);
	if (r < 0)
		return;
	(void)tagstore_check(ts, true, NULL);
	(void)tagstore_images(ts, on_image, &found, NULL);
	(void)tagstore_names(ts, NULL, on_name, NULL, NULL);
	(void)tagstore_layers(ts, NULL, NULL, on_layer, &found, NULL);
	(void)tagstore_layer_summaries(ts, on_summary, NULL, NULL);
	read_found(ts, &found);
	if (tagstore_drivers(ts, &drivers, NULL) >= 0)
		free(drivers);
	(void)tagstore_pulls_abandon_all(ts, NULL);
}

static void
mend(void)
{
	cleanup_error struct imgd_error *err = NULL;
	struct salvage *s = NULL;
	uint64_t n_rows, n_images, n_lost;
	int r = salvage_begin(scratch_dir(), &s, &n_rows, &err);

	if (r >= 0)
		r = salvage_end(s, &n_images, &n_lost, &err);
	must_be_told(r, err);
	salvage_free(s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_free char *s = text_of(data, len);
	char *rest = s, *line;
	size_t n_bytes, n = 0;
	const char *bytes = template(&n_bytes);
	sqlite3 *db;
	int fd;

	(void)unlinkat(scratch_dir(), "imgd.db-wal", 0);
	(void)unlinkat(scratch_dir(), "imgd.db-shm", 0);
	fd = scratch_file_of("imgd.db", (const uint8_t *)bytes, n_bytes);
	close_fd(&fd);
	db = open_db();
	while (n++ < MAX_LINES && (line = strsep(&rest, "\n")) != NULL)
		set_column(db, line);
	MUST(sqlite3_close(db) == SQLITE_OK);
	read_all();
	mend();
	read_all();
	(void)unlinkat(scratch_dir(), SALVAGE_ASIDE, 0);
	return 0;
}
