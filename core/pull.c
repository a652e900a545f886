#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/job.h"
#include "core/protocol.h"
#include "core/pull.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/message.h"
#include "lib/strbuf.h"

#define WATCH_MS 100

/* ---- what watchers see ---- */

const char *
pull_layer_label(const struct pull *p, size_t index, char buf[32])
{
	(void)snprintf(buf, 32, "layer %.12s",
	    digest_hex(p->layers[index].blob->digest));
	return buf;
}

void
pull_set_progress(struct pull *p, size_t index, const char *status,
    uint64_t current_bytes, uint64_t total_bytes)
{
	struct pull_progress *g = &p->progress[index];

	pthread_mutex_lock(&p->mutex);
	g->status = status;
	g->current_bytes = current_bytes;
	g->total_bytes = total_bytes;
	g->version++;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
}

void
pull_say(struct pull *p, const char *id, const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	struct strbuf sb = STRBUF_INIT;
	char **lines, *line;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return;
	}
	strbuf_puts(&sb, "{\"status\":");
	strbuf_json(&sb, text);
	if (id != NULL) {
		strbuf_puts(&sb, ",\"id\":");
		strbuf_json(&sb, id);
	}
	strbuf_putc(&sb, '}');
	line = strbuf_take(&sb);
	if (line == NULL)
		return;
	pthread_mutex_lock(&p->mutex);
	lines = reallocarray(p->lines, p->n_lines + 1, sizeof(*lines));
	if (lines != NULL) {
		p->lines = lines;
		lines[p->n_lines++] = line;
	} else {
		free(line);
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
}

static int
show_layers(struct pull *p, struct imgd_error **err)
{
	struct pull_progress *progress;
	size_t i;

	progress = calloc(p->n_layers + 1, sizeof(*progress));
	if (progress == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < p->n_layers; i++) {
		(void)snprintf(progress[i].id, sizeof(progress[i].id), "%.12s",
		    digest_hex(p->layers[i].blob->digest));
		progress[i].status = p->layers[i].state == LAYER_PRESENT
		    ? "Already exists"
		    : "Pulling fs layer";
		progress[i].version = 1;
	}
	pthread_mutex_lock(&p->mutex);
	p->progress = progress;
	p->n_progress = p->n_layers;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
	return 0;
}

/* ---- the pull's own thread ---- */

void
pull_release_flights(struct pull *p, bool is_published)
{
	struct engine *e = p->engine;
	size_t i;

	pthread_mutex_lock(&e->mutex);
	for (i = 0; i < p->n_layers; i++) {
		struct pull_layer *l = &p->layers[i];
		struct flight *f = l->flight, **link;

		if (f == NULL)
			continue;
		l->flight = NULL;
		if (!is_published && l->state != LAYER_FOREIGN &&
		    f->state == FLIGHT_ACTIVE)
			f->state = FLIGHT_ORPHAN;
		if (--f->n_refs > 0)
			continue;
		for (link = &e->flights; *link != f; link = &(*link)->next)
			;
		*link = f->next;
		free(f);
	}
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->mutex);
}

static int
start_puller(struct pull *p, struct imgd_error **err)
{
	struct message m;
	int pair[2], r;

	r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);
	if (r < 0)
		return r;
	p->puller_sock = pair[0];
	r = engine_exec(p->engine, ROLE_PULLER, pair[1], &p->puller_pidfd,
	    err);
	close_fd(&pair[1]);
	if (r < 0)
		return r;
	puller_params_put(&m, &p->params);
	return message_send(p->puller_sock, &m, err);
}

