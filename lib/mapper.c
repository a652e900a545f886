#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/mapper.h"

/* How long udev may take for one device before it is given up. */
#define UDEV_TIMEOUT_MS 30000

/* What udev need not do with our devices: look into them. */
#define UDEV_FLAGS                                                           \
	(DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG |                              \
	    DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* for all below */
static unsigned int n_users;
static bool has_udev;
static char last_message[256];

static void
task_freep(struct dm_task **t)
{
	if (*t != NULL)
		dm_task_destroy(*t);
}

#define cleanup_task cleanup(task_freep)

static void
unlockp(pthread_mutex_t **m)
{
	(void)pthread_mutex_unlock(*m);
}

static pthread_mutex_t *
lock(void)
{
	(void)pthread_mutex_lock(&mutex);
	return &mutex;
}

#define cleanup_unlock cleanup(unlockp) __attribute__((unused))

/* libdevmapper's own lines are kept for the error they belong to. */
static void
note_message(int level, const char *file, int line, int dm_errno,
    const char *fmt, ...)
{
	va_list ap;

	(void)file;
	(void)line;
	(void)dm_errno;
	if ((level & 7) > 3) /* 3: an error */
		return;
	va_start(ap, fmt);
	(void)vsnprintf(last_message, sizeof(last_message), fmt, ap);
	va_end(ap);
}

/* Make a task for name, NULL: for none.  Called with the mutex. */
static int
make_task(int type, const char *name, struct dm_task **ret,
    struct imgd_error **err)
{
	struct dm_task *t = dm_task_create(type);

	last_message[0] = '\0';
	if (t == NULL || (name != NULL && dm_task_set_name(t, name) == 0)) {
		task_freep(&t);
		return imgd_error_set(err, ENOMEM, "device-mapper: %s",
		    last_message[0] != '\0' ? last_message : "out of memory");
	}
	*ret = t;
	return 0;
}

static int
fail(struct dm_task *t, const char *name, const char *what,
    struct imgd_error **err)
{
	int e = dm_task_get_errno(t);

	if (e != 0)
		return imgd_error_set(err, e, "%s: %s: %s", name, what,
		    strerror(e));
	return imgd_error_set(err, EIO, "%s: %s: %s", name, what,
	    last_message[0] != '\0' ? last_message : "unknown error");
}

static bool
udev_is_done(uint32_t cookie)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	int is_ready = 0;

	return dm_udev_wait_immediate(cookie, &is_ready) == 0 || is_ready;
}

/* Wait until udev has done its part; called without the mutex.  A udev that
 * never answers must not stop us for ever, and every cookie is a semaphore
 * that stays until it is waited for. */
static void
wait_udev(uint32_t cookie)
{
	const struct timespec pause = { 0, 1000000 };
	int i;

	for (i = 0; i < UDEV_TIMEOUT_MS && !udev_is_done(cookie); i++)
		(void)nanosleep(&pause, NULL);
	if (i == UDEV_TIMEOUT_MS) {
		(void)pthread_mutex_lock(&mutex);
		(void)dm_udev_complete(cookie);
		(void)pthread_mutex_unlock(&mutex);
		(void)udev_is_done(cookie);
	}
}

/* Run a task that makes or removes nodes.  Called without the mutex. */
static int
run_with_nodes(struct dm_task *t, const char *name, const char *what,
    uint16_t flags, struct imgd_error **err)
{
	uint32_t cookie = 0;
	int r = 0;

	(void)pthread_mutex_lock(&mutex);
	/* The cookie comes first: it is a SysV semaphore and can run out. */
	if ((has_udev && dm_task_set_cookie(t, &cookie, flags) == 0) ||
	    dm_task_run(t) == 0)
		r = fail(t, name, what, err);
	(void)pthread_mutex_unlock(&mutex);
	if (cookie != 0)
		wait_udev(cookie);
	(void)pthread_mutex_lock(&mutex);
	dm_task_update_nodes();
	(void)pthread_mutex_unlock(&mutex);
	return r;
}

/* ---- start and stop ---- */

/* libdevmapper opens its control device without O_CLOEXEC. */
static void
close_control_on_exec(void)
{
	struct stat control, st;
	int fd;

	if (stat("/dev/mapper/control", &control) < 0)
		return;
	for (fd = 3; fd < 1024; fd++)
		if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
		    st.st_rdev == control.st_rdev)
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int
start(struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;

	if (n_users > 0) {
		n_users++;
		return 0;
	}
	dm_log_with_errno_init(note_message);
	has_udev = access("/run/udev/control", F_OK) == 0;
	dm_udev_set_sync_support(has_udev);
	if (!has_udev)
		dm_udev_set_checking(0);
	dm_hold_control_dev(1);
	if (make_task(DM_DEVICE_VERSION, NULL, &t, NULL) < 0 ||
	    dm_task_run(t) == 0) {
		int e = t != NULL ? dm_task_get_errno(t) : 0;

		dm_hold_control_dev(0);
		dm_lib_release();
		return imgd_error_set(err, EOPNOTSUPP,
		    "the kernel has no device-mapper, or it may not be used: "
		    "%s", e != 0 ? strerror(e) : last_message[0] != '\0' ?
		    last_message : "no answer by /dev/mapper/control");
	}
	close_control_on_exec();
	n_users++;
	return 0;
}

