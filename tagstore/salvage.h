/*
 * A damaged imgd.db: a new one of what can still be read.
 */
#ifndef TAGSTORE_SALVAGE_H
#define TAGSTORE_SALVAGE_H

#include "tagstore/tagstore.h"

/* Whether SQLite finds the database sound; is_deep: also whether indexes agree
 * with their tables.  -EUCLEAN with the first problem. */
int tagstore_check(struct tagstore *ts, bool is_deep,
    struct imgd_error **err);

#define SALVAGE_ASIDE "imgd.db.damaged" /* where the old one is kept */

struct salvage;

/* Begin a new database with the rows that can be read; nobody else may have
 * the store.  *ret_rows: how many there were. */
int salvage_begin(int root_fd, struct salvage **ret, uint64_t *ret_rows,
    struct imgd_error **err);
void salvage_free(struct salvage *s);

/* The chain_id of a layer that has a row: 1 with it in ret, or 0. */
int salvage_chain(struct salvage *s, const char *key, char ret[80],
    struct imgd_error **err);
/* Add a published layer whose row was lost; it is no error if its place is
 * taken. */
int salvage_add_layer(struct salvage *s, const struct layer_row *row,
    struct imgd_error **err);

/*
 * Drop what is not whole, so that what is left can be believed; then let the
 * new database take the old one's place, which is kept as SALVAGE_ASIDE.
 *
 * *ret_images, *ret_lost: images that are left, and that were not whole.
 */
int salvage_end(struct salvage *s, uint64_t *ret_images, uint64_t *ret_lost,
    struct imgd_error **err);

#endif
