#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lzma.h>

#include "lib/cleanup.h"
#include "lib/recipe.h"
#include "lib/tar-name.h"
#include "lib/tar-tree.h"
#include "lib/tar.h"

#define BUFFER_SIZE (128u << 10)

struct pack {
	int tree_fd;
	struct imgd_sink *sink;
	struct digest_ctx *digest;
	struct recipe_reader *reader;
	uint64_t left;      /* what may still be written */
	uint64_t crc;       /* of the body being written */
	unsigned char *buf; /* BUFFER_SIZE bytes */
};

static int
emit(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct pack *p = ctx;

	if (len > p->left)
		return imgd_error_set(err, EUCLEAN,
		    "recipe is damaged: it describes more than its length");
	p->left -= len;
	digest_update(p->digest, data, len);
	return p->sink->write(p->sink->ctx, data, len, err);
}

static int
emit_body(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct pack *p = ctx;

	p->crc = lzma_crc64(data, len, p->crc);
	return emit(ctx, data, len, err);
}

/* Failure of a file: its name is what the user needs. */
static int
fail_file(struct imgd_error **err, int code, const char *path,
    const char *what)
{
	return imgd_error_set(err, code, "%s: %s", path, what);
}

/*
 * The path came from a recipe, which may be forged, and the tree from an
 * image: stay below tree_fd, and follow nothing.
 */
static int
open_body(struct pack *p, const char *path, struct imgd_error **err)
{
	char dir[LIMIT_PATH_BYTES + 1];
	const char *base = strrchr(path, '/');
	const size_t dir_len = base == NULL ? 0 : (size_t)(base - path);
	cleanup_close int dir_fd = -EBADF, fd = -EBADF;
	struct stat st;

	memcpy(dir, path, dir_len);
	dir[dir_len] = '\0';
	dir_fd = tree_open(p->tree_fd, dir);
	if (dir_fd >= 0)
		fd = openat(dir_fd, base == NULL ? path : base + 1,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	else
		errno = -dir_fd;
	if (fd < 0 && tree_is_absent(-errno))
		return fail_file(err, EUCLEAN, path, "missing from the tree");
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_file(err, errno, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail_file(err, EUCLEAN, path, "not a regular file");
	return take_fd(&fd);
}

static int
emit_region(struct pack *p, int fd, const char *path, uint64_t at,
    uint64_t len, struct imgd_error **err)
{
	while (len > 0) {
		size_t want = len < BUFFER_SIZE ? (size_t)len : BUFFER_SIZE;
		ssize_t n = pread(fd, p->buf, want, (off_t)at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_file(err, errno, path, strerror(errno));
		if (n == 0)
			return fail_file(err, EUCLEAN, path,
			    "shorter than it was in the layer");
		r = emit_body(p, p->buf, (size_t)n, err);
		if (r < 0)
			return r;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int
pack_body(void *ctx, const char *path, const struct recipe_region *regions,
    size_t n_regions, uint64_t crc, struct imgd_error **err)
{
	struct pack *p = ctx;
	cleanup_close int fd = open_body(p, path, err);
	size_t i;
	int r;

	if (fd < 0)
		return fd;
	p->crc = 0;
	for (i = 0; i < n_regions; i++) {
		r = emit_region(p, fd, path, regions[i].offset, regions[i].len,
		    err);
		if (r < 0)
			return r;
	}
	if (p->crc != crc)
		return fail_file(err, EUCLEAN, path,
		    "content is not what it was in the layer");
	return 0;
}

static int
pack_lost(void *ctx, const char *path, const struct recipe_region *regions,
    size_t n_regions, uint64_t crc, struct imgd_error **err)
{
	struct pack *p = ctx;
	int r;

	p->crc = 0;
	r = recipe_read_lost(p->reader, regions, n_regions, emit_body, p, err);
	if (r < 0)
		return r;
	if (p->crc != crc)
		return fail_file(err, EUCLEAN, path,
		    "recipe is damaged: its saved content");
	return 0;
}

static const struct recipe_ops pack_ops = {
	.raw = emit,
	.body = pack_body,
	.lost = pack_lost,
};

int
tar_pack(int tree_fd, int recipe_fd, struct imgd_sink *sink,
    char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup(recipe_reader_freep) struct recipe_reader *reader = NULL;
	cleanup(digest_freep) struct digest_ctx *digest = NULL;
	cleanup_free unsigned char *buf = malloc(BUFFER_SIZE);
	char diff_id[DIGEST_STR_SIZE];
	struct pack p = { .tree_fd = tree_fd, .sink = sink, .buf = buf };
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if ((r = recipe_reader_new(recipe_fd, &reader, err)) < 0 ||
	    (r = digest_new(&digest, err)) < 0)
		return r;
	p.digest = digest;
	p.left = recipe_tar_bytes(reader);
	p.reader = reader;
	if ((r = recipe_read(reader, &pack_ops, &p, err)) < 0 ||
	    (r = digest_str(digest, diff_id, err)) < 0)
		return r;
	if (p.left > 0)
		return imgd_error_set(err, EUCLEAN,
		    "recipe is damaged: it describes less than its length");
	if (strcmp(diff_id, recipe_diff_id(reader)) != 0)
		return imgd_error_set(err, EUCLEAN,
		    "the tar made has %s, its recipe says %s", diff_id,
		    recipe_diff_id(reader));
	memcpy(ret_diff_id, diff_id, sizeof(diff_id));
	return 0;
}
