#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar-raw.h"

#define BLOCK 512

/* What may wait for tar_raw_next: a chunk and the longest chain of extension
 * headers that an honest writer makes. */
#define MAX_WAITING (4u * LIMIT_PAX_BYTES)

/* A file larger than this is no file of a layer (and sums stay far from an
 * overflow). */
#define MAX_SIZE (UINT64_C(1) << 62)

/* Fields of a header block: POSIX.1-2017 pax, "ustar Interchange Format", and
 * the GNU tar manual, "Basic Tar Format". */
struct header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char linkname[100];
	char magic[8]; /* with the version */
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	union {
		char prefix[155];
		struct {
			char times[24];
			char unused[17];
			char sparse[4][24];
			char is_extended;
			char real_size[12];
		} gnu;
	} tail;
	char pad[12];
};

_Static_assert(sizeof(struct header) == BLOCK, "a tar header is 512 bytes");

/*
 * A value that an extension header gave.  Of several headers in a row the
 * first one wins, of several records in one header the last: libarchive reads
 * them that way, and what readers may see differently is refused anyway.
 */
struct ext_text {
	struct strbuf text;
	int from; /* which extension header of the entry; 0 = not given */
};

struct ext_number {
	uint64_t value;
	int from;
};

enum raw_state {
	RAW_HEADERS, /* before an entry's first header */
	RAW_BODY,    /* in a content, of which body_left is not yet pushed */
	RAW_END,     /* past the end marker: all is passed on */
};

struct tar_raw {
	tar_raw_sink *sink;
	void *ctx;
	struct strbuf waiting; /* pushed and not yet taken, from taken on */
	size_t taken;
	uint64_t position; /* in the stream, of the next byte to take */
	enum raw_state state;
	uint64_t body_left;
	size_t pad; /* after the content */
	bool keeps_body;

	/* of the entry being read */
	int n_ext;
	struct ext_text path, link, sparse_name;
	struct ext_number size, real_size, sparse_major, sparse_minor;
	struct ext_number sparse_count, sparse_map;
	struct strbuf name, linkname;
};

int
tar_raw_new(tar_raw_sink *sink, void *ctx, struct tar_raw **ret,
    struct imgd_error **err)
{
	struct tar_raw *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	t->sink = sink;
	t->ctx = ctx;
	*ret = t;
	return 0;
}

void
tar_raw_free(struct tar_raw *t)
{
	if (t == NULL)
		return;
	strbuf_done(&t->waiting);
	strbuf_done(&t->path.text);
	strbuf_done(&t->link.text);
	strbuf_done(&t->sparse_name.text);
	strbuf_done(&t->name);
	strbuf_done(&t->linkname);
	free(t);
}

static size_t
available(const struct tar_raw *t)
{
	return t->waiting.len - t->taken;
}

/* The next bytes, without taking them. */
static const char *
peek(const struct tar_raw *t)
{
	return t->waiting.data + t->taken;
}

static int
bad(struct imgd_error **err, const char *what)
{
	return imgd_error_set(err, IMGD_E_FORMAT, "malformed tar: %s", what);
}

static int
cut_short(struct imgd_error **err)
{
	return bad(err, "it is cut short");
}

/* Take len bytes, and pass them on if they are not content. */
static int
take(struct tar_raw *t, size_t len, bool pass, struct imgd_error **err)
{
	int r = 0;

	if (pass && len > 0)
		r = t->sink(t->ctx, peek(t), len, err);
	t->taken += len;
	t->position += len;
	return r;
}

/* Take what is there of a content. */
static int
take_body(struct tar_raw *t, struct imgd_error **err)
{
	size_t n = available(t);

	if (t->state != RAW_BODY || t->body_left == 0)
		return 0;
	if (n > t->body_left)
		n = (size_t)t->body_left;
	t->body_left -= n;
	return take(t, n, t->keeps_body, err);
}

int
tar_raw_feed(struct tar_raw *t, const void *data, size_t len,
    struct imgd_error **err)
{
	const char *p = data;
	size_t n;
	int r;

