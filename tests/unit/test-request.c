/* Targets and credentials as callers of the API send them. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "server/registry-auth.h"
#include "server/request.h"

static void
test_path_and_version(void **state)
{
	static const struct {
		const char *target, *path;
		unsigned int minor;
	} cases[] = {
		{ "/images/json", "/images/json", API_MINOR_MAX },
		{ "/v1.41/images/json?all=1", "/images/json", 41 },
		{ "/v1.0/_ping", "/_ping", 0 },
		{ "/vabc/_ping", "/vabc/_ping", API_MINOR_MAX },
		{ "/v1./_ping", "/v1./_ping", API_MINOR_MAX },
		{ "/v1.41", "/v1.41", API_MINOR_MAX },
		{ "/v1.41x/_ping", "/v1.41x/_ping", API_MINOR_MAX },
		{ "/images/a%2Fb%3a1/json", "/images/a/b:1/json",
		    API_MINOR_MAX },
		{ "/images/a+b/json", "/images/a+b/json", API_MINOR_MAX },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct request q = { 0 };

		assert_int_equal(request_parse(cases[i].target, &q, NULL), 0);
		assert_string_equal(q.path, cases[i].path);
		assert_int_equal(q.minor, cases[i].minor);
		request_done(&q);
	}
}

static void
test_query(void **state)
{
	struct request q = { 0 };

	(void)state;
	assert_int_equal(request_parse("/x?a=1&b=x+y%26&a=2&c&=v&d=&e=False"
				       "&&f==%3D",
			     &q, NULL),
	    0);
	assert_string_equal(request_get(&q, "a"), "1");
	assert_string_equal(request_get(&q, "b"), "x y&");
	assert_string_equal(request_get(&q, "f"), "==");
	assert_null(request_get(&q, "c"));
	assert_null(request_get(&q, "d"));
	assert_null(request_get(&q, "nope"));
	assert_true(request_flag(&q, "a"));
	assert_false(request_flag(&q, "c"));
	assert_false(request_flag(&q, "e"));
	request_done(&q);
}

static void
test_refused_targets(void **state)
{
	static const char *const targets[] = { "/a%", "/a%4", "/a%zz",
		"/a%00b", "/a%ff", "/x?a=%00", "/x?%c3=1", "/x?a=%1",
		"/v1.51/_ping", "/v1.4294967337/_ping",
		"/v1.99999999999999999999999/_ping" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		struct request q = { 0 };

		assert_int_equal(request_parse(targets[i], &q, NULL),
		    -EINVAL);
		request_done(&q);
	}
}

static void
test_query_limit(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	struct request q = { 0 };
	int i;

	(void)state;
	strbuf_puts(&sb, "/x?");
	for (i = 0; i < LIMIT_QUERY_ITEMS; i++)
		strbuf_puts(&sb, "a=&");
	assert_int_equal(request_parse(sb.data, &q, NULL), 0);
	request_done(&q);
	strbuf_puts(&sb, "a=");
	assert_int_equal(request_parse(sb.data, &q, NULL), -EINVAL);
	request_done(&q);
	strbuf_done(&sb);
}

static void
test_patterns(void **state)
{
	struct request q = { 0 };
	char *name;

	(void)state;
	assert_int_equal(request_parse("/images/h:5/a/b:1/json", &q, NULL), 0);
	assert_true(request_matches(&q, "/images/*/json", &name));
	assert_string_equal(name, "h:5/a/b:1");
	free(name);
	assert_false(request_matches(&q, "/images/*/tag", &name));
	assert_null(name);
	assert_false(request_matches(&q, "/images/json", &name));
	request_done(&q);
	/* No name is no match, nor do prefix and suffix share a byte. */
	assert_int_equal(request_parse("/images//json", &q, NULL), 0);
	assert_false(request_matches(&q, "/images/*/json", &name));
	request_done(&q);
	assert_int_equal(request_parse("/images/json", &q, NULL), 0);
	assert_false(request_matches(&q, "/images/*/json", &name));
	request_done(&q);
}

static void
test_credentials(void **state)
{
	/* {"username":"me","password":"s>e?c","serveraddress":"h:1"} */
	static const char *const forms[] = {
		"eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJzPmU_YyIsInNlcnZlcm"
		"FkZHJlc3MiOiJoOjEifQ==",
		"eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJzPmU_YyIsInNlcnZlcm"
		"FkZHJlc3MiOiJoOjEifQ",
		"eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJzPmU/YyIsInNlcnZlcm"
		"FkZHJlc3MiOiJoOjEifQ==",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct registry_auth a = { 0 };

		registry_auth_decode(forms[i], &a);
		assert_string_equal(a.username, "me");
		assert_string_equal(a.password, "s>e?c");
		assert_string_equal(a.server, "h:1");
		assert_null(a.identity_token);
		registry_auth_done(&a);
	}
}

static void
test_no_credentials(void **state)
{
	/* None, {}, garbage, a list, one of the wrong type, and nulls. */
	static const char *const forms[] = { NULL, "e30=", "%%%", "W10=",
		"eyJ1c2VybmFtZSI6MX0=",
		"eyJ1c2VybmFtZSI6bnVsbCwicGFzc3dvcmQiOm51bGx9", "" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct registry_auth a = { 0 };

		registry_auth_decode(forms[i], &a);
		assert_null(a.username);
		assert_null(a.password);
		registry_auth_done(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path_and_version),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_refused_targets),
		cmocka_unit_test(test_query_limit),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_credentials),
		cmocka_unit_test(test_no_credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
