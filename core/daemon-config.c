#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/daemon-config.h"
#include "core/filters.h"
#include "lib/cleanup-json.h"
#include "lib/fs-at.h"
#include "lib/json-scan.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

#define CONFIG_MAX_BYTES (1u << 20)

enum key {
	KEY_DATA_ROOT,
	KEY_STORAGE_DRIVER,
	KEY_STORAGE_OPTS,
	KEY_REGISTRY_MIRRORS,
	KEY_INSECURE_REGISTRIES,
	KEY_V1_REGISTRIES,
	KEY_PROXIES,
	KEY_MAX_CONCURRENT_DOWNLOADS,
	KEY_MAX_CONCURRENT_UPLOADS,
	KEY_MAX_DOWNLOAD_ATTEMPTS,
	KEY_LIMIT_RATE,
	KEY_RESUME_DOWNLOADS,
	KEY_MAX_PARTIAL_SIZE,
	KEY_CERTS_DIR,
	KEY_GC,
	KEY_SIGNATURES,
	N_KEYS
};

const char *const config_keys[] = {
	[KEY_DATA_ROOT] = "data-root",
	[KEY_STORAGE_DRIVER] = "storage-driver",
	[KEY_STORAGE_OPTS] = "storage-opts",
	[KEY_REGISTRY_MIRRORS] = "registry-mirrors",
	[KEY_INSECURE_REGISTRIES] = "insecure-registries",
	[KEY_V1_REGISTRIES] = "v1-registries",
	[KEY_PROXIES] = "proxies",
	[KEY_MAX_CONCURRENT_DOWNLOADS] = "max-concurrent-downloads",
	[KEY_MAX_CONCURRENT_UPLOADS] = "max-concurrent-uploads",
	[KEY_MAX_DOWNLOAD_ATTEMPTS] = "max-download-attempts",
	[KEY_LIMIT_RATE] = "limit-rate",
	[KEY_RESUME_DOWNLOADS] = "resume-downloads",
	[KEY_MAX_PARTIAL_SIZE] = "max-partial-size",
	[KEY_CERTS_DIR] = "certs-dir",
	[KEY_GC] = "gc",
	[KEY_SIGNATURES] = "signatures",
	[N_KEYS] = NULL,
};

