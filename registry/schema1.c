/*
 * Manifests of schema 1.  Source: distribution docs spec/manifest-v2-1.md;
 * the signatures are JSON Web Signatures (RFC 7515) of a kind of their own,
 * which leaves the signed text readable: "protected" says how much of the
 * document it is and how it went on.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"
#include "registry/legacy.h"
#include "registry/manifest.h"

#define MAX_SIGNATURES 16
#define P256_BYTES     32

static bool
is_type(const char *media_type, const char *const *types, size_t n)
{
	size_t len = strcspn(media_type, "; \t"), i;

	for (i = 0; i < n; i++)
		if (strlen(types[i]) == len &&
		    strncasecmp(media_type, types[i], len) == 0)
			return true;
	return false;
}

bool
schema1_is(const char *media_type, const void *data, size_t len)
{
	static const char *const own[] = { MEDIA_DOCKER_SCHEMA1,
		MEDIA_DOCKER_SCHEMA1_SIGNED };
	static const char *const generic[] = { "", "application/json",
		"application/octet-stream", "text/plain" };
	cleanup(json_putp) struct json_object *root = NULL;

	if (media_type == NULL)
		media_type = "";
	if (is_type(media_type, own, 2))
		return true;
	return is_type(media_type, generic, 4) &&
	    json_get_root(data, len, &root, NULL) >= 0 &&
	    json_has(root, "fsLayers");
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- base64url without padding (RFC 7515, 2) ---- */

static int
decode(const char *what, const char *s, uint8_t **ret, size_t *ret_len,
    struct imgd_error **err)
{
	size_t len = strlen(s), pad = (4 - len % 4) % 4, i;
	cleanup_free char *text = malloc(len + pad + 1);
	cleanup_free uint8_t *out = malloc(3 * (len / 4 + 1) + 1);
	int n;

	if (text == NULL || out == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < len; i++)
		text[i] = s[i] == '-' ? '+' : s[i] == '_' ? '/' : s[i];
	memset(text + len, '=', pad);
	text[len + pad] = '\0';
	n = len % 4 == 1 || strpbrk(s, "+/=") != NULL ? -1 :
	    EVP_DecodeBlock(out, (const unsigned char *)text,
		(int)(len + pad));
	if (n < (int)pad)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "signature: \"%s\" is not base64url", what);
	out[(size_t)n - pad] = '\0';
	*ret = take_ptr(&out);
	*ret_len = (size_t)n - pad;
	return 0;
}

static char *
encode(const void *data, size_t len)
{
	char *text = malloc(4 * (len / 3 + 1) + 1), *p;

	if (text == NULL)
		return NULL;
	(void)EVP_EncodeBlock((unsigned char *)text, data, (int)len);
	for (p = text; *p != '\0' && *p != '='; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	*p = '\0';
	return text;
}

static int
decode_member(struct json_object *o, const char *key, uint8_t **ret,
    size_t *ret_len, struct imgd_error **err)
{
	const char *s;
	int r = json_get_str(o, key, &s, err);

	if (r < 0)
		return r;
	if (s == NULL)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "signature: \"%s\" is missing", key);
	return decode(key, s, ret, ret_len, err);
}

/* ---- one signature ---- */

static void
pkey_freep(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static void
pctx_freep(EVP_PKEY_CTX **ctx)
{
	EVP_PKEY_CTX_free(*ctx);
}

static void
mdctx_freep(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

static void
sig_freep(ECDSA_SIG **sig)
{
	ECDSA_SIG_free(*sig);
}

/* The P-256 key of a JSON Web Key (RFC 7518, 6.2). */
static int
key_of(struct json_object *jwk, EVP_PKEY **ret, struct imgd_error **err)
{
	cleanup(pctx_freep) EVP_PKEY_CTX *ctx = NULL;
	cleanup_free uint8_t *x = NULL, *y = NULL;
	uint8_t point[1 + 2 * P256_BYTES] = { 4 };
	char group[] = "prime256v1";
	OSSL_PARAM params[3];
	size_t x_len, y_len;
	int r;

	r = decode_member(jwk, "x", &x, &x_len, err);
	if (r >= 0)
		r = decode_member(jwk, "y", &y, &y_len, err);
	if (r < 0)
		return r;
	if (x_len != P256_BYTES || y_len != P256_BYTES)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "signature: the key is not a P-256 key");
	memcpy(point + 1, x, P256_BYTES);
	memcpy(point + 1 + P256_BYTES, y, P256_BYTES);
	params[0] = OSSL_PARAM_construct_utf8_string(
	    OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
	params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
	    point, sizeof(point));
	params[2] = OSSL_PARAM_construct_end();
	ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0)
		return no_memory(err);
	if (EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "signature: the key is not a P-256 key");
	return 0;
}

