/* Whether aufs branches can be shown here, and by what: found by doing it. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "drivers/aufs/aufs.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/fs-type.h"
#include "lib/strbuf.h"

/* A stack in a directory of its own: "upper" on "lower". */
struct trial {
	const struct aufs_ops *ops;
	int home_fd;    /* borrowed */
	int fd;         /* owned: HOME/probe-… */
	char name[32];
	char *dir;      /* owned: its path */
	char *target;   /* owned */
	char (*branches)[LAYER_ID_SIZE]; /* owned; top first */
	char key[65];
};

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static void
trial_done(struct trial *t)
{
	if (t->fd >= 0)
		(void)fs_remove_tree(t->home_fd, t->name, NULL);
	close_fd(&t->fd);
	free(t->dir);
	free(t->target);
	free(t->branches);
}

static int
make_file(int fd, const char *path, struct imgd_error **err)
{
	if (mknodat(fd, path, S_IFREG | 0644, 0) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	return 0;
}

/* A file to delete in the lower branch, and one that the upper one hides. */
static int
fill_trial(struct trial *t, struct imgd_error **err)
{
	static const char *const dirs[] = { "diff", "diff/lower",
		"diff/upper", "work", "mnt" };
	static const char *const files[] = { "diff/lower/file",
		"diff/lower/hidden", "diff/upper/.wh.hidden" };
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++)
		r = fs_make_dir(t->fd, dirs[i], 0755, err);
	for (i = 0; r >= 0 && i < sizeof(files) / sizeof(files[0]); i++)
		r = make_file(t->fd, files[i], err);
	return r < 0 ? r : 0;
}

static int
trial_init(struct trial *t, const struct aufs_ops *ops, int home_fd,
    struct imgd_error **err)
{
	int r;

	*t = (struct trial){ .ops = ops, .home_fd = home_fd, .fd = -EBADF };
	r = str_random_key(t->key, err);
	if (r < 0)
		return r;
	(void)snprintf(t->name, sizeof(t->name), LAYER_PROBE_PREFIX "%.16s",
	    t->key);
	r = t->fd = fs_make_open_dir(home_fd, t->name, 0700, err);
	if (r >= 0)
		r = fs_real_path(t->fd, &t->dir, err);
	if (r < 0)
		return r;
	t->branches = calloc(AUFS_MAX_DEPTH + 1, sizeof(*t->branches));
	if (t->branches == NULL || asprintf(&t->target, "%s/mnt", t->dir) < 0)
		return no_memory(err);
	memcpy(t->branches[0], "upper", sizeof("upper"));
	memcpy(t->branches[1], "lower", sizeof("lower"));
	return fill_trial(t, err);
}

static struct aufs_stack
trial_stack(const struct trial *t, size_t n)
{
	return (struct aufs_stack){
		.home_fd = t->fd, .home = t->dir, .target = t->target,
		.id = t->key,
		.branches = (const char (*)[LAYER_ID_SIZE])t->branches,
		.n_branches = n, .is_rw = true, .work = "work",
	};
}

