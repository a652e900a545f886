/* What is known of a store as a whole. */
#ifndef CORE_INFO_H
#define CORE_INFO_H

#include <json-c/json.h>

#include "core/store.h"

/* The object that `imgd info` shows; *ret is a new reference. */
int info_gather(struct store *s, struct json_object **ret,
    struct imgd_error **err);

#endif
