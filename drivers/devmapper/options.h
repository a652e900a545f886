/*
 * The driver's options, with the names that Docker gave them.
 */
#ifndef DRIVERS_DEVMAPPER_OPTIONS_H
#define DRIVERS_DEVMAPPER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"

#define OPTION_BASE_BYTES     (10ull << 30)
#define OPTION_DATA_BYTES     (100ull << 30)
#define OPTION_METADATA_BYTES (1ull << 30)
#define OPTION_BLOCK_BYTES    (64ull << 10)

/* What dm-thin can use of a metadata device: 255 × (16384 − 64) blocks of
 * 4 KiB (THIN_METADATA_MAX_SECTORS). */
#define METADATA_MAX_BYTES (255ull * (16384 - 64) * 4096)

/* 0 and NULL: not given. */
struct options {
	uint64_t base_bytes;
	uint64_t data_bytes, metadata_bytes; /* of the sparse files */
	uint64_t block_bytes;
	char *fs;
	char **mkfs_args; /* NULL-terminated; never NULL */
	size_t n_mkfs_args;
	char *mount_options; /* joined by commas */
	char *data_device, *metadata_device, *pool_device;
	unsigned int min_free_percent;
	bool deferred_removal, deferred_deletion;
	int discard; /* 1, 0; -1: as the pool's devices suggest */
	bool has_accept;
	uint64_t accept_transaction;
};

/* "key=VALUE  text" lines. */
extern const char options_help[];

/* Parse env's options.  -EINVAL, naming the option, if one is unknown or its
 * value makes no sense.  ret is to be released in any case. */
int options_parse(struct options *ret, const struct imgd_env *env,
    struct imgd_error **err);
void options_done(struct options *o);

/* A number with a suffix k, m, g or t (times 1024 each), optionally followed
 * by b; false if it is none or does not fit. */
bool options_size(const char *text, uint64_t *ret);

#endif
