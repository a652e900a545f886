/* An archive being written: a tar, or a directory with the same files.  The
 * same files make the same bytes. */
#ifndef CORE_ARCHIVE_OUT_H
#define CORE_ARCHIVE_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/outlet.h"

struct archive_out {
	struct job *job;
	bool is_dir;
	struct outlet to; /* the tar, or the present file */
	int dir_fd;       /* borrowed */
	int file_fd;
	uint64_t size, bytes; /* of the present file: to be, so far */
};

/* fd: what the job's client passed; borrowed. */
int archive_out_open(struct archive_out *a, struct job *job, int fd,
    struct imgd_error **err);
void archive_out_done(struct archive_out *a);

/* Add a directory; time is seconds since the epoch. */
int archive_out_dir(struct archive_out *a, const char *name, int64_t time,
    struct imgd_error **err);

/* Add a file of size bytes: begin, write it to a->to with its bytes counted in
 * a->bytes, end. */
int archive_out_begin(struct archive_out *a, const char *name, uint64_t size,
    int64_t time, struct imgd_error **err);
int archive_out_end(struct archive_out *a, struct imgd_error **err);

/* All three. */
int archive_out_file(struct archive_out *a, const char *name,
    const void *data, size_t len, int64_t time, struct imgd_error **err);

/* The archive is complete. */
int archive_out_finish(struct archive_out *a, struct imgd_error **err);

#endif
