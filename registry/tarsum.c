/*
 * Only what a Docker of that time would have written is summed.  Entries of
 * other kinds, or too many of them, make the sum unknown: then it says nothing
 * for or against the tar.
 */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "registry/tarsum.h"

#define BLOCK       512
#define MAX_ENTRIES 65536 /* of which the digests are in memory */
#define MAX_XATTRS  64
#define V0_PREFIX   "tarsum+sha256:"
#define V1_PREFIX   "tarsum.v1+sha256:"
#define XATTR       "SCHILY.xattr."

enum state { HEADER, EXTENSION, BODY, PADDING, END };

struct item {
	uint8_t digest[DIGEST_HEX_LEN / 2];
	uint32_t at;   /* which entry of the tar */
	uint64_t name; /* a hash of it */
};

struct xattr {
	char *key, *value;
	size_t len;
};

struct tarsum {
	bool is_v1;
	bool is_unsure; /* the sum means nothing */
	char expected[DIGEST_HEX_LEN + 1];
	char *json;
	size_t json_len;
	enum state state;
	uint8_t block[BLOCK];
	size_t n_block;
	uint64_t left; /* of body or extension */
	size_t pad;
	char ext_type;
	struct strbuf ext; /* the extension header being read */
	/* What extension headers say of the next entry; NULL: nothing. */
	char *name, *link, *size, *uid, *gid, *mtime, *uname, *gname;
	struct xattr xattrs[MAX_XATTRS];
	size_t n_xattrs;
	struct digest_ctx *entry; /* NULL: no entry has begun */
	uint64_t entry_name;
	struct item *items;
	size_t n_items;
};

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

int
tarsum_new(const char *expected, const void *json, size_t len,
    struct tarsum **ret, struct imgd_error **err)
{
	bool is_v1 = str_starts(expected, V1_PREFIX);
	const char *hex = expected +
	    (is_v1 ? strlen(V1_PREFIX) : strlen(V0_PREFIX));
	struct tarsum *t;

	*ret = NULL;
	if ((!is_v1 && !str_starts(expected, V0_PREFIX)) ||
	    !digest_is_hex(hex)) {
		log_debug("registry", "checksum %s is not checked", expected);
		return 0;
	}
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return no_memory(err);
	t->is_v1 = is_v1;
	memcpy(t->expected, hex, sizeof(t->expected));
	t->json = malloc(len + 1);
	if (t->json == NULL) {
		tarsum_free(t);
		return no_memory(err);
	}
	memcpy(t->json, json, len);
	t->json_len = len;
	*ret = t;
	return 0;
}

static void
forget(struct tarsum *t)
{
	char **all[] = { &t->name, &t->link, &t->size, &t->uid, &t->gid,
		&t->mtime, &t->uname, &t->gname };
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		free(*all[i]);
		*all[i] = NULL;
	}
	for (i = 0; i < t->n_xattrs; i++) {
		free(t->xattrs[i].key);
		free(t->xattrs[i].value);
	}
	t->n_xattrs = 0;
}

void
tarsum_free(struct tarsum *t)
{
	if (t == NULL)
		return;
	forget(t);
	strbuf_done(&t->ext);
	digest_free(t->entry);
	free(t->items);
	free(t->json);
	free(t);
}

/* ---- extension headers ---- */

static int
keep(char **to, const char *value, size_t len, struct imgd_error **err)
{
	free(*to);
	*to = strndup(value, len);
	return *to != NULL ? 0 : no_memory(err);
}

static int
keep_xattr(struct tarsum *t, const char *key, const char *value, size_t len,
    struct imgd_error **err)
{
	struct xattr *x = &t->xattrs[t->n_xattrs];

	if (t->n_xattrs == MAX_XATTRS) {
		t->is_unsure = true;
		return 0;
	}
	x->key = strdup(key);
	x->value = malloc(len + 1);
	x->len = len;
	t->n_xattrs++;
	if (x->key == NULL || x->value == NULL)
		return no_memory(err);
	memcpy(x->value, value, len);
	return 0;
}

static int
take_record(struct tarsum *t, const char *key, const char *value, size_t len,
    struct imgd_error **err)
{
	const struct {
		const char *key;
		char **to;
	} known[] = {
		{ "path", &t->name }, { "linkpath", &t->link },
		{ "size", &t->size }, { "uid", &t->uid }, { "gid", &t->gid },
		{ "mtime", &t->mtime }, { "uname", &t->uname },
		{ "gname", &t->gname },
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(key, known[i].key) == 0)
			return keep(known[i].to, value, len, err);
	if (str_starts(key, "GNU.sparse."))
		t->is_unsure = true;
	if (str_starts(key, XATTR))
		return keep_xattr(t, key + strlen(XATTR), value, len, err);
	return 0;
}