static void
stop(void)
{
	cleanup_unlock pthread_mutex_t *m = lock();

	if (--n_users > 0)
		return;
	dm_hold_control_dev(0);
	dm_lib_release();
	dm_log_with_errno_init(NULL);
}

static int
versions(char ret_kernel[32], char ret_library[64], bool *ret_udev,
    struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;
	char kernel[32];
	int r = make_task(DM_DEVICE_VERSION, NULL, &t, err);

	if (r < 0)
		return r;
	if (dm_task_run(t) == 0 ||
	    dm_task_get_driver_version(t, kernel, sizeof(kernel)) == 0)
		return fail(t, "device-mapper", "version", err);
	memcpy(ret_kernel, kernel, sizeof(kernel));
	if (dm_get_library_version(ret_library, 64) == 0)
		ret_library[0] = '\0';
	*ret_udev = has_udev;
	return 0;
}

/* ---- devices ---- */

static int
info(const char *name, struct mapper_info *ret, struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;
	struct dm_info i;
	const char *uuid;
	int r = make_task(DM_DEVICE_INFO, name, &t, err);

	if (r < 0)
		return r;
	if (dm_task_run(t) == 0 ||
	    dm_task_get_info(t, &i) == 0)
		return fail(t, name, "info", err);
	uuid = dm_task_get_uuid(t);
	*ret = (struct mapper_info){
		.exists = i.exists,
		.has_table = i.live_table,
		.is_suspended = i.suspended,
		.is_readonly = i.read_only,
		.is_going = i.deferred_remove,
		.open_count = i.open_count,
		.major = i.major,
		.minor = i.minor,
	};
	(void)snprintf(ret->uuid, sizeof(ret->uuid), "%s",
	    i.exists && uuid != NULL ? uuid : "");
	return 0;
}

static int
add_table(struct dm_task *t, const struct mapper_device *d,
    struct imgd_error **err)
{
	if (dm_task_add_target(t, 0, d->sectors, d->target, d->params) == 0 ||
	    (d->is_readonly && dm_task_set_ro(t) == 0))
		return imgd_error_set(err, ENOMEM, "%s: out of memory",
		    d->name);
	return 0;
}

static int
resume(const char *name, struct imgd_error **err)
{
	cleanup_task struct dm_task *t = NULL;
	int r;

	(void)pthread_mutex_lock(&mutex);
	r = make_task(DM_DEVICE_RESUME, name, &t, err);
	(void)pthread_mutex_unlock(&mutex);
	return r < 0 ? r : run_with_nodes(t, name, "resume", UDEV_FLAGS, err);
}

static int
run_plain(int type, const char *name, const char *what,
    struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;
	int r = make_task(type, name, &t, err);

	if (r < 0)
		return r;
	return dm_task_run(t) != 0 ? 0 : fail(t, name, what, err);
}

static int
load(const struct mapper_device *d, struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;
	int r = make_task(DM_DEVICE_RELOAD, d->name, &t, err);

	if (r == 0)
		r = add_table(t, d, err);
	if (r < 0)
		return r;
	return dm_task_run(t) != 0 ? 0 : fail(t, d->name, "load table", err);
}

static int
remove_device(const char *name, bool is_deferred, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_task struct dm_task *t = NULL;
	int r;

	(void)pthread_mutex_lock(&mutex);
	r = make_task(DM_DEVICE_REMOVE, name, &t, err);
	if (r == 0 && is_deferred)
		(void)dm_task_deferred_remove(t);
	(void)pthread_mutex_unlock(&mutex);
	if (r < 0)
		return r;
	r = run_with_nodes(t, name, "remove device", 0, &e);
	if (r == 0 || r == -ENXIO)
		return 0;
	return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
}

/* Three steps instead of the library's one, which tells no error code. */
static int
create(const struct mapper_device *d, struct imgd_error **err)
{
	cleanup_task struct dm_task *t = NULL;
	int r;

	(void)pthread_mutex_lock(&mutex);
	r = make_task(DM_DEVICE_CREATE, d->name, &t, err);
	if (r == 0 && dm_task_set_uuid(t, d->uuid) == 0)
		r = imgd_error_set(err, EINVAL, "%s: bad uuid %s", d->name,
		    d->uuid);
	(void)pthread_mutex_unlock(&mutex);
	if (r == 0)
		r = run_with_nodes(t, d->name, "create device", UDEV_FLAGS,
		    err);
	if (r < 0)
		return r;
	r = load(d, err);
	if (r == 0)
		r = resume(d->name, err);
	if (r < 0)
		(void)remove_device(d->name, false, NULL);
	return r;
}

