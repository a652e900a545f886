/* Images and their names. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/strbuf.h"
#include "tagstore/layers.h"
#include "tagstore/sql.h"
#include "tagstore/tagstore.h"

#define cleanup_stmt  cleanup(sql_resetp)
#define cleanup_mutex cleanup(unlockp)

static void
unlockp(pthread_mutex_t **m)
{
	pthread_mutex_unlock(*m);
}

static pthread_mutex_t *
lock(struct tagstore *ts)
{
	pthread_mutex_lock(&ts->mutex);
	return &ts->mutex;
}

void
image_done(struct image *img)
{
	size_t i;

	for (i = 0; i < img->n_layers; i++) {
		free(img->layers[i].diff_id);
		free(img->layers[i].chain_id);
		free(img->layers[i].blob_digest);
		free(img->layers[i].media_type);
	}
	free(img->layers);
	free(img->id);
	free(img->config);
	free(img->manifest);
	free(img->manifest_type);
	*img = (struct image) { 0 };
}

void
image_name_done(struct image_name *n)
{
	free(n->repository);
	free(n->tag);
	free(n->manifest_digest);
	free(n->image);
	*n = (struct image_name) { 0 };
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "imgd.db: out of memory");
}

static char *
blob_dup(sqlite3_stmt *st, int column, size_t *ret_len)
{
	const void *data = sqlite3_column_blob(st, column);
	size_t len = (size_t)sqlite3_column_bytes(st, column);
	char *copy = malloc(len + 1);

	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	*ret_len = len;
	return copy;
}

static int
load_layers(struct tagstore *ts, const char *id, struct image *img,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT diff_id, chain_id, blob_digest, media_type, size"
	    " FROM image_layers WHERE image = ? ORDER BY position",
	    "s", id);
	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0) {
		struct image_layer *l;

		l = reallocarray(img->layers, img->n_layers + 1, sizeof(*l));
		if (l == NULL)
			return no_memory(err);
		img->layers = l;
		l += img->n_layers++;
		l->diff_id = sql_strdup(st, 0);
		l->chain_id = sql_strdup(st, 1);
		l->blob_digest = sql_strdup(st, 2);
		l->media_type = sql_strdup(st, 3);
		l->size_bytes = (uint64_t)sqlite3_column_int64(st, 4);
		if (l->diff_id == NULL || l->chain_id == NULL ||
		    l->blob_digest == NULL || l->media_type == NULL)
			return no_memory(err);
	}
	return r;
}

static int
load_image(struct tagstore *ts, const char *id, struct image *img,
    struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT id, config, manifest, manifest_type, pulled_at"
	    " FROM images WHERE id = ?",
	    "s", id);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ENOENT, "No such image: %s", id);
	img->id = sql_strdup(st, 0);
	img->config = blob_dup(st, 1, &img->config_len);
	img->manifest = blob_dup(st, 2, &img->manifest_len);
	img->manifest_type = sql_strdup(st, 3);
	img->pulled_at = sqlite3_column_int64(st, 4);
	if (img->id == NULL || img->config == NULL || img->manifest == NULL ||
	    img->manifest_type == NULL)
		return no_memory(err);
	return load_layers(ts, id, img, err);
}

int
tagstore_image(struct tagstore *ts, const char *id, struct image *ret,
    struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup(image_done) struct image img = { 0 };
	int r;

	(void)m;
	r = load_image(ts, id, &img, err);
	if (r < 0)
		return r;
	*ret = img;
	img = (struct image) { 0 };
	return 0;
}

int
tagstore_image_by_prefix(struct tagstore *ts, const char *prefix,
    char **ret_id, struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	cleanup_free char *id = NULL;
	char low[DIGEST_STR_SIZE + 1], high[DIGEST_STR_SIZE + 2];
	const char *hex = str_starts(prefix, "sha256:") ? prefix + 7 : prefix;
	size_t n = strlen(hex);
	int r;

	(void)m;
	if (n == 0 || n > DIGEST_HEX_LEN ||
	    strspn(hex, "0123456789abcdef") != n)
		return imgd_error_set(err, ENOENT, "No such image: %s",
		    prefix);
	(void)snprintf(low, sizeof(low), "sha256:%s", hex);
	(void)snprintf(high, sizeof(high), "sha256:%sg", hex);
	r = sql_prepare(ts, &st, err,
	    "SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2", "ss",
	    low, high);
	if (r < 0)
		return r;
	r = sql_step(ts, st, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ENOENT, "No such image: %s",
		    prefix);
	id = sql_strdup(st, 0);
	if (id == NULL)
		return no_memory(err);
	r = sql_step(ts, st, err);
	if (r < 0)
		return r;
	if (r > 0)
		return imgd_error_set(err, EINVAL,
		    "%s: more than one image id begins like that", prefix);
	*ret_id = take_ptr(&id);
	return 0;
}

int
tagstore_name(struct tagstore *ts, const char *repository, const char *tag,
    const char *digest, struct image_name *ret, struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	cleanup(image_name_done) struct image_name n = { 0 };
	bool by_digest = digest != NULL && *digest != '\0';
	int r;

	(void)m;
	if (by_digest)
		r = sql_prepare(ts, &st, err,
		    "SELECT repository, '', manifest_digest, image"
		    " FROM digests"
		    " WHERE repository = ? AND manifest_digest = ?",
		    "ss", repository, digest);
	else
		r = sql_prepare(ts, &st, err,
		    "SELECT repository, tag, manifest_digest, image FROM tags"
		    " WHERE repository = ? AND tag = ?",
		    "ss", repository, tag);
	if (r >= 0)
		r = sql_step(ts, st, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ENOENT, "No such image: %s%s%s",
		    repository, by_digest ? "@" : ":", by_digest ? digest : tag);
	n.repository = sql_strdup(st, 0);
	n.tag = sql_strdup(st, 1);
	n.manifest_digest = sql_strdup(st, 2);
	n.image = sql_strdup(st, 3);
	if (n.repository == NULL || n.tag == NULL ||
	    n.manifest_digest == NULL || n.image == NULL)
		return no_memory(err);
	*ret = n;
	n = (struct image_name) { 0 };
	return 0;
}

int
tagstore_names(struct tagstore *ts, const char *image, tagstore_name_cb *cb,
    void *ctx, struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	(void)m;
	if (image != NULL)
		r = sql_prepare(ts, &st, err,
		    "SELECT repository, tag, manifest_digest, image, 0 AS k"
		    " FROM tags WHERE image = ?1 UNION ALL"
		    " SELECT repository, '', manifest_digest, image, 1"
		    " FROM digests WHERE image = ?1 ORDER BY k, 1, 2, 3",
		    "s", image);
	else
		r = sql_prepare(ts, &st, err,
		    "SELECT repository, tag, manifest_digest, image, 0 AS k"
		    " FROM tags UNION ALL"
		    " SELECT repository, '', manifest_digest, image, 1"
		    " FROM digests ORDER BY k, 1, 2, 3",
		    "");
	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0) {
		struct image_name n = {
			.repository = (char *)(uintptr_t)sql_text(st, 0),
			.tag = (char *)(uintptr_t)sql_text(st, 1),
			.manifest_digest = (char *)(uintptr_t)sql_text(st, 2),
			.image = (char *)(uintptr_t)sql_text(st, 3),
		};

		r = cb(ctx, &n);
		if (r < 0)
			return r;
	}
	return r;
}

/* The layers of image i in the first of its drivers.  That a ready one is not
 * dying lets SQLite use the index that says so. */