/* "LENGTH KEY=VALUE\n" again and again. */
static int
take_pax(struct tarsum *t, struct imgd_error **err)
{
	const char *p = t->ext.data, *end = p + t->ext.len;
	int r = 0;

	while (r >= 0 && p < end) {
		cleanup_free char *key = NULL;
		const char *start = p, *equals;
		uint64_t n = 0;

		while (p < end && *p >= '0' && *p <= '9' && n < UINT32_MAX)
			n = n * 10 + (uint64_t)(*p++ - '0');
		if (p == end || *p != ' ' || n > (uint64_t)(end - start) ||
		    start + n <= p + 1 || start[n - 1] != '\n') {
			t->is_unsure = true;
			return 0;
		}
		p++;
		equals = memchr(p, '=', (size_t)(start + n - p));
		if (equals == NULL) {
			t->is_unsure = true;
			return 0;
		}
		key = strndup(p, (size_t)(equals - p));
		if (key == NULL)
			return no_memory(err);
		r = take_record(t, key, equals + 1,
		    (size_t)(start + n - 1 - (equals + 1)), err);
		p = start + n;
	}
	return r;
}

static int
take_extension(struct tarsum *t, struct imgd_error **err)
{
	int r = 0;

	if (t->ext.is_failed)
		return no_memory(err);
	if (t->ext.data == NULL)
		return 0;
	if (t->ext_type == 'L')
		r = keep(&t->name, t->ext.data, t->ext.len, err);
	else if (t->ext_type == 'K')
		r = keep(&t->link, t->ext.data, t->ext.len, err);
	else if (t->ext_type == 'x')
		r = take_pax(t, err);
	strbuf_done(&t->ext);
	return r;
}

/* ---- an entry's header ---- */

/* Octal, or base 256 with the first bit set. */
static int64_t
number(struct tarsum *t, const uint8_t *field, size_t len)
{
	uint64_t n = 0;
	size_t i = 0;

	if ((field[0] & 0x80) != 0) {
		bool is_negative = (field[0] & 0x40) != 0;

		for (i = 0; i + 8 < len; i++)
			if (field[i] != (is_negative ? 0xff : i > 0 ? 0 : 0x80))
				t->is_unsure = true;
		if (len <= 8)
			n = is_negative ? field[0] | ~UINT64_C(0xff)
					: field[0] & 0x3f;
		for (i = len <= 8 ? 1 : len - 8; i < len; i++)
			n = n << 8 | field[i];
		return (int64_t)n;
	}
	while (i < len && (field[i] == ' ' || field[i] == '\0'))
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		n = n << 3 | (uint64_t)(field[i] - '0');
	return (int64_t)n;
}

/* Whole seconds of a pax time, rounded down; other numbers as they are. */
static int64_t
pax_number(struct tarsum *t, const char *s)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(s, &end, 10);
	if (end == s || errno != 0 || (*end != '\0' && *end != '.'))
		t->is_unsure = true;
	if (*end == '.' && *s == '-' && strspn(end + 1, "0") < strlen(end + 1))
		n--;
	return n;
}

static void
add(struct tarsum *t, const char *key, const void *value, size_t len)
{
	digest_update(t->entry, key, strlen(key));
	digest_update(t->entry, value, len);
}

static void
add_text(struct tarsum *t, const char *key, const char *value)
{
	add(t, key, value, strlen(value));
}

static int64_t
add_number(struct tarsum *t, const char *key, size_t at, size_t len,
    const char *pax)
{
	int64_t n = pax != NULL ? pax_number(t, pax)
				: number(t, t->block + at, len);
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", (long long)n);
	add_text(t, key, text);
	return n;
}

static void
field_text(const struct tarsum *t, size_t at, size_t len, char *ret)
{
	size_t n = strnlen((const char *)t->block + at, len);

	memcpy(ret, t->block + at, n);
	ret[n] = '\0';
}

static bool
is_ustar(const struct tarsum *t)
{
	return memcmp(t->block + 257, "ustar", 5) == 0;
}

