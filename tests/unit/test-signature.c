/* Signatures in cosign's form: which key makes which, and what is none. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "lib/base64.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/manifest.h"
#include "registry/signature.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PAYLOAD                                                             \
	"{\"critical\":{\"identity\":{\"docker-reference\":\"r.io/a/b\"},"  \
	"\"image\":{\"docker-manifest-digest\":\"sha256:" HEX64 "\"},"      \
	"\"type\":\"cosign container image signature\"},\"optional\":null}"

/* ---- keys ---- */

static char *
pem_of(EVP_PKEY *k, bool is_private)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *ret;
	long len;

	if (is_private)
		assert_int_equal(PEM_write_bio_PrivateKey(bio, k, NULL, NULL,
		    0, NULL, NULL), 1);
	else
		assert_int_equal(PEM_write_bio_PUBKEY(bio, k), 1);
	len = BIO_get_mem_data(bio, &data);
	ret = strndup(data, (size_t)len);
	BIO_free(bio);
	return ret;
}

static char *
sign(EVP_PKEY *k, const EVP_MD *hash, const char *payload)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const unsigned char *p = (const unsigned char *)payload;
	unsigned char sig[1024];
	size_t len = sizeof(sig);

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, hash, NULL, k), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &len, p, strlen(payload)),
	    1);
	EVP_MD_CTX_free(ctx);
	return base64_encode(sig, len);
}

static struct signature_keys *
keys_of(EVP_PKEY *k)
{
	struct signature_keys *keys = NULL;
	char *pem = pem_of(k, false);

	assert_int_equal(signature_keys_add(&keys, "k.pub", pem, strlen(pem),
	    NULL), 0);
	free(pem);
	return keys;
}

static int
check(const struct signature_keys *keys, const char *data, const char *text)
{
	struct signature s = { (char *)(uintptr_t)data, strlen(data),
		(char *)(uintptr_t)text };
	const char *name = NULL;
	int r = signature_check(keys, &s, &name, NULL);

	if (r > 0)
		assert_string_equal(name, "k.pub");
	return r;
}

/* Its own signature is right; another payload's and another key's are not. */
static void
try_kind(EVP_PKEY *k, EVP_PKEY *other, const EVP_MD *hash)
{
	struct signature_keys *keys = keys_of(k);
	char *text = sign(k, hash, PAYLOAD), *foreign = sign(other, hash,
	    PAYLOAD);

	assert_int_equal(check(keys, PAYLOAD, text), 1);
	assert_int_equal(check(keys, PAYLOAD " ", text), 0);
	assert_int_equal(check(keys, PAYLOAD, foreign), 0);
	signature_keys_free(keys);
	free(text);
	free(foreign);
	EVP_PKEY_free(k);
	EVP_PKEY_free(other);
}

static void
each_kind_of_key_vouches_for_its_own(void **state)
{
	(void)state;
	try_kind(EVP_EC_gen("P-256"), EVP_EC_gen("P-256"), EVP_sha256());
	try_kind(EVP_EC_gen("P-384"), EVP_EC_gen("P-384"), EVP_sha256());
	try_kind(EVP_EC_gen("P-384"), EVP_EC_gen("P-384"), EVP_sha384());
	try_kind(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"),
	    EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
	try_kind(EVP_RSA_gen(2048), EVP_RSA_gen(2048), EVP_sha256());
}

static void
a_weak_hash_is_refused(void **state)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");
	struct signature_keys *keys = keys_of(k);
	char *text = sign(k, EVP_sha1(), PAYLOAD);

	(void)state;
	assert_int_equal(check(keys, PAYLOAD, text), 0);
	signature_keys_free(keys);
	free(text);
	EVP_PKEY_free(k);
}

static int
add(const char *pem)
{
	struct signature_keys *keys = NULL;
	int r = signature_keys_add(&keys, "k.pub", pem, strlen(pem), NULL);

	signature_keys_free(keys);
	return r;
}

static int
add_key(EVP_PKEY *k, bool is_private)
{
	char *pem = pem_of(k, is_private);
	int r = add(pem);

	free(pem);
	EVP_PKEY_free(k);
	return r;
}

static void
other_keys_are_refused(void **state)
{
	(void)state;
	assert_int_equal(add_key(EVP_EC_gen("P-521"), false), -EINVAL);
	assert_int_equal(add_key(EVP_EC_gen("secp256k1"), false), -EINVAL);
	assert_int_equal(add_key(EVP_RSA_gen(1024), false), -EINVAL);
	assert_int_equal(
	    add_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), false), -EINVAL);
	assert_int_equal(add_key(EVP_EC_gen("P-256"), true), -EINVAL);
	assert_int_equal(add(""), -EINVAL);
	assert_int_equal(add("no key"), -EINVAL);
	assert_int_equal(add("-----BEGIN PUBLIC KEY-----\nAAAA\n"
			     "-----END PUBLIC KEY-----\n"), -EINVAL);
}

