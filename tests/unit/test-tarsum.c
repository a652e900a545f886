/* TarSum, by the numbers of Docker's own tests and of others. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "imgd/error.h"
#include "registry/tarsum.h"

#define BLOCK 512

struct tar {
	uint8_t *data;
	size_t len;
};

static void
put(uint8_t *field, size_t len, uint64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%0*llo", (int)len - 1,
	    (unsigned long long)value);
	memcpy(field, text, len);
}

static void
add_entry(struct tar *t, const char *name, unsigned int mode, char type,
    uint64_t mtime, const char *link, const void *data, size_t len)
{
	size_t size = BLOCK + (len + BLOCK - 1) / BLOCK * BLOCK, i;
	unsigned int checksum = 0;
	uint8_t *h;

	t->data = realloc(t->data, t->len + size);
	assert_non_null(t->data);
	h = t->data + t->len;
	memset(h, 0, size);
	memcpy(h, name, strlen(name));
	put(h + 100, 8, mode);
	put(h + 108, 8, 0);
	put(h + 116, 8, 0);
	put(h + 124, 12, len);
	put(h + 136, 12, mtime);
	memset(h + 148, ' ', 8);
	h[156] = (uint8_t)type;
	memcpy(h + 157, link, strlen(link));
	memcpy(h + 257, "ustar\00000", 8);
	for (i = 0; i < BLOCK; i++)
		checksum += h[i];
	put(h + 148, 7, checksum);
	if (len > 0)
		memcpy(h + BLOCK, data, len);
	t->len += size;
}

static void
add_end(struct tar *t)
{
	t->data = realloc(t->data, t->len + 2 * BLOCK);
	assert_non_null(t->data);
	memset(t->data + t->len, 0, 2 * BLOCK);
	t->len += 2 * BLOCK;
}

/* In pieces, so that nothing may depend on where they end. */
static int
check(const char *expected, const char *json, const struct tar *t,
    size_t piece)
{
	struct tarsum *sum = NULL;
	size_t at, n;
	int r;

	assert_int_equal(tarsum_new(expected, json, strlen(json), &sum, NULL),
	    0);
	assert_non_null(sum);
	for (at = 0; at < t->len; at += n) {
		n = t->len - at < piece ? t->len - at : piece;
		assert_int_equal(tarsum_update(sum, t->data + at, n, NULL),
		    0);
	}
	r = tarsum_check(sum, NULL);
	tarsum_free(sum);
	return r;
}

static const char json_j[] = "{\"id\":\"0000000000000000000000000000000000000"
    "000000000000000000000000001\"}";

static struct tar
sample(void)
{
	struct tar t = { NULL, 0 };

	add_entry(&t, "etc/", 0040755, '5', 1408492800, "", NULL, 0);
	add_entry(&t, "etc/hostname", 0100644, '0', 1408492800, "", "imgd\n",
	    5);
	add_entry(&t, "etc/motd", 0120777, '2', 1408492800, "hostname", NULL,
	    0);
	add_end(&t);
	return t;
}

static void
known_sums_agree(void **state)
{
	struct tar t = sample();

	(void)state;
	assert_int_equal(check("tarsum+sha256:8b717fd72dfb43872ebc3b8da3a89b33"
	    "962470fcb1df89e292d260b36c729e64", json_j, &t, 100000), 0);
	assert_int_equal(check("tarsum+sha256:7104dbfae59ccedb96c517aa984671e3"
	    "a2b73beddb33672974a67ce8af415498", "", &t, 1), 0);
	assert_int_equal(check("tarsum.v1+sha256:42dcb7db80eb8ecbcdfae67841b21"
	    "3d1b5b26b0f7184702cd368105c1f00bad1", json_j, &t, 511), 0);
	free(t.data);
}

