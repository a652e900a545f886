/*
 * What the store takes, and taking it back.
 */
#ifndef CORE_SPACE_H
#define CORE_SPACE_H

#include "core/store.h"
#include "lib/strbuf.h"

/*
 * Append the object of Docker's /system/df: BuildCache, Containers (both
 * empty: those are no containers of Docker's), Images, LayersSize, Volumes.
 *
 * with_disk: and "Store", for which the whole of ROOT is read: bytes on the
 * disk of each driver, recipes, spool and database, and of all.  What drivers
 * share between layers (extents, reflinks) counts each time, what has several
 * names once.
 */
int space_usage(struct store *s, bool with_disk, struct strbuf *ret,
    struct imgd_error **err);

#endif
