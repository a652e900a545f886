#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

static char path[] = "/dev/shm/imgd-fuzz-XXXXXX";
static int top_fd = -EBADF;

static void
scratch_remove(void)
{
	cleanup_close int fd = open("/dev/shm",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	close_fd(&top_fd);
	(void)fs_remove_tree(fd, strrchr(path, '/') + 1, NULL);
}

int
scratch_dir(void)
{
	if (top_fd < 0) {
		MUST(mkdtemp(path) != NULL);
		top_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		MUST(top_fd >= 0);
		MUST(atexit(scratch_remove) == 0);
	}
	return top_fd;
}

int
scratch_file(const char *name)
{
	int fd = openat(scratch_dir(), name,
	    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	MUST(fd >= 0);
	return fd;
}

int
scratch_file_of(const char *name, const uint8_t *data, size_t len)
{
	int fd = scratch_file(name);

	MUST(fs_write_all(fd, data, len, NULL) >= 0);
	MUST(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

int
scratch_tree(const char *name)
{
	int fd;

	MUST(fs_remove_tree(scratch_dir(), name, NULL) >= 0);
	fd = fs_make_open_dir(scratch_dir(), name, 0755, NULL);
	MUST(fd >= 0);
	return fd;
}
