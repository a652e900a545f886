/*
 * The import job: a tar of a root filesystem becomes an image of one layer.
 *
 * As with images from before there were diff_ids, the layer gets its name from
 * what came; the config is made here.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/config-change.h"
#include "core/events.h"
#include "core/job.h"
#include "core/loader.h"
#include "core/new-image.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"
#include "registry/manifest.h"

/* What is imported; a pull's ctx. */
struct origin {
	int fd;
	char *message;
	struct platform platform;
	struct json_object *config;
};

static void
origin_free(void *ctx)
{
	struct origin *o = ctx;

	if (o == NULL)
		return;
	close_fd(&o->fd);
	free(o->message);
	(void)json_object_put(o->config);
	free(o);
}

static int
start_source(struct pull *p, struct imgd_error **err)
{
	const struct origin *o = p->ctx;
	const struct loader_order order = { .mode = LOADER_IMPORT,
		.fd = o->fd };

	return loader_start(p->engine, &order, &p->source_sock,
	    &p->source_pidfd, err);
}

static struct json_object *
text(const char *s)
{
	return json_object_new_string(s);
}

static int
make_config(struct pull *p, char **ret, struct imgd_error **err)
{
	cleanup_json struct json_object *root = json_object_new_object();
	struct json_object *history = json_object_new_array();
	struct json_object *rootfs = json_object_new_object();
	struct json_object *entry = json_object_new_object();
	struct json_object *diff_ids = json_object_new_array();
	struct json_object *created = new_image_time();
	const struct origin *o = p->ctx;

	json_object_object_add(root, "architecture", text(o->platform.arch));
	if (o->platform.variant[0] != '\0')
		json_object_object_add(root, "variant",
		    text(o->platform.variant));
	json_object_object_add(root, "comment", text(o->message));
	json_object_object_add(root, "config", json_object_get(o->config));
	json_object_object_add(root, "created", created);
	json_object_object_add(entry, "created", json_object_get(created));
	json_object_object_add(entry, "comment", text(o->message));
	(void)json_object_array_add(history, entry);
	json_object_object_add(root, "history", history);
	json_object_object_add(root, "os", text(o->platform.os));
	(void)json_object_array_add(diff_ids, text(p->layers[0].diff_id));
	json_object_object_add(rootfs, "type", text("layers"));
	json_object_object_add(rootfs, "diff_ids", diff_ids);
	json_object_object_add(root, "rootfs", rootfs);
	*ret = strdup(json_object_to_json_string_ext(root,
	    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}

static const struct pull_source import_source = {
	.name = "loader",
	.waiting = "Waiting",
	.fetching = "Importing",
	.fetched = "Importing",
	.done = "Imported",
	.may_be_legacy = true,
	.gives_tars = true,
	.start = start_source,
	.make_config = make_config,
	.ctx_free = origin_free,
};

/* ---- what was asked ---- */

static int
fill_origin(struct job *job, struct origin *o, struct imgd_error **err)
{
	struct config_change change = { .has_cmd = false };
	const char *platform = job_getenv(job, "platform");
	const char *changes = job_getenv(job, "changes"), *message;
	int r = new_image_text(job, "message", &message, err);

	if (r < 0)
		return r;
	o->config = change.config = json_object_new_object();
	o->message = strdup(message != NULL ? message : "Imported from -");
	if (o->config == NULL || o->message == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	platform_host(&o->platform);
	if (platform == NULL)
		/* The CPU's level is nothing that the files ask for. */
		o->platform.variant[0] = '\0';
	else
		r = platform_parse(platform, &o->platform, err);
	if (r >= 0 && changes != NULL)
		r = config_change_all(&change, changes, err);
	return r;
}

static int
new_pull(struct job *job, struct pull **ret, struct imgd_error **err)
{
	struct origin *o = calloc(1, sizeof(*o));
	struct pull *p;
	int r;

	if (o == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->fd = -EBADF;
	r = fill_origin(job, o, err);
	if (r < 0) {
		origin_free(o);
		return r;
	}
	o->fd = take_fd(&job->fds[0]);
	r = pull_new(job->engine, &import_source, o,
	    job_getenv(job, "driver"), &p, err);
	if (r < 0)
		return r;
	p->label = strdup("import");
	r = p->label == NULL
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
job_import(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *name = NULL;
	struct pull *p;
	int r;

	if (strcmp(job->args[0], "-") != 0)
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s: only what is passed along can be imported",
		    job->args[0]);
	if (job->n_fds != 1)
		return imgd_error_set(err, EINVAL, "no archive was passed");
	r = new_image_name("import", job->n_args > 1 ? job->args[1] : NULL,
	    &ref, &name, err);
	if (r < 0)
		return r;
	/* As docker: nothing is shown but the image's id. */
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
	image_event(job->engine, "import", p->image.id, p->image.id,
	    p->image.id);
	new_image_report(job, p->image.id, name != NULL ? &ref : NULL);
	image_event(job->engine, "import", p->image.id, p->image.id,
	    p->image.id);
	pull_unref(p);
	return 0;
}
