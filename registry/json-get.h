/*
 * Reading members of documents from outside with json-c, after json_scan().
 *
 * A member that is absent or null is no error and leaves the output alone or
 * NULL; one of another type is -IMGD_E_FORMAT with the member's name.
 */
#ifndef REGISTRY_JSON_GET_H
#define REGISTRY_JSON_GET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "imgd/error.h"
#include "lib/cleanup-json.h"

/* Scan and parse a JSON object; free with json_object_put(). */
int json_get_root(const void *data, size_t len, struct json_object **ret,
    struct imgd_error **err);
/* Likewise an array. */
int json_get_root_array(const void *data, size_t len, struct json_object **ret,
    struct imgd_error **err);

/* Borrowed from o; no string with a NUL inside is let through. */
int json_get_str(struct json_object *o, const char *key, const char **ret,
    struct imgd_error **err);
/* As json_get_str, but a malloc'ed copy. */
int json_get_str_dup(struct json_object *o, const char *key, char **ret,
    struct imgd_error **err);
/* 0 … INT64_MAX.  *ret_found may be NULL: then the member is required. */
int json_get_u64(struct json_object *o, const char *key, uint64_t *ret,
    bool *ret_found, struct imgd_error **err);
int json_get_bool(struct json_object *o, const char *key, bool *ret,
    struct imgd_error **err);
int json_get_object(struct json_object *o, const char *key,
    struct json_object **ret, struct imgd_error **err);
int json_get_array(struct json_object *o, const char *key,
    struct json_object **ret, struct imgd_error **err);
/* The array's element i, a string without NUL; "what" names it in errors. */
int json_get_element_str(struct json_object *array, size_t i,
    const char *what, const char **ret, struct imgd_error **err);
/* Whether the member is there and not null. */
bool json_has(struct json_object *o, const char *key);

#endif
