/* A job's output stream for people and programs. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

#define MAX_BARS  4096
#define BAR_WIDTH 30

struct bar {
	char id[16];
	char status[32];
	double started;       /* of the present status */
	uint64_t first_bytes; /* what it had then */
};

struct progress {
	enum progress_style style;
	bool is_terminal;
	struct bar *bars;
	size_t n_bars;
};

struct progress *
progress_new(enum progress_style style)
{
	struct progress *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->style = style;
	p->is_terminal = style == PROGRESS_PLAIN && isatty(STDOUT_FILENO);
	return p;
}

void
progress_free(struct progress *p)
{
	if (p == NULL)
		return;
	free(p->bars);
	free(p);
}

static double
now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const char *
get_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_string))
		return NULL;
	return json_object_get_string(v);
}

static uint64_t
get_number(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v)
	    ? (uint64_t)json_object_get_int64(v)
	    : 0;
}

static struct bar *
find_bar(struct progress *p, const char *id, bool *ret_is_new)
{
	struct bar *bars;
	size_t i;

	*ret_is_new = false;
	for (i = 0; i < p->n_bars; i++)
		if (strcmp(p->bars[i].id, id) == 0)
			return &p->bars[i];
	if (p->n_bars == MAX_BARS)
		return NULL;
	bars = reallocarray(p->bars, p->n_bars + 1, sizeof(*bars));
	if (bars == NULL)
		return NULL;
	p->bars = bars;
	bars += p->n_bars++;
	*bars = (struct bar) { .started = now() };
	(void)snprintf(bars->id, sizeof(bars->id), "%s", id);
	*ret_is_new = true;
	return bars;
}

/* "[=====>    ]  12.3MB/45.6MB  7.8MB/s" */
static void
format_bar(const struct bar *b, uint64_t current, uint64_t total,
    struct strbuf *out)
{
	double elapsed = now() - b->started;
	char have[32], all[32], rate[32];
	size_t i, full;

	if (total == 0)
		return;
	full = current >= total
	    ? BAR_WIDTH
	    : (size_t)((double)current / (double)total * BAR_WIDTH);
	strbuf_puts(out, " [");
	for (i = 0; i < BAR_WIDTH; i++)
		strbuf_putc(out, i < full ? '=' : i == full ? '>' : ' ');
	strbuf_printf(out, "] %8s/%s", str_size(current, have),
	    str_size(total, all));
	if (elapsed > 0.5 && current > b->first_bytes)
		strbuf_printf(out, "  %s/s",
		    str_size((uint64_t)((double)(current - b->first_bytes) /
				 elapsed),
			rate));
}

static size_t
columns(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
		return ws.ws_col;
	return 80;
}

/* Draw the bar's line where it stands, counted from the cursor's. */
static void
draw(struct progress *p, const struct bar *b, const char *text, bool is_new)
{
	size_t up = p->n_bars - (size_t)(b - p->bars), n = strlen(text);

	if (n >= columns())
		n = columns() - 1;
	if (is_new) {
		(void)printf("%.*s\n", (int)n, text);
	} else {
		(void)printf("\033[%zuA\033[2K\r%.*s\033[%zuB\r", up, (int)n,
		    text, up);
	}
	(void)fflush(stdout);
}

static void
show_layer(struct progress *p, struct json_object *o, const char *id,
    const char *status)
{
	struct strbuf text = STRBUF_INIT;
	struct json_object *detail = NULL;
	uint64_t current = 0, total = 0;
	cleanup_free char *safe = NULL;
	bool is_new, is_same;
	struct bar *b;

	if (json_object_object_get_ex(o, "progressDetail", &detail)) {
		current = get_number(detail, "current");
		total = get_number(detail, "total");
	}
	b = find_bar(p, id, &is_new);
	if (b == NULL)
		return;
	is_same = strcmp(b->status, status) == 0;
	if (!is_same) {
		(void)snprintf(b->status, sizeof(b->status), "%s", status);
		b->started = now();
		b->first_bytes = current;
	}
	strbuf_printf(&text, "%s: %s", id, status);
	if (p->is_terminal)
		format_bar(b, current, total, &text);
	safe = strbuf_take(&text);
	if (safe == NULL)
		return;
	if (p->is_terminal)
		draw(p, b, safe, is_new);
	else if (!is_same)
		(void)puts(safe);
}

/* Text as it is to stand there, but for the newlines at its end. */
static void
show_stream(struct progress *p, const char *text)
{
	cleanup_free char *line = strdup(text);
	size_t len = line != NULL ? strlen(line) : 0;

	while (len > 0 && line[len - 1] == '\n')
		line[--len] = '\0';
	p->n_bars = 0;
	print_escaped(line != NULL ? line : "");
	(void)putchar('\n');
	(void)fflush(stdout);
}

void
progress_output(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	const char *status, *id, *stream;
	struct json_object *detail;
	struct progress *p = ctx;

	if (p == NULL || p->style == PROGRESS_QUIET)
		return;
	if (p->style == PROGRESS_JSON) {
		(void)puts(json);
		(void)fflush(stdout);
		return;
	}
	o = json_tokener_parse(json);
	stream = get_text(o, "stream");
	if (stream != NULL) {
		show_stream(p, stream);
		return;
	}
	status = get_text(o, "status");
	id = get_text(o, "id");
	if (status == NULL)
		return;
	if (id != NULL &&
	    json_object_object_get_ex(o, "progressDetail", &detail)) {
		show_layer(p, o, id, status);
		return;
	}
	/* Plain lines come below all bars, and later bars below them. */
	p->n_bars = 0;
	if (id != NULL) {
		print_escaped(id);
		(void)fputs(": ", stdout);
	}
	print_escaped(status);
	(void)putchar('\n');
	(void)fflush(stdout);
}
