/* /images and /distribution. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup-json.h"
#include "lib/json-scan.h"
#include "lib/strbuf.h"
#include "server/registry-auth.h"
#include "server/routes.h"

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* A job with one argument and those variables that the query may set, a list
 * ended by NULL. */
static int
make_job(struct exchange *x, const char *name, enum answer_kind kind,
    const char *arg, const char *const *keys, struct imgd_error **err)
{
	int r = exchange_job(x, name, kind, err);

	if (r >= 0 && arg != NULL)
		r = job_add_arg(x->job, arg, err);
	for (; r >= 0 && keys != NULL && *keys != NULL; keys++)
		r = job_setenv(x->job, *keys,
		    request_get(&x->request, *keys), err);
	return r;
}

static int
set_flag(struct exchange *x, const char *key, struct imgd_error **err)
{
	return request_flag(&x->request, key)
	    ? job_setenv(x->job, key, "1", err)
	    : 0;
}

/* A member of a JSON platform; "" if it is not there. */
static int
platform_part(struct json_object *o, const char *key, const char **ret,
    struct imgd_error **err)
{
	struct json_object *v;

	*ret = "";
	if (!json_object_object_get_ex(o, key, &v) || v == NULL)
		return 0;
	/* They are apart by slashes below. */
	if (!json_object_is_type(v, json_type_string) ||
	    strchr(json_object_get_string(v), '/') != NULL)
		return imgd_error_set(err, EINVAL,
		    "failed to parse platform: %s", key);
	*ret = json_object_get_string(v);
	return 0;
}

/* The platform: as --platform takes it, or OCI's JSON as clients since API
 * 1.48 send it.  Source: moby DecodePlatform. */
static int
set_platform(struct exchange *x, struct imgd_error **err)
{
	const char *text = request_get(&x->request, "platform");
	const char *os, *arch, *variant;
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *plain = NULL;
	int r;

	if (text == NULL || *text != '{')
		return job_setenv(x->job, "platform", text, err);
	r = json_scan(text, strlen(text), err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "failed to parse platform");
		return -EINVAL;
	}
	o = json_tokener_parse(text);
	if (o == NULL)
		return no_memory(err);
	r = platform_part(o, "os", &os, err);
	if (r >= 0)
		r = platform_part(o, "architecture", &arch, err);
	if (r >= 0)
		r = platform_part(o, "variant", &variant, err);
	if (r < 0)
		return r;
	if (*os == '\0' || *arch == '\0')
		return imgd_error_set(err, EINVAL,
		    "both OS and Architecture must be provided");
	if (asprintf(&plain, "%s/%s%s%s", os, arch, *variant != '\0' ? "/" : "",
		variant) < 0) {
		plain = NULL;
		return no_memory(err);
	}
	return job_setenv(x->job, "platform", plain, err);
}

static int
set_credentials(struct exchange *x, struct imgd_error **err)
{
	cleanup(registry_auth_done) struct registry_auth auth = { 0 };
	int r;

	registry_auth_decode(exchange_header(x, "X-Registry-Auth"), &auth);
	r = job_setenv(x->job, "username", auth.username, err);
	if (r >= 0)
		r = job_setenv(x->job, "password", auth.password, err);
	if (r >= 0)
		r = job_setenv(x->job, "identity-token", auth.identity_token,
		    err);
	if (r >= 0)
		r = job_setenv(x->job, "registry-token", auth.registry_token,
		    err);
	return r;
}

/* The name without a tag or a digest: a length. */
static size_t
repository_len(const char *name)
{
	const char *at = strchr(name, '@');
	size_t len = at != NULL ? (size_t)(at - name) : strlen(name);
	const char *slash = memrchr(name, '/', len);
	const char *base = slash != NULL ? slash : name;
	const char *colon = memrchr(base, ':', len - (size_t)(base - name));

	return colon != NULL ? (size_t)(colon - name) : len;
}

/* NAME and a tag or digest beside it, which wins over one inside, as one
 * reference.  *ret_all: there is none anywhere. */
