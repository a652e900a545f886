/* Public keys, and whether one of them made a signature. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "lib/base64.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/signature.h"

#define MIN_RSA_BITS 2048

struct key {
	EVP_PKEY *pkey;
	char *name;
	/* What is signed: a hash of the payload; of Ed25519 itself. */
	const EVP_MD *hashes[2];
	size_t n_hashes;
};

struct signature_keys {
	struct key *items;
	size_t n;
};

static void
bio_freep(BIO **bio)
{
	(void)BIO_free(*bio);
}

static void
pkey_freep(EVP_PKEY **pkey)
{
	EVP_PKEY_free(*pkey);
}

static void
md_ctx_freep(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

/* Public keys need none, and nobody is asked for one. */
static int
no_password(char *buf, int size, int is_write, void *ctx)
{
	(void)buf;
	(void)size;
	(void)is_write;
	(void)ctx;
	return -1;
}

/* The curve's number; NID_undef. */
static int
curve_of(const EVP_PKEY *pkey)
{
	char name[64];
	size_t len = 0;

	if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) != 1)
		return NID_undef;
	return OBJ_txt2nid(name);
}

/* Nobody may choose a weaker hash than the key's own. */
static int
choose_hashes(struct key *k, struct imgd_error **err)
{
	int curve;

	k->hashes[0] = EVP_sha256();
	k->n_hashes = 1;
	switch (EVP_PKEY_get_base_id(k->pkey)) {
	case EVP_PKEY_ED25519:
		k->hashes[0] = NULL;
		return 0;
	case EVP_PKEY_RSA:
		if (EVP_PKEY_get_bits(k->pkey) >= MIN_RSA_BITS)
			return 0;
		return imgd_error_set(err, EINVAL,
		    "%s: an RSA key of less than %d bits", k->name,
		    MIN_RSA_BITS);
	case EVP_PKEY_EC:
		curve = curve_of(k->pkey);
		if (curve == NID_X9_62_prime256v1)
			return 0;
		/* cosign hashed with SHA-256 for all curves until 3.0. */
		if (curve == NID_secp384r1) {
			k->hashes[k->n_hashes++] = EVP_sha384();
			return 0;
		}
		break;
	default:
		break;
	}
	return imgd_error_set(err, EINVAL,
	    "%s: a key that is neither of ECDSA on P-256 or P-384, nor of Ed25519 or RSA",
	    k->name);
}

static int
add_key(struct signature_keys *keys, const char *name, EVP_PKEY **pkey,
    struct imgd_error **err)
{
	struct key *items = reallocarray(keys->items, keys->n + 1,
	    sizeof(*items));

	if (items == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	keys->items = items;
	items += keys->n;
	*items = (struct key) { .name = strdup(name) };
	if (items->name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	items->pkey = take_ptr(pkey);
	keys->n++;
	return choose_hashes(items, err);
}

int
signature_keys_add(struct signature_keys **keys, const char *name,
    const char *pem, size_t len, struct imgd_error **err)
{
	cleanup(bio_freep) BIO *bio = NULL;
	size_t n = 0;
	int r = 0;

	if (len > LIMIT_KEY_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "%s: more than %u bytes are no public key", name,
		    LIMIT_KEY_BYTES);
	if (*keys == NULL)
		*keys = calloc(1, sizeof(**keys));
	bio = BIO_new_mem_buf(pem, (int)len);
	if (*keys == NULL || bio == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (; r >= 0; n++) {
		cleanup(pkey_freep) EVP_PKEY *pkey = PEM_read_bio_PUBKEY(bio,
		    NULL, no_password, NULL);

		if (pkey == NULL)
			break;
		r = add_key(*keys, name, &pkey, err);
	}
	ERR_clear_error();
	if (r >= 0 && (n == 0 || BIO_pending(bio) > 0))
		r = imgd_error_set(err, EINVAL,
		    "%s: not a public key in PEM form", name);
	return r;
}

void
signature_keys_free(struct signature_keys *keys)
{
	size_t i;

	for (i = 0; keys != NULL && i < keys->n; i++) {
		EVP_PKEY_free(keys->items[i].pkey);
		free(keys->items[i].name);
	}
	if (keys != NULL)
		free(keys->items);
	free(keys);
}

static bool
has_made(const struct key *k, const EVP_MD *hash, const struct signature *s,
    const void *sig, size_t sig_len)
{
	cleanup(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	return ctx != NULL &&
	    EVP_DigestVerifyInit(ctx, NULL, hash, NULL, k->pkey) == 1 &&
	    EVP_DigestVerify(ctx, sig, sig_len,
		(const unsigned char *)s->payload, s->payload_len) == 1;
}

int
signature_check(const struct signature_keys *keys,
    const struct signature *s, const char **ret_key, struct imgd_error **err)
{
	cleanup_free void *sig = NULL;
	size_t i, h, len;
	int r;

	r = base64_decode(s->text, &sig, &len, err);
	if (r < 0)
		return r;
	for (i = 0; i < keys->n; i++)
		for (h = 0; h < keys->items[i].n_hashes; h++) {
			const struct key *k = &keys->items[i];
			bool is_its = has_made(k, k->hashes[h], s, sig, len);

			ERR_clear_error();
			if (!is_its)
				continue;
			*ret_key = k->name;
			return 1;
		}
	return 0;
}