static void
an_old_file_of_a_mebibyte(void **state)
{
	uint8_t *zeros = calloc(1, 1 << 20);
	struct tar t = { NULL, 0 };

	(void)state;
	assert_non_null(zeros);
	add_entry(&t, "/testdata0", 0755, '\0', 0, "", zeros, 1 << 20);
	add_end(&t);
	assert_int_equal(check("tarsum+sha256:8bf12d7e67c51ee2e8306cba569398b1"
	    "b9f419969521a12ffb9d8875e8836738", "", &t, 65537), 0);
	free(t.data);
	free(zeros);
}

static void
nothing_is_the_sum_of_nothing(void **state)
{
	struct tar t = { NULL, 0 };

	(void)state;
	add_end(&t);
	assert_int_equal(check("tarsum+sha256:e3b0c44298fc1c149afbf4c8996fb924"
	    "27ae41e4649b934ca495991b7852b855", "", &t, 4096), 0);
	free(t.data);
}

static void
another_tar_has_another_sum(void **state)
{
	struct tar t = sample();

	(void)state;
	t.data[2 * BLOCK]++;
	assert_int_equal(check("tarsum+sha256:8b717fd72dfb43872ebc3b8da3a89b33"
	    "962470fcb1df89e292d260b36c729e64", json_j, &t, 4096),
	    -IMGD_E_DIGEST);
	t.data[2 * BLOCK]--;
	assert_int_equal(check("tarsum+sha256:8b717fd72dfb43872ebc3b8da3a89b33"
	    "962470fcb1df89e292d260b36c729e64", "{}", &t, 4096),
	    -IMGD_E_DIGEST);
	free(t.data);
}

/* Docker 1.2 summed the last of several, later ones sum all. */
static void
names_may_come_twice(void **state)
{
	struct tar last = { NULL, 0 }, all = { NULL, 0 };
	static const char once[] = "tarsum+sha256:8bf12d7e67c51ee2e8306cba5693"
	    "98b1b9f419969521a12ffb9d8875e8836738";
	uint8_t *zeros = calloc(1, 1 << 20);

	(void)state;
	assert_non_null(zeros);
	add_entry(&all, "./testdata0", 0755, '\0', 0, "", "x", 1);
	add_entry(&all, "/testdata0", 0755, '\0', 0, "", "x", 1);
	add_entry(&all, "/testdata0", 0755, '\0', 0, "", zeros, 1 << 20);
	add_end(&all);
	assert_int_equal(check(once, "", &all, 4096), -IMGD_E_DIGEST);
	add_entry(&last, "/testdata0", 0755, '\0', 0, "", "x", 1);
	add_entry(&last, "/testdata0", 0755, '\0', 0, "", zeros, 1 << 20);
	add_end(&last);
	assert_int_equal(check(once, "", &last, 4096), 0);
	free(all.data);
	free(last.data);
	free(zeros);
}

static void
sums_of_other_kinds_are_not_known(void **state)
{
	struct tarsum *sum = (void *)1;

	(void)state;
	assert_int_equal(tarsum_new("tarsum.dev+sha256:8b717fd72dfb43872ebc3b8"
	    "da3a89b33962470fcb1df89e292d260b36c729e64", "", 0, &sum, NULL),
	    0);
	assert_null(sum);
	assert_int_equal(tarsum_new("tarsum+sha256:8b7", "", 0, &sum, NULL),
	    0);
	assert_null(sum);
}

/* A tar that ends in the middle, or says nonsense, is left to its reader. */
static void
nonsense_is_no_mismatch(void **state)
{
	struct tar t = sample();

	(void)state;
	t.len = 700;
	assert_int_equal(check("tarsum+sha256:8b717fd72dfb43872ebc3b8da3a89b33"
	    "962470fcb1df89e292d260b36c729e64", json_j, &t, 64), 0);
	free(t.data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sums_agree),
		cmocka_unit_test(an_old_file_of_a_mebibyte),
		cmocka_unit_test(nothing_is_the_sum_of_nothing),
		cmocka_unit_test(another_tar_has_another_sum),
		cmocka_unit_test(names_may_come_twice),
		cmocka_unit_test(sums_of_other_kinds_are_not_known),
		cmocka_unit_test(nonsense_is_no_mismatch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
