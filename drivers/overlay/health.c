/* What the driver tells of itself, and its check. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/overlay/mount.h"
#include "drivers/overlay/overlay.h"
#include "drivers/overlay/probe.h"
#include "drivers/overlay/quota.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/fs-type.h"
#include "lib/strbuf.h"
#include "lib/tree-copy.h"

int
overlay_status(void *h, struct imgd_kv *kv, struct imgd_error **err)
{
	struct overlay *o = h;
	const char *name;
	char buf[32];
	int r = fs_type_name(o->sync_fd, buf, &name, err);

	if (r < 0)
		return r;
	kv->put(kv->ctx, "Root Dir", o->home);
	kv->put(kv->ctx, "Backing Filesystem", name);
	r = overlay_has_d_type(o->sync_fd, err);
	if (r < 0)
		return r;
	kv->put(kv->ctx, "Supports d_type", r > 0 ? "true" : "false");
	kv->put(kv->ctx, "Using metacopy", "false");
	kv->put(kv->ctx, "userxattr", o->userxattr ? "true" : "false");
	kv->put(kv->ctx, "Quota Enabled",
	    quota_possible(o->sync_fd) ? "true" : "false");
	return 0;
}

/* One path of id as an answer. */
static int
put_path(struct overlay *o, struct imgd_kv *kv, const char *key,
    const char *id, const char *name, struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	int r = overlay_layer_path(o, id, name, &path, err);

	if (r == 0)
		kv->put(kv->ctx, key, path);
	return r;
}

/* The ancestors' directories, nearest first, joined by colons. */
static int
put_lower_dirs(struct overlay *o, struct imgd_kv *kv, const char *parent,
    struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	char at[LAYER_ID_SIZE], next[LAYER_ID_SIZE];
	struct strbuf sb = STRBUF_INIT;
	int n, r = 1;

	memcpy(at, parent, sizeof(at));
	for (n = 0; r > 0 && n < OVERLAY_MAX_LOWERS; n++) {
		strbuf_printf(&sb, "%s%s/%s/diff", n > 0 ? ":" : "", o->home,
		    at);
		r = layer_dirs_parent(&o->layers, at, next, err);
		if (r > 0)
			memcpy(at, next, sizeof(at));
	}
	text = strbuf_take(&sb);
	if (r < 0)
		return r;
	if (text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	kv->put(kv->ctx, "LowerDir", text);
	return 0;
}

int
overlay_metadata(void *h, const char *id, struct imgd_kv *kv,
    struct imgd_error **err)
{
	struct overlay *o = h;
	char parent[LAYER_ID_SIZE];
	int r, state;

	state = layer_dirs_state(&o->layers, id, err);
	if (state < 0)
		return state;
	r = layer_dirs_parent(&o->layers, id, parent, err);
	if (r > 0) {
		kv->put(kv->ctx, "Parent", parent);
		r = put_lower_dirs(o, kv, parent, err);
	}
	if (r == 0)
		r = put_path(o, kv, "UpperDir", id, "diff", err);
	if (r == 0)
		r = put_path(o, kv, "MergedDir", id, "merged", err);
	if (r == 0 && state == IMGD_STATE_RW)
		r = put_path(o, kv, "WorkDir", id, "work", err);
	return r;
}

/* What a check of layer after layer carries. */
struct check {
	struct overlay *overlay;
	uint32_t flags;
	imgd_problem_cb *cb;
	void *ctx;
	int n_problems;
};

static void
report(struct check *c, const char *id, const char *text, bool repaired)
{
	c->cb(c->ctx, id, text, repaired);
	c->n_problems += !repaired;
}

static void
check_short(struct check *c, const char *id)
{
	struct overlay *o = c->overlay;

	if (overlay_short_leads(o, id))
		return;
	report(c, id, "its short name is missing or leads elsewhere",
	    (c->flags & IMGD_CHECK_REPAIR) != 0 &&
		overlay_remake_short(o, id, NULL) == 0);
}

/* A directory that holds nothing of value is made anew. */
static void
check_mount_dir(struct check *c, int layer_fd, const char *id,
    const char *name)
{
	struct stat st;
	char text[64];

	if (fstatat(layer_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode))
		return;
	(void)snprintf(text, sizeof(text), "its directory %s is missing",
	    name);
	report(c, id, text, (c->flags & IMGD_CHECK_REPAIR) != 0 &&
	    fs_make_dir(layer_fd, name, 0700, NULL) >= 0);
}

static int
check_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	cleanup_close int layer_fd = -EBADF, diff_fd = -EBADF;
	cleanup_error struct imgd_error *e = NULL;
	struct check *c = ctx;
	int r;

	r = layer_fd = layer_dirs_fd(&c->overlay->layers, id, &e);
	if (r >= 0)
		r = diff_fd = fs_open_dir(layer_fd, "diff", &e);
	/* What is not sealed may be written just now. */
	if (r >= 0 && (c->flags & IMGD_CHECK_DEEP) != 0 &&
	    (state & IMGD_STATE_MASK) == IMGD_STATE_SEALED)
		r = tree_read(diff_fd, c->overlay->env->cancelled, &e);
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		report(c, id, imgd_error_msg(e), /* repaired= */ false);
	if (layer_fd < 0)
		return 0;
	if (parent != NULL &&
	    layer_dirs_exists(&c->overlay->layers, parent, NULL) == 0)
		report(c, id, "its parent is missing", /* repaired= */ false);
	check_mount_dir(c, layer_fd, id, "merged");
	if ((state & IMGD_STATE_MASK) == IMGD_STATE_RW)
		check_mount_dir(c, layer_fd, id, "work");
	check_short(c, id);
	return 0;
}

int
overlay_check(void *h, uint32_t flags, imgd_problem_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct overlay *o = h;
	struct check c = { o, flags, cb, ctx, 0 };
	int r, n, links;

	n = layer_dirs_check(&o->layers, flags, cb, ctx, err);
	if (n < 0)
		return n;
	r = layer_dirs_list(&o->layers, check_layer, &c, err);
	if (r == -ECANCELED)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (r < 0)
		return r;
	links = overlay_sweep_links(o, (flags & IMGD_CHECK_REPAIR) != 0, cb,
	    ctx, err);
	return links < 0 ? links : n + c.n_problems + links;
}
