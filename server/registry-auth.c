#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/cleanup.h"
#include "lib/cleanup-json.h"
#include "lib/json-scan.h"
#include "server/registry-auth.h"

static void
wipe(char **s)
{
	if (*s != NULL)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void
registry_auth_done(struct registry_auth *a)
{
	wipe(&a->username);
	wipe(&a->password);
	wipe(&a->identity_token);
	wipe(&a->registry_token);
	wipe(&a->server);
}

/* A member's text; null, as docker-py sends it, is none. */
static int
take(struct json_object *o, const char *key, char **ret,
    struct imgd_error **err)
{
	struct json_object *v = NULL;

	if (!json_object_object_get_ex(o, key, &v) || v == NULL)
		return 0;
	if (!json_object_is_type(v, json_type_string))
		return imgd_error_set(err, EINVAL, "%s: not a string", key);
	*ret = strdup(json_object_get_string(v));
	if (*ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

int
registry_auth_parse(const char *json, size_t len, struct registry_auth *ret,
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	cleanup_error struct imgd_error *why = NULL;
	int r;

	if (json_scan(json, len, &why) < 0)
		return imgd_error_set(err, EINVAL, "credentials: %s",
		    imgd_error_msg(why));
	o = json_tokener_parse(json);
	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, EINVAL,
		    "credentials: not an object");
	r = take(o, "username", &ret->username, err);
	if (r >= 0)
		r = take(o, "password", &ret->password, err);
	if (r >= 0)
		r = take(o, "identitytoken", &ret->identity_token, err);
	if (r >= 0)
		r = take(o, "registrytoken", &ret->registry_token, err);
	if (r >= 0)
		r = take(o, "serveraddress", &ret->server, err);
	return r;
}

/* Both alphabets, with padding or without, as the strict form. */
static char *
normalise(const char *text)
{
	size_t i, len = strcspn(text, "=");
	char *s = calloc(1, len + 4);

	for (i = 0; s != NULL && i < len; i++)
		s[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	for (; s != NULL && i % 4 != 0; i++)
		s[i] = '=';
	return s;
}

void
registry_auth_decode(const char *header, struct registry_auth *ret)
{
	char *text = NULL, *strict;
	size_t len = 0;

	if (header == NULL)
		return;
	strict = normalise(header);
	if (strict != NULL &&
	    base64_decode(strict, (void **)&text, &len, NULL) >= 0 &&
	    registry_auth_parse(text, len, ret, NULL) < 0)
		registry_auth_done(ret);
	wipe(&strict);
	if (text != NULL)
		explicit_bzero(text, len);
	free(text);
}
