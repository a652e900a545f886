/*
 * The TagStore: names, images, layers, mounts and pulls in flight, in SQLite
 * (ROOT/imgd.db).
 *
 * References are rows, never counters.  A layer row is 'staging' from before
 * its data exists until publication, then 'ready'; 'dying' from the decision
 * to remove it until the driver has done so.  (driver, chain_id) is unique
 * among rows that are not dying.
 *
 * A handle may be used by any thread; calls are serialised inside.
 */
#ifndef TAGSTORE_TAGSTORE_H
#define TAGSTORE_TAGSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"

struct tagstore;

/*
 * Open ROOT/imgd.db.
 *
 * root_fd: the store's directory, borrowed; must outlive the handle.
 * is_readonly: nothing is written; -ENOENT if there is no store yet.
 * A newer store is refused by name; an older one is migrated (writers) or
 * refused (readers).
 */
int tagstore_open(int root_fd, bool is_readonly, struct tagstore **ret,
    struct imgd_error **err);
void tagstore_close(struct tagstore *ts);
static inline void
tagstore_closep(struct tagstore **ts)
{
	tagstore_close(*ts);
}

/* How many transactions this handle has committed. */
unsigned int tagstore_commits(struct tagstore *ts);

/*
 * A number that is another one after whatever was written, by this handle or
 * by another process; two stores' numbers do not compare.
 */
int tagstore_version(struct tagstore *ts, uint64_t *ret,
    struct imgd_error **err);

/* ---- images ---- */

struct image_layer {
	char *diff_id;
	char *chain_id;
	char *blob_digest; /* "" if it never had one */
	char *media_type;
	uint64_t size_bytes; /* of the blob */
};

struct image {
	char *id; /* sha256:… of config */
	char *config;
	size_t config_len;
	char *manifest; /* as received; may be empty */
	size_t manifest_len;
	char *manifest_type;
	int64_t pulled_at; /* seconds since the epoch */
	struct image_layer *layers; /* base first */
	size_t n_layers;
};

void image_done(struct image *img);

/* One name of an image: REPOSITORY:TAG, or REPOSITORY@DIGEST with tag "". */
struct image_name {
	char *repository; /* canonical: docker.io/library/ubuntu */
	char *tag;
	char *manifest_digest; /* what the registry calls it; may be "" */
	char *image;
};

/* The image of that id.  -ENOENT. */
int tagstore_image(struct tagstore *ts, const char *id, struct image *ret,
    struct imgd_error **err);

/* Find an id by a unique prefix of its hex (with or without "sha256:").
 * -ENOENT; -EINVAL if several match.  *ret_id is malloc'ed. */
int tagstore_image_by_prefix(struct tagstore *ts, const char *prefix,
    char **ret_id, struct imgd_error **err);

/* The name's row; tag "" and a digest looks digests up.  -ENOENT. */
int tagstore_name(struct tagstore *ts, const char *repository,
    const char *tag, const char *digest, struct image_name *ret,
    struct imgd_error **err);
void image_name_done(struct image_name *n);

typedef int tagstore_name_cb(void *ctx, const struct image_name *n);
/* Every name, of one image if image is not NULL; tags before digests. */
int tagstore_names(struct tagstore *ts, const char *image,
    tagstore_name_cb *cb, void *ctx, struct imgd_error **err);

/* A line of `imgd images`: what listing needs and no more. */
struct image_summary {
	const char *id;
	const char *created; /* RFC 3339, "" if unknown */
	uint64_t size_bytes; /* content of its layers in one driver */
	uint64_t shared_bytes; /* of them, what other images have, too */
	const char *drivers; /* "vfs,overlay" */
	const char *labels;  /* JSON, "" if it has none */
	uint64_t n_containers; /* writable layers on it */
};
typedef int tagstore_image_cb(void *ctx, const struct image_summary *s);
/* All, the newest first. */
int tagstore_images(struct tagstore *ts, tagstore_image_cb *cb, void *ctx,
    struct imgd_error **err);

