/* The pool: its files, its devices, and what is left of earlier ones. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adopt/docker-pool-impl.h"
#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/loop.h"
#include "lib/strbuf.h"
#include "lib/superblock.h"

#define DATA     "devicemapper/devicemapper/data"
#define METADATA "devicemapper/devicemapper/metadata"

/* drivers/md/dm-thin.c, DATA_DEV_BLOCK_SIZE_*. */
#define MIN_BLOCK_BYTES (64ull << 10)
#define MAX_BLOCK_BYTES (1ull << 30)
#define MAX_DATA_BYTES  (1ull << 60)

/* How long devices may take to go away. */
#define GOING_TRIES    500
#define GOING_PAUSE_NS 20000000

/* ---- the files ---- */

/* Who has the loop device, as the device-mapper calls it; "" if that is
 * nobody. */
static void
find_holder(unsigned long loop, char *ret, size_t size)
{
	cleanup_closedir DIR *dir = NULL;
	cleanup_free char *name = NULL;
	char path[320];
	struct dirent *de = NULL;

	ret[0] = '\0';
	(void)snprintf(path, sizeof(path), "/sys/block/loop%lu/holders", loop);
	dir = opendir(path);
	while (dir != NULL && (de = readdir(dir)) != NULL)
		if (str_starts(de->d_name, "dm-"))
			break;
	if (dir == NULL || de == NULL)
		return;
	(void)snprintf(path, sizeof(path), "/sys/block/%s/dm/name",
	    de->d_name);
	if (fs_read_file(AT_FDCWD, path, MAPPER_NAME_SIZE, &name, NULL,
		NULL) >= 0)
		(void)snprintf(ret, size, "%.*s", (int)strcspn(name, "\n"),
		    name);
}

/* A pool that may change meanwhile is not to be read, whoever has it. */
static int
refuse_writers(const struct stat *st, const char *path,
    struct imgd_error **err)
{
	char holder[MAPPER_NAME_SIZE];
	unsigned long n = 0;

	if (loop_find(st, /* only_writable= */ true, &n) == 0)
		return 0;
	find_holder(n, holder, sizeof(holder));
	return imgd_error_set(err, EBUSY,
	    "%s is in use: %s%s/dev/loop%lu can write to it; stop Docker, and "
	    "what it has left with dmsetup(8) and losetup(8)",
	    path, holder, holder[0] != '\0' ? " on " : "", n);
}

static int
open_file(int dir_fd, const char *path, uint64_t *ret_bytes,
    struct imgd_error **err)
{
	cleanup_close int fd = beneath_open(dir_fd, path, 0);
	struct stat st;
	int r;

	if (fd == -ENOENT)
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s is not there: a pool on block devices cannot be read",
		    path);
	if (fd < 0)
		return imgd_error_set(err, -fd, "%s: %s", path, strerror(-fd));
	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	if (!S_ISREG(st.st_mode))
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s is not a file: a pool on block devices cannot be read",
		    path);
	r = refuse_writers(&st, path, err);
	if (r < 0)
		return r;
	*ret_bytes = (uint64_t)st.st_size;
	return take_fd(&fd);
}

static int
read_super(int fd, struct thin_super *ret, struct imgd_error **err)
{
	unsigned char buf[SUPERBLOCK_BYTES];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	if (n < 0)
		return imgd_error_set(err, errno, "%s: %s", METADATA,
		    strerror(errno));
	if ((size_t)n < sizeof(buf) || !superblock_thin(buf, ret))
		return imgd_error_set(err, EUCLEAN,
		    "%s is not the metadata of a thin pool", METADATA);
	/* The kernel would make such a pool only to write down that. */
	if (ret->needs_check)
		return imgd_error_set(err, EUCLEAN,
		    "%s needs a check: have thin_check(8) and Docker put it "
		    "in order first", METADATA);
	return 0;
}

static int
check_length(const char *path, uint64_t bytes, uint64_t wanted,
    struct imgd_error **err)
{
	if (bytes >= wanted)
		return 0;
	return imgd_error_set(err, EUCLEAN,
	    "%s is cut short: it has %llu bytes of %llu", path,
	    (unsigned long long)bytes, (unsigned long long)wanted);
}

static int
check_super(const struct thin_super *super, uint64_t data_bytes,
    uint64_t metadata_bytes, struct imgd_error **err)
{
	int r;

	if (super->block_bytes < MIN_BLOCK_BYTES ||
	    super->block_bytes > MAX_BLOCK_BYTES ||
	    super->block_bytes % MIN_BLOCK_BYTES != 0 ||
	    super->data_blocks == 0 ||
	    super->data_blocks > MAX_DATA_BYTES / super->block_bytes ||
	    super->metadata_bytes == 0)
		return imgd_error_set(err, EUCLEAN,
		    "%s is damaged: blocks of %llu bytes, %llu of them",
		    METADATA, (unsigned long long)super->block_bytes,
		    (unsigned long long)super->data_blocks);
	r = check_length(METADATA, metadata_bytes, super->metadata_bytes, err);
	if (r >= 0)
		r = check_length(DATA, data_bytes,
		    super->data_blocks * super->block_bytes, err);
	return r;
}

/* ---- devices ---- */

int
docker_pool_activate(struct docker_pool *p, const char *name,
    const char *target, const char *params, uint64_t sectors,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	char path[DEVICE_PATH_SIZE], uuid[MAPPER_UUID_SIZE];
	const struct mapper_device device = {
		.name = name,
		.uuid = uuid,
		.target = target,
		.params = params,
		.sectors = sectors,
		/* The kernel has no read-only table with a pool in it: that
		 * one is read-only by its own word. */
		.is_readonly = strcmp(target, "thin") == 0,
	};
	int r;

	(void)snprintf(uuid, sizeof(uuid), "IMGD-%.120s", name);
	r = p->mapper->create(&device, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		r = imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
		(void)p->mapper->remove(name, /* is_deferred= */ true, NULL);
		return r;
	}
	r = p->mapper->remove(name, /* is_deferred= */ true, err);
	return r < 0 ? r : take_fd(&fd);
}

