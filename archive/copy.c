/* Archives and layers as bytes: out of their compression, to where they go. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive-impl.h"
#include "lib/fs-at.h"
#include "lib/inflate.h"
#include "lib/strbuf.h"

#define BUFFER_BYTES (64u << 10)

int
image_archive_is_stream(int fd, struct imgd_error **err)
{
	unsigned char head[INFLATE_HEAD_BYTES];
	struct stat st;
	off_t start;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return 0;
	start = lseek(fd, 0, SEEK_CUR);
	if (!S_ISREG(st.st_mode) || start < 0)
		return 1;
	n = pread(fd, head, sizeof(head), start);
	if (n < 0)
		return imgd_error_set(err, errno, "read: %s",
		    strerror(errno));
	return inflate_is_compressed(head, (size_t)n);
}

int
archive_copy_write(struct archive_copy *c, const void *data, uint64_t len,
    struct imgd_error **err)
{
	char buf[32];

	if (len > c->max_bytes - c->n_bytes)
		return imgd_error_set(err, ENOSPC,
		    "no space for the archive: only %s of the store's disk "
		    "can be used for it",
		    str_size(c->max_bytes, buf));
	c->n_bytes += len;
	return fs_write_all(c->fd, data, (size_t)len, err);
}

int
archive_pass_all(int fd, struct inflate *z,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_bytes, struct imgd_error **err)
{
	cleanup_free char *buf = malloc(BUFFER_BYTES);
	int r = 0;

	*ret_bytes = 0;
	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	while (r >= 0) {
		ssize_t n = read(fd, buf, BUFFER_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "read: %s",
			    strerror(errno));
		if (n == 0)
			return inflate_end(z, err);
		*ret_bytes += (uint64_t)n;
		r = inflate_push(z, buf, (size_t)n, err);
		if (progress != NULL)
			progress(ctx, *ret_bytes);
	}
	return r;
}

int
image_archive_pass(int fd, struct imgd_sink *sink,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_bytes, uint64_t *ret_tar_bytes, struct imgd_error **err)
{
	cleanup(inflate_freep) struct inflate *z = NULL;
	int r;

	r = inflate_new(sink, &z, err);
	if (r >= 0)
		r = archive_pass_all(fd, z, progress, ctx, ret_bytes, err);
	if (r < 0)
		return r;
	*ret_tar_bytes = inflate_bytes(z);
	return *ret_tar_bytes > 0
	    ? 0
	    : imgd_error_set(err, IMGD_E_FORMAT, "there is nothing in it");
}

int
archive_layer_write(const struct found_layer *l, archive_read_fn *read,
    void *read_ctx, struct imgd_sink *sink,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_blob_bytes, uint64_t *ret_tar_bytes,
    struct imgd_error **err)
{
	cleanup(digest_freep) struct digest_ctx *digest = NULL;
	cleanup(inflate_freep) struct inflate *z = NULL;
	cleanup_free char *buf = malloc(BUFFER_BYTES);
	char got[DIGEST_STR_SIZE] = "";
	uint64_t pos = 0;
	int64_t n = 1;
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = inflate_new(sink, &z, err);
	if (r >= 0 && l->blob_digest[0] != '\0')
		r = digest_new(&digest, err);
	while (r >= 0 && n > 0) {
		n = read(read_ctx, pos, buf, BUFFER_BYTES, err);
		if (n < 0)
			return (int)n;
		pos += (uint64_t)n;
		if (digest != NULL)
			digest_update(digest, buf, (size_t)n);
		r = inflate_push(z, buf, (size_t)n, err);
		progress(ctx, pos);
	}
	if (r >= 0)
		r = inflate_end(z, err);
	if (r >= 0 && digest != NULL)
		r = digest_str(digest, got, err);
	if (r >= 0 && strcmp(got, l->blob_digest) != 0)
		r = imgd_error_set(err, IMGD_E_DIGEST,
		    "digest mismatch: expected %s, got %s", l->blob_digest,
		    got);
	*ret_blob_bytes = pos;
	*ret_tar_bytes = inflate_bytes(z);
	return r;
}

static int64_t
file_read(void *ctx, uint64_t pos, void *buf, size_t len,
    struct imgd_error **err)
{
	return member_pread(ctx, pos, buf, len, err);
}

int
found_layer_write(const struct found_layer *l, struct imgd_sink *sink,
    void (*progress)(void *ctx, uint64_t bytes), void *ctx,
    uint64_t *ret_blob_bytes, uint64_t *ret_tar_bytes,
    struct imgd_error **err)
{
	struct member_file file = l->file;

	return archive_layer_write(l, file_read, &file, sink, progress, ctx,
	    ret_blob_bytes, ret_tar_bytes, err);
}
