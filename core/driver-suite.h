/*
 * The conformance suite for storage drivers: a module of its own, which only
 * "imgd driver test" loads.
 */
#ifndef CORE_DRIVER_SUITE_H
#define CORE_DRIVER_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"

struct driver_suite {
	const char *driver;       /* name, or path with a slash */
	const char *root;         /* scratch goes below it; NULL: /var/tmp */
	const char *glob;         /* which cases; NULL: all that apply */
	char *const *options;     /* "KEY=VALUE", for the driver */
	size_t n_options;
	bool is_list;             /* print the cases' names only */
};

/*
 * Run the suite; it prints TAP on standard output.
 *
 * Returns 0 if every case has passed, 1 if not; < 0 if the driver or the suite
 * cannot be loaded.
 */
int driver_suite_run(const struct driver_suite *suite,
    struct imgd_error **err);

/* What the module is given; all is borrowed. */
struct driver_suite_params {
	const struct imgd_driver *driver;
	const struct imgd_driver *reference; /* vfs; NULL: not installed */
	const struct imgd_option *options;
	uint32_t n_options;
	const char *root, *glob;
	bool is_list;
};

/* The module's one symbol.  Returns the exit status. */
#define DRIVER_SUITE_SYMBOL "imgd_driver_suite_main"
typedef int driver_suite_main_fn(const struct driver_suite_params *params);

#endif
