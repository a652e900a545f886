/* Archives of images, also compressed ones: what is in them, their layers. */
#include "config.h"

#include <signal.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/stream.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define MAX_BYTES (4u << 20)

static int
take(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	uint64_t *sum = ctx;

	(void)data;
	*sum += len;
	return *sum > MAX_BYTES ? imgd_error_set(err, IMGD_E_LIMIT, "enough")
				: 0;
}

static void
progress(void *ctx, uint64_t bytes)
{
	(void)ctx;
	(void)bytes;
}

/* stream: NULL: the archive is read in place. */
static void
read_layers(const struct found_image *f, struct archive_stream *stream)
{
	size_t i;

	MUST(f->n_layers <= LIMIT_LAYERS);
	for (i = 0; i < f->n_layers; i++) {
		cleanup_error struct imgd_error *err = NULL;
		uint64_t sum = 0, blob_bytes, tar_bytes;
		struct imgd_sink sink = { .struct_size = sizeof(sink),
			.ctx = &sum, .write = take };
		int r = stream != NULL
		    ? archive_stream_write(stream, i, &sink, progress, NULL,
			  &blob_bytes, &tar_bytes, &err)
		    : found_layer_write(&f->layers[i], &sink, progress, NULL,
			  &blob_bytes, &tar_bytes, &err);

		must_be_told(r, err);
		MUST(r < 0 || tar_bytes == sum);
	}
}

static void
read_images(const struct image_archive *a)
{
	size_t i;

	MUST(a->n_images <= LIMIT_ARCHIVE_IMAGES);
	for (i = 0; i < a->n_images && i < 4; i++) {
		cleanup_error struct imgd_error *err = NULL;
		struct found_image f = { .id = "" };
		int r = image_archive_find(a, i, &f, &err);

		must_be_told(r, err);
		if (r >= 0)
			read_layers(&f, /* stream= */ NULL);
		found_image_done(&f);
	}
}

/* Every other layer is asked for before it comes, and the last one not at
 * all. */
static void
read_stream(const struct image_archive *a, struct archive_stream *stream)
{
	cleanup_error struct imgd_error *err = NULL;
	struct found_image f = { .id = "" };
	size_t i, n;
	int r;

	MUST(a->n_images == 1);
	r = image_archive_find(a, 0, &f, &err);
	MUST(r >= 0);
	r = archive_stream_take(stream, &f, &err);
	MUST(r >= 0);
	for (i = 0; i < f.n_layers; i += 2)
		archive_stream_order(stream, i);
	n = f.n_layers;
	if (n > 1)
		archive_stream_skip(stream, --f.n_layers);
	read_layers(&f, stream);
	f.n_layers = n;
	r = archive_stream_finish(stream, &err);
	must_be_told(r, err);
	found_image_done(&f);
}

static void
read_file(int fd)
{
	cleanup(image_archive_freep) struct image_archive *a = NULL;
	cleanup_error struct imgd_error *err = NULL;
	int r = image_archive_open(fd, NULL, &a, &err);

	must_be_told(r, err);
	if (r >= 0)
		read_images(a);
}

/* What may come in any order, and what is put aside, copied or given. */
static void
read_as_stream(int fd, bool may_stream)
{
	cleanup(archive_stream_freep) struct archive_stream *stream = NULL;
	cleanup(image_archive_freep) struct image_archive *a = NULL;
	cleanup_close int copy_fd = scratch_file("copy");
	cleanup_error struct imgd_error *err = NULL;
	int r;

	r = archive_stream_open(fd, copy_fd, MAX_BYTES, may_stream, NULL,
	    &stream, &a, &err);
	must_be_told(r, err);
	if (r > 0)
		read_stream(take_ptr(&a), stream);
	else if (r == 0)
		read_images(a);
	MUST(lseek(copy_fd, 0, SEEK_END) <= MAX_BYTES);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_close int fd = scratch_file_of("archive", data, len);
	cleanup_error struct imgd_error *err = NULL;
	int i, r = image_archive_is_stream(fd, &err);

	(void)signal(SIGPIPE, SIG_IGN);
	must_be_told(r, err);
	if (r == 0)
		read_file(fd);
	for (i = 0; i < 2; i++) {
		MUST(lseek(fd, 0, SEEK_SET) == 0);
		read_as_stream(fd, /* may_stream= */ i > 0);
	}
	return 0;
}
