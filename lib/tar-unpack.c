/*
 * A layer's tar, read by libarchive and by tar-raw side by side, into a tree
 * and a recipe.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>
#include <lzma.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/recipe.h"
#include "lib/tar-name.h"
#include "lib/tar-raw.h"
#include "lib/tar-writer.h"
#include "lib/tar.h"

#define BUFFER_SIZE (128u << 10)
#define BLOCK       512

struct unpack {
	const struct tar_unpack *params;
	struct archive *archive;
	struct digest_ctx *digest;
	struct recipe_writer *recipe;
	struct tar_raw *raw;
	struct tar_writer *writer;
	unsigned char *buf; /* BUFFER_SIZE bytes */

	uint64_t tar_bytes;
	uint64_t content_bytes;
	uint64_t n_entries;
	bool is_over; /* the source has ended */

	/* Why the read callback failed; libarchive cannot carry it. */
	int read_result;
	struct imgd_error *read_err;

	/* of the file being written */
	uint64_t crc;
	uint64_t stored;
	struct recipe_region *regions; /* owned */
	size_t n_regions;
	size_t regions_size;
};

static void
unpack_done(struct unpack *u)
{
	if (u->archive != NULL)
		(void)archive_read_free(u->archive);
	tar_writer_free(u->writer);
	tar_raw_free(u->raw);
	recipe_writer_free(u->recipe);
	digest_free(u->digest);
	imgd_error_free(u->read_err);
	free(u->regions);
	free(u->buf);
}

/* Read a piece of the stream: its length, 0 at the end. */
static int64_t
pull(struct unpack *u, struct imgd_error **err)
{
	int64_t n;
	int r;

	if (u->is_over)
		return 0;
	n = u->params->source->read(u->params->source->ctx, u->buf,
	    BUFFER_SIZE, err);
	if (n == 0)
		u->is_over = true;
	if (n <= 0)
		return n;
	u->tar_bytes += (uint64_t)n;
	digest_update(u->digest, u->buf, (size_t)n);
	r = tar_raw_feed(u->raw, u->buf, (size_t)n, err);
	return r < 0 ? r : n;
}

/* libarchive's read callback. */
static la_ssize_t
read_callback(struct archive *a, void *ctx, const void **ret_buf)
{
	struct unpack *u = ctx;
	const bool was_over = u->is_over;
	int64_t n;

	*ret_buf = u->buf;
	n = pull(u, &u->read_err);
	if (n < 0) {
		u->read_result = (int)n;
		archive_set_error(a, EIO, "read failed");
		return -1;
	}
	/* Some writers leave the last padding out.  Where it is more than
	 * padding that is missing, tar_raw notices. */
	if (n == 0 && !was_over && u->tar_bytes % BLOCK != 0) {
		n = (int64_t)(BLOCK - u->tar_bytes % BLOCK);
		memset(u->buf, 0, (size_t)n);
	}
	return (la_ssize_t)n;
}

static int
raw_sink(void *ctx, const void *data, size_t len, struct imgd_error **err)
{
	struct unpack *u = ctx;

	return recipe_raw(u->recipe, data, len, err);
}

