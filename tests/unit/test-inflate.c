/* The inflate filter, with both deflate decoders, in pieces of all sizes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bzlib.h>
#include <cmocka.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "lib/cleanup.h"
#include "lib/inflate-impl.h"
#include "lib/strbuf.h"

#define PLAIN_BYTES 300000

static const struct deflate *const decoders[] = {
	&deflate_zlib,
#ifdef HAVE_ISAL
	&deflate_isal,
#endif
};
#define N_DECODERS (sizeof(decoders) / sizeof(decoders[0]))

static uint8_t plain[PLAIN_BYTES];

/* Half of it compresses, half does not. */
static int
make_plain(void **state)
{
	uint32_t x = 1;
	size_t i;

	(void)state;
	for (i = 0; i < PLAIN_BYTES; i++) {
		x = x * 1664525 + 1013904223;
		plain[i] = (i >> 12) % 2 == 0 ? (uint8_t)(x >> 24) :
						(uint8_t)(i / 100);
	}
	return 0;
}

static int
gather(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	(void)err;
	assert_true(len > 0);
	strbuf_append(ctx, data, (size_t)len);
	return 0;
}

/* Inflate data in pieces; returns the first failure. */
static int
run(const struct deflate *decoder, const struct strbuf *data, size_t piece,
    struct strbuf *out, const char **ret_format)
{
	cleanup(inflate_freep) struct inflate *z = NULL;
	struct imgd_sink sink = { .struct_size = sizeof(sink), .ctx = out,
		.write = gather };
	size_t at, n;
	int r;

	assert_int_equal(inflate_new_with(&sink, decoder, &z, NULL), 0);
	for (at = 0; at < data->len; at += n) {
		n = data->len - at < piece ? data->len - at : piece;
		r = inflate_push(z, data->data + at, n, NULL);
		if (r < 0) {
			assert_true(inflate_push(z, "x", 1, NULL) < 0);
			return r;
		}
	}
	r = inflate_end(z, NULL);
	assert_int_equal(inflate_bytes(z), out->len);
	if (ret_format != NULL)
		*ret_format = inflate_format(z);
	return r;
}

static void
expect_plain(const struct strbuf *data, const char *format, unsigned times)
{
	static const size_t pieces[] = { 13, 4096, 1 << 20, 1 };
	/* Single bytes are slow, so once is enough. */
	size_t n_pieces = times == 1 ? 4 : 3;
	struct strbuf out = STRBUF_INIT;
	const char *got = NULL;
	size_t i, k;
	unsigned t;

	for (k = 0; k < N_DECODERS; k++) {
		for (i = 0; i < n_pieces; i++) {
			assert_int_equal(
			    run(decoders[k], data, pieces[i], &out, &got), 0);
			assert_string_equal(got, format);
			assert_int_equal(out.len, PLAIN_BYTES * times);
			for (t = 0; t < times; t++)
				assert_memory_equal(out.data +
					t * PLAIN_BYTES, plain, PLAIN_BYTES);
			strbuf_done(&out);
		}
	}
}

static void
expect_failure(const struct strbuf *data)
{
	static const size_t pieces[] = { 13, 4096, 1 << 20 };
	struct strbuf out = STRBUF_INIT;
	size_t i, k;

	for (k = 0; k < N_DECODERS; k++) {
		for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
			assert_int_equal(
			    run(decoders[k], data, pieces[i], &out, NULL),
			    -IMGD_E_FORMAT);
			strbuf_done(&out);
		}
	}
}

/* ---- gzip ---- */

static void
add_gzip(struct strbuf *sb, gz_header *head)
{
	static uint8_t packed[PLAIN_BYTES * 2];
	z_stream s = { .next_in = plain, .avail_in = PLAIN_BYTES,
		.next_out = packed, .avail_out = sizeof(packed) };

	assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, 15 + 16, 8,
			     Z_DEFAULT_STRATEGY), Z_OK);
	if (head != NULL)
		assert_int_equal(deflateSetHeader(&s, head), Z_OK);
	assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
	strbuf_append(sb, packed, sizeof(packed) - s.avail_out);
	(void)deflateEnd(&s);
}

static void
gzip_with_all_header_fields_and_members(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	Bytef extra[] = "extra", name[] = "name", comment[] = "comment";
	gz_header head = { .extra = extra, .extra_len = 5, .name = name,
		.comment = comment, .hcrc = 1 };

	(void)state;
	add_gzip(&sb, NULL);
	expect_plain(&sb, "gzip", 1);
	add_gzip(&sb, &head);
	add_gzip(&sb, NULL);
	expect_plain(&sb, "gzip", 3);
	strbuf_append(&sb, "\0\0\0\0", 4);
	expect_plain(&sb, "gzip", 3);
	strbuf_done(&sb);
}

