#ifndef TESTS_CONFINE_TRIES_H
#define TESTS_CONFINE_TRIES_H

#include "imgd/error.h"

#define TRY_UNPACKER 1u
#define TRY_PACKER   2u
#define TRY_PULLER   4u
#define TRY_LOADER   8u
#define TRY_ADOPTER  16u
#define TRY_TOOL     32u /* has libraries and processes */

/* Try all that the role must not; always fails, with what came of it. */
int tries_run(unsigned int role, struct imgd_error **err);

#endif
