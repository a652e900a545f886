/*
 * The end of a worker: at once, since what would be done at an ordinary one
 * needs the root that it no longer has, or stops threads that still run.
 *
 * The address sanitizer looks for leaks at an ordinary end, and by means that
 * confinement takes away: it stops the process's threads by ptrace, and finds
 * them in /proc.  So where IMGD_LEAKS is set, a build with it does not confine
 * its workers, and has it look before they end.  Other builds do not know that
 * variable.
 */
#ifndef CORE_LEAVE_H
#define CORE_LEAVE_H

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

/* For a worker that would be killed as soon as it is not needed. */
#define LEAK_CHECK_MS 5000

/* Whether leaks are looked for, and nothing is confined. */
static inline bool
leave_seeks_leaks(void)
{
#ifdef __SANITIZE_ADDRESS__
	return getenv("IMGD_LEAKS") != NULL;
#else
	return false;
#endif
}

static inline void __attribute__((noreturn))
leave(int status)
{
#ifdef __SANITIZE_ADDRESS__
	/* The maker has a root without /proc all the same. */
	if (leave_seeks_leaks() && access("/proc/self/task", F_OK) == 0)
		(void)__lsan_do_recoverable_leak_check();
#endif
	_exit(status);
}

#endif
