#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "archive/members.h"
#include "lib/beneath.h"
#include "lib/limits.h"

#define MAX_LINKS  16
/* Headers are read so; larger would be read in vain. */
#define READ_BYTES (8u << 10)
#define BLOCK      512

void
members_done(struct members *m)
{
	size_t i;

	for (i = 0; i < m->n; i++) {
		free(m->items[i].name);
		free(m->items[i].link);
	}
	free(m->items);
	*m = (struct members)MEMBERS_INIT;
}

/* ---- names ---- */

/*
 * The clean form of name as seen from the directory dir, which is clean (""
 * is the top).  *ret is malloc'ed; "" for the top.
 */
static int
clean_name(const char *dir, const char *name, char **ret,
    struct imgd_error **err)
{
	size_t dir_len = strlen(dir), name_len = strlen(name), len = dir_len;
	char *out;

	if (dir_len + name_len > LIMIT_PATH_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "\"%.80s…\": a name longer than %d bytes", name,
		    LIMIT_PATH_BYTES);
	out = malloc(dir_len + name_len + 2);
	if (out == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	memcpy(out, dir, dir_len);
	while (*name != '\0') {
		size_t n = strcspn(name, "/");

		if (n == 2 && memcmp(name, "..", 2) == 0) {
			if (len == 0) {
				free(out);
				return imgd_error_set(err, IMGD_E_FORMAT,
				    "it leads out of the archive");
			}
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && *name == '.')) {
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, name, n);
			len += n;
		}
		name += n;
		name += strspn(name, "/");
	}
	out[len] = '\0';
	*ret = out;
	return 0;
}

/* ---- a tar ---- */

struct member_reader {
	struct members *members;
	struct member_source source;
	struct archive *archive;
	int n_entries;
	int result; /* why the callback failed; libarchive cannot carry it */
	struct imgd_error *why;
	size_t buf_bytes;
	unsigned char buf[];
};

static la_ssize_t
read_callback(struct archive *a, void *ctx, const void **ret_buf)
{
	struct member_reader *r = ctx;
	int64_t n = r->source.read(r->source.ctx, r->buf, r->buf_bytes,
	    &r->why);

	if (n < 0) {
		r->result = (int)n;
		archive_set_error(a, EIO, "read failed");
		return -1;
	}
	*ret_buf = r->buf;
	return n;
}

static la_int64_t
skip_callback(struct archive *a, void *ctx, la_int64_t len)
{
	const struct member_reader *r = ctx;

	(void)a;
	return len < 0 ? 0 : r->source.skip(r->source.ctx, len);
}

