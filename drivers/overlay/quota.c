#include "config.h"

#include <errno.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "drivers/overlay/probe.h"
#include "drivers/overlay/quota.h"
#include "lib/strbuf.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

/* Where our ids begin: above those that people give, which are small. */
#define FIRST_ID 0x10000000u

static int
kernel_call(int fd, unsigned int cmd, uint32_t id, void *arg)
{
	return (int)syscall(SYS_quotactl_fd, fd, QCMD(cmd, PRJQUOTA), id, arg);
}

int (*quota_call)(int fd, unsigned int cmd, uint32_t id, void *arg) =
    kernel_call;

bool
quota_possible(int fd)
{
	struct fs_quota_stat st = { .qs_version = FS_QSTAT_VERSION };

	/* In a user namespace a project's id cannot be set. */
	return !overlay_needs_userxattr() &&
	    quota_call(fd, Q_XGETQSTAT, 0, &st) == 0 &&
	    (st.qs_flags & FS_QUOTA_PDQ_ENFD) != 0;
}

/* Whether nothing was ever accounted to id, or limited for it. */
static bool
is_free(int fd, uint32_t id)
{
	struct if_dqblk q = { .dqb_valid = 0 };

	if (quota_call(fd, Q_GETQUOTA, id, &q) < 0)
		return errno == ENOENT;
	return q.dqb_curspace == 0 && q.dqb_curinodes == 0 &&
	    q.dqb_bhardlimit == 0 && q.dqb_ihardlimit == 0;
}

static int
choose_id(int fd, uint32_t *ret, struct imgd_error **err)
{
	char key[65];
	int tries, r;

	for (tries = 0; tries < 64; tries++) {
		uint32_t id = FIRST_ID;
		size_t i;

		r = str_random_key(key, err);
		if (r < 0)
			return r;
		for (i = 0; i < 7; i++)
			id |= ((unsigned char)key[i] & 0xfu) << (4 * i);
		if (is_free(fd, id)) {
			*ret = id;
			return 0;
		}
	}
	return imgd_error_set(err, EDQUOT, "no free project id found");
}

static int
set_limit(int fd, uint32_t id, uint64_t bytes)
{
	struct if_dqblk q = {
		.dqb_bhardlimit = bytes / QIF_DQBLKSIZE +
		    (bytes % QIF_DQBLKSIZE != 0),
		.dqb_valid = QIF_BLIMITS,
	};

	return quota_call(fd, Q_SETQUOTA, id, &q);
}

/* What is made in the directory belongs to the project, too. */
static int
set_project(int fd, uint32_t id)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -1;
	attr.fsx_projid = id;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(fd, FS_IOC_FSSETXATTR, &attr);
}

int
quota_limit(const int *dir_fds, size_t n, uint64_t bytes,
    struct imgd_error **err)
{
	uint32_t id = 0;
	size_t i;
	int r = choose_id(dir_fds[0], &id, err);

	if (r < 0)
		return imgd_error_prefix(err, "quota");
	if (set_limit(dir_fds[0], id, bytes) < 0)
		return imgd_error_set(err, errno, "quota: set limit: %s",
		    strerror(errno));
	for (i = 0; i < n; i++) {
		int e;

		if (set_project(dir_fds[i], id) == 0)
			continue;
		e = errno;
		(void)set_limit(dir_fds[0], id, 0);
		return imgd_error_set(err, e, "quota: set project: %s",
		    strerror(e));
	}
	return 0;
}

uint32_t
quota_project(int dir_fd)
{
	struct fsxattr attr;

	return ioctl(dir_fd, FS_IOC_FSGETXATTR, &attr) == 0 &&
	    (attr.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0 &&
	    attr.fsx_projid >= FIRST_ID ? attr.fsx_projid : 0;
}

void
quota_lift(int fd, uint32_t project)
{
	if (project != 0)
		(void)set_limit(fd, project, 0);
}
