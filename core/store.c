#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/images-list.h"
#include "core/store.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "registry/reference.h"
#include "tagstore/uses.h"

/* design: devmapper only by request, or when its pool is configured. */
static const char *const probe_order[] = { "overlay", "aufs", "btrfs", "vfs" };

int
store_open_root(const char *root, bool is_readonly, int *ret_fd,
    struct imgd_error **err)
{
	cleanup_close int fd = -EBADF;
	struct stat st;

	if (!is_readonly && geteuid() != 0)
		return imgd_error_set(err, EPERM,
		    "store %s: changing it needs root, or root of a user "
		    "namespace: try sudo, or unshare --map-auto "
		    "--map-root-user --mount",
		    root);
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !is_readonly) {
		if (mkdir(root, 0700) < 0 && errno != EEXIST)
			return imgd_error_set(err, errno, "store %s: %s",
			    root, strerror(errno));
		fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return imgd_error_set(err, errno, "store %s: %s", root,
		    errno == EACCES && geteuid() != 0
			? "permission denied; run imgd as root"
			: strerror(errno));
	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "store %s: %s", root,
		    strerror(errno));
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return imgd_error_set(err, EPERM,
		    "store %s: belongs to user %u", root,
		    (unsigned int)st.st_uid);
	if ((st.st_mode & 0022) != 0)
		return imgd_error_set(err, EPERM,
		    "store %s: others may write it (mode %04o)", root,
		    (unsigned int)(st.st_mode & 07777));
	if (!is_readonly && (st.st_mode & 0077) != 0 &&
	    fchmod(fd, 0700) < 0)
		return imgd_error_set(err, errno, "store %s: chmod: %s", root,
		    strerror(errno));
	*ret_fd = take_fd(&fd);
	return 0;
}

int
store_open(const char *root, const struct config *config, bool is_readonly,
    struct store **ret, struct imgd_error **err)
{
	cleanup(store_closep) struct store *s = calloc(1, sizeof(*s));
	cleanup_error struct imgd_error *e = NULL;
	int r;

	if (s == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->root_fd = -EBADF;
	s->is_readonly = is_readonly;
	s->config = config;
	(void)pthread_mutex_init(&s->mutex, NULL);
	if (!is_readonly)
		s->images_cache = images_cache_new();
	r = store_open_root(root, is_readonly, &s->root_fd, &e);
	if (r >= 0)
		r = fs_real_path(s->root_fd, &s->root, &e);
	if (r >= 0)
		r = tagstore_open(s->root_fd, is_readonly, &s->tags, &e);
	if (r < 0 && !(is_readonly && r == -ENOENT))
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	if (s->root == NULL && (s->root = strdup(root)) == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret = take_ptr(&s);
	return 0;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	while (s->n_drivers > 0)
		driver_close(s->drivers[--s->n_drivers]);
	tagstore_close(s->tags);
	images_cache_free(s->images_cache);
	close_fd(&s->root_fd);
	free(s->root);
	free(s->default_driver);
	(void)pthread_mutex_destroy(&s->mutex);
	free(s);
}

static void
open_params(const struct store *s, struct driver_open_params *p)
{
	*p = (struct driver_open_params) {
		.root_fd = s->root_fd,
		.root = s->root,
		.is_readonly = s->is_readonly,
		.options = s->config->storage_opts,
		.n_options = s->config->n_storage_opts,
	};
}

static int
probe_all(struct store *s, char **ret, struct imgd_error **err)
{
	struct driver_open_params p;
	size_t i;

	open_params(s, &p);
	for (i = 0; i < sizeof(probe_order) / sizeof(probe_order[0]); i++) {
		cleanup_error struct imgd_error *e = NULL;
		int r = driver_probe(probe_order[i], &p, &e);

		if (r >= 0) {
			*ret = strdup(probe_order[i]);
			return *ret != NULL ? 0
					    : imgd_error_set(err, ENOMEM,
						  "out of memory");
		}
		log_debug("driver", "%s", imgd_error_msg(e));
		if (r != -EOPNOTSUPP && r != -ENOENT)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(e));
	}
	return imgd_error_set(err, EOPNOTSUPP,
	    "store %s: no storage driver works here (imgd driver ls tells "
	    "why)",
	    s->root);
}

/* The driver of a store that was not told which. */
static int
choose(struct store *s, char **ret, struct imgd_error **err)
{
	cleanup_free char *used = NULL;
	int r;

	if (s->config->storage_driver != NULL) {
		*ret = strdup(s->config->storage_driver);
		return *ret != NULL ? 0 : imgd_error_set(err, ENOMEM,
					      "out of memory");
	}
	if (s->tags != NULL) {
		r = tagstore_drivers(s->tags, &used, err);
		if (r < 0)
			return r;
		used[strcspn(used, ",")] = '\0';
		if (used[0] != '\0') {
			*ret = take_ptr(&used);
			return 0;
		}
	}
	return probe_all(s, ret, err);
}

/* The open driver of that own name, opened if need be; under s->mutex. */
static int
get_driver(struct store *s, const char *path, const char *name,
    struct driver **ret, struct imgd_error **err)
{
	struct driver_open_params p;
	size_t i;
	int r;

