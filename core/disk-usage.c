#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/disk-usage.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/log.h"
#include "lib/strbuf.h"

/* Each level holds a descriptor; no real tree is as deep. */
#define MAX_DEPTH 200

/* ---- bytes on the disk ---- */

/* Directories whose bytes are known, by number. */
struct known {
	const struct disk_layer **list;
	size_t n;
};

static int
compare_numbers(dev_t dev, ino_t ino, const struct disk_layer *l)
{
	if (dev != l->dev)
		return dev < l->dev ? -1 : 1;
	return ino < l->ino ? -1 : ino > l->ino;
}

static int
compare_dirs(const void *a, const void *b)
{
	const struct disk_layer *x = *(struct disk_layer *const *)a;

	return compare_numbers(x->dev, x->ino,
	    *(struct disk_layer *const *)b);
}

static const struct disk_layer *
find_known(const struct known *known, dev_t dev, ino_t ino)
{
	size_t low = 0, high = known->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = compare_numbers(dev, ino, known->list[mid]);

		if (r == 0)
			return known->list[mid];
		if (r < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* A file with several names counts in parts: all of them are in the store. */
static uint64_t
file_bytes(const struct statx *st)
{
	uint64_t bytes = st->stx_blocks * 512;

	return S_ISDIR(st->stx_mode) || st->stx_nlink < 2
	    ? bytes
	    : bytes / st->stx_nlink;
}

/* A subvolume has a device number of its own; a mount, an id. */
static int
look(int dir_fd, const char *name, struct statx *st)
{
	return statx(dir_fd, name,
	    AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
	    STATX_BASIC_STATS | STATX_MNT_ID, st);
}

static dev_t
device_of(const struct statx *st)
{
	return makedev(st->stx_dev_major, st->stx_dev_minor);
}

/* The directory's own bytes are the caller's.  What vanishes meanwhile is not
 * there; mount points are left out. */
static uint64_t
dir_bytes(int parent_fd, const char *name, uint64_t mount,
    const struct known *known, int depth)
{
	int fd = fs_open_dir(parent_fd, name, NULL);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	uint64_t bytes = 0;
	struct dirent *de;
	struct statx st;

	if (dir == NULL) {
		cleanup_closep(&fd);
		return 0;
	}
	while ((de = readdir(dir)) != NULL) {
		const struct disk_layer *layer = NULL;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    look(fd, de->d_name, &st) < 0 || st.stx_mnt_id != mount)
			continue;
		if (S_ISDIR(st.stx_mode) && known != NULL)
			layer = find_known(known, device_of(&st), st.stx_ino);
		bytes += layer != NULL ? layer->bytes : file_bytes(&st);
		if (S_ISDIR(st.stx_mode) && layer == NULL &&
		    depth < MAX_DEPTH)
			bytes += dir_bytes(fd, de->d_name, mount, known,
			    depth + 1);
	}
	return bytes;
}

/* A name and all below it. */
static uint64_t
tree_bytes(int parent_fd, const char *name, const struct known *known)
{
	struct statx st;

	if (look(parent_fd, name, &st) < 0)
		return 0;
	return file_bytes(&st) +
	    (S_ISDIR(st.stx_mode)
		    ? dir_bytes(parent_fd, name, st.stx_mnt_id, known, 0)
		    : 0);
}

/* ---- rows ---- */

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static struct disk_layer *
add(struct disk_usage *u, const char *key, const char *driver,
    const char *state)
{
	struct disk_layer *l;

	/* In powers of two. */
	if ((u->n_layers & (u->n_layers - 1)) == 0) {
		l = reallocarray(u->layers,
		    u->n_layers > 0 ? 2 * u->n_layers : 1, sizeof(*l));
		if (l == NULL)
			return NULL;
		u->layers = l;
	}
	l = &u->layers[u->n_layers++];
	*l = (struct disk_layer) { .name = NULL };
	(void)snprintf(l->key, sizeof(l->key), "%s", key);
	(void)snprintf(l->driver, sizeof(l->driver), "%s", driver);
	(void)snprintf(l->state, sizeof(l->state), "%s", state);
	return l;
}

static int
add_layer(void *ctx, const struct layer_row *row)
{
	struct disk_layer *l = add(ctx, row->key, row->driver, row->state);

	if (l == NULL)
		return -ENOMEM;
	(void)snprintf(l->chain_id, sizeof(l->chain_id), "%s", row->chain_id);
	l->content_bytes = row->size_bytes;
	return 0;
}

static int
add_writable(void *ctx, const struct container_row *row)
{
	struct disk_layer *l = add(ctx, row->key, row->driver, row->state);

	if (l == NULL)
		return -ENOMEM;
	l->name = strdup(row->name);
	l->image = strdup(row->image);
	return l->name != NULL && l->image != NULL ? 0 : -ENOMEM;
}

static int
compare_keys(const void *a, const void *b)
{
	const struct disk_layer *x = *(struct disk_layer *const *)a;
	const struct disk_layer *y = *(struct disk_layer *const *)b;

	return strcmp(x->key, y->key);
}

static int
read_rows(struct store *s, struct disk_usage *u, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	size_t i;
	int r;

	if (s->tags == NULL)
		return 0;
	r = tagstore_layers(s->tags, NULL, NULL, add_layer, u, &e);
	if (r >= 0)
		r = tagstore_containers(s->tags, add_writable, u, &e);
	if (r < 0)
		return e == NULL
		    ? no_memory(err)
		    : imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	u->by_key = calloc(u->n_layers + 1, sizeof(*u->by_key));
	if (u->by_key == NULL)
		return no_memory(err);
	for (i = 0; i < u->n_layers; i++)
		u->by_key[i] = &u->layers[i];
	qsort(u->by_key, u->n_layers, sizeof(*u->by_key), compare_keys);
	return 0;
}

struct disk_layer *
disk_usage_layer(const struct disk_usage *u, const char *key)
{
	size_t low = 0, high = u->n_layers;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = strcmp(key, u->by_key[mid]->key);

		if (r == 0)
			return u->by_key[mid];
		if (r < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* ---- layers ---- */

/* What a driver tells of itself, or of a layer; imgd-driver(3) names the
 * keys. */
struct told {
	char *dir;
	bool has_bytes;
	uint64_t bytes;
};

static void
take_told(void *ctx, const char *key, const char *value)
{
	struct told *t = ctx;

	if (t->dir == NULL &&
	    (strcmp(key, "Dir") == 0 || strcmp(key, "UpperDir") == 0 ||
		strcmp(key, "DiffDir") == 0))
		t->dir = strdup(value);
	else if (strcmp(key, "Bytes Used") == 0 ||
	    strcmp(key, "MappedBytes") == 0)
		t->has_bytes = str_to_u64(value, UINT64_MAX, &t->bytes);
}

/* A driver that cannot tell leaves the layer to the walk of its home. */
static void
ask_driver(struct store *s, struct disk_layer *l)
{
	cleanup_error struct imgd_error *why = NULL;
	struct told t = { .dir = NULL };
	struct driver *d;

	if (store_driver(s, l->driver, &d, &why) < 0 ||
	    driver_metadata(d, l->key, take_told, &t, &why) < 0)
		log_debug("space", "%s, ignoring", imgd_error_msg(why));
	l->dir = t.dir;
	l->is_measured = t.has_bytes;
	l->bytes = t.bytes;
}

static void
measure(struct store *s, const struct disk_layer *old, struct disk_layer *l)
{
	bool is_final = strcmp(l->state, "ready") == 0 && l->name == NULL;
	struct statx st;

	if (old != NULL && old->dir != NULL)
		l->dir = strdup(old->dir);
	if (l->dir == NULL)
		ask_driver(s, l);
	if (l->dir == NULL || look(AT_FDCWD, l->dir, &st) < 0 ||
	    !S_ISDIR(st.stx_mode))
		return;
	l->dev = device_of(&st);
	l->ino = st.stx_ino;
	l->is_measured = true;
	l->bytes = is_final && old != NULL && old->is_measured &&
		strcmp(old->state, "ready") == 0 && old->dev == l->dev &&
		old->ino == l->ino
	    ? old->bytes
	    : tree_bytes(AT_FDCWD, l->dir, NULL);
}

static int
measure_layers(struct store *s, const struct disk_usage *before,
    struct disk_usage *u, struct known *known, struct imgd_error **err)
{
	size_t i;

	known->list = calloc(u->n_layers + 1, sizeof(*known->list));
	if (known->list == NULL)
		return no_memory(err);
	for (i = 0; i < u->n_layers; i++) {
		struct disk_layer *l = &u->layers[i];

		measure(s,
		    before != NULL ? disk_usage_layer(before, l->key) : NULL,
		    l);
		if (l->is_measured && l->dir != NULL)
			known->list[known->n++] = l;
	}
	qsort(known->list, known->n, sizeof(*known->list), compare_dirs);
	return 0;
}

/* ---- drivers, and the rest ---- */

static struct disk_driver *
find_driver(struct disk_usage *u, const char *name)
{
	size_t i;

	for (i = 0; i < u->n_drivers; i++)
		if (strcmp(u->drivers[i].name, name) == 0)
			return &u->drivers[i];
	if (i == STORE_MAX_DRIVERS)
		return NULL;
	(void)snprintf(u->drivers[i].name, sizeof(u->drivers[i].name), "%s",
	    name);
	u->n_drivers++;
	return &u->drivers[i];
}

static void
ask_pool(struct store *s, struct disk_driver *to)
{
	cleanup_error struct imgd_error *why = NULL;
	struct told t = { .dir = NULL };
	struct driver *d;

	if (store_driver(s, to->name, &d, &why) < 0 ||
	    driver_status(d, take_told, &t, &why) < 0)
		log_debug("space", "%s, ignoring", imgd_error_msg(why));
	free(t.dir);
	to->has_pool = t.has_bytes;
	to->pool_bytes = t.bytes;
}

static void
sum_drivers(struct store *s, struct disk_usage *u, const struct known *known)
{
	int fd = fs_open_dir(s->root_fd, "drivers", NULL);
	size_t i;

	for (i = 0; i < u->n_layers; i++) {
		const struct disk_layer *l = &u->layers[i];
		struct disk_driver *d = find_driver(u, l->driver);

		if (d == NULL || l->name != NULL ||
		    strcmp(l->state, "ready") != 0)
			continue;
		d->n_layers++;
		d->content_bytes += l->content_bytes;
	}
	for (i = 0; i < u->n_drivers; i++) {
		struct disk_driver *d = &u->drivers[i];

		if (fd >= 0)
			d->bytes = tree_bytes(fd, d->name, known);
		u->total += d->bytes;
		ask_pool(s, d);
	}
	cleanup_closep(&fd);
}

/* All that is in ROOT and has not been counted. */
static void
sum_rest(struct store *s, struct disk_usage *u, const struct known *known)
{
	const struct {
		const char *name;
		uint64_t *to;
	} parts[] = { { "recipes", &u->recipes }, { "spool", &u->spool },
		{ "imgd.db", &u->database }, { "imgd.db-wal", &u->database },
		{ "imgd.db-shm", &u->database } };
	uint64_t counted, all;
	size_t i;

	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		*parts[i].to += tree_bytes(s->root_fd, parts[i].name, NULL);
	counted = u->total + u->recipes + u->spool + u->database;
	all = tree_bytes(s->root_fd, ".", known);
	/* The store may change meanwhile; the sum is one of its parts. */
	u->other = all > counted ? all - counted : 0;
	u->total = counted + u->other;
}

int
disk_usage_read(struct store *s, const struct disk_usage *before,
    struct disk_usage *ret, struct imgd_error **err)
{
	struct known known = { NULL, 0 };
	int r = read_rows(s, ret, err);

	if (r >= 0)
		r = measure_layers(s, before, ret, &known, err);
	if (r >= 0) {
		sum_drivers(s, ret, &known);
		sum_rest(s, ret, &known);
	}
	free(known.list);
	return r < 0 ? r : 0;
}

void
disk_usage_done(struct disk_usage *u)
{
	size_t i;

	for (i = 0; i < u->n_layers; i++) {
		free(u->layers[i].name);
		free(u->layers[i].image);
		free(u->layers[i].dir);
	}
	free(u->layers);
	free(u->by_key);
	*u = (struct disk_usage) { .layers = NULL };
}

uint64_t
disk_usage_sum(const struct disk_usage *u)
{
	uint64_t sum = u->total;
	size_t i;

	for (i = 0; i < u->n_drivers; i++)
		if (u->drivers[i].has_pool)
			sum += u->drivers[i].pool_bytes - u->drivers[i].bytes;
	return sum;
}