/* It says "ro" of itself if it will write nothing. */
static int
check_pool(struct docker_pool *p, struct imgd_error **err)
{
	struct mapper_info info;
	struct mapper_line line;
	int r;

	r = p->mapper->info(p->pool, &info, err);
	if (r >= 0)
		r = p->mapper->status(p->pool, &line, err);
	if (r < 0)
		return r;
	if (strstr(line.params, " ro ") == NULL)
		return imgd_error_set(err, EUCLEAN,
		    "the pool does not get ready for reading: \"%s\" (the "
		    "kernel's log says more)", line.params);
	(void)snprintf(p->number, sizeof(p->number), "%u:%u", info.major,
	    info.minor);
	return 0;
}

/*
 * A thin pool takes read-only loop devices when it is told to be read-only;
 * the loop devices turn every write down, were there one.  It is made as
 * large as its metadata says: for any other size it would want to write that
 * down.
 */
static int
start_pool(struct docker_pool *p, int data_fd, int metadata_fd,
    const struct thin_super *super, struct imgd_error **err)
{
	cleanup_close int data_loop = -EBADF, metadata_loop = -EBADF;
	char data[LOOP_PATH_SIZE], metadata[LOOP_PATH_SIZE], params[128];

	metadata_loop = loop_attach(metadata_fd, METADATA,
	    /* is_readonly= */ true, super->metadata_bytes, metadata, err);
	if (metadata_loop < 0)
		return metadata_loop;
	data_loop = loop_attach(data_fd, DATA, /* is_readonly= */ true,
	    /* bytes= */ 0, data, err);
	if (data_loop < 0)
		return data_loop;
	(void)snprintf(params, sizeof(params), "%s %s %llu 0 1 read_only",
	    metadata, data, (unsigned long long)super->block_bytes / 512);
	p->pool_fd = docker_pool_activate(p, p->pool, "thin-pool", params,
	    super->data_blocks * (super->block_bytes / 512), err);
	return p->pool_fd < 0 ? p->pool_fd : check_pool(p, err);
}

/* ---- what others have left ---- */

struct leftovers {
	struct docker_pool *pool;
	const char *prefix;
};

/* Only between the making of a device and the mark that it is to go can a
 * kill leave it. */
static int
remove_leftover(void *ctx, const char *name)
{
	struct leftovers *l = ctx;
	char *end;
	long pid;

	if (!str_starts(name, l->prefix))
		return 0;
	pid = strtol(name + strlen(l->prefix), &end, 10);
	if (pid > 0 && *end == '-' && kill((pid_t)pid, 0) < 0 &&
	    errno == ESRCH)
		(void)l->pool->mapper->remove(name, /* is_deferred= */ true,
		    NULL);
	return 0;
}

static void
remove_leftovers(struct docker_pool *p, const char *prefix)
{
	struct leftovers l = { p, prefix };

	(void)p->mapper->names(remove_leftover, &l, NULL);
	p->mapper->tidy(prefix);
}

/* ---- all of it ---- */

static int
open_pool(struct docker_pool *p, struct imgd_error **err)
{
	cleanup_close int data_fd = -EBADF, metadata_fd = -EBADF;
	uint64_t data_bytes, metadata_bytes;
	struct thin_super super;
	int r;

	data_fd = open_file(p->dir_fd, DATA, &data_bytes, err);
	if (data_fd < 0)
		return data_fd;
	metadata_fd = open_file(p->dir_fd, METADATA, &metadata_bytes, err);
	if (metadata_fd < 0)
		return metadata_fd;
	r = read_super(metadata_fd, &super, err);
	if (r >= 0)
		r = check_super(&super, data_bytes, metadata_bytes, err);
	if (r < 0)
		return r;
	p->transaction = super.transaction;
	return start_pool(p, data_fd, metadata_fd, &super, err);
}

int
docker_pool_open(int dir_fd, const char *prefix, struct docker_pool **ret,
    struct imgd_error **err)
{
	struct docker_pool *p = calloc(1, sizeof(*p));
	char ours[48];
	int r;

	if (p == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	p->mapper = &mapper_kernel_ops;
	p->dir_fd = dir_fd;
	p->pool_fd = -EBADF;
	(void)snprintf(ours, sizeof(ours), "%s-", prefix);
	(void)snprintf(p->prefix, sizeof(p->prefix), "%s%d", ours,
	    (int)getpid());
	(void)snprintf(p->pool, sizeof(p->pool), "%s-pool", p->prefix);
	r = p->mapper->start(err);
	if (r < 0) {
		free(p);
		return r;
	}
	remove_leftovers(p, ours);
	r = open_pool(p, err);
	if (r < 0) {
		docker_pool_close(p);
		return r;
	}
	*ret = p;
	return 0;
}

/* Devices of layers go first, when the last that has a tree of theirs is
 * gone. */
void
docker_pool_close(struct docker_pool *p)
{
	const struct timespec pause = { 0, GOING_PAUSE_NS };
	struct mapper_info info;
	int i;

	if (p == NULL)
		return;
	close_fd(&p->pool_fd);
	for (i = 0; i < GOING_TRIES; i++) {
		if (p->mapper->info(p->pool, &info, NULL) < 0 || !info.exists)
			break;
		(void)nanosleep(&pause, NULL);
	}
	p->mapper->stop();
	free(p);
}
