#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "core/trusted-xattrs.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

#define LIST_BYTES   XATTR_LIST_MAX
#define OPAQUE_XATTR "trusted.overlay.opaque"

static int
refuse(const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_PROTOCOL,
	    "unpacker: refused to set %s", what);
}

static int
fail(const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "%s: %s", what, strerror(errno));
}

/* In a user namespace there are none. */
static bool
is_refused(void)
{
	return errno == EPERM || errno == EOPNOTSUPP;
}

int
trusted_set(struct message *m, dev_t dev, struct imgd_error **err)
{
	const char *name = message_get_str(m);
	size_t len;
	const void *value = message_get_bytes(m, &len);
	cleanup_close int fd = message_get_fd(m);
	bool is_opaque = strcmp(name, OPAQUE_XATTR) == 0;
	struct stat st;
	int r;

	r = message_end(m, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || st.st_dev != dev ||
	    !str_starts(name, "trusted.") || len > LIMIT_XATTRS_BYTES ||
	    (str_starts(name, "trusted.overlay.") &&
		(!is_opaque || !S_ISDIR(st.st_mode))))
		return refuse(name, err);
	if (fs_set_trusted(fd, name, value, len) < 0 &&
	    (is_opaque || !is_refused()))
		return fail(name, err);
	return 0;
}

/* ---- as another has them ---- */

struct list {
	char *names; /* each with its NUL */
	ssize_t len;
};

static void
list_done(struct list *l)
{
	free(l->names);
}

static bool
is_ours(const char *name)
{
	return str_starts(name, "trusted.") &&
	    !str_starts(name, "trusted.overlay.");
}

static int
read_list(const char *path, struct list *ret, struct imgd_error **err)
{
	ret->len = 0;
	ret->names = malloc(LIST_BYTES);
	if (ret->names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	ret->len = listxattr(path, ret->names, LIST_BYTES);
	if (ret->len >= 0)
		return 0;
	ret->len = 0;
	return is_refused() ? 0 : fail("list attributes", err);
}

static int
remove_all(const char *path, struct imgd_error **err)
{
	cleanup(list_done) struct list l;
	ssize_t at;
	int r = read_list(path, &l, err);

	for (at = 0; r >= 0 && at < l.len;
	     at += (ssize_t)strlen(l.names + at) + 1)
		if (is_ours(l.names + at) &&
		    removexattr(path, l.names + at) < 0 && !is_refused())
			r = fail(l.names + at, err);
	return r;
}

static int
copy_one(const char *from, const char *to, const char *name, char *value,
    struct imgd_error **err)
{
	ssize_t len = getxattr(from, name, value, XATTR_SIZE_MAX);

	if (len < 0 || setxattr(to, name, value, (size_t)len, 0) < 0)
		return is_refused() ? 0 : fail(name, err);
	return 0;
}

static int
copy_all(const char *from, const char *to, struct imgd_error **err)
{
	cleanup_free char *value = NULL;
	cleanup(list_done) struct list l;
	ssize_t at;
	int r = read_list(from, &l, err);

	for (at = 0; r >= 0 && at < l.len;
	     at += (ssize_t)strlen(l.names + at) + 1) {
		if (!is_ours(l.names + at))
			continue;
		if (value == NULL)
			value = malloc(XATTR_SIZE_MAX);
		if (value == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		r = copy_one(from, to, l.names + at, value, err);
	}
	return r;
}

int
trusted_match(struct message *m, dev_t dev, struct imgd_error **err)
{
	bool has_from = message_get_u32(m) != 0;
	cleanup_close int fd = message_get_fd(m);
	cleanup_close int from_fd = has_from ? message_get_fd(m) : -EBADF;
	char path[32], from_path[32];
	struct stat st;
	int r;

	r = message_end(m, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || st.st_dev != dev)
		return refuse("attributes", err);
	/* Descriptors may be path-only, which only these calls take. */
	r = remove_all(fs_fd_path(fd, path), err);
	if (r >= 0 && has_from)
		r = copy_all(fs_fd_path(from_fd, from_path), path, err);
	return r;
}
