/*
 * Layers' tars, unpacked into a scratch tree: the first byte says in which form
 * whiteouts are written and whether it is a base.  What is taken comes back as
 * the same bytes, and nothing appears outside of the tree.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/tar.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define MAX_CONTENT (64u << 20)

struct bytes {
	const uint8_t *data;
	size_t len, at;
};

static int64_t
read_bytes(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	struct bytes *b = ctx;
	size_t n = b->len - b->at;

	(void)err;
	if (n > 1000)
		n = 1000;
	if (n > len)
		n = (size_t)len;
	memcpy(buf, b->data + b->at, n);
	b->at += n;
	return (int64_t)n;
}

static int
compare_bytes(void *ctx, const void *buf, uint64_t len,
    struct imgd_error **err)
{
	struct bytes *b = ctx;

	(void)err;
	MUST(len <= b->len - b->at);
	MUST(memcmp(buf, b->data + b->at, (size_t)len) == 0);
	b->at += (size_t)len;
	return 0;
}

/* A tree with a bit of everything for the layer to stand on. */
static int
parent(void *ctx, bool for_root, int *ret_fd, struct imgd_error **err)
{
	static int tree_fd = -EBADF;
	int fd;

	(void)ctx;
	(void)for_root;
	(void)err;
	if (tree_fd < 0) {
		tree_fd = scratch_tree("parent");
		MUST(mkdirat(tree_fd, "d", 0750) == 0);
		MUST(symlinkat("d", tree_fd, "soft") == 0);
		MUST(symlinkat("/etc", tree_fd, "out") == 0);
		fd = openat(tree_fd, "d/file",
		    O_WRONLY | O_CREAT | O_CLOEXEC, 04755);
		MUST(fd >= 0 && fs_write_all(fd, "parent", 6, NULL) >= 0);
		close_fd(&fd);
		MUST(linkat(tree_fd, "d/file", tree_fd, "hard", 0) == 0);
	}
	*ret_fd = tree_fd;
	return 0;
}

static void
pack_again(int root_fd, int recipe_fd, const uint8_t *data, size_t len)
{
	cleanup_error struct imgd_error *err = NULL;
	struct bytes b = { .data = data, .len = len };
	struct imgd_sink sink = { .struct_size = sizeof(sink), .ctx = &b,
		.write = compare_bytes };
	char diff_id[DIGEST_STR_SIZE];

	if (tar_pack(root_fd, recipe_fd, &sink, diff_id, &err) < 0) {
		(void)fprintf(stderr, "%s\n", imgd_error_msg(err));
		abort();
	}
	MUST(b.at == b.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint32_t forms[] = { IMGD_WH_DELETE, IMGD_WH_AUFS,
		IMGD_WH_OVERLAY };
	cleanup_error struct imgd_error *err = NULL;
	cleanup_close int root_fd = -EBADF, recipe_fd = -EBADF,
			  spool_fd = -EBADF;
	struct bytes b = { .data = data + 1, .len = len - 1 };
	struct imgd_source source = { .struct_size = sizeof(source),
		.ctx = &b, .read = read_bytes };
	struct tar_unpack params = { .source = &source,
		.need_parent = parent };
	struct tar_result res;
	int r;

	if (len == 0)
		return 0;
	root_fd = params.root_fd = scratch_tree("root");
	recipe_fd = params.recipe_fd = scratch_file("recipe");
	spool_fd = params.spool_fd = scratch_file("spool");
	params.whiteouts = forms[data[0] % 3];
	params.is_base = data[0] / 3 % 2 == 0 ||
	    params.whiteouts == IMGD_WH_DELETE;
	r = tar_unpack(&params, &res, &err);
	must_be_told(r, err);
	/* Without its parent below it a layer is no whole tree. */
	if (r >= 0 && params.is_base && res.content_bytes < MAX_CONTENT)
		pack_again(root_fd, recipe_fd, data + 1, len - 1);
	return 0;
}
