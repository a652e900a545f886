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

static void
emit(const char *prefix, const char *area, const char *fmt, va_list ap)
{
	cleanup_free char *text = NULL, *safe = NULL;
	int saved = errno;

	if (vasprintf(&text, fmt, ap) >= 0 &&
	    (safe = str_escape(text, strlen(text))) != NULL)
		(void)fprintf(stderr, "imgd: %s%s: %s\n", prefix, area, safe);
	errno = saved;
}

void
log_debug(const char *area, const char *fmt, ...)
{
	va_list ap;

	if (!log_wants(area))
		return;
	va_start(ap, fmt);
	emit("debug: ", area, fmt, ap);
	va_end(ap);
}

void
log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("", "warning", fmt, ap);
	va_end(ap);
}
