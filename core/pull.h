/*
 * The pull: pool, plan, transfer, publication.
 *
 * An image comes from a source: a registry, another driver of this store, the
 * directory of another engine.  Whatever is behind it speaks the puller's
 * side of core/protocol.h on a socket; the way from there into a driver is
 * the same for all.
 *
 * Each pull in flight has a thread of its own; the jobs that asked for it
 * watch.  Layers in flight ("flights") are shared between pulls: one owner
 * fetches, the others wait for the outcome and take over if it fails.
 */
#ifndef CORE_PULL_H
#define CORE_PULL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/engine.h"
#include "core/job.h"
#include "core/trust.h"
#include "lib/digest.h"
#include "lib/message.h"
#include "registry/manifest.h"
#include "tagstore/tagstore.h"

/* ---- layers in flight; fields guarded by engine.mutex ---- */

enum flight_state {
	FLIGHT_ACTIVE, /* its owner fetches it */
	FLIGHT_SEALED, /* in the driver, sealed, not yet published */
	FLIGHT_ORPHAN  /* its owner failed: whoever wants it takes it over */
};

struct flight {
	struct flight *next;
	struct driver *driver;
	char chain_id[DIGEST_STR_SIZE]; /* "" until known */
	char key[65];
	enum flight_state state;
	bool is_repair; /* of a layer that is there, but damaged */
	unsigned int n_refs; /* pulls that want it */
	uint64_t content_bytes, tar_bytes; /* once sealed */
};

/* ---- one layer of one pull ---- */

enum layer_state {
	LAYER_UNPLANNED, /* of a legacy image: first its parent */
	LAYER_PRESENT,  /* published already */
	LAYER_FOREIGN,  /* another pull fetches it */
	LAYER_WAITING,  /* ours; not begun */
	LAYER_RUNNING,  /* puller and unpacker are at it */
	LAYER_UNPACKED, /* both have ended well; not sealed */
	LAYER_SEALED
};

struct pull_layer {
	const struct descriptor *blob; /* in the manifest; NULL: none */
	const char *shown; /* the hex digits that people see */
	uint64_t expected_bytes; /* of what is fetched; 0 = unknown */
	/* Of a legacy image, "" until known. */
	char diff_id[DIGEST_STR_SIZE];
	char chain_id[DIGEST_STR_SIZE];
	char key[65];
	enum layer_state state;
	struct flight *flight; /* NULL if present */
	bool is_repair; /* key is there, but damaged */
	char fresh_key[65]; /* what it is made under meanwhile; "": key */

	/* while running */
	int sock, pidfd; /* the unpacker; -EBADF */
	bool is_ready, is_fetched, is_unpacked; /* what was heard */
	bool is_takeover; /* somebody else had begun it */
	bool wants_parent, has_parent; /* NEED_PARENT asked, answered */
	bool wants_root_alone;         /* not what is below it */
	bool holds_slot;
	bool is_spooled;     /* its blob is kept as it comes */
	bool has_get;        /* driver_get of this layer is held */
	bool has_parent_get; /* and of its parent */
	uint64_t fetched_tar_bytes, blob_bytes; /* as the puller counted */
	uint64_t tar_bytes, content_bytes;      /* as the unpacker counted */
	dev_t stage_dev;     /* what set_trusted may touch */
};

/* What a watcher sees of a layer; guarded by pull.mutex. */
struct pull_progress {
	char id[13];
	const char *status; /* static */
	uint64_t current_bytes, total_bytes;
	unsigned int version; /* rises with each change */
};

/* A name that the image gets when it is published. */
struct pull_name {
	char *repository; /* canonical */
	char *tag;        /* "" = by digest only */
	char *digest;     /* of the manifest; "" = as resolved */
};

struct pull;
struct pull_legacy;

struct pull_source {
	const char *name; /* in messages: "puller" */
	/* What watchers see of a layer, one after the other. */
	const char *waiting, *fetching, *fetched, *done;
	bool may_lack_manifest; /* its images may be a config alone */
	bool may_be_legacy; /* its images may be without diff_ids */
	/* Layers come as tars: sizes and digests of blobs are hearsay. */
	bool gives_tars;
	/* The image is in the store already and only gets into one more
	 * driver. */
	bool is_copy;
	bool keeps_names; /* names that are there stay what they are */
	bool is_remote; /* it holds nothing of the store before its layers */