/* Names that differ only in "./" before and "/" behind are one. */
static uint64_t
hash_name(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	size_t len, i;

	while (name[0] == '.' && name[1] == '/')
		name += 2;
	len = strlen(name);
	if (len > 0 && name[len - 1] == '/')
		len--;
	for (i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void
add_name(struct tarsum *t)
{
	char text[156 + 101 + 1], part[101];

	field_text(t, 0, 100, part);
	(void)snprintf(text, sizeof(text), "%s", part);
	if (memcmp(t->block + 257, "ustar\0", 6) == 0) {
		char prefix[156];

		field_text(t, 345, 155, prefix);
		if (prefix[0] != '\0')
			(void)snprintf(text, sizeof(text), "%s/%s", prefix,
			    part);
	}
	add_text(t, "name", t->name != NULL ? t->name : text);
	t->entry_name = hash_name(t->name != NULL ? t->name : text);
}

static int
compare_xattrs(const void *a, const void *b)
{
	return strcmp(((const struct xattr *)a)->key,
	    ((const struct xattr *)b)->key);
}

/* Everything but the content; returns its size. */
static int64_t
add_header(struct tarsum *t)
{
	bool is_device = t->block[156] == '3' || t->block[156] == '4';
	char text[160];
	int64_t size;
	size_t i;

	add_name(t);
	(void)add_number(t, "mode", 100, 8, NULL);
	(void)add_number(t, "uid", 108, 8, t->uid);
	(void)add_number(t, "gid", 116, 8, t->gid);
	size = add_number(t, "size", 124, 12, t->size);
	if (!t->is_v1)
		(void)add_number(t, "mtime", 136, 12, t->mtime);
	add(t, "typeflag", t->block + 156, 1);
	field_text(t, 157, 100, text);
	add_text(t, "linkname", t->link != NULL ? t->link : text);
	field_text(t, 265, is_ustar(t) ? 32 : 0, text);
	add_text(t, "uname", t->uname != NULL ? t->uname : text);
	field_text(t, 297, is_ustar(t) ? 32 : 0, text);
	add_text(t, "gname", t->gname != NULL ? t->gname : text);
	(void)add_number(t, "devmajor", 329, is_device ? 8 : 0, NULL);
	(void)add_number(t, "devminor", 337, is_device ? 8 : 0, NULL);
	if (!t->is_v1)
		return size;
	qsort(t->xattrs, t->n_xattrs, sizeof(t->xattrs[0]), compare_xattrs);
	for (i = 0; i < t->n_xattrs; i++)
		add(t, t->xattrs[i].key, t->xattrs[i].value, t->xattrs[i].len);
	return size;
}

/* ---- entries ---- */

static unsigned int
digit(char c)
{
	return (unsigned int)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void
pack(uint8_t *to, const char *hex)
{
	for (; *hex != '\0'; hex += 2)
		*to++ = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
}

static int
end_entry(struct tarsum *t, struct imgd_error **err)
{
	char digest[DIGEST_STR_SIZE];
	struct item *items;
	int r;

	if (t->entry == NULL)
		return 0;
	r = digest_str(t->entry, digest, err);
	digest_free(t->entry);
	t->entry = NULL;
	if (r < 0 || t->is_unsure)
		return r;
	if (t->n_items == MAX_ENTRIES) {
		t->is_unsure = true;
		return 0;
	}
	if ((t->n_items & (t->n_items - 1)) == 0) {
		items = reallocarray(t->items,
		    t->n_items > 0 ? 2 * t->n_items : 1, sizeof(*items));
		if (items == NULL)
			return no_memory(err);
		t->items = items;
	}
	items = &t->items[t->n_items];
	pack(items->digest, digest_hex(digest));
	items->at = (uint32_t)t->n_items++;
	items->name = t->entry_name;
	return 0;
}

static bool
is_zero(const uint8_t *block)
{
	return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

static int
take_header(struct tarsum *t, struct imgd_error **err)
{
	char type = (char)t->block[156];
	int64_t size;
	int r = 0;

	if (is_zero(t->block)) {
		t->state = END;
		return 0;
	}
	if (strchr("xgLK", type) != NULL && type != '\0') {
		t->ext_type = type;
		size = number(t, t->block + 124, 12);
		if (size < 0 || size > (int64_t)LIMIT_PAX_BYTES)
			t->is_unsure = true;
		t->state = EXTENSION;
	} else {
		r = digest_new(&t->entry, err);
		if (r < 0)
			return r;
		size = add_header(t);
		/* Readers differ in whether something follows these. */
		if (size < 0 || type == 'S' ||
		    (size > 0 && type >= '1' && type <= '6'))
			t->is_unsure = true;
		forget(t);
		t->state = BODY;
	}
	if (t->is_unsure) {
		t->state = END;
		return 0;
	}
	t->left = (uint64_t)size;
	t->pad = (size_t)(-(uint64_t)size % BLOCK);
	return 0;
}

/* Take what belongs to the present state; returns how much that was. */
static int64_t
take(struct tarsum *t, const uint8_t *p, uint64_t len, struct imgd_error **err)
{
	uint64_t want = t->state == HEADER ? BLOCK - t->n_block
	    : t->state == PADDING	   ? t->pad
	    : t->state == END		   ? len
					   : t->left;
	uint64_t n = len < want ? len : want;
	int r = 0;

	switch (t->state) {
	case HEADER:
		memcpy(t->block + t->n_block, p, n);
		t->n_block += n;
		if (t->n_block < BLOCK)
			break;
		t->n_block = 0;
		r = take_header(t, err);
		break;
	case EXTENSION:
		strbuf_append(&t->ext, p, n);
		t->left -= n;
		break;
	case BODY:
		digest_update(t->entry, p, n);
		t->left -= n;
		break;
	case PADDING:
		t->pad -= n;
		break;
	case END:
		break;
	}
	if (r >= 0 && t->state == EXTENSION && t->left == 0) {
		r = take_extension(t, err);
		t->state = PADDING;
	}
	if (r >= 0 && t->state == BODY && t->left == 0) {
		r = end_entry(t, err);
		t->state = PADDING;
	}
	if (t->state == PADDING && t->pad == 0)
		t->state = HEADER;
	return r < 0 ? r : (int64_t)n;
}

int
tarsum_update(struct tarsum *t, const void *data, uint64_t len,
    struct imgd_error **err)
{
	const uint8_t *p = data;

	while (len > 0 && t->state != END) {
		int64_t n = take(t, p, len, err);

		if (n < 0)
			return (int)n;
		p += n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* ---- the sum ---- */

static int
compare_digests(const void *a, const void *b)
{
	return memcmp(((const struct item *)a)->digest,
	    ((const struct item *)b)->digest, DIGEST_HEX_LEN / 2);
}

static int
compare_names(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->name != y->name)
		return x->name < y->name ? -1 : 1;
	return x->at < y->at ? -1 : 1;
}

static int
sum(const struct tarsum *t, char ret[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup(digest_freep) struct digest_ctx *d = NULL;
	size_t i, k;
	char hex[DIGEST_HEX_LEN + 1];
	int r = digest_new(&d, err);

	if (r < 0)
		return r;
	digest_update(d, t->json, t->json_len);
	for (i = 0; i < t->n_items; i++) {
		for (k = 0; k < sizeof(t->items[i].digest); k++)
			(void)snprintf(hex + 2 * k, 3, "%02x",
			    t->items[i].digest[k]);
		digest_update(d, hex, DIGEST_HEX_LEN);
	}
	return digest_str(d, ret, err);
}

/* Docker 1.2 kept the last entry of a name alone. */
static void
drop_doubles(struct tarsum *t)
{
	size_t i, n = 0;

	qsort(t->items, t->n_items, sizeof(*t->items), compare_names);
	for (i = 0; i < t->n_items; i++)
		if (i + 1 == t->n_items ||
		    t->items[i].name != t->items[i + 1].name)
			t->items[n++] = t->items[i];
	t->n_items = n;
	qsort(t->items, t->n_items, sizeof(*t->items), compare_digests);
}

int
tarsum_check(struct tarsum *t, struct imgd_error **err)
{
	char all[DIGEST_STR_SIZE], last[DIGEST_STR_SIZE];
	int r;

	if (t->is_unsure || t->n_block > 0 ||
	    (t->state != HEADER && t->state != END)) {
		log_debug("registry", "the tarsum %s is not checked",
		    t->expected);
		return 0;
	}
	if (t->n_items > 0)
		qsort(t->items, t->n_items, sizeof(*t->items), compare_digests);
	r = sum(t, all, err);
	if (r >= 0 && t->n_items > 0)
		drop_doubles(t);
	if (r >= 0)
		r = sum(t, last, err);
	if (r < 0)
		return r;
	if (strcmp(digest_hex(all), t->expected) == 0 ||
	    strcmp(digest_hex(last), t->expected) == 0)
		return 0;
	return imgd_error_set(err, IMGD_E_DIGEST,
	    "tarsum mismatch: the registry says %s, it is %s", t->expected,
	    digest_hex(all));
}
