/*
 * --format: the part of Go's templates that docker's users write.
 *
 *     json, {{json .}}              every field in one object a row
 *     {{.ID}} {{json .Repository}}  text with fields; \t and \n are blanks
 *     table {{.ID}}\t{{.Size}}      in columns, with headings
 */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include "imgd/error.h"

#define FORMAT_MAX_FIELDS 16

struct format_field {
	const char *name; /* "ID"; "Actor.ID" is no part of {{json .}} */
	const char *heading;
};

struct format;

/* fields: ended by a NULL name; borrowed.  -EINVAL names what is wrong. */
int format_parse(const char *text, const struct format_field *fields,
    struct format **ret, struct imgd_error **err);
void format_free(struct format *f);
static inline void
format_freep(struct format **f)
{
	format_free(*f);
}

/* One row; values are in the order of the fields, NULL is "".  json: what
 * {{json .}} is; NULL: an object of the values. */
void format_row(struct format *f, const char *const *values,
    const char *json);
/* After the last row: a table is printed now.  0, or -1 without memory. */
int format_end(struct format *f);

#endif
