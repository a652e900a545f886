#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "tagstore/sources.h"
#include "tagstore/sql.h"

int
tagstore_sources(struct tagstore *ts, const char *blob_digest,
    const char *registry, size_t max, char **ret, size_t *ret_n,
    struct imgd_error **err)
{
	sqlite3_stmt *st = NULL;
	size_t n = 0;
	int r;

	pthread_mutex_lock(&ts->mutex);
	r = sql_prepare(ts, &st, err,
	    "SELECT repository FROM sources WHERE blob_digest = ?"
	    " AND registry = ? ORDER BY repository",
	    "ss", blob_digest, registry);
	while (r >= 0 && n < max && (r = sql_step(ts, st, err)) > 0) {
		ret[n] = sql_strdup(st, 0);
		if (ret[n] == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		else
			n++;
	}
	if (st != NULL)
		sql_reset(st);
	pthread_mutex_unlock(&ts->mutex);
	*ret_n = n;
	return r < 0 ? r : 0;
}

int
tagstore_source_add(struct tagstore *ts, const char *blob_digest,
    const char *registry, const char *repository, struct imgd_error **err)
{
	int r = sql_begin(ts, err);

	if (r < 0)
		return r;
	r = sql_run(ts, err,
	    "INSERT OR IGNORE INTO sources(blob_digest, registry, repository)"
	    " VALUES(?, ?, ?)",
	    "sss", blob_digest, registry, repository);
	return sql_end(ts, r, err);
}
