/* The pool: up, down, and every change of it as a transaction. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/strbuf.h"

/* ---- transactions ---- */

static int
send(struct devmapper *d, const char *text, struct imgd_error **err)
{
	return d->mapper->message(d->pool, text, err);
}

/* Delete a thin device; one that is not there is deleted. */
static int
send_delete(struct devmapper *d, uint32_t device, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char text[64];
	int r;

	(void)snprintf(text, sizeof(text), "delete %u", device);
	r = send(d, text, &e);
	if (r == 0 || r == -ENODATA)
		return 0;
	return pool_explain(d, r, e, err);
}

static int
send_create(struct devmapper *d, uint32_t device, const uint32_t *origin,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char text[64];
	int r;

	if (origin != NULL)
		(void)snprintf(text, sizeof(text), "create_snap %u %u", device,
		    *origin);
	else
		(void)snprintf(text, sizeof(text), "create_thin %u", device);
	r = send(d, text, &e);
	if (r == -EEXIST)
		return imgd_error_set(err, EEXIST, "%s", imgd_error_msg(e));
	return r == 0 ? 0 : pool_explain(d, r, e, err);
}

static int
send_transaction(struct devmapper *d, uint64_t target,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char text[96];
	int r;

	(void)snprintf(text, sizeof(text), "set_transaction_id %llu %llu",
	    (unsigned long long)target - 1, (unsigned long long)target);
	r = send(d, text, &e);
	return r == 0 ? 0 : pool_explain(d, r, e, err);
}

/* Undo a change that the pool has no transaction for.  A deletion cannot be
 * undone, but its row is dying still: it will be repeated. */
static int
roll_back(struct devmapper *d, const struct change *c,
    struct imgd_error **err)
{
	int r = 0;

	if (c->kind == CHANGE_CREATE)
		r = send_delete(d, c->row.device, err);
	return r < 0 ? r : journal_cancel(d->journal, err);
}

/* Bring journal and pool in step after a crash or a failure. */
static int
recover(struct devmapper *d, struct imgd_error **err)
{
	struct pool_status ps;
	struct change c;
	uint64_t known;
	int r;

	r = pool_status(d, &ps, err);
	if (r >= 0)
		r = journal_get_u64(d->journal, "transaction", &known, err);
	if (r >= 0)
		r = journal_pending(d->journal, &c, err);
	if (r < 0)
		return r;
	if (ps.mode == POOL_FAILED)
		return pool_takes_changes(d, err);
	if (r > 0 && ps.transaction == c.target)
		return journal_done(d->journal, &c, err);
	if (d->options.has_accept && ps.transaction != known &&
	    d->options.accept_transaction == ps.transaction) {
		d->env->log(IMGD_LOG_WARN,
		    "believing the pool's transaction %llu, not pool.db's "
		    "%llu", (unsigned long long)ps.transaction,
		    (unsigned long long)known);
		return journal_accept(d->journal, ps.transaction, err);
	}
	if (ps.transaction != known)
		return backing_mismatch(d, ps.transaction, known, err);
	/* A pool that takes no changes can still be read: leave it noted. */
	if (r > 0 && pool_takes_changes(d, NULL) == 0)
		return roll_back(d, &c, err);
	return 0;
}

/* Note the change, under a device id that is free in the pool as well. */
static int
begin_change(struct devmapper *d, struct change *c, const uint32_t *origin,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	uint32_t from = 1;
	int r;

	if (c->kind == CHANGE_DELETE) {
		r = journal_begin(d->journal, c, err);
		FAIL_POINT("devmapper-deletion-noted");
		return r < 0 ? r : send_delete(d, c->row.device, err);
	}
	for (;;) {
		r = journal_free_device(d->journal, from, &c->row.device, err);
		if (r == 0)
			r = journal_begin(d->journal, c, err);
		if (r < 0)
			return r;
		FAIL_POINT("devmapper-creation-noted");
		r = send_create(d, c->row.device, origin, &e);
		if (r != -EEXIST)
			break;
		/* A device that no row knows of: check finds it. */
		imgd_error_free(take_ptr(&e));
		r = journal_cancel(d->journal, err);
		if (r < 0)
			return r;
		from = c->row.device + 1;
	}
	return r == 0 ? 0 : imgd_error_set(err, -r, "%s", imgd_error_msg(e));
}

