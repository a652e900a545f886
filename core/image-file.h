/* Filesystem images of trees, made by a worker. */
#ifndef CORE_IMAGE_FILE_H
#define CORE_IMAGE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/job.h"

struct driver;

struct image_file {
	const char *format;   /* "ext4", "squashfs", "erofs" */
	const char *id;       /* 64 hex digits: what UUID and salt are made of */
	int64_t time;         /* that it is made at, as far as that shows */
	uint64_t size_bytes;  /* of the filesystem; 0: as needed */
	bool has_verity;      /* a hash tree follows */
	int out_fd;           /* an empty file; borrowed */

	/* results */
	uint64_t file_bytes, hash_offset;
	char uuid[37], root_hash[65]; /* the latter "" without verity */
};

/*
 * Make one of the layer's tree.  The job's client is watched meanwhile.
 * -ECANCELED.
 */
int image_file_make(struct job *job, struct driver *d, const char *key,
    struct image_file *f, struct imgd_error **err);

#endif
