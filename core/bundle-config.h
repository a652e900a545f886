/* An image's settings as the config.json of an OCI runtime bundle. */
#ifndef CORE_BUNDLE_CONFIG_H
#define CORE_BUNDLE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "core/image-user.h"
#include "registry/manifest.h"

struct bundle_words {
	const char *hostname;
	const char *const *command; /* instead of Cmd; ended by NULL */
	bool has_terminal;
};

/* The image's setting "User"; "" if there is none.  *ret is malloc'ed. */
int bundle_user(const struct image_config *image, char **ret,
    struct imgd_error **err);

/*
 * Make the config.json, whose root is "rootfs" beside it.
 *
 * What the image says becomes process and annotations, as image-spec's
 * conversion.md has it; what it does not say is as Docker has it: mounts,
 * namespaces, capabilities, and what of /proc and /sys is hidden.
 * ret: malloc'ed.
 */
int bundle_config(const struct image_config *image,
    const struct image_user *user, const struct bundle_words *w, char **ret,
    struct imgd_error **err);

#endif
