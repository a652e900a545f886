/* What the driver tells of itself and of a layer. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "lib/superblock.h"

static void
put(struct imgd_kv *kv, const char *key, const char *value)
{
	kv->put(kv->ctx, key, value);
}

static void
put_bool(struct imgd_kv *kv, const char *key, bool value)
{
	put(kv, key, value ? "true" : "false");
}

static void
put_size(struct imgd_kv *kv, const char *key, uint64_t bytes)
{
	char buf[32];

	put(kv, key, str_size(bytes, buf));
}

static void
put_number(struct imgd_kv *kv, const char *key, uint64_t n)
{
	char buf[24];

	(void)snprintf(buf, sizeof(buf), "%llu", (unsigned long long)n);
	put(kv, key, buf);
}

/* ---- the store ---- */

struct usage {
	struct pool_status ps;
	bool is_active;
	char state[64];
};

/* The pool's own word while it is active, what is on disk else. */
static int
find_usage(struct devmapper *d, struct usage *ret, struct imgd_error **err)
{
	struct mapper_info info = { .exists = false };
	struct thin_super super;
	int r = 0;

	*ret = (struct usage){ .is_active = false };
	if (d->has_mapper)
		r = d->mapper->info(d->pool, &info, err);
	if (r < 0)
		return r;
	ret->is_active = info.exists;
	if (info.exists) {
		r = pool_status(d, &ret->ps, err);
		(void)snprintf(ret->state, sizeof(ret->state), "%s%s",
		    pool_mode_name(&ret->ps), ret->ps.needs_check
		    ? ", needs a check" : "");
		return r;
	}
	r = journal_get_u64(d->journal, "data_used", &ret->ps.data_used, err);
	if (r >= 0)
		r = journal_get_u64(d->journal, "metadata_used",
		    &ret->ps.metadata_used, err);
	if (r >= 0)
		r = backing_read_metadata(d, &super, err);
	ret->ps.data_total = d->block_bytes > 0 ? d->data.bytes /
	    d->block_bytes : 0;
	ret->ps.metadata_total = d->metadata.bytes / 4096;
	if (r > 0)
		ret->ps.transaction = super.transaction;
	(void)snprintf(ret->state, sizeof(ret->state), "inactive%s",
	    r > 0 && super.needs_check ? ", needs a check" : "");
	return r < 0 ? r : 0;
}

/* Free space, and no more than the filesystem below a sparse file has. */
static uint64_t
available(struct devmapper *d, const struct backing *b, uint64_t used,
    uint64_t total)
{
	uint64_t left = used < total ? total - used : 0, below;
	struct statvfs sv;

	if (!b->is_file || statvfs(d->home, &sv) < 0)
		return left;
	below = (uint64_t)sv.f_bavail * sv.f_frsize;
	return below < left ? below : left;
}

static void
put_backing(struct devmapper *d, struct imgd_kv *kv, const struct backing *b,
    const char *name, uint64_t used, uint64_t total)
{
	char key[48];

	(void)snprintf(key, sizeof(key), "%s %s", name,
	    b->is_file ? "loop file" : "file");
	if (b->path != NULL)
		put(kv, key, b->path);
	(void)snprintf(key, sizeof(key), "%s Space Used", name);
	put_size(kv, key, used);
	(void)snprintf(key, sizeof(key), "%s Space Total", name);
	put_size(kv, key, total);
	(void)snprintf(key, sizeof(key), "%s Space Available", name);
	put_size(kv, key, available(d, b, used, total));
}

static int
put_rows(struct devmapper *d, struct imgd_kv *kv, struct imgd_error **err)
{
	cleanup_free struct row *rows = NULL;
	size_t i, n, layers = 0, dying = 0;
	int r = journal_rows(d->journal, &rows, &n, err);

	if (r < 0)
		return r;
	for (i = 0; i < n; i++) {
		if (rows[i].state == ROW_BASE)
			put_size(kv, "Base Device Size", rows[i].bytes);
		else if (rows[i].state == ROW_DYING)
			dying++;
		else
			layers++;
	}
	put_number(kv, "Layers", layers);
	put_number(kv, "Deferred Deleted Device Count", dying);
	return 0;
}

