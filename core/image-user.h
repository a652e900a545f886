/* Whom an image's setting "User" means, by the image's own files. */
#ifndef CORE_IMAGE_USER_H
#define CORE_IMAGE_USER_H

#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/limits.h"

struct image_user {
	uint32_t uid, gid;
	uint32_t groups[LIMIT_USER_GROUPS]; /* further ones */
	size_t n_groups;
};

/*
 * Find USER[:GROUP], each a name or a number.
 *
 * spec: "" is number 0.  passwd, groups: the texts of /etc/passwd and
 * /etc/group; NULL: there is none.  Lines that are none are passed over.
 * -ENOENT for a name that is not there; -EINVAL for a number that is none;
 * -IMGD_E_LIMIT for more groups than there is room for.
 * Source: moby/sys/user GetExecUser.
 */
int image_user_find(const char *spec, const char *passwd, const char *groups,
    struct image_user *ret, struct imgd_error **err);

/* The same with the files below tree_fd, whose links stay inside. */
int image_user_read(int tree_fd, const char *spec, struct image_user *ret,
    struct imgd_error **err);

#endif
