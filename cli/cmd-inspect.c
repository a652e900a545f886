#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "core/inspect.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

#define BLANKS " \t\r\n\v\f"

/* What is known of one image, by a job of that name or by the function behind
 * it. */
static int
find_and(struct cli *cli, const char *job, const char *typed,
    int (*what)(struct store *, const char *, struct json_object **,
	struct imgd_error **),
    struct json_object **ret, struct imgd_error **err)
{
	cleanup(store_closep) struct store *s = NULL;
	cleanup_free char *id = NULL;
	int r;

	if (cli->host != NULL)
		return cli_ask(cli, job, typed, NULL, 0, ret, err);
	r = cli_store(cli, &s, err);
	if (r >= 0)
		r = store_find_image(s, typed, &id, NULL, err);
	return r < 0 ? r : what(s, id, ret, err);
}

int
cmd_inspect(struct cli *cli, int argc, char **argv)
{
	cleanup_json struct json_object *all = json_object_new_array();
	int i, n, status = 0;

	if (parse_options(cli, argc, argv, NULL, 1, 256, &n) < 0)
		return EXIT_USAGE;
	for (i = 1; i <= n; i++) {
		cleanup_error struct imgd_error *err = NULL;
		struct json_object *o = NULL;

		if (find_and(cli, "inspect", argv[i], inspect_image, &o,
			&err) < 0)
			status = report(cli, NULL, err);
		else
			(void)json_object_array_add(all, o);
	}
	print_json(all, true);
	return status;
}

static const char *
field(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;
	const char *s = NULL;

	if (json_object_object_get_ex(o, key, &v))
		s = json_object_get_string(v);
	return s != NULL ? s : "";
}

static int64_t
number(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return json_object_get_int64(v);
}

/* ---- history ---- */

enum { ID, SINCE, AT, BY, SIZE, COMMENT, N_COLUMNS };

static const struct format_field fields[] = {
	[ID] = { "ID", "IMAGE" },
	[SINCE] = { "CreatedSince", "CREATED" },
	[AT] = { "CreatedAt", "CREATED AT" },
	[BY] = { "CreatedBy", "CREATED BY" },
	[SIZE] = { "Size", "SIZE" },
	[COMMENT] = { "Comment", "COMMENT" },
	[N_COLUMNS] = { NULL, NULL },
};

#define HISTORY "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}" \
	"\t{{.Size}}\t{{.Comment}}"
#define BRIEF_CHARACTERS 45

/* The bytes of at most n characters; what is no UTF-8 counts by bytes. */
static size_t
characters(const char *s, size_t n)
{
	size_t i = 0;

	while (s[i] != '\0' && n-- > 0)
		for (i++; ((unsigned char)s[i] & 0xc0) == 0x80; i++)
			;
	return i;
}

/* What a builder's words say in a line: without the shell that runs them, or
 * is said to, what buildkit adds, and blanks that break lines of a Dockerfile.
 * NULL: memory is out. */
static char *
brief(const char *by)
{
	static const char nop[] = "/bin/sh -c #(nop)", sh[] = "/bin/sh -c ",
	    run[] = "RUN ", tail[] = " # buildkit";
	struct strbuf sb = STRBUF_INIT;
	size_t n;

	strbuf_puts(&sb, "");
	if (str_starts(by, nop))
		by += sizeof(nop) - 1;
	else if (str_starts(by, sh) ||
	    (str_starts(by, run) && str_starts(by + sizeof(run) - 1, sh))) {
		strbuf_puts(&sb, run);
		by += sizeof(sh) - 1 + (*by == 'R' ? sizeof(run) - 1 : 0);
	}
	for (by += strspn(by, BLANKS); *by != '\0'; by += strspn(by, BLANKS)) {
		if (sb.len > 0 && sb.data[sb.len - 1] != ' ')
			strbuf_putc(&sb, ' ');
		n = strcspn(by, BLANKS);
		strbuf_append(&sb, by, n);
		by += n;
	}
	if (!sb.is_failed && sb.len > 0 && str_ends(sb.data, tail))
		strbuf_truncate(&sb, sb.len - (sizeof(tail) - 1));
	n = sb.len > 0 ? characters(sb.data, BRIEF_CHARACTERS) : 0;
	if (n < sb.len) {
		strbuf_truncate(&sb, characters(sb.data,
					 BRIEF_CHARACTERS - 1));
		strbuf_puts(&sb, "…");
	}
	return strbuf_take(&sb);
}

static void
put_step(struct format *f, struct json_object *o, bool is_long)
{
	const char *id = field(o, "Id");
	bool is_short = !is_long && str_starts(id, "sha256:");
	cleanup_free char *by = is_long ? strdup(field(o, "CreatedBy"))
					: brief(field(o, "CreatedBy"));
	char short_id[13], since[40], at[48], size[32];
	const char *values[N_COLUMNS] = {
		[ID] = is_short ? short_id : id,
		[SINCE] = ago(number(o, "Created"), since),
		[AT] = local_time(number(o, "Created"), at),
		[BY] = by != NULL ? by : "?",
		[SIZE] = str_size((uint64_t)number(o, "Size"), size),
		[COMMENT] = field(o, "Comment"),
	};

	if (is_short)
		(void)snprintf(short_id, sizeof(short_id), "%s",
		    digest_hex(id));
	format_row(f, values, NULL);
}

int
cmd_history(struct cli *cli, int argc, char **argv)
{
	bool is_quiet = false, is_json = false, is_long = false;
	const char *format = NULL;
	const struct option_spec specs[] = {
		{ 'q', "quiet", &is_quiet, NULL },
		{ 0, "no-trunc", &is_long, NULL },
		{ 0, "format", NULL, &format },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	cleanup(format_freep) struct format *f = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_json struct json_object *list = NULL;
	size_t i;
	int n, r;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	if (is_quiet)
		format = "{{.ID}}";
	else if (format == NULL || strcmp(format, "table") == 0)
		format = HISTORY;
	r = format_parse(format, fields, &f, &err);
	if (r >= 0)
		r = find_and(cli, "history", argv[1], inspect_history, &list,
		    &err);
	if (r < 0)
		return report(cli, NULL, err);
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *step = json_object_array_get_idx(list, i);

		if (is_json)
			print_json(step, false);
		else
			put_step(f, step, is_long);
	}
	return is_json ? 0 : format_end(f) < 0;
}
