/*
 * Named places at which a crash would be most awkward: a step is done, and the
 * next, which makes it count or forgotten, is not.  Tests end the process there
 * (tests/fault/).
 *
 * The function is in nothing that is installed, only in a library that tests
 * preload: everywhere else a point is the test of an address.
 */
#ifndef LIB_FAIL_POINT_H
#define LIB_FAIL_POINT_H

#include "imgd/error.h"

IMGD_EXPORT void imgd_fail_point(const char *name) __attribute__((weak));

#define FAIL_POINT(name)                       \
	do {                                   \
		if (imgd_fail_point != NULL)   \
			imgd_fail_point(name); \
	} while (0)

#endif
