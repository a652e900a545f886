/* What is known of images, in the shapes that Docker's users know. */
#ifndef CORE_INSPECT_H
#define CORE_INSPECT_H

#include <json-c/json.h>

#include "core/store.h"

/* The object of `docker inspect IMAGE`, with "Drivers" added.  id: an image's
 * id; *ret is a new reference. */
int inspect_image(struct store *s, const char *id, struct json_object **ret,
    struct imgd_error **err);

/* The array of `docker history`: Id, Created (seconds), CreatedBy, Size,
 * Comment, Tags; newest first. */
int inspect_history(struct store *s, const char *id,
    struct json_object **ret, struct imgd_error **err);

/* Seconds since the epoch of an RFC 3339 time; 0 if it is none. */
int64_t inspect_time(const char *rfc3339);

#endif
