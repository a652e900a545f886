/* A store whose database is damaged. */
#ifndef CORE_SALVAGE_H
#define CORE_SALVAGE_H

#include "core/daemon-config.h"
#include "imgd/error.h"

/*
 * Make a new database of what the old one and the drivers still tell.
 *
 * Sealed layers whose rows are lost get new ones, by their recipes: the next
 * pull of an image with them finds them.
 * *ret_text: what was done, malloc'ed.  -EBUSY while an engine has the store.
 */
int store_salvage(const char *root, const struct config *config,
    char **ret_text, struct imgd_error **err);

#endif
