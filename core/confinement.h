/* What this machine refuses to workers that confine themselves. */
#ifndef CORE_CONFINEMENT_H
#define CORE_CONFINEMENT_H

#include "imgd/error.h"

/*
 * Find out, by a process that tries it; takes some milliseconds.
 *
 * ret: malloc'ed: "full", or "without PART (REASON); ...".
 */
int confinement_describe(char **ret, struct imgd_error **err);

/* For a daemon's log: a warning, unless it is full. */
void confinement_warn(void);

#endif
