/*
 * What this very program does when it is started as a worker.  The roles'
 * entry points are in modules of pkglibdir/workers, so that the libraries
 * they need are in no other process.
 */
#ifndef CORE_ROLE_H
#define CORE_ROLE_H

#include "imgd/error.h"

/* argv[0] of an exec'd worker. */
#define ROLE_SPAWNER "imgd-spawner"
#define ROLE_PULLER  "imgd-puller"
#define ROLE_ADOPTER "imgd-adopter"
#define ROLE_MOUNTER "imgd-mounter"
#define ROLE_LOADER  "imgd-loader"
#define ROLE_MAKER   "imgd-maker"
#define ROLE_PROBER  "imgd-prober"

/* The exported symbol of a worker module: confines the process and serves sock
 * until its work is done; returns the process's exit status. */
#define ROLE_MAIN_SYMBOL "imgd_worker_main"
typedef int role_main_fn(int sock, unsigned int what);
IMGD_EXPORT int imgd_worker_main(int sock, unsigned int what);

/* Of the spawner's module: called once before its children begin with
 * imgd_worker_main.  Its arguments mean nothing; returns 0. */
#define ROLE_PREPARE_SYMBOL "imgd_worker_prepare"
IMGD_EXPORT int imgd_worker_prepare(int sock, unsigned int what);

/*
 * Run as worker if argv[0] names a role.
 * Returns the exit status, or -1 if this is an ordinary start.
 */
int role_run(const char *argv0);

/* Load a function, one of the ROLE_*_SYMBOL, of workers/imgd-NAME.so. */
int role_load(const char *name, const char *function, role_main_fn **ret,
    struct imgd_error **err);

#endif
