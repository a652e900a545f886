/* Words of instructions: quotes, backslashes, variables. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/shell-word.h"
#include "lib/cleanup-json.h"
#include "lib/limits.h"

static int
expand(struct json_object *env, const char *word, char **ret)
{
	cleanup_error struct imgd_error *err = NULL;
	struct strbuf sb = STRBUF_INIT;
	int r = shell_word_expand(word, env, &sb, &err);

	assert_int_equal(r < 0, err != NULL);
	*ret = strbuf_take(&sb);
	strbuf_done(&sb);
	return r;
}

static struct json_object *
environment(void)
{
	static const char *const pairs[] = { "A=a", "EMPTY=", "A=second",
		"LONG_1=l\xc3\xa4", "BARE", NULL };
	struct json_object *env = json_object_new_array();
	size_t i;

	for (i = 0; pairs[i] != NULL; i++)
		json_object_array_add(env, json_object_new_string(pairs[i]));
	return env;
}

static void
words(void **state)
{
	static const struct {
		const char *word, *wanted;
	} cases[] = {
		{ "", "" },
		{ "plain text", "plain text" },
		{ "'q' \"q\" \\q", "q q q" },
		{ "'$A \\\"'", "$A \\\"" },
		{ "\"$A \\$A \\\" \\\\ \\n '\"", "a $A \" \\ \\n '" },
		{ "\\$A", "$A" },
		{ "\xc3\xa4\\\xc3\xa4", "\xc3\xa4\xc3\xa4" },
		{ "end\\", "end" },
		{ "$", "$" },
		{ "a$ b", "a$ b" },
		{ "$A$LONG_1.$LONG_12", "al\xc3\xa4." },
		{ "${A}b", "ab" },
		{ "$1a$*b", "ab" },
		{ "$BARE-$NO-$EMPTY", "--" },
		{ "${NO:-x$A}", "xa" },
		{ "${NO-x}${EMPTY-x}${EMPTY:-y}", "xy" },
		{ "${A:-x}${A-x}", "aa" },
		{ "${A:+x}${EMPTY:+y}${EMPTY+z}${NO+n}", "xz" },
		{ "${A:?x}${EMPTY?x}", "a" },
		{ "${NO:-${NO:-'}'\\}}}", "}}" },
		{ "${NO:-\"a b\"}", "a b" },
	};
	cleanup_json struct json_object *env = environment();
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_free char *got = NULL;

		assert_int_equal(expand(env, cases[i].word, &got), 0);
		assert_string_equal(got, cases[i].wanted);
	}
}

static void
refused(void **state)
{
	static const char *const cases[] = { "'", "\"$A", "${", "${}", "${A",
		"${A:", "${A:-", "${A:-x", "${A:*x}", "${A x}", "${NO:?}",
		"${NO?gone}", "${EMPTY:?gone}", "${A:-'}", NULL };
	cleanup_json struct json_object *env = environment();
	size_t i;

	(void)state;
	for (i = 0; cases[i] != NULL; i++) {
		cleanup_free char *got = NULL;

		if (expand(env, cases[i], &got) != -EINVAL)
			fail_msg("%s is not refused", cases[i]);
	}
}

static void
limits(void **state)
{
	cleanup_json struct json_object *env = json_object_new_array();
	struct strbuf pair = STRBUF_INIT, word = STRBUF_INIT;
	cleanup_free char *at = NULL, *beyond = NULL, *deep = NULL;
	size_t i;

	(void)state;
	strbuf_puts(&pair, "H=");
	for (i = 0; i < LIMIT_EXPANDED_BYTES / 2; i++)
		strbuf_putc(&pair, 'h');
	json_object_array_add(env, json_object_new_string(pair.data));
	strbuf_done(&pair);
	assert_int_equal(expand(env, "$H$H", &at), 0);
	assert_int_equal(strlen(at), LIMIT_EXPANDED_BYTES);
	assert_int_equal(expand(env, "\"x$H$H\"", &beyond), -IMGD_E_LIMIT);
	for (i = 0; i < 17; i++)
		strbuf_puts(&word, "${N:-");
	for (i = 0; i < 17; i++)
		strbuf_puts(&word, "}");
	assert_int_equal(expand(env, word.data, &deep), -IMGD_E_LIMIT);
	free(deep);
	deep = NULL;
	strbuf_truncate(&word, word.len - 1);
	assert_int_equal(expand(env, word.data + strlen("${N:-"), &deep), 0);
	assert_string_equal(deep, "");
	strbuf_done(&word);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(refused),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