static int
archive_fail(struct member_reader *r, struct imgd_error **err)
{
	const char *text = archive_error_string(r->archive);

	if (r->result < 0)
		return imgd_error_set(err, -r->result, "%s",
		    imgd_error_msg(r->why));
	if (archive_errno(r->archive) == ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return imgd_error_set(err, IMGD_E_FORMAT, "not a whole tar: %s",
	    text == NULL ? "it cannot be read" : text);
}

static int
grow(struct members *m, struct member **ret, struct imgd_error **err)
{
	struct member *items = m->items;

	/* Doubled when it is full: at powers of two. */
	if ((m->n & (m->n - 1)) == 0) {
		items = reallocarray(items, m->n > 0 ? 2 * m->n : 1,
		    sizeof(*items));
		if (items == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		m->items = items;
	}
	items[m->n] = (struct member) { .name = NULL };
	*ret = &items[m->n++];
	return 0;
}

/* What a link stands for: a hard one counts from the top, a symbolic one from
 * where it is. */
static int
take_link(struct member *to, const char *hard, const char *soft,
    struct imgd_error **err)
{
	cleanup_free char *dir = NULL;
	const char *slash = strrchr(to->name, '/');

	if (soft != NULL && *soft == '/')
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "it leads out of the archive");
	dir = strndup(to->name,
	    hard == NULL && slash != NULL ? (size_t)(slash - to->name) : 0);
	if (dir == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return clean_name(dir, hard != NULL ? hard : soft, &to->link, err);
}

static int
take_content(struct member_reader *r, struct member *to,
    struct archive_entry *entry, struct imgd_error **err)
{
	/* All that was read of the tar so far is headers up to here. */
	int64_t at = archive_filter_bytes(r->archive, 0);
	int64_t size = archive_entry_size(entry);

	if (archive_entry_sparse_count(entry) > 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a sparse file in an image archive");
	if (at < 0 || at % BLOCK != 0 || size < 0 ||
	    (uint64_t)at > r->source.max_bytes ||
	    (uint64_t)size > r->source.max_bytes - (uint64_t)at)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the archive is cut short");
	to->offset = r->source.start + (uint64_t)at;
	to->size = (uint64_t)size;
	return 0;
}

/* Returns 1 if it is a member. */
static int
take_entry(struct member_reader *r, struct archive_entry *entry,
    struct imgd_error **err)
{
	const char *name = archive_entry_pathname(entry);
	const char *hard = archive_entry_hardlink(entry);
	const char *soft = archive_entry_symlink(entry);
	struct members *m = r->members;
	cleanup_free char *clean = NULL;
	struct member *to = NULL;
	int res;

	res = clean_name("", name != NULL ? name : "", &clean, err);
	/* Directories follow from names; what else there may be is no part
	 * of an image. */
	if (res >= 0 && hard == NULL && soft == NULL &&
	    (archive_entry_filetype(entry) != AE_IFREG || *clean == '\0'))
		return 0;
	if (res >= 0) {
		m->name_bytes += strlen(clean);
		if (m->name_bytes > LIMIT_ARCHIVE_NAMES_BYTES)
			res = imgd_error_set(err, IMGD_E_LIMIT,
			    "names of more than %u bytes",
			    LIMIT_ARCHIVE_NAMES_BYTES);
	}
	if (res >= 0)
		res = grow(m, &to, err);
	if (res >= 0) {
		to->name = take_ptr(&clean);
		res = hard != NULL || soft != NULL
		    ? take_link(to, hard, soft, err)
		    : take_content(r, to, entry, err);
	}
	return res < 0 ? imgd_error_prefix(err, "member \"%.200s\"",
			     name != NULL ? name : "")
		       : 1;
}

void
member_reader_free(struct member_reader *r)
{
	if (r == NULL)
		return;
	(void)archive_read_free(r->archive);
	imgd_error_free(r->why);
	free(r);
}

int
member_reader_new(const struct member_source *source, struct members *to,
    struct member_reader **ret, struct imgd_error **err)
{
	cleanup(member_reader_freep) struct member_reader *r =
	    calloc(1, sizeof(*r) + source->read_bytes);

	if (r == NULL || (r->archive = archive_read_new()) == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r->source = *source;
	r->members = to;
	r->buf_bytes = source->read_bytes;
	if (archive_read_support_format_tar(r->archive) != ARCHIVE_OK ||
	    archive_read_set_read_callback(r->archive, read_callback) !=
		ARCHIVE_OK ||
	    (source->skip != NULL &&
		archive_read_set_skip_callback(r->archive, skip_callback) !=
		    ARCHIVE_OK) ||
	    archive_read_set_callback_data(r->archive, r) != ARCHIVE_OK ||
	    archive_read_open1(r->archive) != ARCHIVE_OK)
		return archive_fail(r, err);
	*ret = take_ptr(&r);
	return 0;
}

int
member_reader_next(struct member_reader *r, struct member *ret,
    struct imgd_error **err)
{
	struct archive_entry *entry;
	int res;

	for (;;) {
		res = archive_read_next_header(r->archive, &entry);
		if (res == ARCHIVE_EOF)
			return 0;
		if (res != ARCHIVE_OK && res != ARCHIVE_WARN)
			return archive_fail(r, err);
		if (++r->n_entries > LIMIT_ARCHIVE_MEMBERS)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "more than %d members", LIMIT_ARCHIVE_MEMBERS);
		res = take_entry(r, entry, err);
		if (res > 0)
			*ret = r->members->items[r->members->n - 1];
		if (res != 0)
			return res;
	}
}

int64_t
member_reader_data(struct member_reader *r, void *buf, size_t len,
    struct imgd_error **err)
{
	la_ssize_t n = archive_read_data(r->archive, buf, len);

	return n < 0 ? archive_fail(r, err) : n;
}

static int
compare(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->name, y->name);
}

void
members_sort(struct members *m)
{
	if (m->n > 1)
		qsort(m->items, m->n, sizeof(*m->items), compare);
}

int
members_check(struct members *m, struct imgd_error **err)
{
	size_t i;

	members_sort(m);
	/* Readers disagree on which of them counts. */
	for (i = 1; i < m->n; i++)
		if (strcmp(m->items[i - 1].name, m->items[i].name) == 0)
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "member \"%.200s\" is there twice",
			    m->items[i].name);
	return 0;
}

/* ---- one in a file ---- */

struct place {
	int fd;
	uint64_t pos, end;
};

static int64_t
place_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct place *p = ctx;
	ssize_t n;

	if (len > p->end - p->pos)
		len = (size_t)(p->end - p->pos);
	do
		n = pread(p->fd, buf, len, (off_t)p->pos);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return imgd_error_set(err, errno, "read: %s",
		    strerror(errno));
	p->pos += (uint64_t)n;
	return n;
}

static int64_t
place_skip(void *ctx, int64_t len)
{
	struct place *p = ctx;

	if ((uint64_t)len > p->end - p->pos)
		len = (int64_t)(p->end - p->pos);
	p->pos += (uint64_t)len;
	return len;
}

