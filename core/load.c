/*
 * The load job: images out of an archive that the client passed.
 *
 * A worker reads the archive: first for a list, then, for each image, as the
 * source of a pull.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/events.h"
#include "core/hear.h"
#include "core/job.h"
#include "core/loader.h"
#include "core/mount.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

/* ---- the worker ---- */

/* What a worker reads; a pull's ctx. */
struct origin {
	int fd; /* -EBADF: a loader reads it as it comes */
	int stream_sock, stream_pidfd;
	uint32_t index;
	char *platform; /* "": this machine's */
	char id[DIGEST_STR_SIZE];
};

static void
origin_free(void *ctx)
{
	struct origin *o = ctx;

	if (o == NULL)
		return;
	close_fd(&o->fd);
	close_fd(&o->stream_sock);
	worker_end(&o->stream_pidfd);
	free(o->platform);
	free(o);
}

int
loader_start(struct engine *e, const struct loader_order *o, int *ret_sock,
    int *ret_pidfd, struct imgd_error **err)
{
	struct message m;
	int pair[2], r;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	*ret_sock = pair[0];
	r = engine_exec(e, ROLE_LOADER, pair[1], ret_pidfd, err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	message_init(&m, LOADER_START);
	message_put_u32(&m, o->mode);
	/* More than may run at once, so that a layer that is taken over is
	 * never behind ones that wait for it. */
	message_put_u32(&m, 2 * e->config->max_concurrent_downloads + 1);
	message_put_u32(&m, o->index);
	message_put_u64(&m, o->max_bytes);
	message_put_str(&m, o->platform);
	message_put_fd(&m, o->fd);
	if (o->mode == LOADER_LIST || o->mode == LOADER_STREAM)
		message_put_fd(&m, o->copy_fd);
	return message_send(*ret_sock, &m, err);
}

static int
start_source(struct pull *p, struct imgd_error **err)
{
	const struct origin *o = p->ctx;
	const struct loader_order order = { .mode = LOADER_PULL,
		.index = o->index, .platform = o->platform, .fd = o->fd };

	return loader_start(p->engine, &order, &p->source_sock,
	    &p->source_pidfd, err);
}

/* The loader that listed the image goes on. */
static int
take_stream(struct pull *p, struct imgd_error **err)
{
	struct origin *o = p->ctx;

	(void)err;
	p->source_sock = take_fd(&o->stream_sock);
	p->source_pidfd = take_fd(&o->stream_pidfd);
	return 0;
}

/* Layers of other pulls may become ours yet. */
static int
skip_layers(struct pull *p, struct imgd_error **err)
{
	struct message m;
	uint32_t n = 0;
	size_t i;

	for (i = 0; i < p->n_layers; i++)
		n += p->layers[i].state == LAYER_PRESENT;
	message_init(&m, LOADER_SKIP);
	message_put_u32(&m, n);
	for (i = 0; i < p->n_layers; i++)
		if (p->layers[i].state == LAYER_PRESENT)
			message_put_u32(&m, (uint32_t)i);
	return message_send(p->source_sock, &m, err);
}

static int
finish_stream(struct pull *p, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	struct message ask;
	int r;

	message_init(&ask, LOADER_FINISH);
	r = message_send(p->source_sock, &ask, err);
	if (r < 0)
		return r;
	message_init(&m, 0);
	r = pull_hear(p, &m, err);
	if (r < 0)
		return r;
	return m.type == LOADER_FINISHED
	    ? message_end(&m, err)
	    : hear_unexpected(p->source->name, &m, err);
}

#define LOAD_SOURCE                                   \
	.name = "loader", .waiting = "Waiting",       \
	.fetching = "Loading layer",                  \
	.fetched = "Loading layer", .done = "Loaded", \
	.ctx_free = origin_free
#define LOAD_FROM_FILE   .start = start_source
#define LOAD_FROM_STREAM \
	.start = take_stream, .planned = skip_layers, .finish = finish_stream

/* Docker's own form: old ones come from files alone. */
static const struct pull_source docker_source = {
	LOAD_SOURCE,
	LOAD_FROM_FILE,
	.may_lack_manifest = true,
	.may_be_legacy = true,
	.gives_tars = true,
};
static const struct pull_source docker_stream = {
	LOAD_SOURCE,
	LOAD_FROM_STREAM,
	.may_lack_manifest = true,
	.gives_tars = true,
};

/* A layout: its manifest names the blobs, and the loader checks them. */
static const struct pull_source layout_source = {
	LOAD_SOURCE,
	LOAD_FROM_FILE,
};
static const struct pull_source layout_stream = {
	LOAD_SOURCE,
	LOAD_FROM_STREAM,
};

/* ---- the list ---- */

struct listed {
	char id[DIGEST_STR_SIZE]; /* "": known when it is loaded */
	bool has_manifest;
	struct reference *names;
	size_t n_names;
};

struct listing {
	struct listed *items;
	size_t n;
	size_t n_bytes; /* of names */
	uint32_t where; /* LOADER_IN_* */
	int sock, pidfd; /* of the loader that goes on with it; -EBADF */
};

#define LISTING_INIT { .sock = -EBADF, .pidfd = -EBADF }

static void
listing_done(struct listing *l)
{
	size_t i, k;

	for (i = 0; i < l->n; i++) {
		for (k = 0; k < l->items[i].n_names; k++)
			reference_done(&l->items[i].names[k]);
		free(l->items[i].names);
	}
	free(l->items);
	close_fd(&l->sock);
	worker_end(&l->pidfd);
}

static int
take_image(struct listing *l, struct message *m, struct imgd_error **err)
{
	const char *id = message_get_str(m);
	bool has_manifest = message_get_u32(m) != 0;
	struct listed *items;
	int r;

	if ((*id != '\0' && !digest_is_valid(id)) ||
	    l->n >= LIMIT_ARCHIVE_IMAGES)
		m->is_bad = true;
	r = message_end(m, err);
	if (r < 0)
		return r;
	items = reallocarray(l->items, l->n + 1, sizeof(*items));
	if (items == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	l->items = items;
	items += l->n++;
	*items = (struct listed) { .has_manifest = has_manifest };
	(void)snprintf(items->id, sizeof(items->id), "%s", id);
	return 0;
}

/* An archive's word for a name is taken as a user's, but it names a tag. */
static int
parse_name(const char *name, struct reference *ret, struct imgd_error **err)
{
	int r = reference_parse(name, 0, ret, err);

	if (r < 0)
		return r;
	if (ret->tag == NULL || ret->digest != NULL)
		r = imgd_error_set(err, EINVAL, "invalid tag \"%s\"", name);
	else if (strcmp(ret->path, "library/sha256") == 0)
		r = imgd_error_set(err, EINVAL,
		    "%s: a repository named sha256 would read as an image id",
		    name);
	if (r < 0) {
		reference_done(ret);
		*ret = (struct reference)REFERENCE_INIT;
	}
	return r;
}

static int
take_name(struct listing *l, struct message *m, struct imgd_error **err)
{
	const char *name = message_get_str(m);
	struct reference *names;
	struct listed *to;
	int r;

	if (l->n == 0)
		m->is_bad = true;
	r = message_end(m, err);
	if (r < 0)
		return r;
	to = &l->items[l->n - 1];
	l->n_bytes += strlen(name) + 1;
	if (l->n_bytes > LIMIT_ARCHIVE_TAGS_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "names of more than %u bytes", LIMIT_ARCHIVE_TAGS_BYTES);
	names = reallocarray(to->names, to->n_names + 1, sizeof(*names));
	if (names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	to->names = names;
	names[to->n_names] = (struct reference)REFERENCE_INIT;
	r = parse_name(name, &names[to->n_names], err);
	if (r >= 0)
		to->n_names++;
	return r;
}

/* Returns 1 when the list is complete. */
static int
take_message(struct listing *l, struct message *m, struct imgd_error **err)
{
	int r;

	switch (m->type) {
	case LOADER_IMAGE:
		return take_image(l, m, err);
	case LOADER_NAME:
		return take_name(l, m, err);
	case LOADER_LISTED:
		l->where = message_get_u32(m);
		if (l->where == LOADER_IN_STREAM && l->n != 1)
			m->is_bad = true;
		r = message_end(m, err);
		return r < 0 ? r : 1;
	default:
		return hear_unexpected("loader", m, err);
	}
}

static int
hear_list(struct job *job, int sock, struct listing *l,
    struct imgd_error **err)
{
	int r = 0;

	while (r == 0) {
		cleanup(message_done) struct message m;

		message_init(&m, 0);
		r = hear_for_job(job, sock, "loader", PROTOCOL_MAX_BYTES, &m,
		    err);
		if (r >= 0)
			r = take_message(l, &m, err);
	}
	return r < 0 ? r : 0;
}

/* List the images.  *fd becomes the copy, if one had to be made, or is closed
 * if the loader goes on with it. */
static int
list_images(struct job *job, uint32_t mode, int *fd, struct listing *l,
    struct imgd_error **err)
{
	struct loader_order order = { .mode = mode, .fd = *fd,
		.platform = job_getenv(job, "platform") };
	cleanup_close int copy_fd = -EBADF;
	int r;

	r = store_open_scratch(job->engine->store, &copy_fd, err);
	if (r >= 0)
		r = store_room(job->engine->store, &order.max_bytes, err);
	order.copy_fd = copy_fd;
	if (r >= 0)
		r = loader_start(job->engine, &order, &l->sock, &l->pidfd,
		    err);
	if (r >= 0)
		r = hear_list(job, l->sock, l, err);
	if (r >= 0 && l->where == LOADER_IN_STREAM && mode == LOADER_STREAM) {
		close_fd(fd);
		return r;
	}
	close_fd(&l->sock);
	worker_end(&l->pidfd);
	if (r >= 0 && l->where == LOADER_IN_COPY) {
		close_fd(fd);
		*fd = take_fd(&copy_fd);
	}
	return r;
}

/* ---- one image ---- */

static void
say(struct job *job, const char *text, const char *name, const char *more)
{
	struct strbuf line = STRBUF_INIT, sb = STRBUF_INIT;

	strbuf_printf(&line, "%s%s%s\n", text, name, more);
	if (!line.is_failed) {
		strbuf_puts(&sb, "{\"stream\":");
		strbuf_json(&sb, line.data);
		strbuf_putc(&sb, '}');
	}
	if (!sb.is_failed && sb.data != NULL)
		job_output(job, sb.data);
	strbuf_done(&line);
	strbuf_done(&sb);
}

/* The images that the names are now; NULL: none. */
static char **
former_images(struct job *job, const struct listed *img)
{
	char **ids = calloc(img->n_names + 1, sizeof(*ids));
	size_t i;

	for (i = 0; ids != NULL && i < img->n_names; i++) {
		cleanup(image_name_done) struct image_name row = { 0 };
		cleanup_free char *name = reference_name(&img->names[i]);

		if (name != NULL &&
		    tagstore_name(job->engine->store->tags, name,
			img->names[i].tag, NULL, &row, NULL) >= 0)
			ids[i] = take_ptr(&row.image);
	}
	return ids;
}

/* What was loaded, to those who watch: in Docker's words. */
static void
report(struct job *job, const struct listed *img, const char *id,
    char *const *former)
{
	struct strbuf *sb = &job->result;
	char text[160];
	size_t i;

	image_event(job->engine, "load", id, id, id);
	strbuf_printf(sb, "%s{\"Id\":\"%s\",\"RepoTags\":[",
	    sb->len > 1 ? "," : "", id);
	for (i = 0; i < img->n_names; i++) {
		cleanup_free char *name = reference_familiar(&img->names[i]);

		if (name == NULL)
			continue;
		if (former != NULL && former[i] != NULL &&
		    strcmp(former[i], id) != 0) {
			(void)snprintf(text, sizeof(text),
			    " already exists, renaming the old one with ID %s to empty string",
			    former[i]);
			say(job, "The image ", name, text);
		}
		say(job, "Loaded image: ", name, "");
		strbuf_puts(sb, i > 0 ? "," : "");
		strbuf_json(sb, name);
	}
	if (img->n_names == 0)
		say(job, "Loaded image ID: ", id, "");
	strbuf_puts(sb, "]}");
}

static int
new_origin(struct job *job, int fd, struct listing *l, uint32_t index,
    struct origin **ret, struct imgd_error **err)
{
	const char *platform = job_getenv(job, "platform");
	struct origin *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->fd = fd < 0 ? -EBADF : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	o->stream_sock = o->stream_pidfd = -EBADF;
	o->index = index;
	memcpy(o->id, l->items[index].id, sizeof(o->id));
	o->platform = strdup(platform != NULL ? platform : "");
	if ((fd >= 0 && o->fd < 0) || o->platform == NULL) {
		origin_free(o);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	o->stream_sock = take_fd(&l->sock);
	o->stream_pidfd = take_fd(&l->pidfd);
	*ret = o;
	return 0;
}

/* fd: -EBADF if the loader that listed the image goes on with it. */
static int
new_pull(struct job *job, int fd, struct listing *l, uint32_t index,
    const char *driver, struct pull **ret, struct imgd_error **err)
{
	const bool has_manifest = l->items[index].has_manifest;
	const struct pull_source *source = has_manifest ? &layout_source
							: &docker_source;
	struct origin *o = NULL;
	struct pull *p;
	int r;

	r = new_origin(job, fd, l, index, &o, err);
	if (r < 0)
		return r;
	if (fd < 0)
		source = has_manifest ? &layout_stream : &docker_stream;
	r = pull_new(job->engine, source, o, driver, &p, err);
	if (r < 0)
		return r;
	p->expected_id = o->id;
	p->platform = o->platform;
	r = asprintf(&p->label, "load %s", o->id) < 0
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : pull_stay_alone(p, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

/* What the configuration demands of each name, or of none at all. */
static int
demand_signatures(struct pull *p, const struct listed *img,
    struct imgd_error **err)
{
	const struct signature_policy *policy =
	    &p->engine->config->signatures;
	size_t i;
	int r = 0;

	p->keeps_signatures = img->has_manifest;
	if (img->n_names == 0)
		return trust_demand_policy(&p->trust, policy, NULL, err);
	for (i = 0; r >= 0 && i < img->n_names; i++)
		r = trust_demand_policy(&p->trust, policy, &img->names[i],
		    err);
	return r;
}

static int
add_names(struct pull *p, const struct listed *img, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < img->n_names; i++) {
		cleanup_free char *name = reference_name(&img->names[i]);

		r = name == NULL
		    ? imgd_error_set(err, ENOMEM, "out of memory")
		    : pull_add_name(p, name, img->names[i].tag,
			  /* digest= */ "", err);
	}
	return r;
}

static int
load_image(struct job *job, int fd, struct listing *l, uint32_t index,
    struct imgd_error **err)
{
	const struct listed *img = &l->items[index];
	char **former;
	struct pull *p;
	int r;

	r = new_pull(job, fd, l, index, job_getenv(job, "driver"), &p, err);
	if (r < 0)
		return r;
	r = demand_signatures(p, img, err);
	if (r >= 0)
		r = add_names(p, img, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	former = former_images(job, img);
	r = pull_run(job, p, &p, err);
	if (r >= 0) {
		report(job, img, p->image.id, former);
		pull_unref(p);
	}
	str_list_free(former, img->n_names);
	return r;
}

static int
load_all(struct job *job, int fd, struct listing *l, struct imgd_error **err)
{
	uint32_t i;
	int r = 0;

	strbuf_putc(&job->result, '[');
	for (i = 0; r >= 0 && i < l->n; i++) {
		const struct listed *img = &l->items[i];
		cleanup_free char *name = img->n_names > 0
		    ? reference_familiar(&img->names[0])
		    : NULL;

		r = load_image(job, fd, l, i, err);
		if (r < 0)
			(void)imgd_error_prefix(err, "%s",
			    name != NULL	? name
				: img->id[0] != '\0' ? img->id
						     : "image");
	}
	strbuf_putc(&job->result, ']');
	return r;
}

/* A directory is read as a copy of the mount that nobody can write to. */
static int
take_archive(struct job *job, int *ret_fd, struct imgd_error **err)
{
	struct stat st;

	if (job->n_fds != 1 || fstat(job->fds[0], &st) < 0)
		return imgd_error_set(err, EINVAL, "no archive was passed");
	if (S_ISDIR(st.st_mode))
		return dir_clone_fd(job->fds[0], ret_fd, err);
	*ret_fd = take_fd(&job->fds[0]);
	return 0;
}

int
job_load(struct job *job, struct imgd_error **err)
{
	cleanup(listing_done) struct listing l = LISTING_INIT;
	cleanup_close int fd = -EBADF;
	struct driver *driver;
	int r;

	r = store_driver(job->engine->store, job_getenv(job, "driver"),
	    &driver, err);
	if (r >= 0)
		r = take_archive(job, &fd, err);
	if (r >= 0)
		r = list_images(job, LOADER_STREAM, &fd, &l, err);
	return r < 0 ? r : load_all(job, fd, &l, err);
}

/* ---- for those who repair ---- */

struct load_archive {
	int fd;
	struct listing listing;
};

void
load_archive_free(struct load_archive *a)
{
	if (a == NULL)
		return;
	listing_done(&a->listing);
	close_fd(&a->fd);
	free(a);
}

int
load_archive_open(struct job *job, struct load_archive **ret,
    struct imgd_error **err)
{
	struct load_archive *a = calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	a->fd = -EBADF;
	a->listing = (struct listing)LISTING_INIT;
	r = take_archive(job, &a->fd, err);
	if (r >= 0)
		r = list_images(job, LOADER_LIST, &a->fd, &a->listing, err);
	if (r < 0) {
		load_archive_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

int
pull_new_archive(struct job *job, struct load_archive *a, const char *image,
    const char *driver, struct pull **ret, struct imgd_error **err)
{
	uint32_t i;

	for (i = 0; i < a->listing.n; i++)
		if (strcmp(a->listing.items[i].id, image) == 0)
			return new_pull(job, a->fd, &a->listing, i, driver,
			    ret, err);
	return imgd_error_set(err, ENOENT,
	    "the archive does not have image %.19s", image);
}