	r = take_body(t, err);
	if (r < 0)
		return r;
	if (t->taken == t->waiting.len) {
		t->taken = t->waiting.len = 0;
	} else if (t->taken > 0) {
		memmove(t->waiting.data, peek(t), available(t));
		t->waiting.len = available(t);
		t->taken = 0;
	}
	if (t->state == RAW_END) {
		t->position += len;
		return t->sink(t->ctx, p, len, err);
	}
	/* Content passes by without a copy. */
	if (t->state == RAW_BODY && t->body_left > 0) {
		n = len < t->body_left ? len : (size_t)t->body_left;
		t->body_left -= n;
		t->position += n;
		if (t->keeps_body && (r = t->sink(t->ctx, p, n, err)) < 0)
			return r;
		p += n;
		len -= n;
	}
	if (len == 0)
		return 0;
	if (len > MAX_WAITING - t->waiting.len)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "headers of one entry exceed %u bytes", MAX_WAITING);
	strbuf_append(&t->waiting, p, len);
	if (t->waiting.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

void
tar_raw_keep_body(struct tar_raw *t)
{
	t->keeps_body = true;
}

static bool
is_zero(const char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != '\0')
			return false;
	return true;
}

/* Octal, or GNU's base-256.  Blanks may stand before, blank or NUL ends. */
static bool
parse_number(const char *field, size_t len, uint64_t *ret)
{
	const unsigned char *p = (const unsigned char *)field;
	const unsigned char *end = p + len;
	uint64_t v = 0;

	if (*p & 0x80) {
		if (*p & 0x40)
			return false; /* negative */
		v = *p++ & 0x3f;
		for (; p < end; p++) {
			if (v > MAX_SIZE >> 8)
				return false;
			v = v << 8 | *p;
		}
		*ret = v;
		return v <= MAX_SIZE;
	}
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	for (; p < end && *p >= '0' && *p <= '7'; p++) {
		if (v > MAX_SIZE >> 3)
			return false;
		v = v << 3 | (*p - '0');
	}
	if (p < end && *p != ' ' && *p != '\0')
		return false;
	*ret = v;
	return v <= MAX_SIZE;
}

static bool
checksum_is_right(const struct header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	const size_t from = offsetof(struct header, checksum);
	uint64_t want, sum = 0;
	int64_t signed_sum = 0;
	size_t i;

	for (i = 0; i < BLOCK; i++) {
		unsigned char c = i >= from && i < from + 8 ? ' ' : p[i];

		sum += c;
		signed_sum += (signed char)c;
	}
	return parse_number(h->checksum, sizeof(h->checksum), &want) &&
	    (want == sum || (signed_sum >= 0 && want == (uint64_t)signed_sum));
}

static void
set_text(struct tar_raw *t, struct ext_text *e, const char *p, size_t len)
{
	if (e->from != 0 && e->from != t->n_ext)
		return;
	e->text.len = 0;
	strbuf_append(&e->text, p, len);
	e->from = t->n_ext;
}

static void
set_number(struct tar_raw *t, struct ext_number *e, uint64_t v)
{
	if (e->from != 0 && e->from != t->n_ext)
		return;
	e->value = v;
	e->from = t->n_ext;
}

static bool
parse_decimal(const char *p, size_t len, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9' || v > MAX_SIZE / 10)
			return false;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	*ret = v;
	return len > 0 && v <= MAX_SIZE;
}

/* Pairs of numbers with commas between: how many; GNU tar refuses others, and
 * libarchive makes something of them. */
static int
count_map(const char *p, size_t len, uint64_t *ret, struct imgd_error **err)
{
	uint64_t v, n = 0;
	size_t i;

	while (len > 0) {
		const char *comma = memchr(p, ',', len);

		i = comma != NULL ? (size_t)(comma - p) : len;
		if (!parse_decimal(p, i, &v) || i + 1 == len)
			return bad(err, "a sparse map has what is no number");
		n++;
		p += comma != NULL ? i + 1 : i;
		len -= comma != NULL ? i + 1 : i;
	}
	if (n % 2 != 0)
		return bad(err, "a sparse map is cut short");
	*ret = n / 2;
	return 0;
}

