/* Errors, strings and digests. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

static void
error_keeps_code_and_gathers_prefixes(void **state)
{
	cleanup_error struct imgd_error *err = NULL;

	(void)state;
	assert_int_equal(imgd_error_set(&err, ENOENT, "layer %s", "x"),
	    -ENOENT);
	assert_int_equal(imgd_error_prefix(&err, "pull"), -ENOENT);
	assert_string_equal(imgd_error_msg(err), "pull: layer x");
	assert_int_equal(imgd_error_code(err), ENOENT);
}

static void
escape_leaves_no_control_character(void **state)
{
	cleanup_free char *s = str_escape("a\033[2J\n\xc2\x9b\xff\\", 10);

	(void)state;
	assert_string_equal(s, "a\\x1b[2J\\n\\xc2\\x9b\\xff\\");
}

static void
utf8_refuses_surrogates_and_overlong(void **state)
{
	(void)state;
	assert_true(str_is_utf8("\xf0\x9f\x90\xb3", 4));
	assert_false(str_is_utf8("\xed\xa0\x80", 3));
	assert_false(str_is_utf8("\xc0\x80", 2));
	assert_false(str_is_utf8("\xf4\x90\x80\x80", 4));
	assert_false(str_is_utf8("\xe2\x82", 2));
}

static void
chain_id_matches_the_known_vector(void **state)
{
	const char *d0 =
	    "sha256:6333f3107c7f677eb93dd4f22ead295e3fb4f903cffebee2c57e4a546cbcde7f";
	const char *d1 =
	    "sha256:6932481523b1a58eb4c8a32a3cd1dae094c3e8fa3cab499e785d14110269df8a";
	char chain0[DIGEST_STR_SIZE], chain1[DIGEST_STR_SIZE];

	(void)state;
	assert_int_equal(digest_chain(NULL, d0, chain0, NULL), 0);
	assert_string_equal(chain0, d0);
	assert_int_equal(digest_chain(chain0, d1, chain1, NULL), 0);
	assert_string_equal(chain1,
	    "sha256:f5c9bd875ee31949a8184cdd2994e13b19233df15cbfe427eb2de8eac01e09e5");
}

static void
digest_form_is_strict(void **state)
{
	char d[DIGEST_STR_SIZE];

	(void)state;
	assert_int_equal(digest_of("", 0, d, NULL), 0);
	assert_string_equal(d,
	    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_true(digest_is_valid(d));
	d[10] = 'A';
	assert_false(digest_is_valid(d));
	assert_false(digest_is_valid("sha256:abc"));
	assert_false(digest_is_valid("../../etc/passwd"));
}

static void
sizes_read_as_docker_prints_them(void **state)
{
	char buf[32];

	(void)state;
	assert_string_equal(str_size(0, buf), "0B");
	assert_string_equal(str_size(999, buf), "999B");
	assert_string_equal(str_size(1240000, buf), "1.24MB");
	assert_string_equal(str_size(188000000, buf), "188MB");
}

static void
numbers_have_no_sign_blank_or_overflow(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_true(str_to_u64("18446744073709551615", UINT64_MAX, &v));
	assert_false(str_to_u64("18446744073709551616", UINT64_MAX, &v));
	assert_false(str_to_u64("-1", 10, &v));
	assert_false(str_to_u64("", 10, &v));
	assert_false(str_to_u64("11", 10, &v));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_keeps_code_and_gathers_prefixes),
		cmocka_unit_test(escape_leaves_no_control_character),
		cmocka_unit_test(utf8_refuses_surrogates_and_overlong),
		cmocka_unit_test(chain_id_matches_the_known_vector),
		cmocka_unit_test(digest_form_is_strict),
		cmocka_unit_test(sizes_read_as_docker_prints_them),
		cmocka_unit_test(numbers_have_no_sign_blank_or_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