static int
join_name(const char *name, const char *tag, char **ret, bool *ret_all,
    struct imgd_error **err)
{
	size_t len = repository_len(name);
	int n;

	*ret_all = false;
	if (tag != NULL) {
		n = asprintf(ret, "%.*s%s%s", (int)len, name,
		    strchr(tag, ':') != NULL ? "@" : ":", tag);
	} else {
		*ret_all = name[len] == '\0' || strcmp(name + len, ":") == 0;
		n = asprintf(ret, "%.*s", *ret_all ? (int)len : 1024, name);
	}
	if (n < 0) {
		*ret = NULL;
		return no_memory(err);
	}
	return 0;
}

/* For a job that makes an image: its name, and the changes to its config. */
static int
add_new_image(struct exchange *x, struct imgd_error **err)
{
	const char *repository = request_get(&x->request, "repo");
	cleanup_free char *name = NULL, *changes = NULL;
	struct strbuf sb = STRBUF_INIT;
	bool is_all;
	size_t i;
	int r = 0;

	for (i = 0; i < x->request.n_items; i++)
		if (strcmp(x->request.items[i].key, "changes") == 0) {
			strbuf_puts(&sb, x->request.items[i].value);
			strbuf_putc(&sb, '\n');
		}
	changes = strbuf_take(&sb);
	if (changes == NULL)
		return no_memory(err);
	if (repository != NULL)
		r = join_name(repository, request_get(&x->request, "tag"),
		    &name, &is_all, err);
	if (r >= 0 && name != NULL)
		r = job_add_arg(x->job, name, err);
	return r < 0 ? r : job_setenv(x->job, "changes", changes, err);
}

/* ---- create: pull and import ---- */

static int
pull(struct exchange *x, const char *from, struct imgd_error **err)
{
	static const char *const keys[] = { "platform", "driver", "retry",
		"limit-rate", NULL };
	cleanup_free char *name = NULL;
	bool is_all;
	int r;

	r = join_name(from, request_get(&x->request, "tag"), &name, &is_all,
	    err);
	if (r >= 0)
		r = make_job(x, "pull", ANSWER_STREAM, name, keys, err);
	if (r >= 0 && is_all)
		r = job_setenv(x->job, "all-tags", "1", err);
	if (r >= 0)
		r = set_flag(x, "registry-v1", err);
	if (r >= 0)
		r = set_credentials(x, err);
	return r < 0 ? r : exchange_run(x, err);
}

