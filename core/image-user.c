#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/image-user.h"
#include "lib/beneath.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

/* The kernel's -1 is no user, and moby takes nothing above this. */
#define MAX_ID     0x7fffffffu
#define MAX_FIELDS 7

/* One line, cut at its colons; it has no other end. */
struct line {
	char *text; /* owned */
	const char *fields[MAX_FIELDS];
	size_t n;
};

static void
line_done(struct line *l)
{
	free(l->text);
	l->text = NULL;
}

/* Take the next line off *s: 1, or 0 at the end. */
static int
next_line(const char **s, struct line *l, struct imgd_error **err)
{
	size_t len = strcspn(*s, "\n");
	char *p;

	line_done(l);
	if (**s == '\0')
		return 0;
	l->text = strndup(*s, len);
	if (l->text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*s += len + ((*s)[len] == '\n');
	for (l->n = 0, p = l->text; p != NULL && l->n < MAX_FIELDS;) {
		l->fields[l->n++] = strsep(&p, ":");
	}
	return 1;
}

static bool
to_id(const char *s, uint32_t *ret)
{
	uint64_t v;

	if (!str_to_u64(s, MAX_ID, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool
is_number(const char *s)
{
	return *s != '\0' && s[strspn(s, "0123456789")] == '\0';
}

static int
number(const char *what, const char *s, uint32_t *ret, struct imgd_error **err)
{
	return to_id(s, ret) ? 0
			     : imgd_error_set(err, EINVAL,
				   "%s %s: not between 0 and %u", what, s,
				   MAX_ID);
}

/* Fill uid, gid and, if there is one, the name. */
static int
find_user(const char *user, const char *passwd, struct image_user *ret,
    char **ret_name, struct imgd_error **err)
{
	cleanup(line_done) struct line l = { .text = NULL };
	bool is_id = is_number(user);
	uint32_t wanted = 0, uid, gid;
	int r = 0;

	if (is_id)
		r = number("user", user, &wanted, err);
	while (r >= 0 && passwd != NULL &&
	    (r = next_line(&passwd, &l, err)) > 0) {
		if (l.n < 4 || !to_id(l.fields[2], &uid) ||
		    !to_id(l.fields[3], &gid) ||
		    (is_id ? uid != wanted : strcmp(l.fields[0], user) != 0))
			continue;
		ret->uid = uid;
		ret->gid = gid;
		*ret_name = strdup(l.fields[0]);
		return *ret_name != NULL
		    ? 0
		    : imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (r < 0)
		return r;
	if (!is_id)
		return imgd_error_set(err, ENOENT,
		    "user %s: not in the image's /etc/passwd", user);
	ret->uid = wanted;
	return 0;
}

static int
find_group(const char *group, const char *groups, struct image_user *ret,
    struct imgd_error **err)
{
	cleanup(line_done) struct line l = { .text = NULL };
	bool is_id = is_number(group);
	uint32_t gid;
	int r = 0;

	if (is_id)
		return number("group", group, &ret->gid, err);
	while (groups != NULL && (r = next_line(&groups, &l, err)) > 0) {
		if (l.n < 3 || strcmp(l.fields[0], group) != 0 ||
		    !to_id(l.fields[2], &gid))
			continue;
		ret->gid = gid;
		return 0;
	}
	return r < 0 ? r
		     : imgd_error_set(err, ENOENT,
			   "group %s: not in the image's /etc/group", group);
}

/* The groups that the user of that name is a member of. */
static int
find_memberships(const char *name, const char *groups, struct image_user *ret,
    struct imgd_error **err)
{
	cleanup(line_done) struct line l = { .text = NULL };
	uint32_t gid;
	int r = 0;

	while (groups != NULL && (r = next_line(&groups, &l, err)) > 0) {
		if (l.n < 4 || !to_id(l.fields[2], &gid) ||
		    !str_csv_has(l.fields[3], name))
			continue;
		if (ret->n_groups == LIMIT_USER_GROUPS)
			return imgd_error_set(err, IMGD_E_LIMIT,
			    "user %s is in more than %d groups", name,
			    LIMIT_USER_GROUPS);
		ret->groups[ret->n_groups++] = gid;
	}
	return r;
}

int
image_user_find(const char *spec, const char *passwd, const char *groups,
    struct image_user *ret, struct imgd_error **err)
{
	cleanup_free char *user = strdup(*spec != '\0' ? spec : "0");
	struct image_user found = { .uid = 0 };
	cleanup_free char *name = NULL;
	char *group;
	int r;

	if (user == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	group = strchr(user, ':');
	if (group != NULL)
		*group++ = '\0';
	r = find_user(*user != '\0' ? user : "0", passwd, &found, &name, err);
	if (r >= 0 && group != NULL && *group != '\0')
		r = find_group(group, groups, &found, err);
	else if (r >= 0 && name != NULL)
		r = find_memberships(name, groups, &found, err);
	if (r < 0)
		return r;
	*ret = found;
	return 0;
}

/* NULL if there is none. */
static int
read_text(int tree_fd, const char *path, char **ret, struct imgd_error **err)
{
	int r = beneath_read_in_root(tree_fd, path, LIMIT_PASSWD_BYTES, ret,
	    err);

	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		(void)imgd_error_prefix(err, "in the image");
	if (r != -ENOENT && r != -ENOTDIR)
		return r;
	if (err != NULL) {
		imgd_error_free(*err);
		*err = NULL;
	}
	*ret = NULL;
	return 0;
}

int
image_user_read(int tree_fd, const char *spec, struct image_user *ret,
    struct imgd_error **err)
{
	cleanup_free char *passwd = NULL, *groups = NULL;
	int r;

	r = read_text(tree_fd, "/etc/passwd", &passwd, err);
	if (r >= 0)
		r = read_text(tree_fd, "/etc/group", &groups, err);
	return r < 0 ? r : image_user_find(spec, passwd, groups, ret, err);
}
