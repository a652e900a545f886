/*
 * Give a target the files of directories, one after the other; each is told on
 * standard output before and after it, so that the last line names a crash.
 *
 * usage: fuzz-NAME DIR…
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "tests/fuzz/fuzz.h"

#define MAX_BYTES (64u << 20)

static int
replay(int dir_fd, const char *name)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *data = NULL;
	uint8_t *exact;
	size_t len;

	if (fs_read_file(dir_fd, name, MAX_BYTES, &data, &len, &err) < 0) {
		(void)fprintf(stderr, "%s\n", imgd_error_msg(err));
		return -1;
	}
	/* Without the NUL behind it, so that a sanitizer sees one too far. */
	exact = malloc(len > 0 ? len : 1);
	MUST(exact != NULL);
	memcpy(exact, data, len);
	(void)printf("begins %s\n", name);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(exact, len);
	(void)printf("ends %s\n", name);
	(void)fflush(stdout);
	free(exact);
	return 0;
}

static int
is_seed(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int
main(int argc, char **argv)
{
	struct dirent **list;
	int i, k, n, r = 0;

	for (i = 1; i < argc; i++) {
		cleanup_close int fd = open(argv[i],
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		n = scandir(argv[i], &list, is_seed, alphasort);
		if (fd < 0 || n < 0) {
			(void)fprintf(stderr, "%s: %s\n", argv[i],
			    strerror(errno));
			return 2;
		}
		for (k = 0; k < n; k++) {
			if (replay(fd, list[k]->d_name) < 0)
				r = 2;
			free(list[k]);
		}
		free(list);
	}
	return r;
}
