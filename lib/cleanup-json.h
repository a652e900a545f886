/* Cleanup attribute for json-c's objects. */
#ifndef LIB_CLEANUP_JSON_H
#define LIB_CLEANUP_JSON_H

#include <json-c/json.h>

#include "lib/cleanup.h"

static inline void
json_putp(struct json_object **o)
{
	(void)json_object_put(*o);
}
#define cleanup_json cleanup(json_putp)

#endif
