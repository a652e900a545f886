#include "config.h"

#include <errno.h>

#include "lib/limits.h"
#include "tagstore/signatures.h"
#include "tagstore/sql.h"

static int
add_signature(struct tagstore *ts, const char *image,
    const struct image_signature *s, struct imgd_error **err)
{
	return sql_run(ts, err,
	    "INSERT OR REPLACE INTO signatures(image, payload, signature)"
	    " VALUES(?, ?, ?)",
	    "sbs", image, s->payload, s->payload_len, s->text);
}

static int
add_document(struct tagstore *ts, const char *image,
    const struct image_document *d, struct imgd_error **err)
{
	return sql_run(ts, err,
	    "INSERT OR REPLACE INTO signed_documents(image, digest, document)"
	    " VALUES(?, ?, ?)",
	    "ssb", image, d->digest, d->data, d->len);
}

int
signatures_add(struct tagstore *ts, const char *image,
    const struct image_signatures *s, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < s->n_documents; i++)
		r = add_document(ts, image, &s->documents[i], err);
	for (i = 0; r >= 0 && i < s->n; i++)
		r = add_signature(ts, image, &s->items[i], err);
	if (r >= 0 && s->n > 0)
		r = sql_run(ts, err,
		    "DELETE FROM signatures WHERE image = ?1 AND id NOT IN"
		    " (SELECT id FROM signatures WHERE image = ?1"
		    " ORDER BY id DESC LIMIT ?2)",
		    "si", image, (int64_t)LIMIT_SIGNATURES);
	if (r >= 0 && s->n_documents > 0)
		r = sql_run(ts, err,
		    "DELETE FROM signed_documents WHERE image = ?1 AND"
		    " id NOT IN (SELECT id FROM signed_documents"
		    " WHERE image = ?1 ORDER BY id DESC LIMIT ?2)",
		    "si", image, (int64_t)LIMIT_SIGNED_DOCS);
	return r;
}

int
image_check_exists(struct tagstore *ts, const char *image,
    struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r = sql_prepare(ts, &st, err, "SELECT 1 FROM images WHERE id = ?",
	    "s", image);

	if (r < 0)
		return r;
	r = sql_step(ts, st, err);
	sql_reset(st);
	if (r == 0)
		return imgd_error_set(err, ENOENT,
		    "image %.19s was removed meanwhile", image);
	return r < 0 ? r : 0;
}

int
tagstore_signatures_add(struct tagstore *ts, const char *image,
    const struct image_signatures *s, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = image_check_exists(ts, image, err);
	if (r >= 0)
		r = signatures_add(ts, image, s, err);
	return sql_end(ts, r, err);
}

static const char *
blob_of(sqlite3_stmt *st, int column, size_t *ret_len)
{
	const void *data = sqlite3_column_blob(st, column);

	*ret_len = (size_t)sqlite3_column_bytes(st, column);
	return data != NULL ? data : "";
}

static int
read_documents(struct tagstore *ts, const char *image,
    tagstore_document_cb *cb, void *ctx, struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r = sql_prepare(ts, &st, err,
	    "SELECT digest, document FROM signed_documents WHERE image = ?"
	    " ORDER BY id",
	    "s", image);

	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0) {
		struct image_document d = { .digest = sql_text(st, 0) };

		d.data = blob_of(st, 1, &d.len);
		r = cb(ctx, &d, err);
		if (r < 0)
			break;
	}
	sql_reset(st);
	return r;
}

static int
read_signatures(struct tagstore *ts, const char *image,
    tagstore_signature_cb *cb, void *ctx, struct imgd_error **err)
{
	sqlite3_stmt *st;
	int r = sql_prepare(ts, &st, err,
	    "SELECT signature, payload FROM signatures WHERE image = ?"
	    " ORDER BY id",
	    "s", image);

	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0) {
		struct image_signature s = { .text = sql_text(st, 0) };

		s.payload = blob_of(st, 1, &s.payload_len);
		r = cb(ctx, &s, err);
		if (r < 0)
			break;
	}
	sql_reset(st);
	return r;
}

int
tagstore_signatures(struct tagstore *ts, const char *image,
    tagstore_signature_cb *cb, tagstore_document_cb *document_cb, void *ctx,
    struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = read_signatures(ts, image, cb, ctx, err);
	if (r >= 0)
		r = read_documents(ts, image, document_cb, ctx, err);
	pthread_mutex_unlock(&ts->mutex);
	return r < 0 ? r : 0;
}
