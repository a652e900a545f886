/* mkfs.ext4 and mkfs.xfs: the only programs that this driver runs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/devmapper/host.h"
#include "lib/cleanup.h"
#include "lib/program.h"

static int
find_program(const char *name, char *ret, size_t size, struct imgd_error **err)
{
	static const char *const dirs[] = { "/usr/sbin", "/sbin",
		"/usr/local/sbin", "/usr/bin", "/bin" };
	size_t i;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(ret, size, "%s/%s", dirs[i], name);
		if (access(ret, X_OK) == 0)
			return 0;
	}
	return imgd_error_set(err, EOPNOTSUPP,
	    "%s is not installed (looked in /usr/sbin, /sbin, "
	    "/usr/local/sbin, /usr/bin, /bin)", name);
}

int
host_make_fs(const char *fs, char *const *args, const char *path,
    struct imgd_error **err)
{
	/* Nothing is written that need not be: blocks of the pool are only
	 * used by what is written. */
	static const char *const ext4[] = { "-q", "-F", "-m0", "-E",
		"nodiscard,lazy_itable_init=1,lazy_journal_init=1", NULL };
	static const char *const xfs[] = { "-q", "-f", "-K", NULL };
	const char *const *fixed = strcmp(fs, "xfs") == 0 ? xfs : ext4;
	cleanup_free const char **argv = NULL;
	char program[64], name[32];
	size_t i, n = 0;
	int r;

	(void)snprintf(name, sizeof(name), "mkfs.%s", fs);
	r = find_program(name, program, sizeof(program), err);
	if (r < 0)
		return r;
	for (i = 0; args[i] != NULL; i++)
		;
	argv = calloc(i + 10, sizeof(*argv));
	if (argv == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	argv[n++] = name;
	for (i = 0; fixed[i] != NULL; i++)
		argv[n++] = fixed[i];
	for (i = 0; args[i] != NULL; i++)
		argv[n++] = args[i];
	argv[n++] = path;
	return program_run(program, argv, AT_FDCWD, PROGRAM_DIES_WITH_US,
	    err);
}
