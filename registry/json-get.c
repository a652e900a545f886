#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/json-scan.h"
#include "lib/limits.h"
#include "registry/json-get.h"

static int
parse(const void *data, size_t len, enum json_type type, const char *what,
    struct json_object **ret, struct imgd_error **err)
{
	struct json_tokener *tok;
	struct json_object *o;
	int r;

	r = json_scan(data, len, err);
	if (r < 0)
		return r;
	/* json_scan has counted: json-c need not. */
	tok = json_tokener_new_ex(LIMIT_JSON_DEPTH + 1);
	if (tok == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	o = json_tokener_parse_ex(tok, data, (int)len);
	json_tokener_free(tok);
	if (!json_object_is_type(o, type)) {
		json_object_put(o);
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "bad JSON: %s is expected", what);
	}
	*ret = o;
	return 0;
}

int
json_get_root(const void *data, size_t len, struct json_object **ret,
    struct imgd_error **err)
{
	return parse(data, len, json_type_object, "an object", ret, err);
}

int
json_get_root_array(const void *data, size_t len, struct json_object **ret,
    struct imgd_error **err)
{
	return parse(data, len, json_type_array, "an array", ret, err);
}

static int
wrong_type(const char *key, const char *type, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_FORMAT, "\"%s\" is not %s", key,
	    type);
}

static struct json_object *
member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return v;
}

bool
json_has(struct json_object *o, const char *key)
{
	return member(o, key) != NULL;
}

static int
string_of(struct json_object *v, const char *key, const char **ret,
    struct imgd_error **err)
{
	const char *s;

	if (!json_object_is_type(v, json_type_string))
		return wrong_type(key, "a string", err);
	s = json_object_get_string(v);
	if (strlen(s) != (size_t)json_object_get_string_len(v))
		return imgd_error_set(err, IMGD_E_FORMAT, "\"%s\" has a NUL",
		    key);
	*ret = s;
	return 0;
}

int
json_get_str(struct json_object *o, const char *key, const char **ret,
    struct imgd_error **err)
{
	struct json_object *v = member(o, key);

	if (v == NULL) {
		*ret = NULL;
		return 0;
	}
	return string_of(v, key, ret, err);
}

int
json_get_str_dup(struct json_object *o, const char *key, char **ret,
    struct imgd_error **err)
{
	const char *s;
	int r;

	r = json_get_str(o, key, &s, err);
	if (r < 0)
		return r;
	if (s == NULL) {
		*ret = NULL;
		return 0;
	}
	*ret = strdup(s);
	if (*ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

int
json_get_u64(struct json_object *o, const char *key, uint64_t *ret,
    bool *ret_found, struct imgd_error **err)
{
	struct json_object *v = member(o, key);
	int64_t n;

	if (v == NULL) {
		if (ret_found == NULL)
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "\"%s\" is missing", key);
		*ret_found = false;
		return 0;
	}
	if (!json_object_is_type(v, json_type_int))
		return wrong_type(key, "an integer", err);
	n = json_object_get_int64(v);
	/* json-c gives the nearest it can hold for what is too large. */
	if (n < 0 || n == INT64_MAX)
		return wrong_type(key, "a sensible number", err);
	*ret = (uint64_t)n;
	if (ret_found != NULL)
		*ret_found = true;
	return 0;
}

int
json_get_bool(struct json_object *o, const char *key, bool *ret,
    struct imgd_error **err)
{
	struct json_object *v = member(o, key);

	if (v == NULL)
		return 0;
	if (!json_object_is_type(v, json_type_boolean))
		return wrong_type(key, "true or false", err);
	*ret = json_object_get_boolean(v);
	return 0;
}

int
json_get_object(struct json_object *o, const char *key,
    struct json_object **ret, struct imgd_error **err)
{
	struct json_object *v = member(o, key);

	if (v != NULL && !json_object_is_type(v, json_type_object))
		return wrong_type(key, "an object", err);
	*ret = v;
	return 0;
}

int
json_get_array(struct json_object *o, const char *key,
    struct json_object **ret, struct imgd_error **err)
{
	struct json_object *v = member(o, key);

	if (v != NULL && !json_object_is_type(v, json_type_array))
		return wrong_type(key, "an array", err);
	*ret = v;
	return 0;
}

int
json_get_element_str(struct json_object *array, size_t i, const char *what,
    const char **ret, struct imgd_error **err)
{
	return string_of(json_object_array_get_idx(array, i), what, ret, err);
}
