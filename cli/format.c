#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define BLANKS " \t"

/* Text, one field, or all fields (always as JSON). */
struct piece {
	enum { PIECE_TEXT, PIECE_FIELD, PIECE_ALL } kind;
	char *text;
	size_t field;
	bool is_json;
};

struct format {
	const struct format_field *fields;
	struct piece *pieces;
	size_t n_pieces;
	bool is_table;
	struct table table;
};

void
format_free(struct format *f)
{
	size_t i;

	if (f == NULL)
		return;
	for (i = 0; i < f->n_pieces; i++)
		free(f->pieces[i].text);
	free(f->pieces);
	table_done(&f->table);
	free(f);
}

static int
add(struct format *f, struct piece piece, struct imgd_error **err)
{
	struct piece *pieces = reallocarray(f->pieces, f->n_pieces + 1,
	    sizeof(*pieces));

	if (pieces == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->pieces = pieces;
	pieces[f->n_pieces++] = piece;
	return 0;
}

/* len bytes as they stand, but for "\t" and "\n". */
static int
add_text(struct format *f, const char *s, size_t len, struct imgd_error **err)
{
	char *text = malloc(len + 1);
	size_t i, n = 0;
	int r;

	if (text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < len; i++) {
		if (s[i] == '\\' && i + 1 < len &&
		    (s[i + 1] == 't' || s[i + 1] == 'n'))
			text[n++] = s[++i] == 't' ? '\t' : '\n';
		else
			text[n++] = s[i];
	}
	text[n] = '\0';
	r = add(f, (struct piece) { .kind = PIECE_TEXT, .text = text }, err);
	if (r < 0)
		free(text);
	return r;
}

/* What is between "{{" and "}}". */
static int
add_action(struct format *f, const char *s, size_t len,
    struct imgd_error **err)
{
	struct piece piece = { .kind = PIECE_FIELD };
	const char *p = s, *end = s + len;
	size_t n;

	p += strspn(p, BLANKS);
	if (str_starts(p, "json ")) {
		piece.is_json = true;
		p += 5 + strspn(p + 5, BLANKS);
	}
	while (end > p && strchr(BLANKS, end[-1]) != NULL)
		end--;
	if (end == p || *p++ != '.')
		return imgd_error_set(err, EINVAL,
		    "--format: {{%.*s}} is not understood", (int)len, s);
	n = (size_t)(end - p);
	if (n == 0 && piece.is_json) {
		piece.kind = PIECE_ALL;
		return add(f, piece, err);
	}
	for (; f->fields[piece.field].name != NULL; piece.field++)
		if (strlen(f->fields[piece.field].name) == n &&
		    strncmp(f->fields[piece.field].name, p, n) == 0)
			return add(f, piece, err);
	return imgd_error_set(err, EINVAL, "--format: there is no .%.*s",
	    (int)n, p);
}

static int
parse(struct format *f, const char *s, struct imgd_error **err)
{
	int r = 0;

	if (strcmp(s, "json") == 0)
		s = "{{json .}}";
	if (str_starts(s, "table ")) {
		f->is_table = true;
		s += 6;
	}
	while (r >= 0 && *s != '\0') {
		const char *open = strstr(s, "{{");
		const char *close = open != NULL ? strstr(open, "}}") : NULL;
		size_t n = open != NULL ? (size_t)(open - s) : strlen(s);

		if (open != NULL && close == NULL)
			return imgd_error_set(err, EINVAL,
			    "--format: \"{{\" without \"}}\"");
		if (n > 0)
			r = add_text(f, s, n, err);
		s += n;
		if (r < 0 || open == NULL)
			continue;
		r = add_action(f, open + 2, (size_t)(close - open - 2), err);
		s = close + 2;
	}
	return r;
}

static void
put_all(struct strbuf *sb, const struct format *f, const char *const *values)
{
	const char *between = "{";
	size_t i;

	for (i = 0; f->fields[i].name != NULL; i++) {
		if (strchr(f->fields[i].name, '.') != NULL)
			continue;
		strbuf_puts(sb, between);
		strbuf_json(sb, f->fields[i].name);
		strbuf_putc(sb, ':');
		strbuf_json(sb, values[i] != NULL ? values[i] : "");
		between = ",";
	}
	strbuf_putc(sb, '}');
}

/* NULL if memory is out. */
static char *
render(const struct format *f, const char *const *values, const char *json)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	strbuf_puts(&sb, "");
	for (i = 0; i < f->n_pieces; i++) {
		const struct piece *p = &f->pieces[i];
		const char *value = p->kind == PIECE_FIELD ? values[p->field]
							   : p->text;

		if (value == NULL)
			value = "";
		if (p->kind == PIECE_ALL && json != NULL)
			strbuf_puts(&sb, json);
		else if (p->kind == PIECE_ALL)
			put_all(&sb, f, values);
		else if (p->kind == PIECE_FIELD && p->is_json)
			strbuf_json(&sb, value);
		else if (p->kind == PIECE_FIELD) {
			cleanup_free char *safe = str_escape(value,
			    strlen(value));

			strbuf_puts(&sb, safe != NULL ? safe : "?");
		} else
			strbuf_puts(&sb, value);
	}
	return strbuf_take(&sb);
}

/* A table's row, or its headings: one cell ends where a tab is. */
static void
add_cells(struct format *f, char *text)
{
	char *cell;

	while (text != NULL && (cell = strsep(&text, "\t")) != NULL)
		table_cell(&f->table, "%s", cell);
}

/* As many columns as the headings have. */
static int
begin_table(struct format *f, struct imgd_error **err)
{
	const char *headings[FORMAT_MAX_FIELDS] = { NULL };
	cleanup_free char *text = NULL;
	const char *p;
	size_t i;

	for (i = 0; f->fields[i].name != NULL; i++)
		headings[i] = f->fields[i].heading;
	text = render(f, headings, "");
	if (text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->table.n_columns = 1;
	for (p = text; *p != '\0'; p++)
		f->table.n_columns += *p == '\t';
	add_cells(f, text);
	return 0;
}

int
format_parse(const char *text, const struct format_field *fields,
    struct format **ret, struct imgd_error **err)
{
	cleanup(format_freep) struct format *f = calloc(1, sizeof(*f));
	int r;

	if (f == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	f->fields = fields;
	r = parse(f, text, err);
	if (r >= 0 && f->is_table)
		r = begin_table(f, err);
	if (r >= 0)
		*ret = take_ptr(&f);
	return r;
}

void
format_row(struct format *f, const char *const *values, const char *json)
{
	cleanup_free char *text = render(f, values, json);

	if (f->is_table)
		add_cells(f, text);
	else
		(void)puts(text != NULL ? text : "?");
}

int
format_end(struct format *f)
{
	return f->is_table ? table_print(&f->table) : 0;
}
