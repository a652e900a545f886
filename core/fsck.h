/* What the parts of the fsck job share. */
#ifndef CORE_FSCK_H
#define CORE_FSCK_H

#include "core/engine.h"
#include "core/job.h"
#include "lib/digest.h"

struct load_archive;

/* A ready layer. */
struct fsck_row {
	char key[65];
	char driver[64];
	char diff_id[DIGEST_STR_SIZE];
	char chain_id[DIGEST_STR_SIZE];
	char parent[65]; /* "" for a base */
};

struct fsck {
	struct job *job;
	bool is_deep, is_repairing;
	bool is_salvaged; /* rows were lost: what has none stays */
	struct fsck_row *rows; /* bases first */
	size_t n_rows;
	uint64_t n_problems, n_repaired, n_layers;
	const char *driver; /* being compared with its rows */
	struct strbuf unknown; /* keys that no row names, 65 bytes each */
	struct strbuf unknown_states; /* of them: 'w' if writable, else 'l' */
	struct strbuf findings; /* key, text, NUL; of the driver's check */
	/* Where layers may be had again, beside where they came from. */
	const char *from; /* a registry; NULL: not given */
	struct load_archive *archive;
};

/*
 * Compare a layer's tree with what its own tar makes of it, and mend it so if
 * the job repairs.
 *
 * *ret_mended: what was wrong, malloc'ed; NULL: nothing, or it is only known
 * now to be damaged.  -ENOENT if no image has the layer.
 */
int fsck_compare(struct fsck *f, const struct fsck_row *row, struct driver *d,
    char **ret_mended, struct imgd_error **err);

/*
 * Make a damaged layer again from another copy in the store, or fetch it.
 *
 * *ret_from: where it came from, malloc'ed.
 */
int fsck_repair(struct fsck *f, const struct fsck_row *row, char **ret_from,
    struct imgd_error **err);

#endif
