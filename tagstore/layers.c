/* Layers, pulls in flight, publication and mounts. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tagstore/layers.h"
#include "tagstore/signatures.h"
#include "tagstore/sql.h"
#include "tagstore/tagstore.h"
#include "tagstore/uses.h"

#define cleanup_stmt cleanup(sql_resetp)

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "imgd.db: out of memory");
}

void
layer_row_done(struct layer_row *row)
{
	free(row->key);
	free(row->driver);
	free(row->chain_id);
	free(row->diff_id);
	free(row->parent);
	free(row->state);
	*row = (struct layer_row) { 0 };
}

void
mount_row_done(struct mount_row *row)
{
	free(row->target);
	free(row->kind);
	free(row->image);
	free(row->key);
	free(row->driver);
	free(row->reference);
	free(row->boot_id);
	free(row->mnt_ns);
	*row = (struct mount_row) { 0 };
}

/* Copy the current row of "SELECT " LAYER_COLUMNS. */
#define LAYER_COLUMNS \
	"key, driver, chain_id, diff_id, parent, state, size, tar_bytes," \
	" EXISTS(SELECT 1 FROM damaged x WHERE x.key = layers.key)," \
	" EXISTS(SELECT 1 FROM replaced x WHERE x.key = layers.key)"

static int
copy_layer(sqlite3_stmt *st, struct layer_row *row, struct imgd_error **err)
{
	row->key = sql_strdup(st, 0);
	row->driver = sql_strdup(st, 1);
	row->chain_id = sql_strdup(st, 2);
	row->diff_id = sql_strdup(st, 3);
	row->parent = sql_strdup(st, 4);
	row->state = sql_strdup(st, 5);
	row->size_bytes = (uint64_t)sqlite3_column_int64(st, 6);
	row->tar_bytes = (uint64_t)sqlite3_column_int64(st, 7);
	row->is_damaged = sqlite3_column_int(st, 8) != 0;
	row->is_replaced = sqlite3_column_int(st, 9) != 0;
	if (row->key == NULL || row->driver == NULL || row->chain_id == NULL ||
	    row->diff_id == NULL || row->parent == NULL || row->state == NULL)
		return no_memory(err);
	return 0;
}

static int
each_layer(struct tagstore *ts, sqlite3_stmt *st, tagstore_layer_cb *cb,
    void *ctx, struct imgd_error **err)
{
	int r;

	while ((r = sql_step(ts, st, err)) > 0) {
		cleanup(layer_row_done) struct layer_row row = { 0 };

		r = copy_layer(st, &row, err);
		if (r >= 0)
			r = cb(ctx, &row);
		if (r < 0)
			return r;
	}
	return r;
}

int
tagstore_layers(struct tagstore *ts, const char *driver, const char *state,
    tagstore_layer_cb *cb, void *ctx, struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "WITH RECURSIVE depth(k, d) AS ("
	    " SELECT key, 0 FROM layers WHERE parent IS NULL UNION ALL"
	    " SELECT l.key, d + 1 FROM layers l JOIN depth ON l.parent = k)"
	    " SELECT " LAYER_COLUMNS " FROM layers LEFT JOIN depth ON k = key"
	    " WHERE (?1 IS NULL OR driver = ?1) AND (?2 IS NULL OR state = ?2)"
	    " ORDER BY d DESC, key",
	    "ss", driver, state);
	if (r >= 0) {
		r = each_layer(ts, st, cb, ctx, err);
		sql_reset(st);
	}
	pthread_mutex_unlock(&ts->mutex);
	return r;
}

