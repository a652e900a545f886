/* Credentials from Docker's config.json, for one registry. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"
#include "lib/fs-at.h"
#include "lib/json-scan.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

#define CONFIG_MAX_BYTES (4u << 20)
#define HUB_KEY          "https://index.docker.io/v1/"

void
credentials_done(struct credentials *c)
{
	free(c->username);
	free(c->password);
	free(c->identity_token);
	*c = (struct credentials) { 0 };
}

static char *
config_path(void)
{
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
	char *path = NULL;
	int n;

	if (dir != NULL && *dir != '\0')
		n = asprintf(&path, "%s/config.json", dir);
	else if (home != NULL && *home != '\0')
		n = asprintf(&path, "%s/.docker/config.json", home);
	else
		return NULL;
	return n < 0 ? NULL : path;
}

/* The host[:port] of a key that may be an old URL. */
static void
key_host(const char *key, const char **ret, size_t *ret_len)
{
	if (str_starts(key, "https://"))
		key += 8;
	else if (str_starts(key, "http://"))
		key += 7;
	*ret = key;
	*ret_len = strcspn(key, "/");
}

static struct json_object *
find_entry(struct json_object *auths, const char *domain)
{
	const char *want = strcmp(domain, REFERENCE_DEFAULT_DOMAIN) == 0
	    ? HUB_KEY
	    : domain;
	struct json_object *v;
	const char *host;
	size_t n;

	if (json_object_object_get_ex(auths, want, &v))
		return v;
	json_object_object_foreach(auths, key, value) {
		key_host(key, &host, &n);
		if (strlen(domain) == n && strncmp(host, domain, n) == 0)
			return value;
	}
	return NULL;
}

/* "auth" is base64 of USER:PASSWORD; the password may have colons. */
static int
decode_auth(const char *auth, struct credentials *c, struct imgd_error **err)
{
	size_t n = strlen(auth);
	cleanup_free char *plain = malloc(n + 4);
	char *colon;
	int len;

	if (plain == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	len = EVP_DecodeBlock((unsigned char *)plain,
	    (const unsigned char *)auth, (int)n);
	if (len < 0)
		return imgd_error_set(err, EINVAL, "auth is not base64");
	plain[len] = '\0';
	colon = strchr(plain, ':');
	if (colon == NULL)
		return imgd_error_set(err, EINVAL, "auth has no colon");
	*colon = '\0';
	c->username = strdup(plain);
	c->password = strdup(colon + 1);
	explicit_bzero(plain, (size_t)len);
	if (c->username == NULL || c->password == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
take_entry(struct json_object *entry, struct credentials *c,
    struct imgd_error **err)
{
	struct json_object *v;

	if (json_object_object_get_ex(entry, "identitytoken", &v) &&
	    json_object_get_string_len(v) > 0) {
		c->identity_token = strdup(json_object_get_string(v));
		return c->identity_token != NULL
		    ? 0
		    : imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (json_object_object_get_ex(entry, "auth", &v) &&
	    json_object_get_string_len(v) > 0)
		return decode_auth(json_object_get_string(v), c, err);
	return 0;
}

/* The helper for domain: its own, else the one for all; NULL: none. */
static const char *
find_helper(struct json_object *o, const char *domain, const char *key)
{
	struct json_object *helpers, *v;

	if (json_object_object_get_ex(o, "credHelpers", &helpers) &&
	    json_object_is_type(helpers, json_type_object) &&
	    (json_object_object_get_ex(helpers, domain, &v) ||
		json_object_object_get_ex(helpers, key, &v)) &&
	    json_object_is_type(v, json_type_string))
		return json_object_get_string(v);
	if (json_object_object_get_ex(o, "credsStore", &v) &&
	    json_object_is_type(v, json_type_string) &&
	    json_object_get_string_len(v) > 0)
		return json_object_get_string(v);
	return NULL;
}

static int
find(const char *path, const char *domain, struct credentials *c,
    struct imgd_error **err)
{
	const char *key = strcmp(domain, REFERENCE_DEFAULT_DOMAIN) == 0
	    ? HUB_KEY
	    : domain;
	const char *helper;
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *text = NULL;
	struct json_object *auths, *entry;
	size_t len = 0;
	int r;

	r = fs_read_file(AT_FDCWD, path, CONFIG_MAX_BYTES, &text, &len, err);
	if (r >= 0)
		r = json_scan(text, len, err);
	if (r < 0)
		return r;
	o = json_tokener_parse(text);
	explicit_bzero(text, len);
	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, EINVAL, "not a JSON object");
	helper = find_helper(o, domain, key);
	if (helper != NULL)
		return credential_helper_get(helper, key, c, err);
	if (!json_object_object_get_ex(o, "auths", &auths) ||
	    !json_object_is_type(auths, json_type_object))
		return 0;
	entry = find_entry(auths, domain);
	return entry != NULL ? take_entry(entry, c, err) : 0;
}

int
credentials_find(const char *reference, struct credentials *ret,
    struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup(credentials_done) struct credentials c = { 0 };
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *path = config_path();
	int r;

	/* A name that is none is the job's to complain about. */
	if (path == NULL || reference_parse(reference, 0, &ref, NULL) < 0)
		return 0;
	r = find(path, ref.domain, &c, &e);
	if (r == -ENOENT || r == -EACCES || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s: %s", path,
		    imgd_error_msg(e));
	*ret = c;
	c = (struct credentials) { 0 };
	return 0;
}