static int
read_file(struct members *m, off_t start, off_t end, struct imgd_error **err)
{
	struct place place = { m->fd, (uint64_t)start, (uint64_t)end };
	const struct member_source source = { .read = place_read,
		.skip = place_skip, .ctx = &place,
		.read_bytes = READ_BYTES, .start = (uint64_t)start,
		.max_bytes = (uint64_t)(end - start) };
	cleanup(member_reader_freep) struct member_reader *reader = NULL;
	struct member member;
	int r = member_reader_new(&source, m, &reader, err);

	if (r < 0)
		return r;
	do
		r = member_reader_next(reader, &member, err);
	while (r > 0);
	return r < 0 ? r : members_check(m, err);
}

int
members_open(int fd, struct members *ret, struct imgd_error **err)
{
	struct members m = { .fd = fd };
	struct stat st;
	off_t start;
	int r;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	m.is_dir = S_ISDIR(st.st_mode);
	if (m.is_dir) {
		*ret = m;
		return 0;
	}
	start = lseek(fd, 0, SEEK_CUR);
	if (start < 0 || start >= st.st_size)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the archive is empty");
	r = read_file(&m, start, st.st_size, err);
	if (r < 0) {
		members_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* ---- files ---- */

static const struct member *
lookup(const struct members *m, const char *name)
{
	struct member key = { .name = (char *)(uintptr_t)name };

	if (m->n == 0 || (m->is_partial && strcmp(name, m->coming) == 0))
		return NULL;
	return bsearch(&key, m->items, m->n, sizeof(*m->items), compare);
}

static int
find_in_dir(const struct members *m, const char *name,
    struct member_file *ret, struct imgd_error **err)
{
	cleanup_close int fd = beneath_open(m->fd, name, 0);
	struct stat st;

	if (fd < 0)
		return imgd_error_set(err, -fd, "%.200s: %s", name,
		    strerror(-fd));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "%.200s: not a regular file", name);
	*ret = (struct member_file) { .fd = take_fd(&fd), .is_own = true,
		.size = (uint64_t)st.st_size };
	return 0;
}

int
members_find(const struct members *m, const char *name,
    struct member_file *ret, struct imgd_error **err)
{
	cleanup_free char *clean = NULL;
	const struct member *found;
	const char *want;
	int r, n_links;

	if (*name == '/')
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    "it leads out of the archive");
	else
		r = clean_name("", name, &clean, err);
	if (r < 0)
		return imgd_error_prefix(err, "\"%.200s\"", name);
	if (m->is_dir)
		return find_in_dir(m, clean, ret, err);
	want = clean;
	found = lookup(m, want);
	for (n_links = 0; found != NULL && found->link != NULL; n_links++) {
		if (n_links == MAX_LINKS)
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "\"%.200s\": too many links", name);
		want = found->link;
		found = lookup(m, want);
	}
	if (found == NULL && m->is_partial) {
		*ret = (struct member_file)MEMBER_FILE_INIT;
		ret->to_come = strdup(want);
		return ret->to_come != NULL
		    ? 0
		    : imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (found == NULL)
		return imgd_error_set(err, ENOENT,
		    "\"%.200s\" is not in the archive", name);
	*ret = (struct member_file) { .fd = m->fd, .offset = found->offset,
		.size = found->size };
	return 0;
}

void
member_file_done(struct member_file *f)
{
	if (f->is_own)
		close_fd(&f->fd);
	free(f->to_come);
	*f = (struct member_file)MEMBER_FILE_INIT;
}

int64_t
member_pread(const struct member_file *f, uint64_t pos, void *buf, size_t len,
    struct imgd_error **err)
{
	uint64_t left = pos < f->size ? f->size - pos : 0;
	ssize_t n;

	if (len > left)
		len = (size_t)left;
	do
		n = pread(f->fd, buf, len, (off_t)(f->offset + pos));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return imgd_error_set(err, errno, "read: %s",
		    strerror(errno));
	if (n == 0 && len > 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the archive became shorter while it was read");
	return n;
}

int
members_read(const struct members *m, const char *name, size_t max,
    char **ret, size_t *ret_len, struct imgd_error **err)
{
	cleanup(member_file_done) struct member_file f = MEMBER_FILE_INIT;
	cleanup_free char *data = NULL;
	uint64_t pos = 0;
	int r = members_find(m, name, &f, err);

	if (r < 0)
		return r;
	if (f.to_come != NULL)
		return imgd_error_set(err, EAGAIN,
		    "\"%.200s\" is still to come", name);
	if (f.size > max)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "%.200s: longer than %zu bytes", name, max);
	data = malloc((size_t)f.size + 1);
	if (data == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	while (pos < f.size) {
		int64_t n = member_pread(&f, pos, data + pos,
		    (size_t)(f.size - pos), err);

		if (n < 0)
			return imgd_error_prefix(err, "%.200s", name);
		pos += (uint64_t)n;
	}
	data[f.size] = '\0';
	*ret_len = (size_t)f.size;
	*ret = take_ptr(&data);
	return 0;
}