static int
reload(const struct mapper_device *d, struct imgd_error **err)
{
	int r, u;

	r = load(d, err);
	if (r < 0)
		return r;
	r = run_plain(DM_DEVICE_SUSPEND, d->name, "suspend", err);
	if (r < 0) {
		(void)run_plain(DM_DEVICE_CLEAR, d->name, "clear", NULL);
		return r;
	}
	/* Resume in any case: a device left suspended hangs its users.  It
	 * swaps the tables; a table that fails there leaves the old one. */
	r = resume(d->name, err);
	if (r == 0)
		return 0;
	(void)run_plain(DM_DEVICE_CLEAR, d->name, "clear", NULL);
	u = resume(d->name, NULL);
	return u < 0 ? imgd_error_prefix(err, "left suspended") : r;
}

static int
message(const char *name, const char *text, struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;
	int r = make_task(DM_DEVICE_TARGET_MSG, name, &t, err);

	if (r < 0)
		return r;
	if (dm_task_set_sector(t, 0) == 0 || dm_task_set_message(t, text) == 0)
		return imgd_error_set(err, ENOMEM, "%s: out of memory", name);
	return dm_task_run(t) != 0 ? 0 : fail(t, name, text, err);
}

static int
get_line(int type, const char *name, const char *what,
    struct mapper_line *ret, struct imgd_error **err)
{
	cleanup_unlock pthread_mutex_t *m = lock();
	cleanup_task struct dm_task *t = NULL;
	char *target = NULL, *params = NULL;
	uint64_t from, sectors;
	int r = make_task(type, name, &t, err);

	if (r < 0)
		return r;
	/* A status that flushes would wait for a pool that is out of space. */
	if (type == DM_DEVICE_STATUS)
		(void)dm_task_no_flush(t);
	if (dm_task_run(t) == 0)
		return fail(t, name, what, err);
	(void)dm_get_next_target(t, NULL, &from, &sectors, &target, &params);
	if (target == NULL || params == NULL)
		return imgd_error_set(err, ENXIO, "%s: has no table", name);
	ret->sectors = sectors;
	(void)snprintf(ret->target, sizeof(ret->target), "%s", target);
	(void)snprintf(ret->params, sizeof(ret->params), "%s", params);
	return 0;
}

static int
status(const char *name, struct mapper_line *ret, struct imgd_error **err)
{
	return get_line(DM_DEVICE_STATUS, name, "status", ret, err);
}

static int
table(const char *name, struct mapper_line *ret, struct imgd_error **err)
{
	return get_line(DM_DEVICE_TABLE, name, "table", ret, err);
}

static int
names(mapper_name_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup_task struct dm_task *t = NULL;
	const char *at;
	struct dm_names *n = NULL;
	int r;

	(void)pthread_mutex_lock(&mutex);
	r = make_task(DM_DEVICE_LIST, NULL, &t, err);
	if (r == 0 && dm_task_run(t) == 0)
		r = fail(t, "device-mapper", "list", err);
	if (r == 0)
		n = dm_task_get_names(t);
	(void)pthread_mutex_unlock(&mutex);
	if (r < 0 || n == NULL || n->dev == 0)
		return r;
	for (at = (const char *)n; r == 0;) {
		struct dm_names head;

		/* Entries are aligned to four bytes only. */
		memcpy(&head, at, offsetof(struct dm_names, name));
		r = cb(ctx, at + offsetof(struct dm_names, name));
		if (head.next == 0)
			break;
		at += head.next;
	}
	return r;
}

static void
tidy(const char *prefix)
{
	cleanup_closedir DIR *dir = has_udev ? NULL : opendir(dm_dir());
	struct mapper_info i;
	struct dirent *de;

	while (dir != NULL && (de = readdir(dir)) != NULL)
		if (strncmp(de->d_name, prefix, strlen(prefix)) == 0 &&
		    info(de->d_name, &i, NULL) == 0 && !i.exists)
			(void)unlinkat(dirfd(dir), de->d_name, 0);
}

const struct mapper_ops mapper_kernel_ops = {
	.start = start,
	.stop = stop,
	.versions = versions,
	.info = info,
	.create = create,
	.reload = reload,
	.resume = resume,
	.remove = remove_device,
	.message = message,
	.status = status,
	.table = table,
	.names = names,
	.tidy = tidy,
};
