/* Names: grammar, normalisation, and the way back. */
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
#include "lib/strbuf.h"
#include "registry/reference.h"

#define HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

static void
names_are_normalised(void **state)
{
	static const struct {
		const char *typed, *canonical, *familiar;
	} names[] = {
		{ "ubuntu", "docker.io/library/ubuntu", "ubuntu" },
		{ "ubuntu:14.04", "docker.io/library/ubuntu:14.04",
		    "ubuntu:14.04" },
		{ "foo:5000", "docker.io/library/foo:5000", "foo:5000" },
		{ "localhost", "docker.io/library/localhost", "localhost" },
		{ "example.com", "docker.io/library/example.com",
		    "example.com" },
		{ "docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu" },
		{ "index.docker.io/ubuntu", "docker.io/library/ubuntu",
		    "ubuntu" },
		{ "index.docker.io/a/b", "docker.io/a/b", "a/b" },
		{ "library/ubuntu", "docker.io/library/ubuntu", "ubuntu" },
		{ "library/a/b", "docker.io/library/a/b", "library/a/b" },
		{ "user/app", "docker.io/user/app", "user/app" },
		{ "docker.io/localhost/x", "docker.io/localhost/x",
		    "docker.io/localhost/x" },
		{ "docker.io/a.b/x:1", "docker.io/a.b/x:1",
		    "docker.io/a.b/x:1" },
		{ "registry-1.docker.io/library/x",
		    "registry-1.docker.io/library/x",
		    "registry-1.docker.io/library/x" },
		{ "localhost/app", "localhost/app", "localhost/app" },
		{ "localhost:5000/app:1", "localhost:5000/app:1",
		    "localhost:5000/app:1" },
		{ "host:5000/app", "host:5000/app", "host:5000/app" },
		{ "Host/app", "Host/app", "Host/app" },
		{ "[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app" },
		{ "a.b/c/d-e--f__g_h.i:T_1@sha256:" HEX,
		    "a.b/c/d-e--f__g_h.i:T_1@sha256:" HEX,
		    "a.b/c/d-e--f__g_h.i:T_1@sha256:" HEX },
	};
	struct reference ref = REFERENCE_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		cleanup_free char *canonical = NULL;
		cleanup_free char *familiar = NULL;

		assert_int_equal(reference_parse(names[i].typed, 0, &ref,
				     NULL), 0);
		canonical = reference_canonical(&ref);
		familiar = reference_familiar(&ref);
		assert_string_equal(canonical, names[i].canonical);
		assert_string_equal(familiar, names[i].familiar);
		reference_done(&ref);
	}
}

static void
malformed_names_are_refused(void **state)
{
	static const char *const names[] = { "", ":", "/", "a/", "/a", "a//b",
		"Ubuntu", "a/B", "a.b/C", "a:", "a:-x", "a:b/c:", "a@",
		"a@sha256:abc", "a@md5:" HEX, "a@sha256:" HEX "0", HEX, "a..b",
		"a___b", "a.-b", "-a", "a-", "a b", "a\n", "a\xc3\xa4",
		"a.b:x/c", "a.b:/c", "a.b:99999/c", "-a.b/c", "a-.b/c",
		"a..b/c", ".b/c", "[::g]/a", "[::1/a", "[]/a", "[::1]x/a",
		"scratch", "scratch:1", "a@sha256:"
		"44136FA355B3678A1146AD16F7E8649E94FB4FC21FE77E8310C060F61CAAFF8A" };
	struct reference ref = REFERENCE_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		cleanup_error struct imgd_error *err = NULL;

		if (reference_parse(names[i], 0, &ref, &err) != -EINVAL)
			fail_msg("\"%s\" is not refused", names[i]);
		assert_non_null(err);
		assert_null(ref.path);
	}
}

static void
latest_only_when_asked_for(void **state)
{
	struct reference ref = REFERENCE_INIT;

	(void)state;
	assert_int_equal(reference_parse("a", 0, &ref, NULL), 0);
	assert_null(ref.tag);
	reference_done(&ref);
	assert_int_equal(
	    reference_parse("a", REFERENCE_DEFAULT_TAG, &ref, NULL), 0);
	assert_string_equal(ref.tag, "latest");
	reference_done(&ref);
	assert_int_equal(reference_parse("a@sha256:" HEX,
			     REFERENCE_DEFAULT_TAG, &ref, NULL), 0);
	assert_null(ref.tag);
	assert_string_equal(ref.digest, "sha256:" HEX);
	reference_done(&ref);
}

static char *
long_name(size_t n, const char *tail)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_puts(&sb, "a.b/");
	while (n-- > 0)
		strbuf_putc(&sb, 'x');
	strbuf_puts(&sb, tail);
	return strbuf_take(&sb);
}

static void
lengths_at_the_limit_and_past_it(void **state)
{
	struct reference ref = REFERENCE_INIT;
	char tag[131] = ":";
	char *name;

	(void)state;
	name = long_name(255, "");
	assert_int_equal(reference_parse(name, 0, &ref, NULL), 0);
	reference_done(&ref);
	free(name);
	name = long_name(256, "");
	assert_int_equal(reference_parse(name, 0, &ref, NULL), -IMGD_E_LIMIT);
	free(name);
	name = long_name(2000, "");
	assert_int_equal(reference_parse(name, 0, &ref, NULL), -IMGD_E_LIMIT);
	free(name);
	memset(tag + 1, 't', 128);
	name = long_name(1, tag);
	assert_int_equal(reference_parse(name, 0, &ref, NULL), 0);
	reference_done(&ref);
	free(name);
	tag[129] = 't';
	name = long_name(1, tag);
	assert_int_equal(reference_parse(name, 0, &ref, NULL), -EINVAL);
	free(name);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_normalised),
		cmocka_unit_test(malformed_names_are_refused),
		cmocka_unit_test(latest_only_when_asked_for),
		cmocka_unit_test(lengths_at_the_limit_and_past_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