int
pool_change(struct devmapper *d, struct change *c, const uint32_t *origin,
    struct imgd_error **err)
{
	uint64_t known;
	int r;

	/* What an earlier failure left noted comes first. */
	r = recover(d, err);
	if (r >= 0)
		r = pool_takes_changes(d, err);
	if (r >= 0)
		r = journal_get_u64(d->journal, "transaction", &known, err);
	if (r < 0)
		return r;
	c->target = known + 1;
	r = begin_change(d, c, origin, err);
	FAIL_POINT("devmapper-pool-changed");
	if (r == 0)
		r = send_transaction(d, c->target, err);
	FAIL_POINT("devmapper-transaction-sent");
	if (r == 0)
		r = journal_done(d->journal, c, err);
	FAIL_POINT("devmapper-change-done");
	if (r < 0)
		(void)recover(d, NULL);
	return r;
}

/* ---- up ---- */

static void
pool_uuid(const struct devmapper *d, char ret[MAPPER_UUID_SIZE])
{
	(void)snprintf(ret, MAPPER_UUID_SIZE, "IMGD-%s-pool", d->store);
}

static void
describe(struct devmapper *d, const char *metadata, const char *data,
    char params[MAPPER_PARAMS_SIZE], char uuid[MAPPER_UUID_SIZE],
    struct mapper_device *ret)
{
	pool_uuid(d, uuid);
	(void)snprintf(params, MAPPER_PARAMS_SIZE,
	    "%s %s %llu 0 2 skip_block_zeroing error_if_no_space", metadata,
	    data, (unsigned long long)d->block_bytes / 512);
	*ret = (struct mapper_device){
		.name = d->pool,
		.uuid = uuid,
		.target = "thin-pool",
		.params = params,
		.sectors = d->data.bytes / 512,
	};
}

static int
activate(struct devmapper *d, struct imgd_error **err)
{
	char metadata_path[DEVICE_PATH_SIZE], data_path[DEVICE_PATH_SIZE];
	char params[MAPPER_PARAMS_SIZE], uuid[MAPPER_UUID_SIZE];
	cleanup_close int metadata_fd = -EBADF, data_fd = -EBADF;
	struct mapper_device device;
	int r;

	metadata_fd = backing_attach(d, &d->metadata, metadata_path, err);
	if (metadata_fd < 0)
		return metadata_fd;
	data_fd = backing_attach(d, &d->data, data_path, err);
	if (data_fd < 0)
		return data_fd;
	describe(d, metadata_path, data_path, params, uuid, &device);
	r = d->mapper->create(&device, err);
	return r < 0 ? imgd_error_prefix(err,
	    "activate the pool on %s and %s", d->data.path,
	    d->metadata.path) : 0;
}

/* Larger files below a pool that is active: a new table of the new size. */
static int
grow_active(struct devmapper *d, struct imgd_error **err)
{
	char params[MAPPER_PARAMS_SIZE], uuid[MAPPER_UUID_SIZE];
	char metadata[24], data[24];
	struct mapper_device device;
	struct mapper_line line;
	int r;

	r = backing_grow_active(d, err);
	if (r == 0)
		r = d->mapper->table(d->pool, &line, err);
	if (r < 0)
		return r;
	if (sscanf(line.params, "%23s %23s", metadata, data) != 2)
		return imgd_error_set(err, EPROTO,
		    "pool %s: table not understood: %s", d->pool, line.params);
	describe(d, metadata, data, params, uuid, &device);
	return d->mapper->reload(&device, err);
}

static int
adopt(struct devmapper *d, const struct mapper_info *info,
    struct imgd_error **err)
{
	char uuid[MAPPER_UUID_SIZE];
	int r = 0;