/* A layer of an image: its size is its content's in one driver of the image. */
struct layer_summary {
	const char *image, *chain_id;
	uint64_t size_bytes;
};
typedef int tagstore_layer_summary_cb(void *ctx,
    const struct layer_summary *s);
/* All images' layers: image by image in the order of ids, base first. */
int tagstore_layer_summaries(struct tagstore *ts,
    tagstore_layer_summary_cb *cb, void *ctx, struct imgd_error **err);

/* The image's labels as JSON, malloc'ed; "" for none. */
int tagstore_image_labels(struct tagstore *ts, const char *image, char **ret,
    struct imgd_error **err);

/* Drivers that hold the image, comma-separated, malloc'ed; "" for none. */
int tagstore_image_drivers(struct tagstore *ts, const char *image,
    char **ret, struct imgd_error **err);

/* Make repository:tag name the image, moving it if it named another. */
int tagstore_tag(struct tagstore *ts, const char *repository,
    const char *tag, const char *image, const char *manifest_digest,
    struct imgd_error **err);

/* Remove one name.  -ENOENT.  With the last tag of a repository its digest
 * names of that image go as well. */
int tagstore_untag(struct tagstore *ts, const char *repository,
    const char *tag, const char *digest, struct imgd_error **err);

/*
 * Drop the image from driver (NULL: from all) and, when no driver holds it
 * any more, the image and its names.  Layers that nothing needs then become
 * 'dying'.  *ret_gone says whether the image row is gone.
 */
int tagstore_image_remove(struct tagstore *ts, const char *image,
    const char *driver, bool *ret_gone, struct imgd_error **err);

/* ---- layers ---- */

struct layer_row {
	char *key; /* 64 hex */
	char *driver;
	char *chain_id; /* "" until known */
	char *diff_id;
	char *parent; /* key, "" for a base */
	char *state;
	uint64_t size_bytes; /* content */
	uint64_t tar_bytes;
	bool is_damaged;  /* known not to hold what it should */
	bool is_replaced; /* its content may be mounted as another's */
};
void layer_row_done(struct layer_row *row);

typedef int tagstore_layer_cb(void *ctx, const struct layer_row *row);
/* Layers of a driver (NULL: all) in a state (NULL: any), children before
 * parents. */
int tagstore_layers(struct tagstore *ts, const char *driver,
    const char *state, tagstore_layer_cb *cb, void *ctx,
    struct imgd_error **err);
/* The ready layer of (driver, chain_id).  -ENOENT. */
int tagstore_layer(struct tagstore *ts, const char *driver,
    const char *chain_id, struct layer_row *ret, struct imgd_error **err);
/* The driver has removed it: the row goes. */
int tagstore_layer_gone(struct tagstore *ts, const char *key,
    struct imgd_error **err);
/* Drivers with at least one row, comma-separated, most rows first. */
int tagstore_drivers(struct tagstore *ts, char **ret,
    struct imgd_error **err);

/* ---- pulls: intents before data, then one publishing transaction ---- */

struct layer_intent {
	const char *key;
	const char *chain_id;
	const char *diff_id;
	const char *parent; /* key or NULL */
	bool is_new;        /* else present already, or another pull's */
};

/* Record a pull and its layers, new ones as 'staging'. */
int tagstore_pull_begin(struct tagstore *ts, const char *pull,
    const char *reference, const char *driver,
    const struct layer_intent *layers, size_t n_layers,
    struct imgd_error **err);

struct layer_result {
	const char *key;
	uint64_t size_bytes;
	uint64_t tar_bytes;
};

struct v1_layer {
	const char *id; /* 64 hex */
	const char *json; /* byte for byte */
	size_t json_len;
};

struct publication_name {
	const char *repository;
	const char *tag;             /* "" = by digest only */
	const char *manifest_digest; /* "" = none */
};

