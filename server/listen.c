#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "server/listen.h"

#define FIRST_GIVEN_FD 3
#define BACKLOG        512

static int
fill_address(const char *path, struct sockaddr_un *ret,
    struct imgd_error **err)
{
	*ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret->sun_path))
		return imgd_error_set(err, ENAMETOOLONG,
		    "%s: longer than the %zu bytes of a socket's path", path,
		    sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

/* A socket is in the way: remove it unless somebody answers. */
static int
clear_path(const char *path, const struct sockaddr_un *addr,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT
		    ? 0
		    : imgd_error_set(err, errno, "%s: %s", path,
			  strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return imgd_error_set(err, EEXIST, "%s: not a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return imgd_error_set(err, errno, "socket: %s",
		    strerror(errno));
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ||
	    errno == EAGAIN)
		return imgd_error_set(err, EADDRINUSE,
		    "%s: another daemon listens there", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	return 0;
}

static int
find_group(const char *name, gid_t *ret, struct imgd_error **err)
{
	uint64_t number;
	struct group *g;

	*ret = (gid_t)-1;
	if (name == NULL)
		return 0;
	if (str_to_u64(name, UINT32_MAX - 1, &number)) {
		*ret = (gid_t)number;
		return 0;
	}
	g = getgrnam(name);
	if (g == NULL)
		return imgd_error_set(err, ENOENT, "no such group: %s", name);
	*ret = g->gr_gid;
	return 0;
}

static int
listen_path(const char *path, const char *group, struct listener *l,
    struct imgd_error **err)
{
	struct sockaddr_un addr;
	struct stat st = { 0 };
	mode_t mask;
	gid_t gid;
	int r;

	r = find_group(group, &gid, err);
	if (r >= 0)
		r = fill_address(path, &addr, err);
	if (r >= 0)
		r = clear_path(path, &addr, err);
	if (r < 0)
		return r;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    0);
	/* Nobody may connect before the owner is right. */
	mask = umask(0177);
	r = l->fd < 0 ||
		bind(l->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0
	    ? -errno
	    : 0;
	(void)umask(mask);
	if (r == 0 &&
	    (chown(path, (uid_t)-1, gid) < 0 || chmod(path, 0660) < 0 ||
		lstat(path, &st) < 0 || listen(l->fd, BACKLOG) < 0))
		r = -errno;
	if (r < 0)
		return imgd_error_set(err, -r, "%s: %s", path, strerror(-r));
	l->is_ours = true;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

static size_t
count_given(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t n, wanted;

	if (pid == NULL || fds == NULL ||
	    !str_to_u64(pid, INT32_MAX, &wanted) ||
	    wanted != (uint64_t)getpid() || !str_to_u64(fds, 1024, &n))
		return 0;
	return n;
}

/* Those of the service manager; they are of no use to any child. */
static int
take_given(struct listener *ret, size_t *ret_n, struct imgd_error **err)
{
	size_t i, n = count_given();

	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (n > LISTEN_MAX)
		return imgd_error_set(err, E2BIG,
		    "more than %d sockets are given", LISTEN_MAX);
	for (i = 0; i < n; i++) {
		int fd = FIRST_GIVEN_FD + (int)i, is_listening = 0;
		struct sockaddr_un addr = { .sun_family = AF_UNSPEC };
		socklen_t len = sizeof(is_listening), size = sizeof(addr) - 1;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening,
			&len) < 0 ||
		    !is_listening ||
		    getsockname(fd, (struct sockaddr *)&addr, &size) < 0 ||
		    addr.sun_family != AF_UNIX)
			return imgd_error_set(err, EINVAL,
			    "descriptor %d: not a listening unix socket", fd);
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		ret[i] = (struct listener) {
			.fd = fd,
			.path = strdup(addr.sun_path),
		};
		(*ret_n)++;
		if (ret[i].path == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

int
listen_open(const char *path, const char *group,
    struct listener ret[LISTEN_MAX], size_t *ret_n, struct imgd_error **err)
{
	int r = take_given(ret, ret_n, err);

	if (r < 0 || *ret_n > 0)
		return r;
	ret[0] = (struct listener) { .fd = -EBADF, .path = strdup(path) };
	*ret_n = 1;
	if (ret[0].path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return listen_path(path, group, &ret[0], err);
}

static int
bind_tcp(const struct addrinfo *info, int *ret_fd)
{
	const int yes = 1;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC |
		    SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		int code = errno;

		(void)close(fd);
		return -code;
	}
	*ret_fd = fd;
	return 0;
}

int
listen_tcp(const char *address, struct listener ret[LISTEN_MAX],
    size_t *ret_n, struct imgd_error **err)
{
	const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	const char *colon = strrchr(address, ':');
	cleanup_free char *host = NULL;
	struct addrinfo *info;
	struct listener *l;
	int r;

	if (colon == NULL || *ret_n == LISTEN_MAX)
		return imgd_error_set(err, EINVAL,
		    "%s: not ADDRESS:PORT, or one socket too many", address);
	host = address[0] == '[' && colon > address + 1 && colon[-1] == ']'
	    ? strndup(address + 1, (size_t)(colon - address) - 2)
	    : strndup(address, (size_t)(colon - address));
	l = &ret[*ret_n];
	*l = (struct listener) {
		.fd = -EBADF,
		.path = strdup(address),
		.is_tcp = true,
	};
	(*ret_n)++;
	if (host == NULL || l->path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = getaddrinfo(host, colon + 1, &hints, &info);
	if (r != 0)
		return imgd_error_set(err, EINVAL, "%s: %s", address,
		    gai_strerror(r));
	r = bind_tcp(info, &l->fd);
	freeaddrinfo(info);
	return r < 0 ? imgd_error_set(err, -r, "%s: %s", address,
			   strerror(-r))
		     : 0;
}

void
listen_close(struct listener *l)
{
	struct stat st;

	if (l->is_ours && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		(void)unlink(l->path);
	l->is_ours = false;
	close_fd(&l->fd);
	free(l->path);
	l->path = NULL;
}
