/* WWW-Authenticate lines, as they are and as they should not be. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry/challenge.h"

static struct challenge
parse(const char *line)
{
	struct challenge c = { .has_basic = false };
	char *lines[1] = { (char *)(uintptr_t)line };

	assert_int_equal(challenge_parse(lines, 1, &c, NULL), 0);
	return c;
}

static void
bearer_has_its_parameters(void **state)
{
	struct challenge c = parse(
	    "Bearer realm=\"http://127.0.0.1:5904/token\","
	    "service=\"my registry\","
	    "scope=\"repository:t/b:pull,push repository:t/a:pull\","
	    "error=\"invalid_token\"");

	(void)state;
	assert_true(c.has_bearer);
	assert_false(c.has_basic);
	assert_string_equal(c.realm, "http://127.0.0.1:5904/token");
	assert_string_equal(c.service, "my registry");
	assert_string_equal(c.scope,
	    "repository:t/b:pull,push repository:t/a:pull");
	assert_string_equal(c.error, "invalid_token");
	challenge_done(&c);
}

static void
names_have_no_case_and_blanks_are_allowed(void **state)
{
	struct challenge c = parse("bEARER  Realm = \"r\" , SERVICE = s");

	(void)state;
	assert_true(c.has_bearer);
	assert_string_equal(c.realm, "r");
	assert_string_equal(c.service, "s");
	assert_null(c.scope);
	challenge_done(&c);
}

static void
bare_values_and_escapes(void **state)
{
	struct challenge c = parse(
	    "Bearer realm=https://h/t?a=b,service=\"a\\\"b\\\\c\"");

	(void)state;
	assert_string_equal(c.realm, "https://h/t?a=b");
	assert_string_equal(c.service, "a\"b\\c");
	challenge_done(&c);
}

static void
several_challenges_in_a_line(void **state)
{
	struct challenge c = parse(
	    "Negotiate YII/abc==, NTLM, Basic realm=\"x, Bearer realm=y\", "
	    "Bearer realm=\"z\",service=\"s\", Digest realm=\"d\"");

	(void)state;
	assert_true(c.has_basic);
	assert_true(c.has_bearer);
	assert_string_equal(c.realm, "z");
	assert_string_equal(c.service, "s");
	challenge_done(&c);
}

static void
several_lines(void **state)
{
	char one[] = "Basic realm=\"a\"", two[] = "Bearer realm=\"b\"";
	char *lines[2] = { one, two };
	struct challenge c = { .has_basic = false };

	(void)state;
	assert_int_equal(challenge_parse(lines, 2, &c, NULL), 0);
	assert_true(c.has_basic);
	assert_true(c.has_bearer);
	assert_string_equal(c.realm, "b");
	challenge_done(&c);
}

static void
nonsense_is_skipped(void **state)
{
	static const char *const lines[] = { "", ",,,", "=", "Bearer",
		"Bearer service=\"s\"", "Bearer realm", "\"", "Bearer \"realm",
		"Bearer ,=,", "x=y", "Bearer realm\x01=\"a" };
	struct challenge c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		c = parse(lines[i]);
		assert_false(c.has_basic);
		assert_false(c.has_bearer);
		challenge_done(&c);
	}
}

static void
a_quote_without_end_is_closed_by_the_line(void **state)
{
	struct challenge c = parse("Bearer realm=\"abc\\");

	(void)state;
	assert_true(c.has_bearer);
	assert_string_equal(c.realm, "abc\\");
	challenge_done(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bearer_has_its_parameters),
		cmocka_unit_test(names_have_no_case_and_blanks_are_allowed),
		cmocka_unit_test(bare_values_and_escapes),
		cmocka_unit_test(several_challenges_in_a_line),
		cmocka_unit_test(several_lines),
		cmocka_unit_test(nonsense_is_skipped),
		cmocka_unit_test(a_quote_without_end_is_closed_by_the_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
