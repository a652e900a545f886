#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/events.h"
#include "core/new-image.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

int
new_image_name(const char *verb, const char *typed, struct reference *ref,
    char **ret_name, struct imgd_error **err)
{
	int r;

	*ret_name = NULL;
	if (typed == NULL || *typed == '\0')
		return 0;
	r = reference_parse(typed, REFERENCE_DEFAULT_TAG, ref, err);
	if (r < 0)
		return r;
	if (ref->digest != NULL)
		return imgd_error_set(err, EINVAL,
		    "cannot %s digest reference", verb);
	if (strcmp(ref->path, "library/sha256") == 0)
		return imgd_error_set(err, EINVAL,
		    "%s: a repository named sha256 would read as an image id",
		    typed);
	*ret_name = reference_name(ref);
	return *ret_name != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

struct json_object *
new_image_time(void)
{
	char day[32], whole[64];
	struct timespec ts;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (gmtime_r(&ts.tv_sec, &tm) == NULL ||
	    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return json_object_new_string("0001-01-01T00:00:00Z");
	(void)snprintf(whole, sizeof(whole), "%s.%09ldZ", day, ts.tv_nsec);
	return json_object_new_string(whole);
}

int
new_image_text(const struct job *job, const char *key, const char **ret,
    struct imgd_error **err)
{
	*ret = job_getenv(job, key);
	if (*ret != NULL && !str_is_utf8(*ret, strlen(*ret)))
		return imgd_error_set(err, EINVAL, "the %s is no UTF-8", key);
	return 0;
}

void
new_image_report(struct job *job, const char *id, const struct reference *ref)
{
	cleanup_free char *shown = NULL;
	struct strbuf sb = STRBUF_INIT;

	strbuf_printf(&sb, "{\"status\":\"%s\"}", id);
	if (!sb.is_failed)
		job_output(job, sb.data);
	strbuf_done(&sb);
	strbuf_printf(&job->result, "{\"Id\":\"%s\"}", id);
	if (ref != NULL)
		shown = reference_familiar(ref);
	if (shown != NULL)
		image_event(job->engine, "tag", id, shown, id);
}