#define LAYERS_OF_IMAGE \
	" FROM image_layers il JOIN layers l ON l.chain_id = il.chain_id" \
	"  AND l.state = 'ready' AND l.state <> 'dying' AND l.driver =" \
	"   (SELECT MIN(driver) FROM image_drivers d WHERE d.image = i.id)" \
	"  WHERE il.image = i.id"

/* Configs were scanned when they came; one that was damaged since has no
 * labels, and is fsck's to find. */
#define LABELS \
	" CASE WHEN json_valid(CAST(i.config AS TEXT)) THEN" \
	"  json_extract(CAST(i.config AS TEXT), '$.config.Labels') END"

#define LIST_IMAGES \
	"SELECT i.id, i.created," \
	" (SELECT IFNULL(GROUP_CONCAT(driver), '') FROM image_drivers d" \
	"  WHERE d.image = i.id)," \
	" (SELECT COUNT(*) FROM containers c WHERE c.image = i.id" \
	"  AND c.state <> 'dying')," \
	LABELS "," \
	" (SELECT IFNULL(SUM(l.size), 0)" LAYERS_OF_IMAGE ")," \
	" (SELECT IFNULL(SUM(l.size), 0)" LAYERS_OF_IMAGE \
	"  AND EXISTS(SELECT 1 FROM image_layers o" \
	"   WHERE o.chain_id = il.chain_id AND o.image <> i.id))" \
	" FROM images i ORDER BY i.created DESC, i.id"