int
tagstore_layer(struct tagstore *ts, const char *driver, const char *chain_id,
    struct layer_row *ret, struct imgd_error **err)
{
	struct layer_row row = { 0 };
	sqlite3_stmt *st;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT " LAYER_COLUMNS " FROM layers WHERE driver = ?"
	    " AND chain_id = ? AND state = 'ready'",
	    "ss", driver, chain_id);
	if (r >= 0) {
		r = sql_step(ts, st, err);
		if (r == 0)
			r = imgd_error_set(err, ENOENT,
			    "no such layer in %s: %s", driver, chain_id);
		else if (r > 0)
			r = copy_layer(st, &row, err);
		sql_reset(st);
	}
	pthread_mutex_unlock(&ts->mutex);
	if (r < 0)
		layer_row_done(&row);
	else
		*ret = row;
	return r < 0 ? r : 0;
}

int
tagstore_layer_gone(struct tagstore *ts, const char *key,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "DELETE FROM v1_layers WHERE chain_id ="
	    " (SELECT chain_id FROM layers WHERE key = ?1) AND NOT EXISTS"
	    " (SELECT 1 FROM layers l WHERE l.chain_id = v1_layers.chain_id"
	    "  AND l.key <> ?1)",
	    "s", key);
	/* A failed removal of a child must not strand its parent's row. */
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM layers WHERE key = ?1 AND state = 'dying'"
		    " AND NOT EXISTS(SELECT 1 FROM layers c"
		    "  WHERE c.parent = ?1)",
		    "s", key);
	return sql_end(ts, r, err);
}

/* Whether anything needs the layer of the row being updated. */
#define NOT_NEEDED \
	" NOT EXISTS(SELECT 1 FROM layers c WHERE c.parent = layers.key" \
	"  AND c.state <> 'dying')" \
	" AND NOT EXISTS(SELECT 1 FROM pull_layers p WHERE p.key = layers.key)" \
	" AND NOT EXISTS(SELECT 1 FROM mounts m WHERE m.key = layers.key)" \
	" AND NOT EXISTS(SELECT 1 FROM containers ct" \
	"  WHERE ct.parent = layers.key)" \
	" AND NOT EXISTS(SELECT 1 FROM image_layers il JOIN image_drivers d" \
	"  ON d.image = il.image AND d.driver = layers.driver" \
	"  WHERE il.chain_id = layers.chain_id)"

int
layers_reap(struct tagstore *ts, const char *key, struct imgd_error **err)
{
	char current[65];

	(void)snprintf(current, sizeof(current), "%s", key);
	while (current[0] != '\0') {
		sqlite3_stmt *st;
		int r;

		r = sql_run(ts, err,
		    "UPDATE layers SET state = 'dying' WHERE key = ?"
		    " AND state <> 'dying' AND" NOT_NEEDED,
		    "s", current);
		if (r < 0 || sqlite3_changes(ts->db) == 0)
			return r;
		r = sql_prepare(ts, &st, err,
		    "SELECT parent FROM layers WHERE key = ?", "s", current);
		if (r < 0)
			return r;
		r = sql_step(ts, st, err);
		(void)snprintf(current, sizeof(current), "%s",
		    r > 0 ? sql_text(st, 0) : "");
		sql_reset(st);
		if (r < 0)
			return r;
	}
	return 0;
}

int
tagstore_unneeded_reap(struct tagstore *ts, struct imgd_error **err)
{
	int r = sql_begin(ts, err), n = 1;

	if (r < 0)
		return r;
	/* Each time the uppermost ones. */
	while (r >= 0 && n > 0) {
		r = sql_run(ts, err,
		    "UPDATE layers SET state = 'dying' WHERE state = 'ready'"
		    " AND" NOT_NEEDED,
		    "");
		n = sqlite3_changes(ts->db);
	}
	return sql_end(ts, r, err);
}

static int
pull_begin(struct tagstore *ts, const char *pull, const char *reference,
    const char *driver, const struct layer_intent *layers, size_t n_layers,
    struct imgd_error **err)
{
	size_t i;
	int r;

