#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/driver/suite/suite.h"

/* Shared with the processes that run the cases. */
static struct {
	char text[4096];
} *shared;

int
case_diagnostic_init(void)
{
	void *p = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	shared = p;
	return 0;
}

const char *
case_diagnostic(void)
{
	return shared->text;
}

void
case_diagnostic_clear(void)
{
	shared->text[0] = '\0';
}

void
case_fail(const char *file, int line, const char *fmt, ...)
{
	size_t n = strlen(shared->text);
	size_t size = sizeof(shared->text);
	const char *base = strrchr(file, '/');
	va_list ap;
	int k;

	k = snprintf(shared->text + n, size - n, "%s:%d: ",
	    base != NULL ? base + 1 : file, line);
	if (k > 0 && n + (size_t)k < size) {
		n += (size_t)k;
		va_start(ap, fmt);
		k = vsnprintf(shared->text + n, size - n, fmt, ap);
		va_end(ap);
		n = strlen(shared->text);
		(void)snprintf(shared->text + n, size - n, "\n");
	}
	_exit(1);
}

void
case_failed_call(const char *file, int line, const char *call, int r,
    int code, struct imgd_error *err)
{
	if (r >= 0)
		case_fail(file, line, "%s: succeeds, but should fail: %s",
		    call, code != 0 ? strerror(code) : "with any error");
	if (err == NULL)
		case_fail(file, line, "%s: fails with %d and no error is set",
		    call, r);
	if (code != 0 && r != -code)
		case_fail(file, line, "%s: fails with %d (%s), not -%d (%s)",
		    call, r, imgd_error_msg(err), code, strerror(code));
	if (imgd_error_code(err) != -r)
		case_fail(file, line, "%s: returns %d, its error has %d (%s)",
		    call, r, imgd_error_code(err), imgd_error_msg(err));
	if (imgd_error_msg(err)[0] == '\0' ||
	    strchr(imgd_error_msg(err), '\n') != NULL)
		case_fail(file, line, "%s: its error is not one line: \"%s\"",
		    call, imgd_error_msg(err));
	imgd_error_free(err);
}

int
case_sys(int r, const char *call, const char *file, int line)
{
	if (r < 0)
		case_fail(file, line, "%s: %s", call, strerror(errno));
	return r;
}