int
tagstore_images(struct tagstore *ts, tagstore_image_cb *cb, void *ctx,
    struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	(void)m;
	r = sql_prepare(ts, &st, err, LIST_IMAGES, "");
	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0) {
		struct image_summary s = {
			.id = sql_text(st, 0),
			.created = sql_text(st, 1),
			.drivers = sql_text(st, 2),
			.n_containers =
			    (uint64_t)sqlite3_column_int64(st, 3),
			.labels = sql_text(st, 4),
			.size_bytes = (uint64_t)sqlite3_column_int64(st, 5),
			.shared_bytes = (uint64_t)sqlite3_column_int64(st, 6),
		};

		r = cb(ctx, &s);
		if (r < 0)
			return r;
	}
	return r;
}

#define LIST_LAYERS \
	"SELECT il.image, il.chain_id, IFNULL(l.size, 0)" \
	" FROM image_layers il LEFT JOIN layers l ON l.chain_id = il.chain_id" \
	"  AND l.state = 'ready' AND l.state <> 'dying' AND l.driver =" \
	"   (SELECT MIN(driver) FROM image_drivers d" \
	"    WHERE d.image = il.image)" \
	" ORDER BY il.image, il.position"

int
tagstore_layer_summaries(struct tagstore *ts, tagstore_layer_summary_cb *cb,
    void *ctx, struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	(void)m;
	r = sql_prepare(ts, &st, err, LIST_LAYERS, "");
	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0) {
		const struct layer_summary s = {
			.image = sql_text(st, 0),
			.chain_id = sql_text(st, 1),
			.size_bytes = (uint64_t)sqlite3_column_int64(st, 2),
		};

		r = cb(ctx, &s);
		if (r < 0)
			return r;
	}
	return r;
}

static int
one_text(struct tagstore *ts, sqlite3_stmt *st, char **ret,
    struct imgd_error **err)
{
	int r = sql_step(ts, st, err);

	if (r < 0)
		return r;
	*ret = r > 0 ? sql_strdup(st, 0) : strdup("");
	return *ret != NULL ? 0 : no_memory(err);
}

int
tagstore_image_labels(struct tagstore *ts, const char *image, char **ret,
    struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	(void)m;
	r = sql_prepare(ts, &st, err,
	    "SELECT" LABELS " FROM images i WHERE id = ?", "s", image);
	return r < 0 ? r : one_text(ts, st, ret, err);
}

int
tagstore_image_drivers(struct tagstore *ts, const char *image, char **ret,
    struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	(void)m;
	r = sql_prepare(ts, &st, err,
	    "SELECT IFNULL(GROUP_CONCAT(driver), '') FROM image_drivers"
	    " WHERE image = ?",
	    "s", image);
	return r < 0 ? r : one_text(ts, st, ret, err);
}

int
tagstore_drivers(struct tagstore *ts, char **ret, struct imgd_error **err)
{
	cleanup_mutex pthread_mutex_t *m = lock(ts);
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	(void)m;
	r = sql_prepare(ts, &st, err,
	    "SELECT IFNULL(GROUP_CONCAT(driver), '') FROM"
	    " (SELECT driver FROM layers GROUP BY driver"
	    "  ORDER BY COUNT(*) DESC, driver)",
	    "");
	return r < 0 ? r : one_text(ts, st, ret, err);
}

