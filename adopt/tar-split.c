#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adopt/tar-split.h"
#include "lib/base64.h"
#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/inflate.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"

#define TYPE_FILE    1
#define TYPE_SEGMENT 2

#define COPY_BYTES (64u << 10)
#define CRC_BYTES  8

struct split {
	int tree_fd;
	struct imgd_sink *out;
	struct strbuf line; /* what came of the current one */
	uint64_t n_lines;
	uint64_t n_bytes; /* written */
	char buf[COPY_BYTES];
};

static int
put(struct split *s, const void *data, size_t len, struct imgd_error **err)
{
	int r = s->out->write(s->out->ctx, data, len, err);

	if (r >= 0)
		s->n_bytes += len;
	return r;
}

/* ---- the entries ---- */

static int
put_segment(struct split *s, struct json_object *o, struct imgd_error **err)
{
	cleanup_free void *raw = NULL;
	const char *payload;
	size_t len;
	int r;

	r = json_get_str(o, "payload", &payload, err);
	if (r >= 0)
		r = base64_decode(payload != NULL ? payload : "", &raw, &len,
		    err);
	return r < 0 ? r : put(s, raw, len, err);
}

/* A name that is no UTF-8 is in "name_raw", in base64. */
static int
entry_name(struct json_object *o, char **ret, struct imgd_error **err)
{
	cleanup_free void *bytes = NULL;
	const char *name, *raw;
	size_t len;
	int r;

	r = json_get_str(o, "name", &name, err);
	if (r >= 0)
		r = json_get_str(o, "name_raw", &raw, err);
	if (r < 0)
		return r;
	if (name == NULL && raw != NULL) {
		r = base64_decode(raw, &bytes, &len, err);
		if (r < 0)
			return r;
	} else {
		len = name != NULL ? strlen(name) : 0;
		bytes = strdup(name != NULL ? name : "");
		if (bytes == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (len == 0 || len >= LIMIT_PATH_BYTES || strlen(bytes) != len)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a file without a name");
	*ret = take_ptr(&bytes);
	return 0;
}

/*
 * The file of that name in the tree.  A layer may say bin/x where /bin is a
 * link to usr/bin: the engine that unpacked it has followed that link inside
 * the tree.
 */
static int
open_file(int tree_fd, const char *name, struct stat *st,
    struct imgd_error **err)
{
	cleanup_close int fd = beneath_open_in_root(tree_fd, name);

	if (fd < 0 || fstat(fd, st) < 0) {
		int e = fd < 0 ? -fd : errno;
		bool is_gone = e == ENOENT || e == ENOTDIR || e == ELOOP;

		return imgd_error_set(err, is_gone ? EUCLEAN : e,
		    "file %s: %s", name, strerror(e));
	}
	if (!S_ISREG(st->st_mode))
		return imgd_error_set(err, EUCLEAN,
		    "file %s: it is no regular file any more", name);
	return take_fd(&fd);
}

static int
copy_file(struct split *s, int fd, const char *name, uint64_t size,
    uint64_t *ret_crc, struct imgd_error **err)
{
	uint64_t crc = 0;
	int r;

	while (size > 0) {
		size_t want = size < COPY_BYTES ? (size_t)size : COPY_BYTES;
		ssize_t n = read(fd, s->buf, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "file %s: %s", name,
			    strerror(errno));
		if (n == 0)
			return imgd_error_set(err, EUCLEAN,
			    "file %s: shorter than its tar-split says", name);
		crc = crc64_iso(crc, s->buf, (size_t)n);
		r = put(s, s->buf, (size_t)n, err);
		if (r < 0)
			return r;
		size -= (uint64_t)n;
	}
	*ret_crc = crc;
	return 0;
}

static int
entry_crc(struct json_object *o, uint64_t *ret, struct imgd_error **err)
{
	cleanup_free void *raw = NULL;
	const char *payload;
	size_t i, len = 0;
	int r;

	r = json_get_str(o, "payload", &payload, err);
	if (r >= 0 && payload != NULL)
		r = base64_decode(payload, &raw, &len, err);
	if (r < 0)
		return r;
	if (len != CRC_BYTES)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a file's checksum has %zu bytes", len);
	*ret = 0;
	for (i = 0; i < CRC_BYTES; i++)
		*ret = *ret << 8 | ((const uint8_t *)raw)[i];
	return 0;
}

static int
put_file(struct split *s, struct json_object *o, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	cleanup_free char *name = NULL;
	uint64_t size = 0, want = 0, crc = 0;
	struct stat st;
	bool has_size;
	int r;

	r = json_get_u64(o, "size", &size, &has_size, err);
	/* Directories, links, whiteouts, empty files: all is in the header. */
	if (r < 0 || !has_size || size == 0)
		return r;
	r = entry_name(o, &name, err);
	if (r >= 0)
		r = entry_crc(o, &want, err);
	if (r < 0)
		return r;
	fd = open_file(s->tree_fd, name, &st, err);
	if (fd < 0)
		return fd;
	if ((uint64_t)st.st_size != size)
		return imgd_error_set(err, EUCLEAN,
		    "file %s: it has %ju bytes, its tar-split says %ju", name,
		    (uintmax_t)st.st_size, (uintmax_t)size);
	r = copy_file(s, fd, name, size, &crc, err);
	if (r < 0)
		return r;
	if (crc != want)
		return imgd_error_set(err, EUCLEAN,
		    "file %s: damaged, its checksum is not its tar-split's",
		    name);
	return 0;
}

static int
put_entry(struct split *s, struct json_object *o, struct imgd_error **err)
{
	uint64_t type;
	int r;

	r = json_get_u64(o, "type", &type, /* ret_found= */ NULL, err);
	if (r < 0)
		return r;
	switch (type) {
	case TYPE_SEGMENT:
		return put_segment(s, o, err);
	case TYPE_FILE:
		return put_file(s, o, err);
	default:
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "unknown type %ju", (uintmax_t)type);
	}
}

/* ---- lines ---- */

static int
take_line(struct split *s, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *o = NULL;
	int r;

	s->n_lines++;
	r = json_get_root(s->line.data, s->line.len, &o, err);
	if (r >= 0)
		r = put_entry(s, o, err);
	strbuf_truncate(&s->line, 0);
	if (r == -IMGD_E_FORMAT || r == -IMGD_E_LIMIT)
		return imgd_error_prefix(err, "tar-split: line %ju",
		    (uintmax_t)s->n_lines);
	return r;
}

static bool
is_blank(const struct strbuf *line)
{
	size_t i;

	for (i = 0; i < line->len; i++)
		if (strchr(" \t\r", line->data[i]) == NULL)
			return false;
	return true;
}

static int
end_line(struct split *s, struct imgd_error **err)
{
	if (s->line.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (!is_blank(&s->line))
		return take_line(s, err);
	if (s->line.len > 0)
		strbuf_truncate(&s->line, 0);
	return 0;
}

/* The inflated list, in pieces. */
static int
take_text(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	const char *p = data, *end = p + len;
	struct split *s = ctx;
	int r = 0;

	while (p < end && r >= 0) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl != NULL ? nl : end) - p);

		if (n > LIMIT_TAR_SPLIT_LINE - s->line.len)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "tar-split: line %ju is longer than %u bytes",
			    (uintmax_t)s->n_lines + 1, LIMIT_TAR_SPLIT_LINE);
		strbuf_append(&s->line, p, n);
		p += n;
		if (nl != NULL) {
			p++;
			r = end_line(s, err);
		}
	}
	return r;
}

static int
read_list(struct split *s, int list_fd, struct imgd_error **err)
{
	struct imgd_sink sink = { sizeof(sink), s, take_text };
	cleanup(inflate_freep) struct inflate *z = NULL;
	cleanup_free char *buf = malloc(COPY_BYTES);
	int r;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = inflate_new(&sink, &z, err);
	while (r >= 0) {
		ssize_t n = read(list_fd, buf, COPY_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "tar-split: %s",
			    strerror(errno));
		if (n == 0)
			break;
		r = inflate_push(z, buf, (size_t)n, err);
	}
	if (r >= 0)
		r = inflate_end(z, err);
	/* What the last line lacks is only its end. */
	return r < 0 ? r : end_line(s, err);
}

int
tar_split_write(int list_fd, int tree_fd, struct imgd_sink *sink,
    uint64_t *ret_bytes, struct imgd_error **err)
{
	struct split *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->tree_fd = tree_fd;
	s->out = sink;
	r = read_list(s, list_fd, err);
	if (r >= 0)
		*ret_bytes = s->n_bytes;
	strbuf_done(&s->line);
	free(s);
	return r;
}
