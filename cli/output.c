#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include "cli/cli.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define COLUMN_GAP 3

void
print_json(struct json_object *o, bool is_pretty)
{
	(void)puts(json_object_to_json_string_ext(o,
	    is_pretty ? JSON_C_TO_STRING_PRETTY |
		    JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE
		      : JSON_C_TO_STRING_PLAIN |
		    JSON_C_TO_STRING_NOSLASHESCAPE));
}

void
print_escaped(const char *s)
{
	cleanup_free char *safe = str_escape(s, strlen(s));

	(void)fputs(safe != NULL ? safe : "?", stdout);
}

void
table_init(struct table *t, const char *const *headings)
{
	*t = (struct table) { .cells = NULL };
	while (headings[t->n_columns] != NULL)
		t->n_columns++;
	for (; *headings != NULL; headings++)
		table_cell(t, "%s", *headings);
}

void
table_cell(struct table *t, const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	char **cells, *safe;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		text = NULL;
	safe = n < 0 ? NULL : str_escape(text, (size_t)n);
	cells = reallocarray(t->cells, t->n_cells + 1, sizeof(*cells));
	if (cells == NULL || safe == NULL) {
		free(safe);
		if (cells != NULL)
			t->cells = cells;
		t->is_failed = true;
		return;
	}
	t->cells = cells;
	cells[t->n_cells++] = safe;
}

static size_t
width(const char *s)
{
	size_t n = mbstowcs(NULL, s, 0);

	return n == (size_t)-1 ? strlen(s) : n;
}

static void
print_rows(const struct table *t, const size_t *widths)
{
	size_t i, c;

	for (i = 0; i < t->n_cells; i++) {
		c = i % t->n_columns;
		(void)fputs(t->cells[i], stdout);
		if (c + 1 == t->n_columns)
			(void)putchar('\n');
		else
			(void)printf("%*s",
			    (int)(widths[c] + COLUMN_GAP -
				width(t->cells[i])),
			    "");
	}
}

void
table_done(struct table *t)
{
	while (t->n_cells > 0)
		free(t->cells[--t->n_cells]);
	free(t->cells);
	t->cells = NULL;
}

int
table_print(struct table *t)
{
	cleanup_free size_t *widths = calloc(t->n_columns, sizeof(*widths));
	int r = t->is_failed || widths == NULL ? -1 : 0;
	size_t i;

	for (i = 0; r == 0 && i < t->n_cells; i++)
		if (width(t->cells[i]) > widths[i % t->n_columns])
			widths[i % t->n_columns] = width(t->cells[i]);
	if (r == 0)
		print_rows(t, widths);
	else
		(void)fprintf(stderr, "imgd: out of memory\n");
	table_done(t);
	return r;
}

const char *
local_time(int64_t when, char buf[48])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (when == 0 || localtime_r(&t, &tm) == NULL ||
	    strftime(buf, 48, "%Y-%m-%d %H:%M:%S %z %Z", &tm) == 0)
		return "N/A";
	return buf;
}

const char *
ago(int64_t when, char buf[40])
{
	static const struct {
		int64_t below, unit;
		const char *one, *many;
	} steps[] = {
		{ 60, 1, "1 second", "seconds" },
		{ 120, 60, "About a minute", NULL },
		{ 3600, 60, NULL, "minutes" },
		{ 5400, 3600, "About an hour", NULL },
		{ 48 * 3600, 3600, NULL, "hours" },
		{ 14 * 86400, 86400, NULL, "days" },
		{ 60 * 86400, 7 * 86400, NULL, "weeks" },
		{ 730 * 86400, 30 * 86400, NULL, "months" },
		{ INT64_MAX, 365 * 86400, NULL, "years" },
	};
	int64_t d = (int64_t)time(NULL) - when, n;
	size_t i = 0;

	if (when == 0)
		return "N/A";
	if (d < 1)
		return "Less than a second ago";
	while (d >= steps[i].below)
		i++;
	n = d / steps[i].unit;
	if (steps[i].one != NULL && (n == 1 || steps[i].many == NULL))
		(void)snprintf(buf, 40, "%s ago", steps[i].one);
	else
		(void)snprintf(buf, 40, "%lld %s ago", (long long)n,
		    steps[i].many);
	return buf;
}
