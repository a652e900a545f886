/* Changes to an image's settings, written as in a Dockerfile. */
#ifndef CORE_CONFIG_CHANGE_H
#define CORE_CONFIG_CHANGE_H

#include <json-c/json.h>
#include <stdbool.h>

#include "imgd/error.h"

struct config_change {
	struct json_object *config; /* the object "config"; borrowed */
	bool has_cmd;               /* a change has set it */
	struct json_object *env;    /* while one is made; else NULL */
};

/*
 * Apply one instruction: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
 * ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR, in any case.  Variables of the
 * config's environment are expanded where docker build does it.
 * -EINVAL for what is none or is malformed; then config is half changed.
 * Source: moby builder/dockerfile/dispatchers.go.
 */
int config_change(struct config_change *c, const char *line,
    struct imgd_error **err);

/* All lines of a text; empty ones are passed over. */
int config_change_all(struct config_change *c, const char *lines,
    struct imgd_error **err);

#endif
