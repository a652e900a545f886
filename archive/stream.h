/*
 * An archive that cannot be sought: a pipe, or what has to be decompressed.
 *
 * Where the documents of its one image come before the layers, as imgd save
 * writes them, the layers are given out as they come.  A layer that comes
 * before it is asked for is put aside in a scratch file; anything else is
 * copied there as a whole.
 */
#ifndef ARCHIVE_STREAM_H
#define ARCHIVE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"
#include "imgd/driver.h"
#include "imgd/error.h"
#include "registry/manifest.h"

struct archive_stream;

/*
 * Read the archive until it is known what there is.
 *
 * fd: borrowed, for as long as the process lives if this streams.
 * copy_fd: an empty file; borrowed likewise.
 * max_bytes: the most that goes into it, else -ENOSPC.
 * may_stream: false: copy it.
 * want: as image_archive_open() takes it.
 * Returns 1 if it streams: the archive has one image, whose documents have
 * come; its layers are to_come, or there.  0: all of it, decompressed, is in
 * copy_fd, and ret_archive is read from there.
 */
int archive_stream_open(int fd, int copy_fd, uint64_t max_bytes,
    bool may_stream, const struct platform *want, struct archive_stream **ret,
    struct image_archive **ret_archive, struct imgd_error **err);

/* With the archive.  SIGPIPE is ignored.  If what is decompressed comes through
 * a pipe that has not ended, a thread still waits for it: then this does
 * nothing, and the process is to end. */
void archive_stream_free(struct archive_stream *s);
static inline void
archive_stream_freep(struct archive_stream **s)
{
	archive_stream_free(*s);
}

/* Name the image that is read, as image_archive_find() gave it; borrowed. */
int archive_stream_take(struct archive_stream *s, const struct found_image *f,
    struct imgd_error **err);

/* Nobody will want that layer: it is passed over. */
void archive_stream_skip(struct archive_stream *s, size_t layer);
/* The layer is about to be asked for: once it comes it waits for that. */
void archive_stream_order(struct archive_stream *s, size_t layer);

/* As found_layer_write(), once for each layer; any thread, several at once. */
int archive_stream_write(struct archive_stream *s, size_t layer,
    struct imgd_sink *sink, void (*progress)(void *ctx, uint64_t bytes),
    void *ctx, uint64_t *ret_blob_bytes, uint64_t *ret_tar_bytes,
    struct imgd_error **err);

/* No layer is wanted any more: read to the end, and find that sound. */
int archive_stream_finish(struct archive_stream *s, struct imgd_error **err);

#endif