/* One record of a pax header that bears on name or size. */
static int
pax_record(struct tar_raw *t, const char *key, size_t key_len, const char *val,
    size_t len, struct imgd_error **err)
{
	const struct {
		const char *key;
		struct ext_text *text;
		struct ext_number *number;
	} known[] = {
		{ "path", &t->path, NULL },
		{ "linkpath", &t->link, NULL },
		{ "size", NULL, &t->size },
		{ "GNU.sparse.name", &t->sparse_name, NULL },
		{ "GNU.sparse.major", NULL, &t->sparse_major },
		{ "GNU.sparse.minor", NULL, &t->sparse_minor },
		{ "GNU.sparse.size", NULL, &t->real_size },
		{ "GNU.sparse.realsize", NULL, &t->real_size },
		{ "GNU.sparse.numblocks", NULL, &t->sparse_count },
	};
	uint64_t v = 0;
	size_t i;
	int r;

	for (i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strlen(known[i].key) != key_len ||
		    memcmp(known[i].key, key, key_len) != 0)
			continue;
		if (known[i].text != NULL) {
			set_text(t, known[i].text, val, len);
			return 0;
		}
		if (!parse_decimal(val, len, &v))
			return bad(err, "a size in a pax header is no number");
		set_number(t, known[i].number, v);
		return 0;
	}
	if (key_len == 14 && memcmp(key, "GNU.sparse.map", 14) == 0) {
		r = count_map(val, len, &v, err);
		if (r < 0)
			return r;
		set_number(t, &t->sparse_map, v);
	}
	return 0;
}

