#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/engine.h"
#include "core/images-list.h"
#include "core/job.h"
#include "core/partials.h"
#include "core/space.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

/* Each level holds a descriptor; no real tree is as deep. */
#define MAX_DEPTH 200

/* ---- bytes on the disk ---- */

/* A file with several names counts in parts: all of them are in the store. */
static uint64_t
file_bytes(const struct statx *st)
{
	uint64_t bytes = st->stx_blocks * 512;

	return S_ISDIR(st->stx_mode) || st->stx_nlink < 2
	    ? bytes
	    : bytes / st->stx_nlink;
}

/* A subvolume has a device number of its own; a mount, an id. */
static int
look(int dir_fd, const char *name, struct statx *st)
{
	return statx(dir_fd, name,
	    AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
	    STATX_BASIC_STATS | STATX_MNT_ID, st);
}

/* The directory's own bytes are the caller's.  What vanishes meanwhile is not
 * there; mount points are left out. */
static uint64_t
dir_bytes(int parent_fd, const char *name, uint64_t mount, int depth)
{
	int fd = fs_open_dir(parent_fd, name, NULL);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	uint64_t bytes = 0;
	struct dirent *de;
	struct statx st;

	if (dir == NULL) {
		cleanup_closep(&fd);
		return 0;
	}
	while ((de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    look(fd, de->d_name, &st) < 0 || st.stx_mnt_id != mount)
			continue;
		bytes += file_bytes(&st);
		if (S_ISDIR(st.stx_mode) && depth < MAX_DEPTH)
			bytes += dir_bytes(fd, de->d_name, mount, depth + 1);
	}
	return bytes;
}

/* A name below ROOT and all below it. */
static uint64_t
tree_bytes(int parent_fd, const char *name)
{
	struct statx st;

	if (look(parent_fd, name, &st) < 0)
		return 0;
	return file_bytes(&st) +
	    (S_ISDIR(st.stx_mode)
		    ? dir_bytes(parent_fd, name, st.stx_mnt_id, 0)
		    : 0);
}

/* ---- what the rows say ---- */

struct driver_sum {
	char name[64];
	uint64_t n_layers, bytes;
};

struct sums {
	struct driver_sum drivers[STORE_MAX_DRIVERS];
	size_t n_drivers;
	uint64_t bytes, n_containers;
};

static int
add_layer(void *ctx, const struct layer_row *row)
{
	struct sums *sums = ctx;
	struct driver_sum *d;
	size_t i;

	for (i = 0; i < sums->n_drivers; i++)
		if (strcmp(sums->drivers[i].name, row->driver) == 0)
			break;
	if (i == STORE_MAX_DRIVERS)
		return 0;
	d = &sums->drivers[i];
	if (i == sums->n_drivers) {
		sums->n_drivers++;
		(void)snprintf(d->name, sizeof(d->name), "%s", row->driver);
	}
	d->n_layers++;
	d->bytes += row->size_bytes;
	sums->bytes += row->size_bytes;
	return 0;
}

static int
add_container(void *ctx, const struct container_row *row)
{
	struct sums *sums = ctx;

	sums->n_containers += strcmp(row->state, "dying") != 0;
	return 0;
}

static void
put_drivers(struct strbuf *sb, struct store *s, const struct sums *sums,
    uint64_t *rest)
{
	int fd = fs_open_dir(s->root_fd, "drivers", NULL);
	size_t i;

	strbuf_puts(sb, "\"Drivers\":{");
	for (i = 0; i < sums->n_drivers; i++) {
		const struct driver_sum *d = &sums->drivers[i];
		uint64_t bytes = fd >= 0 ? tree_bytes(fd, d->name) : 0;

		strbuf_puts(sb, i > 0 ? "," : "");
		strbuf_json(sb, d->name);
		strbuf_printf(sb,
		    ":{\"Layers\":%ju,\"LayerBytes\":%ju,\"Bytes\":%ju}",
		    (uintmax_t)d->n_layers, (uintmax_t)d->bytes,
		    (uintmax_t)bytes);
		*rest -= bytes < *rest ? bytes : *rest;
	}
	strbuf_putc(sb, '}');
	cleanup_closep(&fd);
}

static int
put_store(struct strbuf *sb, struct store *s, const struct sums *sums,
    struct imgd_error **err)
{
	static const struct {
		const char *key, *name;
	} parts[] = { { "Recipes", "recipes" }, { "Spool", "spool" },
		{ "Database", "imgd.db" }, { "Database", "imgd.db-wal" },
		{ "Database", "imgd.db-shm" } };
	uint64_t total = tree_bytes(s->root_fd, "."), rest = total;
	struct partials_usage partials = { 0 };
	uint64_t database = 0;
	size_t i;
	int r = 0;

	if (s->tags != NULL)
		r = partials_count(s, &partials, err);
	if (r < 0)
		return r;
	strbuf_puts(sb, ",\"Store\":{");
	put_drivers(sb, s, sums, &rest);
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t bytes = tree_bytes(s->root_fd, parts[i].name);

		rest -= bytes < rest ? bytes : rest;
		if (strcmp(parts[i].key, "Database") == 0)
			database += bytes;
		else
			strbuf_printf(sb, ",\"%s\":%ju", parts[i].key,
			    (uintmax_t)bytes);
	}
	strbuf_printf(sb,
	    ",\"Database\":%ju,\"Other\":%ju,\"Total\":%ju,"
	    "\"PartialBlobs\":%ju,\"PartialBytes\":%ju,\"Containers\":%ju}",
	    (uintmax_t)database, (uintmax_t)rest, (uintmax_t)total,
	    (uintmax_t)partials.n, (uintmax_t)partials.bytes,
	    (uintmax_t)sums->n_containers);
	return 0;
}

int
space_usage(struct store *s, bool with_disk, struct strbuf *ret,
    struct imgd_error **err)
{
	const struct images_query query = { .wants_shared_size = true,
		.wants_virtual_size = true };
	struct sums sums = { .n_drivers = 0 };
	int r = 0;

	if (s->tags != NULL)
		r = tagstore_layers(s->tags, NULL, "ready", add_layer, &sums,
		    err);
	if (r >= 0 && s->tags != NULL)
		r = tagstore_containers(s->tags, add_container, &sums, err);
	if (r < 0)
		return r;
	strbuf_puts(ret,
	    "{\"BuildCache\":[],\"BuilderSize\":0,\"Containers\":[],"
	    "\"Images\":");
	r = images_list(s, &query, ret, err);
	strbuf_printf(ret, ",\"LayersSize\":%ju,\"Volumes\":[]",
	    (uintmax_t)sums.bytes);
	if (r >= 0 && with_disk)
		r = put_store(ret, s, &sums, err);
	strbuf_putc(ret, '}');
	if (r >= 0 && ret->is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

int
job_df(struct job *job, struct imgd_error **err)
{
	return space_usage(job->engine->store,
	    job_getenv(job, "disk") != NULL, &job->result, err);
}
