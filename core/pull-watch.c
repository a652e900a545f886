/* What those who asked for a pull see of it. */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/pull.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define WATCH_MS         100
#define MAX_RETRIES_TOLD 1000

const char *
pull_layer_label(const struct pull *p, size_t index, char buf[32])
{
	(void)snprintf(buf, 32, "layer %.12s", p->layers[index].shown);
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

int
pull_take_retrying(struct pull *p, struct message *m, struct imgd_error **err)
{
	const char *why = message_get_str(m);
	uint32_t ms = message_get_u32(m);
	int r = message_end(m, err);

	if (r >= 0 && p->n_retries++ < MAX_RETRIES_TOLD)
		pull_say(p, NULL, "Retrying in %u s: %.400s",
		    (unsigned int)(ms + 999) / 1000, why);
	return r;
}

int
pull_show_layers(struct pull *p, struct imgd_error **err)
{
	struct pull_progress *progress;
	size_t i;

	progress = calloc(p->n_layers + 1, sizeof(*progress));
	if (progress == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < p->n_layers; i++) {
		(void)snprintf(progress[i].id, sizeof(progress[i].id), "%.12s",
		    p->layers[i].shown);
		progress[i].status = p->layers[i].state == LAYER_PRESENT
		    ? "Already exists"
		    : p->source->waiting;
		progress[i].version = 1;
	}
	pthread_mutex_lock(&p->mutex);
	p->progress = progress;
	p->n_progress = p->n_layers;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->mutex);
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
		/* Each layer is announced, however quickly it comes. */
		if (w->versions[i] == 0 && p->progress[i].version > 1) {
			struct pull_progress first = p->progress[i];

			first.status = p->source->waiting;
			first.total_bytes = 0;
			format_progress(&first, out);
			strbuf_putc(out, '\0');
		}
		w->versions[i] = p->progress[i].version;
		format_progress(&p->progress[i], out);
		strbuf_putc(out, '\0');
	}
}

static void
send_gathered(struct watch *w, const struct strbuf *out)
{
	size_t pos = 0;

	if (job_getenv(w->job, "quiet") != NULL)
		return;
	while (!out->is_failed && pos < out->len) {
		job_output(w->job, out->data + pos);
		pos += strlen(out->data + pos) + 1;
	}
}

int
pull_watch(struct job *job, struct pull *p, struct imgd_error **err)
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
