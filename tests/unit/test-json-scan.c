/* The look at JSON before a parser sees it. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/json-scan.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

static int
scan(const char *text)
{
	return json_scan(text, strlen(text), NULL);
}

static void
good_texts_pass(void **state)
{
	static const char *const texts[] = { "null", " true ", "false", "0",
		"-0", "-1.5e+10", "1E5", "123456789012345678901234567890",
		"\"\"", "\"\\u0000\\ud83d\\udc33\\ud800 \xf0\x9f\x90\xb3\"",
		"[]", "{}", "[[],{},[{}]]", "{\"a\":{\"a\":{\"a\":1}}}",
		"\r\n\t[1 , 2\t,3 ] ", "{\"\":1,\" \":2}",
		"{\"a\":[{\"b\":1},{\"b\":2}],\"b\":3}",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (scan(texts[i]) != 0)
			fail_msg("%s does not pass", texts[i]);
}

static void
malformed_texts_are_refused(void **state)
{
	static const char *const texts[] = { "", " ", "nul", "truex", "01",
		"1.", ".5", "+1", "-", "1e", "1e+", "0x10", "NaN", "Infinity",
		"'a'", "\"", "\"\\", "\"\\x\"", "\"\\u12g4\"", "\"\\u12",
		"\"\t\"", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{",
		"{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}",
		"{1:1}", "{\"a\" 1}", "{,}", "[1}", "{\"a\":1]", "[] []",
		"null null", "/**/1", "[1]x", "\"\xff\"", "\"\xed\xa0\x80\"",
		"\xef\xbb\xbf{}", "{\"a\\u0000b\":1}", "{\"\\ud800\":1}",
		"{\"\\udc00\":1}", "{\"\\ud800\\u0041\":1}" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (scan(texts[i]) != -IMGD_E_FORMAT)
			fail_msg("%s is not refused", texts[i]);
	assert_int_equal(json_scan("1\0", 2, NULL), -IMGD_E_FORMAT);
	assert_int_equal(json_scan("\"\0\"", 3, NULL), -IMGD_E_FORMAT);
}

static void
a_key_may_stand_once_however_it_is_written(void **state)
{
	static const char *const texts[] = { "{\"a\":1,\"a\":1}",
		"{\"a\":1,\"\\u0061\":1}", "{\"\":1,\"\":2}",
		"{\"x\":[1,{\"y\":1,\"z\":2,\"y\":3}]}",
		"{\"a\":{\"b\":{}},\"c\":1,\"a\":2}",
		"{\"\xf0\x9f\x90\xb3\":1,\"\\ud83d\\udc33\":1}",
		"{\"\xe2\x82\xac\":1,\"\\u20AC\":1}",
		"{\"\xc3\xa4\":1,\"\\u00e4\":1}", "{\"/\":1,\"\\/\":1}",
		"{\"\\n\":1,\"\\u000a\":1}" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (scan(texts[i]) != -IMGD_E_FORMAT)
			fail_msg("%s is not refused", texts[i]);
	assert_int_equal(scan("{\"a\":1,\"A\":1,\"aa\":1,\"n\":1,\"\\n\":1}"),
	    0);
}

static char *
nested(unsigned depth)
{
	struct strbuf sb = STRBUF_INIT;
	unsigned i;

	for (i = 0; i < depth; i++)
		strbuf_puts(&sb, i % 2 == 0 ? "[" : "{\"k\":");
	strbuf_puts(&sb, "1");
	for (i = depth; i > 0; i--)
		strbuf_puts(&sb, i % 2 == 1 ? "]" : "}");
	return strbuf_take(&sb);
}

static void
depth_at_the_limit_and_past_it(void **state)
{
	cleanup_free char *good = nested(LIMIT_JSON_DEPTH);
	cleanup_free char *bad = nested(LIMIT_JSON_DEPTH + 1);

	(void)state;
	assert_int_equal(scan(good), 0);
	assert_int_equal(scan(bad), -IMGD_E_LIMIT);
}

/* An object of n keys; the last one again if again is not 0. */
static char *
wide(unsigned n, unsigned again)
{
	struct strbuf sb = STRBUF_INIT;
	unsigned i;

	strbuf_putc(&sb, '{');
	for (i = 0; i < n; i++)
		strbuf_printf(&sb, "%s\"key%u\":%u", i > 0 ? "," : "", i, i);
	if (again != 0)
		strbuf_printf(&sb, ",\"key%u\":0", n / 2);
	strbuf_putc(&sb, '}');
	return strbuf_take(&sb);
}

static void
values_at_the_limit_and_past_it(void **state)
{
	cleanup_free char *good = wide(LIMIT_JSON_VALUES - 1, 0);
	cleanup_free char *bad = wide(LIMIT_JSON_VALUES, 0);

	(void)state;
	assert_int_equal(scan(good), 0);
	assert_int_equal(scan(bad), -IMGD_E_LIMIT);
}

static void
a_doubled_key_is_found_among_many(void **state)
{
	static const unsigned sizes[] = { 2, 511, 512, 513, 5000,
		LIMIT_JSON_VALUES - 2 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		cleanup_free char *good = wide(sizes[i], 0);
		cleanup_free char *bad = wide(sizes[i], 1);

		assert_int_equal(scan(good), 0);
		assert_int_equal(scan(bad), -IMGD_E_FORMAT);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_texts_pass),
		cmocka_unit_test(malformed_texts_are_refused),
		cmocka_unit_test(a_key_may_stand_once_however_it_is_written),
		cmocka_unit_test(depth_at_the_limit_and_past_it),
		cmocka_unit_test(values_at_the_limit_and_past_it),
		cmocka_unit_test(a_doubled_key_is_found_among_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