static int
get_string(const char *key, struct json_object *v, char **ret,
    struct imgd_error **err)
{
	if (!json_object_is_type(v, json_type_string))
		return imgd_error_set(err, EINVAL, "%s: not a string", key);
	free(*ret);
	*ret = strdup(json_object_get_string(v));
	if (*ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
append(char ***list, size_t *n, const char *s, struct imgd_error **err)
{
	char **grown = reallocarray(*list, *n + 1, sizeof(**list));

	if (grown != NULL) {
		*list = grown;
		grown[*n] = strdup(s);
	}
	if (grown == NULL || grown[*n] == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	(*n)++;
	return 0;
}

static int
get_list(const char *key, struct json_object *v, char ***list, size_t *n,
    struct imgd_error **err)
{
	size_t i, len;
	int r = 0;

	if (!json_object_is_type(v, json_type_array))
		return imgd_error_set(err, EINVAL, "%s: not a list", key);
	len = json_object_array_length(v);
	for (i = 0; i < len && r >= 0; i++) {
		struct json_object *item = json_object_array_get_idx(v, i);

		if (!json_object_is_type(item, json_type_string))
			return imgd_error_set(err, EINVAL,
			    "%s: item %zu is not a string", key, i);
		r = append(list, n, json_object_get_string(item), err);
	}
	return r;
}

static int
get_bool(const char *key, struct json_object *v, bool *ret,
    struct imgd_error **err)
{
	if (!json_object_is_type(v, json_type_boolean))
		return imgd_error_set(err, EINVAL, "%s: not a boolean", key);
	*ret = json_object_get_boolean(v);
	return 0;
}

/* { "url": …, "registry": …, "ns": … } */
static int
get_mirror(struct json_object *v, struct config_mirror *m,
    struct imgd_error **err)
{
	int r = 0;

	json_object_object_foreach(v, key, value) {
		if (strcmp(key, "url") == 0)
			r = get_string(key, value, &m->url, err);
		else if (strcmp(key, "registry") == 0)
			r = get_string(key, value, &m->registry, err);
		else if (strcmp(key, "ns") == 0)
			r = get_bool(key, value, &m->with_ns, err);
		else
			r = imgd_error_set(err, EINVAL, "unknown key %s", key);
		if (r < 0)
			return r;
	}
	return m->url != NULL ? 0
			      : imgd_error_set(err, EINVAL, "url is missing");
}

/* Docker has strings, which are the Hub's; ours may be objects. */
static int
get_mirrors(const char *key, struct json_object *v, struct config *c,
    struct imgd_error **err)
{
	size_t i, len;
	int r = 0;

	if (!json_object_is_type(v, json_type_array))
		return imgd_error_set(err, EINVAL, "%s: not a list", key);
	len = json_object_array_length(v);
	c->registry_mirrors = calloc(len + 1, sizeof(*c->registry_mirrors));
	if (c->registry_mirrors == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < len && r >= 0; i++) {
		struct json_object *item = json_object_array_get_idx(v, i);
		struct config_mirror *m = &c->registry_mirrors[i];

		c->n_registry_mirrors++;
		if (json_object_is_type(item, json_type_object))
			r = get_mirror(item, m, err);
		else
			r = get_string("it", item, &m->url, err);
		if (r < 0)
			return imgd_error_prefix(err, "%s: item %zu", key, i);
		if (m->registry == NULL)
			m->registry = strdup(REFERENCE_DEFAULT_DOMAIN);
		if (m->registry == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
	}
	return r;
}

/* { "http-proxy": …, "https-proxy": …, "no-proxy": … } */
static int
get_proxies(const char *name, struct json_object *v, struct config *c,
    struct imgd_error **err)
{
	int r = 0;

	if (!json_object_is_type(v, json_type_object))
		return imgd_error_set(err, EINVAL, "%s: not an object", name);
	json_object_object_foreach(v, key, value) {
		if (strcmp(key, "http-proxy") == 0)
			r = get_string(key, value, &c->http_proxy, err);
		else if (strcmp(key, "https-proxy") == 0)
			r = get_string(key, value, &c->https_proxy, err);
		else if (strcmp(key, "no-proxy") == 0)
			r = get_string(key, value, &c->no_proxy, err);
		else
			r = imgd_error_set(err, EINVAL, "unknown key %s", key);
		if (r < 0)
			return imgd_error_prefix(err, "%s", name);
	}
	return 0;
}

static int
get_number(const char *key, struct json_object *v, int64_t max,
    unsigned int *ret, struct imgd_error **err)
{
	int64_t n = json_object_get_int64(v);

	if (!json_object_is_type(v, json_type_int) || n < 1 || n > max)
		return imgd_error_set(err, EINVAL,
		    "%s: not a number from 1 to %jd", key, (intmax_t)max);
	*ret = (unsigned int)n;
	return 0;
}

/* A number of bytes, or "10M". */
static int
get_size(const char *key, struct json_object *v, uint64_t *ret,
    struct imgd_error **err)
{
	if (json_object_is_type(v, json_type_int) &&
	    json_object_get_int64(v) >= 0)
		*ret = (uint64_t)json_object_get_int64(v);
	else if (!json_object_is_type(v, json_type_string) ||
	    !str_to_size(json_object_get_string(v), ret))
		return imgd_error_set(err, EINVAL, "%s: not a size", key);
	return 0;
}

static int
get_interval(const char *text, int64_t *ret_s, struct imgd_error **err)
{
	int64_t ns;

	if (!filter_parse_duration(text, &ns) || ns < 1000000000)
		return imgd_error_set(err, EINVAL,
		    "interval: %s: not a duration like 1h, of 1s or more",
		    text);
	*ret_s = ns / 1000000000;
	return 0;
}

/* { "max-size": …, "min-free": …, "keep-last": …, "keep-since": …,
 * "interval": … }, as the verb's options are written. */
static int
get_gc(const char *name, struct json_object *v, struct config *c,
    struct imgd_error **err)
{
	int r = 0;

	if (!json_object_is_type(v, json_type_object))
		return imgd_error_set(err, EINVAL, "%s: not an object", name);
	json_object_object_foreach(v, key, value) {
		if (!json_object_is_type(value, json_type_string) &&
		    !json_object_is_type(value, json_type_int))
			r = imgd_error_set(err, EINVAL,
			    "%s: neither a string nor a number", key);
		else if (strcmp(key, "interval") == 0)
			r = get_interval(json_object_get_string(value),
			    &c->gc_interval_s, err);
		else
			r = gc_limits_set(&c->gc, key,
			    json_object_get_string(value), err);
		if (r < 0)
			return imgd_error_prefix(err, "%s", name);
	}
	return 0;
}

static int
get_spooling(const char *key, struct json_object *v, enum pull_spooling *ret,
    struct imgd_error **err)
{
	static const char *const words[] = {
		[PULL_SPOOL_NEVER] = "never",
		[PULL_SPOOL_SLOW] = "auto",
		[PULL_SPOOL_ALWAYS] = "always",
	};
	const char *text = json_object_get_string(v);
	size_t i;

	for (i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0) {
			*ret = (enum pull_spooling)i;
			return 0;
		}
	return imgd_error_set(err, EINVAL,
	    "%s: not \"auto\", \"always\" or \"never\"", key);
}

static int
get_signatures(const char *key, struct json_object *v,
    struct signature_policy *ret, struct imgd_error **err)
{
	int r = signature_policy_parse(v, ret, err);

	if (r < 0)
		(void)imgd_error_prefix(err, "%s", key);
	return r;
}

static int
take_key(struct config *c, const char *key, struct json_object *v,
    struct imgd_error **err)
{
	size_t k;

	for (k = 0; k < N_KEYS; k++)
		if (strcmp(key, config_keys[k]) == 0)
			break;
	switch (k) {
	case KEY_DATA_ROOT:
		return get_string(key, v, &c->data_root, err);
	case KEY_STORAGE_DRIVER:
		return get_string(key, v, &c->storage_driver, err);
	case KEY_STORAGE_OPTS:
		return get_list(key, v, &c->storage_opts, &c->n_storage_opts,
		    err);
	case KEY_REGISTRY_MIRRORS:
		return get_mirrors(key, v, c, err);
	case KEY_INSECURE_REGISTRIES:
		return get_list(key, v, &c->insecure_registries,
		    &c->n_insecure_registries, err);
	case KEY_V1_REGISTRIES:
		return get_list(key, v, &c->v1_registries,
		    &c->n_v1_registries, err);
	case KEY_PROXIES:
		return get_proxies(key, v, c, err);
	case KEY_MAX_CONCURRENT_DOWNLOADS:
		return get_number(key, v, 64, &c->max_concurrent_downloads,
		    err);
	case KEY_MAX_CONCURRENT_UPLOADS:
		return get_number(key, v, 64, &c->max_concurrent_uploads,
		    err);
	case KEY_MAX_DOWNLOAD_ATTEMPTS:
		return get_number(key, v, 1000000, &c->max_download_attempts,
		    err);
	case KEY_LIMIT_RATE:
		return get_size(key, v, &c->max_bytes_per_s, err);
	case KEY_RESUME_DOWNLOADS:
		return get_spooling(key, v, &c->spooling, err);
	case KEY_CERTS_DIR:
		return get_string(key, v, &c->certs_dir, err);
	case KEY_GC:
		return get_gc(key, v, c, err);
	case KEY_SIGNATURES:
		return get_signatures(key, v, &c->signatures, err);
	case KEY_MAX_PARTIAL_SIZE:
		return get_size(key, v, &c->max_partial_bytes, err);
	default:
		return imgd_error_set(err, EINVAL, "unknown key %s", key);
	}
}

static int
parse(struct config *c, const char *text, size_t len, struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	int r;

	r = json_scan(text, len, err);
	if (r < 0)
		return r;
	o = json_tokener_parse(text);
	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, EINVAL, "not a JSON object");
	json_object_object_foreach(o, key, value) {
		r = take_key(c, key, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int
config_load(const char *path, struct config *ret, struct imgd_error **err)
{
	const char *file = path != NULL ? path : IMGD_SYSCONFDIR
	    "/imgd/daemon.json";
	cleanup(config_done) struct config c = {
		.max_concurrent_downloads = 3,
		.max_concurrent_uploads = 5,
		.max_download_attempts = 5,
		.max_partial_bytes = 8ull << 30,
		.spooling = PULL_SPOOL_SLOW,
		.gc = { .keep_last = 1 },
		.gc_interval_s = 3600,
	};
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *text = NULL;
	size_t len = 0;
	int r;

	r = fs_read_file(AT_FDCWD, file, CONFIG_MAX_BYTES, &text, &len, &e);
	if (r == -ENOENT && path == NULL) {
		*ret = c;
		c = (struct config) { 0 };
		return 0;
	}
	if (r >= 0)
		r = parse(&c, text, len, &e);
	if (r < 0)
		return imgd_error_set(err, -r, "%s%s%s",
		    str_starts(imgd_error_msg(e), file) ? "" : file,
		    str_starts(imgd_error_msg(e), file) ? "" : ": ",
		    imgd_error_msg(e));
	*ret = c;
	c = (struct config) { 0 };
	return 0;
}

int
config_add_storage_opt(struct config *c, const char *opt,
    struct imgd_error **err)
{
	if (strchr(opt, '=') == NULL || opt[0] == '=')
		return imgd_error_set(err, EINVAL,
		    "driver option %s: not KEY=VALUE", opt);
	return append(&c->storage_opts, &c->n_storage_opts, opt, err);
}

void
config_done(struct config *c)
{
	size_t i;

	free(c->data_root);
	free(c->storage_driver);
	str_list_free(c->storage_opts, c->n_storage_opts);
	free(c->certs_dir);
	signature_policy_done(&c->signatures);
	free(c->http_proxy);
	free(c->https_proxy);
	free(c->no_proxy);
	for (i = 0; i < c->n_registry_mirrors; i++) {
		free(c->registry_mirrors[i].url);
		free(c->registry_mirrors[i].registry);
	}
	free(c->registry_mirrors);
	str_list_free(c->insecure_registries, c->n_insecure_registries);
	str_list_free(c->v1_registries, c->n_v1_registries);
	*c = (struct config) { 0 };
}
