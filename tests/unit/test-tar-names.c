/* Cleaning of entry names, and the set of paths. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/path-set.h"
#include "lib/tar-name.h"

static void
assert_clean(const char *name, const char *expected)
{
	char out[LIMIT_PATH_BYTES + 1];
	size_t len;

	assert_int_equal(tar_name_clean(name, out, &len, NULL), 0);
	assert_string_equal(out, expected);
	assert_int_equal(len, strlen(expected));
}

static void
names_are_relative_to_the_root(void **state)
{
	(void)state;
	assert_clean("", "");
	assert_clean("./", "");
	assert_clean("/", "");
	assert_clean("a/..", "");
	assert_clean("/etc/passwd", "etc/passwd");
	assert_clean("./a//b/./c/", "a/b/c");
	assert_clean("a/b/../c", "a/c");
	assert_clean("a/../b/../c", "c");
	assert_clean("..a/b../...", "..a/b../...");
}

static void
names_that_leave_the_root_are_refused(void **state)
{
	char out[LIMIT_PATH_BYTES + 1];
	size_t len;

	(void)state;
	assert_int_equal(tar_name_clean("..", out, &len, NULL),
	    -IMGD_E_FORMAT);
	assert_int_equal(tar_name_clean("/../a", out, &len, NULL),
	    -IMGD_E_FORMAT);
	assert_int_equal(tar_name_clean("a/../../b", out, &len, NULL),
	    -IMGD_E_FORMAT);
}

static void
limits_hold_to_the_byte(void **state)
{
	static char name[2 * LIMIT_PATH_BYTES];
	char out[LIMIT_PATH_BYTES + 1];
	size_t i, len;

	(void)state;
	memset(name, 'n', 256);
	name[255] = '\0';
	assert_clean(name, name);
	name[255] = 'n';
	assert_int_equal(tar_name_clean(name, out, &len, NULL),
	    -IMGD_E_LIMIT);

	/* 16 names of 255 bytes and their slashes are 4095 bytes. */
	for (i = 0; i < LIMIT_PATH_BYTES; i++)
		name[i] = i % 256 == 255 ? '/' : 'n';
	name[LIMIT_PATH_BYTES - 1] = '\0';
	assert_clean(name, name);
	memcpy(name + LIMIT_PATH_BYTES - 1, "/n", 3);
	assert_int_equal(tar_name_clean(name, out, &len, NULL),
	    -IMGD_E_LIMIT);
	name[254] = '/'; /* joins the slash after it: 4096 bytes */
	assert_int_equal(tar_name_clean(name, out, &len, NULL), 0);
	assert_int_equal(len, LIMIT_PATH_BYTES);

	for (i = 0; i < LIMIT_PATH_DEPTH; i++)
		memcpy(name + 2 * i, "d/", 3);
	assert_int_equal(tar_name_clean(name, out, &len, NULL), 0);
	memcpy(name + 2 * i, "d", 2);
	assert_int_equal(tar_name_clean(name, out, &len, NULL),
	    -IMGD_E_LIMIT);
}

static void
set_finds_what_was_added_and_nothing_else(void **state)
{
	struct path_set set;
	char path[32];
	size_t bytes = 0;
	int i, n;

	(void)state;
	assert_int_equal(path_set_init(&set, NULL), 0);
	assert_false(path_set_has(&set, 'a', "", 0));
	for (i = 0; i < 100000; i++) {
		n = snprintf(path, sizeof(path), "dir/%d", i);
		assert_int_equal(path_set_add(&set, 'a', path, (size_t)n,
		    NULL), 1);
	}
	for (i = 0; i < 100000; i++) {
		n = snprintf(path, sizeof(path), "dir/%d", i);
		assert_int_equal(path_set_add(&set, 'a', path, (size_t)n,
		    NULL), 0);
		assert_false(path_set_has(&set, 'b', path, (size_t)n));
	}
	for (i = 0; i < PATH_SET_SHARDS; i++)
		bytes += set.shards[i].n_slots * sizeof(uint64_t);
	assert_true(bytes < 16 * 100000);
	path_set_done(&set);
}

static void
hash_is_siphash(void **state)
{
	/* SipHash-1-3 of the bytes 0…14 under the key 0…15, as CPython and
	 * Rust have it. */
	const uint64_t key[2] = {
		UINT64_C(0x0706050403020100),
		UINT64_C(0x0f0e0d0c0b0a0908),
	};
	unsigned char data[15];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)i;
	assert_true(path_hash(key, 0, data, 0) ==
	    UINT64_C(0xabac0158050fc4dc));
	assert_true(path_hash(key, 0, data, 15) !=
	    path_hash(key, 0, data, 14));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_relative_to_the_root),
		cmocka_unit_test(names_that_leave_the_root_are_refused),
		cmocka_unit_test(limits_hold_to_the_byte),
		cmocka_unit_test(set_finds_what_was_added_and_nothing_else),
		cmocka_unit_test(hash_is_siphash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
