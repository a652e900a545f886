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

struct reader {
	struct members *members;
	struct archive *archive;
	uint64_t start, pos, end; /* in the file */
	int result; /* why the callback failed; libarchive cannot carry it */
	unsigned char buf[READ_BYTES];
};

static la_ssize_t
read_callback(struct archive *a, void *ctx, const void **ret_buf)
{
	struct reader *r = ctx;
	size_t want = r->end - r->pos < READ_BYTES ? (size_t)(r->end - r->pos)
						   : READ_BYTES;
	ssize_t n;

	do
		n = pread(r->members->fd, r->buf, want, (off_t)r->pos);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		r->result = -errno;
		archive_set_error(a, errno, "read failed");
		return -1;
	}
	*ret_buf = r->buf;
	r->pos += (uint64_t)n;
	return n;
}

static la_int64_t
skip_callback(struct archive *a, void *ctx, la_int64_t len)
{
	struct reader *r = ctx;

	(void)a;
	if (len < 0)
		return 0;
	if ((uint64_t)len > r->end - r->pos)
		len = (la_int64_t)(r->end - r->pos);
	r->pos += (uint64_t)len;
	return len;
}

static int
archive_fail(struct reader *r, struct imgd_error **err)
{
	const char *text = archive_error_string(r->archive);

	if (r->result < 0)
		return imgd_error_set(err, -r->result, "read: %s",
		    strerror(-r->result));
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
take_content(struct reader *r, struct member *to, struct archive_entry *entry,
    struct imgd_error **err)
{
	/* All that was read of the file so far is headers up to here. */
	int64_t at = archive_filter_bytes(r->archive, 0);
	int64_t size = archive_entry_size(entry);

	if (archive_entry_sparse_count(entry) > 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a sparse file in an image archive");
	if (at < 0 || at % BLOCK != 0 || size < 0 ||
	    (uint64_t)at > r->end - r->start ||
	    (uint64_t)size > r->end - r->start - (uint64_t)at)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the archive is cut short");
	to->offset = r->start + (uint64_t)at;
	to->size = (uint64_t)size;
	return 0;
}

static int
take_entry(struct reader *r, struct archive_entry *entry,
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
		       : 0;
}

static int
compare(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int
read_tar(struct reader *r, struct imgd_error **err)
{
	struct members *m = r->members;
	struct archive_entry *entry;
	size_t i;
	int res, n = 0;

	if (archive_read_support_format_tar(r->archive) != ARCHIVE_OK ||
	    archive_read_set_read_callback(r->archive, read_callback) !=
		ARCHIVE_OK ||
	    archive_read_set_skip_callback(r->archive, skip_callback) !=
		ARCHIVE_OK ||
	    archive_read_set_callback_data(r->archive, r) != ARCHIVE_OK ||
	    archive_read_open1(r->archive) != ARCHIVE_OK)
		return archive_fail(r, err);
	for (;;) {
		res = archive_read_next_header(r->archive, &entry);
		if (res == ARCHIVE_EOF)
			break;
		if (res != ARCHIVE_OK && res != ARCHIVE_WARN)
			return archive_fail(r, err);
		if (++n > LIMIT_ARCHIVE_MEMBERS)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "more than %d members", LIMIT_ARCHIVE_MEMBERS);
		res = take_entry(r, entry, err);
		if (res < 0)
			return res;
	}
	if (m->n > 1)
		qsort(m->items, m->n, sizeof(*m->items), compare);
	/* Readers disagree on which of them counts. */
	for (i = 1; i < m->n; i++)
		if (strcmp(m->items[i - 1].name, m->items[i].name) == 0)
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "member \"%.200s\" is there twice",
			    m->items[i].name);
	return 0;
}

int
members_open(int fd, struct members *ret, struct imgd_error **err)
{
	struct members m = { .fd = fd };
	cleanup_free struct reader *r = NULL;
	struct stat st;
	off_t start;
	int res;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	m.is_dir = S_ISDIR(st.st_mode);
	if (m.is_dir) {
		*ret = m;
		return 0;
	}
	start = lseek(fd, 0, SEEK_CUR);
	r = calloc(1, sizeof(*r));
	if (r == NULL || start < 0 || start >= st.st_size)
		return r == NULL
		    ? imgd_error_set(err, ENOMEM, "out of memory")
		    : imgd_error_set(err, IMGD_E_FORMAT,
			  "the archive is empty");
	r->members = &m;
	r->start = r->pos = (uint64_t)start;
	r->end = (uint64_t)st.st_size;
	r->archive = archive_read_new();
	if (r->archive == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	res = read_tar(r, err);
	(void)archive_read_free(r->archive);
	if (res < 0) {
		members_done(&m);
		return res;
	}
	*ret = m;
	return 0;
}

/* ---- files ---- */

static const struct member *
lookup(const struct members *m, const char *name)
{
	struct member key = { .name = (char *)(uintptr_t)name };

	return m->n > 0
	    ? bsearch(&key, m->items, m->n, sizeof(*m->items), compare)
	    : NULL;
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
	*ret = (struct member_file) { take_fd(&fd), true, 0,
		(uint64_t)st.st_size };
	return 0;
}

int
members_find(const struct members *m, const char *name,
    struct member_file *ret, struct imgd_error **err)
{
	cleanup_free char *clean = NULL;
	const struct member *found;
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
	found = lookup(m, clean);
	for (n_links = 0; found != NULL && found->link != NULL; n_links++) {
		if (n_links == MAX_LINKS)
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "\"%.200s\": too many links", name);
		found = lookup(m, found->link);
	}
	if (found == NULL)
		return imgd_error_set(err, ENOENT,
		    "\"%.200s\" is not in the archive", name);
	*ret = (struct member_file) { m->fd, false, found->offset,
		found->size };
	return 0;
}

void
member_file_done(struct member_file *f)
{
	if (f->is_own)
		close_fd(&f->fd);
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
