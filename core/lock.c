#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/lock.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/strbuf.h"

#define WORKERS_WAIT_MS 10000

static int
open_lock(int root_fd, const char *name, struct imgd_error **err)
{
	int fd = openat(root_fd, name,
	    O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int high;

	if (fd < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	/* Above the workers' well-known descriptors. */
	high = fcntl(fd, F_DUPFD_CLOEXEC, 16);
	(void)close(fd);
	if (high < 0)
		return imgd_error_set(err, errno, "%s: %s", name,
		    strerror(errno));
	return high;
}

int
lock_try(int root_fd, int *ret_fd, struct imgd_error **err)
{
	int fd = open_lock(root_fd, "lock", err);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int e = errno;

		(void)close(fd);
		if (e == EWOULDBLOCK || e == EINTR)
			return 0;
		return imgd_error_set(err, e, "lock: %s", strerror(e));
	}
	*ret_fd = fd;
	return 1;
}

const char *
lock_mnt_ns(char buf[64])
{
	ssize_t n = readlink("/proc/self/ns/mnt", buf, 63);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

bool
lock_mnt_ns_lives(const char *ns)
{
	cleanup_closedir DIR *proc = opendir("/proc");
	struct dirent *de;

	/* Where nothing can be seen, nothing is known to be gone. */
	if (proc == NULL)
		return true;
	while ((de = readdir(proc)) != NULL) {
		char path[300], link[64];
		ssize_t n;

		if (de->d_name[0] < '1' || de->d_name[0] > '9')
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%s/ns/mnt",
		    de->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = '\0';
		if (strcmp(link, ns) == 0)
			return true;
	}
	return false;
}

int
lock_describe(int lock_fd, const char *root, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	char ns[64];
	int r;

	strbuf_printf(&sb, "{\"pid\":%d,\"sock\":", (int)getpid());
	strbuf_json(&sb, root);
	sb.len -= sb.len > 0; /* the closing quote */
	strbuf_puts(&sb, "/sock\",\"mount-namespace\":");
	strbuf_json(&sb, lock_mnt_ns(ns));
	strbuf_puts(&sb, "}\n");
	if (sb.is_failed)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	else if (ftruncate(lock_fd, 0) < 0 ||
	    pwrite(lock_fd, sb.data, sb.len, 0) != (ssize_t)sb.len)
		r = imgd_error_set(err, errno, "lock: %s", strerror(errno));
	else
		r = 0;
	strbuf_done(&sb);
	return r;
}

/* Append " PID" for every process that has the file open. */
static void
name_holders(int fd, struct strbuf *sb)
{
	cleanup_closedir DIR *proc = opendir("/proc");
	struct stat want, st;
	struct dirent *de;

	if (proc == NULL || fstat(fd, &want) < 0)
		return;
	while ((de = readdir(proc)) != NULL) {
		cleanup_closedir DIR *fds = NULL;
		char path[300];
		struct dirent *f;

		if (de->d_name[0] < '1' || de->d_name[0] > '9' ||
		    atol(de->d_name) == (long)getpid())
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%s/fd", de->d_name);
		fds = opendir(path);
		while (fds != NULL && (f = readdir(fds)) != NULL) {
			if (fstatat(dirfd(fds), f->d_name, &st, 0) == 0 &&
			    st.st_ino == want.st_ino &&
			    st.st_dev == want.st_dev) {
				strbuf_printf(sb, " %s", de->d_name);
				break;
			}
		}
	}
}

int
lock_workers_exclusive(int root_fd, struct imgd_error **err)
{
	cleanup_close int fd = open_lock(root_fd, "workers.lock", err);
	struct strbuf sb = STRBUF_INIT;
	int waited, r;

	if (fd < 0)
		return fd;
	for (waited = 0; waited < WORKERS_WAIT_MS; waited += 20) {
		struct timespec pause = { 0, 20000000 };

		/* Let go again with fd, before the first worker. */
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	name_holders(fd, &sb);
	r = imgd_error_set(err, EBUSY,
	    "workers of an earlier imgd still run on this store: pid%s",
	    sb.data != NULL ? sb.data : " unknown");
	strbuf_done(&sb);
	return r;
}

int
lock_workers_shared(int root_fd, int *ret_fd, struct imgd_error **err)
{
	cleanup_close int fd = open_lock(root_fd, "workers.lock", err);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return imgd_error_set(err, errno, "workers.lock: %s",
		    strerror(errno));
	*ret_fd = take_fd(&fd);
	return 0;
}

int
lock_check_mnt_ns(int root_fd, struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	struct json_object *o, *v;
	char mine[64];
	int r;

	r = fs_read_file(root_fd, "lock", 4096, &text, NULL, err);
	if (r < 0)
		return r;
	o = json_tokener_parse(text);
	r = 0;
	if (json_object_object_get_ex(o, "mount-namespace", &v) &&
	    strcmp(json_object_get_string(v), lock_mnt_ns(mine)) != 0)
		r = imgd_error_set(err, EXDEV,
		    "the engine of this store runs in another mount "
		    "namespace (%s, this is %s): what it mounts is not seen "
		    "here",
		    json_object_get_string(v), mine);
	(void)json_object_put(o);
	return r;
}
