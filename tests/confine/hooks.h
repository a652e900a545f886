/*
 * Included before a worker's source: the functions that would read hostile data
 * have other names in it, and those try what is forbidden.
 */
#ifndef TESTS_CONFINE_HOOKS_H
#define TESTS_CONFINE_HOOKS_H

#include "tests/confine/tries.h"

/* Their real headers come first, so that declarations keep their names. */
#include "adopt/adopt.h"
#include "archive/archive.h"
#include "lib/tar.h"
#include "registry/session.h"

#define tar_unpack(params, result, err)                 \
	((void)(params), *(result) = (struct tar_result) { 0 }, \
	    tries_run(TRY_UNPACKER, err))
#define tar_pack(tree_fd, recipe_fd, sink, diff_id, err)        \
	((void)(tree_fd), (void)(recipe_fd), (void)(sink), (diff_id)[0] = 0, \
	    tries_run(TRY_PACKER, err))
#define tar_export(tree_fd, sink, err) \
	((void)(tree_fd), (void)(sink), tries_run(TRY_PACKER, err))
#define tar_changes(tree_fd, list_fd, sink, bytes, err)           \
	((void)(tree_fd), (void)(list_fd), (void)(sink), (void)(bytes), \
	    tries_run(TRY_PACKER, err))
#define registry_resolve(s, want, known, cb, ctx, ret, err)  \
	((void)(want), (void)(known), (void)(cb), (void)(ctx), (void)(ret), \
	    tries_run(TRY_PULLER, err))
#define image_archive_open(fd, want, archive, err) \
	((void)(fd), (void)(want), (void)(archive), tries_run(TRY_LOADER, err))
#define adopt_open(fd, adopt, err) \
	((void)(fd), (void)(adopt), tries_run(TRY_ADOPTER, err))

#endif
