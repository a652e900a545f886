/*
 * The adopt job: images out of another engine's directory.
 *
 * A worker reads the directory: first for a list, then, for each image, as
 * the source of a pull.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "adopt/adopt.h"
#include "core/hear.h"
#include "core/job.h"
#include "core/module.h"
#include "core/mount.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/message.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

#define MOUNTER_END_MS 15000

/* ---- the worker ---- */

/* What a worker reads; a pull's ctx. */
struct origin {
	int dir_fd;
	char *driver, *id; /* "": the list */
	int mounter_pidfd; /* -EBADF: none runs */
};

static void
origin_free(void *ctx)
{
	struct origin *o = ctx;

	if (o == NULL)
		return;
	close_fd(&o->dir_fd);
	close_fd(&o->mounter_pidfd);
	free(o->driver);
	free(o->id);
	free(o);
}

/* Start who mounts layers that are on devices: 1; 0: not needed, or not
 * built. */
static int
start_mounter(struct engine *e, struct origin *o, int *ret_sock,
    struct imgd_error **err)
{
	cleanup_close int mine = -EBADF, theirs = -EBADF;
	struct message m;
	char prefix[48];
	struct stat st;
	int pair[2], r;

	if (strcmp(o->driver, ADOPT_DEVICEMAPPER) != 0 ||
	    !module_exists("mounter"))
		return 0;
	if (fstat(e->store->root_fd, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", e->store->root,
		    strerror(errno));
	/* As the driver's own names are made of its home's. */
	(void)snprintf(prefix, sizeof(prefix), "imgd-%u:%u-%llu-a",
	    major(st.st_dev), minor(st.st_dev),
	    (unsigned long long)st.st_ino);
	/* Without a time limit: a mount takes as long as it takes. */
	r = message_pair(pair, /* timeout_s= */ 0, err);
	if (r < 0)
		return r;
	mine = pair[0];
	theirs = pair[1];
	r = engine_exec(e, ROLE_MOUNTER, theirs, &o->mounter_pidfd, err);
	if (r < 0)
		return r;
	message_init(&m, MOUNTER_START);
	message_put_str(&m, prefix);
	message_put_fd(&m, o->dir_fd);
	r = message_send(mine, &m, err);
	if (r < 0)
		return r;
	*ret_sock = take_fd(&mine);
	return 1;
}

static int
start_adopter(struct engine *e, struct origin *o, int *ret_sock,
    int *ret_pidfd, struct imgd_error **err)
{
	cleanup_close int mounter_sock = -EBADF;
	struct message m;
	int pair[2], r;

	r = start_mounter(e, o, &mounter_sock, err);
	if (r < 0)
		return r;
	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	*ret_sock = pair[0];
	r = engine_exec(e, ROLE_ADOPTER, pair[1], ret_pidfd, err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	message_init(&m, ADOPT_START);
	/* More than may run at once, so that a layer that is taken over is
	 * never behind ones that wait for it. */
	message_put_u32(&m, 2 * engine_config(e)->max_concurrent_downloads + 1);
	message_put_str(&m, o->driver);
	message_put_str(&m, o->id);
	message_put_u32(&m, mounter_sock >= 0);
	message_put_fd(&m, o->dir_fd);
	if (mounter_sock >= 0)
		message_put_fd(&m, mounter_sock);
	return message_send(*ret_sock, &m, err);
}

static int
start_source(struct pull *p, struct imgd_error **err)
{
	return start_adopter(p->engine, p->ctx, &p->source_sock,
	    &p->source_pidfd, err);
}

/* The mounter ends by itself once the adopter has. */
static void
end_source(struct pull *p)
{
	struct origin *o = p->ctx;

	worker_wait(&o->mounter_pidfd, MOUNTER_END_MS);
}

static const struct pull_source adopt_source = {
	.name = "adopter",
	.waiting = "Waiting",
	.fetching = "Reading",
	.fetched = "Read",
	.done = "Adopted",
	.may_lack_manifest = true,
	.gives_tars = true,
	.keeps_names = true,
	.start = start_source,
	.end = end_source,
	.ctx_free = origin_free,
};

/* ---- the list ---- */

struct listed {
	char *id, *driver; /* the other engine's driver */
	bool is_step;
	bool is_chosen;
	char **names; /* unchecked */
	size_t n_names;
};

struct listing {
	struct listed *items;
	size_t n;
	size_t n_bytes; /* of names */
};

static void
listing_done(struct listing *l)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		free(l->items[i].id);
		free(l->items[i].driver);
		str_list_free(l->items[i].names, l->items[i].n_names);
	}
	free(l->items);
}

