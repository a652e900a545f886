/*
 * Where the program's own modules are, and whether they may be loaded.
 */
#ifndef CORE_MODULE_H
#define CORE_MODULE_H

#include <stdbool.h>

#include "imgd/error.h"

/*
 * The directory of drivers/ and workers/, malloc'ed.
 *
 * It is the compiled-in one, below the prefix under which this very program
 * runs: an installation staged by DESTDIR finds its own modules.
 */
int module_dir(char **ret_dir, struct imgd_error **err);

/*
 * dlopen path after checks: a regular file, and it and its directory belong
 * to root or this user, and nobody else may write them.
 * The module stays loaded until the process ends.
 */
int module_load(const char *path, void **ret_module, struct imgd_error **err);

/* Whether the program was installed with workers/imgd-NAME.so. */
bool module_exists(const char *name);

/* Load workers/imgd-NAME.so and find its exported symbol. */
int module_symbol(const char *name, const char *symbol, void **ret,
    struct imgd_error **err);

#endif
