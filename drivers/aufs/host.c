/* The machine: mounts, and the two programs that this driver runs. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#include "drivers/aufs/mount.h"
#include "lib/program.h"

/* How often an unmount is tried while it is busy, 10 ms apart. */
#define UMOUNT_TRIES 20

static int
host_run(const char *program, const char *const *argv, int dir_fd,
    struct imgd_error **err)
{
	return program_run(program, argv, dir_fd, PROGRAM_MAY_STAY, err);
}

const struct aufs_ops aufs_host_ops = {
	.mount = mount,
	.umount = umount2,
	.run = host_run,
};

int
aufs_umount(const struct aufs_ops *ops, const char *target,
    struct imgd_error **err)
{
	const struct timespec pause = { 0, 10000000 };
	int tries, e = EBUSY;

	/* A program that another thread starts holds our descriptors until
	 * it is executed; who looks at the mount table, for a moment, too. */
	for (tries = 0; tries < UMOUNT_TRIES && e == EBUSY; tries++) {
		if (tries > 0)
			(void)nanosleep(&pause, NULL);
		if (ops->umount(target, UMOUNT_NOFOLLOW) == 0 ||
		    errno == EINVAL)
			return 0;
		e = errno;
	}
	return imgd_error_set(err, e, "unmount %s: %s", target, strerror(e));
}
