/* Which rule of the configuration holds for which name. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/signature-policy.h"
#include "lib/cleanup-json.h"

static int
parse(const char *text, struct signature_policy *ret)
{
	cleanup_json struct json_object *o = json_tokener_parse(text);

	assert_non_null(o);
	return signature_policy_parse(o, ret, NULL);
}

static void
matches(const struct signature_policy *p, const char *name, const char *scope)
{
	const struct signature_rule *rule = signature_policy_match(p, name);

	if (scope == NULL) {
		assert_null(rule);
		return;
	}
	assert_non_null(rule);
	assert_string_equal(rule->scope, scope);
}

static void
the_longest_scope_holds(void **state)
{
	struct signature_policy p = { .n = 0 };

	(void)state;
	assert_int_equal(parse("["
	    "{\"scope\":\"r.io/team/app\",\"policy\":\"accept\"},"
	    "{\"scope\":\"*\",\"policy\":\"reject\"},"
	    "{\"scope\":\"r.io\",\"policy\":\"digest-only\"},"
	    "{\"scope\":\"docker.io/library\",\"policy\":\"accept\"},"
	    "{\"scope\":\"r.io/team\",\"policy\":\"key\",\"keys\":[\"/k\"],"
	    "\"any-name\":true},"
	    "{\"scope\":\"h:5000/a\",\"policy\":\"accept\"}]", &p), 0);
	matches(&p, "r.io/team/app", "r.io/team/app");
	matches(&p, "r.io/team/app/more", "r.io/team/app");
	matches(&p, "r.io/team/application", "r.io/team");
	matches(&p, "r.io/team", "r.io/team");
	matches(&p, "r.io/teams/app", "r.io");
	matches(&p, "r.io:5000/team/app", "*");
	matches(&p, "xr.io/team", "*");
	matches(&p, "h:5000/a/b", "h:5000/a");
	matches(&p, "docker.io/library/ubuntu", "docker.io/library");
	matches(&p, "", "*");
	assert_int_equal(signature_policy_match(&p, "r.io/x")->demand,
	    SIGNATURE_DIGEST_ONLY);
	assert_true(signature_policy_match(&p, "r.io/team")->is_any_name);
	signature_policy_done(&p);
}

static void
without_a_default_other_names_have_no_rule(void **state)
{
	struct signature_policy p = { .n = 0 };

	(void)state;
	assert_int_equal(parse("[{\"scope\":\"r.io\",\"policy\":\"reject\"}]",
	    &p), 0);
	matches(&p, "s.io/a", NULL);
	matches(&p, "", NULL);
	matches(&p, "r.io/a", "r.io");
	signature_policy_done(&p);
	assert_int_equal(parse("[]", &p), 0);
	matches(&p, "r.io/a", NULL);
	signature_policy_done(&p);
}

#define RULE(scope) "[{\"scope\":\"" scope "\",\"policy\":\"reject\"}]"

static void
rules_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = {
		"{}", "[1]", "[{}]", "[{\"scope\":\"*\"}]",
		"[{\"policy\":\"accept\"}]",
		"[{\"scope\":\"*\",\"policy\":\"maybe\"}]",
		"[{\"scope\":\"*\",\"policy\":1}]",
		"[{\"scope\":\"*\",\"policy\":\"accept\",\"x\":1}]",
		"[{\"scope\":\"*\",\"policy\":\"key\"}]",
		"[{\"scope\":\"*\",\"policy\":\"key\",\"keys\":[]}]",
		"[{\"scope\":\"*\",\"policy\":\"key\",\"keys\":[\"k\"]}]",
		"[{\"scope\":\"*\",\"policy\":\"key\",\"keys\":[1]}]",
		"[{\"scope\":\"*\",\"policy\":\"accept\",\"keys\":[\"/k\"]}]",
		"[{\"scope\":\"*\",\"policy\":\"accept\"},"
		"{\"scope\":\"*\",\"policy\":\"reject\"}]",
		/* Scopes that guard nothing. */
		RULE(""), RULE("ubuntu"), RULE("library/ubuntu"),
		RULE("index.docker.io/library"), RULE("docker.io/ubuntu"),
		RULE("r.io/a:1"), RULE("r.io/"), RULE("https://r.io"),
		RULE("r.io/*"), RULE("R.io/A"),
	};
	struct signature_policy p = { .n = 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], &p) >= 0)
			fail_msg("taken: %s", bad[i]);
}

static void
scopes_that_are_some_are_taken(void **state)
{
	static const char *const good[] = { RULE("*"), RULE("docker.io"),
		RULE("docker.io/library"), RULE("docker.io/library/ubuntu"),
		RULE("docker.io/team/app"), RULE("localhost"),
		RULE("r.io:5000"), RULE("127.0.0.1:5000/t"),
		RULE("[::1]:5000/t/a/b") };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct signature_policy p = { .n = 0 };

		if (parse(good[i], &p) < 0)
			fail_msg("refused: %s", good[i]);
		signature_policy_done(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_scope_holds),
		cmocka_unit_test(without_a_default_other_names_have_no_rule),
		cmocka_unit_test(rules_that_are_none_are_refused),
		cmocka_unit_test(scopes_that_are_some_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
