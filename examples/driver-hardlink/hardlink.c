/*
 * hardlink: layers are directories, whose unchanged files are hard links to
 * those of the parent.  README says why they become so when a layer is sealed.
 *
 *     HOME/ID/tree      the layer's full tree
 *     HOME/ID/parent    symbolic link, whose target is the parent's id
 *     HOME/ID/sealed    directory, there once the layer is sealed
 *     HOME/making       a layer being made
 *     HOME/dying        a layer being removed
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "imgd/driver.h"

#define PATH_SIZE  96    /* "ID/NAME" */
#define CHUNK      65536 /* compared at a time; the longest xattr, too */
#define LINK_NAME  "link" /* beside a layer's tree */

struct hardlink {
	const struct imgd_env *env;
};

/* One layer on its way to be sealed. */
struct sealing {
	const struct imgd_env *env;
	int layer_fd;
	void *used; /* tsearch tree of the parent's files that are linked */
	struct imgd_error **err;
};

static int
fail(struct imgd_error **err, const char *what)
{
	return imgd_error_set(err, errno, "%s: %s", what, strerror(errno));
}

/* Run a program in dir_fd; 0 if it exits with 0.  It does not outlive this
 * process, and is killed when the caller gives up. */
static int
run(const struct imgd_env *env, int dir_fd, const char *const argv[],
    struct imgd_error **err)
{
	pid_t self = getpid(), done, pid = fork();
	int status = 0, is_cancelled = 0;

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == self && fchdir(dir_fd) == 0)
			(void)execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0)
		return fail(err, argv[0]);
	while ((done = waitpid(pid, &status, WNOHANG)) == 0) {
		if (!is_cancelled && env->cancelled()) {
			is_cancelled = 1;
			(void)kill(pid, SIGKILL);
		}
		(void)usleep(1000);
	}
	if (is_cancelled)
		return imgd_error_set(err, ECANCELED, "%s: given up", argv[0]);
	if (done < 0)
		return fail(err, argv[0]);
	return status == 0 ? 0 : imgd_error_set(err, EIO,
	    "%s failed with status %d", argv[0], status);
}

/* Removal goes on even when the caller has given up. */
static int
never(void)
{
	return 0;
}

