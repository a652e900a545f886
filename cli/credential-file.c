/* config.json as a file. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/credentials.h"
#include "lib/cleanup-json.h"
#include "lib/fs-at.h"
#include "lib/json-scan.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

#define CONFIG_MAX_BYTES (4u << 20)
#define HUB_KEY          "https://index.docker.io/v1/"

char *
credential_file_path(void)
{
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
	char *path = NULL;
	int n;

	if (dir != NULL && *dir != '\0')
		n = asprintf(&path, "%s/config.json", dir);
	else if (home != NULL && *home != '\0')
		n = asprintf(&path, "%s/.docker/config.json", home);
	else
		return NULL;
	return n < 0 ? NULL : path;
}

const char *
credential_key(const char *domain)
{
	return strcmp(domain, REFERENCE_DEFAULT_DOMAIN) == 0 ? HUB_KEY
							     : domain;
}

int
credential_file_read(const char *path, struct json_object **ret,
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *text = NULL;
	size_t len = 0;
	int r;

	r = fs_read_file(AT_FDCWD, path, CONFIG_MAX_BYTES, &text, &len, err);
	if (r >= 0)
		r = json_scan(text, len, err);
	if (r < 0)
		return r;
	o = json_tokener_parse(text);
	explicit_bzero(text, len);
	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, EINVAL, "not a JSON object");
	*ret = take_ptr(&o);
	return 0;
}

const char *
credential_file_helper(struct json_object *o, const char *domain)
{
	const char *key = credential_key(domain);
	struct json_object *helpers, *v;

	if (json_object_object_get_ex(o, "credHelpers", &helpers) &&
	    json_object_is_type(helpers, json_type_object) &&
	    (json_object_object_get_ex(helpers, domain, &v) ||
		json_object_object_get_ex(helpers, key, &v)) &&
	    json_object_is_type(v, json_type_string))
		return json_object_get_string(v);
	if (json_object_object_get_ex(o, "credsStore", &v) &&
	    json_object_is_type(v, json_type_string) &&
	    json_object_get_string_len(v) > 0)
		return json_object_get_string(v);
	return NULL;
}

/* Write name in dir_fd by way of a file beside it. */
static int
replace(int dir_fd, const char *name, const char *text,
    struct imgd_error **err)
{
	cleanup_free char *temporary = NULL;
	cleanup_close int fd = -EBADF;
	char key[65];
	int r;

	r = str_random_key(key, err);
	if (r < 0)
		return r;
	if (asprintf(&temporary, ".%s.%.16s", name, key) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	fd = openat(dir_fd, temporary,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	r = fs_write_all(fd, text, strlen(text), err);
	if (r >= 0 && (fsync(fd) < 0 ||
			  renameat(dir_fd, temporary, dir_fd, name) < 0 ||
			  fsync(dir_fd) < 0))
		r = imgd_error_set(err, errno, "%s", strerror(errno));
	if (r < 0)
		(void)unlinkat(dir_fd, temporary, 0);
	return r;
}

int
credential_file_write(const char *path, struct json_object *o,
    struct imgd_error **err)
{
	/* Where the file is a symbolic link, what it leads to is replaced. */
	cleanup_free char *real = realpath(path, NULL);
	cleanup_free char *for_dir = strdup(real != NULL ? real : path);
	cleanup_free char *for_name = strdup(real != NULL ? real : path);
	const char *text = json_object_to_json_string_ext(o,
	    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_PRETTY_TAB |
		JSON_C_TO_STRING_NOSLASHESCAPE);
	cleanup_close int dir_fd = -EBADF;
	const char *dir;

	if (for_dir == NULL || for_name == NULL || text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	dir = dirname(for_dir);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return imgd_error_set(err, errno, "%s", strerror(errno));
	return replace(dir_fd, basename(for_name), text, err);
}
