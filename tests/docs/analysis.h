/*
 * What analyzers that see one file at a time must be told; the file follows.
 */
#include "config.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "imgd/error.h"

/* The Makefile's. */
#define IMGD_BINDIR     "/bin"
#define IMGD_PKGLIBDIR  "/lib"
#define IMGD_SYSCONFDIR "/etc"

/* What sets an error returns a negative code. */
#define analysis_failed(call)                                                \
	__extension__({                                                      \
		int analysis_r = (call);                                     \
		if (analysis_r >= 0)                                         \
			__builtin_unreachable();                             \
		analysis_r;                                                  \
	})
#define imgd_error_set(...)    analysis_failed(imgd_error_set(__VA_ARGS__))
#define imgd_error_prefix(...) analysis_failed(imgd_error_prefix(__VA_ARGS__))

/* The C library's own declaration makes gcc think that only what came from it
 * may go to it. */
#define reallocarray(p, n, size) realloc(p, (n) * (size))

#ifdef __clang__
/* Clang knows no cleanup attributes, so nothing is a leak; what is used after
 * it was freed still is. */
static void *analysis_kept __attribute__((unused));
#define analysis_keep(call)                                                  \
	__extension__({                                                      \
		__typeof__(call) analysis_p = (call);                        \
		analysis_kept = analysis_p;                                  \
		analysis_p;                                                  \
	})
#define malloc(n)      analysis_keep(malloc(n))
#define calloc(n, of)  analysis_keep(calloc(n, of))
#define realloc(p, n)  analysis_keep(realloc(p, n))
#undef strdup
#define strdup(s)      analysis_keep(strdup(s))
#undef strndup
#define strndup(s, n)  analysis_keep(strndup(s, n))
#endif