/* Recipes are data too: durable before any row says so. */
static int
sync_recipes(struct pull *p, struct imgd_error **err)
{
	cleanup_close int dir_fd = fs_open_dir(p->engine->store->root_fd,
	    "recipes", err);
	size_t i;

	if (dir_fd < 0)
		return dir_fd;
	for (i = 0; i < p->n_layers; i++) {
		cleanup_close int fd = -EBADF;

		if (p->layers[i].state == LAYER_PRESENT)
			continue;
		fd = openat(dir_fd, p->layers[i].key,
		    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			return imgd_error_set(err, errno, "recipe %.12s: %s",
			    p->layers[i].key, strerror(errno));
	}
	if (fsync(dir_fd) < 0)
		return imgd_error_set(err, errno, "recipes: %s",
		    strerror(errno));
	return 0;
}

static int
publish(struct pull *p, struct imgd_error **err)
{
	cleanup_free struct layer_result *results = NULL;
	struct publication pub = {
		.pull = p->id,
		.driver = driver_name(p->driver),
		.image = &p->image,
		.created = p->config->created != NULL ? p->config->created
						      : "",
		.repository = p->name,
		.tag = p->ref.digest == NULL && p->ref.tag != NULL ? p->ref.tag
								   : "",
		.manifest_digest = p->top_digest,
		.registry = p->ref.domain,
		.path = p->ref.path,
	};
	size_t i;
	int r;

	results = calloc(p->n_layers + 1, sizeof(*results));
	if (results == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < p->n_layers; i++) {
		const struct pull_layer *l = &p->layers[i];

		if (l->state == LAYER_PRESENT)
			continue;
		results[pub.n_layers++] = (struct layer_result) {
			.key = l->key,
			.size_bytes = l->content_bytes,
			.tar_bytes = l->tar_bytes,
		};
	}
	pub.layers = results;
	r = 0;
	if (pub.n_layers > 0) {
		r = sync_recipes(p, err);
		if (r >= 0)
			r = driver_flush(p->driver, err);
	}
	return r < 0 ? r : tagstore_publish(p->engine->store->tags, &pub, err);
}

/* Whether the pull brought anything that the store had not under this name. */
static bool
is_news(struct pull *p)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	size_t i;

	for (i = 0; i < p->n_layers; i++)
		if (p->layers[i].state != LAYER_PRESENT)
			return true;
	return tagstore_name(p->engine->store->tags, p->name, p->ref.tag,
		   p->ref.digest, &row, NULL) < 0 ||
	    strcmp(row.image, p->image.id) != 0;
}

static int
run(struct pull *p, struct imgd_error **err)
{
	bool has_news;
	int r;

	pull_say(p, p->ref.digest != NULL ? p->ref.digest : p->ref.tag,
	    "Pulling from %s", p->ref.path);
	r = start_puller(p, err);
	if (r >= 0)
		r = pull_resolve(p, err);
	if (r > 0) {
		p->is_unchanged = true;
		return 0;
	}
	if (r >= 0)
		r = pull_plan(p, err);
	if (r >= 0)
		r = show_layers(p, err);
	if (r >= 0)
		r = pull_layers(p, err);
	if (r < 0)
		return r;
	has_news = is_news(p);
	r = publish(p, err);
	if (r < 0)
		return r;
	p->is_unchanged = !has_news;
	p->has_rows = false;
	pull_release_flights(p, /* is_published= */ true);
	return 0;
}

/* Nothing of a failed pull stays, but what another pull still wants. */
static void
clean_up(struct pull *p)
{
	cleanup_error struct imgd_error *e = NULL;
	struct engine *eng = p->engine;

	pthread_mutex_lock(&eng->plan_mutex);
	pull_release_flights(p, /* is_published= */ false);
	if (p->has_rows &&
	    tagstore_pull_abandon(eng->store->tags, p->id, &e) < 0)
		log_warn("%s; undone at the next start, ignoring",
		    imgd_error_msg(e));
	pthread_mutex_unlock(&eng->plan_mutex);
	if (e == NULL && p->has_rows && engine_reap(eng, &e) < 0)
		log_warn("%s; undone at the next start, ignoring",
		    imgd_error_msg(e));
}

static void
pull_free(struct pull *p)
{
	size_t i;

	if (p == NULL)
		return;
	for (i = 0; i < p->n_lines; i++)
		free(p->lines[i]);
	free(p->lines);
	free(p->progress);
	free(p->layers);
	image_done(&p->image);
	manifest_free(p->manifest);
	image_config_free(p->config);
	puller_params_done(&p->params);
	reference_done(&p->ref);
	imgd_error_free(p->error);
	free(p->name);
	free(p->pool_key);
	close_fd(&p->puller_sock);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->mutex);
	free(p);
}

/* One of the pull's holders lets go: its thread, or a watcher. */
static void
pull_unref(struct pull *p)
{
	struct engine *e = p->engine;
	bool is_last;

	pthread_mutex_lock(&e->mutex);
	is_last = --p->n_watchers == 0;
	pthread_mutex_unlock(&e->mutex);
	if (is_last)
		pull_free(p);
}

static void
leave_pool(struct pull *p)
{
	struct engine *e = p->engine;
	struct pull **link;

	pthread_mutex_lock(&e->mutex);
	for (link = &e->pulls; *link != NULL; link = &(*link)->next)
		if (*link == p) {
			*link = p->next;
			break;
		}
	pthread_mutex_unlock(&e->mutex);
}

