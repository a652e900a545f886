/*
 * The jobs that run, for those who list and cancel them.
 */
#ifndef CORE_JOBS_H
#define CORE_JOBS_H

#include "core/job.h"

/* The job runs on this thread from now on, and does not any more. */
void jobs_enter(struct job *job);
void jobs_leave(struct job *job);

/* It watches that pull, which others may watch, too; NULL: it does not any
 * more. */
struct pull;
void jobs_watch(struct job *job, const struct pull *p);

#endif
