/*
 * Compressed streams: what zlib takes ISA-L takes, too, as the same; and both
 * whatever pieces it comes in.  The first byte says how large those are.
 */
#include "config.h"

#include "lib/cleanup.h"
#include "lib/inflate-impl.h"
#include "lib/strbuf.h"
#include "tests/fuzz/fuzz.h"

#define MAX_PLAIN (300u << 10) /* a bomb is no news */

static int
gather(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct strbuf *plain = ctx;

	MUST(len > 0);
	if (plain->len + len > MAX_PLAIN)
		return imgd_error_set(err, IMGD_E_LIMIT, "enough");
	strbuf_append(plain, data, (size_t)len);
	return 0;
}

/* Returns a code of inflate's, and what came out. */
static int
run(const struct deflate *with, const uint8_t *data, size_t len, size_t piece,
    struct strbuf *ret)
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
	MUST(inflate_bytes(z) == ret->len);
	return r;
}

static void
must_be_same(int r, const struct strbuf *a, int s, const struct strbuf *b)
{
	/* Of a damaged stream one may have given more than the other. */
	MUST((r < 0) == (s < 0));
	if (r >= 0) {
		MUST(a->len == b->len);
		MUST(a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
	}
}

/* In one piece and in many; ret is what it came to. */
static int
run_both(const struct deflate *with, const uint8_t *data, size_t len,
    size_t piece, struct strbuf *ret)
{
	struct strbuf again = STRBUF_INIT;
	int r = run(with, data, len, len + 1, ret);

	must_be_same(r, ret, run(with, data, len, piece, &again), &again);
	strbuf_done(&again);
	return r;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct strbuf plain = STRBUF_INIT;
	size_t piece;
	int r;

	if (len == 0)
		return 0;
	piece = 1 + data[0] * 7u;
	r = run_both(&deflate_zlib, data + 1, len - 1, piece, &plain);
#ifdef HAVE_ISAL
	struct strbuf other = STRBUF_INIT;
	int s = run_both(&deflate_isal, data + 1, len - 1, piece, &other);

	/* ISA-L takes sets of codes that are incomplete (RFC 1951, 3.2.7),
	 * which zlib refuses. */
	if (r >= 0)
		must_be_same(r, &plain, s, &other);
	strbuf_done(&other);
#endif
	(void)r;
	strbuf_done(&plain);
	return 0;
}
