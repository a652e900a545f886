/*
 * Compressed streams: ISA-L and zlib say the same of each, whatever pieces it
 * comes in.  The first byte says how large those are.
 */
#include "config.h"

#include "lib/cleanup.h"
#include "lib/inflate-impl.h"
#include "lib/strbuf.h"
#include "tests/fuzz/fuzz.h"

#define MAX_PLAIN (300u << 10) /* a bomb is no news */

struct plain {
	struct strbuf data;
	bool is_full;
};

static int
gather(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct plain *p = ctx;

	MUST(len > 0);
	if (p->data.len + len > MAX_PLAIN) {
		p->is_full = true;
		return imgd_error_set(err, IMGD_E_LIMIT, "enough");
	}
	strbuf_append(&p->data, data, (size_t)len);
	return 0;
}

/* Returns a code of inflate's, and what came out. */
static int
run(const struct deflate *with, const uint8_t *data, size_t len, size_t piece,
    struct plain *ret)
{
	cleanup(inflate_freep) struct inflate *z = NULL;
	cleanup_error struct imgd_error *err = NULL;
	struct imgd_sink sink = { .struct_size = sizeof(sink), .ctx = ret,
		.write = gather };
	size_t at, n;
	int r;

	r = inflate_new_with(&sink, with, &z, &err);
	for (at = 0; r >= 0 && at < len; at += n) {
		n = len - at < piece ? len - at : piece;
		r = inflate_push(z, data + at, n, &err);
	}
	if (r >= 0)
		r = inflate_end(z, &err);
	must_be_told(r, err);
	MUST(inflate_bytes(z) == ret->data.len);
	return r;
}

static void
compare(const struct deflate *with, const uint8_t *data, size_t len,
    size_t piece, int wanted, const struct plain *plain)
{
	struct plain got = { .data = STRBUF_INIT };
	int r = run(with, data, len, piece, &got);

	MUST((r < 0) == (wanted < 0));
	MUST(got.is_full == plain->is_full);
	/* Of a damaged stream one may have given more than the other. */
	if (r >= 0) {
		MUST(got.data.len == plain->data.len);
		MUST(got.data.len == 0 || memcmp(got.data.data,
		    plain->data.data, got.data.len) == 0);
	}
	strbuf_done(&got.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct plain plain = { .data = STRBUF_INIT };
	size_t piece;
	int r;

	if (len == 0)
		return 0;
	piece = 1 + data[0] * 7u;
	data++;
	len--;
	r = run(&deflate_zlib, data, len, len + 1, &plain);
	compare(&deflate_zlib, data, len, piece, r, &plain);
#ifdef HAVE_ISAL
	compare(&deflate_isal, data, len, len + 1, r, &plain);
	compare(&deflate_isal, data, len, piece, r, &plain);
#endif
	strbuf_done(&plain.data);
	return 0;
}
