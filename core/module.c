#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/module.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

int
module_dir(char **ret_dir, struct imgd_error **err)
{
	static const char bindir[] = IMGD_BINDIR "/";
	char exe[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return imgd_error_set(err, errno, "/proc/self/exe: %s",
		    strerror(errno));
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	if (slash != NULL)
		slash[1] = '\0';
	if (str_ends(exe, bindir))
		exe[strlen(exe) - strlen(bindir)] = '\0';
	else
		exe[0] = '\0';
	if (asprintf(ret_dir, "%s%s", exe, IMGD_PKGLIBDIR) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
check_owner(const char *path, mode_t type, struct imgd_error **err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	if ((st.st_mode & S_IFMT) != type)
		return imgd_error_set(err, EINVAL, "%s: not a %s", path,
		    type == S_IFDIR ? "directory" : "regular file");
	if ((st.st_uid != 0 && st.st_uid != geteuid()) ||
	    (st.st_mode & 0022) != 0)
		return imgd_error_set(err, EPERM,
		    "%s: not loaded, others may write it", path);
	return 0;
}

int
module_load(const char *path, void **ret_module, struct imgd_error **err)
{
	cleanup_free char *copy = strdup(path);
	void *m;
	int r;

	if (copy == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = check_owner(path, S_IFREG, err);
	if (r >= 0)
		r = check_owner(dirname(copy), S_IFDIR, err);
	if (r < 0)
		return r;
	m = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (m == NULL)
		return imgd_error_set(err, ENOEXEC, "%s", dlerror());
	*ret_module = m;
	return 0;
}

static int
module_path(const char *name, char **ret, struct imgd_error **err)
{
	cleanup_free char *dir = NULL;
	int r = module_dir(&dir, err);

	if (r < 0)
		return r;
	if (asprintf(ret, "%s/workers/imgd-%s.so", dir, name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

bool
module_exists(const char *name)
{
	cleanup_free char *path = NULL;

	return module_path(name, &path, NULL) >= 0 && access(path, F_OK) == 0;
}

int
module_symbol(const char *name, const char *symbol, void **ret,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	void *module;
	int r;

	r = module_path(name, &path, err);
	if (r >= 0)
		r = module_load(path, &module, err);
	if (r < 0)
		return r;
	*ret = dlsym(module, symbol);
	if (*ret == NULL)
		return imgd_error_set(err, ENOEXEC, "%s: no %s", path,
		    symbol);
	return 0;
}