	r = sql_run(ts, err,
	    "INSERT INTO pulls(id, reference, driver) VALUES(?, ?, ?)", "sss",
	    pull, reference, driver);
	for (i = 0; r >= 0 && i < n_layers; i++) {
		const struct layer_intent *l = &layers[i];

		if (l->is_new)
			r = sql_run(ts, err,
			    "INSERT INTO layers(key, driver, chain_id,"
			    " diff_id, parent, state)"
			    " VALUES(?, ?, ?, ?, ?, 'staging')",
			    "sssss", l->key, driver, l->chain_id, l->diff_id,
			    l->parent);
		if (r >= 0)
			r = sql_run(ts, err,
			    "INSERT OR IGNORE INTO pull_layers(pull, key)"
			    " VALUES(?, ?)",
			    "ss", pull, l->key);
	}
	return r;
}

int
tagstore_pull_begin(struct tagstore *ts, const char *pull,
    const char *reference, const char *driver,
    const struct layer_intent *layers, size_t n_layers,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = pull_begin(ts, pull, reference, driver, layers, n_layers, err);
	return sql_end(ts, r, err);
}

/* Who pushes the layer need not pack it to know the blob. */
static int
note_blob(struct tagstore *ts, const char *registry,
    const struct image_layer *l, struct imgd_error **err)
{
	const char *format = str_ends(l->media_type, "gzip") ? "gzip"
	    : str_ends(l->media_type, "zstd")		     ? "zstd"
							     : NULL;

	if (format == NULL)
		return 0;
	return sql_run(ts, err,
	    "INSERT OR REPLACE INTO layer_blobs(diff_id, registry, format,"
	    " blob_digest, size, used_at) VALUES(?, ?, ?, ?, ?, ?)",
	    "ssssii", l->diff_id, registry, format, l->blob_digest,
	    (int64_t)l->size_bytes, (int64_t)time(NULL));
}

static int
publish_layer(struct tagstore *ts, const struct publication *p, size_t i,
    struct imgd_error **err)
{
	const struct image_layer *l = &p->image->layers[i];
	int r;

	r = sql_run(ts, err,
	    "INSERT INTO image_layers(image, position, diff_id, chain_id,"
	    " blob_digest, media_type, size) VALUES(?, ?, ?, ?, ?, ?, ?)"
	    " ON CONFLICT(image, position) DO UPDATE SET"
	    " blob_digest = excluded.blob_digest,"
	    " media_type = excluded.media_type, size = excluded.size"
	    " WHERE excluded.blob_digest <> ''",
	    "sissssi", p->image->id, (int64_t)i, l->diff_id, l->chain_id,
	    l->blob_digest, l->media_type, (int64_t)l->size_bytes);
	if (r >= 0 && l->blob_digest[0] != '\0' && p->registry != NULL)
		r = sql_run(ts, err,
		    "INSERT OR IGNORE INTO sources(blob_digest, registry,"
		    " repository) VALUES(?, ?, ?)",
		    "sss", l->blob_digest, p->registry, p->path);
	if (r >= 0 && l->blob_digest[0] != '\0' && p->registry != NULL)
		r = note_blob(ts, p->registry, l, err);
	if (r >= 0 && p->v1_layers != NULL && p->registry != NULL)
		r = sql_run(ts, err,
		    "INSERT OR REPLACE INTO v1_layers(registry, v1_id, json,"
		    " chain_id) VALUES(?, ?, ?, ?)",
		    "ssbs", p->registry, p->v1_layers[i].id,
		    p->v1_layers[i].json, p->v1_layers[i].json_len,
		    l->chain_id);
	return r;
}

static int
publish_image(struct tagstore *ts, const struct publication *p,
    struct imgd_error **err)
{
	const struct image *img = p->image;
	size_t i;
	int r;

	r = sql_run(ts, err,
	    "INSERT INTO images(id, config, manifest, manifest_type, created,"
	    " pulled_at) VALUES(?, ?, ?, ?, ?, ?)"
	    " ON CONFLICT(id) DO UPDATE SET manifest = excluded.manifest,"
	    " manifest_type = excluded.manifest_type"
	    " WHERE excluded.manifest_type <> ''",
	    "sbbssi", img->id, img->config, img->config_len,
	    img->manifest != NULL ? img->manifest : "", img->manifest_len,
	    img->manifest_type, p->created, (int64_t)time(NULL));
	for (i = 0; r >= 0 && i < img->n_layers; i++)
		r = publish_layer(ts, p, i, err);
	return r;
}

