/* Thin devices: activation on demand. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

/* Others (udev's rules, a scanner) may have a device open for a moment. */
#define BUSY_TRIES    250
#define BUSY_PAUSE_NS 20000000

static void
nap(void)
{
	const struct timespec pause = { 0, BUSY_PAUSE_NS };

	(void)nanosleep(&pause, NULL);
}

void
thin_name(const struct devmapper *d, const char *id,
    char ret[MAPPER_NAME_SIZE])
{
	(void)snprintf(ret, MAPPER_NAME_SIZE, "%s-%.*s", d->prefix,
	    ROW_ID_SIZE - 1, id);
}

void
thin_path(const struct devmapper *d, const char *id,
    char ret[DEVICE_PATH_SIZE])
{
	char name[MAPPER_NAME_SIZE];

	thin_name(d, id, name);
	(void)snprintf(ret, DEVICE_PATH_SIZE, "/dev/mapper/%s", name);
}

static void
thin_uuid(const struct devmapper *d, const char *id,
    char ret[MAPPER_UUID_SIZE])
{
	(void)snprintf(ret, MAPPER_UUID_SIZE, "IMGD-%s-%.*s", d->store,
	    ROW_ID_SIZE - 1, id);
}

int
thin_info(struct devmapper *d, const char *id, struct mapper_info *ret,
    struct imgd_error **err)
{
	char name[MAPPER_NAME_SIZE], uuid[MAPPER_UUID_SIZE];
	struct mapper_info info;
	int r;

	thin_name(d, id, name);
	thin_uuid(d, id, uuid);
	r = d->mapper->info(name, &info, err);
	if (r < 0)
		return r;
	if (info.exists && strcmp(info.uuid, uuid) != 0)
		return imgd_error_set(err, EBUSY,
		    "the device %s exists already and is not this store's "
		    "(uuid \"%s\")", name, info.uuid);
	*ret = info;
	return 0;
}

/* Which device id of the pool an active device is; 0 if it has no table. */
static uint32_t
active_device(struct devmapper *d, const char *name)
{
	struct mapper_line line;
	unsigned int device;

	if (d->mapper->table(name, &line, NULL) < 0 ||
	    strcmp(line.target, "thin") != 0 ||
	    sscanf(line.params, "%*s %u", &device) != 1)
		return 0;
	return device;
}

static int
create(struct devmapper *d, const char *id, uint32_t device_id,
    uint64_t bytes, bool is_readonly, struct imgd_error **err)
{
	char name[MAPPER_NAME_SIZE], uuid[MAPPER_UUID_SIZE];
	cleanup_error struct imgd_error *e = NULL;
	char params[64];
	struct mapper_device device = {
		.name = name,
		.uuid = uuid,
		.target = "thin",
		.params = params,
		.sectors = bytes / 512,
		.is_readonly = is_readonly,
	};
	int r;

	thin_name(d, id, name);
	thin_uuid(d, id, uuid);
	(void)snprintf(params, sizeof(params), "%s %u", d->pool_number,
	    device_id);
	r = d->mapper->create(&device, &e);
	if (r == 0)
		return 0;
	if (r == -ENODATA)
		return imgd_error_set(err, ENODATA,
		    "its thin device %u is not in the pool", device_id);
	return pool_explain(d, r, e, err);
}

/* Keep an active device (1), or have it removed to be made anew (0): it may be
 * of another device id, or half made. */
static int
keep(struct devmapper *d, const struct row *row,
    const struct mapper_info *info, bool is_readonly, struct imgd_error **err)
{
	char name[MAPPER_NAME_SIZE];
	bool is_same;
	int r;

	thin_name(d, row->id, name);
	/* It may be suspended, and without udev its node may be missing. */
	if (info->has_table) {
		r = d->mapper->resume(name, err);
		if (r < 0)
			return r;
	}
	if (info->is_going) {
		r = d->mapper->message(name, "@cancel_deferred_remove", NULL);
		if (r < 0)
			return 0;
	}
	is_same = info->is_readonly == is_readonly &&
	    active_device(d, name) == row->device;
	if (is_same)
		return 1;
	r = d->mapper->remove(name, false, NULL);
	if (r == 0)
		return 0;
	/* After an exchange of contents open mounts keep the old one. */
	if (info->is_readonly == is_readonly)
		return 1;
	return imgd_error_set(err, EBUSY,
	    "its device %s is still open %s", name,
	    info->is_readonly ? "for reading only" : "for writing");
}