static void
gzip_junk_behind_the_end_is_refused(void **state)
{
	struct strbuf sb = STRBUF_INIT;

	(void)state;
	add_gzip(&sb, NULL);
	strbuf_append(&sb, "\0junk", 5);
	expect_failure(&sb);
	strbuf_done(&sb);
	add_gzip(&sb, NULL);
	strbuf_append(&sb, "\x1f\x8c", 2);
	expect_failure(&sb);
	strbuf_done(&sb);
}

static void
gzip_damage_is_found(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	Bytef name[] = "name";
	gz_header head = { .name = name, .hcrc = 1 };
	size_t i;

	(void)state;
	add_gzip(&sb, &head);
	/* Every byte of the trailer, the header's checksum, its method. */
	for (i = 1; i <= 8; i++) {
		sb.data[sb.len - i] ^= 1;
		expect_failure(&sb);
		sb.data[sb.len - i] ^= 1;
	}
	for (i = 15; i <= 16; i++) {
		sb.data[i] ^= 1;
		expect_failure(&sb);
		sb.data[i] ^= 1;
	}
	sb.data[2] ^= 1;
	expect_failure(&sb);
	sb.data[2] ^= 1;
	sb.data[3] = (char)(sb.data[3] ^ 0x80);
	expect_failure(&sb);
	sb.data[3] = (char)(sb.data[3] ^ 0x80);
	sb.data[sb.len / 2] ^= 1;
	expect_failure(&sb);
	strbuf_done(&sb);
}

static void
gzip_cut_anywhere_is_refused(void **state)
{
	struct strbuf sb = STRBUF_INIT, cut;
	Bytef name[] = "name", extra[] = "x";
	gz_header head = { .extra = extra, .extra_len = 1, .name = name };
	size_t k, len;

	(void)state;
	add_gzip(&sb, &head);
	for (len = 2; len < sb.len; len += len < 40 || len + 40 > sb.len ?
					1 :
					5003) {
		struct strbuf out = STRBUF_INIT;

		cut = sb;
		cut.len = len;
		for (k = 0; k < N_DECODERS; k++) {
			assert_int_equal(
			    run(decoders[k], &cut, 1 << 20, &out, NULL),
			    -IMGD_E_FORMAT);
			strbuf_done(&out);
		}
	}
	strbuf_done(&sb);
}

/* ---- the others ---- */

static void
add_zstd(struct strbuf *sb, size_t len)
{
	size_t max = ZSTD_compressBound(PLAIN_BYTES), n;
	cleanup_free void *packed = malloc(max);

	n = ZSTD_compress(packed, max, plain, len, 3);
	assert_false(ZSTD_isError(n));
	strbuf_append(sb, packed, n);
}

static void
zstd_with_frames_and_skippable_frames(void **state)
{
	struct strbuf sb = STRBUF_INIT;

	(void)state;
	strbuf_append(&sb, "\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
	add_zstd(&sb, PLAIN_BYTES);
	strbuf_append(&sb, "\x5f\x2a\x4d\x18\x03\0\0\0abc", 11);
	add_zstd(&sb, PLAIN_BYTES);
	expect_plain(&sb, "zstd", 2);
	strbuf_puts(&sb, "junk");
	expect_failure(&sb);
	sb.len -= 5;
	expect_failure(&sb);
	strbuf_done(&sb);
}

/* What comes out in pieces of 128 KiB may end with a whole one. */
static void
zstd_of_whole_pieces(void **state)
{
	static const size_t pieces[] = { 13, 4096, 1 << 20 };
	struct strbuf sb = STRBUF_INIT, out = STRBUF_INIT;
	size_t len, i;

	(void)state;
	for (len = 128 << 10; len <= PLAIN_BYTES; len += 128 << 10) {
		add_zstd(&sb, len);
		for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
			assert_int_equal(run(decoders[0], &sb, pieces[i],
			    &out, NULL), 0);
			assert_int_equal(out.len, len);
			strbuf_done(&out);
		}
		strbuf_done(&sb);
	}
}

