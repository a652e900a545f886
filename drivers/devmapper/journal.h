/*
 * pool.db: which thin device belongs to which layer, what is known of the
 * pool, and the one change of the pool that may be under way.
 *
 * A change is noted, with the pool's next transaction id, before the pool is
 * told; when the pool has that id the change is done.  So the pool's id says
 * after any crash whether a change happened.
 *
 * Not thread-safe: callers hold the driver's lock.
 */
#ifndef DRIVERS_DEVMAPPER_JOURNAL_H
#define DRIVERS_DEVMAPPER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"

/* 64 hex digits; "base"; or "dying-N" for what is being removed. */
#define ROW_ID_SIZE 65

/* States beside IMGD_STATE_STAGED, _SEALED and _RW. */
#define ROW_BASE  4u /* the empty filesystem that base layers start from */
#define ROW_DYING 5u

struct row {
	char id[ROW_ID_SIZE];
	char parent[ROW_ID_SIZE]; /* "": made from the base */
	uint32_t device;          /* thin device id in the pool */
	uint32_t state;
	uint64_t bytes;           /* size of the device */
};

enum change_kind { CHANGE_CREATE = 1, CHANGE_DELETE = 2 };

struct change {
	enum change_kind kind;
	struct row row;
	uint64_t target; /* the pool's transaction id once it is done */
};

struct journal;

/*
 * Open HOME/pool.db, made when missing unless is_readonly.
 *
 * -ENOENT: read-only, and there is none; -EUCLEAN: damaged;
 * -EPROTONOSUPPORT: made by a newer imgd.
 */
int journal_open(const char *home, int home_fd, bool is_readonly,
    struct journal **ret, struct imgd_error **err);
void journal_close(struct journal *j);

/* Facts about the pool, by name.  A fact that was never set is "" or 0. */
int journal_get(struct journal *j, const char *key, char **ret,
    struct imgd_error **err);
int journal_get_u64(struct journal *j, const char *key, uint64_t *ret,
    struct imgd_error **err);
int journal_set(struct journal *j, const char *key, const char *value,
    struct imgd_error **err);
int journal_set_u64(struct journal *j, const char *key, uint64_t value,
    struct imgd_error **err);

/* 1 and the row, or 0.  NULL: only whether it is there. */
int journal_row(struct journal *j, const char *id, struct row *ret,
    struct imgd_error **err);
/* All rows, children before parents; malloc'ed. */
int journal_rows(struct journal *j, struct row **ret, size_t *ret_n,
    struct imgd_error **err);
/* Whether some layer that is not dying has id as its parent: 1, 0. */
int journal_has_children(struct journal *j, const char *id,
    struct imgd_error **err);
/* The lowest thin device id that no row and no change has and that is not
 * below from; -ENOSPC when all 2^24 are taken. */
int journal_free_device(struct journal *j, uint32_t from, uint32_t *ret,
    struct imgd_error **err);

/* A change: noted, then done or cancelled.  The id of the transaction that
 * was last done is the fact "transaction". */
int journal_begin(struct journal *j, const struct change *c,
    struct imgd_error **err);
int journal_done(struct journal *j, const struct change *c,
    struct imgd_error **err);
int journal_cancel(struct journal *j, struct imgd_error **err);
/* 1 and the change that is noted, or 0. */
int journal_pending(struct journal *j, struct change *ret,
    struct imgd_error **err);

int journal_set_state(struct journal *j, const char *id, uint32_t state,
    struct imgd_error **err);
int journal_set_bytes(struct journal *j, const char *id, uint64_t bytes,
    struct imgd_error **err);
/* The row is to be removed: it gives up its id, which may be used again. */
int journal_set_dying(struct journal *j, const char *id,
    struct imgd_error **err);
/* Drop a row whose device is gone. */
int journal_drop(struct journal *j, const char *id, struct imgd_error **err);
/* Exchange the devices of two rows. */
int journal_exchange(struct journal *j, const char *a, const char *b,
    struct imgd_error **err);
/* Forget the noted change and believe in transaction: repair only. */
int journal_accept(struct journal *j, uint64_t transaction,
    struct imgd_error **err);

#endif
