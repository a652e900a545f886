#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/strbuf.h"

static char log_areas[256];
static enum log_level log_level = LOG_LEVEL_WARN;
static bool log_has_journal;

void
log_set_daemon(enum log_level level, bool has_journal)
{
	log_level = level;
	log_has_journal = has_journal;
	if (level >= LOG_LEVEL_DEBUG)
		log_set_areas("all");
}

void
log_set_areas(const char *list)
{
	(void)snprintf(log_areas, sizeof(log_areas), "%s",
	    list != NULL ? list : "");
}

bool
log_wants(const char *area)
{
	const char *p = log_areas;
	size_t n = strlen(area);

	if (strcmp(p, "all") == 0)
		return true;
	while (*p != '\0') {
		size_t len = strcspn(p, ",");

		if (len == n && memcmp(p, area, n) == 0)
			return true;
		p += len;
		p += *p == ',';
	}
	return false;
}

/* what: "" or "debug: " and the like. */
static void
emit(enum log_level level, const char *what, const char *fmt, va_list ap)
{
	cleanup_free char *text = NULL, *safe = NULL;
	int saved = errno;

	if (vasprintf(&text, fmt, ap) < 0 ||
	    (safe = str_escape(text, strlen(text))) == NULL)
		safe = NULL;
	else if (log_has_journal)
		(void)fprintf(stderr, "<%d>%s%s\n", (int)level, what, safe);
	else
		(void)fprintf(stderr, "imgd: %s%s\n", what, safe);
	errno = saved;
}

void
log_debug(const char *area, const char *fmt, ...)
{
	char what[64];
	va_list ap;

	if (!log_wants(area))
		return;
	(void)snprintf(what, sizeof(what), "debug: %s: ", area);
	va_start(ap, fmt);
	emit(LOG_LEVEL_DEBUG, what, fmt, ap);
	va_end(ap);
}

void
log_info(const char *fmt, ...)
{
	va_list ap;

	if (log_level < LOG_LEVEL_INFO)
		return;
	va_start(ap, fmt);
	emit(LOG_LEVEL_INFO, "", fmt, ap);
	va_end(ap);
}

void
log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_LEVEL_WARN, "warning: ", fmt, ap);
	va_end(ap);
}