/* Look at the mounted stack, and delete in it. */
static int
use_trial(const struct trial *t, struct imgd_error **err)
{
	struct stat st;

	if (fstatat(t->fd, "mnt/hidden", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return imgd_error_set(err, EOPNOTSUPP,
		    "aufs's whiteouts do not hide what is below them");
	if (unlinkat(t->fd, "mnt/file", 0) < 0)
		return imgd_error_set(err,
		    layer_probe_will_pass(-errno) ? errno : EOPNOTSUPP,
		    "delete in a stack of branches: %s", strerror(errno));
	if (fstatat(t->fd, "diff/upper/.wh.file", &st,
		AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		return 0;
	if (fstatat(t->fd, "diff/upper/file", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
		return 0;
	return imgd_error_set(err, EOPNOTSUPP,
	    "a deletion leaves no whiteout");
}

/* What a probe ends with: why becomes its message. */
static int
probe_result(int home_fd, int r, struct imgd_error *why,
    struct imgd_error **err)
{
	const char *type = "unknown";
	char buf[32];

	if (r >= 0)
		return 0;
	if (layer_probe_will_pass(r))
		return imgd_error_set(err, -r, "aufs: probe: %s",
		    imgd_error_msg(why));
	(void)fs_type_name(home_fd, buf, &type, NULL);
	return imgd_error_set(err, EOPNOTSUPP,
	    "aufs does not work on this filesystem (%s): %s", type,
	    imgd_error_msg(why));
}

/* ---- the kernel's ---- */

static bool
in_user_namespace(void)
{
	cleanup_fclose FILE *f = fopen("/proc/self/uid_map", "re");
	unsigned long inside, outside, count;

	/* The initial namespace maps all ids onto themselves. */
	return f != NULL &&
	    fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3 &&
	    (inside != 0 || outside != 0 || count != 4294967295ul);
}

bool
aufs_kernel_has_it(void)
{
	cleanup_close int fd = fsopen("aufs", FSOPEN_CLOEXEC);
	cleanup_fclose FILE *f = fopen("/proc/filesystems", "re");
	char line[128];

	/* fsopen loads the module, as modprobe would. */
	if (f == NULL || in_user_namespace())
		return false;
	while (fgets(line, sizeof(line), f) != NULL)
		if (str_ends(line, "\taufs\n"))
			return true;
	return false;
}

static int
try_kernel(const struct trial *t, const struct aufs_limits *limits, size_t n,
    struct imgd_error **err)
{
	struct aufs_stack s = trial_stack(t, n);
	int r = aufs_kernel_mount(t->ops, &s, limits, err);

	return r < 0 ? r : aufs_umount(t->ops, t->target, err);
}

/* Where aufs can make its xino file: outside of the branches, and on a
 * filesystem that has what it needs. */
static int
find_xino_dir(const struct trial *t, const char *run_dir,
    struct aufs_limits *limits, struct imgd_error **err)
{
	const char *const dirs[] = { "/dev/shm", run_dir, "/run", "/tmp",
		t->dir };
	cleanup_error struct imgd_error *why = NULL;
	size_t i;
	int r = -ENOENT;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		if (access(dirs[i], W_OK) < 0)
			continue;
		imgd_error_free(why);
		why = NULL;
		(void)snprintf(limits->xino_dir, sizeof(limits->xino_dir),
		    "%s", dirs[i]);
		r = try_kernel(t, limits, 2, &why);
		if (r >= 0)
			break;
	}
	if (r < 0)
		return imgd_error_set(err, -r, "%s", why != NULL
		    ? imgd_error_msg(why) : "no place for a xino file");
	/* The trial's own directory goes; home stays. */
	if (i == sizeof(dirs) / sizeof(dirs[0]) - 1)
		limits->xino_dir[strlen(t->dir) - strlen(t->name) - 1] = '\0';
	return 0;
}

/* aufs is built for 127, 511, 1023 or 32767 branches.  One more than the
 * longest chain is needed, for a writable layer on it. */
static int
measure_branches(struct trial *t, struct aufs_limits *limits,
    struct imgd_error **err)
{
	size_t i, most = AUFS_MAX_DEPTH + 1;

	for (i = 2; i < most; i++) {
		char path[32];
		int r;

		(void)snprintf(t->branches[i], LAYER_ID_SIZE, "b%zu", i);
		(void)snprintf(path, sizeof(path), "diff/b%zu", i);
		r = fs_make_dir(t->fd, path, 0755, err);
		if (r < 0)
			return r;
	}
	limits->max_branches = most;
	if (try_kernel(t, limits, most, NULL) < 0)
		limits->max_branches = 127;
	return 0;
}

static int
probe_kernel(struct trial *t, const char *run_dir, struct aufs_limits *ret,
    struct imgd_error **err)
{
	struct aufs_limits limits = { .max_branches = 2 }, more;
	struct aufs_stack s = trial_stack(t, 2);
	int r, u;

	r = find_xino_dir(t, run_dir, &limits, err);
	if (r == 0)
		r = aufs_kernel_mount(t->ops, &s, &limits, err);
	if (r < 0)
		return r;
	r = use_trial(t, err);
	u = aufs_umount(t->ops, t->target, r < 0 ? NULL : err);
	if (r < 0 || u < 0)
		return r < 0 ? r : u;
	more = limits;
	more.has_dirperm1 = true;
	limits.has_dirperm1 = try_kernel(t, &more, 2, NULL) == 0;
	more = limits;
	more.has_dio = true;
	limits.has_dio = try_kernel(t, &more, 2, NULL) == 0;
	r = measure_branches(t, &limits, err);
	if (r == 0)
		*ret = limits;
	return r;
}

int
aufs_kernel_probe(const struct aufs_ops *ops, int home_fd,
    const char *run_dir, struct aufs_limits *ret, struct imgd_error **err)
{
	cleanup(trial_done) struct trial t = { .fd = -EBADF };
	cleanup_error struct imgd_error *why = NULL;
	int r = trial_init(&t, ops, home_fd, &why);

	if (r == 0)
		r = probe_kernel(&t, run_dir, ret, &why);
	return probe_result(home_fd, r, why, err);
}

/* ---- fuse-overlayfs ---- */

static int
probe_fuse(const struct trial *t, struct imgd_error **err)
{
	struct aufs_stack s = trial_stack(t, 2);
	int r = aufs_fuse_mount(t->ops, &s, err), u, pidfd;

	if (r < 0)
		return r;
	pidfd = aufs_fuse_find_process(t->target);
	r = use_trial(t, err);
	u = aufs_umount(t->ops, t->target, r < 0 ? NULL : err);
	if (pidfd >= 0)
		(void)aufs_fuse_wait(pidfd);
	return r < 0 ? r : u;
}

int
aufs_fuse_probe(const struct aufs_ops *ops, int home_fd,
    struct imgd_error **err)
{
	cleanup(trial_done) struct trial t = { .fd = -EBADF };
	cleanup_error struct imgd_error *why = NULL;
	char program[64];
	int r = aufs_fuse_find(program, sizeof(program), err);

	if (r < 0)
		return imgd_error_prefix(err, "aufs");
	r = trial_init(&t, ops, home_fd, &why);
	if (r == 0)
		r = probe_fuse(&t, &why);
	return probe_result(home_fd, r, why, err);
}

/* ---- of the driver ---- */

int
aufs_read_options(const struct imgd_env *env, enum aufs_by *ret_by,
    struct imgd_error **err)
{
	static const char *const names[] = {
		[AUFS_BY_AUTO] = "auto",
		[AUFS_BY_KERNEL] = "kernel",
		[AUFS_BY_FUSE] = "fuse",
	};
	int by = AUFS_BY_AUTO;
	uint32_t i;

	for (i = 0; i < env->n_options; i++) {
		const struct imgd_option *o = &env->options[i];

		if (strcmp(o->key, "aufs.mount") != 0)
			return imgd_error_set(err, EINVAL,
			    "aufs: unknown option \"%s\"", o->key);
		for (by = AUFS_BY_FUSE; by >= 0; by--)
			if (strcmp(o->value, names[by]) == 0)
				break;
		if (by < 0)
			return imgd_error_set(err, EINVAL,
			    "aufs.mount=%s: not auto, kernel or fuse",
			    o->value);
	}
	if (by == AUFS_BY_AUTO)
		by = aufs_kernel_has_it() ? AUFS_BY_KERNEL : AUFS_BY_FUSE;
	*ret_by = (enum aufs_by)by;
	return 0;
}

int
aufs_probe(const struct imgd_env *env, struct imgd_error **err)
{
	struct aufs_limits limits;
	enum aufs_by by = AUFS_BY_FUSE;
	int r = aufs_read_options(env, &by, err);

	if (r < 0)
		return r;
	return by == AUFS_BY_KERNEL
	    ? aufs_kernel_probe(&aufs_host_ops, env->home_fd, env->run_dir,
		&limits, err)
	    : aufs_fuse_probe(&aufs_host_ops, env->home_fd, err);
}

/*
 * What was learned is kept in HOME/limits, a link whose target is
 * "BOOT/RELEASE BRANCHES DIO DIRPERM1 XINO": probing takes hundreds of
 * directories.
 */
static int
boot_text(char *buf, size_t size, struct imgd_error **err)
{
	cleanup_free char *id = NULL;
	struct utsname uts;
	int r = fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64,
	    &id, NULL, err);

	if (r < 0)
		return r;
	id[strcspn(id, "\n")] = '\0';
	(void)uname(&uts);
	(void)snprintf(buf, size, "%s/%s", id, uts.release);
	return 0;
}

static bool
recall_limits(struct aufs *a, const char *boot)
{
	struct aufs_limits l = { .max_branches = 0 };
	char text[512], xino[128];
	size_t len = strlen(boot);
	int dio, dirperm1;
	ssize_t n = readlinkat(a->sync_fd, "limits", text, sizeof(text) - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	if (strncmp(text, boot, len) != 0 || sscanf(text + len,
		" %zu %d %d %127s", &l.max_branches, &dio, &dirperm1,
		xino) != 4)
		return false;
	l.has_dio = dio;
	l.has_dirperm1 = dirperm1;
	memcpy(l.xino_dir, xino, sizeof(xino));
	a->limits = l;
	return true;
}

static void
note_limits(struct aufs *a, const char *boot)
{
	const struct aufs_limits *l = &a->limits;
	char text[512];

	(void)snprintf(text, sizeof(text), "%s %zu %d %d %s", boot,
	    l->max_branches, l->has_dio, l->has_dirperm1, l->xino_dir);
	(void)unlinkat(a->sync_fd, "limits", 0);
	/* Without it they are learned again. */
	(void)!symlinkat(text, a->sync_fd, "limits");
}

static int
learn_limits(struct aufs *a, struct imgd_error **err)
{
	bool is_read_only = (a->env->flags & IMGD_OPEN_READONLY) != 0;
	char boot[256];
	int r;

	if (a->has_limits)
		return 0;
	r = boot_text(boot, sizeof(boot), err);
	if (r < 0)
		return r;
	if (!recall_limits(a, boot)) {
		/* What aufs has at the least; who only reads mounts
		 * nothing. */
		if (is_read_only) {
			a->limits.max_branches = 127;
			return 0;
		}
		r = aufs_kernel_probe(a->ops, a->sync_fd, a->env->run_dir,
		    &a->limits, err);
		if (r < 0)
			return r;
		note_limits(a, boot);
	}
	a->has_limits = true;
	return 0;
}

int
aufs_learn_limits(struct aufs *a, struct imgd_error **err)
{
	int r;

	(void)pthread_mutex_lock(&a->lock);
	r = learn_limits(a, err);
	(void)pthread_mutex_unlock(&a->lock);
	return r;
}