	/* Ask anew, as if the name had never meant anything; NULL: it is never
	 * told what the name meant. */
	void (*forget)(struct pull *p);
	/* It is known what is pulled; NULL: nothing to say. */
	void (*resolved)(struct pull *p);
	/* A legacy image's layer that its source knows by its digests; NULL:
	 * this one it does not, or none. */
	const struct image_layer *(*known_layer)(const struct pull *p,
	    size_t index);
	/* Make the config of a legacy image when its layers are known; NULL:
	 * the source is asked.  *ret is malloc'ed. */
	int (*make_config)(struct pull *p, char **ret,
	    struct imgd_error **err);
	/* It is known which layers are wanted; NULL: nothing to say. */
	int (*planned)(struct pull *p, struct imgd_error **err);
	/* All layers are there: whether the source has still to find fault;
	 * NULL: it has not. */
	int (*finish)(struct pull *p, struct imgd_error **err);
	/* Start it: fill source_sock and, for a process, source_pidfd. */
	int (*start)(struct pull *p, struct imgd_error **err);
	/* Its socket is closed and its process killed: wait for the rest.
	 * NULL: there is none. */
	void (*end)(struct pull *p);
	void (*ctx_free)(void *ctx); /* ctx may be NULL */
};

struct pull {
	struct pull *next; /* engine.pulls */
	struct engine *engine;
	char *pool_key;
	unsigned int n_watchers; /* guarded by engine.mutex */

	/* what was asked; constant once it runs */
	const struct pull_source *source;
	void *ctx;   /* the source's */
	char *label; /* what is pulled, for the rows of the intents */
	struct driver *driver;
	struct pull_name *names;
	size_t n_names;
	/* These point into ctx or are "": any platform that this machine
	 * runs; the digest the name had last time; what must come. */
	const char *platform, *known_digest;
	const char *expected_digest; /* of the first document */
	const char *expected_id;     /* of the config */
	const char *registry, *path; /* where its blobs can be had again */
	char expected_id_buf[DIGEST_STR_SIZE]; /* for expected_id */
	/* Make this layer alone again; "": those that are known to be
	 * damaged. */
	char repair_key[65];
	/* Look for what the stored one has otherwise: if nothing, or if that
	 * is all that is wanted, it stays. */
	bool compares, only_compares;

	enum pull_spooling spooling;

	/* What has to be shown before anything is fetched; filled by the
	 * pull's thread. */
	struct trust trust;
	bool keeps_signatures; /* also if nothing is demanded */

	atomic_bool is_cancelled;

	pthread_mutex_t mutex; /* for the fields below */
	pthread_cond_t changed;
	bool is_done;
	int result;
	struct imgd_error *error;
	char **lines; /* JSON objects for every watcher */
	size_t n_lines;
	struct pull_progress *progress; /* one per layer, once planned */
	size_t n_progress;
	char top_digest[DIGEST_STR_SIZE]; /* "" without a manifest */
	bool is_unchanged;

	/* the pull's thread alone */
	char id[65]; /* its rows' key */
	int source_sock, source_pidfd;
	struct manifest *manifest; /* NULL: the config is all there is */
	struct pull_legacy *legacy; /* NULL: diff_ids come first */
	struct image_config *config;
	struct image image; /* bytes of manifest and config */
	uint64_t *sizes; /* of the tars, as the source told; NULL: unknown */
	size_t n_sizes;
	unsigned int n_retries; /* told of */
	struct pull_layer *layers;
	size_t n_layers;
	bool has_rows;
	bool has_repaired;
	char *difference; /* what compares found; NULL: nothing */
};

/* ---- pull-plan.c ---- */

/*
 * Receive the documents of the pull's source, verify each against what was
 * expected, and fill manifest, config, image and layers' ids.
 * Returns 1 if the name still means what the store has, else 0.
 */
