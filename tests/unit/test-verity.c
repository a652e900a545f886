/* Hash trees, whose roots veritysetup(8) has confirmed: "veritysetup verify
 * FILE FILE ROOT --hash-offset=N". */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/verity.h"

static int
make_file(size_t size)
{
	char name[] = "/tmp/imgd-verity-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);
	char buf[4096];

	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	memset(buf, 'x', sizeof(buf));
	while (size > 0) {
		size_t n = size < sizeof(buf) ? size : sizeof(buf);

		assert_int_equal(write(fd, buf, n), (ssize_t)n);
		size -= n;
	}
	return fd;
}

static void
expect(size_t size, uint64_t n_blocks, uint64_t n_hash_blocks,
    const char *root_hash)
{
	struct verity v = { .uuid = "0123456789abcde",
		.salt = "saltsaltsaltsaltsaltsaltsaltsal" };
	cleanup_close int fd = make_file(size);
	struct stat st;
	char text[8];

	assert_int_equal(verity_append(fd, &v, NULL), 0);
	assert_int_equal(v.n_blocks, n_blocks);
	assert_int_equal(v.hash_offset, n_blocks * VERITY_BLOCK);
	assert_string_equal(v.root_hash, root_hash);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size,
	    (n_blocks + 1 + n_hash_blocks) * VERITY_BLOCK);
	assert_int_equal(v.end, st.st_size);
	assert_int_equal(pread(fd, text, sizeof(text),
			     (off_t)v.hash_offset),
	    sizeof(text));
	assert_memory_equal(text, "verity\0\0", sizeof(text));
}

static void
roots(void **state)
{
	(void)state;
	expect(1, 1, 0,
	    "2fde3f8e1a1d7311c2d9b7b30993474363adcdd98e972436f5e6d30edf6b9b06");
	expect(4096, 1, 0,
	    "ea624ae5b254132e93b29538b65c4f19260623106e54078d26fd4faf3e940f85");
	expect(5000, 2, 1,
	    "b235ee5fd951235a510825fab527923e0962c336d79e154d76048fc67194539a");
	/* One hash block, full; and one more below a level above. */
	expect(524288, 128, 1,
	    "b9b0fd727cca62c2dd7ccf8ddb23c53a483dcfaa22283fd7934cdbff88f966d2");
	expect(528384, 129, 3,
	    "6612d801476ce56c0c04b134d4d09cc3ac1369b7bdebf4fd35d39901261b1e52");
}

static void
nothing(void **state)
{
	cleanup_close int fd = make_file(0);
	struct verity v = { .n_blocks = 0 };

	(void)state;
	assert_int_equal(verity_append(fd, &v, NULL), -EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots),
		cmocka_unit_test(nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