static void
put_settings(struct devmapper *d, struct imgd_kv *kv)
{
	char kernel[32], library[64], percent[16];
	bool has_udev;

	(void)snprintf(percent, sizeof(percent), "%u%%",
	    d->options.min_free_percent);
	put(kv, "Thin Pool Minimum Free Space", percent);
	put_bool(kv, "Deferred Removal Enabled", d->options.deferred_removal);
	put_bool(kv, "Deferred Deletion Enabled",
	    d->options.deferred_deletion);
	if (!d->has_mapper ||
	    d->mapper->versions(kernel, library, &has_udev, NULL) < 0)
		return;
	put_bool(kv, "Udev Sync Supported", has_udev);
	put(kv, "Library Version", library);
	put(kv, "Kernel Version", kernel);
}

int
devmapper_status(void *h, struct imgd_kv *kv, struct imgd_error **err)
{
	struct devmapper *d = h;
	cleanup_lock m = devmapper_lock(d);
	struct usage u;
	int r;

	put(kv, "Pool Name", d->pool);
	if (d->journal == NULL) {
		put(kv, "Pool State", "not made yet");
		return 0;
	}
	r = find_usage(d, &u, err);
	if (r < 0)
		return r;
	put(kv, "Pool State", u.state);
	put_number(kv, "Pool Transaction Id", u.ps.transaction);
	put_size(kv, "Pool Blocksize", d->block_bytes);
	put(kv, "Backing Filesystem", d->fs);
	r = put_rows(d, kv, err);
	if (r < 0)
		return r;
	put_backing(d, kv, &d->data, "Data", u.ps.data_used * d->block_bytes,
	    u.ps.data_total * d->block_bytes);
	put_number(kv, "Bytes Used", u.ps.data_used * d->block_bytes);
	put_backing(d, kv, &d->metadata, "Metadata",
	    u.ps.metadata_used * 4096, u.ps.metadata_total * 4096);
	put_settings(d, kv);
	return 0;
}

/* ---- a layer ---- */

static const char *
state_name(uint32_t state)
{
	switch (state) {
	case IMGD_STATE_STAGED:
		return "staged";
	case IMGD_STATE_SEALED:
		return "sealed";
	default:
		return "writable";
	}
}

/* How much of the device is mapped in the pool, also what it has in common
 * with others; only the active device tells. */
static void
put_mapped(struct devmapper *d, const char *name, struct imgd_kv *kv)
{
	struct mapper_info info = { .exists = false };
	struct mapper_line line;
	unsigned long long sectors;

	if (d->has_mapper && d->mapper->info(name, &info, NULL) == 0 &&
	    info.exists && d->mapper->status(name, &line, NULL) == 0 &&
	    strcmp(line.target, "thin") == 0 &&
	    sscanf(line.params, "%llu", &sectors) == 1)
		put_number(kv, "MappedBytes", sectors * 512);
}

int
devmapper_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err)
{
	struct devmapper *d = h;
	cleanup_lock m = devmapper_lock(d);
	char name[MAPPER_NAME_SIZE];
	struct row row;
	int r = 0;

	if (d->journal != NULL)
		r = journal_row(d->journal, id, &row, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ENOENT, "no layer %.12s", id);
	thin_name(d, id, name);
	put_number(kv, "DeviceId", row.device);
	put(kv, "DeviceName", name);
	put_number(kv, "DeviceSize", row.bytes);
	put(kv, "State", state_name(row.state));
	put_mapped(d, name, kv);
	if (row.parent[0] != '\0')
		put(kv, "Parent", row.parent);
	return 0;
}
