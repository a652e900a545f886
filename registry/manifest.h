/*
 * Manifests, indexes and image configs, parsed from the bytes as received,
 * and the choice of a platform.
 *
 * Everything here treats its input as hostile: the bytes go through
 * json_scan() before json-c sees them.  Nothing here uses the network.
 * Sources: OCI image-spec manifest.md, image-index.md, config.md; Docker
 * registry "manifest-v2-2".
 */
#ifndef REGISTRY_MANIFEST_H
#define REGISTRY_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/digest.h"

#define MEDIA_DOCKER_SCHEMA1 \
	"application/vnd.docker.distribution.manifest.v1+json"
#define MEDIA_DOCKER_SCHEMA1_SIGNED \
	"application/vnd.docker.distribution.manifest.v1+prettyjws"
#define MEDIA_DOCKER_MANIFEST \
	"application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST \
	"application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"
#define MEDIA_OCI_CONFIG "application/vnd.oci.image.config.v1+json"

/* ---- platforms ---- */

/* Empty strings where nothing is known; copied by assignment. */
struct platform {
	char os[32];
	char arch[32];
	char variant[16];
};

#define PLATFORM_STR_SIZE 84

/* The platform of this machine, by uname(2) and, on ARM, /proc/cpuinfo; on
 * amd64 the variant is the CPU's level, "v2" and so on ("" is v1). */
void platform_host(struct platform *ret);

/*
 * Parse OS, ARCH, OS/ARCH or OS/ARCH/VARIANT as docker's --platform takes
 * them.  What is left out is the host's.  ret is not normalised, so that it
 * can be shown as typed.  -EINVAL if s is none.
 */
int platform_parse(const char *s, struct platform *ret,
    struct imgd_error **err);

/* Lower-case, aliases resolved ("aarch64" → "arm64"), default variants
 * dropped or added as containerd does. */
void platform_normalize(struct platform *p);

/* "OS/ARCH[/VARIANT]" in buf. */
const char *platform_format(const struct platform *p,
    char buf[PLATFORM_STR_SIZE]);

/* How well something built for have runs where want is wanted: 0 is best,
 * greater is worse, -1 is not at all.  Both may be unnormalised. */
int platform_rank(const struct platform *want, const struct platform *have);

/* ---- manifests and indexes ---- */

struct descriptor {
	char *media_type; /* owned; "" if the document had none */
	char digest[DIGEST_STR_SIZE];
	uint64_t size_bytes;
	bool is_max; /* the size is not told: only the most it may be */
	char **urls; /* owned; only http and https ones, in order */
	size_t n_urls;
	bool has_platform;
	bool is_artifact; /* attestation or artifact: never an image */
	struct platform platform;
};

/* Free what d owns and leave it empty. */
void descriptor_done(struct descriptor *d);

enum manifest_kind {
	MANIFEST_IMAGE, /* Docker schema 2 or OCI manifest */
	MANIFEST_INDEX, /* Docker list or OCI index */
};

struct manifest {
	enum manifest_kind kind;
	const char *media_type;    /* static: one of the four MEDIA_* */
	struct descriptor config;  /* MANIFEST_IMAGE */
	struct descriptor *layers; /* MANIFEST_IMAGE; layers[0] is the base */
	size_t n_layers;
	struct descriptor *entries; /* MANIFEST_INDEX */
	size_t n_entries;
};

/*
 * Parse a manifest or index.
 *
 * media_type: what the transport or descriptor called it, parameters
 * allowed; NULL, "" and generic types: told by the document itself.
 * ret: release with manifest_free().
 * Returns 0; -IMGD_E_FORMAT; -IMGD_E_LIMIT; -IMGD_E_MEDIATYPE for what imgd
 * does not read, named: schema 1, artifacts, plugins, unknown types of
 * manifest, config or layer.
 */
int manifest_parse(const char *media_type, const void *data, size_t len,
    struct manifest **ret, struct imgd_error **err);
void manifest_free(struct manifest *m);
static inline void
manifest_freep(struct manifest **m)
{
	manifest_free(*m);
}

/*
 * Choose the entry of an index for a platform.
 *
 * want: NULL for the host's.  ret_entry points into index.  It may itself
 * be an index: fetch it and select again.
 * -IMGD_E_PLATFORM: "no matching manifest for linux/arm64 in the manifest
 * list entries".
 */
int manifest_select(const struct manifest *index,
    const struct platform *want, const struct descriptor **ret_entry,
    struct imgd_error **err);

/* Whether media_type names a manifest list or index. */
bool media_type_is_index(const char *media_type);
bool media_type_is_schema1(const char *media_type);

/* ---- image configs ---- */

struct image_history {
	char *created; /* these four: NULL if absent */
	char *created_by;
	char *author;
	char *comment;
	bool is_empty_layer;
};

struct image_config {
	struct platform platform; /* as written, not normalised; "" = absent */
	char *os_version; /* these: NULL if absent */
	char *created;    /* RFC 3339 text as written */
	char *author;
	char *comment;
	char *docker_version;
	char *container;
	char *parent;
	char *config_json;           /* the object "config" as JSON text */
	char *container_config_json; /* likewise "container_config" */
	char (*diff_ids)[DIGEST_STR_SIZE]; /* bottom first */
	size_t n_diff_ids;
	struct image_history *history; /* bottom first */
	size_t n_history;
};

/*
 * Parse an image config.  ret: release with image_config_free().
 * Returns 0; -IMGD_E_FORMAT; -IMGD_E_LIMIT.
 */
int image_config_parse(const void *data, size_t len,
    struct image_config **ret, struct imgd_error **err);
void image_config_free(struct image_config *c);

/* Whether the config is for the platform that the user asked for by name; one
 * that says nothing is for any.  -IMGD_E_PLATFORM; what platform_parse()
 * returns. */
int image_config_check_platform(const struct image_config *c,
    const char *wanted, struct imgd_error **err);
static inline void
image_config_freep(struct image_config **c)
{
	image_config_free(*c);
}

/* -IMGD_E_FORMAT "layers from manifest don't match image configuration"
 * unless config has one diff_id per layer of m. */
int manifest_check_config(const struct manifest *m,
    const struct image_config *config, struct imgd_error **err);

#endif
