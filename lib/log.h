/*
 * Logging: debug lines by area, dropped unless asked for, and warnings about
 * failures that are survived.  Lines go to stderr.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdbool.h>

#include "imgd/error.h"

/*
 * Print debug lines of the areas in list, comma-separated, or "all".
 * NULL or "" turns them off.  Not thread-safe: call it at start.
 */
IMGD_EXPORT void log_set_areas(const char *list);

/* Whether debug lines of area are wanted. */
IMGD_EXPORT bool log_wants(const char *area);

/* One debug line of area ("registry", "driver", …), without newline.
 * Bytes that are not printable are escaped. */
IMGD_EXPORT void log_debug(const char *area, const char *fmt, ...)
    IMGD_PRINTF(2, 3);

/* One line about what a daemon does: dropped where no daemon runs. */
IMGD_EXPORT void log_info(const char *fmt, ...) IMGD_PRINTF(1, 2);

/* Lines of this and worse levels are printed, with "<N>" in front for a
 * journal; for a daemon, at its start. */
enum log_level { LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };
IMGD_EXPORT void log_set_daemon(enum log_level level, bool has_journal);

/* One line about a failure that is survived. */
IMGD_EXPORT void log_warn(const char *fmt, ...) IMGD_PRINTF(1, 2);

#endif
