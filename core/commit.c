/*
 * The commit job: what was changed in a writable layer becomes a layer of a
 * new image.
 *
 * The engine compares the trees and lists what changed; a packer makes a tar of
 * that.  From there on it is a pull like that of an image without diff_ids,
 * most of whose layers are known: the new one is unpacked, named by its
 * content and durable before the image appears.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/changes.h"
#include "core/commit-config.h"
#include "core/events.h"
#include "core/inner-source.h"
#include "core/job.h"
#include "core/layer-pack.h"
#include "core/new-image.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "lib/tar.h"

#define LIST_BUFFER_BYTES (64u << 10)

/* What is committed; a pull's ctx. */
struct origin {
	struct inner_source source; /* the first: it is cast back */
	struct engine *engine;
	struct driver *driver;
	struct container_row row;
	struct image base;
	int list_fd; /* of changes */
	bool has_changes;
	char *created, *author, *message, *changes; /* of the config; or NULL */
};

static void
origin_free(void *ctx)
{
	struct origin *o = ctx;

	if (o == NULL)
		return;
	inner_source_done(&o->source);
	container_row_done(&o->row);
	image_done(&o->base);
	close_fd(&o->list_fd);
	free(o->created);
	free(o->author);
	free(o->message);
	free(o->changes);
	free(o);
}

/* ---- the list of changes ---- */

struct list {
	struct job *job;
	int fd;
	struct strbuf buf;
	struct imgd_error *error;
	bool is_empty;
};

static int
flush_list(struct list *l, struct imgd_error **err)
{
	int r = l->buf.is_failed
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : fs_write_all(l->fd, l->buf.data, l->buf.len, err);

	strbuf_truncate(&l->buf, 0);
	return r;
}

static void
put_record(struct list *l, const char *path, int kind)
{
	strbuf_putc(&l->buf,
	    kind == IMGD_CHANGE_DELETE ? TAR_CHANGE_GONE : TAR_CHANGE_THERE);
	strbuf_append(&l->buf, path, strlen(path) + 1);
}

static int
list_change(void *ctx, const char *path, int kind)
{
	struct list *l = ctx;

	/* Nobody tells when only the root's time is another. */
	if (l->is_empty && strcmp(path, "/") != 0)
		put_record(l, "/", IMGD_CHANGE_MODIFY);
	l->is_empty = false;
	if (strlen(path) > LIMIT_PATH_BYTES)
		return imgd_error_set(&l->error, IMGD_E_LIMIT,
		    "%.60s…: longer than %d bytes", path, LIMIT_PATH_BYTES);
	put_record(l, path, kind);
	return l->buf.len < LIST_BUFFER_BYTES ? 0 : flush_list(l, &l->error);
}

static int
is_abandoned(void *ctx)
{
	const struct list *l = ctx;

	return job_is_abandoned(l->job);
}

static int
list_changes(struct job *job, struct origin *o, struct imgd_error **err)
{
	struct list l = { .job = job, .buf = STRBUF_INIT, .is_empty = true };
	cleanup_error struct imgd_error *why = NULL;
	int r = store_open_scratch(o->engine->store, &o->list_fd, err);

	if (r < 0)
		return r;
	l.fd = o->list_fd;
	r = layer_changes(o->driver, o->row.key, o->row.parent, list_change,
	    is_abandoned, &l, &why);
	if (r < 0)
		r = imgd_error_set(err, -r, "%s",
		    imgd_error_msg(l.error != NULL ? l.error : why));
	else if (l.buf.len > 0)
		r = flush_list(&l, err);
	imgd_error_free(l.error);
	strbuf_done(&l.buf);
	o->has_changes = !l.is_empty;
	return r;
}

/* ---- the source ---- */

static int
tell_layer(struct inner_source *s, const char *id, struct imgd_error **err)
{
	struct message m;

	message_init(&m, PULLER_LEGACY_LAYER);
	message_put_str(&m, id);
	message_put_str(&m, "");
	message_put_u64(&m, 0);
	message_put_str(&m, "");
	return inner_source_send(s, &m, err);
}

static int
tell(struct inner_source *s, struct imgd_error **err)
{
	const struct origin *o = (struct origin *)s;
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < o->base.n_layers; i++)
		r = tell_layer(s, digest_hex(o->base.layers[i].diff_id), err);
	if (r >= 0 && o->has_changes)
		r = tell_layer(s, o->row.key, err);
	return r < 0 ? r : inner_source_resolved(s, err);
}