/* "LENGTH KEY=VALUE\n"…, POSIX.1-2017 pax, "pax Extended Header". */
static int
parse_pax(struct tar_raw *t, const char *p, size_t len,
    struct imgd_error **err)
{
	while (len > 0 && *p != '\0') {
		const char *blank = memchr(p, ' ', len < 8 ? len : 8);
		const char *eq;
		uint64_t n;
		int r;

		if (blank == NULL ||
		    !parse_decimal(p, (size_t)(blank - p), &n) || n > len ||
		    n < (uint64_t)(blank - p) + 3 || p[n - 1] != '\n')
			return bad(err, "a pax header's record");
		eq = memchr(blank, '=', (size_t)(p + n - blank));
		if (eq == NULL)
			return bad(err, "a pax header's record has no '='");
		r = pax_record(t, blank + 1, (size_t)(eq - blank - 1), eq + 1,
		    (size_t)(p + n - 1 - (eq + 1)), err);
		if (r < 0)
			return r;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Take an extension header's body of size bytes; h has been taken. */
static int
read_extension(struct tar_raw *t, char type, uint64_t size,
    struct imgd_error **err)
{
	size_t padded, text_len;
	int r = 0;

	if (size > LIMIT_PAX_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "an extension header exceeds %u bytes", LIMIT_PAX_BYTES);
	padded = ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
	if (available(t) < padded)
		return cut_short(err);
	t->n_ext++;
	text_len = strnlen(peek(t), (size_t)size);
	if (type == 'L')
		set_text(t, &t->path, peek(t), text_len);
	else if (type == 'K')
		set_text(t, &t->link, peek(t), text_len);
	else if (type == 'x')
		r = parse_pax(t, peek(t), (size_t)size, err);
	return r < 0 ? r : take(t, padded, /* pass= */ true, err);
}

/* GNU tar manual, "Old GNU Format": more blocks of a sparse map. */
static int
read_gnu_map(struct tar_raw *t, bool is_extended, struct imgd_error **err)
{
	uint64_t n_entries = 4;

	while (is_extended) {
		int r;

		if (available(t) < BLOCK)
			return cut_short(err);
		n_entries += 21;
		if (n_entries > LIMIT_SPARSE_ENTRIES)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "more than %d parts of a sparse file",
			    LIMIT_SPARSE_ENTRIES);
		is_extended = peek(t)[504] != '\0';
		r = take(t, BLOCK, /* pass= */ true, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * GNU tar manual, "PAX Format, Version 1.0": the map stands before the
 * content as decimal lines, padded to a block.  *stored shrinks by it.
 */
static int
read_pax_map(struct tar_raw *t, uint64_t *stored, struct imgd_error **err)
{
	size_t max = available(t) < *stored ? available(t) : (size_t)*stored;
	const char *p = peek(t);
	uint64_t n_lines = 1, count = 0, v;
	size_t at = 0, len;

	while (n_lines > 0) {
		const char *end = memchr(p + at, '\n', max - at);

		if (end == NULL)
			return bad(err, "a sparse map has no end");
		len = (size_t)(end - (p + at));
		if (!parse_decimal(p + at, len, &v))
			return bad(err, "a sparse map has what is no number");
		at += len + 1;
		n_lines--;
		if (count == 0) {
			if (v > LIMIT_SPARSE_ENTRIES)
				return imgd_error_set(err, IMGD_E_LIMIT,
				    "more than %d parts of a sparse file",
				    LIMIT_SPARSE_ENTRIES);
			n_lines = 2 * v;
			count = 1;
		}
	}
	at = (at + BLOCK - 1) / BLOCK * BLOCK;
	if (at > *stored || at > available(t))
		return bad(err, "a sparse map is cut short");
	*stored -= at;
	return take(t, at, /* pass= */ true, err);
}

/* A field that NUL ends unless it is full. */
static void
append_field(struct strbuf *sb, const char *field, size_t size)
{
	strbuf_append(sb, field, strnlen(field, size));
}

static void
set_names(struct tar_raw *t, const struct header *h)
{
	const struct ext_text *path =
	    t->sparse_name.from != 0 ? &t->sparse_name : &t->path;

	t->name.len = t->linkname.len = 0;
	/* GNU's magic "ustar  " has no prefix: other fields are there. */
	if (path->from != 0) {
		strbuf_append(&t->name, path->text.data, path->text.len);
	} else {
		if (memcmp(h->magic, "ustar", 5) == 0 &&
		    memcmp(h->magic, "ustar  ", 8) != 0 &&
		    h->tail.prefix[0] != '\0') {
			append_field(&t->name, h->tail.prefix,
			    sizeof(h->tail.prefix));
			if (t->name.len > 0 &&
			    t->name.data[t->name.len - 1] != '/')
				strbuf_putc(&t->name, '/');
		}
		append_field(&t->name, h->name, sizeof(h->name));
	}
	if (t->link.from != 0)
		strbuf_append(&t->linkname, t->link.text.data,
		    t->link.text.len);
	else
		append_field(&t->linkname, h->linkname, sizeof(h->linkname));
	strbuf_append(&t->name, "", 0);
	strbuf_append(&t->linkname, "", 0);
}

/* Whether, and how much, content follows; h is the entry's own header. */
static int
set_sizes(struct tar_raw *t, const struct header *h, uint64_t link_size,
    struct tar_raw_entry *ret, struct imgd_error **err)
{
	uint64_t size;

	if (!parse_number(h->size, sizeof(h->size), &size))
		return bad(err, "a header's size field");
	if (t->size.from != 0)
		size = t->size.value;
	ret->size = ret->stored = 0;
	switch (ret->type) {
	case '0':
	case 'S':
		break;
	case '1':
		if (link_size == 0)
			return 0;
		break;
	default:
		if (t->size.from != 0 && size != 0)
			return bad(err, "content of what is no file");
		return 0;
	}
	ret->size = ret->stored = size;
	if (ret->type == 'S') {
		if (!parse_number(h->tail.gnu.real_size,
			sizeof(h->tail.gnu.real_size), &ret->size))
			return bad(err, "a sparse file's size");
	} else if (t->real_size.from != 0) {
		ret->size = t->real_size.value;
	}
	if (t->sparse_count.value > LIMIT_SPARSE_ENTRIES ||
	    t->sparse_map.value > LIMIT_SPARSE_ENTRIES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d parts of a sparse file",
		    LIMIT_SPARSE_ENTRIES);
	return 0;
}

/* The entry's own header, copied to h, has been taken. */
static int
read_entry(struct tar_raw *t, const struct header *h, uint64_t link_size,
    struct tar_raw_entry *ret, struct imgd_error **err)
{
	uint64_t in_tar;
	int r;

	ret->type = h->type == '\0' || h->type == '7' ? '0' : h->type;
	if (strchr("0123456S", ret->type) == NULL)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "unknown entry type 0x%02x", (unsigned char)h->type);
	set_names(t, h);
	if (t->name.is_failed || t->linkname.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	ret->name = t->name.data == NULL ? "" : t->name.data;
	ret->name_len = t->name.len;
	ret->linkname = t->linkname.data == NULL ? "" : t->linkname.data;
	ret->linkname_len = t->linkname.len;
	ret->is_link_pax = t->link.from != 0 && h->linkname[0] == '\0';
	r = set_sizes(t, h, link_size, ret, err);
	if (r < 0)
		return r;
	in_tar = ret->stored;
	if (ret->type == 'S')
		r = read_gnu_map(t, h->tail.gnu.is_extended != '\0', err);
	else if (ret->type == '0' && t->sparse_major.value == 1)
		r = read_pax_map(t, &ret->stored, err);
	if (r < 0)
		return r;
	t->state = RAW_BODY;
	t->keeps_body = false;
	t->body_left = ret->stored;
	t->pad = (size_t)(-in_tar % BLOCK);
	return 1;
}

/* Pass the rest of the entry before. */
static int
end_body(struct tar_raw *t, struct imgd_error **err)
{
	size_t n;
	int r;

	if (t->state != RAW_BODY)
		return 0;
	r = take_body(t, err);
	if (r < 0)
		return r;
	if (t->body_left > 0)
		return cut_short(err);
	/* Some writers leave the last padding out. */
	n = available(t) < t->pad ? available(t) : t->pad;
	t->state = RAW_HEADERS;
	return take(t, n, /* pass= */ true, err);
}

static void
forget_extensions(struct tar_raw *t)
{
	t->n_ext = 0;
	t->path.from = t->link.from = t->sparse_name.from = 0;
	t->size.from = t->real_size.from = 0;
	t->sparse_major = t->sparse_minor = (struct ext_number){ 0 };
	t->sparse_count = t->sparse_map = (struct ext_number){ 0 };
}

int
tar_raw_next(struct tar_raw *t, uint64_t link_size, struct tar_raw_entry *ret,
    struct imgd_error **err)
{
	int r = end_body(t, err);

	if (r < 0)
		return r;
	forget_extensions(t);
	ret->position = t->position;
	for (;;) {
		struct header h;
		uint64_t size;

		if (available(t) == 0 ||
		    is_zero(peek(t), available(t) < BLOCK ? available(t) :
							    BLOCK)) {
			if (t->n_ext > 0)
				return bad(err, "no entry after its header");
			return 0;
		}
		if (available(t) < BLOCK)
			return cut_short(err);
		memcpy(&h, peek(t), BLOCK);
		if (!checksum_is_right(&h))
			return bad(err, "a header's checksum");
		r = take(t, BLOCK, /* pass= */ true, err);
		if (r < 0)
			return r;
		if (h.type == 0 || strchr("xgLK", h.type) == NULL)
			return read_entry(t, &h, link_size, ret, err);
		if (!parse_number(h.size, sizeof(h.size), &size))
			return bad(err, "a header's size field");
		r = read_extension(t, h.type, size, err);
		if (r < 0)
			return r;
	}
}

int
tar_raw_finish(struct tar_raw *t, struct imgd_error **err)
{
	t->state = RAW_END;
	return take(t, available(t), /* pass= */ true, err);
}
