/*
 * A worker that has gone over to the enemy: it stands in the place of a real
 * one and says what a file has.
 *
 * As a puller, which is told a reference first, it sends $HOME/messages/NAME
 * for an image t/NAME; as an unpacker or packer, which speaks first,
 * $HOME/messages/unpacker.  With FILE.fds beside it, descriptors go with the
 * first byte.  Then it listens until nobody is there, or ends at once where
 * FILE.end is.  Each that speaks adds a byte to $HOME/spoken.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"

#define MAX_BYTES (16u << 20)
#define N_FDS     3

/* The reference is the first string of what a puller is told. */
static int
read_name(int sock, char *name, size_t size)
{
	char buf[4096];
	ssize_t n = recv(sock, buf, sizeof(buf) - 1, 0);
	char *at;

	if (n <= 12)
		return -1;
	buf[n] = '\0';
	at = strstr(buf + 12, "/t/");
	if (at == NULL)
		return -1;
	at[strcspn(at, ":")] = '\0';
	(void)snprintf(name, size, "%s", at + 3);
	return 0;
}

static bool
is_there(const char *path, const char *suffix)
{
	char full[4200];

	(void)snprintf(full, sizeof(full), "%s%s", path, suffix);
	return access(full, F_OK) == 0;
}

static ssize_t
send_piece(int sock, const char *data, size_t len, bool with_fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * N_FDS)];
		struct cmsghdr align;
	} control = { .buf = "" };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	const int fds[N_FDS] = { 0, 1, 2 };
	struct cmsghdr *c;

	if (with_fds) {
		mh.msg_control = control.buf;
		mh.msg_controllen = sizeof(control.buf);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL);
}

static void
send_file(int sock, const char *path)
{
	cleanup_free char *data = malloc(MAX_BYTES);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool with_fds = is_there(path, ".fds");
	ssize_t len, at = 0, n;

	if (data == NULL || fd < 0)
		return;
	len = read(fd, data, MAX_BYTES);
	while (at < len) {
		n = send_piece(sock, data + at, (size_t)(len - at), with_fds);
		if (n <= 0)
			return;
		at += n;
		with_fds = false;
	}
}

static void
leave_mark(const char *home)
{
	cleanup_close int fd = -EBADF;
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/spoken", home);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)!write(fd, ".", 1);
}

int
imgd_worker_prepare(int sock, unsigned int what)
{
	(void)sock;
	(void)what;
	return 0;
}

int
imgd_worker_main(int sock, unsigned int what)
{
	const char *home = getenv("HOME");
	char name[512] = "unpacker", path[4096], buf[4096];

	if (what != SPAWN_UNPACKER && what != SPAWN_PACKER &&
	    read_name(sock, name, sizeof(name)) < 0)
		return 1;
	if (home == NULL)
		home = "";
	(void)snprintf(path, sizeof(path), "%s/messages/%s", home, name);
	leave_mark(home);
	send_file(sock, path);
	while (!is_there(path, ".end") && recv(sock, buf, sizeof(buf), 0) > 0)
		;
	return 0;
}
