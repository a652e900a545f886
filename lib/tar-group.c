/*
 * Hard link groups of the parent, of which a layer links one name again.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "lib/tar-tree.h"

/* A search of the parent's tree for the names of one file; st is NULL: a look
 * at every name there is. */
struct search {
	struct tar_tree *tree;
	const struct stat *st; /* of the file, there */
	int dir_fd;            /* where its copy is, under base */
	const char *base;
	uint64_t n_found;
	struct strbuf todo; /* directories' paths, each with its NUL */
};

static int
fail_errno(struct imgd_error **err, const char *path)
{
	return imgd_error_set(err, errno, "parent layer: %s: %s", path,
	    strerror(errno));
}

static int
push(struct search *s, const char *path, size_t len, struct imgd_error **err)
{
	strbuf_append(&s->todo, path, len + 1);
	return s->todo.is_failed ?
	    imgd_error_set(err, ENOMEM, "out of memory") : 0;
}

static bool
pop(struct search *s, char path[LIMIT_PATH_BYTES + 1])
{
	const char *data = s->todo.data;
	size_t at;

	if (s->todo.len == 0)
		return false;
	for (at = s->todo.len - 1; at > 0 && data[at - 1] != '\0'; at--)
		;
	memcpy(path, data + at, s->todo.len - at);
	s->todo.len = at;
	return true;
}

/* The parent calls the file name in lower, too: so does this layer, unless it
 * hides that name or has its own. */
static int
link_name(struct search *s, const struct tar_dir *lower, const char *name,
    struct imgd_error **err)
{
	struct tar_tree *t = s->tree;
	struct tar_dir dir = { .fd = -EBADF };
	char path[LIMIT_PATH_BYTES + 1];
	cleanup_close int fd = -EBADF;
	size_t len;
	int r;

	/* Whether the parent shows through here. */
	r = tree_lower_dir(t, lower->path, lower->len, &fd, err);
	if (r <= 0)
		return r;
	r = tree_find_dir(t, lower->path, lower->len, &dir, err);
	if (r <= 0)
		return r;
	r = 0;
	if (strcmp(dir.path, lower->path) == 0 &&
	    !tree_is_whited_out(t, &dir, name, NULL)) {
		if (linkat(s->dir_fd, s->base, dir.fd, name, 0) < 0)
			r = errno == EEXIST ? 0 : fail_errno(err, name);
		else if ((r = tree_join(&dir, name, path, &len, err)) >= 0)
			r = tree_tag(t, TAG_COPIED, path, len, err);
	}
	close_fd(&dir.fd);
	return r;
}

static int
look_at(struct search *s, const struct tar_dir *lower, const char *name,
    struct imgd_error **err)
{
	char path[LIMIT_PATH_BYTES + 1];
	struct stat st;
	size_t len;
	int r;

	if (s->st != NULL && ++s->tree->n_searched > LIMIT_LINK_SEARCH)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "the search for hard links of the parent layer exceeds "
		    "%d names", LIMIT_LINK_SEARCH);
	if (fstatat(lower->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(err, name);
	if (S_ISDIR(st.st_mode)) {
		r = tree_join(lower, name, path, &len, err);
		return r < 0 ? r : push(s, path, len, err);
	}
	if (s->st == NULL || st.st_ino != s->st->st_ino ||
	    st.st_dev != s->st->st_dev)
		return 0;
	s->n_found++;
	return link_name(s, lower, name, err);
}

static int
search_dir(struct search *s, int parent_fd, const char *path,
    struct imgd_error **err)
{
	cleanup_closedir DIR *d = NULL;
	struct tar_dir lower = { .len = strlen(path) };
	struct dirent *de;
	int r;

	memcpy(lower.path, path, lower.len + 1);
	lower.fd = tree_open(parent_fd, path);
	if (lower.fd < 0)
		return imgd_error_set(err, -lower.fd, "parent layer: %s: %s",
		    path, strerror(-lower.fd));
	d = fdopendir(lower.fd);
	if (d == NULL) {
		r = fail_errno(err, path);
		(void)close(lower.fd);
		return r;
	}
	while (errno = 0, (de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		r = look_at(s, &lower, de->d_name, err);
		if (r < 0)
			return r;
	}
	return errno != 0 ? fail_errno(err, path) : 0;
}

/* A filesystem in user space may count only those names that it was asked
 * for: fuse-overlayfs does.  Ask for each, once. */
static int
make_links_count(struct tar_tree *t, struct imgd_error **err)
{
	struct search s = { .tree = t, .todo = STRBUF_INIT };
	char path[LIMIT_PATH_BYTES + 1];
	int parent_fd = tree_parent(t, /* for_root= */ false, err);
	struct statfs fs;
	int r;

	if (parent_fd < 0)
		return parent_fd;
	if (fstatfs(parent_fd, &fs) < 0)
		return fail_errno(err, "/");
	r = fs.f_type == FUSE_SUPER_MAGIC ? push(&s, "", 0, err) : 0;
	while (r >= 0 && pop(&s, path))
		r = search_dir(&s, parent_fd, path, err);
	strbuf_done(&s.todo);
	t->has_true_links = r >= 0;
	return r < 0 ? r : 0;
}

int
group_stat(struct tar_tree *t, int lower_fd, const char *base,
    struct stat *ret, struct imgd_error **err)
{
	if (!t->has_true_links) {
		int r = make_links_count(t, err);

		if (r < 0)
			return r;
	}
	if (fstatat(lower_fd, base, ret, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : fail_errno(err, base);
}

int
group_copy_up(struct tar_tree *t, const struct stat *lower_st, int dir_fd,
    const char *base, struct imgd_error **err)
{
	struct search s = {
		.tree = t,
		.st = lower_st,
		.dir_fd = dir_fd,
		.base = base,
		.todo = STRBUF_INIT,
	};
	char path[LIMIT_PATH_BYTES + 1];
	int parent_fd = tree_parent(t, /* for_root= */ false, err);
	int r = parent_fd < 0 ? parent_fd : push(&s, "", 0, err);

	while (r >= 0 && s.n_found < lower_st->st_nlink && pop(&s, path))
		r = search_dir(&s, parent_fd, path, err);
	strbuf_done(&s.todo);
	return r < 0 ? r : 0;
}
