/*
 * Sessions from the command line, for the tests.
 *
 *   registry-tool [OPTION…] resolve|pull|tags REFERENCE
 *
 * resolve prints the documents; pull fetches all layers too, side by side,
 * and compares them with the config; tags prints the tags.  An error is one
 * line "registry-tool: CODE: TEXT", exit status 1.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "registry/session.h"

#define MAX_LIST   8
#define MAX_LAYERS 16

struct options {
	struct registry_params params;
	struct registry_mirror mirrors[MAX_LIST];
	const char *insecure[MAX_LIST];
	const char *ca_file;
	const char *known_digest;
	const char *platform;
};

/* One layer on its way in a thread. */
struct job {
	struct registry_session *s;
	const struct descriptor *blob;
	struct digest_ctx *digest;
	struct registry_blob_stats stats;
	char diff_id[DIGEST_STR_SIZE];
	pthread_t thread;
	int r;
	struct imgd_error *err;
};

static int
print_doc(void *ctx, enum registry_doc kind, const char *media_type,
    const char *digest, const void *data, size_t len, struct imgd_error **err)
{
	static const char *const names[] = { "top", "index", "manifest",
		"config" };

	(void)ctx;
	(void)data;
	(void)err;
	(void)printf("%s %s %s %zu\n", names[kind], media_type, digest, len);
	return 0;
}

static int
print_tag(void *ctx, const char *tag, struct imgd_error **err)
{
	(void)ctx;
	(void)err;
	(void)printf("%s\n", tag);
	return 0;
}

static void
print_retry(void *ctx, const char *why, unsigned pause_ms)
{
	(void)ctx;
	(void)fprintf(stderr, "retry in %u ms: %s\n", pause_ms, why);
}

static int
hash(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct job *job = ctx;

	(void)err;
	digest_update(job->digest, data, (size_t)len);
	return 0;
}

static void *
run_job(void *ctx)
{
	struct job *job = ctx;
	struct imgd_sink sink = { .struct_size = sizeof(sink), .ctx = job,
		.write = hash };

	job->r = digest_new(&job->digest, &job->err);
	if (job->r >= 0)
		job->r = registry_blob(job->s, job->blob, NULL, &sink, NULL, NULL,
		    &job->stats, &job->err);
	if (job->r >= 0)
		job->r = digest_str(job->digest, job->diff_id, &job->err);
	digest_free(job->digest);
	return NULL;
}

static int
finish_job(struct job *job, const char *diff_id, struct imgd_error **err)
{
	if (job->r < 0) {
		if (*err == NULL)
			*err = take_ptr(&job->err);
		imgd_error_free(job->err);
		return job->r;
	}
	(void)printf("layer %s %s %llu %s%s\n", job->blob->digest,
	    job->stats.format, (unsigned long long)job->stats.tar_bytes,
	    strcmp(job->diff_id, diff_id) == 0 ? "good" : "BAD",
	    job->stats.n_attempts > 1 ? " resumed" : "");
	return 0;
}

static int
pull_layers(struct registry_session *s, const struct registry_resolved *found,
    struct imgd_error **err)
{
	struct job jobs[MAX_LAYERS] = { { .s = s } };
	size_t n = found->manifest->n_layers, i;
	int r = 0, first = 0;

	if (n > MAX_LAYERS)
		return imgd_error_set(err, E2BIG, "too many layers");
	for (i = 0; i < n; i++) {
		jobs[i] = (struct job){ .s = s,
			.blob = &found->manifest->layers[i] };
		if (pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]) !=
		    0)
			abort();
	}
	for (i = 0; i < n; i++)
		(void)pthread_join(jobs[i].thread, NULL);
	for (i = 0; i < n; i++) {
		r = finish_job(&jobs[i], found->config->diff_ids[i], err);
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

static int
resolve(struct registry_session *s, const struct options *o, bool with_layers,
    struct imgd_error **err)
{
	struct registry_resolved found = REGISTRY_RESOLVED_INIT;
	struct platform want;
	int r;

	if (o->platform != NULL) {
		r = platform_parse(o->platform, &want, err);
		if (r < 0)
			return r;
	}
	r = registry_resolve(s, o->platform != NULL ? &want : NULL,
	    o->known_digest, print_doc, NULL, &found, err);
	if (r < 0)
		return r;
	if (found.is_unchanged)
		(void)printf("unchanged\n");
	else if (with_layers)
		r = pull_layers(s, &found, err);
	registry_resolved_done(&found);
	return r;
}

static int
run(struct options *o, const char *verb, const char *name,
    struct imgd_error **err)
{
	cleanup(registry_session_freep) struct registry_session *s = NULL;
	struct reference ref;
	int r;

	r = reference_parse(name, 0, &ref, err);
	if (r < 0)
		return r;
	o->params.ref = &ref;
	r = registry_session_new(&o->params, &s, err);
	reference_done(&ref);
	if (r < 0)
		return r;
	if (strcmp(verb, "tags") == 0)
		return registry_tags(s, print_tag, NULL, err);
	return resolve(s, o, strcmp(verb, "pull") == 0, err);
}

static void
set_option(struct options *o, char letter, char *value)
{
	char *colon;

	switch (letter) {
	case 'm':
	case 'M': /* with ?ns= */
		o->mirrors[o->params.n_mirrors++] = (struct registry_mirror){
			.url = value, .with_ns = letter == 'M' };
		break;
	case 'C':
		o->ca_file = value;
		o->params.ca_files = &o->ca_file;
		o->params.n_ca_files = 1;
		break;
	case 'i':
		o->insecure[o->params.n_insecure++] = value;
		break;
	case 'u':
		colon = strchr(value, ':');
		*colon = '\0';
		o->params.username = value;
		o->params.password = colon + 1;
		break;
	case 't':
		o->params.identity_token = value;
		break;
	case 'k':
		o->known_digest = value;
		break;
	case 'p':
		o->platform = value;
		break;
	case 's':
		o->params.stall_timeout_ms = (unsigned)atoi(value);
		break;
	default:
		abort();
	}
}

int
main(int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *text = NULL;
	struct options o = { .params = { .retry_pause_ms = 20,
				 .retrying = print_retry } };
	int c, r;

	o.params.mirrors = o.mirrors;
	o.params.insecure = o.insecure;
	log_set_areas(getenv("IMGD_DEBUG"));
	while ((c = getopt(argc, argv, "C:m:M:i:u:t:k:p:s:")) != -1)
		set_option(&o, (char)c, optarg);
	if (argc - optind != 2)
		return 2;
	r = run(&o, argv[optind], argv[optind + 1], &err);
	if (r >= 0)
		return 0;
	text = str_escape(imgd_error_msg(err), strlen(imgd_error_msg(err)));
	(void)fprintf(stderr, "registry-tool: %d: %s\n", -r, text);
	return 1;
}