struct image_signatures; /* tagstore/signatures.h */

struct publication {
	const char *pull;
	const char *driver;
	const struct image *image;
	const char *created; /* from the config */
	const struct layer_result *layers; /* those that this pull made */
	size_t n_layers;
	const struct publication_name *names;
	size_t n_names;
	bool keeps_names; /* names that are there stay what they are */
	/* The image is there, and gets into one more driver: -ENOENT if it is
	 * gone. */
	bool is_copy;
	/* As version 1 registries name them, base first, as many as the image
	 * has; NULL: they do not. */
	const struct v1_layer *v1_layers;
	const struct image_signatures *signatures; /* NULL: none */
	const char *registry; /* host, for sources; NULL: none */
	const char *path;     /* repository path there */
};

/* Everything becomes visible together, and the pull's rows go.  What is known
 * of an image's manifest and blobs is not forgotten for an image without. */
int tagstore_publish(struct tagstore *ts, const struct publication *p,
    struct imgd_error **err);

/*
 * The pull ended without publication: its rows go.  Staging layers that no
 * other pull names, and ready ones that nothing needs, become 'dying'.
 */
int tagstore_pull_abandon(struct tagstore *ts, const char *pull,
    struct imgd_error **err);

/* Start-up: no pull is alive, so abandon all. */
int tagstore_pulls_abandon_all(struct tagstore *ts, struct imgd_error **err);

/* ---- containers: writable layers ---- */

struct container_row {
	char *key; /* 64 hex */
	char *name;
	char *driver;
	char *image;     /* its id */
	char *reference; /* the image as the user named it */
	char *parent;    /* key of the image's top layer */
	char *state;     /* making, ready, dying */
	uint64_t quota_bytes; /* 0 = none */
	int64_t created_at;   /* seconds since the epoch */
};
void container_row_done(struct container_row *row);

/* Record one as 'making', before its data exists; state and created_at are
 * not read.  -EEXIST if the name is taken. */
int tagstore_container_add(struct tagstore *ts,
    const struct container_row *row, struct imgd_error **err);
/* The driver has made it: 'ready'. */
int tagstore_container_ready(struct tagstore *ts, const char *key,
    struct imgd_error **err);
/* The decision to remove it: its name is free. */
int tagstore_container_dying(struct tagstore *ts, const char *key,
    struct imgd_error **err);
/* The driver has removed it: the row goes, and image layers that nothing
 * else needs become 'dying'. */
int tagstore_container_gone(struct tagstore *ts, const char *key,
    struct imgd_error **err);
/* The ready one of that name.  -ENOENT. */
int tagstore_container(struct tagstore *ts, const char *name,
    struct container_row *ret, struct imgd_error **err);

typedef int tagstore_container_cb(void *ctx, const struct container_row *row);
/* All, by name. */
int tagstore_containers(struct tagstore *ts, tagstore_container_cb *cb,
    void *ctx, struct imgd_error **err);

/* ---- mounts ---- */

#define MOUNT_KIND_TREE  "tree"  /* an image, read-only */
#define MOUNT_KIND_RW    "rw"    /* a container */
#define MOUNT_KIND_BLOCK "block" /* the device of an image */

struct mount_row {
	char *target; /* a directory, or the device */
	char *kind;   /* MOUNT_KIND_* */
	char *image;
	char *key;
	char *driver;
	char *reference; /* as the user named it */
	char *boot_id;
	char *mnt_ns;
};
void mount_row_done(struct mount_row *row);
typedef int tagstore_mount_cb(void *ctx, const struct mount_row *row);

int tagstore_mount_add(struct tagstore *ts, const struct mount_row *row,
    struct imgd_error **err);
int tagstore_mount_gone(struct tagstore *ts, const char *target,
    struct imgd_error **err);
int tagstore_mounts(struct tagstore *ts, tagstore_mount_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
