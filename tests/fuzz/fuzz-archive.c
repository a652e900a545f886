/* Archives of images, also compressed ones: what is in them, their layers. */
#include "config.h"

#include <unistd.h>

#include "archive/archive.h"
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

static void
read_layers(const struct found_image *f)
{
	size_t i;

	MUST(f->n_layers <= LIMIT_LAYERS);
	for (i = 0; i < f->n_layers; i++) {
		cleanup_error struct imgd_error *err = NULL;
		uint64_t sum = 0, blob_bytes, tar_bytes;
		struct imgd_sink sink = { .struct_size = sizeof(sink),
			.ctx = &sum, .write = take };
		int r = found_layer_write(&f->layers[i], &sink, progress,
		    NULL, &blob_bytes, &tar_bytes, &err);

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
			read_layers(&f);
		found_image_done(&f);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_close int fd = scratch_file_of("archive", data, len);
	cleanup_close int copy_fd = scratch_file("copy");
	cleanup(image_archive_freep) struct image_archive *a = NULL;
	cleanup_error struct imgd_error *err = NULL;
	int r = image_archive_needs_copy(fd, &err);

	if (r > 0) {
		r = image_archive_copy(fd, copy_fd, MAX_BYTES, &err);
		MUST(lseek(copy_fd, 0, SEEK_END) <= MAX_BYTES);
		MUST(lseek(copy_fd, 0, SEEK_SET) == 0);
		if (r >= 0)
			r = image_archive_open(copy_fd, NULL, &a, &err);
	} else if (r == 0) {
		r = image_archive_open(fd, NULL, &a, &err);
	}
	must_be_told(r, err);
	if (r >= 0)
		read_images(a);
	return 0;
}
