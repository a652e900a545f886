/* What the manifest and config parsers share. */
#ifndef REGISTRY_MANIFEST_IMPL_H
#define REGISTRY_MANIFEST_IMPL_H

#include <json-c/json.h>

#include "registry/manifest.h"

/* The members "os", "architecture" and "variant" of o. */
int manifest_get_platform(struct json_object *o, struct platform *ret,
    struct imgd_error **err);

#endif
