#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imgd/error.h"

struct imgd_error {
	int code;
	char *msg;
};

/* Reporting that memory is out may not allocate. */
static struct imgd_error no_memory = { ENOMEM, NULL };

int
imgd_error_set(struct imgd_error **err, int code, const char *fmt, ...)
{
	struct imgd_error *e;
	va_list ap;
	int n;

	assert(code > 0);
	if (err == NULL)
		return -code;
	assert(*err == NULL);

	e = malloc(sizeof(*e));
	if (e == NULL) {
		*err = &no_memory;
		return -code;
	}
	e->code = code;
	va_start(ap, fmt);
	n = vasprintf(&e->msg, fmt, ap);
	va_end(ap);
	if (n < 0) {
		free(e);
		*err = &no_memory;
		return -code;
	}
	*err = e;
	return -code;
}

int
imgd_error_prefix(struct imgd_error **err, const char *fmt, ...)
{
	char *text, *msg;
	va_list ap;
	int n;

	if (err == NULL || *err == NULL)
		return -EIO;
	if (*err == &no_memory)
		return -ENOMEM;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -(*err)->code;
	if (asprintf(&msg, "%s: %s", text, (*err)->msg) >= 0) {
		free((*err)->msg);
		(*err)->msg = msg;
	}
	free(text);
	return -(*err)->code;
}

int
imgd_error_code(const struct imgd_error *err)
{
	assert(err != NULL);
	return err->code;
}

const char *
imgd_error_msg(const struct imgd_error *err)
{
	if (err == NULL)
		return "unknown error";
	if (err == &no_memory)
		return "out of memory";
	return err->msg;
}

void
imgd_error_free(struct imgd_error *err)
{
	if (err == NULL || err == &no_memory)
		return;
	free(err->msg);
	free(err);
}