static void
zstd_window_past_the_limit_is_refused(void **state)
{
	struct strbuf sb = STRBUF_INIT, out = STRBUF_INIT;

	(void)state;
	/* A frame header with a window descriptor alone: 2^28 bytes. */
	strbuf_append(&sb, "\x28\xb5\x2f\xfd\x00\x90\x01\0\0\0\0\0", 12);
	assert_int_equal(run(&deflate_zlib, &sb, 100, &out, NULL),
	    -IMGD_E_LIMIT);
	strbuf_done(&sb);
	strbuf_done(&out);
}

static void
add_xz(struct strbuf *sb)
{
	size_t max = lzma_stream_buffer_bound(PLAIN_BYTES), n = 0;
	cleanup_free uint8_t *packed = malloc(max);

	assert_int_equal(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, NULL,
			     plain, PLAIN_BYTES, packed, &n, max), LZMA_OK);
	strbuf_append(sb, packed, n);
}

static void
xz_streams(void **state)
{
	struct strbuf sb = STRBUF_INIT;

	(void)state;
	add_xz(&sb);
	strbuf_append(&sb, "\0\0\0\0", 4);
	add_xz(&sb);
	expect_plain(&sb, "xz", 2);
	sb.len -= 1;
	expect_failure(&sb);
	sb.data[sb.len / 2] ^= 1;
	expect_failure(&sb);
	strbuf_done(&sb);
}

static void
add_bzip2(struct strbuf *sb)
{
	static char packed[PLAIN_BYTES * 2];
	unsigned n = sizeof(packed);

	assert_int_equal(BZ2_bzBuffToBuffCompress(packed, &n, (char *)plain,
			     PLAIN_BYTES, 1, 0, 0), BZ_OK);
	strbuf_append(sb, packed, n);
}

static void
bzip2_streams(void **state)
{
	struct strbuf sb = STRBUF_INIT;

	(void)state;
	add_bzip2(&sb);
	add_bzip2(&sb);
	expect_plain(&sb, "bzip2", 2);
	sb.len -= 1;
	expect_failure(&sb);
	sb.data[sb.len / 2] ^= 1;
	expect_failure(&sb);
	strbuf_done(&sb);
}

static void
anything_else_passes_unchanged(void **state)
{
	static const char *const texts[] = { "", "a", "\x1f", "BZh",
		"BZh9 is the name of a file" };
	struct strbuf sb = STRBUF_INIT, out = STRBUF_INIT;
	const char *format;
	size_t i;

	(void)state;
	strbuf_append(&sb, plain, PLAIN_BYTES);
	expect_plain(&sb, "none", 1);
	strbuf_done(&sb);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		strbuf_puts(&sb, texts[i]);
		assert_int_equal(run(&deflate_zlib, &sb, 1, &out, &format), 0);
		assert_string_equal(format, "none");
		assert_int_equal(out.len, sb.len);
		strbuf_done(&sb);
		strbuf_done(&out);
	}
}

static int
refuse(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	(void)ctx;
	(void)data;
	(void)len;
	return imgd_error_set(err, ENOSPC, "full");
}

static void
what_the_sink_says_comes_back(void **state)
{
	struct imgd_sink sink = { .struct_size = sizeof(sink),
		.write = refuse };
	struct strbuf sb = STRBUF_INIT;
	size_t k;

	(void)state;
	add_gzip(&sb, NULL);
	for (k = 0; k < N_DECODERS; k++) {
		cleanup(inflate_freep) struct inflate *z = NULL;
		cleanup_error struct imgd_error *err = NULL;

		assert_int_equal(inflate_new_with(&sink, decoders[k], &z, NULL),
		    0);
		assert_int_equal(inflate_push(z, sb.data, sb.len, &err),
		    -ENOSPC);
		assert_string_equal(imgd_error_msg(err), "full");
	}
	strbuf_done(&sb);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gzip_with_all_header_fields_and_members),
		cmocka_unit_test(gzip_junk_behind_the_end_is_refused),
		cmocka_unit_test(gzip_damage_is_found),
		cmocka_unit_test(gzip_cut_anywhere_is_refused),
		cmocka_unit_test(zstd_with_frames_and_skippable_frames),
		cmocka_unit_test(zstd_of_whole_pieces),
		cmocka_unit_test(zstd_window_past_the_limit_is_refused),
		cmocka_unit_test(xz_streams),
		cmocka_unit_test(bzip2_streams),
		cmocka_unit_test(anything_else_passes_unchanged),
		cmocka_unit_test(what_the_sink_says_comes_back),
	};

	return cmocka_run_group_tests(tests, make_plain, NULL);
}
