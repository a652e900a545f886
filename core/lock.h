/*
 * Who owns a store: ROOT/lock for the engine, ROOT/workers.lock for what it
 * started.
 */
#ifndef CORE_LOCK_H
#define CORE_LOCK_H

#include <stdbool.h>

#include "imgd/error.h"

/* Open ROOT/lock and try to own it: 1 owned, 0 somebody else does. */
int lock_try(int root_fd, int *ret_fd, struct imgd_error **err);

/* Write pid, sockets and mount namespace into the lock file. */
int lock_describe(int lock_fd, const char *root, struct imgd_error **err);

/* Wait until no worker of an earlier engine lives; after 10 s an error that
 * names those that do. */
int lock_workers_exclusive(int root_fd, struct imgd_error **err);

/* A descriptor with the shared lock, for workers to inherit. */
int lock_workers_shared(int root_fd, int *ret_fd, struct imgd_error **err);

/* This process's mount namespace as the kernel names it; in buf. */
const char *lock_mnt_ns(char buf[64]);

/* Whether any process still lives in the mount namespace that the kernel names
 * so. */
bool lock_mnt_ns_lives(const char *ns);

/* Whether the engine that owns the store is in this mount namespace: 0, or
 * -EXDEV with both named. */
int lock_check_mnt_ns(int root_fd, struct imgd_error **err);

#endif
