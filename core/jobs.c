#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/engine.h"
#include "core/jobs.h"
#include "core/pull.h"
#include "lib/strbuf.h"

/* Of arguments, when they are shown. */
#define ARG_MAX_BYTES 256

void
jobs_enter(struct job *job)
{
	struct engine *e = job->engine;

	pthread_mutex_lock(&e->mutex);
	job->id = ++e->last_job_id;
	job->since = (int64_t)time(NULL);
	job->next = e->jobs;
	e->jobs = job;
	pthread_mutex_unlock(&e->mutex);
}

void
jobs_leave(struct job *job)
{
	struct engine *e = job->engine;
	struct job **link;

	pthread_mutex_lock(&e->mutex);
	for (link = &e->jobs; *link != job; link = &(*link)->next)
		;
	*link = job->next;
	pthread_mutex_unlock(&e->mutex);
}

void
jobs_watch(struct job *job, const struct pull *p)
{
	pthread_mutex_lock(&job->engine->mutex);
	job->pull = p;
	pthread_mutex_unlock(&job->engine->mutex);
}

/* An argument may be a URL with a password in it. */
static void
put_arg(struct strbuf *sb, const char *arg)
{
	const char *rest = strstr(arg, "://");
	struct strbuf shown = STRBUF_INIT;
	const char *at;

	if (rest != NULL) {
		rest += 3;
		strbuf_append(&shown, arg, (size_t)(rest - arg));
		at = strchr(rest, '@');
		if (at != NULL && at < rest + strcspn(rest, "/"))
			rest = at + 1;
	} else {
		rest = arg;
	}
	strbuf_append(&shown, rest, strnlen(rest, ARG_MAX_BYTES));
	strbuf_json(sb, shown.data != NULL ? shown.data : "");
	strbuf_done(&shown);
}

static void
put_job(struct strbuf *sb, const struct job *job)
{
	struct job_peer peer = { -1, -1 };
	size_t i;

	if (job->client->peer != NULL)
		job->client->peer(job->client_ctx, &peer);
	strbuf_printf(sb, "{\"ID\":%ju,\"Name\":", (uintmax_t)job->id);
	strbuf_json(sb, job->name);
	strbuf_puts(sb, ",\"Args\":[");
	for (i = 0; i < job->n_args; i++) {
		strbuf_puts(sb, i > 0 ? "," : "");
		put_arg(sb, job->args[i]);
	}
	/* The pull's own thread holds it, too. */
	strbuf_printf(sb,
	    "],\"Since\":%jd,\"Watchers\":%u,\"Pid\":%jd,\"Uid\":%jd,"
	    "\"Door\":",
	    (intmax_t)job->since,
	    job->pull != NULL && job->pull->n_watchers > 1
		? job->pull->n_watchers - 1
		: 1,
	    (intmax_t)peer.pid, (intmax_t)peer.uid);
	strbuf_json(sb,
	    job->client->door != NULL ? job->client->door : "http");
	strbuf_puts(sb, atomic_load(&job->is_cancelled)
		? ",\"Cancelled\":true}"
		: ",\"Cancelled\":false}");
	strbuf_putc(sb, '\0');
}

int
job_jobs(struct job *job, struct imgd_error **err)
{
	struct engine *e = job->engine;
	struct strbuf sb = STRBUF_INIT;
	const struct job *j;
	size_t pos = 0;
	bool is_failed;

	pthread_mutex_lock(&e->mutex);
	for (j = e->jobs; j != NULL; j = j->next)
		if (j != job)
			put_job(&sb, j);
	pthread_mutex_unlock(&e->mutex);
	is_failed = sb.is_failed;
	while (!is_failed && pos < sb.len) {
		job_output(job, sb.data + pos);
		pos += strlen(sb.data + pos) + 1;
	}
	strbuf_done(&sb);
	return is_failed ? imgd_error_set(err, ENOMEM, "out of memory") : 0;
}

int
job_cancel(struct job *job, struct imgd_error **err)
{
	struct engine *e = job->engine;
	struct job *j = NULL;
	uint64_t id;

	if (!str_to_u64(job->args[0], UINT64_MAX, &id))
		return imgd_error_set(err, EINVAL, "%s: no number of a job",
		    job->args[0]);
	pthread_mutex_lock(&e->mutex);
	for (j = e->jobs; j != NULL; j = j->next)
		if (j->id == id && j != job)
			break;
	if (j != NULL)
		atomic_store(&j->is_cancelled, true);
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->mutex);
	return j != NULL
	    ? 0
	    : imgd_error_set(err, ENOENT, "no such job: %s", job->args[0]);
}