	for (i = 0; i < s->n_drivers; i++)
		if (strcmp(driver_name(s->drivers[i]), name) == 0)
			break;
	if (i == STORE_MAX_DRIVERS)
		return imgd_error_set(err, EMFILE, "too many drivers in use");
	if (i == s->n_drivers) {
		open_params(s, &p);
		r = driver_open(path, &p, &s->drivers[i], err);
		if (r < 0)
			return r;
		s->n_drivers++;
	}
	*ret = s->drivers[i];
	return 0;
}

int
store_driver(struct store *s, const char *name, struct driver **ret,
    struct imgd_error **err)
{
	cleanup(driver_info_done) struct driver_info info = { 0 };
	struct driver *d = NULL;
	int r = 0;

	/* Probing is done under the lock, too: once, not once per job. */
	pthread_mutex_lock(&s->mutex);
	if (name == NULL || *name == '\0') {
		if (s->default_driver == NULL)
			r = choose(s, &s->default_driver, err);
		name = s->default_driver;
	}
	/* Resolves aliases and paths to the driver's own name. */
	if (r >= 0)
		r = store_load_driver(s, name, &info, err);
	if (r >= 0)
		r = get_driver(s, info.path, info.table.name, &d, err);
	if (r >= 0 && strchr(name, '/') != NULL && !s->is_readonly)
		r = store_note_module(s, &info, err);
	if (r >= 0)
		*ret = d;
	pthread_mutex_unlock(&s->mutex);
	return r;
}

int
store_open_recipe(struct store *s, const char *key, int flags, int *ret_fd,
    struct imgd_error **err)
{
	cleanup_close int dir_fd = fs_open_dir(s->root_fd, "recipes", err);
	int fd;

	if (dir_fd < 0)
		return dir_fd;
	fd = openat(dir_fd, key, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return imgd_error_set(err, errno, "recipe %.12s: %s", key,
		    strerror(errno));
	*ret_fd = fd;
	return 0;
}

/* Of a comma-separated list of drivers those that have caps; malloc'ed. */
static int
filter_able(struct store *s, const char *list, uint32_t caps, char **ret,
    struct imgd_error **err)
{
	cleanup_free char *copy = strdup(list);
	struct strbuf able = STRBUF_INIT;
	char *name, *save = NULL;

	strbuf_puts(&able, "");
	for (name = copy != NULL ? strtok_r(copy, ",", &save) : NULL;
	    name != NULL; name = strtok_r(NULL, ",", &save)) {
		cleanup(driver_info_done) struct driver_info info = { 0 };

		/* One that cannot be loaded fails where it is used. */
		if (caps == 0 || (store_load_driver(s, name, &info, NULL) >= 0 &&
				     (info.table.caps & caps) == caps))
			strbuf_printf(&able, "%s%s", able.len > 0 ? "," : "",
			    name);
	}
	*ret = strbuf_take(&able);
	return copy != NULL && *ret != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

static const char *
caps_text(uint32_t caps)
{
	return caps & IMGD_CAP_BLOCKDEV ? "block devices" : "writable layers";
}

/* The first of held that the store would choose itself. */
static int
pick_driver(struct store *s, const char *held, char **ret,
    struct imgd_error **err)
{
	const char *pick = s->config->storage_driver;
	cleanup_free char *used = NULL;
	int r;