/* JWS has r and s side by side, OpenSSL wants DER. */
static int
der_of(const uint8_t *rs, unsigned char **ret, int *ret_len,
    struct imgd_error **err)
{
	cleanup(sig_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(rs, P256_BYTES, NULL);
	BIGNUM *s = BN_bin2bn(rs + P256_BYTES, P256_BYTES, NULL);

	if (sig == NULL || r == NULL || s == NULL ||
	    ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		return no_memory(err);
	}
	*ret_len = i2d_ECDSA_SIG(sig, ret);
	return *ret_len > 0 ? 0 : no_memory(err);
}

static int
check_es256(EVP_PKEY *key, const uint8_t *rs, const char *signed_text,
    struct imgd_error **err)
{
	cleanup(mdctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char *der = NULL;
	int r, len = 0, is_good;

	r = der_of(rs, &der, &len, err);
	if (r < 0)
		return r;
	is_good = ctx != NULL &&
	    EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
	    EVP_DigestVerify(ctx, der, (size_t)len,
		(const unsigned char *)signed_text,
		strlen(signed_text)) == 1;
	OPENSSL_free(der);
	if (!is_good)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "the manifest's signature is wrong");
	return 0;
}

static int
check_signature(struct json_object *sig, const char *payload,
    size_t payload_len, struct imgd_error **err)
{
	cleanup(pkey_freep) EVP_PKEY *key = NULL;
	cleanup_free uint8_t *rs = NULL;
	cleanup_free char *coded = NULL, *text = NULL;
	struct json_object *header, *jwk = NULL;
	const char *alg = NULL, *protected = NULL;
	struct strbuf sb = STRBUF_INIT;
	size_t rs_len;
	int r;

	r = json_get_object(sig, "header", &header, err);
	if (r >= 0 && header != NULL)
		r = json_get_str(header, "alg", &alg, err);
	if (r >= 0 && header != NULL)
		r = json_get_object(header, "jwk", &jwk, err);
	if (r >= 0)
		r = json_get_str(sig, "protected", &protected, err);
	if (r < 0)
		return r;
	/* Whatever was signed otherwise is held by its digest alone. */
	if (alg == NULL || strcmp(alg, "ES256") != 0 || jwk == NULL) {
		log_debug("registry", "signature by %s is not checked",
		    alg != NULL ? alg : "nobody");
		return 0;
	}
	r = decode_member(sig, "signature", &rs, &rs_len, err);
	if (r >= 0 && rs_len != 2 * P256_BYTES)
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    "signature: %zu bytes instead of %d", rs_len,
		    2 * P256_BYTES);
	if (r >= 0)
		r = key_of(jwk, &key, err);
	if (r < 0)
		return r;
	coded = encode(payload, payload_len);
	if (coded == NULL)
		return no_memory(err);
	strbuf_printf(&sb, "%s.%s", protected, coded);
	text = strbuf_take(&sb);
	return text != NULL ? check_es256(key, rs, text, err) : no_memory(err);
}

/* ---- the payload ---- */

/* What a signature's "protected" says the payload is. */
static int
payload_of(struct json_object *sig, const char *data, size_t len,
    char **ret, size_t *ret_len, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup_free uint8_t *text = NULL, *tail = NULL;
	size_t text_len, tail_len;
	uint64_t length;
	char *payload;
	int r;

	if (!json_object_is_type(sig, json_type_object))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a signature is not an object");
	r = decode_member(sig, "protected", &text, &text_len, err);
	if (r >= 0)
		r = json_get_root(text, text_len, &root, err);
	if (r >= 0)
		r = json_get_u64(root, "formatLength", &length, NULL, err);
	if (r >= 0)
		r = decode_member(root, "formatTail", &tail, &tail_len, err);
	if (r < 0)
		return r;
	if (length > len)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "signature: \"formatLength\" is beyond the end");
	payload = malloc((size_t)length + tail_len + 1);
	if (payload == NULL)
		return no_memory(err);
	memcpy(payload, data, (size_t)length);
	memcpy(payload + length, tail, tail_len);
	payload[length + tail_len] = '\0';
	*ret = payload;
	*ret_len = (size_t)length + tail_len;
	return 0;
}