/* Without moving anything. */
static int
publish_new_name(struct tagstore *ts, const char *image,
    const struct publication_name *n, struct imgd_error **err)
{
	int r = 0;

	if (n->tag[0] != '\0')
		r = sql_run(ts, err,
		    "INSERT OR IGNORE INTO tags(repository, tag, image,"
		    " manifest_digest) VALUES(?, ?, ?, ?)",
		    "ssss", n->repository, n->tag, image, n->manifest_digest);
	if (r >= 0 && n->manifest_digest[0] != '\0')
		r = sql_run(ts, err,
		    "INSERT OR IGNORE INTO digests(repository,"
		    " manifest_digest, image) VALUES(?, ?, ?)",
		    "sss", n->repository, n->manifest_digest, image);
	return r;
}

static int
publish_name(struct tagstore *ts, const char *image,
    const struct publication_name *n, struct imgd_error **err)
{
	int r = 0;

	if (n->tag[0] != '\0')
		r = sql_run(ts, err,
		    "INSERT INTO tags(repository, tag, image,"
		    " manifest_digest) VALUES(?, ?, ?, ?)"
		    " ON CONFLICT(repository, tag) DO UPDATE SET"
		    " image = excluded.image,"
		    " manifest_digest = excluded.manifest_digest",
		    "ssss", n->repository, n->tag, image, n->manifest_digest);
	if (r >= 0 && n->manifest_digest[0] != '\0')
		r = sql_run(ts, err,
		    "INSERT INTO digests(repository, manifest_digest, image)"
		    " VALUES(?, ?, ?) ON CONFLICT(repository, manifest_digest)"
		    " DO UPDATE SET image = excluded.image",
		    "sss", n->repository, n->manifest_digest, image);
	return r;
}

static int
publish(struct tagstore *ts, const struct publication *p,
    struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < p->n_layers; i++) {
		r = sql_run(ts, err,
		    "UPDATE layers SET state = 'ready', size = ?,"
		    " tar_bytes = ? WHERE key = ? AND state <> 'dying'",
		    "iis", (int64_t)p->layers[i].size_bytes,
		    (int64_t)p->layers[i].tar_bytes, p->layers[i].key);
		if (r >= 0 && sqlite3_changes(ts->db) != 1)
			r = imgd_error_set(err, EUCLEAN,
			    "imgd.db: layer %s has no row to publish",
			    p->layers[i].key);
	}
	if (r >= 0)
		r = p->is_copy ? image_check_exists(ts, p->image->id, err)
			       : publish_image(ts, p, err);
	if (r >= 0 && !p->is_copy)
		r = uses_note(ts, p->image->id, err);
	if (r >= 0)
		r = sql_run(ts, err,
		    "INSERT OR IGNORE INTO image_drivers(image, driver)"
		    " VALUES(?, ?)",
		    "ss", p->image->id, p->driver);
	for (i = 0; r >= 0 && i < p->n_names; i++)
		r = (p->keeps_names ? publish_new_name : publish_name)(ts,
		    p->image->id, &p->names[i], err);
	if (r >= 0 && p->signatures != NULL)
		r = signatures_add(ts, p->image->id, p->signatures, err);
	if (r >= 0)
		r = sql_run(ts, err, "DELETE FROM pulls WHERE id = ?", "s",
		    p->pull);
	return r;
}

int
tagstore_publish(struct tagstore *ts, const struct publication *p,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = publish(ts, p, err);
	return sql_end(ts, r, err);
}

/* Gather the keys (65 bytes each) that a statement yields. */
static int
gather_keys(struct tagstore *ts, sqlite3_stmt *st, struct strbuf *keys,
    struct imgd_error **err)
{
	int r;