	if (pick == NULL || !str_csv_has(held, pick)) {
		r = tagstore_drivers(s->tags, &used, err);
		if (r < 0)
			return r;
		used[strcspn(used, ",")] = '\0';
		pick = str_csv_has(held, used) ? used : held;
	}
	*ret = strndup(pick, strcspn(pick, ","));
	return *ret != NULL ? 0 : imgd_error_set(err, ENOMEM,
				      "out of memory");
}

int
store_image_driver(struct store *s, const char *image, const char *name,
    uint32_t caps, char **ret_name, struct imgd_error **err)
{
	cleanup(driver_info_done) struct driver_info info = { 0 };
	cleanup_free char *held = NULL, *able = NULL;
	int r;

	r = tagstore_image_drivers(s->tags, image, &held, err);
	if (r < 0)
		return r;
	if (name != NULL && *name != '\0') {
		r = store_load_driver(s, name, &info, err);
		if (r < 0)
			return r;
		if (!str_csv_has(held, info.table.name))
			return imgd_error_set(err, ENOENT,
			    "image %.19s is not in driver %s, only in %s",
			    image, info.table.name, held);
		*ret_name = strdup(info.table.name);
		return *ret_name != NULL ? 0 : imgd_error_set(err, ENOMEM,
						   "out of memory");
	}
	if (*held == '\0')
		return imgd_error_set(err, ENOENT,
		    "image %.19s is in no driver", image);
	r = filter_able(s, held, caps, &able, err);
	if (r < 0)
		return r;
	if (*able == '\0')
		return imgd_error_set(err, EOPNOTSUPP,
		    "image %.19s is only in %s, which has no %s", image, held,
		    caps_text(caps));
	return pick_driver(s, able, ret_name, err);
}

void
store_note_use(struct store *s, const char *image)
{
	cleanup_error struct imgd_error *why = NULL;

	if (tagstore_image_used(s->tags, image, &why) < 0)
		log_warn("%s, ignoring", imgd_error_msg(why));
}

static int
find_by_name(struct store *s, const struct reference *ref, char **ret_id,
    struct image_name *ret_name, struct imgd_error **err)
{
	cleanup(image_name_done) struct image_name row = { 0 };
	cleanup_free char *name = reference_name(ref);
	int r;

	if (name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = tagstore_name(s->tags, name, ref->tag, ref->digest, &row, err);
	if (r < 0)
		return r;
	*ret_id = strdup(row.image);
	if (*ret_id == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (ret_name != NULL) {
		*ret_name = row;
		row = (struct image_name) { 0 };
	}
	return 0;
}

/* As docker words it: clients look for these words. */
static int
no_such_image(const struct reference *ref, const char *typed,
    struct imgd_error **err)
{
	cleanup_free char *name = ref->path != NULL ? reference_familiar(ref)
						    : NULL;

	return imgd_error_set(err, ENOENT, "No such image: %s",
	    name != NULL ? name : typed);
}

int
store_find_image(struct store *s, const char *typed, char **ret_id,
    struct image_name *ret_name, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_error struct imgd_error *parse = NULL, *e = NULL;
	int r;

	r = str_starts(typed, "sha256:") ? -EINVAL
	    : reference_parse(typed, REFERENCE_DEFAULT_TAG, &ref, &parse);
	if (s->tags == NULL)
		return no_such_image(&ref, typed, err);
	if (r >= 0) {
		r = find_by_name(s, &ref, ret_id, ret_name, &e);
		if (r >= 0)
			return 0;
		if (r != -ENOENT)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(e));
	}
	imgd_error_free(e);
	e = NULL;
	r = tagstore_image_by_prefix(s->tags, typed, ret_id, &e);
	if (r >= 0)
		return 0;
	return r == -ENOENT ? no_such_image(&ref, typed, err)
			    : imgd_error_set(err, -r, "%s",
				  imgd_error_msg(e));
}
