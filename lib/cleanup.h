/*
 * Cleanup attributes: every return path is correct by itself.
 *
 * Cleanup variables are declared first and always initialised; a function
 * that has one uses no goto.  The handlers keep errno.
 */
#ifndef LIB_CLEANUP_H
#define LIB_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imgd/error.h"

#define cleanup(f) __attribute__((cleanup(f)))

static inline void
cleanup_freep(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

static inline void
cleanup_closep(int *fd)
{
	int saved = errno;

	/* Not retried: Linux has released the descriptor even on EINTR. */
	if (*fd >= 0)
		(void)close(*fd);
	errno = saved;
}

static inline void
cleanup_closedirp(DIR **d)
{
	int saved = errno;

	if (*d != NULL)
		(void)closedir(*d);
	errno = saved;
}

static inline void
cleanup_fclosep(FILE **f)
{
	int saved = errno;

	if (*f != NULL)
		(void)fclose(*f);
	errno = saved;
}

static inline void
cleanup_errorp(struct imgd_error **err)
{
	int saved = errno;

	imgd_error_free(*err);
	errno = saved;
}

/* Free what nobody is to read any more; NULL is fine. */
static inline void
free_secret(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	free(s);
}

#define cleanup_free     cleanup(cleanup_freep)
#define cleanup_close    cleanup(cleanup_closep)
#define cleanup_closedir cleanup(cleanup_closedirp)
#define cleanup_fclose   cleanup(cleanup_fclosep)
#define cleanup_error    cleanup(cleanup_errorp)

/* Hand the pointer *pp over and leave NULL behind. */
#define take_ptr(pp)                                                         \
	__extension__({                                                      \
		__typeof__(pp) take_pp = (pp);                               \
		__typeof__(*take_pp) take_p = *take_pp;                      \
		*take_pp = NULL;                                             \
		take_p;                                                      \
	})

/* Hand the descriptor over and leave -EBADF behind. */
static inline int
take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

/* Close *fd if it is one, and leave -EBADF behind. */
static inline void
close_fd(int *fd)
{
	cleanup_closep(fd);
	*fd = -EBADF;
}

#endif