int
tagstore_tag(struct tagstore *ts, const char *repository, const char *tag,
    const char *image, const char *manifest_digest, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT INTO tags(repository, tag, image, manifest_digest)"
	    " VALUES(?, ?, ?, ?) ON CONFLICT(repository, tag) DO UPDATE SET"
	    " image = excluded.image,"
	    " manifest_digest = excluded.manifest_digest",
	    "ssss", repository, tag, image, manifest_digest);
	return sql_end(ts, r, err);
}

static int
untag(struct tagstore *ts, const char *repository, const char *tag,
    struct imgd_error **err)
{
	int r;

	/* Digest names of this image that no tag of the repository backs any
	 * more go with the last tag, as docker does it. */
	r = sql_run(ts, err,
	    "DELETE FROM digests WHERE repository = ?1 AND image ="
	    " (SELECT image FROM tags WHERE repository = ?1 AND tag = ?2)"
	    " AND NOT EXISTS(SELECT 1 FROM tags t WHERE t.repository = ?1"
	    "  AND t.image = digests.image AND t.tag <> ?2)",
	    "ss", repository, tag);
	if (r < 0)
		return r;
	return sql_run(ts, err,
	    "DELETE FROM tags WHERE repository = ? AND tag = ?", "ss",
	    repository, tag);
}

int
tagstore_untag(struct tagstore *ts, const char *repository, const char *tag,
    const char *digest, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	if (digest != NULL && *digest != '\0')
		r = sql_run(ts, err,
		    "DELETE FROM digests WHERE repository = ?"
		    " AND manifest_digest = ?",
		    "ss", repository, digest);
	else
		r = untag(ts, repository, tag, err);
	if (r >= 0 && sqlite3_changes(ts->db) == 0)
		r = imgd_error_set(err, ENOENT, "No such image: %s%s%s",
		    repository, digest != NULL && *digest ? "@" : ":",
		    digest != NULL && *digest ? digest : tag);
	return sql_end(ts, r, err);
}

/* Keys of the image's top layers, one per driver that holds it. */
static int
top_keys(struct tagstore *ts, const char *image, const char *driver,
    struct strbuf *keys, struct imgd_error **err)
{
	cleanup_stmt sqlite3_stmt *st = NULL;
	int r;

	r = sql_prepare(ts, &st, err,
	    "SELECT l.key FROM image_layers il JOIN layers l"
	    " ON l.chain_id = il.chain_id AND l.state = 'ready'"
	    " WHERE il.image = ?1 AND (?2 IS NULL OR l.driver = ?2)"
	    " AND il.position = (SELECT MAX(position) FROM image_layers"
	    "  WHERE image = ?1)",
	    "ss", image, driver);
	if (r < 0)
		return r;
	while ((r = sql_step(ts, st, err)) > 0)
		strbuf_append(keys, sql_text(st, 0), 65);
	if (r >= 0 && keys->is_failed)
		return no_memory(err);
	return r;
}

static int
image_remove(struct tagstore *ts, const char *image, const char *driver,
    bool *ret_gone, struct imgd_error **err)
{
	struct strbuf keys = STRBUF_INIT;
	size_t pos;
	int r;

	r = top_keys(ts, image, driver, &keys, err);
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM image_drivers WHERE image = ?1"
		    " AND (?2 IS NULL OR driver = ?2)",
		    "ss", image, driver);
	if (r >= 0)
		r = sql_run(ts, err,
		    "DELETE FROM images WHERE id = ?1 AND NOT EXISTS"
		    " (SELECT 1 FROM image_drivers WHERE image = ?1)",
		    "s", image);
	if (r >= 0)
		*ret_gone = sqlite3_changes(ts->db) > 0;
	for (pos = 0; r >= 0 && pos < keys.len; pos += 65)
		r = layers_reap(ts, keys.data + pos, err);
	strbuf_done(&keys);
	return r;
}

int
tagstore_image_remove(struct tagstore *ts, const char *image,
    const char *driver, bool *ret_gone, struct imgd_error **err)
{
	bool gone = false;
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = image_remove(ts, image, driver, &gone, err);
	r = sql_end(ts, r, err);
	if (r >= 0)
		*ret_gone = gone;
	return r;
}
