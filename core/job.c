#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/jobs.h"
#include "core/store.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"

#define LOG_ENGINE "engine"

const struct job_type job_types[] = {
	{ "pull", job_pull, 1, 1 },
	{ "login", job_login, 1, 1 },
	{ "search", job_search, 2, 2 },
	{ "distribution", job_distribution, 1, 1 },
	{ "images", job_images, 0, 0 },
	{ "events", job_events, 0, 0 },
	{ "df", job_df, 0, 0 },
	{ "prune", job_prune, 0, 0 },
	{ "gc", job_gc, 0, 0 },
	{ "jobs", job_jobs, 0, 0 },
	{ "cancel", job_cancel, 1, 1 },
	{ "push", job_push, 1, 1 },
	{ "info", job_info, 0, 0 },
	{ "inspect", job_inspect, 1, 1 },
	{ "history", job_history, 1, 1 },
	{ "tag", job_tag, 2, 2 },
	{ "rmi", job_rmi, 1, JOB_MAX_ARGS },
	{ "mount", job_mount, 1, 2 },
	{ "bundle", job_bundle, 2, JOB_MAX_ARGS },
	{ "bundle-mount", job_bundle_mount, 1, 1 },
	{ "bundle-rm", job_bundle_rm, 1, 1 },
	{ "umount", job_umount, 1, 1 },
	{ "verify", job_verify, 1, 1 },
	{ "create", job_create, 2, 2 },
	{ "rm", job_rm, 1, 1 },
	{ "diff", job_diff, 1, 1 },
	{ "commit", job_commit, 1, 2 },
	{ "fsck", job_fsck, 0, 0 },
	{ "migrate", job_migrate, 0, JOB_MAX_ARGS },
	{ "adopt", job_adopt, 1, JOB_MAX_ARGS },
	{ "load", job_load, 0, 0 },
	{ "save", job_save, 1, JOB_MAX_ARGS },
	{ "import", job_import, 1, 2 },
	{ "export", job_export, 1, 1 },
	{ NULL, NULL, 0, 0 },
};

struct job *
job_new(struct engine *e, const struct job_client *client, void *client_ctx,
    const char *name)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	*job = (struct job) {
		.engine = e,
		.client = client,
		.client_ctx = client_ctx,
		.name = strdup(name),
		.result = STRBUF_INIT,
	};
	if (job->name == NULL) {
		free(job);
		return NULL;
	}
	return job;
}

void
job_free(struct job *job)
{
	size_t i;

	if (job == NULL)
		return;
	for (i = 0; i < job->n_args; i++)
		free(job->args[i]);
	for (i = 0; i < job->n_env; i++) {
		free(job->env[i].key);
		free(job->env[i].value);
	}
	for (i = 0; i < job->n_fds; i++)
		close_fd(&job->fds[i]);
	free(job->args);
	free(job->env);
	free(job->name);
	strbuf_done(&job->result);
	free(job);
}

int
job_add_arg(struct job *job, const char *arg, struct imgd_error **err)
{
	char **args;

	if (job->n_args == JOB_MAX_ARGS)
		return imgd_error_set(err, E2BIG, "more than %d arguments",
		    JOB_MAX_ARGS);
	args = reallocarray(job->args, job->n_args + 1, sizeof(*args));
	if (args == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	job->args = args;
	args[job->n_args] = strdup(arg);
	if (args[job->n_args] == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	job->n_args++;
	return 0;
}

int
job_setenv(struct job *job, const char *key, const char *value,
    struct imgd_error **err)
{
	struct job_env *env;

	if (value == NULL)
		return 0;
	if (job->n_env == JOB_MAX_ARGS)
		return imgd_error_set(err, E2BIG, "more than %d variables",
		    JOB_MAX_ARGS);
	env = reallocarray(job->env, job->n_env + 1, sizeof(*env));
	if (env == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	job->env = env;
	env += job->n_env++;
	env->key = strdup(key);
	env->value = strdup(value);
	if (env->key == NULL || env->value == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

const char *
job_getenv(const struct job *job, const char *key)
{
	size_t i;

	for (i = 0; i < job->n_env; i++)
		if (strcmp(job->env[i].key, key) == 0)
			return job->env[i].value[0] != '\0'
			    ? job->env[i].value
			    : NULL;
	return NULL;
}

static int
run_handler(struct job *job, struct imgd_error **err)
{
	const struct job_type *t;

	for (t = job_types; t->name != NULL; t++)
		if (strcmp(t->name, job->name) == 0)
			break;
	if (t->name == NULL)
		return imgd_error_set(err, EINVAL, "no such job: %s",
		    job->name);
	if (job->n_args < t->min_args || job->n_args > t->max_args)
		return imgd_error_set(err, EINVAL,
		    "job %s: wrong number of arguments", job->name);
	log_debug(LOG_ENGINE, "job %s begins", job->name);
	return t->run(job, err);
}

/* What a job says to have done is on the disk. */
static int
run_durably(struct job *job, struct imgd_error **err)
{
	struct store *s = job->engine->store;
	unsigned int n_commits = s->tags != NULL ? tagstore_commits(s->tags) : 0;
	int r = run_handler(job, err);

	if (r < 0 || s->tags == NULL || tagstore_commits(s->tags) == n_commits)
		return r;
	if (fs_check_alive(s->root_fd, err) < 0)
		return imgd_error_prefix(err, "%s", s->root);
	return r;
}

void
job_run(struct job *job)
{
	cleanup_error struct imgd_error *err = NULL;
	int r;

	jobs_enter(job);
	r = run_durably(job, &err);
	jobs_leave(job);
	if (r == -ECANCELED && atomic_load(&job->is_cancelled)) {
		imgd_error_free(err);
		err = NULL;
		r = imgd_error_set(&err, ECANCELED,
		    "job %ju was cancelled by somebody else",
		    (uintmax_t)job->id);
	}
	if (r < 0)
		log_debug(LOG_ENGINE, "job failed: %s", imgd_error_msg(err));
	job->client->end(job->client_ctx, job, r, err);
	job_free(job);
}

static void *
job_thread(void *arg)
{
	struct job *job = arg;
	struct engine *e = job->engine;

	job_run(job);
	engine_leave(e);
	return NULL;
}

int
job_start(struct job *job, struct imgd_error **err)
{
	return engine_thread(job->engine, job_thread, job, err);
}

void
job_output(struct job *job, const char *json)
{
	job->client->output(job->client_ctx, json);
}

bool
job_is_abandoned(const struct job *job)
{
	return atomic_load(&job->is_cancelled) ||
	    job->client->is_abandoned(job->client_ctx);
}