static int
clear_name(struct hardlink *hl, const char *name, struct imgd_error **err)
{
	const char *const argv[] = { "rm", "-rf", "--one-file-system", name,
		NULL };
	struct imgd_env env = *hl->env;

	if (faccessat(env.home_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
	    errno == ENOENT)
		return 0;
	env.cancelled = never;
	return run(&env, env.home_fd, argv, err);
}

static int
hardlink_probe(const struct imgd_env *env, struct imgd_error **err)
{
	return faccessat(env->home_fd, ".", W_OK, AT_EACCESS) < 0
	    ? fail(err, env->home) : 0;
}

static void
hardlink_close(void *h)
{
	free(h);
}

static int
hardlink_open(const struct imgd_env *env, void **ret_h,
    struct imgd_error **err)
{
	struct hardlink *hl;
	int r = 0;

	if (env->n_options > 0)
		return imgd_error_set(err, EINVAL, "unknown option %s",
		    env->options[0].key);
	hl = calloc(1, sizeof(*hl));
	if (hl == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	hl->env = env;
	if (!(env->flags & IMGD_OPEN_READONLY)) {
		r = clear_name(hl, "dying", err);
		if (r == 0)
			r = clear_name(hl, "making", err);
	}
	if (r < 0)
		hardlink_close(hl);
	else
		*ret_h = hl;
	return r;
}

/* Whether ID/NAME is there: 1, 0, or a negative code. */
static int
has(struct hardlink *hl, const char *id, const char *name,
    struct imgd_error **err)
{
	char path[PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", id, name);
	if (faccessat(hl->env->home_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : fail(err, path);
}

static int
hardlink_exists(void *h, const char *id, struct imgd_error **err)
{
	return has(h, id, ".", err);
}

static int
check_parent(struct hardlink *hl, const char *parent, struct imgd_error **err)
{
	int r = has(hl, parent, ".", err);

	if (r == 0)
		return imgd_error_set(err, ENOENT, "no parent %s", parent);
	if (r > 0)
		r = has(hl, parent, "sealed", err);
	return r != 0 ? r : imgd_error_set(err, EINVAL,
	    "parent %s is not sealed", parent);
}

/* Fill HOME/making. */
static int
make(struct hardlink *hl, const char *parent, struct imgd_error **err)
{
	char from[PATH_SIZE];
	const char *const argv[] = { "cp", "-aT", "--reflink=auto", from,
		"making/tree", NULL };
	int home_fd = hl->env->home_fd;

	if (mkdirat(home_fd, "making", 0700) < 0)
		return fail(err, "making");
	if (parent != NULL) {
		(void)snprintf(from, sizeof(from), "%s/tree", parent);
		if (symlinkat(parent, home_fd, "making/parent") < 0)
			return fail(err, "making/parent");
		return run(hl->env, home_fd, argv, err);
	}
	if (mkdirat(home_fd, "making/tree", 0755) < 0 ||
	    fchownat(home_fd, "making/tree", 0, 0, 0) < 0 ||
	    fchmodat(home_fd, "making/tree", 0755, 0) < 0)
		return fail(err, "making/tree");
	return 0;
}

static int
hardlink_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	struct hardlink *hl = h;
	int r = hardlink_exists(h, id, err);

	(void)opts;
	if (r > 0)
		return imgd_error_set(err, EEXIST, "%s exists", id);
	if (r == 0 && parent != NULL)
		r = check_parent(hl, parent, err);
	if (r >= 0)
		r = clear_name(hl, "making", err);
	if (r < 0)
		return r;
	r = make(hl, parent, err);
	if (r == 0 &&
	    renameat(hl->env->home_fd, "making", hl->env->home_fd, id) < 0)
		r = fail(err, id);
	/* The first error is the one that counts. */
	if (r < 0)
		(void)clear_name(hl, "making", NULL);
	return r;
}

/* ---- sealing ---- */

static int
same_bytes(int a_fd, int b_fd)
{
	static char a[CHUNK], b[CHUNK];
	ssize_t n;

	do {
		n = read(a_fd, a, sizeof(a));
		if (n < 0 || read(b_fd, b, sizeof(b)) != n ||
		    memcmp(a, b, (size_t)n) != 0)
			return 0;
	} while (n > 0);
	return 1;
}

/* Whether each attribute of a's stands at b with the same value; b has as
 * many bytes of names, so that none is left over. */
static int
same_xattrs(int a_fd, int b_fd)
{
	static char names[CHUNK], a[CHUNK], b[CHUNK];
	ssize_t len = flistxattr(a_fd, names, sizeof(names)), n;
	const char *name;

	if (len < 0 || flistxattr(b_fd, NULL, 0) != len)
		return len < 0 && errno == EOPNOTSUPP;
	for (name = names; name < names + len; name += strlen(name) + 1) {
		n = fgetxattr(a_fd, name, a, sizeof(a));
		if (n < 0 || fgetxattr(b_fd, name, b, sizeof(b)) != n ||
		    memcmp(a, b, (size_t)n) != 0)
			return 0;
	}
	return 1;
}

static int
same_stat(const struct stat *a, const struct stat *b)
{
	return S_ISREG(a->st_mode) && a->st_mode == b->st_mode &&
	    a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	    a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	    a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A file that cannot be read stays a copy: that is never wrong. */
static int
same_file(int dir_fd, int parent_fd, const char *name)
{
	int a = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int b = openat(parent_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int is_same = a >= 0 && b >= 0 && same_xattrs(a, b) &&
	    same_bytes(a, b);

	if (a >= 0)
		(void)close(a);
	if (b >= 0)
		(void)close(b);
	return is_same;
}

static int
by_number(const void *a, const void *b)
{
	const ino_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Take a file of the parent's; 0 if another name of this layer has it: the two
 * were not one file here. */
static int
take_inode(struct sealing *s, ino_t inode)
{
	ino_t *number = malloc(sizeof(*number)), **node;

	if (number == NULL)
		return imgd_error_set(s->err, ENOMEM, "out of memory");
	*number = inode;
	node = tsearch(number, &s->used, by_number);
	if (node != NULL && *node == number)
		return 1;
	free(number);
	return node != NULL ? 0
	    : imgd_error_set(s->err, ENOMEM, "out of memory");
}

static int
link_file(struct sealing *s, int dir_fd, int parent_fd, const char *name)
{
	struct stat st, old;
	int r;

	/* All files of this layer are still its own, so that the number of
	 * links tells whether it has more names for this one. */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(s->err, name);
	if (st.st_nlink != 1 ||
	    fstatat(parent_fd, name, &old, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !same_stat(&st, &old) || !same_file(dir_fd, parent_fd, name))
		return 0;
	r = take_inode(s, old.st_ino);
	if (r <= 0)
		return r;
	if (linkat(parent_fd, name, s->layer_fd, LINK_NAME, 0) < 0)
		return errno == EMLINK ? 0 : fail(s->err, name);
	if (renameat(s->layer_fd, LINK_NAME, dir_fd, name) < 0)
		return fail(s->err, name);
	return 0;
}

static int link_dir(struct sealing *s, int dir_fd, int parent_fd);

static int
link_subdir(struct sealing *s, int dir_fd, int parent_fd, const char *name)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC;
	int fd = openat(dir_fd, name, flags), parent, r;

	if (fd < 0)
		return fail(s->err, name);
	parent = openat(parent_fd, name, flags);
	r = parent >= 0 ? link_dir(s, fd, parent) : 0;
	if (parent >= 0)
		(void)close(parent);
	(void)close(fd);
	return r;
}

static int
link_entries(struct sealing *s, DIR *d, int dir_fd, int parent_fd)
{
	struct dirent *de;
	int r = 0;

	while (r >= 0 && (errno = 0, de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if (s->env->cancelled())
			r = imgd_error_set(s->err, ECANCELED, "given up");
		else if (de->d_type == DT_DIR)
			r = link_subdir(s, dir_fd, parent_fd, de->d_name);
		else if (de->d_type == DT_REG)
			r = link_file(s, dir_fd, parent_fd, de->d_name);
	}
	return r < 0 || errno == 0 ? r : fail(s->err, "readdir");
}

/* Link what is as in the parent's directory, and leave its times alone. */
static int
link_dir(struct sealing *s, int dir_fd, int parent_fd)
{
	struct timespec times[2];
	struct stat st;
	DIR *d;
	int fd, r;

	if (fstat(dir_fd, &st) < 0)
		return fail(s->err, "directory");
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		r = fail(s->err, "directory");
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	r = link_entries(s, d, dir_fd, parent_fd);
	(void)closedir(d);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (r >= 0 && futimens(dir_fd, times) < 0)
		r = fail(s->err, "times");
	return r;
}

/* A parent that was removed has nothing to share. */
static int
share(struct hardlink *hl, int layer_fd, struct imgd_error **err)
{
	struct sealing s = { hl->env, layer_fd, NULL, err };
	char id[65], path[PATH_SIZE];
	ssize_t n = readlinkat(layer_fd, "parent", id, sizeof(id) - 1);
	int tree_fd, parent_fd, r = 0;

	if (n < 0)
		return errno == ENOENT ? 0 : fail(err, "parent");
	id[n] = '\0';
	(void)snprintf(path, sizeof(path), "%s/tree", id);
	parent_fd = openat(hl->env->home_fd, path,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd < 0)
		return errno == ENOENT ? 0 : fail(err, path);
	tree_fd = openat(layer_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree_fd < 0)
		r = fail(err, "tree");
	else if (unlinkat(layer_fd, LINK_NAME, 0) < 0 && errno != ENOENT)
		r = fail(err, LINK_NAME);
	else
		r = link_dir(&s, tree_fd, parent_fd);
	tdestroy(s.used, free);
	if (tree_fd >= 0)
		(void)close(tree_fd);
	(void)close(parent_fd);
	return r;
}

static int
hardlink_seal(void *h, const char *id, struct imgd_error **err)
{
	struct hardlink *hl = h;
	int layer_fd, r = has(hl, id, "sealed", err);

	if (r != 0)
		return r < 0 ? r : imgd_error_set(err, EROFS,
		    "it is sealed already");
	layer_fd = openat(hl->env->home_fd, id,
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layer_fd < 0)
		return fail(err, id);
	r = share(hl, layer_fd, err);
	if (r >= 0 && mkdirat(layer_fd, "sealed", 0700) < 0)
		r = fail(err, "sealed");
	(void)close(layer_fd);
	return r;
}

/* ---- the rest ---- */

static int
hardlink_remove(void *h, const char *id, struct imgd_error **err)
{
	struct hardlink *hl = h;
	int home_fd = hl->env->home_fd, r = clear_name(hl, "dying", err);

	if (r < 0)
		return r;
	/* Away at once: half a layer is never seen. */
	if (renameat(home_fd, id, home_fd, "dying") < 0)
		return errno == ENOENT ? 0 : fail(err, id);
	return clear_name(hl, "dying", err);
}

static int
hardlink_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	struct hardlink *hl = h;
	char *path;
	int r = has(hl, id, "tree", err);

	if (r <= 0)
		return r < 0 ? r : imgd_error_set(err, ENOENT,
		    "no such layer");
	if (kind != IMGD_GET_TREE)
		return imgd_error_set(err, EOPNOTSUPP, "no block devices");
	if (asprintf(&path, "%s/%s/tree", hl->env->home, id) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret_path = path;
	return 0;
}

static int
hardlink_put(void *h, const char *id, uint32_t kind, struct imgd_error **err)
{
	(void)h;
	(void)id;
	(void)kind;
	(void)err;
	return 0;
}

static struct imgd_driver hardlink_driver = {
	.threads = IMGD_THREADS_SERIAL,
	.name = "hardlink",
	.description = "directories that share unchanged files by hard links",
	.probe = hardlink_probe,
	.open = hardlink_open,
	.close = hardlink_close,
	.create = hardlink_create,
	.seal = hardlink_seal,
	.remove = hardlink_remove,
	.exists = hardlink_exists,
	.get = hardlink_get,
	.put = hardlink_put,
};

IMGD_REGISTER_DRIVER(hardlink_driver);
