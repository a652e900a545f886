/*
 * Asking a driver in a process of its own.
 */
#ifndef CORE_DRIVER_PROBE_H
#define CORE_DRIVER_PROBE_H

#include "imgd/driver.h"

/*
 * Call table's probe in a child process, since a module may crash.
 *
 * Returns what probe did; -ENOEXEC if it did not return.  Waits for it.
 */
int probe_apart(const struct imgd_driver *table, const struct imgd_env *env,
    struct imgd_error **err);

#endif