static void
one_of_several_keys_is_enough(void **state)
{
	EVP_PKEY *a = EVP_EC_gen("P-256"), *b = EVP_EC_gen("P-384");
	char *pem_a = pem_of(a, false), *pem_b = pem_of(b, false);
	char *text = sign(b, EVP_sha256(), PAYLOAD), *both = NULL;
	struct signature_keys *keys = NULL;

	(void)state;
	assert_true(asprintf(&both, "%s\n%s", pem_a, pem_b) > 0);
	assert_int_equal(signature_keys_add(&keys, "k.pub", both,
	    strlen(both), NULL), 0);
	assert_int_equal(check(keys, PAYLOAD, text), 1);
	signature_keys_free(keys);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
	free(pem_a);
	free(pem_b);
	free(text);
	free(both);
}

static void
what_is_no_base64_is_malformed(void **state)
{
	static const char *const bad[] = { "!", "AAAA\n", "AA==AA==", "AAA", " AAA",
		"AAA-" };
	EVP_PKEY *k = EVP_EC_gen("P-256");
	struct signature_keys *keys = keys_of(k);
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(check(keys, PAYLOAD, bad[i]),
		    -IMGD_E_FORMAT);
	/* Well-formed, and nothing that this key makes. */
	assert_int_equal(check(keys, PAYLOAD, ""), 0);
	assert_int_equal(check(keys, PAYLOAD, "AAAA"), 0);
	signature_keys_free(keys);
	EVP_PKEY_free(k);
}

/* ---- payloads ---- */

static int
payload(const char *text)
{
	struct signature_payload p = { .reference = NULL };
	int r = signature_payload_parse(text, strlen(text), &p, NULL);

	signature_payload_done(&p);
	return r;
}

static void
a_payload_names_digest_and_reference(void **state)
{
	struct signature_payload p;

	(void)state;
	assert_int_equal(signature_payload_parse(PAYLOAD, strlen(PAYLOAD), &p,
	    NULL), 0);
	assert_string_equal(p.digest, "sha256:" HEX64);
	assert_string_equal(p.reference, "r.io/a/b");
	signature_payload_done(&p);
}

static void
payloads_that_are_none(void **state)
{
	static const char *const bad[] = { "", "{}", "[]", "null",
		PAYLOAD "x",
		"{\"critical\":null}",
		/* another type, no type */
		"{\"critical\":{\"identity\":{\"docker-reference\":\"a\"},"
		"\"image\":{\"docker-manifest-digest\":\"sha256:" HEX64
		"\"},\"type\":\"atomic container signature\"}}",
		"{\"critical\":{\"identity\":{\"docker-reference\":\"a\"},"
		"\"image\":{\"docker-manifest-digest\":\"sha256:" HEX64
		"\"}}}",
		/* no reference; a digest cut short; one of another kind */
		"{\"critical\":{\"identity\":{},"
		"\"image\":{\"docker-manifest-digest\":\"sha256:" HEX64
		"\"},\"type\":\"cosign container image signature\"}}",
		"{\"critical\":{\"identity\":{\"docker-reference\":\"a\"},"
		"\"image\":{\"docker-manifest-digest\":\"sha256:0123\"},"
		"\"type\":\"cosign container image signature\"}}",
		"{\"critical\":{\"identity\":{\"docker-reference\":\"a\"},"
		"\"image\":{\"docker-manifest-digest\":7},"
		"\"type\":\"cosign container image signature\"}}",
		/* a key twice: parsers disagree which counts */
		"{\"critical\":{},\"critical\":{}}" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(payload(bad[i]), -IMGD_E_FORMAT);
}

/* ---- manifests of signatures ---- */

#define LAYER(type, more)                                                \
	"{\"mediaType\":\"" type "\",\"size\":9,\"digest\":\"sha256:" HEX64 \
	"\"" more "}"
#define ANNOTATED(text)                                             \
	",\"annotations\":{\"" SIGNATURE_ANNOTATION "\":\"" text "\"}"

static size_t
n_layers(const char *text, int expected)
{
	struct signature_layers l = { .n = 0 };
	size_t n;

	assert_int_equal(signature_manifest_parse(text, strlen(text), &l,
	    NULL), expected);
	n = l.n;
	if (n > 0)
		assert_string_equal(l.items[0].text, "AAAA");
	signature_layers_done(&l);
	return n;
}

static void
layers_that_are_signatures_are_found(void **state)
{
	(void)state;
	assert_int_equal(n_layers("{\"layers\":["
	    LAYER("application/x", "") ","
	    LAYER(MEDIA_SIMPLE_SIGNING, ANNOTATED("AAAA")) ","
	    LAYER(MEDIA_SIMPLE_SIGNING, "") "]}", 0), 1);
	assert_int_equal(n_layers("{}", 0), 0);
	n_layers("[]", -IMGD_E_FORMAT);
	n_layers("{\"layers\":[1]}", -IMGD_E_FORMAT);
	n_layers("{\"layers\":[{\"mediaType\":\"" MEDIA_SIMPLE_SIGNING
		 "\",\"size\":9,\"digest\":\"../../x\"" ANNOTATED("AAAA")
		 "}]}", -IMGD_E_FORMAT);
}

static char *
many_layers(size_t n)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	strbuf_puts(&sb, "{\"layers\":[");
	for (i = 0; i < n; i++) {
		strbuf_puts(&sb, i > 0 ? "," : "");
		strbuf_puts(&sb,
		    LAYER(MEDIA_SIMPLE_SIGNING, ANNOTATED("AAAA")));
	}
	strbuf_puts(&sb, "]}");
	return strbuf_take(&sb);
}