static int
write_layer(struct inner_source *s, uint32_t layer, int out_fd,
    uint64_t *ret_bytes, struct imgd_error **err)
{
	const struct origin *o = (struct origin *)s;

	if (layer != o->base.n_layers)
		return imgd_error_set(err, ENOENT,
		    "image %.19s was removed meanwhile", o->base.id);
	return layer_pack_changes(o->engine, o->driver, o->row.key,
	    o->list_fd, out_fd, ret_bytes, err);
}

static int
start_origin(struct pull *p, struct imgd_error **err)
{
	struct origin *o = p->ctx;

	return inner_source_start(&o->source, p, err);
}

static void
end_origin(struct pull *p)
{
	struct origin *o = p->ctx;

	inner_source_end(&o->source);
}

static const struct image_layer *
known_layer(const struct pull *p, size_t index)
{
	const struct origin *o = p->ctx;

	return index < o->base.n_layers ? &o->base.layers[index] : NULL;
}

static int
make_config(struct pull *p, char **ret, struct imgd_error **err)
{
	const struct origin *o = p->ctx;
	const struct commit_words words = { o->author, o->message, o->changes,
		o->created };

	return commit_config(o->base.config, o->base.config_len, &words,
	    o->has_changes ? p->layers[p->n_layers - 1].diff_id : NULL, ret,
	    err);
}

static const struct pull_source commit_source = {
	.name = "packer",
	.waiting = "Waiting",
	.fetching = "Committing",
	.fetched = "Committing",
	.done = "Committed",
	.may_be_legacy = true,
	.gives_tars = true,
	.known_layer = known_layer,
	.make_config = make_config,
	.start = start_origin,
	.end = end_origin,
	.ctx_free = origin_free,
};

/* ---- what was asked ---- */

static int
copy_text(const struct job *job, const char *key, char **ret,
    struct imgd_error **err)
{
	const char *value;
	int r = new_image_text(job, key, &value, err);

	if (r < 0 || value == NULL)
		return r;
	*ret = strdup(value);
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}

/* Changes that are none are told of before there is work for nothing. */
static int
read_words(struct job *job, struct origin *o, struct imgd_error **err)
{
	struct json_object *now = new_image_time();
	cleanup_free char *config = NULL;
	struct commit_words words;
	int r;

	o->created = now != NULL ? strdup(json_object_get_string(now)) : NULL;
	(void)json_object_put(now);
	if (o->created == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = copy_text(job, "author", &o->author, err);
	if (r >= 0)
		r = copy_text(job, "message", &o->message, err);
	if (r >= 0)
		r = copy_text(job, "changes", &o->changes, err);
	words = (struct commit_words) { o->author, o->message, o->changes,
		o->created };
	return r < 0 ? r
		     : commit_config(o->base.config, o->base.config_len,
			   &words, NULL, &config, err);
}

static int
fill_origin(struct job *job, struct origin *o, struct imgd_error **err)
{
	struct tagstore *tags = o->engine->store->tags;
	int r;

	r = tagstore_container(tags, job->args[0], &o->row, err);
	if (r >= 0)
		r = tagstore_image(tags, o->row.image, &o->base, err);
	if (r >= 0)
		r = store_driver(o->engine->store, o->row.driver, &o->driver,
		    err);
	if (r >= 0)
		r = read_words(job, o, err);
	return r < 0 ? r : list_changes(job, o, err);
}

static int
new_pull(struct job *job, struct pull **ret, struct imgd_error **err)
{
	struct origin *o = calloc(1, sizeof(*o));
	struct pull *p;
	int r;

	if (o == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->engine = job->engine;
	o->list_fd = -EBADF;
	o->source.tell = tell;
	o->source.write_layer = write_layer;
	inner_source_init(&o->source);
	r = fill_origin(job, o, err);
	if (r < 0) {
		origin_free(o);
		return r;
	}
	r = pull_new(job->engine, &commit_source, o, o->row.driver, &p, err);
	if (r < 0)
		return r;
	r = asprintf(&p->label, "commit %s", o->row.name) < 0
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : pull_stay_alone(p, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int
job_commit(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	const struct origin *o;
	cleanup_free char *name = NULL;
	struct pull *p;
	int r;

	r = new_image_name("commit to", job->n_args > 1 ? job->args[1] : NULL,
	    &ref, &name, err);
	/* As docker: nothing is shown but the image's id. */
	if (r >= 0)
		r = job_setenv(job, "quiet", "1", err);
	if (r >= 0)
		r = new_pull(job, &p, err);
	if (r < 0)
		return r;
	if (name != NULL)
		r = pull_add_name(p, name, ref.tag, /* digest= */ "", err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	r = pull_run(job, p, &p, err);
	if (r < 0)
		return r;
	o = p->ctx;
	container_event(job->engine, "commit", &o->row);
	new_image_report(job, p->image.id, name != NULL ? &ref : NULL);
	pull_unref(p);
	return 0;
}
