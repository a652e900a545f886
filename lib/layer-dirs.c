#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/fs-at.h"
#include "lib/layer-dirs.h"
#include "lib/strbuf.h"

bool
layer_probe_will_pass(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EIO || r == -ENOMEM ||
	    r == -EROFS || r == -EMFILE || r == -ENFILE;
}

static const char *const state_names[] = {
	[IMGD_STATE_STAGED] = "staged",
	[IMGD_STATE_SEALED] = "sealed",
	[IMGD_STATE_RW] = "rw",
};

/* One layer while a listing is put in order. */
struct entry {
	char id[LAYER_ID_SIZE];
	char parent[LAYER_ID_SIZE]; /* "": base */
	int state;                  /* < 0: cannot be told */
	int parent_result;          /* < 0: cannot be told */
	size_t depth;               /* 0: not computed yet; a base has 1 */
};

struct entries {
	struct entry *list; /* owned */
	size_t n;
};

static void
entries_done(struct entries *es)
{
	free(es->list);
}

bool
layer_id_is_valid(const char *name)
{
	return strlen(name) == LAYER_ID_SIZE - 1 &&
	    strspn(name, "0123456789abcdef") == LAYER_ID_SIZE - 1;
}

/* A stream over the entries of dir_fd, which stays open. */
static int
open_stream(int dir_fd, DIR **ret_dir, struct imgd_error **err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || (*ret_dir = fdopendir(fd)) == NULL) {
		int e = errno;

		cleanup_closep(&fd);
		return imgd_error_set(err, e, "read directory: %s",
		    strerror(e));
	}
	return 0;
}

/* The next name but "." and "..", or NULL at the end; *r says if it failed. */
static const char *
next_name(DIR *dir, int *r, struct imgd_error **err)
{
	struct dirent *de;

	do {
		errno = 0;
		de = readdir(dir);
	} while (de != NULL && (strcmp(de->d_name, ".") == 0 ||
	    strcmp(de->d_name, "..") == 0));
	*r = de == NULL && errno != 0 ? imgd_error_set(err, errno,
	    "read directory: %s", strerror(errno)) : 0;
	return de != NULL ? de->d_name : NULL;
}

/* Delete what is in dir_fd and has a name that starts with prefix; what
 * resists is left with a warning. */
static int
sweep(struct layer_dirs *ld, int dir_fd, const char *prefix,
    struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	const char *name;
	int r;

	r = open_stream(dir_fd, &dir, err);
	if (r < 0)
		return r;
	while ((name = next_name(dir, &r, err)) != NULL) {
		cleanup_error struct imgd_error *e = NULL;

		if (str_starts(name, prefix) &&
		    ld->remove_tree(dir_fd, name, &e) < 0)
			ld->log(IMGD_LOG_WARN, "%s, leaving it to the next "
			    "start", imgd_error_msg(e));
	}
	return r;
}

static int
open_sub(int home_fd, const char *name, bool read_only, int *ret_fd,
    struct imgd_error **err)
{
	int r;

	if (read_only && faccessat(home_fd, name, F_OK, 0) < 0 &&
	    errno == ENOENT)
		return 0;
	r = read_only ? fs_open_dir(home_fd, name, err) :
	    fs_make_open_dir(home_fd, name, 0700, err);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}

/* A default ACL would be inherited by every file of every layer. */
static void
drop_default_acls(const struct layer_dirs *ld)
{
	static const char attr[] = "system.posix_acl_default";

	(void)fremovexattr(ld->layers_fd, attr);
	(void)fremovexattr(ld->tmp_fd, attr);
}