/* All signatures must be about the same payload, and right. */
static int
check_all(struct json_object *sigs, const char *data, size_t len, char **ret,
    size_t *ret_len, struct imgd_error **err)
{
	size_t n = json_object_array_length(sigs), i;
	int r = 0;

	if (n > MAX_SIGNATURES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d signatures", MAX_SIGNATURES);
	for (i = 0; r >= 0 && i < n; i++) {
		struct json_object *sig = json_object_array_get_idx(sigs, i);
		cleanup_free char *payload = NULL;
		size_t payload_len = 0;

		r = payload_of(sig, data, len, &payload, &payload_len, err);
		if (r >= 0 && *ret != NULL &&
		    (payload_len != *ret_len ||
			memcmp(payload, *ret, payload_len) != 0))
			r = imgd_error_set(err, IMGD_E_FORMAT,
			    "the signatures are about different payloads");
		if (r >= 0)
			r = check_signature(sig, payload, payload_len, err);
		if (r >= 0 && *ret == NULL) {
			*ret = take_ptr(&payload);
			*ret_len = payload_len;
		}
	}
	return r;
}

int
schema1_payload(const void *data, size_t len, char **ret, size_t *ret_len,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup_free char *payload = NULL;
	struct json_object *sigs;
	size_t payload_len = len;
	int r;

	r = json_get_root(data, len, &root, err);
	if (r >= 0)
		r = json_get_array(root, "signatures", &sigs, err);
	if (r >= 0 && sigs != NULL && json_object_array_length(sigs) > 0)
		r = check_all(sigs, data, len, &payload, &payload_len, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "manifest");
		return r;
	}
	if (payload == NULL) {
		payload = malloc(len + 1);
		if (payload == NULL)
			return no_memory(err);
		memcpy(payload, data, len);
		payload[len] = '\0';
	}
	*ret = take_ptr(&payload);
	*ret_len = payload_len;
	return 0;
}

/* ---- the layers ---- */

static int
add_layer(struct legacy_image *image, struct json_object *fs,
    struct json_object *history, size_t i, struct imgd_error **err)
{
	const char *json = NULL, *digest = NULL;
	struct legacy_layer *l;
	int r = 0;

	if (!json_object_is_type(fs, json_type_object) ||
	    !json_object_is_type(history, json_type_object))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "layer %zu is not an object", i);
	r = json_get_str(history, "v1Compatibility", &json, err);
	if (r >= 0)
		r = json_get_str(fs, "blobSum", &digest, err);
	if (r < 0)
		return r;
	if (json == NULL || digest == NULL || !digest_is_valid(digest))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "layer %zu: bad digest or history", i);
	r = legacy_add(image, json, strlen(json), &l, err);
	if (r < 0)
		return r;
	if (!l->is_throwaway)
		memcpy(l->blob_digest, digest, DIGEST_STR_SIZE);
	/* Docker wrote some ids twice: the upper one is dropped. */
	if (image->n_layers > 1 && strcmp(l[-1].id, l->id) == 0) {
		struct legacy_layer upper = l[-1];

		l[-1] = *l;
		*l = upper;
		legacy_drop_last(image);
	}
	return 0;
}

static int
all_layers(struct json_object *root, struct legacy_image *image,
    struct imgd_error **err)
{
	struct json_object *fs, *history;
	uint64_t version;
	size_t i, n;
	int r;

	r = json_get_u64(root, "schemaVersion", &version, NULL, err);
	if (r >= 0)
		r = json_get_array(root, "fsLayers", &fs, err);
	if (r >= 0)
		r = json_get_array(root, "history", &history, err);
	if (r < 0)
		return r;
	if (version != 1 || json_has(root, "layers") ||
	    json_has(root, "config") || json_has(root, "manifests"))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a schema 1 manifest with members of another kind");
	n = fs != NULL ? json_object_array_length(fs) : 0;
	if (history == NULL || n != json_object_array_length(history))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "layers and history do not match");
	for (i = 0; r >= 0 && i < n; i++)
		r = add_layer(image, json_object_array_get_idx(fs, i),
		    json_object_array_get_idx(history, i), i, err);
	return r < 0 ? r : legacy_finish(image, err);
}

int
schema1_layers(const void *payload, size_t len, struct legacy_image *image,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	int r;

	r = json_get_root(payload, len, &root, err);
	if (r >= 0)
		r = all_layers(root, image, err);
	if (r < 0)
		(void)imgd_error_prefix(err, "manifest");
	return r;
}