int
thin_activate(struct devmapper *d, const struct row *row, bool is_readonly,
    struct imgd_error **err)
{
	struct mapper_info info;
	int r, i;

	for (i = 0; i < BUSY_TRIES; i++) {
		r = thin_info(d, row->id, &info, err);
		if (r < 0)
			return r;
		if (!info.exists)
			return create(d, row->id, row->device, row->bytes,
			    is_readonly, err);
		r = keep(d, row, &info, is_readonly, err);
		if (r != 0)
			return r < 0 ? r : 0;
		/* A deferred removal that is just happening. */
		nap();
	}
	return imgd_error_set(err, EBUSY, "its device does not go away");
}

int
thin_deactivate(struct devmapper *d, const char *id, struct imgd_error **err)
{
	char name[MAPPER_NAME_SIZE];
	struct mapper_info info;
	int r, i;

	r = thin_info(d, id, &info, err);
	if (r < 0 || !info.exists)
		return r;
	thin_name(d, id, name);
	if (d->options.deferred_removal)
		return d->mapper->remove(name, /* is_deferred= */ true, err);
	for (i = 0; i < BUSY_TRIES; i++) {
		r = d->mapper->remove(name, false, NULL);
		if (r != -EBUSY)
			break;
		nap();
	}
	return r == 0 ? 0 : d->mapper->remove(name, false, err);
}

int
thin_probe(struct devmapper *d, uint32_t device, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char name[MAPPER_NAME_SIZE];
	int r;

	r = create(d, "probe", device, d->block_bytes, /* is_readonly= */ true,
	    &e);
	if (r == -ENODATA)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "probe thin device %u: %s",
		    device, imgd_error_msg(e));
	thin_name(d, "probe", name);
	r = d->mapper->remove(name, false, err);
	return r < 0 ? r : 1;
}

/* ---- all of ours ---- */

struct walk {
	struct devmapper *d;
	size_t skip; /* length of the prefix and its dash */
	struct strbuf ids; /* ROW_ID_SIZE bytes each */
};

static int
gather(void *ctx, const char *name)
{
	struct walk *w = ctx;
	char id[ROW_ID_SIZE] = "";

	if (strncmp(name, w->d->prefix, w->skip - 1) != 0 ||
	    name[w->skip - 1] != '-' ||
	    strcmp(name, w->d->pool) == 0)
		return 0;
	(void)snprintf(id, sizeof(id), "%s", name + w->skip);
	strbuf_append(&w->ids, id, sizeof(id));
	return 0;
}

int
thin_each(struct devmapper *d, thin_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct walk w = { d, strlen(d->prefix) + 1, STRBUF_INIT };
	struct mapper_info info;
	size_t pos;
	int r;

	r = d->mapper->names(gather, &w, err);
	if (r == 0 && w.ids.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	for (pos = 0; r == 0 && pos < w.ids.len; pos += ROW_ID_SIZE)
		if (thin_info(d, w.ids.data + pos, &info, NULL) == 0 &&
		    info.exists)
			r = cb(ctx, w.ids.data + pos);
	strbuf_done(&w.ids);
	return r;
}

struct sought {
	struct devmapper *d;
	uint32_t device;
};

static int
is_device(void *ctx, const char *id)
{
	struct sought *s = ctx;
	char name[MAPPER_NAME_SIZE];

	thin_name(s->d, id, name);
	return active_device(s->d, name) == s->device;
}

int
thin_is_active(struct devmapper *d, uint32_t device, struct imgd_error **err)
{
	struct sought s = { d, device };

	return thin_each(d, is_device, &s, err);
}