/* A probe that was killed may have left its mount, too. */
static int
sweep_probes(struct layer_dirs *ld, int home_fd, struct imgd_error **err)
{
	cleanup_free char *home = NULL, *prefix = NULL;
	int r = fs_real_path(home_fd, &home, err);

	if (r < 0)
		return r;
	if (asprintf(&prefix, "%s/" LAYER_PROBE_PREFIX, home) < 0) {
		prefix = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	r = fs_detach_mounts(prefix, err);
	return r < 0 ? r : sweep(ld, home_fd, LAYER_PROBE_PREFIX, err);
}

int
layer_dirs_open(struct layer_dirs *ld, const struct imgd_env *env,
    const char *layers_name, struct imgd_error **err)
{
	bool read_only = (env->flags & IMGD_OPEN_READONLY) != 0;
	int r;

	ld->log = env->log;
	r = open_sub(env->home_fd, layers_name, read_only, &ld->layers_fd,
	    err);
	if (r == 0)
		r = open_sub(env->home_fd, "tmp", read_only, &ld->tmp_fd, err);
	if (r == 0)
		r = open_sub(env->home_fd, "dying", read_only, &ld->dying_fd,
		    err);
	if (r == 0 && !read_only)
		drop_default_acls(ld);
	if (r == 0 && !read_only)
		r = sweep(ld, ld->tmp_fd, "", err);
	if (r == 0 && !read_only)
		r = sweep(ld, ld->dying_fd, "", err);
	if (r == 0 && !read_only)
		r = sweep_probes(ld, env->home_fd, err);
	if (r < 0)
		layer_dirs_done(ld);
	return r;
}

void
layer_dirs_done(struct layer_dirs *ld)
{
	close_fd(&ld->layers_fd);
	close_fd(&ld->tmp_fd);
	close_fd(&ld->dying_fd);
}

int
layer_dirs_exists(struct layer_dirs *ld, const char *id,
    struct imgd_error **err)
{
	struct stat st;

	if (ld->layers_fd < 0)
		return 0;
	if (fstatat(ld->layers_fd, id, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	return imgd_error_set(err, errno, "layer %.12s: %s", id,
	    strerror(errno));
}

static int
no_such_layer(const char *id, struct imgd_error **err)
{
	return imgd_error_set(err, ENOENT, "layer %.12s: no such layer", id);
}

int
layer_dirs_fd(struct layer_dirs *ld, const char *id, struct imgd_error **err)
{
	int fd;

	if (ld->layers_fd < 0)
		return no_such_layer(id, err);
	fd = openat(ld->layers_fd, id,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return no_such_layer(id, err);
	if (fd < 0)
		return imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
	return fd;
}

/* Read the link ID/NAME.  -ENOENT if the layer is missing, -EUCLEAN if only
 * the link is, or if it is no link. */
static int
read_record(struct layer_dirs *ld, const char *id, const char *name,
    char *buf, size_t size, struct imgd_error **err)
{
	char path[LAYER_PATH_SIZE];
	ssize_t n;
	int r;

	if (ld->layers_fd < 0)
		return no_such_layer(id, err);
	(void)snprintf(path, sizeof(path), "%s/%s", id, name);
	n = readlinkat(ld->layers_fd, path, buf, size - 1);
	if (n >= 0) {
		buf[n] = '\0';
		return 0;
	}
	if (errno != ENOENT && errno != EINVAL && errno != ENOTDIR)
		return imgd_error_set(err, errno, "layer %.12s: read %s: %s",
		    id, name, strerror(errno));
	r = layer_dirs_exists(ld, id, err);
	if (r < 0)
		return r;
	if (r == 0)
		return no_such_layer(id, err);
	return imgd_error_set(err, EUCLEAN,
	    "layer %.12s: its record of %s is missing", id, name);
}

int
layer_dirs_state(struct layer_dirs *ld, const char *id,
    struct imgd_error **err)
{
	char buf[16];
	int r, state;

	r = read_record(ld, id, "state", buf, sizeof(buf), err);
	if (r < 0)
		return r;
	for (state = IMGD_STATE_STAGED; state <= (int)IMGD_STATE_RW; state++)
		if (strcmp(buf, state_names[state]) == 0)
			return state;
	return imgd_error_set(err, EUCLEAN,
	    "layer %.12s: its record of state is damaged", id);
}

int
layer_dirs_parent(struct layer_dirs *ld, const char *id,
    char ret_parent[LAYER_ID_SIZE], struct imgd_error **err)
{
	char buf[LAYER_ID_SIZE + 8];
	int r;

	r = read_record(ld, id, "parent", buf, sizeof(buf), err);
	if (r < 0)
		return r;
	if (strcmp(buf, "none") == 0)
		return 0;
	if (!str_starts(buf, "../") || !layer_id_is_valid(buf + 3))
		return imgd_error_set(err, EUCLEAN,
		    "layer %.12s: its record of parent is damaged", id);
	memcpy(ret_parent, buf + 3, LAYER_ID_SIZE);
	return 1;
}

static int
check_parent(struct layer_dirs *ld, const char *parent, bool sealed,
    struct imgd_error **err)
{
	int r = layer_dirs_state(ld, parent, err);

	if (r < 0)
		return imgd_error_prefix(err, "parent");
	if (r == IMGD_STATE_RW || (sealed && r != IMGD_STATE_SEALED))
		return imgd_error_set(err, EINVAL,
		    "parent layer %.12s is not sealed", parent);
	return 0;
}

int
layer_dirs_begin(struct layer_dirs *ld, const char *id, const char *parent,
    uint32_t state, bool sealed_parent, struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	char target[LAYER_ID_SIZE + 8];
	int r;

	r = layer_dirs_exists(ld, id, err);
	if (r < 0)
		return r;
	if (r > 0)
		return imgd_error_set(err, EEXIST, "layer %.12s exists", id);
	if (parent != NULL) {
		r = check_parent(ld, parent, sealed_parent, err);
		if (r < 0)
			return r;
	}
	r = ld->remove_tree(ld->tmp_fd, id, err);
	if (r < 0)
		return r;
	fd = fs_make_open_dir(ld->tmp_fd, id, 0700, err);
	if (fd < 0)
		return fd;
	(void)snprintf(target, sizeof(target), "%s%s",
	    parent != NULL ? "../" : "", parent != NULL ? parent : "none");
	if (symlinkat(target, fd, "parent") < 0 ||
	    symlinkat(state_names[state], fd, "state") < 0) {
		r = imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
		layer_dirs_abort(ld, id);
		return r;
	}
	FAIL_POINT("layer-begun");
	return take_fd(&fd);
}

int
layer_dirs_make_root(int layer_fd, const char *name, struct imgd_error **err)
{
	cleanup_close int fd = fs_make_open_dir(layer_fd, name, 0755, err);

	if (fd < 0)
		return fd;
	/* A setgid parent directory or the mount option grpid gives a group
	 * of its own. */
	if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0755) < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	return take_fd(&fd);
}

int
layer_dirs_commit(struct layer_dirs *ld, const char *id,
    struct imgd_error **err)
{
	if (renameat(ld->tmp_fd, id, ld->layers_fd, id) < 0)
		return imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
	FAIL_POINT("layer-in-place");
	return 0;
}

void
layer_dirs_abort(struct layer_dirs *ld, const char *id)
{
	cleanup_error struct imgd_error *e = NULL;

	if (ld->remove_tree(ld->tmp_fd, id, &e) < 0)
		ld->log(IMGD_LOG_WARN, "%s, leaving it to the next start",
		    imgd_error_msg(e));
}

int
layer_dirs_seal(struct layer_dirs *ld, const char *id,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	int r = layer_dirs_state(ld, id, err);

	if (r < 0)
		return r;
	if (r == IMGD_STATE_SEALED)
		return imgd_error_set(err, EROFS,
		    "layer %.12s is sealed already", id);
	if (r == IMGD_STATE_RW)
		return imgd_error_set(err, EINVAL,
		    "layer %.12s is writable and cannot be sealed", id);
	fd = layer_dirs_fd(ld, id, err);
	if (fd < 0)
		return fd;
	/* What a seal cut short left there. */
	(void)unlinkat(fd, "state.new", 0);
	r = symlinkat(state_names[IMGD_STATE_SEALED], fd, "state.new");
	FAIL_POINT("layer-seal-written");
	if (r < 0 || renameat(fd, "state.new", fd, "state") < 0)
		return imgd_error_set(err, errno, "layer %.12s: seal: %s", id,
		    strerror(errno));
	FAIL_POINT("layer-sealed");
	return 0;
}

static int
check_both_sealed(struct layer_dirs *ld, const char *id,
    const char *with, struct imgd_error **err)
{
	const char *ids[] = { id, with };
	size_t i;

	for (i = 0; i < 2; i++) {
		int r = layer_dirs_state(ld, ids[i], err);

		if (r < 0)
			return r;
		if (r != IMGD_STATE_SEALED)
			return imgd_error_set(err, EINVAL,
			    "layer %.12s is not sealed", ids[i]);
	}
	return 0;
}

int
layer_dirs_exchange(struct layer_dirs *ld, const char *id, const char *with,
    const char *name, struct imgd_error **err)
{
	char a[LAYER_PATH_SIZE], b[LAYER_PATH_SIZE];
	int r = check_both_sealed(ld, id, with, err);

	if (r < 0)
		return r;
	(void)snprintf(a, sizeof(a), "%s/%s", id, name != NULL ? name : "");
	(void)snprintf(b, sizeof(b), "%s/%s", with, name != NULL ? name : "");
	if (renameat2(ld->layers_fd, a, ld->layers_fd, b, RENAME_EXCHANGE) <
		0 &&
	    (errno != ENOENT ||
		fs_move_lost(ld->layers_fd, a, ld->layers_fd, b) < 0))
		return imgd_error_set(err, errno, "layer %.12s: replace: %s",
		    id, strerror(errno));
	FAIL_POINT("layer-exchanged");
	return 0;
}

int
layer_dirs_remove(struct layer_dirs *ld, const char *id,
    struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char key[LAYER_ID_SIZE];
	int r;

	r = ld->remove_tree(ld->tmp_fd, id, err);
	if (r < 0)
		return r;
	r = str_random_key(key, err);
	if (r < 0)
		return r;
	if (renameat(ld->layers_fd, id, ld->dying_fd, key) < 0)
		return errno == ENOENT ? 0 : imgd_error_set(err, errno,
		    "remove layer %.12s: %s", id, strerror(errno));
	FAIL_POINT("layer-condemned");
	if (ld->remove_tree(ld->dying_fd, key, &e) < 0)
		ld->log(IMGD_LOG_WARN, "layer %.12s: %s, leaving it to the "
		    "next start", id, imgd_error_msg(e));
	FAIL_POINT("layer-removed");
	return 0;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->id,
	    ((const struct entry *)b)->id);
}

/* Deepest first. */
static int
compare_depths(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->depth != y->depth)
		return x->depth < y->depth ? 1 : -1;
	return strcmp(x->id, y->id);
}

/* Read the records of all layers, sorted by id. */
static int
load_entries(struct layer_dirs *ld, struct entries *es,
    struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	const char *name;
	size_t size = 0;
	int r;

	if (ld->layers_fd < 0)
		return 0;
	r = open_stream(ld->layers_fd, &dir, err);
	if (r < 0)
		return r;
	while ((name = next_name(dir, &r, err)) != NULL) {
		struct entry *e;

		if (!layer_id_is_valid(name))
			continue;
		if (es->n == size) {
			size = size > 0 ? 2 * size : 64;
			e = reallocarray(es->list, size, sizeof(*e));
			if (e == NULL)
				return imgd_error_set(err, ENOMEM,
				    "out of memory");
			es->list = e;
		}
		e = &es->list[es->n++];
		*e = (struct entry){ .depth = 0 };
		memcpy(e->id, name, LAYER_ID_SIZE);
		e->state = layer_dirs_state(ld, name, NULL);
		e->parent_result = layer_dirs_parent(ld, name, e->parent,
		    NULL);
	}
	if (r == 0 && es->n > 0)
		qsort(es->list, es->n, sizeof(*es->list), compare_ids);
	return r;
}

static struct entry *
find_entry(struct entries *es, const char *id)
{
	struct entry key = { .depth = 0 };

	if (es->n == 0 || id[0] == '\0')
		return NULL;
	memcpy(key.id, id, LAYER_ID_SIZE);
	return bsearch(&key, es->list, es->n, sizeof(key), compare_ids);
}

/* Give e and its ancestors their depths: climb to one that is known, counting,
 * then climb again, writing.  A loop, which only damage can make, is cut after
 * n steps; -ELOOP then. */
static int
compute_depth(struct entries *es, struct entry *e)
{
	struct entry *p = e;
	size_t steps = 0, base, depth;

	while (p != NULL && p->depth == 0 && steps <= es->n) {
		p = find_entry(es, p->parent);
		steps++;
	}
	base = p != NULL ? p->depth : 0;
	depth = base + steps;
	for (p = e; p != NULL && p->depth == 0; p = find_entry(es, p->parent))
		p->depth = depth--;
	return steps > es->n ? -ELOOP : 0;
}

int
layer_dirs_list(struct layer_dirs *ld, imgd_layer_cb *cb, void *ctx,
    struct imgd_error **err)
{
	cleanup(entries_done) struct entries es = { NULL, 0 };
	size_t i;
	int r;

	r = load_entries(ld, &es, err);
	if (r < 0)
		return r;
	for (i = 0; i < es.n; i++)
		(void)compute_depth(&es, &es.list[i]);
	if (es.n > 0)
		qsort(es.list, es.n, sizeof(*es.list), compare_depths);
	for (i = 0; i < es.n; i++) {
		struct entry *e = &es.list[i];

		r = cb(ctx, e->id, e->parent[0] != '\0' ? e->parent : NULL,
		    e->state > 0 ? (uint32_t)e->state : IMGD_STATE_STAGED);
		if (r != 0)
			return r;
	}
	return 0;
}

int
layer_dirs_has_children(struct layer_dirs *ld, const char *id,
    struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	char parent[LAYER_ID_SIZE];
	const char *name;
	int r;

	r = open_stream(ld->layers_fd, &dir, err);
	if (r < 0)
		return r;
	while ((name = next_name(dir, &r, err)) != NULL)
		if (layer_id_is_valid(name) &&
		    layer_dirs_parent(ld, name, parent, NULL) > 0 &&
		    strcmp(parent, id) == 0)
			return 1;
	return r;
}

/* Report what lies in dir_fd, where nothing should. */
static int
check_leftovers(struct layer_dirs *ld, int dir_fd, const char *where,
    uint32_t flags, imgd_problem_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	const char *name;
	int r, n = 0;

	if (dir_fd < 0)
		return 0;
	r = open_stream(dir_fd, &dir, err);
	if (r < 0)
		return r;
	while ((name = next_name(dir, &r, err)) != NULL) {
		bool repaired = (flags & IMGD_CHECK_REPAIR) != 0 &&
		    ld->remove_tree(dir_fd, name, NULL) == 0;
		char text[320];

		(void)snprintf(text, sizeof(text),
		    "leftover of an interrupted operation: %s/%s", where,
		    name);
		cb(ctx, NULL, text, repaired);
		n += !repaired;
	}
	return r < 0 ? r : n;
}

/* One layer's records; returns the number of problems. */
static int
check_entry(struct entries *es, struct entry *e, imgd_problem_cb *cb,
    void *ctx)
{
	struct entry *p = find_entry(es, e->parent);
	int n = 0;

	if (e->state < 0) {
		cb(ctx, e->id, "its record of state is damaged", 0);
		n++;
	}
	if (e->parent_result < 0) {
		cb(ctx, e->id, "its record of parent is damaged", 0);
		n++;
	}
	if (compute_depth(es, e) < 0) {
		cb(ctx, e->id, "it is its own ancestor", 0);
		n++;
	}
	if (p != NULL && p->state != IMGD_STATE_SEALED &&
	    e->state != IMGD_STATE_STAGED) {
		cb(ctx, e->id, "its parent is not sealed", 0);
		n++;
	}
	return n;
}

int
layer_dirs_check(struct layer_dirs *ld, uint32_t flags, imgd_problem_cb *cb,
    void *ctx, struct imgd_error **err)
{
	cleanup(entries_done) struct entries es = { NULL, 0 };
	int r, n = 0;
	size_t i;

	r = check_leftovers(ld, ld->tmp_fd, "tmp", flags, cb, ctx, err);
	if (r < 0)
		return r;
	n += r;
	r = check_leftovers(ld, ld->dying_fd, "dying", flags, cb, ctx, err);
	if (r < 0)
		return r;
	n += r;
	r = load_entries(ld, &es, err);
	if (r < 0)
		return r;
	for (i = 0; i < es.n; i++)
		n += check_entry(&es, &es.list[i], cb, ctx);
	return n;
}