static int
import(struct exchange *x, const char *source, struct imgd_error **err)
{
	static const char *const keys[] = { "message", "platform", "driver",
		NULL };
	int r = make_job(x, "import", ANSWER_STREAM, source, keys, err);

	if (r >= 0)
		r = add_new_image(x, err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_images_create(struct exchange *x, struct imgd_error **err)
{
	const char *image = request_get(&x->request, "fromImage");
	const char *source = request_get(&x->request, "fromSrc");

	if (image != NULL)
		return pull(x, image, err);
	if (source == NULL)
		return imgd_error_set(err, EINVAL,
		    "neither fromImage nor fromSrc is given");
	return import(x, source, err);
}

/* ---- commit ---- */

/* Whether the body is more than the "null" that clients send who have nothing
 * to say. */
static bool
has_config(const struct exchange *x)
{
	const char *s = x->body.data;
	size_t n = s != NULL ? strlen(s) : 0;

	while (n > 0 && strchr(" \t\r\n", s[n - 1]) != NULL)
		n--;
	return n > 0 && !(n == 4 && strncmp(s, "null", n) == 0) &&
	    !(n == 2 && strncmp(s, "{}", n) == 0);
}

int
route_commit(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "author", NULL };
	const char *container = request_get(&x->request, "container");
	int r;

	if (container == NULL)
		return imgd_error_set(err, EINVAL, "no container is given");
	if (has_config(x))
		return imgd_error_set(err, EINVAL,
		    "a config in the body is not supported: use changes");
	r = make_job(x, "commit", ANSWER_MADE, container, keys, err);
	if (r >= 0)
		r = job_setenv(x->job, "message",
		    request_get(&x->request, "comment"), err);
	if (r >= 0)
		r = add_new_image(x, err);
	return r < 0 ? r : exchange_run(x, err);
}

/* ---- lists ---- */

int
route_images_list(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "filters", "filter", NULL };
	static const char *const flags[] = { "all", "digests", "shared-size",
		NULL };
	char minor[16];
	size_t i;
	int r = make_job(x, "images", ANSWER_RESULT, NULL, keys, err);

	for (i = 0; r >= 0 && flags[i] != NULL; i++)
		r = set_flag(x, flags[i], err);
	(void)snprintf(minor, sizeof(minor), "%u", x->request.minor);
	if (r >= 0)
		r = job_setenv(x->job, "api-minor", minor, err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_images_search(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "limit", "filters", NULL };
	const char *term = request_get(&x->request, "term");
	cleanup_free char *name = NULL;
	size_t n;
	int r;

	if (term == NULL)
		return imgd_error_set(err, EINVAL, "no term to look for");
	n = strcspn(term, "/");
	if (term[n] != '/' ||
	    (memchr(term, '.', n) == NULL && memchr(term, ':', n) == NULL &&
		strncmp(term, "localhost/", 10) != 0))
		n = 0;
	if (asprintf(&name, "%.*s/library/any",
		n > 0 ? (int)n : (int)strlen("docker.io"),
		n > 0 ? term : "docker.io") < 0) {
		name = NULL;
		return no_memory(err);
	}
	r = make_job(x, "search", ANSWER_LIST, name, keys, err);
	if (r >= 0)
		r = job_add_arg(x->job, n > 0 ? term + n + 1 : term, err);
	if (r >= 0)
		r = set_credentials(x, err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_images_prune(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "filters", NULL };
	int r = make_job(x, "prune", ANSWER_RESULT, NULL, keys, err);

	return r < 0 ? r : exchange_run(x, err);
}

/* ---- archives ---- */

int
route_images_load(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "driver", NULL };
	int r = make_job(x, "load", ANSWER_STREAM, NULL, keys, err);

	if (r >= 0)
		r = set_platform(x, err);
	if (r >= 0 &&
	    (request_get(&x->request, "quiet") == NULL ||
		request_flag(&x->request, "quiet")))
		r = job_setenv(x->job, "quiet", "1", err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_images_get(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "format", NULL };
	size_t i;
	int r = make_job(x, "save", ANSWER_FILE, NULL, keys, err);

	if (r >= 0)
		r = set_platform(x, err);
	for (i = 0; r >= 0 && i < x->request.n_items; i++)
		if (strcmp(x->request.items[i].key, "names") == 0)
			r = job_add_arg(x->job, x->request.items[i].value,
			    err);
	if (r >= 0 && x->job->n_args == 0)
		r = imgd_error_set(err, EINVAL, "no names are given");
	return r < 0 ? r : exchange_run(x, err);
}

int
route_image_get(struct exchange *x, struct imgd_error **err)
{
	int r = make_job(x, "save", ANSWER_FILE, x->name, NULL, err);

	if (r >= 0)
		r = set_platform(x, err);
	return r < 0 ? r : exchange_run(x, err);
}

/* Of a writable layer, and of an image, too. */
int
route_export(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { NULL };
	int r = make_job(x, "export", ANSWER_FILE, x->name, keys, err);

	return r < 0 ? r : exchange_run(x, err);
}

/* ---- one image ---- */

/* Until then a container's whole configuration was shown, absent members
 * with their zeros. */
#define MINOR_SLIM_CONFIG 50
/* And until then its size twice. */
#define MINOR_ONE_SIZE 44

static void
add_zeros(struct json_object *config)
{
	static const char *const nulls[] = { "Cmd", "Entrypoint", "Env",
		"Labels", "OnBuild", "Volumes", NULL };
	static const char *const texts[] = { "Domainname", "Hostname",
		"Image", "User", "WorkingDir", NULL };
	static const char *const flags[] = { "AttachStderr", "AttachStdin",
		"AttachStdout", "OpenStdin", "StdinOnce", "Tty", NULL };
	size_t i;

	for (i = 0; nulls[i] != NULL; i++)
		if (!json_object_object_get_ex(config, nulls[i], NULL))
			json_object_object_add(config, nulls[i], NULL);
	for (i = 0; texts[i] != NULL; i++)
		if (!json_object_object_get_ex(config, texts[i], NULL))
			json_object_object_add(config, texts[i],
			    json_object_new_string(""));
	for (i = 0; flags[i] != NULL; i++)
		if (!json_object_object_get_ex(config, flags[i], NULL))
			json_object_object_add(config, flags[i],
			    json_object_new_boolean(false));
}

static void
convert_inspect(struct exchange *x, const char *result, struct strbuf *out)
{
	cleanup_json struct json_object *o = json_tokener_parse(result);
	struct json_object *config = NULL, *size = NULL;

	(void)json_object_object_get_ex(o, "Config", &config);
	if (json_object_is_type(config, json_type_object))
		add_zeros(config);
	if (x->request.minor < MINOR_ONE_SIZE &&
	    json_object_object_get_ex(o, "Size", &size))
		json_object_object_add(o, "VirtualSize",
		    json_object_get(size));
	strbuf_puts(out, o == NULL ? result
				   : json_object_to_json_string_ext(o,
					 JSON_C_TO_STRING_PLAIN |
					     JSON_C_TO_STRING_NOSLASHESCAPE));
}

int
route_image_inspect(struct exchange *x, struct imgd_error **err)
{
	int r = make_job(x, "inspect", ANSWER_RESULT, x->name, NULL, err);

	if (x->request.minor < MINOR_SLIM_CONFIG)
		x->convert = convert_inspect;

	return r < 0 ? r : exchange_run(x, err);
}

int
route_image_history(struct exchange *x, struct imgd_error **err)
{
	int r = make_job(x, "history", ANSWER_RESULT, x->name, NULL, err);

	return r < 0 ? r : exchange_run(x, err);
}

int
route_image_tag(struct exchange *x, struct imgd_error **err)
{
	const char *repository = request_get(&x->request, "repo");
	cleanup_free char *name = NULL;
	bool is_all;
	int r;

	if (repository == NULL)
		return imgd_error_set(err, EINVAL,
		    "repository name must have at least one component");
	r = join_name(repository, request_get(&x->request, "tag"), &name,
	    &is_all, err);
	if (r >= 0)
		r = make_job(x, "tag", ANSWER_CREATED, x->name, NULL, err);
	if (r >= 0)
		r = job_add_arg(x->job, name, err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_image_push(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "compression", "retry",
		"limit-rate", NULL };
	cleanup_free char *name = NULL;
	bool is_all;
	int r;

	r = join_name(x->name, request_get(&x->request, "tag"), &name,
	    &is_all, err);
	if (r >= 0)
		r = make_job(x, "push", ANSWER_STREAM, name, keys, err);
	if (r >= 0 && is_all)
		r = job_setenv(x->job, "all-tags", "1", err);
	if (r >= 0)
		r = set_credentials(x, err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_image_delete(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "driver", NULL };
	int r = make_job(x, "rmi", ANSWER_RESULT, x->name, keys, err);

	if (r >= 0)
		r = set_flag(x, "force", err);
	if (r >= 0)
		r = set_flag(x, "noprune", err);
	return r < 0 ? r : exchange_run(x, err);
}

int
route_distribution(struct exchange *x, struct imgd_error **err)
{
	int r = make_job(x, "distribution", ANSWER_RESULT, x->name, NULL,
	    err);

	if (r >= 0)
		r = set_credentials(x, err);
	return r < 0 ? r : exchange_run(x, err);
}