	while ((r = sql_step(ts, st, err)) > 0) {
		const char *key = sql_text(st, 0);

		if (strlen(key) == 64)
			strbuf_append(keys, key, 65);
	}
	if (r >= 0 && keys->is_failed)
		return no_memory(err);
	return r;
}

static int
reap_all(struct tagstore *ts, const struct strbuf *keys,
    struct imgd_error **err)
{
	size_t pos;
	int r = 0;

	for (pos = 0; r >= 0 && pos < keys->len; pos += 65)
		r = layers_reap(ts, keys->data + pos, err);
	return r;
}

static int
abandon(struct tagstore *ts, const char *pull, struct strbuf *keys,
    struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT key FROM pull_layers WHERE ?1 IS NULL OR pull = ?1", "s",
	    pull);
	if (r < 0)
		return r;
	r = gather_keys(ts, st, keys, err);
	sql_reset(st);
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM pulls WHERE ?1 IS NULL OR id = ?1", "s",
		    pull);
	return r < 0 ? r : reap_all(ts, keys, err);
}

int
tagstore_pull_abandon(struct tagstore *ts, const char *pull,
    struct imgd_error **err)
{
	struct strbuf keys = STRBUF_INIT;
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = abandon(ts, pull, &keys, err);
	strbuf_done(&keys);
	return sql_end(ts, r, err);
}

int
tagstore_pulls_abandon_all(struct tagstore *ts, struct imgd_error **err)
{
	struct strbuf keys = STRBUF_INIT;
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = abandon(ts, NULL, &keys, err);
	/* Rows whose pull's rows were lost belong to nobody either. */
	if (r >= 0)
		r = sql_run(ts, err,
		    "UPDATE layers SET state = 'dying'"
		    " WHERE state = 'staging'",
		    "");
	strbuf_done(&keys);
	return sql_end(ts, r, err);
}

int
tagstore_mount_add(struct tagstore *ts, const struct mount_row *row,
    struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT INTO mounts(target, kind, image, key, driver, reference,"
	    " boot_id, mnt_ns) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
	    "ssssssss", row->target, row->kind, row->image, row->key,
	    row->driver, row->reference, row->boot_id, row->mnt_ns);
	return sql_end(ts, r, err);
}

int
tagstore_mount_gone(struct tagstore *ts, const char *target,
    struct imgd_error **err)
{
	struct strbuf keys = STRBUF_INIT;
	sqlite3_stmt *st;
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_prepare(ts, &st, err,
	    "SELECT key FROM mounts WHERE target = ?", "s", target);
	if (r >= 0) {
		r = gather_keys(ts, st, &keys, err);
		sql_reset(st);
	}
	if (r >= 0)
		r = sql_run(ts, err, "DELETE FROM mounts WHERE target = ?",
		    "s", target);
	if (r >= 0)
		r = reap_all(ts, &keys, err);
	strbuf_done(&keys);
	return sql_end(ts, r, err);
}

int
tagstore_mounts(struct tagstore *ts, tagstore_mount_cb *cb, void *ctx,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT target, kind, image, key, driver, reference, boot_id,"
	    " mnt_ns FROM mounts ORDER BY target",
	    "");
	while (r >= 0 && (r = sql_step(ts, st, err)) > 0) {
		struct mount_row row = {
			.target = (char *)(uintptr_t)sql_text(st, 0),
			.kind = (char *)(uintptr_t)sql_text(st, 1),
			.image = (char *)(uintptr_t)sql_text(st, 2),
			.key = (char *)(uintptr_t)sql_text(st, 3),
			.driver = (char *)(uintptr_t)sql_text(st, 4),
			.reference = (char *)(uintptr_t)sql_text(st, 5),
			.boot_id = (char *)(uintptr_t)sql_text(st, 6),
			.mnt_ns = (char *)(uintptr_t)sql_text(st, 7),
		};

		r = cb(ctx, &row);
	}
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	return r;
}
