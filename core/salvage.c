#include "config.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/driver-call.h"
#include "core/lock.h"
#include "core/salvage.h"
#include "core/store.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/recipe.h"
#include "lib/strbuf.h"
#include "tagstore/salvage.h"

#define LOCK_PAUSE_MS 50
#define LOCK_WAIT_MS  10000

struct salvager {
	const char *root; /* absolute */
	int root_fd, recipes_fd;
	const struct config *config;
	struct salvage *salvage;
	struct strbuf found; /* key, parent ("" padded): 65 bytes each */
	uint64_t n_layers;
};

/* Parents come behind their children. */
static int
note_layer(void *ctx, const char *id, const char *parent, uint32_t state)
{
	struct salvager *s = ctx;
	char padded[65] = "";

	if ((state & IMGD_STATE_MASK) != IMGD_STATE_SEALED)
		return 0;
	if (parent != NULL)
		(void)snprintf(padded, sizeof(padded), "%s", parent);
	strbuf_append(&s->found, id, 65);
	strbuf_append(&s->found, padded, sizeof(padded));
	return 0;
}

/* What the end of a layer's recipe says of its tar; no more of it is read, for
 * it may come from an enemy.  0 if there is none. */
static int
read_recipe(struct salvager *s, const char *key, char diff_id[DIGEST_STR_SIZE],
    uint64_t *ret_bytes)
{
	cleanup_close int fd = openat(s->recipes_fd, key,
	    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char end[RECIPE_HEAD_LEN + RECIPE_END_LEN];
	struct stat st;
	uint64_t v;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size < (off_t)sizeof(end) ||
	    pread(fd, end, sizeof(end), st.st_size - (off_t)sizeof(end)) !=
		(ssize_t)sizeof(end) ||
	    end[0] != 'E')
		return 0;
	memcpy(&v, end + RECIPE_HEAD_LEN, sizeof(v));
	*ret_bytes = le64toh(v);
	memcpy(diff_id, end + RECIPE_HEAD_LEN + 16, DIGEST_STR_LEN);
	diff_id[DIGEST_STR_LEN] = '\0';
	return digest_is_valid(diff_id) && *ret_bytes <= INT64_MAX;
}

static int
add_layer(struct salvager *s, const char *driver, const char *key,
    const char *parent, struct imgd_error **err)
{
	char diff_id[DIGEST_STR_SIZE], chain[DIGEST_STR_SIZE];
	char below[80] = "", unused[80];
	uint64_t tar_bytes;
	int r = salvage_chain(s->salvage, key, unused, err);

	if (r != 0)
		return r;
	if (parent[0] != '\0')
		r = salvage_chain(s->salvage, parent, below, err);
	if (r < 0 || (parent[0] != '\0' && !digest_is_valid(below)) ||
	    !read_recipe(s, key, diff_id, &tar_bytes))
		return r;
	r = digest_chain(below, diff_id, chain, err);
	if (r >= 0) {
		const struct layer_row row = {
			.key = (char *)(uintptr_t)key,
			.driver = (char *)(uintptr_t)driver,
			.chain_id = chain,
			.diff_id = diff_id,
			.parent = (char *)(uintptr_t)parent,
			/* About as much; nobody counts on it. */
			.size_bytes = tar_bytes,
			.tar_bytes = tar_bytes,
		};

		r = salvage_add_layer(s->salvage, &row, err);
		s->n_layers += r >= 0;
	}
	return r;
}

static int
add_layers(struct salvager *s, const char *name, struct imgd_error **err)
{
	const struct driver_open_params params = {
		.root_fd = s->root_fd,
		.root = s->root,
		.is_readonly = true,
		.options = s->config->storage_opts,
		.n_options = s->config->n_storage_opts,
	};
	cleanup_error struct imgd_error *why = NULL;
	struct driver *d;
	size_t pos;
	int r;

	/* A driver that does not work now tells nothing. */
	s->found.len = 0;
	r = driver_open(name, &params, &d, &why);
	if (r >= 0) {
		r = driver_list(d, note_layer, s, &why);
		driver_close(d);
	}
	if (r < 0)
		log_warn("%s, ignoring", imgd_error_msg(why));
	r = s->found.is_failed ? imgd_error_set(err, ENOMEM, "out of memory")
			       : 0;
	for (pos = s->found.len; r >= 0 && pos > 0; pos -= 130)
		r = add_layer(s, name, s->found.data + pos - 130,
		    s->found.data + pos - 65, err);
	return r;
}

static int
add_all_layers(struct salvager *s, struct imgd_error **err)
{
	int fd = fs_open_dir(s->root_fd, "drivers", NULL), r = 0;
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (dir == NULL) {
		cleanup_closep(&fd);
		return 0;
	}
	while (r >= 0 && (de = readdir(dir)) != NULL)
		if (de->d_name[0] != '.')
			r = add_layers(s, de->d_name, err);
	return r;
}

static int
take_lock(int root_fd, int *ret_fd, struct imgd_error **err)
{
	const struct timespec pause = { 0, LOCK_PAUSE_MS * 1000000L };
	int waited, r;

	for (waited = 0; waited < LOCK_WAIT_MS; waited += LOCK_PAUSE_MS) {
		r = lock_try(root_fd, ret_fd, err);
		if (r != 0)
			return r;
		(void)nanosleep(&pause, NULL);
	}
	return imgd_error_set(err, EBUSY,
	    "the database cannot be repaired while an engine runs; its pid is "
	    "in the store's file lock");
}

static int
salvage(struct salvager *s, char **ret_text, struct imgd_error **err)
{
	uint64_t rows = 0, images = 0, lost = 0;
	int r = salvage_begin(s->root_fd, &s->salvage, &rows, err);

	if (r < 0)
		return r;
	r = add_all_layers(s, err);
	if (r >= 0)
		r = salvage_end(s->salvage, &images, &lost, err);
	salvage_free(s->salvage);
	if (r >= 0 &&
	    asprintf(ret_text,
		"imgd.db: made anew of %ju rows and %ju layers that had none: "
		"%ju images are whole, %ju are not and were dropped; the old "
		"one is kept as " SALVAGE_ASIDE,
		(uintmax_t)rows, (uintmax_t)s->n_layers, (uintmax_t)images,
		(uintmax_t)lost) < 0)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	return r;
}

int
store_salvage(const char *root, const struct config *config, char **ret_text,
    struct imgd_error **err)
{
	cleanup_close int lock_fd = -EBADF, root_fd = -EBADF;
	cleanup_close int recipes_fd = -EBADF;
	cleanup_free char *path = NULL;
	struct salvager s = { .config = config, .found = STRBUF_INIT };
	int r;

	r = store_open_root(root, /* is_readonly= */ false, &root_fd, err);
	if (r >= 0)
		r = fs_real_path(root_fd, &path, err);
	if (r >= 0)
		r = take_lock(root_fd, &lock_fd, err);
	if (r >= 0)
		r = lock_workers_exclusive(root_fd, err);
	if (r < 0)
		return r;
	recipes_fd = fs_open_dir(root_fd, "recipes", NULL);
	s.root = path;
	s.root_fd = root_fd;
	s.recipes_fd = recipes_fd;
	r = salvage(&s, ret_text, err);
	strbuf_done(&s.found);
	return r;
}
