/* Finding and loading driver modules. */
#include "config.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/driver-call.h"
#include "core/module.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define MODULE_PREFIX "imgd-"
#define MODULE_SUFFIX "-driver.so"

static pthread_mutex_t init_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Names that Docker's users know these drivers by. */
static const struct {
	const char *alias, *name;
} aliases[] = {
	{ "devicemapper", "devmapper" },
	{ "overlay2", "overlay" },
};

/* The driver's own name for what a user typed. */
static const char *
own_name(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
		if (strcmp(name, aliases[i].alias) == 0)
			return aliases[i].name;
	return name;
}

static int
module_path(const char *name, char **ret, struct imgd_error **err)
{
	cleanup_free char *dir = NULL;
	int r;

	if (strchr(name, '/') != NULL) {
		*ret = strdup(name);
		return *ret != NULL ? 0 : imgd_error_set(err, ENOMEM,
					      "out of memory");
	}
	name = own_name(name);
	if (*name == '\0' ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] !=
		'\0')
		return imgd_error_set(err, EINVAL,
		    "driver %s: not a driver's name", name);
	r = module_dir(&dir, err);
	if (r < 0)
		return r;
	if (asprintf(ret, "%s/drivers/" MODULE_PREFIX "%s" MODULE_SUFFIX, dir,
		name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
check_table(const char *path, const struct imgd_driver *t,
    struct imgd_error **err)
{
	static const size_t least = offsetof(struct imgd_driver, check);
	cleanup_free char *file = NULL;

	if (t == NULL || t->struct_size < least)
		return imgd_error_set(err, ENOEXEC,
		    "%s: its driver table is too small", path);
	if (t->api != IMGD_DRIVER_API)
		return imgd_error_set(err, ENOEXEC,
		    "%s: made for driver api %u, this imgd has %d", path,
		    (unsigned int)t->api, IMGD_DRIVER_API);
	if (t->name == NULL || t->probe == NULL || t->open == NULL ||
	    t->close == NULL || t->create == NULL || t->remove == NULL ||
	    t->exists == NULL || t->get == NULL || t->put == NULL)
		return imgd_error_set(err, ENOEXEC,
		    "%s: a required operation is missing", path);
	if (asprintf(&file, "/" MODULE_PREFIX "%s" MODULE_SUFFIX, t->name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (!str_ends(path, file))
		return imgd_error_set(err, ENOEXEC,
		    "%s: calls itself driver %s", path, t->name);
	return 0;
}

int
driver_load(const char *name, struct driver_info *ret, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free char *path = NULL;
	const struct imgd_driver *table;
	imgd_driver_init_fn *init;
	void *module, *symbol;
	size_t size;
	int r;

	r = module_path(name, &path, err);
	if (r < 0)
		return r;
	r = module_load(path, &module, &e);
	if (r == -ENOENT)
		return imgd_error_set(err, ENOENT,
		    "no such driver: %s (imgd driver ls lists them)", name);
	if (r < 0)
		return imgd_error_set(err, -r, "driver %s: %s", name,
		    imgd_error_msg(e));
	symbol = dlsym(module, IMGD_DRIVER_INIT_SYMBOL);
	if (symbol == NULL)
		return imgd_error_set(err, ENOEXEC,
		    "driver %s: %s has no " IMGD_DRIVER_INIT_SYMBOL, name,
		    path);
	memcpy(&init, &symbol, sizeof(init));
	/* init fills its module's own table in, every time. */
	pthread_mutex_lock(&init_mutex);
	table = init();
	r = check_table(path, table, err);
	if (r >= 0) {
		memset(ret, 0, sizeof(*ret));
		size = table->struct_size < sizeof(ret->table)
		    ? table->struct_size
		    : sizeof(ret->table);
		memcpy(&ret->table, table, size);
		ret->path = take_ptr(&path);
	}
	pthread_mutex_unlock(&init_mutex);
	return r;
}

bool
driver_takes_option(const char *name, const char *option)
{
	size_t len = strcspn(option, ".=");
	cleanup_free char *prefix = strndup(option, len);
	cleanup_free char *path = NULL;
	const char *owner;

	if (option[len] != '.' || prefix == NULL)
		return true;
	owner = strcmp(prefix, "dm") == 0 ? "devmapper" : own_name(prefix);
	/* What is nobody's goes to all, to be refused by name. */
	return strcmp(owner, name) == 0 ||
	    module_path(owner, &path, NULL) < 0 || access(path, F_OK) < 0;
}

void
driver_info_done(struct driver_info *info)
{
	free(info->path);
	info->path = NULL;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
names_freep(char ***names)
{
	driver_names_free(*names);
}

int
driver_names(char ***ret_names, struct imgd_error **err)
{
	cleanup(names_freep) char **names = calloc(1, sizeof(*names));
	cleanup_free char *dir = NULL, *path = NULL;
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	size_t n = 0;
	int r;

	r = module_dir(&dir, err);
	if (r < 0)
		return r;
	if (names == NULL || asprintf(&path, "%s/drivers", dir) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	d = opendir(path);
	while (d != NULL && (de = readdir(d)) != NULL) {
		size_t len = strlen(de->d_name);
		size_t fix = strlen(MODULE_PREFIX) + strlen(MODULE_SUFFIX);
		char **grown;

		if (len <= fix || !str_starts(de->d_name, MODULE_PREFIX) ||
		    !str_ends(de->d_name, MODULE_SUFFIX))
			continue;
		grown = reallocarray(names, n + 2, sizeof(*names));
		if (grown == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		names = grown;
		names[n] = strndup(de->d_name + strlen(MODULE_PREFIX),
		    len - fix);
		names[n + 1] = NULL;
		if (names[n++] == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	qsort(names, n, sizeof(*names), by_name);
	*ret_names = take_ptr(&names);
	return 0;
}

void
driver_names_free(char **names)
{
	size_t i;

	for (i = 0; names != NULL && names[i] != NULL; i++)
		free(names[i]);
	free(names);
}