int pull_resolve(struct pull *p, struct imgd_error **err);

/* The next message of its source: as hear() of core/hear.h. */
int pull_hear(struct pull *p, struct message *m, struct imgd_error **err);

/* Check depth and space; find what is there or in flight; commit the rows of
 * the intents. */
int pull_plan(struct pull *p, struct imgd_error **err);

/* What the two and pull-legacy.c share. */
int pull_keep_manifest(struct pull *p, const char *media_type,
    const void *data, size_t len, struct imgd_error **err);
int pull_take_config(struct pull *p, const char *digest, const void *data,
    size_t len, struct imgd_error **err);
/* Add l to the image's rows. */
int pull_add_image_layer(struct pull *p, const struct pull_layer *l,
    struct imgd_error **err);
/* What the source knows of the layer; NULL: nothing. */
static inline const struct image_layer *
pull_known_layer(const struct pull *p, size_t index)
{
	return p->source->known_layer != NULL
	    ? p->source->known_layer(p, index)
	    : NULL;
}
/* The layer of that chain in flight, or NULL; engine.mutex is held. */
struct flight *pull_find_flight(struct engine *e, struct driver *d,
    const char *chain_id);
/* Fail unless need bytes (0: any) are free; *ret says how many are. */
int pull_check_room(struct pull *p, uint64_t need, uint64_t *ret,
    struct imgd_error **err);

/* ---- pull-legacy.c: images that tell no diff_ids ---- */

/* Such an image follows; its documents are of schema 1, or there are none. */
int legacy_new(struct pull *p, bool is_schema1, struct imgd_error **err);
void legacy_free(struct pull_legacy *legacy);
/* A PULLER_LEGACY_LAYER. */
int legacy_take_layer(struct pull *p, struct message *m,
    struct imgd_error **err);
/* All layers are told. */
int legacy_name_layers(struct pull *p, struct imgd_error **err);
/* Commit the row of the intent, so far without layers. */
int legacy_plan(struct pull *p, struct imgd_error **err);
/* The parent is there: find the layer, or prepare its fetching. */
int legacy_plan_layer(struct pull *p, size_t index, struct imgd_error **err);
/* It is unpacked: name it by its content, or find that this was there. */
int legacy_identify(struct pull *p, size_t index, struct imgd_error **err);
/* All layers are there: have the config made, and check it. */
int legacy_finish_image(struct pull *p, struct imgd_error **err);
/* What the registry calls the layers, for its next image; NULL: nothing. */
const struct v1_layer *legacy_v1_layers(const struct pull *p);

/* ---- pull-layers.c ---- */

/* Fetch, unpack and seal all layers. */
int pull_layers(struct pull *p, struct imgd_error **err);

/* ---- pull-layer.c ---- */

/* Create the layer in the driver, start its unpacker and order its blob. */
int layer_begin(struct pull *p, size_t index, struct imgd_error **err);
/* Read one message of the layer's unpacker and act on it. */
int layer_hear(struct pull *p, size_t index, struct imgd_error **err);
/* Give the unpacker the sealed parent's tree. */
int layer_give_parent(struct pull *p, size_t index, struct imgd_error **err);
/* Both sides are done: compare, and wait until the unpacker is gone. */
int layer_complete(struct pull *p, size_t index, struct imgd_error **err);
int layer_seal(struct pull *p, size_t index, struct imgd_error **err);
/* End whatever runs for the layer; nothing of it is kept. */
void layer_abort(struct pull *p, size_t index);

/* ---- pull-repair.c ---- */

/* Whether the pull is to make the layer of that row again. */
bool pull_repairs(const struct pull *p, const struct layer_row *row);
/* Give it its fresh key. */
int layer_repair_begin(struct pull *p, size_t index, const char *parent,
    struct imgd_error **err);
/* It is sealed: let it take its place. */
int layer_repair(struct pull *p, size_t index, const char *parent,
    struct imgd_error **err);

/* The key that the driver has the layer under while it is made. */
static inline const char *
layer_made_key(const struct pull_layer *l)
{
	return l->fresh_key[0] != '\0' ? l->fresh_key : l->key;
}

