/*
 * Confinement: what a worker gives up before it reads what an enemy may have
 * written.
 *
 * There is one profile per role, in core/confine.c; the manual, imgd(8), says
 * what it leaves.  What the machine refuses is gone without: confine_missing()
 * names it, and `imgd info` tells.
 */
#ifndef CORE_CONFINE_H
#define CORE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/strbuf.h"

enum confine_role {
	CONFINE_UNPACKER, /* its directory is its root */
	CONFINE_PACKER,   /* its tree is its root; reads a recipe */
	CONFINE_EXPORTER, /* the same, but reads also trusted.* attributes */
	CONFINE_PULLER,   /* has the network, and files to resolve names */
	CONFINE_LOADER,   /* has what it was passed */
	CONFINE_ADOPTER,  /* the same, with trusted.* attributes */
	CONFINE_MAKER,    /* has a root of programs: core/maker-root.c */
	CONFINE_PROBER,   /* has nothing to do; finds out what is refused */
	CONFINE_N
};

/*
 * Give up the machine's network, System V IPC, mounts and files, and compile
 * the filters of roles, which ends with CONFINE_N.  For a process whose
 * children confine themselves, that costs them nothing then.
 */
void confine_prepare(const enum confine_role *roles);

/* Have a file, or a directory, in the puller's root, too: an absolute path,
 * borrowed; NULL: none.  Up to 4. */
void confine_show(const char *path);

/*
 * Confine this process, which has one thread; it ends with its parent's thread,
 * and with the engine, which holds the other end of WORKER_LIVENESS_FD.
 *
 * root_fd: the directory of an unpacker, packer or exporter; else ignored.
 * Fails only if it cannot be made to end.
 */
int confine_enter(enum confine_role role, int root_fd,
    struct imgd_error **err);

/* What was refused so far: "PART (REASON)" separated by "; ", or "". */
const char *confine_missing(void);

/* The duties of confine_enter() for one that keeps all its rights. */
int confine_watch(struct imgd_error **err);

/*
 * Give up all rights but to read what is closed to others, for good, and the
 * calls that change the machine; for a program of the system's that is to be
 * executed next.  Returns -1 and errno.
 */
int confine_tool(void);

/*
 * New roots, for a process that has one thread; the maker makes one of its own
 * kind.  All return -1 and errno on failure.
 */
/* Make one in a mount namespace of its own: a tmpfs that nothing is in, and
 * that can be written to until it is entered.  Returns its descriptor. */
int confine_root_new(void);
/* Show the directory path in it, with what is mounted there, read-only, without
 * devices and set-id; attrs: MOUNT_ATTR_*, more of that kind. */
int confine_root_bind(int root_fd, const char *path, uint64_t attrs);
/* Make it read-only and the root, and let the old one go. */
int confine_root_enter(int root_fd);

/* ---- the files of this module; nobody else's ---- */

/* core/confine-root.c: put the files that names are resolved with and what
 * confine_show() named into a new root. */
void confine_root_fill(int root_fd);
/* Their paths, some of which a machine has; ends with NULL. */
extern const char *confine_shown[];

/* Note that a part was refused. */
void confine_note(const char *part, const char *why);

/* core/confine-landlock.c */
struct confine_rights {
	bool no_reading; /* but below root_fd */
	bool may_write;  /* below root_fd */
	bool has_network;
};
/* root_fd: -1: none, there is nothing to use; -2: what names are resolved
 * with.  Returns -1 and errno. */
#define CONFINE_NO_ROOT       (-1)
#define CONFINE_RESOLVER_ROOT (-2)
int confine_landlock(const struct confine_rights *r, int root_fd);

/* core/confine-calls.c: allowed system calls. */
enum confine_calls {
	CALLS_TREE_READ = 1 << 0, /* directories and files, by name */
	CALLS_TREE_WRITE = 1 << 1,
	CALLS_FILE_WRITE = 1 << 2, /* those that it was passed */
	CALLS_THREADS = 1 << 3,
	CALLS_NETWORK = 1 << 4,
	CALLS_LOCKS = 1 << 5,
	CALLS_TOOL = 1 << 6 /* all but what changes the machine */
};
/* Compile a filter; *ret is malloc'ed, an array of struct sock_filter.
 * Returns -1 and errno. */
int confine_calls_compile(unsigned int calls, void **ret, size_t *ret_n);
/* For this process with all its threads, for good. */
int confine_calls_enter(const void *filter, size_t n);

#endif