static int
take_image(struct listing *l, struct message *m, struct imgd_error **err)
{
	const char *id = message_get_str(m), *driver = message_get_str(m);
	bool is_step = message_get_u32(m) != 0;
	struct listed *items;
	int r;

	if (!digest_is_valid(id) || l->n >= LIMIT_ADOPT_IMAGES)
		m->is_bad = true;
	r = message_end(m, err);
	if (r < 0)
		return r;
	items = reallocarray(l->items, l->n + 1, sizeof(*items));
	if (items == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	l->items = items;
	items[l->n] = (struct listed) {
		.id = strdup(id),
		.driver = strdup(driver),
		.is_step = is_step,
	};
	l->n++;
	return items[l->n - 1].id != NULL && items[l->n - 1].driver != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

static int
take_name(struct listing *l, struct message *m, struct imgd_error **err)
{
	const char *name = message_get_str(m);
	struct listed *to;
	char **names;
	int r;

	if (l->n == 0) {
		m->is_bad = true;
		return message_end(m, err);
	}
	r = message_end(m, err);
	if (r < 0)
		return r;
	to = &l->items[l->n - 1];
	l->n_bytes += strlen(name) + 1;
	if (l->n_bytes > LIMIT_ADOPT_NAMES_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "names of more than %u bytes", LIMIT_ADOPT_NAMES_BYTES);
	names = reallocarray(to->names, to->n_names + 1, sizeof(*names));
	if (names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	to->names = names;
	names[to->n_names] = strdup(name);
	if (names[to->n_names] == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	to->n_names++;
	return 0;
}

static int
hear_list(struct job *job, int sock, struct listing *l,
    struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		int r;

		message_init(&m, 0);
		r = hear_for_job(job, sock, "adopter", PROTOCOL_MAX_BYTES, &m,
		    err);
		if (r < 0)
			return r;
		if (m.type == PULLER_RESOLVED)
			return 0;
		if (m.type != ADOPT_IMAGE && m.type != ADOPT_NAME)
			return hear_unexpected("adopter", &m, err);
		r = m.type == ADOPT_IMAGE ? take_image(l, &m, err)
					  : take_name(l, &m, err);
		if (r < 0)
			return r;
	}
}

static int
list_images(struct job *job, int dir_fd, struct listing *l,
    struct imgd_error **err)
{
	char none[] = "";
	struct origin o = { dir_fd, none, none, -EBADF };
	int sock = -EBADF, pidfd = -EBADF, r;

	r = start_adopter(job->engine, &o, &sock, &pidfd, err);
	if (r >= 0)
		r = hear_list(job, sock, l, err);
	close_fd(&sock);
	worker_end(&pidfd);
	return r;
}

/* ---- which images ---- */

/* A name of the other engine as one of ours. */
static int
parse_name(const char *name, struct reference *ret)
{
	int r = reference_parse(name, REFERENCE_DEFAULT_TAG, ret, NULL);

	/* Such a repository would read as an image id. */
	if (r >= 0 && strcmp(ret->path, "library/sha256") == 0) {
		reference_done(ret);
		*ret = (struct reference)REFERENCE_INIT;
		return -EINVAL;
	}
	return r;
}

static bool
has_name(const struct listed *img, const char *canonical)
{
	size_t i;

	for (i = 0; i < img->n_names; i++) {
		cleanup(reference_done) struct reference ref = REFERENCE_INIT;
		cleanup_free char *name = NULL;

		if (parse_name(img->names[i], &ref) < 0)
			continue;
		name = reference_canonical(&ref);
		if (name != NULL && strcmp(name, canonical) == 0)
			return true;
	}
	return false;
}

/* Whether typed begins the image's id. */
static bool
has_id(const struct listed *img, const char *typed)
{
	const char *hex = str_starts(typed, "sha256:") ? digest_hex(typed)
						       : typed;

	return *hex != '\0' && str_starts(digest_hex(img->id), hex);
}

/* The one image that typed names.  The same image may be there in several
 * storage drivers: the first does. */
static int
choose(struct listing *l, const char *typed, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *canonical = NULL;
	struct listed *found = NULL;
	bool by_name;
	size_t i;

	if (!str_starts(typed, "sha256:") && parse_name(typed, &ref) >= 0) {
		canonical = reference_canonical(&ref);
		if (canonical == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	for (by_name = true;; by_name = false) {
		for (i = 0; i < l->n; i++) {
			struct listed *img = &l->items[i];

			if (by_name
				? canonical == NULL || !has_name(img, canonical)
				: !has_id(img, typed))
				continue;
			if (found != NULL && strcmp(found->id, img->id) != 0)
				return imgd_error_set(err, EINVAL,
				    "%s is more than one image there", typed);
			if (found == NULL)
				found = img;
		}
		if (found != NULL || !by_name)
			break;
	}
	if (found == NULL)
		return imgd_error_set(err, ENOENT, "no such image there: %s",
		    typed);
	found->is_chosen = true;
	return 0;
}

/* ---- one image ---- */

static void
say(struct job *job, const char *id, const char *fmt, ...)
    IMGD_PRINTF(3, 4);

static void
say(struct job *job, const char *id, const char *fmt, ...)
{
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		text = NULL;
	if (text == NULL)
		return;
	strbuf_puts(&sb, "{\"status\":");
	strbuf_json(&sb, text);
	strbuf_printf(&sb, ",\"id\":\"%.12s\"}", digest_hex(id));
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
}

static int
new_pull(struct job *job, int dir_fd, const struct listed *img,
    struct pull **ret, struct imgd_error **err)
{
	struct origin *o = calloc(1, sizeof(*o));
	struct pull *p;
	int r;

	if (o == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o->mounter_pidfd = -EBADF;
	o->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	o->driver = strdup(img->driver);
	o->id = strdup(img->id);
	if (o->dir_fd < 0 || o->driver == NULL || o->id == NULL) {
		origin_free(o);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	r = pull_new(job->engine, &adopt_source, o, job_getenv(job, "driver"),
	    &p, err);
	if (r < 0)
		return r;
	p->expected_id = o->id;
	if (asprintf(&p->label, "adopt %s", o->id) < 0 ||
	    asprintf(&p->pool_key, "adopt %s %s %s %s", driver_name(p->driver),
		o->driver, o->id, job->args[0]) < 0) {
		pull_free(p);
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	*ret = p;
	return 0;
}

/* Whoever claims that a digest is the image's proves it by a manifest: such a
 * name gets that one's digest, and is none without. */
static int
add_names(struct pull *p, const struct listed *img, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < img->n_names; i++) {
		cleanup(reference_done) struct reference ref = REFERENCE_INIT;
		cleanup_free char *name = NULL;

		if (parse_name(img->names[i], &ref) < 0)
			continue;
		name = reference_name(&ref);
		if (name == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		r = pull_add_name(p, name,
		    ref.digest == NULL ? ref.tag : "", /* digest= */ "", err);
	}
	return r;
}

/* Say which names the image has there and not here. */
static void
say_names(struct job *job, const struct listed *img)
{
	size_t i;

	for (i = 0; i < img->n_names; i++) {
		cleanup(reference_done) struct reference ref = REFERENCE_INIT;
		cleanup(image_name_done) struct image_name row = { 0 };
		cleanup_free char *name = NULL;

		if (parse_name(img->names[i], &ref) < 0) {
			say(job, img->id, "Not a valid name, left out: %s",
			    img->names[i]);
			continue;
		}
		name = reference_name(&ref);
		if (name != NULL && ref.digest == NULL &&
		    tagstore_name(job->engine->store->tags, name, ref.tag,
			NULL, &row, NULL) >= 0 &&
		    strcmp(row.image, img->id) != 0)
			say(job, img->id,
			    "%s is image %.12s here already, and stays so",
			    img->names[i], digest_hex(row.image));
	}
}

static int
adopt_image(struct job *job, int dir_fd, const struct listed *img,
    struct imgd_error **err)
{
	struct pull *p;
	int r;

	say(job, img->id, "Adopting");
	r = new_pull(job, dir_fd, img, &p, err);
	if (r < 0)
		return r;
	r = add_names(p, img, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	r = pull_run(job, p, &p, err);
	if (r < 0)
		return r;
	pull_unref(p);
	say_names(job, img);
	say(job, img->id, "Adoption complete");
	return 0;
}

/* An image that is damaged keeps no other one there. */
static int
adopt_chosen(struct job *job, int dir_fd, const struct listing *l,
    struct imgd_error **err)
{
	size_t i, n_failed = 0;
	int result = 0;

	for (i = 0; i < l->n; i++) {
		cleanup_error struct imgd_error *why = NULL;
		const struct listed *img = &l->items[i];
		int r;

		if (!img->is_chosen)
			continue;
		r = adopt_image(job, dir_fd, img, &why);
		if (r >= 0)
			continue;
		if (n_failed++ == 0) {
			result = r;
			(void)imgd_error_set(err, -r, "%s: %s",
			    img->n_names > 0 ? img->names[0] : img->id,
			    imgd_error_msg(why));
		} else {
			say(job, img->id, "Not adopted: %s",
			    imgd_error_msg(why));
		}
		if (r == -ECANCELED)
			break;
	}
	if (n_failed > 1)
		(void)imgd_error_prefix(err, "%zu images failed, the first",
		    n_failed);
	return result;
}

int
job_adopt(struct job *job, struct imgd_error **err)
{
	cleanup(listing_done) struct listing l = { NULL, 0, 0 };
	cleanup_close int dir_fd = -EBADF;
	const char *dir = job->args[0];
	struct driver *driver;
	size_t i;
	int r;

	if (dir[0] != '/')
		return imgd_error_set(err, EINVAL, "%s is no absolute path",
		    dir);
	r = store_driver(job->engine->store, job_getenv(job, "driver"),
	    &driver, err);
	if (r < 0)
		return r;
	r = dir_clone(dir, &dir_fd, err);
	if (r >= 0)
		r = list_images(job, dir_fd, &l, err);
	for (i = 0; i < l.n && job->n_args == 1; i++)
		l.items[i].is_chosen = !l.items[i].is_step;
	for (i = 1; i < job->n_args && r >= 0; i++)
		r = choose(&l, job->args[i], err);
	if (r < 0)
		return imgd_error_prefix(err, "%s", dir);
	return adopt_chosen(job, dir_fd, &l, err);
}