/* ---- pulls for those who repair: neither names nor pool keys are set ---- */

/* migrate.c: an image that the store has, from one driver into another, or
 * into the same. */
int pull_new_copy(struct engine *e, const char *image, struct driver *from,
    const char *to, struct pull **ret, struct imgd_error **err);
/* pull-registry.c: an image by the digest of its manifest. */
struct reference;
int pull_new_registry(struct job *job, const struct reference *ref,
    const char *driver, struct pull **ret, struct imgd_error **err);
/* load.c: an image (its id) of an archive that was opened; -ENOENT. */
struct load_archive;
int load_archive_open(struct job *job, struct load_archive **ret,
    struct imgd_error **err);
void load_archive_free(struct load_archive *a);
int pull_new_archive(struct job *job, struct load_archive *a,
    const char *image, const char *driver, struct pull **ret,
    struct imgd_error **err);

/* ---- pull-spool.c ---- */

struct partial;

/* Add to an order whether and where the layer's blob is kept; spool is what it
 * speaks of, to be released once the order is sent. */
void layer_put_spool(struct pull *p, size_t index, struct message *m,
    struct partial *spool);
/* The rest of a PULLER_MARK. */
int layer_take_mark(struct pull *p, size_t index, struct message *m,
    struct imgd_error **err);
/* The layer failed with code: what was kept may be no good. */
void layer_spool_failed(struct pull *p, size_t index, int code);
/* A PULLER_RATE. */
int pull_take_rate(struct pull *p, struct message *m, struct imgd_error **err);
/* The image is published: what was kept is not needed any more. */
void pull_drop_spools(struct pull *p);

/* ---- pull-watch.c ---- */

/* Make one line of progress per layer, once they are planned. */
int pull_show_layers(struct pull *p, struct imgd_error **err);
void pull_set_progress(struct pull *p, size_t index, const char *status,
    uint64_t current_bytes, uint64_t total_bytes);
/* Add a line for every watcher: {"status": text[, "id": id]}. */
void pull_say(struct pull *p, const char *id, const char *fmt, ...)
    IMGD_PRINTF(3, 4);
/* A PULLER_RETRYING. */
int pull_take_retrying(struct pull *p, struct message *m,
    struct imgd_error **err);
/* "layer 0123456789ab" for messages; in buf. */
const char *pull_layer_label(const struct pull *p, size_t index,
    char buf[32]);
/* Show the pull to the job's client, unless its variable quiet is set, until it
 * ends (0), or until the client leaves or the engine ends (-ECANCELED). */
int pull_watch(struct job *job, struct pull *p, struct imgd_error **err);

/* ---- pull.c ---- */

/*
 * Make a pull that does not run yet.
 *
 * driver: as store_driver takes it.  ctx: for the source; taken also on
 * failure.
 */
int pull_new(struct engine *e, const struct pull_source *source, void *ctx,
    const char *driver, struct pull **ret, struct imgd_error **err);
/* One that was never run. */
void pull_free(struct pull *p);
int pull_add_name(struct pull *p, const char *repository, const char *tag,
    const char *digest, struct imgd_error **err);

/* Give it a pool_key that no other pull has: nobody else means the same. */
int pull_stay_alone(struct pull *p, struct imgd_error **err);

/*
 * Run a pull, or join the one with the same pool_key that is in flight, and
 * watch it to its end.
 *
 * p: taken; label and pool_key are set.
 * ret: the pull that ended well, for what it found out; NULL: not wanted.
 * Release with pull_unref().
 */
int pull_run(struct job *job, struct pull *mine, struct pull **ret,
    struct imgd_error **err);

/* One of the pull's holders lets go. */
void pull_unref(struct pull *p);

/* Whether a pull in flight is of that image, or of a name that it has: 1, or
 * 0. */
int pull_wants_image(struct engine *e, const char *image,
    struct imgd_error **err);

/* Start its source, and end it. */
int pull_start_source(struct pull *p, struct imgd_error **err);
void pull_end_source(struct pull *p);

/* Drop the pull's interest in its layers in flight. */
void pull_release_flights(struct pull *p, bool is_published);

#endif
