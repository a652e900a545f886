/* Which program makes what filesystem, and how it is asked. */
#include "config.h"

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/maker.h"
#include "lib/cleanup.h"
#include "lib/limits.h"

#define BLOCK     4096u
#define MIB       (1u << 20)
#define EXT4_TRIES 4

/* ---- measuring ---- */

static void
count(struct tree_sums *s, const FTSENT *e)
{
	const struct stat *st = e->fts_statp;
	uint64_t bytes = (uint64_t)st->st_size;

	if (st->st_mtim.tv_sec > s->newest)
		s->newest = st->st_mtim.tv_sec;
	s->name_bytes += e->fts_namelen + 12u;
	if (e->fts_namelen >= LIMIT_NAME_BYTES)
		s->has_longest_name = true;
	if (S_ISDIR(st->st_mode)) {
		s->n_inodes++;
		s->content_bytes += BLOCK;
		return;
	}
	s->n_inodes++;
	/* Of several names each counts for its part. */
	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		s->content_bytes += (bytes + BLOCK - 1) / BLOCK * BLOCK /
		    (st->st_nlink > 0 ? st->st_nlink : 1);
}

int
maker_measure(struct tree_sums *ret, struct imgd_error **err)
{
	char path[] = MAKER_TREE;
	char *paths[] = { path, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV, NULL);
	struct tree_sums s = { 0 };
	FTSENT *e;
	int r = 0;

	if (fts == NULL)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	while (r >= 0 && (errno = 0, e = fts_read(fts)) != NULL) {
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR ||
		    e->fts_info == FTS_NS)
			r = imgd_error_set(err, e->fts_errno, "%s: %s",
			    e->fts_path + strlen(MAKER_TREE),
			    strerror(e->fts_errno));
		else if (e->fts_info != FTS_DP)
			count(&s, e);
	}
	if (r >= 0 && errno != 0)
		r = imgd_error_set(err, errno, "%s", strerror(errno));
	(void)fts_close(fts);
	if (r >= 0)
		*ret = s;
	return r;
}

/* ---- ext4 ---- */

/* Content, directories, inode tables, a journal, groups' own blocks; a twelfth
 * and some for what cannot be known here. */
static uint64_t
ext4_size(const struct tree_sums *s)
{
	uint64_t bytes = s->content_bytes + 2 * s->name_bytes +
	    s->n_inodes * 320;

	bytes += bytes < 112 * MIB ? 8 * MIB
	    : bytes < 900 * MIB	   ? 24 * MIB
				   : 80 * MIB;
	bytes += bytes / 12 + 2 * MIB;
	return (bytes + MIB - 1) / MIB * MIB;
}

static int
run_mke2fs(struct maker *mk, uint64_t size, uint64_t n_inodes,
    struct imgd_error **err)
{
	static const char features[] =
	    "dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,"
	    "flex_bg,has_journal,huge_file,large_file,metadata_csum,"
	    "resize_inode,sparse_super,64bit";
	char seed[160], inodes[32], when[64], epoch[64];
	const char *const argv[] = { "mke2fs", "-q", "-F", "-b", "4096", "-I",
		"256", "-m", "0", "-N", inodes, "-O", features, "-U", mk->uuid,
		"-E", seed, "-d", MAKER_TREE, MAKER_OUT, NULL };
	/* What stands in the machine's mke2fs.conf would change the result;
	 * the time has had two names. */
	const char *const env[] = { "LC_ALL=C", "MKE2FS_CONFIG=/dev/null",
		when, epoch, NULL };

	(void)snprintf(seed, sizeof(seed),
	    "hash_seed=%s,lazy_itable_init=0,lazy_journal_init=0,nodiscard",
	    mk->uuid);
	(void)snprintf(inodes, sizeof(inodes), "%" PRIu64, n_inodes);
	(void)snprintf(when, sizeof(when), "E2FSPROGS_FAKE_TIME=%" PRId64,
	    mk->time);
	(void)snprintf(epoch, sizeof(epoch), "SOURCE_DATE_EPOCH=%" PRId64,
	    mk->time);
	if (ftruncate(mk->out_fd, 0) < 0 ||
	    ftruncate(mk->out_fd, (off_t)size) < 0)
		return imgd_error_set(err, errno, "output: %s",
		    strerror(errno));
	return maker_run(mk, argv, env, err);
}

int
maker_ext4(struct maker *mk, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	struct tree_sums sums;
	uint64_t size, n_inodes;
	int i, r = maker_measure(&sums, err);

	if (r < 0)
		return r;
	size = mk->size_bytes > 0 ? mk->size_bytes : ext4_size(&sums);
	/* One for each 16 KiB, as mke2fs itself would, if that is more. */
	n_inodes = sums.n_inodes + sums.n_inodes / 16 + 64;
	if (n_inodes < size / (16u << 10))
		n_inodes = size / (16u << 10);
	for (i = 0; i < EXT4_TRIES; i++) {
		imgd_error_free(why);
		why = NULL;
		r = run_mke2fs(mk, size, n_inodes, &why);
		/* The size was asked for, or it is not what was wrong. */
		if (r >= 0 || mk->size_bytes > 0 ||
		    strstr(imgd_error_msg(why), "Could not allocate") == NULL)
			break;
		size += size / 3;
	}
	return r < 0 ? imgd_error_set(err, -r, "%s", imgd_error_msg(why)) : 0;
}

/* ---- the others ---- */

int
maker_squashfs(struct maker *mk, struct imgd_error **err)
{
	char when[32];
	const char *const argv[] = { "mksquashfs", MAKER_TREE, MAKER_OUT,
		"-noappend", "-quiet", "-no-progress", "-no-recovery",
		"-exit-on-error", "-xattrs", "-mem", "64M", "-mkfs-time", when,
		NULL };
	const char *const env[] = { "LC_ALL=C", NULL };

	(void)snprintf(when, sizeof(when), "%" PRId64, mk->time);
	return maker_run(mk, argv, env, err);
}

int
maker_erofs(struct maker *mk, struct imgd_error **err)
{
	char when[64];
	const char *const argv[] = { "mkfs.erofs", "-d0", "-zlz4hc", "-U",
		mk->uuid, MAKER_OUT, MAKER_TREE, NULL };
	const char *const env[] = { "LC_ALL=C", when, NULL };
	cleanup_error struct imgd_error *why = NULL;
	struct tree_sums sums;
	int r = maker_measure(&sums, err);

	if (r < 0)
		return r;
	/* What is newer than this would get this time. */
	if (sums.newest < mk->time)
		sums.newest = mk->time;
	(void)snprintf(when, sizeof(when), "SOURCE_DATE_EPOCH=%" PRId64,
	    sums.newest + 1);
	r = maker_run(mk, argv, env, &why);
	if (r < 0)
		return imgd_error_set(err, -r, "%s%s", imgd_error_msg(why),
		    sums.has_longest_name
			? " (there is a name of 255 bytes, which erofs-utils "
			  "1.5 does not take)"
			: "");
	return 0;
}
