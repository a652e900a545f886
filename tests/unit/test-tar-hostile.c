/* Damaged tars and recipes: refused, or read so that the bytes come back. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tar.h"

#define BLOCK 512

static char top[] = "/tmp/imgd-tar-hostile.XXXXXX";
static int top_fd = -EBADF;
static int parent_fd = -EBADF; /* an empty tree */
static uint32_t random_state = 12345;

static uint32_t
next_random(uint32_t below)
{
	/* Numerical Recipes' generator: the same run each time. */
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

static void
set_checksum(char *h)
{
	unsigned int sum = 0;
	size_t i;

	memset(h + 148, ' ', 8);
	for (i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	(void)snprintf(h + 148, 8, "%06o", sum);
}

static void
add(struct strbuf *tar, char type, const char *name, const char *link,
    const char *data)
{
	char h[BLOCK] = "", pad[BLOCK] = "";

	(void)snprintf(h, 100, "%s", name);
	(void)snprintf(h + 100, 8, "%07o", 0644u);
	(void)snprintf(h + 108, 8, "%07o", 0u);
	(void)snprintf(h + 116, 8, "%07o", 0u);
	(void)snprintf(h + 124, 12, "%011o", (unsigned int)strlen(data));
	(void)snprintf(h + 136, 12, "%011o", 99u);
	h[156] = type;
	(void)snprintf(h + 157, 100, "%s", link);
	memcpy(h + 257, "ustar\00000", 8);
	set_checksum(h);
	strbuf_append(tar, h, BLOCK);
	strbuf_puts(tar, data);
	strbuf_append(tar, pad, (BLOCK - strlen(data) % BLOCK) % BLOCK);
}

/* A bit of everything. */
static void
make_tar(struct strbuf *tar)
{
	char zeros[2 * BLOCK] = "";

	add(tar, '5', "./", "", "");
	add(tar, 'x', "pax", "",
	    "11 path=d/\n24 SCHILY.xattr.user.a=\n20 mtime=1234.56789\n");
	add(tar, '5', "d/", "", "");
	add(tar, '0', "d/file", "", "content of a file");
	add(tar, '1', "hard", "d/file", "");
	add(tar, '2', "soft", "d", "");
	add(tar, '0', "soft/below", "", "through a link");
	add(tar, 'L', "././@LongLink", "", "some/long/name");
	add(tar, '0', "some/lo", "", "long");
	add(tar, 'x', "pax", "",
	    "26 GNU.sparse.numblocks=1\n21 GNU.sparse.size=9\n"
	    "22 GNU.sparse.map=2,5\n");
	add(tar, '0', "sparse", "", "12345");
	add(tar, '0', "d/file", "", "the second time");
	add(tar, '0', ".wh.gone", "", "");
	add(tar, '0', "d/.wh..wh..opq", "", "");
	add(tar, '6', "pipe", "", "");
	add(tar, '5', "soft", "", "");
	strbuf_append(tar, zeros, sizeof(zeros));
	assert_false(tar->is_failed);
}

struct bytes {
	const char *data;
	size_t len;
	size_t at;
};

static int64_t
read_bytes(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	struct bytes *b = ctx;
	/* Odd pieces, so that headers fall apart. */
	size_t n = 1 + next_random(3000);

	(void)err;
	if (n > b->len - b->at)
		n = b->len - b->at;
	if (n > len)
		n = (size_t)len;
	memcpy(buf, b->data + b->at, n);
	b->at += n;
	return (int64_t)n;
}

static int
write_strbuf(void *ctx, const void *buf, uint64_t len,
    struct imgd_error **err)
{
	(void)err;
	strbuf_append(ctx, buf, (size_t)len);
	return 0;
}

static int
empty_parent(void *ctx, bool for_root, int *ret_fd, struct imgd_error **err)
{
	(void)ctx;
	(void)for_root;
	(void)err;
	*ret_fd = parent_fd;
	return 0;
}

static int
unpack(const struct strbuf *tar, uint32_t form, int recipe_fd,
    struct imgd_error **err)
{
	struct bytes b = { .data = tar->data, .len = tar->len };
	struct imgd_source source = {
		.struct_size = sizeof(source),
		.ctx = &b,
		.read = read_bytes,
	};
	cleanup_close int root_fd = -EBADF, spool_fd = -EBADF;
	struct tar_unpack params = {
		.whiteouts = form,
		.is_base = next_random(2) == 0,
		.recipe_fd = recipe_fd,
		.source = &source,
		.need_parent = empty_parent,
	};
	struct tar_result res;

	assert_int_equal(fs_remove_tree(top_fd, "root", NULL), 0);
	root_fd = fs_make_open_dir(top_fd, "root", 0755, NULL);
	spool_fd = openat(top_fd, "spool",
	    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(root_fd >= 0 && spool_fd >= 0);
	params.root_fd = root_fd;
	params.spool_fd = spool_fd;
	return tar_unpack(&params, &res, err);
}

static int
open_recipe(void)
{
	int fd = openat(top_fd, "recipe",
	    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static int
pack(int recipe_fd, struct strbuf *out, struct imgd_error **err)
{
	struct imgd_sink sink = {
		.struct_size = sizeof(sink),
		.ctx = out,
		.write = write_strbuf,
	};
	cleanup_close int root_fd = fs_open_dir(top_fd, "root", NULL);
	char diff_id[DIGEST_STR_SIZE];

	assert_true(root_fd >= 0);
	return tar_pack(root_fd, recipe_fd, &sink, diff_id, err);
}

static void
assert_packs(int recipe_fd, const struct strbuf *tar)
{
	cleanup_error struct imgd_error *err = NULL;
	struct strbuf out = STRBUF_INIT;

	if (pack(recipe_fd, &out, &err) < 0)
		fail_msg("%s", imgd_error_msg(err));
	assert_int_equal(out.len, tar->len);
	assert_memory_equal(out.data, tar->data, tar->len);
	strbuf_done(&out);
}

static void
sound_tar_comes_back(void **state)
{
	cleanup_error struct imgd_error *err = NULL;
	struct strbuf tar = STRBUF_INIT;
	uint32_t form;

	(void)state;
	make_tar(&tar);
	for (form = IMGD_WH_DELETE; form <= IMGD_WH_OVERLAY; form++) {
		cleanup_close int recipe_fd = open_recipe();

		if (unpack(&tar, form, recipe_fd, &err) < 0)
			fail_msg("%s", imgd_error_msg(err));
		assert_packs(recipe_fd, &tar);
	}
	strbuf_done(&tar);
}

/* Change some bytes, mostly in headers, and keep checksums right. */
static void
mutate(struct strbuf *tar)
{
	uint32_t i, n = 1 + next_random(3);

	for (i = 0; i < n; i++) {
		uint32_t n_blocks = (uint32_t)(tar->len / BLOCK);
		char *h = tar->data + BLOCK * next_random(n_blocks);

		h[next_random(4) == 0 ? 124 + next_random(34) :
					next_random(BLOCK)] =
		    next_random(2) == 0 ? (char)next_random(256) :
					  "0123456789xgLKS./-\0"[next_random(19)];
		if (memcmp(h + 257, "ustar", 5) == 0)
			set_checksum(h);
	}
	if (next_random(8) == 0)
		tar->len = next_random((uint32_t)tar->len);
}

static void
mutated_tar_is_refused_or_comes_back(void **state)
{
	struct strbuf sound = STRBUF_INIT;
	int i, n_accepted = 0;

	(void)state;
	make_tar(&sound);
	for (i = 0; i < 600; i++) {
		cleanup_error struct imgd_error *err = NULL;
		cleanup_close int recipe_fd = open_recipe();
		struct strbuf tar = STRBUF_INIT;
		int r;

		strbuf_append(&tar, sound.data, sound.len);
		mutate(&tar);
		r = unpack(&tar, next_random(3), recipe_fd, &err);
		if (r >= 0) {
			n_accepted++;
			assert_packs(recipe_fd, &tar);
		} else {
			assert_non_null(err);
			assert_int_equal(imgd_error_code(err), -r);
			assert_null(strpbrk(imgd_error_msg(err), "\n\033"));
		}
		strbuf_done(&tar);
	}
	assert_true(n_accepted > 20);
	strbuf_done(&sound);
}

static void
mutated_recipe_is_refused_or_right(void **state)
{
	cleanup_close int sound_fd = open_recipe();
	cleanup_free char *data = NULL;
	struct strbuf tar = STRBUF_INIT;
	size_t len, i;

	(void)state;
	make_tar(&tar);
	assert_int_equal(unpack(&tar, IMGD_WH_DELETE, sound_fd, NULL), 0);
	assert_int_equal(fs_read_file(top_fd, "recipe", 1 << 20, &data, &len,
	    NULL), 0);
	for (i = 0; i < len; i++) {
		cleanup_error struct imgd_error *err = NULL;
		cleanup_close int fd = open_recipe();
		struct strbuf out = STRBUF_INIT;
		char saved = data[i % len];
		int r;

		data[i % len] = (char)next_random(256);
		assert_int_equal(fs_write_all(fd, data, len, NULL), 0);
		data[i % len] = saved;
		r = pack(fd, &out, &err);
		if (r < 0) {
			assert_non_null(err);
		} else {
			assert_int_equal(out.len, tar.len);
			assert_memory_equal(out.data, tar.data, tar.len);
		}
		strbuf_done(&out);
	}
	strbuf_done(&tar);
}

static int
remove_top(void **state)
{
	cleanup_close int tmp_fd = open("/tmp",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	close_fd(&parent_fd);
	close_fd(&top_fd);
	return fs_remove_tree(tmp_fd, strrchr(top, '/') + 1, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound_tar_comes_back),
		cmocka_unit_test(mutated_tar_is_refused_or_comes_back),
		cmocka_unit_test(mutated_recipe_is_refused_or_right),
	};

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	if (mkdtemp(top) == NULL ||
	    (top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    (parent_fd = fs_make_open_dir(top_fd, "parent", 0755, NULL)) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, remove_top);
}
