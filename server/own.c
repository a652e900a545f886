/* /imgd/: what Docker's API has no words for. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/cleanup-json.h"
#include "lib/json-scan.h"
#include "server/routes.h"

static int
malformed(struct imgd_error **err)
{
	return imgd_error_set(err, EINVAL,
	    "not a job: {\"name\": NAME, \"args\": [TEXT...], "
	    "\"env\": {KEY: TEXT}}");
}

static int
fill_job(struct exchange *x, struct json_object *o, struct imgd_error **err)
{
	struct json_object *args = NULL, *env = NULL;
	size_t i;
	int r = 0;

	(void)json_object_object_get_ex(o, "args", &args);
	(void)json_object_object_get_ex(o, "env", &env);
	if ((args != NULL && !json_object_is_type(args, json_type_array)) ||
	    (env != NULL && !json_object_is_type(env, json_type_object)))
		return malformed(err);
	for (i = 0; r >= 0 && args != NULL &&
	     i < json_object_array_length(args); i++) {
		struct json_object *v = json_object_array_get_idx(args, i);

		if (!json_object_is_type(v, json_type_string))
			return malformed(err);
		r = job_add_arg(x->job, json_object_get_string(v), err);
	}
	if (env == NULL)
		return r;
	json_object_object_foreach(env, key, value) {
		if (r >= 0 && !json_object_is_type(value, json_type_string))
			return malformed(err);
		if (r >= 0)
			r = job_setenv(x->job, key,
			    json_object_get_string(value), err);
	}
	return r;
}

/* The result follows the output, as the stream's last object. */
int
route_job(struct exchange *x, struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *name = NULL;
	int r;

	if (x->body.data == NULL)
		return malformed(err);
	r = json_scan(x->body.data, x->body.len, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "job");
		return -EINVAL;
	}
	o = json_tokener_parse(x->body.data);
	if (!json_object_is_type(o, json_type_object) ||
	    !json_object_object_get_ex(o, "name", &name) ||
	    !json_object_is_type(name, json_type_string))
		return malformed(err);
	r = exchange_job(x, json_object_get_string(name), ANSWER_JOB, err);
	if (r >= 0)
		r = fill_job(x, o, err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_jobs(struct exchange *x, struct imgd_error **err)
{
	int r = exchange_job(x, "jobs", ANSWER_LIST, err);

	return r < 0 ? r : exchange_run(x, err);
}

int
route_job_cancel(struct exchange *x, struct imgd_error **err)
{
	int r = exchange_job(x, "cancel", ANSWER_EMPTY, err);

	if (r >= 0)
		r = job_add_arg(x->job, x->name, err);
	return r < 0 ? r : exchange_run(x, err);
}