static void *
pull_thread(void *arg)
{
	struct imgd_error *err = NULL;
	struct pull *p = arg;
	struct engine *e = p->engine;
	int r;

	r = run(p, &err);
	/* The puller has nothing to say any more; with it go its pipes. */
	close_fd(&p->puller_sock);
	worker_end(&p->puller_pidfd);
	/* Before the rows go: who asks from now on starts afresh. */
	leave_pool(p);
	if (r < 0)
		clean_up(p);
	pthread_mutex_lock(&p->mutex);
	p->result = r;
	p->error = err;
	p->is_done = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
	pull_unref(p);
	engine_leave(e);
	return NULL;
}

/* ---- the pool ---- */

static int
fill_params(struct job *job, struct pull *p, struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name known = { 0 };
	const struct config *c = job->engine->config;
	cleanup_free char *held = NULL;
	const char *s;
	size_t i;

	p->params.reference = reference_canonical(&p->ref);
	s = job_getenv(job, "platform");
	p->params.platform = strdup(s != NULL ? s : "");
	s = job_getenv(job, "username");
	p->params.username = strdup(s != NULL ? s : "");
	s = job_getenv(job, "password");
	p->params.password = strdup(s != NULL ? s : "");
	s = job_getenv(job, "identity-token");
	p->params.identity_token = strdup(s != NULL ? s : "");
	/* More than may run at once, so that a layer that is taken over is
	 * never behind ones that wait for it. */
	p->params.n_threads = 2 * c->max_concurrent_downloads + 1;
	p->params.mirrors = calloc(c->n_registry_mirrors + 1, sizeof(char *));
	p->params.insecure = calloc(c->n_insecure_registries + 1,
	    sizeof(char *));
	/* Docker's registry-mirrors are the Hub's. */
	for (i = 0; p->params.mirrors != NULL && i < c->n_registry_mirrors &&
	     strcmp(p->ref.domain, REFERENCE_DEFAULT_DOMAIN) == 0;
	     i++)
		if ((p->params.mirrors[i] = strdup(c->registry_mirrors[i])))
			p->params.n_mirrors++;
	for (i = 0; p->params.insecure != NULL && i < c->n_insecure_registries;
	     i++)
		if ((p->params.insecure[i] =
			    strdup(c->insecure_registries[i])))
			p->params.n_insecure++;
	/* Only if this very driver has the image is "unchanged" enough. */
	if (p->params.platform != NULL && p->params.platform[0] == '\0' &&
	    p->ref.digest == NULL &&
	    tagstore_name(job->engine->store->tags, p->name, p->ref.tag, NULL,
		&known, NULL) >= 0 &&
	    tagstore_image_drivers(job->engine->store->tags, known.image,
		&held, NULL) >= 0 &&
	    strstr(held, driver_name(p->driver)) != NULL)
		s = known.manifest_digest;
	else
		s = "";
	p->params.known_digest = strdup(s);
	if (p->params.reference == NULL || p->params.platform == NULL ||
	    p->params.username == NULL || p->params.password == NULL ||
	    p->params.identity_token == NULL || p->params.mirrors == NULL ||
	    p->params.insecure == NULL || p->params.known_digest == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
pull_new(struct job *job, const struct reference *ref, struct pull **ret,
    struct imgd_error **err)
{
	struct pull *p = calloc(1, sizeof(*p));
	const char *platform = job_getenv(job, "platform");
	const char *user = job_getenv(job, "username");
	int r;

	if (p == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	p->engine = job->engine;
	p->puller_sock = p->puller_pidfd = -EBADF;
	p->n_watchers = 2; /* the thread and this job */
	(void)pthread_mutex_init(&p->mutex, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	r = reference_copy(ref, &p->ref, err);
	if (r >= 0)
		r = store_driver(job->engine->store, job_getenv(job, "driver"),
		    &p->driver, err);
	if (r >= 0) {
		p->name = reference_name(&p->ref);
		if (p->name == NULL ||
		    asprintf(&p->pool_key, "%s %s:%s@%s %s %s",
			driver_name(p->driver), p->name,
			p->ref.tag != NULL ? p->ref.tag : "",
			p->ref.digest != NULL ? p->ref.digest : "",
			platform != NULL ? platform : "",
			user != NULL ? user : "") < 0)
			r = imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (r >= 0)
		r = fill_params(job, p, err);
	if (r < 0) {
		pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

static int
start_thread(struct pull *p, struct imgd_error **err)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, ENGINE_THREAD_STACK);
	engine_enter(p->engine);
	r = pthread_create(&thread, &attr, pull_thread, p);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		return 0;
	engine_leave(p->engine);
	return imgd_error_set(err, r, "thread: %s", strerror(r));
}

/* Join the pull of the same image that is in flight, or begin it. */
static int
join(struct job *job, const struct reference *ref, struct pull **ret,
    struct imgd_error **err)
{
	struct engine *e = job->engine;
	struct pull *mine, *p;
	int r;

	r = pull_new(job, ref, &mine, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&e->mutex);
	for (p = e->pulls; p != NULL; p = p->next)
		if (strcmp(p->pool_key, mine->pool_key) == 0 &&
		    !atomic_load(&p->is_cancelled))
			break;
	if (p != NULL) {
		p->n_watchers++;
	} else {
		mine->next = e->pulls;
		e->pulls = mine;
	}
	pthread_mutex_unlock(&e->mutex);
	if (p != NULL) {
		pull_free(mine);
		*ret = p;
		return 0;
	}
	r = start_thread(mine, err);
	if (r < 0) {
		leave_pool(mine);
		pull_unref(mine);
		pull_unref(mine);
		return r;
	}
	*ret = mine;
	return 0;
}

/* ---- watching ---- */

struct watch {
	struct job *job;
	struct pull *pull;
	size_t n_lines;           /* shown so far */
	unsigned int *versions;   /* of each layer */
	size_t n_versions;
};

static void
format_progress(const struct pull_progress *g, struct strbuf *sb)
{
	strbuf_puts(sb, "{\"status\":");
	strbuf_json(sb, g->status);
	if (g->total_bytes > 0)
		strbuf_printf(sb,
		    ",\"progressDetail\":{\"current\":%ju,\"total\":%ju}",
		    (uintmax_t)g->current_bytes, (uintmax_t)g->total_bytes);
	else
		strbuf_puts(sb, ",\"progressDetail\":{}");
	strbuf_puts(sb, ",\"id\":");
	strbuf_json(sb, g->id);
	strbuf_putc(sb, '}');
}

/* Gather what is new under the pull's lock; NUL between objects. */
static void
gather(struct watch *w, struct strbuf *out)
{
	struct pull *p = w->pull;
	size_t i;

	for (; w->n_lines < p->n_lines; w->n_lines++)
		strbuf_append(out, p->lines[w->n_lines],
		    strlen(p->lines[w->n_lines]) + 1);
	if (w->versions == NULL && p->n_progress > 0) {
		w->versions = calloc(p->n_progress, sizeof(*w->versions));
		w->n_versions = w->versions != NULL ? p->n_progress : 0;
	}
	for (i = 0; i < w->n_versions; i++) {
		if (w->versions[i] == p->progress[i].version)
			continue;
		w->versions[i] = p->progress[i].version;
		format_progress(&p->progress[i], out);
		strbuf_putc(out, '\0');
	}
}

static void
send_gathered(struct watch *w, const struct strbuf *out)
{
	size_t pos = 0;

	while (!out->is_failed && pos < out->len) {
		job_output(w->job, out->data + pos);
		pos += strlen(out->data + pos) + 1;
	}
}

/* Show the pull until it ends, or this job's client leaves. */
static int
watch(struct job *job, struct pull *p, struct imgd_error **err)
{
	struct watch w = { .job = job, .pull = p };
	bool is_done = false;
	int r = 0;

	while (!is_done && r >= 0) {
		struct strbuf out = STRBUF_INIT;
		struct timespec until;

		pthread_mutex_lock(&p->mutex);
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += WATCH_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		is_done = p->is_done;
		if (!is_done)
			(void)pthread_cond_timedwait(&p->changed, &p->mutex,
			    &until);
		gather(&w, &out);
		pthread_mutex_unlock(&p->mutex);
		send_gathered(&w, &out);
		strbuf_done(&out);
		if (!is_done &&
		    (job_is_abandoned(job) || engine_is_ending(job->engine)))
			r = imgd_error_set(err, ECANCELED, "cancelled");
	}
	free(w.versions);
	return r;
}

/* Leave the pull; the last one to leave ends it. */
static void
leave(struct pull *p)
{
	struct engine *e = p->engine;

	pthread_mutex_lock(&e->mutex);
	/* What remains besides this job is the pull's own thread. */
	if (p->n_watchers == 2)
		atomic_store(&p->is_cancelled, true);
	pthread_mutex_unlock(&e->mutex);
}

/* A cancelled pull cleans up on its own thread: wait, so that an ending
 * engine does not close the store under it. */
static void
wait_done(struct pull *p)
{
	pthread_mutex_lock(&p->mutex);
	while (!p->is_done)
		pthread_cond_wait(&p->changed, &p->mutex);
	pthread_mutex_unlock(&p->mutex);
}

static void
say_result(struct job *job, const struct pull *p)
{
	cleanup_free char *familiar = reference_familiar(&p->ref);
	struct strbuf sb = STRBUF_INIT;
	char *text = NULL;

	strbuf_puts(&sb, "{\"status\":\"Digest: ");
	strbuf_printf(&sb, "%s\"}", p->top_digest);
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
	if (asprintf(&text, "Status: %s %s",
		p->is_unchanged ? "Image is up to date for"
				: "Downloaded newer image for",
		familiar != NULL ? familiar : p->params.reference) < 0)
		return;
	strbuf_puts(&sb, "{\"status\":");
	strbuf_json(&sb, text);
	strbuf_putc(&sb, '}');
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
	free(text);
}

static int
pull_one(struct job *job, const struct reference *ref, struct imgd_error **err)
{
	cleanup_free char *canonical = NULL;
	struct pull *p;
	int r;

	r = join(job, ref, &p, err);
	if (r < 0)
		return r;
	r = watch(job, p, err);
	if (r < 0) {
		leave(p);
		if (atomic_load(&p->is_cancelled))
			wait_done(p);
	} else if (p->result < 0) {
		r = imgd_error_set(err, -p->result, "%s",
		    imgd_error_msg(p->error));
	} else {
		say_result(job, p);
		canonical = reference_canonical(ref);
		job->result.len = 0;
		strbuf_puts(&job->result, canonical != NULL ? canonical : "");
	}
	pull_unref(p);
	return r;
}

/* ---- all tags ---- */


static int
hear_tags(struct job *job, struct pull *p, struct strbuf *tags,
    struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		struct pollfd fd = { .fd = p->puller_sock, .events = POLLIN };
		const char *tag;
		int r;

		message_init(&m, 0);
		if (job_is_abandoned(job) || engine_is_ending(job->engine))
			return imgd_error_set(err, ECANCELED, "cancelled");
		if (poll(&fd, 1, WATCH_MS) <= 0)
			continue;
		r = message_recv(p->puller_sock, PROTOCOL_MAX_BYTES, &m, err);
		if (r == 0)
			r = imgd_error_set(err, EPIPE, "the puller died");
		if (r < 0)
			return r;
		if (m.type == PULLER_FAILED)
			return message_get_error(&m, err);
		if (m.type == PULLER_RESOLVED)
			return 0;
		tag = message_get_str(&m);
		if (m.type != PULLER_TAG || !reference_tag_is_valid(tag))
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "the registry lists a malformed tag");
		if (tags->len > LIMIT_TAGS_BYTES)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "the registry lists too many tags");
		strbuf_append(tags, tag, strlen(tag) + 1);
	}
}

static int
list_tags(struct job *job, const struct reference *ref, struct strbuf *tags,
    struct imgd_error **err)
{
	struct pull *p;
	int r;

	r = pull_new(job, ref, &p, err);
	if (r < 0)
		return r;
	p->params.wants_tags = true;
	r = start_puller(p, err);
	if (r >= 0)
		r = hear_tags(job, p, tags, err);
	close_fd(&p->puller_sock);
	worker_end(&p->puller_pidfd);
	pull_free(p);
	return r;
}

static int
pull_all(struct job *job, struct reference *ref, struct imgd_error **err)
{
	struct strbuf tags = STRBUF_INIT;
	size_t pos = 0;
	int r;

	r = list_tags(job, ref, &tags, err);
	if (r >= 0 && tags.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	while (r >= 0 && pos < tags.len) {
		free(ref->tag);
		ref->tag = strdup(tags.data + pos);
		pos += strlen(tags.data + pos) + 1;
		if (ref->tag == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		else
			r = pull_one(job, ref, err);
	}
	strbuf_done(&tags);
	return r;
}

int
job_pull(struct job *job, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	bool is_all = job_getenv(job, "all-tags") != NULL;
	int r;

	r = reference_parse(job->args[0], is_all ? 0 : REFERENCE_DEFAULT_TAG,
	    &ref, err);
	if (r < 0)
		return r;
	if (!is_all)
		return pull_one(job, &ref, err);
	if (ref.tag != NULL || ref.digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "tag can't be used with --all-tags/-a");
	return pull_all(job, &ref, err);
}
