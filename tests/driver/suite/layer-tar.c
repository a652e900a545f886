/* Layers out of tars, as the unpacker fills them, and back. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "lib/tar.h"
#include "tests/driver/suite/suite.h"

struct unpacking {
	struct store *store;
	const char *parent;
	const struct strbuf *tar;
	size_t at;
	int parent_fd;
};

/* Never everything at once: a pipe does not either. */
static int64_t
read_tar(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	struct unpacking *u = ctx;
	uint64_t n = u->tar->len - u->at;

	(void)err;
	if (n > len)
		n = len;
	if (n > 7000)
		n = 7000;
	memcpy(buf, u->tar->data + u->at, n);
	u->at += n;
	return (int64_t)n;
}

/* What the engine does when an unpacker asks: the parent is sealed by now. */
static int
need_parent(void *ctx, bool for_root, int *ret_tree_fd,
    struct imgd_error **err)
{
	struct unpacking *u = ctx;

	(void)for_root;
	(void)err;
	if (is_listed_as(u->store, u->parent, IMGD_STATE_STAGED) &&
	    u->store->d->list != NULL)
		layer_seal(u->store, u->parent);
	u->parent_fd = layer_look(u->store, u->parent);
	*ret_tree_fd = u->parent_fd;
	return 0;
}

static int
scratch_fd(const char *name)
{
	return sys(memfd_create(name, MFD_CLOEXEC));
}

static void
unpack_tar(struct unpacking *u, int root_fd, uint32_t whiteouts,
    int recipe_fd)
{
	struct imgd_source source = { sizeof(source), u, read_tar };
	cleanup_close int spool_fd = scratch_fd("spool");
	struct tar_unpack params = {
		.root_fd = root_fd,
		.whiteouts = whiteouts,
		.is_base = u->parent == NULL,
		.recipe_fd = recipe_fd,
		.spool_fd = spool_fd,
		.source = &source,
		.need_parent = need_parent,
		.ctx = u,
	};
	char wanted[DIGEST_STR_SIZE];
	struct tar_result result;

	ok(tar_unpack(&params, &result, &ok_err));
	ok(digest_of(u->tar->data, u->tar->len, wanted, &ok_err));
	expect_str(result.diff_id, wanted);
}

static void
apply_tar(struct unpacking *u, int root_fd)
{
	struct imgd_source source = { sizeof(source), u, read_tar };
	const struct imgd_layer_opts opts = { .struct_size = sizeof(opts) };
	uint64_t n;

	ok(u->store->d->apply_diff(root_fd, &opts, &source, &n, &ok_err));
}

void
layer_unpack_into(struct store *s, const char *id, const char *parent,
    const struct strbuf *tar, struct layer_tar *ret)
{
	struct unpacking u = { s, parent, tar, 0, -EBADF };
	uint32_t whiteouts = IMGD_WH_DELETE;
	int recipe_fd = scratch_fd("recipe"), fd;
	char *path = NULL;

	if (s->d->own_dir != NULL)
		ok(s->d->own_dir(s->h, id, &path, &whiteouts, &ok_err));
	else
		path = layer_get(s, id, IMGD_GET_TREE);
	fd = open_dir(path);
	free(path);
	if (s->d->apply_diff != NULL)
		apply_tar(&u, fd);
	else
		unpack_tar(&u, fd, whiteouts, recipe_fd);
	layer_filled(s, id, fd);
	if (u.parent_fd >= 0)
		layer_looked(s, parent, u.parent_fd);
	if (ret != NULL)
		*ret = (struct layer_tar) { take_fd(&recipe_fd),
			u.parent_fd >= 0 };
	close_fd(&recipe_fd);
}

void
layer_unpack(struct store *s, const char *id, const char *parent,
    const struct strbuf *tar, struct layer_tar *ret)
{
	layer_create(s, id, parent);
	layer_unpack_into(s, id, parent, tar, ret);
}

void
layer_from_tar(struct store *s, const char *id, const char *parent,
    const struct strbuf *tar)
{
	layer_unpack(s, id, parent, tar, NULL);
	layer_seal(s, id);
}

struct comparing {
	const struct strbuf *tar;
	size_t at;
};

static int
compare_tar(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	struct comparing *c = ctx;

	(void)err;
	if (len > c->tar->len - c->at ||
	    memcmp(c->tar->data + c->at, buf, len) != 0)
		fail("the tar given back differs within %llu bytes at %zu",
		    (unsigned long long)len, c->at);
	c->at += len;
	return 0;
}

void
expect_packed(struct store *s, const char *id, int recipe_fd,
    const struct strbuf *tar)
{
	struct comparing c = { tar, 0 };
	struct imgd_sink sink = { sizeof(sink), &c, compare_tar };
	char diff_id[DIGEST_STR_SIZE];
	int fd = layer_look(s, id);

	sys((int)lseek(recipe_fd, 0, SEEK_SET));
	ok(tar_pack(fd, recipe_fd, &sink, diff_id, &ok_err));
	expect_int(c.at, tar->len);
	layer_looked(s, id, fd);
}
