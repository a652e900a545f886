/* The config of an image that was committed: what is kept, and what is new. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/commit-config.h"
#include "lib/cleanup.h"
#include "registry/manifest.h"

#define D1 \
	"sha256:" \
	"1111111111111111111111111111111111111111111111111111111111111111"
#define D2 \
	"sha256:" \
	"2222222222222222222222222222222222222222222222222222222222222222"
#define NOW "2026-11-30T12:00:00.5Z"

static char *
make(const char *base, const struct commit_words *w, const char *diff_id)
{
	cleanup_error struct imgd_error *err = NULL;
	char *made = NULL;

	if (commit_config(base, strlen(base), w, diff_id, &made, &err) < 0)
		fail_msg("%s", imgd_error_msg(err));
	return made;
}

static void
everything(void **state)
{
	const struct commit_words w = { "me", "words",
		"ENV B=2\nCMD [\"new\"]\n", NOW };
	cleanup_free char *made = make(
	    "{\"id\":\"x\",\"parent\":\"y\",\"container\":\"c\","
	    "\"container_config\":{},\"docker_version\":\"1\",\"author\":"
	    "\"other\",\"comment\":\"old\",\"architecture\":\"arm\","
	    "\"variant\":\"v7\",\"os\":\"linux\",\"x-unknown\":[1,2.50],"
	    "\"created\":\"2001-01-01T00:00:00Z\",\"config\":{\"Env\":"
	    "[\"A=1\"],\"Cmd\":[\"sh\",\"-c\",\"true\"],\"Labels\":{\"k\":"
	    "\"v\"}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1
	    "\"]},\"history\":[{\"created_by\":\"a\"},{\"created_by\":\"b\","
	    "\"empty_layer\":true}]}",
	    &w, D2);

	(void)state;
	assert_string_equal(made,
	    "{\"architecture\":\"arm\",\"variant\":\"v7\",\"os\":\"linux\","
	    "\"x-unknown\":[1,2.50],\"created\":\"" NOW "\",\"config\":{"
	    "\"Env\":[\"A=1\",\"B=2\"],\"Cmd\":[\"new\"],\"Labels\":{\"k\":"
	    "\"v\"}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1
	    "\",\"" D2 "\"]},\"history\":[{\"created_by\":\"a\"},{"
	    "\"created_by\":\"b\",\"empty_layer\":true},{\"created\":\"" NOW
	    "\",\"author\":\"me\",\"created_by\":\"sh -c true\",\"comment\":"
	    "\"words\"}],\"author\":\"me\"}");
}

/* Null members, no history at all, no platform. */
static void
next_to_nothing(void **state)
{
	const struct commit_words w = { .created = NOW };
	cleanup_free char *made = make("{\"config\":null,\"history\":null,"
				       "\"rootfs\":{\"type\":\"layers\","
				       "\"diff_ids\":[\"" D1 "\"]}}",
	    &w, D2);
	cleanup(image_config_freep) struct image_config *c = NULL;

	(void)state;
	assert_non_null(strstr(made,
	    "\"history\":[{},{\"created\":\"" NOW "\"}]"));
	assert_true(
	    image_config_parse(made, strlen(made), &c, NULL) >= 0);
	assert_string_equal(c->platform.os, "linux");
	assert_string_not_equal(c->platform.arch, "");
	assert_int_equal(c->n_diff_ids, 2);
}

static void
no_layer(void **state)
{
	const struct commit_words w = { .created = NOW };
	cleanup_free char *made = make(
	    "{\"os\":\"linux\",\"architecture\":\"arm\",\"rootfs\":{\"type\":"
	    "\"layers\",\"diff_ids\":[\"" D1 "\"]},\"history\":[{}]}",
	    &w, NULL);

	(void)state;
	assert_non_null(strstr(made,
	    "\"history\":[{},{\"created\":\"" NOW "\",\"empty_layer\":true}]"));
	assert_null(strstr(made, "\"author\""));
}

static void
bad_change(void **state)
{
	const struct commit_words w = { .created = NOW,
		.changes = "USER a\nRUN b\n" };
	cleanup_error struct imgd_error *err = NULL;
	char *made = NULL;

	(void)state;
	assert_true(commit_config("{}", 2, &w, NULL, &made, &err) < 0);
	assert_null(made);
	assert_non_null(strstr(imgd_error_msg(err), "RUN"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything),
		cmocka_unit_test(next_to_nothing),
		cmocka_unit_test(no_layer),
		cmocka_unit_test(bad_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
