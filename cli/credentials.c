#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "cli/credentials.h"
#include "lib/cleanup.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

void
credentials_done(struct credentials *c)
{
	free(c->username);
	free_secret(c->password);
	free_secret(c->identity_token);
	*c = (struct credentials) { 0 };
}

/* ---- entries ---- */

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

/* podman may have one for each path: the longest that name begins with. */
static struct json_object *
find_longest(struct json_object *auths, const char *name)
{
	struct json_object *best = NULL;
	size_t best_len = 0, n;

	json_object_object_foreach(auths, key, value) {
		n = strlen(key);
		if (n > best_len && strncmp(name, key, n) == 0 &&
		    (name[n] == '\0' || name[n] == '/')) {
			best = value;
			best_len = n;
		}
	}
	return best;
}

static struct json_object *
find_entry(struct json_object *auths, const char *domain, const char *name)
{
	struct json_object *v = find_longest(auths, name);
	const char *host;
	size_t n;

	if (v != NULL ||
	    json_object_object_get_ex(auths, credential_key(domain), &v))
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

/* ---- files ---- */

static bool
is_empty(const struct credentials *c)
{
	return c->username == NULL && c->identity_token == NULL;
}

static int
find_in(const char *path, const char *domain, const char *name,
    struct credentials *c, struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *auths, *entry;
	const char *helper;
	int r;

	r = credential_file_read(path, &o, err);
	if (r < 0)
		return r;
	helper = credential_file_helper(o, domain);
	if (helper != NULL)
		return credential_helper_get(helper, credential_key(domain),
		    c, err);
	/* Before there was a config.json the entries were all there was. */
	if (!json_object_object_get_ex(o, "auths", &auths))
		auths = str_ends(path, "/.dockercfg") ? o : NULL;
	if (!json_object_is_type(auths, json_type_object))
		return 0;
	entry = find_entry(auths, domain, name);
	return entry != NULL ? take_entry(entry, c, err) : 0;
}

/* PATH of "$variable/rest", or NULL if the variable is not set. */
static char *
below(const char *variable, const char *rest)
{
	const char *dir = getenv(variable);
	char *path;

	if (dir == NULL || *dir == '\0' ||
	    asprintf(&path, "%s%s", dir, rest) < 0)
		return NULL;
	return path;
}

/* podman's directory for a user that has no XDG_RUNTIME_DIR. */
static char *
run_path(void)
{
	char *path;

	if (getenv("XDG_RUNTIME_DIR") != NULL ||
	    asprintf(&path, "/run/containers/%u/auth.json",
		(unsigned int)geteuid()) < 0)
		return NULL;
	return path;
}

static int
find(const char *domain, const char *name, struct credentials *c,
    struct imgd_error **err)
{
	char *paths[] = {
		below("REGISTRY_AUTH_FILE", ""),
		credential_file_path(),
		below("XDG_RUNTIME_DIR", "/containers/auth.json"),
		run_path(),
		below("XDG_CONFIG_HOME", "/containers/auth.json"),
		below("HOME", "/.config/containers/auth.json"),
		below("HOME", "/.dockercfg"),
	};
	const size_t n = sizeof(paths) / sizeof(paths[0]);
	size_t i;
	int r = 0;

	for (i = 0; i < n && r >= 0 && is_empty(c); i++) {
		cleanup_error struct imgd_error *e = NULL;

		if (paths[i] == NULL)
			continue;
		r = find_in(paths[i], domain, name, c, &e);
		if (r == -ENOENT || r == -EACCES || r == -ENOTDIR)
			r = 0;
		else if (r < 0)
			r = imgd_error_set(err, -r, "%s: %s", paths[i],
			    imgd_error_msg(e));
	}
	for (i = 0; i < n; i++)
		free(paths[i]);
	return r;
}

int
credentials_find(const char *reference, struct credentials *ret,
    struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup(credentials_done) struct credentials c = { 0 };
	cleanup_free char *name = NULL;
	int r;

	/* A name that is none is the job's to complain about. */
	if (reference_parse(reference, 0, &ref, NULL) < 0)
		return 0;
	name = reference_name(&ref);
	if (name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = find(ref.domain, name, &c, err);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct credentials) { 0 };
	return 0;
}

/* ---- storing ---- */

static int
prefix_path(const char *path, const struct imgd_error *e, int r,
    struct imgd_error **err)
{
	return imgd_error_set(err, -r, "%s: %s", path, imgd_error_msg(e));
}

/* The file's object, or a new one; *ret_path is malloc'ed. */
static int
open_file(char **ret_path, struct json_object **ret, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *path = credential_file_path();
	int r;

	if (path == NULL)
		return imgd_error_set(err, ENOENT,
		    "neither DOCKER_CONFIG nor HOME is set");
	r = credential_file_read(path, ret, &e);
	if (r == -ENOENT) {
		*ret = json_object_new_object();
		r = *ret != NULL ? 0 : imgd_error_set(&e, ENOMEM,
					   "out of memory");
	}
	if (r < 0)
		return prefix_path(path, e, r, err);
	*ret_path = take_ptr(&path);
	return 0;
}

/* base64 of "USER:PASSWORD", malloc'ed; with an identity token no password is
 * kept. */
static char *
encode_auth(const struct credentials *c)
{
	cleanup_free char *plain = NULL;
	char *coded;
	int n;

	n = asprintf(&plain, "%s:%s", c->username,
	    c->identity_token != NULL ? "" : c->password);
	if (n < 0) {
		plain = NULL;
		return NULL;
	}
	coded = malloc(4 * ((size_t)n / 3 + 1) + 1);
	if (coded != NULL)
		(void)EVP_EncodeBlock((unsigned char *)coded,
		    (const unsigned char *)plain, n);
	explicit_bzero(plain, (size_t)n);
	return coded;
}

static int
add_entry(struct json_object *o, const char *key,
    const struct credentials *c, struct imgd_error **err)
{
	struct json_object *auths, *entry = json_object_new_object();
	cleanup_free char *auth = encode_auth(c);

	if (!json_object_object_get_ex(o, "auths", &auths) ||
	    !json_object_is_type(auths, json_type_object)) {
		auths = json_object_new_object();
		(void)json_object_object_add(o, "auths", auths);
	}
	if (auths == NULL || entry == NULL || auth == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	(void)json_object_object_add(entry, "auth",
	    json_object_new_string(auth));
	explicit_bzero(auth, strlen(auth));
	if (c->identity_token != NULL)
		(void)json_object_object_add(entry, "identitytoken",
		    json_object_new_string(c->identity_token));
	(void)json_object_object_add(auths, key, entry);
	return 0;
}

int
credentials_store(const char *domain, const struct credentials *c,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_json struct json_object *o = NULL;
	const char *key = credential_key(domain), *helper;
	cleanup_free char *path = NULL;
	int r;

	r = open_file(&path, &o, err);
	if (r < 0)
		return r;
	helper = credential_file_helper(o, domain);
	if (helper != NULL)
		return credential_helper_store(helper, key, c, err);
	r = add_entry(o, key, c, &e);
	if (r >= 0)
		r = credential_file_write(path, o, &e);
	return r < 0 ? prefix_path(path, e, r, err) : 0;
}

int
credentials_erase(const char *domain, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_json struct json_object *o = NULL;
	const char *key = credential_key(domain), *helper;
	cleanup_free char *path = NULL;
	struct json_object *auths;
	int r, n_erased = 0;

	r = open_file(&path, &o, err);
	if (r < 0)
		return r;
	helper = credential_file_helper(o, domain);
	if (helper != NULL) {
		r = credential_helper_erase(helper, key, err);
		if (r < 0)
			return r;
		n_erased = r;
	}
	if (!json_object_object_get_ex(o, "auths", &auths) ||
	    !json_object_is_type(auths, json_type_object) ||
	    !json_object_object_get_ex(auths, key, NULL))
		return n_erased;
	json_object_object_del(auths, key);
	r = credential_file_write(path, o, &e);
	return r < 0 ? prefix_path(path, e, r, err) : 1;
}
