#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/cleanup.h"
#include "lib/digest.h"

struct digest_ctx {
	EVP_MD_CTX *md;
};

int
digest_new(struct digest_ctx **ret, struct imgd_error **err)
{
	struct digest_ctx *d = calloc(1, sizeof(*d));

	if (d == NULL || (d->md = EVP_MD_CTX_new()) == NULL ||
	    EVP_DigestInit_ex(d->md, EVP_sha256(), NULL) != 1) {
		digest_free(d);
		return imgd_error_set(err, ENOMEM, "SHA-256 cannot start");
	}
	*ret = d;
	return 0;
}

void
digest_update(struct digest_ctx *d, const void *data, size_t len)
{
	/* A SHA-256 update of valid arguments cannot fail. */
	(void)EVP_DigestUpdate(d->md, data, len);
}

static void
to_str(const unsigned char *raw, char ret[DIGEST_STR_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	size_t i;

	memcpy(ret, "sha256:", 7);
	for (i = 0; i < 32; i++) {
		ret[7 + 2 * i] = hex[raw[i] >> 4];
		ret[8 + 2 * i] = hex[raw[i] & 15];
	}
	ret[DIGEST_STR_LEN] = '\0';
}

int
digest_str(struct digest_ctx *d, char ret[DIGEST_STR_SIZE],
    struct imgd_error **err)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	bool ok;

	ok = copy != NULL && EVP_MD_CTX_copy_ex(copy, d->md) == 1 &&
	    EVP_DigestFinal_ex(copy, raw, NULL) == 1;
	EVP_MD_CTX_free(copy);
	if (!ok)
		return imgd_error_set(err, ENOMEM, "SHA-256 cannot end");
	to_str(raw, ret);
	return 0;
}

void
digest_free(struct digest_ctx *d)
{
	if (d == NULL)
		return;
	EVP_MD_CTX_free(d->md);
	free(d);
}

int
digest_of(const void *data, size_t len, char ret[DIGEST_STR_SIZE],
    struct imgd_error **err)
{
	unsigned char raw[EVP_MAX_MD_SIZE];

	if (EVP_Digest(data, len, raw, NULL, EVP_sha256(), NULL) != 1)
		return imgd_error_set(err, ENOMEM, "SHA-256 failed");
	to_str(raw, ret);
	return 0;
}

bool
digest_is_hex(const char *s)
{
	return strspn(s, "0123456789abcdef") == DIGEST_HEX_LEN &&
	    s[DIGEST_HEX_LEN] == '\0';
}

bool
digest_is_valid(const char *s)
{
	return strncmp(s, "sha256:", 7) == 0 && digest_is_hex(s + 7);
}

const char *
digest_hex(const char *digest)
{
	return digest + 7;
}

int
digest_chain(const char *parent_chain_id, const char *diff_id,
    char ret[DIGEST_STR_SIZE], struct imgd_error **err)
{
	char text[2 * DIGEST_STR_SIZE + 1];
	int n;

	if (parent_chain_id == NULL || *parent_chain_id == '\0') {
		memcpy(ret, diff_id, DIGEST_STR_SIZE);
		return 0;
	}
	n = snprintf(text, sizeof(text), "%s %s", parent_chain_id, diff_id);
	return digest_of(text, (size_t)n, ret, err);
}
