/*
 * What the fuzz targets share.  Each is a file with LLVMFuzzerTestOneInput,
 * linked with replay.c, which gives it files, or with libFuzzer (make fuzz).
 * A target ends the process where something is wrong that no sanitizer sees.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imgd/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What must be so, whatever the input is. */
#define MUST(x)                                                             \
	do {                                                                \
		if (!(x)) {                                                 \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__,      \
			    __LINE__, #x);                                  \
			abort();                                            \
		}                                                           \
	} while (0)

/* A failure has a code, and a text of one line that says something. */
static inline void
must_be_told(int r, const struct imgd_error *err)
{
	MUST((r < 0) == (err != NULL));
	if (r >= 0)
		return;
	MUST(imgd_error_code(err) == -r);
	MUST(imgd_error_msg(err)[0] != '\0');
}

/* A copy that ends with a NUL, and a page's end soon after, for ASan. */
static inline char *
text_of(const uint8_t *data, size_t len)
{
	char *s = malloc(len + 1);

	MUST(s != NULL);
	if (len > 0)
		memcpy(s, data, len);
	s[len] = '\0';
	return s;
}

#endif
