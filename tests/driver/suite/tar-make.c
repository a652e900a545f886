/* Tars, entry by entry, in ustar form with pax headers where that is short. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

#define BLOCK     512
#define NAME_LEN  100
#define MAX_OCTAL 07777777

/* POSIX.1, pax, "ustar Interchange Format". */
struct header {
	char name[NAME_LEN], mode[8], uid[8], gid[8], size[12], mtime[12];
	char chksum[8], typeflag, linkname[NAME_LEN], magic[6], version[2];
	char uname[32], gname[32], devmajor[8], devminor[8], prefix[155];
	char pad[12];
};

static void
pad(struct strbuf *tar)
{
	static const char zeros[BLOCK];

	if (tar->len % BLOCK != 0)
		strbuf_append(tar, zeros, BLOCK - tar->len % BLOCK);
}

static void
octal(char *field, size_t size, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%023llo",
	    (unsigned long long)value);
	memcpy(field, text + sizeof(text) - size, size);
}

static void
copy_name(char field[NAME_LEN], const char *s)
{
	memcpy(field, s, strnlen(s, NAME_LEN));
}

/* "LEN KEY=VALUE\n", where LEN counts itself. */
static void
pax_record(struct strbuf *pax, const char *key, const void *value, size_t len)
{
	size_t rest = 1 + strlen(key) + 1 + len + 1, n = rest, total;
	char digits[24];

	do {
		total = n;
		n = rest + (size_t)snprintf(digits, sizeof(digits), "%zu",
		    total);
	} while (n != total);
	strbuf_printf(pax, "%zu %s=", total, key);
	strbuf_append(pax, value, len);
	strbuf_putc(pax, '\n');
}

static void
pax_string(struct strbuf *pax, const char *key, const char *value)
{
	pax_record(pax, key, value, strlen(value));
}

static void
pax_of(struct strbuf *pax, const struct tar_item *i)
{
	char text[64];
	size_t k;

	if (strlen(i->name) > NAME_LEN)
		pax_string(pax, "path", i->name);
	if (i->link != NULL && strlen(i->link) > NAME_LEN)
		pax_string(pax, "linkpath", i->link);
	if (i->uid > MAX_OCTAL) {
		(void)snprintf(text, sizeof(text), "%u", i->uid);
		pax_string(pax, "uid", text);
	}
	if (i->gid > MAX_OCTAL) {
		(void)snprintf(text, sizeof(text), "%u", i->gid);
		pax_string(pax, "gid", text);
	}
	if (i->nsec != 0) {
		(void)snprintf(text, sizeof(text), "%lld.%09ld",
		    (long long)i->mtime, i->nsec);
		pax_string(pax, "mtime", text);
	}
	for (k = 0; k < i->n_xattrs; k++) {
		cleanup_free char *key = NULL;

		expect(asprintf(&key, "SCHILY.xattr.%s", i->xattrs[k].name) >
		    0);
		pax_record(pax, key, i->xattrs[k].value, i->xattrs[k].len);
	}
}

static void
put_header(struct strbuf *tar, const struct tar_item *i, char type,
    size_t len)
{
	mode_t mode = i->mode != 0 ? i->mode : type == '5' ? 0755 : 0644;
	struct header h = { .magic = "ustar", .version = { '0', '0' },
		.typeflag = type };
	const unsigned char *p = (const unsigned char *)&h;
	unsigned int sum = 0;
	size_t k;

	copy_name(h.name, i->name);
	octal(h.mode, sizeof(h.mode), mode & 07777);
	octal(h.uid, sizeof(h.uid), i->uid > MAX_OCTAL ? 0 : i->uid);
	octal(h.gid, sizeof(h.gid), i->gid > MAX_OCTAL ? 0 : i->gid);
	octal(h.size, sizeof(h.size), len);
	octal(h.mtime, sizeof(h.mtime), (uint64_t)i->mtime);
	if (i->link != NULL)
		copy_name(h.linkname, i->link);
	octal(h.devmajor, sizeof(h.devmajor), major(i->rdev));
	octal(h.devminor, sizeof(h.devminor), minor(i->rdev));
	memset(h.chksum, ' ', sizeof(h.chksum));
	for (k = 0; k < sizeof(h); k++)
		sum += p[k];
	(void)snprintf(h.chksum, sizeof(h.chksum), "%06o", sum);
	strbuf_append(tar, &h, sizeof(h));
}

static void
put_pax(struct strbuf *tar, struct strbuf *pax)
{
	const struct tar_item i = { .name = "pax" };

	if (pax->len == 0)
		return;
	put_header(tar, &i, 'x', pax->len);
	strbuf_append(tar, pax->data, pax->len);
	pad(tar);
	strbuf_done(pax);
}

static void
put_zeros(struct strbuf *tar, size_t len)
{
	static const char zeros[8192];

	while (len > 0) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);

		strbuf_append(tar, zeros, n);
		len -= n;
	}
}

void
tar_put(struct strbuf *tar, const struct tar_item *i)
{
	struct strbuf pax = STRBUF_INIT;

	pax_of(&pax, i);
	put_pax(tar, &pax);
	put_header(tar, i, i->type != 0 ? i->type : '0', i->len);
	if (i->data != NULL)
		strbuf_append(tar, i->data, i->len);
	else
		put_zeros(tar, i->len);
	pad(tar);
	expect(!tar->is_failed);
}

void
tar_file(struct strbuf *tar, const char *name, const char *text)
{
	tar_put(tar, &(struct tar_item) { .name = name, .data = text,
	    .len = strlen(text), .mtime = 1000000000 });
}

void
tar_dir(struct strbuf *tar, const char *name)
{
	tar_put(tar, &(struct tar_item) { .name = name, .type = '5',
	    .mtime = 1000000000 });
}

void
tar_mark(struct strbuf *tar, const char *name)
{
	tar_put(tar, &(struct tar_item) { .name = name });
}

void
tar_sparse(struct strbuf *tar, const char *name, uint64_t len,
    const char *data)
{
	struct strbuf pax = STRBUF_INIT;
	struct tar_item i = { .name = name };
	size_t n = strlen(data), start;
	char text[32];

	pax_string(&pax, "GNU.sparse.major", "1");
	pax_string(&pax, "GNU.sparse.minor", "0");
	pax_string(&pax, "GNU.sparse.name", name);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)len);
	pax_string(&pax, "GNU.sparse.realsize", text);
	put_pax(tar, &pax);
	put_header(tar, &i, '0', BLOCK + n);
	start = tar->len;
	strbuf_printf(tar, "1\n%llu\n%zu\n", (unsigned long long)len - n, n);
	put_zeros(tar, BLOCK - (tar->len - start));
	strbuf_append(tar, data, n);
	pad(tar);
	expect(!tar->is_failed);
}

void
tar_end(struct strbuf *tar)
{
	put_zeros(tar, 2 * BLOCK);
	expect(!tar->is_failed);
}