	pool_uuid(d, uuid);
	if (strcmp(info->uuid, uuid) != 0)
		return imgd_error_set(err, EBUSY,
		    "the device %s exists already and is not this store's "
		    "(uuid \"%s\")", d->pool, info->uuid);
	if (info->is_suspended)
		r = d->mapper->resume(d->pool, err);
	if (r == 0)
		r = backing_check_active(d, err);
	if (r == 0 && backing_wants_growth(d))
		r = grow_active(d, err);
	return r;
}

/* dm.thinpooldev: somebody else's pool, for this store alone. */
static int
use_given(struct devmapper *d, const struct mapper_info *info,
    struct imgd_error **err)
{
	char path[DEVICE_PATH_SIZE];
	struct mapper_line line;
	struct pool_status ps;
	unsigned long sectors;
	int r;

	if (!info->exists)
		return imgd_error_set(err, ENODEV,
		    "the thin pool /dev/mapper/%s does not exist", d->pool);
	r = pool_status(d, &ps, err);
	if (r == 0)
		r = d->mapper->table(d->pool, &line, err);
	if (r < 0)
		return r;
	if (sscanf(line.params, "%*s %*s %lu", &sectors) != 1)
		return imgd_error_set(err, EPROTO,
		    "pool %s: table not understood: %s", d->pool, line.params);
	d->block_bytes = (uint64_t)sectors * 512;
	if (d->is_initialized)
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/mapper/%s", d->pool);
	return journal_set(d->journal, "pool_device", path, err);
}

static int
set_number(struct devmapper *d, struct imgd_error **err)
{
	struct mapper_info info;
	int r = d->mapper->info(d->pool, &info, err);

	if (r == 0)
		(void)snprintf(d->pool_number, sizeof(d->pool_number),
		    "%u:%u", info.major, info.minor);
	return r;
}

int
pool_up(struct devmapper *d, struct imgd_error **err)
{
	struct mapper_info info;
	bool is_made;
	int r;

	if (d->is_up)
		return 0;
	if (d->is_readonly)
		return imgd_error_set(err, EROFS,
		    "the store is open for reading only");
	r = d->mapper->info(d->pool, &info, err);
	if (r < 0)
		return r;
	if (info.exists && !info.has_table && !d->is_given_pool) {
		r = d->mapper->remove(d->pool, false, err);
		if (r < 0)
			return r;
		info.exists = false;
	}
	is_made = !d->is_given_pool && !info.exists;
	if (d->is_given_pool)
		r = use_given(d, &info, err);
	else
		r = is_made ? activate(d, err) : adopt(d, &info, err);
	if (r == 0)
		r = set_number(d, err);
	if (r == 0)
		r = recover(d, err);
	if (r == 0)
		r = base_ensure(d, err);
	if (r < 0 && is_made)
		(void)d->mapper->remove(d->pool, false, NULL);
	d->is_up = r == 0;
	return r;
}

/* ---- down ---- */

/* What status says while the pool is down. */
static void
remember_usage(struct devmapper *d)
{
	struct pool_status ps;

	if (pool_status(d, &ps, NULL) < 0 || ps.mode == POOL_FAILED)
		return;
	(void)journal_set_u64(d->journal, "data_used", ps.data_used, NULL);
	(void)journal_set_u64(d->journal, "metadata_used", ps.metadata_used,
	    NULL);
}

static int
stop_walk(void *ctx, const char *id)
{
	(void)ctx;
	(void)id;
	return 1;
}

int
pool_down(struct devmapper *d, struct imgd_error **err)
{
	int r;

	if (!d->is_up)
		return 0;
	remember_usage(d);
	r = thin_each(d, stop_walk, NULL, err);
	FAIL_POINT("devmapper-pool-unused");
	if (r != 0 || d->is_given_pool)
		return r < 0 ? r : 0;
	r = d->mapper->remove(d->pool, false, err);
	if (r == 0)
		d->is_up = false;
	return r;
}