/* libarchive has failed: hand on the callback's error, or its own. */
static int
archive_fail(struct unpack *u, struct imgd_error **err)
{
	const char *text = archive_error_string(u->archive);

	if (u->read_result < 0) {
		if (err != NULL)
			*err = take_ptr(&u->read_err);
		return u->read_result;
	}
	if (archive_errno(u->archive) == ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return imgd_error_set(err, IMGD_E_FORMAT, "malformed tar: %s",
	    text == NULL ? "it cannot be read" : text);
}

static int
disagree(struct imgd_error **err, const char *what)
{
	return imgd_error_set(err, IMGD_E_FORMAT,
	    "tar readers disagree on its %s", what);
}

/* Equal but for slashes at the end. */
static bool
same_name(const char *a, const char *b, size_t b_len)
{
	size_t a_len = strlen(a);

	if (strlen(b) != b_len)
		return false;
	while (a_len > 0 && a[a_len - 1] == '/')
		a_len--;
	while (b_len > 0 && b[b_len - 1] == '/')
		b_len--;
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* Refuse what two readers understand in two ways: one of them may be the one
 * that looked the layer over. */
static int
check_agreement(struct unpack *u, struct archive_entry *entry,
    const struct tar_raw_entry *raw, struct imgd_error **err)
{
	const char *name = archive_entry_pathname(entry);
	const char *hard = archive_entry_hardlink(entry);
	const char *soft = archive_entry_symlink(entry);
	const char *link = raw->type == '1' ? hard : soft;

	if (archive_read_header_position(u->archive) !=
	    (int64_t)raw->position)
		return disagree(err, "place");
	if (!same_name(name == NULL ? "" : name, raw->name, raw->name_len))
		return disagree(err, "name");
	if ((raw->type != '1' && hard != NULL) ||
	    (raw->type != '2' && soft != NULL))
		return disagree(err, "type");
	/* XXX until libarchive > 3.6.2: it has no link at all where only a
	 * pax header gives it, as Go writes names without ASCII. */
	if ((raw->type == '1' || raw->type == '2') &&
	    (link == NULL ?
		    !raw->is_link_pax :
		    !same_name(link, raw->linkname, raw->linkname_len)))
		return disagree(err, "link");
	if (strlen(raw->linkname) != raw->linkname_len)
		return disagree(err, "link");
	if (archive_entry_size(entry) != (int64_t)raw->size)
		return disagree(err, "size");
	return 0;
}

/* Note a piece of content for the recipe. */
static int
add_region(struct unpack *u, uint64_t offset, size_t len,
    struct imgd_error **err)
{
	struct recipe_region *last =
	    u->n_regions == 0 ? NULL : &u->regions[u->n_regions - 1];

	if (last != NULL && last->offset + last->len == offset) {
		last->len += len;
		return 0;
	}
	if (u->n_regions == LIMIT_SPARSE_ENTRIES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d parts of a sparse file",
		    LIMIT_SPARSE_ENTRIES);
	if (u->n_regions == u->regions_size) {
		size_t n = u->regions_size == 0 ? 16 : 2 * u->regions_size;

		last = reallocarray(u->regions, n, sizeof(*last));
		if (last == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		u->regions = last;
		u->regions_size = n;
	}
	u->regions[u->n_regions++] =
	    (struct recipe_region){ .offset = offset, .len = len };
	return 0;
}

static int
copy_body(struct unpack *u, struct imgd_error **err)
{
	u->crc = u->stored = 0;
	u->n_regions = 0;
	for (;;) {
		const void *data;
		size_t len;
		la_int64_t offset;
		int r = archive_read_data_block(u->archive, &data, &len,
		    &offset);

		if (r == ARCHIVE_EOF)
			return 0;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return archive_fail(u, err);
		if (len == 0)
			continue;
		if (offset < 0)
			return disagree(err, "sparse map");
		if ((r = tar_writer_data(u->writer, data, len,
			 (uint64_t)offset, err)) < 0 ||
		    (r = add_region(u, (uint64_t)offset, len, err)) < 0)
			return r;
		u->crc = lzma_crc64(data, len, u->crc);
		u->stored += len;
	}
}

static int
unpack_entry(struct unpack *u, struct archive_entry *entry,
    const struct tar_raw_entry *raw, struct imgd_error **err)
{
	int r, body;

	r = check_agreement(u, entry, raw, err);
	if (r < 0)
		return r;
	body = tar_writer_begin(u->writer, entry, raw->type, raw->linkname,
	    err);
	if (body < 0)
		return body;
	if (body != TAR_BODY_WRITE)
		tar_raw_keep_body(u->raw);
	if (body == TAR_BODY_NONE)
		return 0;
	if ((r = copy_body(u, err)) < 0 ||
	    (r = tar_writer_end(u->writer, err)) < 0)
		return r;
	if (u->stored != raw->stored)
		return disagree(err, "content");
	if (raw->type != '1' &&
	    __builtin_add_overflow(u->content_bytes, raw->size,
		&u->content_bytes))
		return imgd_error_set(err, IMGD_E_LIMIT, "its size");
	if (body == TAR_BODY_ASIDE || u->stored == 0)
		return 0;
	return recipe_body(u->recipe, tar_writer_path(u->writer), u->regions,
	    u->n_regions, u->crc, err);
}

/* One entry: 1, or 0 at the end of the archive. */
static int
next_entry(struct unpack *u, struct imgd_error **err)
{
	struct archive_entry *entry;
	struct tar_raw_entry raw;
	uint64_t link_size = 0;
	int r;

	/* libarchive leaves out attributes that it has no memory for, and says
	 * nothing. */
	errno = 0;
	r = archive_read_next_header(u->archive, &entry);
	if (r >= ARCHIVE_WARN && errno == ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r == ARCHIVE_EOF && u->read_result == 0) {
		r = tar_raw_next(u->raw, link_size, &raw, err);
		return r > 0 ? disagree(err, "end") : r;
	}
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return archive_fail(u, err);
	if (++u->n_entries > LIMIT_LAYER_ENTRIES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d entries", LIMIT_LAYER_ENTRIES);
	if (archive_entry_size(entry) > 0)
		link_size = (uint64_t)archive_entry_size(entry);
	r = tar_raw_next(u->raw, link_size, &raw, err);
	if (r == 0)
		r = disagree(err, "end");
	if (r > 0)
		r = unpack_entry(u, entry, &raw, err);
	if (r < 0) {
		const char *name = archive_entry_pathname(entry);

		(void)imgd_error_prefix(err, "entry \"%s\"",
		    name == NULL ? "" : name);
		return r;
	}
	return 1;
}

/* Only tars, and only as they are: what comes is decompressed. */
static int
open_archive(struct unpack *u, struct imgd_error **err)
{
	u->archive = archive_read_new();
	if (u->archive == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (archive_read_support_format_tar(u->archive) != ARCHIVE_OK ||
	    archive_read_support_format_empty(u->archive) != ARCHIVE_OK ||
	    archive_read_open(u->archive, u, NULL, read_callback, NULL) !=
		ARCHIVE_OK)
		return archive_fail(u, err);
	return 0;
}

static int
unpack_all(struct unpack *u, struct tar_result *ret, struct imgd_error **err)
{
	struct tar_result result = { .n_entries = 0 };
	int64_t n;
	int r;

	if ((u->buf = malloc(BUFFER_SIZE)) == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if ((r = digest_new(&u->digest, err)) < 0 ||
	    (r = recipe_writer_new(u->params->recipe_fd, &u->recipe, err)) <
		0 ||
	    (r = tar_raw_new(raw_sink, u, &u->raw, err)) < 0 ||
	    (r = tar_writer_new(u->params, u->recipe, &u->writer, err)) < 0 ||
	    (r = open_archive(u, err)) < 0)
		return r;
	while ((r = next_entry(u, err)) > 0)
		;
	if (r < 0 || (r = tar_raw_finish(u->raw, err)) < 0)
		return r;
	/* The digest is over all of the stream, also behind the end marker. */
	while ((n = pull(u, err)) > 0)
		;
	if (n < 0)
		return (int)n;
	if ((r = tar_writer_finish(u->writer, err)) < 0 ||
	    (r = digest_str(u->digest, result.diff_id, err)) < 0 ||
	    (r = recipe_end(u->recipe, u->tar_bytes, result.diff_id, err)) < 0)
		return r;
	result.tar_bytes = u->tar_bytes;
	result.content_bytes = u->content_bytes;
	result.n_entries = u->n_entries;
	*ret = result;
	return 0;
}

int
tar_unpack(const struct tar_unpack *params, struct tar_result *ret,
    struct imgd_error **err)
{
	struct unpack u = { .params = params };
	int r = unpack_all(&u, ret, err);

	unpack_done(&u);
	return r;
}
