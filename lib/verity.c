#include "config.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "lib/cleanup.h"
#include "lib/verity.h"

#define HASH_BYTES 32
#define FAN_OUT    (VERITY_BLOCK / HASH_BYTES)
#define MAX_LEVELS 10 /* 128 to the power of 10 is more than there can be */

struct superblock {
	char signature[8];
	uint32_t version, hash_type;
	unsigned char uuid[16];
	char algorithm[32];
	uint32_t data_block_size, hash_block_size;
	uint64_t data_blocks;
	uint16_t salt_size;
	unsigned char pad[6];
	unsigned char salt[256];
	unsigned char pad2[168];
};
_Static_assert(sizeof(struct superblock) == 512, "as it is on the disk");

struct tree {
	int fd;
	const struct verity *v;
	EVP_MD_CTX *salted; /* after the salt */
	EVP_MD_CTX *md;
	unsigned char in[VERITY_BLOCK], out[VERITY_BLOCK];
};

static void
tree_done(struct tree *t)
{
	EVP_MD_CTX_free(t->salted);
	EVP_MD_CTX_free(t->md);
}

static int
read_block(struct tree *t, uint64_t at, struct imgd_error **err)
{
	size_t have = 0;

	while (have < VERITY_BLOCK) {
		ssize_t n = pread(t->fd, t->in + have, VERITY_BLOCK - have,
		    (off_t)(at + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return imgd_error_set(err, n < 0 ? errno : EUCLEAN,
			    "read: %s",
			    n < 0 ? strerror(errno) : "unexpected end");
		have += (size_t)n;
	}
	return 0;
}

static int
write_at(int fd, const void *data, size_t len, uint64_t at,
    struct imgd_error **err)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "write: %s",
			    strerror(errno));
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* The hash of the block in t->in. */
static int
hash(struct tree *t, unsigned char ret[HASH_BYTES], struct imgd_error **err)
{
	if (EVP_MD_CTX_copy_ex(t->md, t->salted) != 1 ||
	    EVP_DigestUpdate(t->md, t->in, VERITY_BLOCK) != 1 ||
	    EVP_DigestFinal_ex(t->md, ret, NULL) != 1)
		return imgd_error_set(err, ENOMEM, "SHA-256 failed");
	return 0;
}

/* Hash n blocks from the place "from" into blocks at "to". */
static int
hash_level(struct tree *t, uint64_t from, uint64_t n, uint64_t to,
    struct imgd_error **err)
{
	uint64_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < n; i++) {
		size_t slot = (size_t)(i % FAN_OUT);

		if (slot == 0)
			memset(t->out, 0, sizeof(t->out));
		r = read_block(t, from + i * VERITY_BLOCK, err);
		if (r >= 0)
			r = hash(t, t->out + slot * HASH_BYTES, err);
		if (r >= 0 && (slot == FAN_OUT - 1 || i == n - 1))
			r = write_at(t->fd, t->out, sizeof(t->out),
			    to + i / FAN_OUT * VERITY_BLOCK, err);
	}
	return r;
}

static int
write_superblock(struct tree *t, struct imgd_error **err)
{
	const struct verity *v = t->v;
	struct superblock sb = {
		.signature = "verity",
		.version = htole32(1),
		.hash_type = htole32(1),
		.algorithm = "sha256",
		.data_block_size = htole32(VERITY_BLOCK),
		.hash_block_size = htole32(VERITY_BLOCK),
		.data_blocks = htole64(v->n_blocks),
		.salt_size = htole16(VERITY_SALT_BYTES),
	};

	memcpy(sb.uuid, v->uuid, sizeof(sb.uuid));
	memcpy(sb.salt, v->salt, VERITY_SALT_BYTES);
	memset(t->out, 0, sizeof(t->out));
	memcpy(t->out, &sb, sizeof(sb));
	return write_at(t->fd, t->out, sizeof(t->out), v->hash_offset, err);
}

/*
 * The tree stands with its top first: find where each level begins, then make
 * them from the data on.  Of a lone block the hash itself is the root.
 */
static int
make_tree(struct tree *t, unsigned char ret_root[HASH_BYTES],
    uint64_t *ret_end, struct imgd_error **err)
{
	uint64_t sizes[MAX_LEVELS], places[MAX_LEVELS];
	uint64_t n = t->v->n_blocks, from = 0, at;
	size_t levels = 0, i;
	int r = 0;

	while (n > 1) {
		n = (n + FAN_OUT - 1) / FAN_OUT;
		sizes[levels++] = n;
	}
	at = t->v->hash_offset + VERITY_BLOCK;
	for (i = levels; i > 0; i--) {
		places[i - 1] = at;
		at += sizes[i - 1] * VERITY_BLOCK;
	}
	*ret_end = at;
	n = t->v->n_blocks;
	for (i = 0; r >= 0 && i < levels; i++) {
		r = hash_level(t, from, n, places[i], err);
		from = places[i];
		n = sizes[i];
	}
	if (r >= 0)
		r = read_block(t, from, err);
	return r < 0 ? r : hash(t, ret_root, err);
}

static int
start(struct tree *t, struct imgd_error **err)
{
	t->salted = EVP_MD_CTX_new();
	t->md = EVP_MD_CTX_new();
	if (t->salted == NULL || t->md == NULL ||
	    EVP_DigestInit_ex(t->salted, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(t->salted, t->v->salt, VERITY_SALT_BYTES) != 1)
		return imgd_error_set(err, ENOMEM, "SHA-256 cannot start");
	return 0;
}

int
verity_append(int fd, struct verity *v, struct imgd_error **err)
{
	cleanup(tree_done) struct tree t = { .fd = fd, .v = v };
	unsigned char root[HASH_BYTES];
	struct stat st;
	size_t i;
	int r;

	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	if (st.st_size <= 0)
		return imgd_error_set(err, EINVAL, "there is nothing to hash");
	v->n_blocks = ((uint64_t)st.st_size + VERITY_BLOCK - 1) / VERITY_BLOCK;
	v->hash_offset = v->n_blocks * VERITY_BLOCK;
	if (ftruncate(fd, (off_t)v->hash_offset) < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	r = start(&t, err);
	if (r >= 0)
		r = write_superblock(&t, err);
	if (r >= 0)
		r = make_tree(&t, root, &v->end, err);
	for (i = 0; r >= 0 && i < sizeof(root); i++)
		(void)snprintf(v->root_hash + 2 * i, 3, "%02x", root[i]);
	return r;
}
