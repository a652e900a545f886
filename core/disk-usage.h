/*
 * Bytes on the disk: of layers, of what drivers hold, and of all of ROOT.
 */
#ifndef CORE_DISK_USAGE_H
#define CORE_DISK_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/store.h"

struct disk_layer {
	char key[65];
	char driver[64];
	char chain_id[80];
	char state[12];
	char *name;      /* of a writable layer; NULL: an image's */
	char *image;     /* what that is on */
	char *dir;       /* with its own files; NULL: the driver has none */
	dev_t dev;
	ino_t ino;
	uint64_t content_bytes; /* as its tar had it */
	uint64_t bytes;  /* on the disk */
	bool is_measured; /* else bytes are not known, and 0 */
	uint64_t n_images; /* the caller's */
};

struct disk_driver {
	char name[64];
	uint64_t bytes; /* of the files in its home */
	/* What its layers take where that is not files. */
	bool has_pool;
	uint64_t pool_bytes;
	uint64_t n_layers, content_bytes; /* of images */
};

struct disk_usage {
	struct disk_layer *layers;
	struct disk_layer **by_key;
	size_t n_layers;
	struct disk_driver drivers[STORE_MAX_DRIVERS];
	size_t n_drivers;
	uint64_t recipes, spool, database;
	uint64_t other; /* what is left of total */
	uint64_t total; /* as du has it */
};

/*
 * Read it all.
 *
 * before: what this process read earlier, or NULL: published layers, which do
 * not change, are not read again.
 * ret: zeroed before; release with disk_usage_done(), also on failure.
 * Several names of a file count once: all of them are in the store.  Extents
 * that copies share count for each.
 */
int disk_usage_read(struct store *s, const struct disk_usage *before,
    struct disk_usage *ret, struct imgd_error **err);
void disk_usage_done(struct disk_usage *u);

/* The layer of that key, or NULL. */
struct disk_layer *disk_usage_layer(const struct disk_usage *u,
    const char *key);

/* What a limit is compared with: total, but of drivers with a pool what is
 * used of that. */
uint64_t disk_usage_sum(const struct disk_usage *u);

#endif
