/*
 * tar_unpack and tar_pack on the command line, for tests.
 *
 *   tar-tool unpack --form=delete|aufs|overlay [--base] [--parent DIR]
 *       DIR RECIPE < tar
 *   tar-tool pack DIR RECIPE > tar
 *
 * unpack prints the digest, the tar's length, the content's length, the number
 * of entries and whether the parent was asked for.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"
#include "lib/tar.h"

static int64_t
read_stdin(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	ssize_t n = read(STDIN_FILENO, buf, len);

	(void)ctx;
	return n < 0 ? imgd_error_set(err, errno, "stdin: %s",
			   strerror(errno)) :
		       n;
}

static int
write_stdout(void *ctx, const void *buf, uint64_t len,
    struct imgd_error **err)
{
	(void)ctx;
	return fs_write_all(STDOUT_FILENO, buf, len, err);
}

struct parent {
	const char *path; /* NULL: there is none */
	int fd;
};

static int
need_parent(void *ctx, bool for_root, int *ret_fd, struct imgd_error **err)
{
	struct parent *p = ctx;

	(void)for_root;
	if (p->path == NULL || p->fd >= 0)
		return imgd_error_set(err, EINVAL,
		    p->fd >= 0 ? "asked twice" : "no --parent");
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->fd < 0)
		return imgd_error_set(err, errno, "%s: %s", p->path,
		    strerror(errno));
	*ret_fd = p->fd;
	return 0;
}

static int
unpack(struct tar_unpack *params, const char *dir, const char *recipe,
    const struct parent *parent, struct imgd_error **err)
{
	cleanup_close int root_fd = open(dir,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int recipe_fd = open(recipe,
	    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cleanup_fclose FILE *spool = tmpfile();
	struct imgd_source source = {
		.struct_size = sizeof(source),
		.read = read_stdin,
	};
	struct tar_result res;
	int r;

	if (root_fd < 0 || recipe_fd < 0 || spool == NULL)
		return imgd_error_set(err, errno, "%s, %s: %s", dir, recipe,
		    strerror(errno));
	params->root_fd = root_fd;
	params->recipe_fd = recipe_fd;
	params->spool_fd = fileno(spool);
	params->source = &source;
	r = tar_unpack(params, &res, err);
	if (r < 0)
		return r;
	printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", res.diff_id,
	    res.tar_bytes, res.content_bytes, res.n_entries,
	    parent->fd >= 0 ? "asked" : "alone");
	return 0;
}

static int
pack(const char *dir, const char *recipe, struct imgd_error **err)
{
	cleanup_close int tree_fd = open(dir,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int recipe_fd = open(recipe, O_RDONLY | O_CLOEXEC);
	struct imgd_sink sink = {
		.struct_size = sizeof(sink),
		.write = write_stdout,
	};
	char diff_id[DIGEST_STR_SIZE];
	int r;

	if (tree_fd < 0 || recipe_fd < 0)
		return imgd_error_set(err, errno, "%s, %s: %s", dir, recipe,
		    strerror(errno));
	r = tar_pack(tree_fd, recipe_fd, &sink, diff_id, err);
	if (r >= 0)
		fprintf(stderr, "%s\n", diff_id);
	return r;
}

static int
usage(void)
{
	fprintf(stderr,
	    "usage: tar-tool unpack --form=delete|aufs|overlay [--base] "
	    "[--parent DIR] DIR RECIPE\n"
	    "       tar-tool pack DIR RECIPE\n");
	return 2;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "form", required_argument, NULL, 'f' },
		{ "base", no_argument, NULL, 'b' },
		{ "parent", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *safe = NULL;
	struct parent parent = { .fd = -EBADF };
	struct tar_unpack params = {
		.need_parent = need_parent,
		.ctx = &parent,
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'b')
			params.is_base = true;
		else if (c == 'p')
			parent.path = optarg;
		else if (c == 'f' && strcmp(optarg, "aufs") == 0)
			params.whiteouts = IMGD_WH_AUFS;
		else if (c == 'f' && strcmp(optarg, "overlay") == 0)
			params.whiteouts = IMGD_WH_OVERLAY;
		else if (c != 'f' || strcmp(optarg, "delete") != 0)
			return usage();
	}
	if (argc - optind != 3)
		return usage();
	if (strcmp(argv[optind], "unpack") == 0)
		r = unpack(&params, argv[optind + 1], argv[optind + 2],
		    &parent, &err);
	else if (strcmp(argv[optind], "pack") == 0)
		r = pack(argv[optind + 1], argv[optind + 2], &err);
	else
		return usage();
	close_fd(&parent.fd);
	if (r >= 0)
		return 0;
	safe = str_escape(imgd_error_msg(err), strlen(imgd_error_msg(err)));
	(void)fprintf(stderr, "tar-tool: %s\n", safe != NULL ? safe : "");
	return 1;
}