static void
signatures_are_counted(void **state)
{
	char *text = many_layers(LIMIT_SIGNATURES);
	struct signature_list list = { .n = 0 };
	char name[16];
	int i;

	(void)state;
	assert_int_equal(n_layers(text, 0), LIMIT_SIGNATURES);
	free(text);
	text = many_layers(LIMIT_SIGNATURES + 1);
	n_layers(text, -IMGD_E_LIMIT);
	free(text);
	for (i = 0; i < LIMIT_SIGNATURES; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(signature_list_add(&list, "p", 1, name,
		    NULL), 0);
	}
	assert_int_equal(signature_list_add(&list, "p", 1, "0", NULL), 0);
	assert_int_equal(signature_list_add(&list, "p", 1, "x", NULL),
	    -IMGD_E_LIMIT);
	signature_list_done(&list);
}

static void
only_signatures_among_referrers_count(void **state)
{
	static const char text[] = "{\"manifests\":["
	    "{\"artifactType\":\"application/x\",\"digest\":\"sha256:" HEX64
	    "\"},{\"artifactType\":\"" MEDIA_SIGNATURE_ARTIFACT
	    "\",\"digest\":\"sha256:" HEX64 "\"},"
	    "{\"artifactType\":\"" MEDIA_SIGNATURE_ARTIFACT
	    "\",\"digest\":\"md5:1\"},{}]}";
	char (*digests)[DIGEST_STR_SIZE];
	size_t n;

	(void)state;
	assert_int_equal(signature_referrers_parse(text, strlen(text),
	    &digests, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_string_equal(digests[0], "sha256:" HEX64);
	free(digests);
	assert_int_equal(signature_referrers_parse("[]", 2, &digests, &n,
	    NULL), -IMGD_E_FORMAT);
}

/* ---- documents ---- */

static void
add_doc(struct signed_docs *docs, const char *text)
{
	assert_int_equal(signed_docs_add(docs, text, strlen(text), NULL), 0);
}

/* An index that names what is in docs already, n times. */
static void
add_index(struct signed_docs *docs, size_t n)
{
	const struct signed_doc *last = &docs->items[docs->n - 1];
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	strbuf_puts(&sb, "{\"schemaVersion\":2,\"mediaType\":\""
	    MEDIA_OCI_INDEX "\",\"manifests\":[");
	for (i = 0; i < n; i++)
		strbuf_printf(&sb, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\","
		    "\"size\":%zu}", i > 0 ? "," : "",
		    docs->n == 1 ? MEDIA_OCI_MANIFEST : MEDIA_OCI_INDEX,
		    last->digest, last->len);
	strbuf_puts(&sb, "]}");
	add_doc(docs, sb.data);
	strbuf_done(&sb);
}

static void
a_digest_stands_for_the_image_it_leads_to(void **state)
{
	struct signed_docs docs = { .n = 0 };
	size_t i;

	(void)state;
	add_doc(&docs, "{\"schemaVersion\":2,\"mediaType\":\""
	    MEDIA_OCI_MANIFEST "\",\"config\":{\"mediaType\":\""
	    MEDIA_OCI_CONFIG "\",\"digest\":\"sha256:" HEX64
	    "\",\"size\":2},\"layers\":[]}");
	add_index(&docs, 1);
	add_index(&docs, 1000);
	for (i = 0; i < docs.n; i++) {
		assert_true(signed_docs_bind(&docs, docs.items[i].digest,
		    "sha256:" HEX64));
		assert_false(signed_docs_bind(&docs, docs.items[i].digest,
		    docs.items[0].digest));
	}
	assert_false(signed_docs_bind(&docs, "sha256:" HEX64,
	    "sha256:" HEX64));
	/* Without the manifest the index leads nowhere. */
	free(docs.items[0].data);
	docs.items[0] = docs.items[--docs.n];
	assert_false(signed_docs_bind(&docs, docs.items[1].digest,
	    "sha256:" HEX64));
	signed_docs_done(&docs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_key_vouches_for_its_own),
		cmocka_unit_test(a_weak_hash_is_refused),
		cmocka_unit_test(other_keys_are_refused),
		cmocka_unit_test(one_of_several_keys_is_enough),
		cmocka_unit_test(what_is_no_base64_is_malformed),
		cmocka_unit_test(a_payload_names_digest_and_reference),
		cmocka_unit_test(payloads_that_are_none),
		cmocka_unit_test(layers_that_are_signatures_are_found),
		cmocka_unit_test(signatures_are_counted),
		cmocka_unit_test(only_signatures_among_referrers_count),
		cmocka_unit_test(a_digest_stands_for_the_image_it_leads_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
