/* Recipes: whatever one says, it ends, and a failure is told.  That none reads
 * outside of the tree is for tests/evil: a fuzzer would find out what is looked
 * for, and write it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/recipe.h"
#include "lib/tar.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define MAX_BYTES (8u << 20)

static int
take(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	uint64_t *sum = ctx;

	(void)data;
	*sum += len;
	return *sum > MAX_BYTES ? imgd_error_set(err, IMGD_E_LIMIT, "enough")
				: 0;
}

/* What tests/evil/evil_recipes.py speaks of. */
static int
tree(void)
{
	static int tree_fd = -EBADF;
	static const char zeros[100];
	int fd;

	if (tree_fd >= 0)
		return tree_fd;
	tree_fd = scratch_tree("tree");
	fd = openat(tree_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	MUST(fd >= 0 && fs_write_all(fd, zeros, sizeof(zeros), NULL) >= 0);
	close_fd(&fd);
	MUST(mkdirat(tree_fd, "dir", 0755) == 0);
	MUST(mkfifoat(tree_fd, "pipe", 0644) == 0);
	(void)mknodat(tree_fd, "null", S_IFCHR | 0666, makedev(1, 3));
	MUST(symlinkat("/etc/passwd", tree_fd, "host") == 0);
	MUST(symlinkat("/etc", tree_fd, "etc") == 0);
	return tree_fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_close int fd = scratch_file_of("recipe", data, len);
	cleanup_error struct imgd_error *err = NULL;
	uint64_t sum = 0;
	struct imgd_sink sink = { .struct_size = sizeof(sink), .ctx = &sum,
		.write = take };
	char diff_id[DIGEST_STR_SIZE];
	int r = tar_pack(tree(), fd, &sink, diff_id, &err);

	must_be_told(r, err);
	return 0;
}
