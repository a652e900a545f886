#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"
#include "registry/manifest-impl.h"

#define MEDIA_OCI_EMPTY    "application/vnd.oci.empty.v1+json"
#define MEDIA_OCI_ARTIFACT "application/vnd.oci.artifact.manifest.v1+json"
#define MEDIA_PLUGIN       "application/vnd.docker.plugin.v1+json"
#define MEDIA_AI_PREFIX    "application/vnd.docker.ai."

/* Types that say nothing; registries give them by mistake. */
static const char *const generic_types[] = { "", "application/json",
	"application/octet-stream", "binary/octet-stream", "text/html",
	"text/plain" };

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static bool
is_generic(const char *type)
{
	size_t i;

	for (i = 0; i < N_OF(generic_types); i++)
		if (strcmp(type, generic_types[i]) == 0)
			return true;
	return false;
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static int
unsupported(const char *type, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_MEDIATYPE,
	    "unsupported media type %s", type);
}

/* A media type without parameters and in lower case, malloc'ed. */
static char *
bare_type(const char *type)
{
	size_t len = strcspn(type, "; \t"), i;
	char *s = strndup(type, len);

	for (i = 0; s != NULL && i < len; i++)
		s[i] = (char)tolower((unsigned char)s[i]);
	return s;
}

bool
media_type_is_index(const char *media_type)
{
	return strcmp(media_type, MEDIA_DOCKER_LIST) == 0 ||
	    strcmp(media_type, MEDIA_OCI_INDEX) == 0;
}

bool
media_type_is_schema1(const char *media_type)
{
	return strcmp(media_type, MEDIA_DOCKER_SCHEMA1) == 0 ||
	    strcmp(media_type, MEDIA_DOCKER_SCHEMA1_SIGNED) == 0;
}

/* ---- descriptors ---- */

void
descriptor_done(struct descriptor *d)
{
	size_t i;

	for (i = 0; i < d->n_urls; i++)
		free(d->urls[i]);
	free(d->urls);
	free(d->media_type);
	memset(d, 0, sizeof(*d));
}

static void
descriptor_donep(struct descriptor *d)
{
	descriptor_done(d);
}

static int
get_name(struct json_object *o, const char *key, char *to, size_t size,
    struct imgd_error **err)
{
	const char *s;
	int r;

	r = json_get_str(o, key, &s, err);
	if (r < 0 || s == NULL)
		return r;
	if (strlen(s) >= size)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "\"%s\" is too long", key);
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

int
manifest_get_platform(struct json_object *o, struct platform *ret,
    struct imgd_error **err)
{
	struct platform p = { .os = "" };
	int r;

	if ((r = get_name(o, "os", p.os, sizeof(p.os), err)) < 0 ||
	    (r = get_name(o, "architecture", p.arch, sizeof(p.arch),
		 err)) < 0 ||
	    (r = get_name(o, "variant", p.variant, sizeof(p.variant),
		 err)) < 0)
		return r;
	*ret = p;
	return 0;
}

static int
get_urls(struct descriptor *d, struct json_object *o, struct imgd_error **err)
{
	struct json_object *array;
	const char *s;
	size_t i, n;
	int r;

	r = json_get_array(o, "urls", &array, err);
	if (r < 0 || array == NULL)
		return r;
	n = json_object_array_length(array);
	d->urls = calloc(n > 0 ? n : 1, sizeof(*d->urls));
	if (d->urls == NULL)
		return no_memory(err);
	for (i = 0; i < n; i++) {
		r = json_get_element_str(array, i, "urls", &s, err);
		if (r < 0)
			return r;
		if (strncasecmp(s, "http://", 7) != 0 &&
		    strncasecmp(s, "https://", 8) != 0)
			continue;
		d->urls[d->n_urls] = strdup(s);
		if (d->urls[d->n_urls] == NULL)
			return no_memory(err);
		d->n_urls++;
	}
	return 0;
}

/* Attestations stand in an index beside the images they are about. */
static int
find_artifact(struct descriptor *d, struct json_object *o,
    struct imgd_error **err)
{
	struct json_object *notes;
	const char *s;
	int r;

	r = json_get_str(o, "artifactType", &s, err);
	if (r < 0)
		return r;
	d->is_artifact = s != NULL && *s != '\0';
	r = json_get_object(o, "annotations", &notes, err);
	if (r < 0 || notes == NULL)
		return r;
	r = json_get_str(notes, "vnd.docker.reference.type", &s, err);
	if (r < 0)
		return r;
	if (s != NULL && strcmp(s, "attestation-manifest") == 0)
		d->is_artifact = true;
	return 0;
}

static int
parse_descriptor(struct json_object *o, struct descriptor *ret,
    struct imgd_error **err)
{
	cleanup(descriptor_donep) struct descriptor d = { .n_urls = 0 };
	struct json_object *platform;
	const char *s;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "a descriptor is not an object");
	r = json_get_str(o, "mediaType", &s, err);
	if (r < 0)
		return r;
	d.media_type = bare_type(s != NULL ? s : "");
	if (d.media_type == NULL)
		return no_memory(err);
	r = json_get_str(o, "digest", &s, err);
	if (r < 0)
		return r;
	if (s == NULL || !digest_is_valid(s))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "bad digest \"%s\"", s != NULL ? s : "");
	memcpy(d.digest, s, DIGEST_STR_SIZE);
	if ((r = json_get_u64(o, "size", &d.size_bytes, NULL, err)) < 0 ||
	    (r = get_urls(&d, o, err)) < 0 ||
	    (r = find_artifact(&d, o, err)) < 0 ||
	    (r = json_get_object(o, "platform", &platform, err)) < 0)
		return r;
	if (platform != NULL) {
		r = manifest_get_platform(platform, &d.platform, err);
		if (r < 0)
			return r;
		d.has_platform = true;
		if (strcmp(d.platform.os, "unknown") == 0 &&
		    strcmp(d.platform.arch, "unknown") == 0)
			d.is_artifact = true;
	}
	*ret = d;
	memset(&d, 0, sizeof(d));
	return 0;
}

/* An array of descriptors; what was parsed is in *list even on failure. */
static int
parse_list(struct json_object *root, const char *key,
    struct descriptor **list, size_t *n_list, struct imgd_error **err)
{
	struct json_object *array;
	size_t i, n;
	int r;

	r = json_get_array(root, key, &array, err);
	if (r < 0)
		return r;
	n = array != NULL ? json_object_array_length(array) : 0;
	if (n > LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d %s", LIMIT_LAYERS, key);
	if (n == 0)
		return 0;
	*list = calloc(n, sizeof(**list));
	if (*list == NULL)
		return no_memory(err);
	for (i = 0; i < n; i++) {
		r = parse_descriptor(json_object_array_get_idx(array, i),
		    &(*list)[i], err);
		if (r < 0) {
			(void)imgd_error_prefix(err, "%s[%zu]", key, i);
			return r;
		}
		*n_list = i + 1;
	}
	return 0;
}

/* ---- manifests ---- */

void
manifest_free(struct manifest *m)
{
	size_t i;

	if (m == NULL)
		return;
	descriptor_done(&m->config);
	for (i = 0; i < m->n_layers; i++)
		descriptor_done(&m->layers[i]);
	for (i = 0; i < m->n_entries; i++)
		descriptor_done(&m->entries[i]);
	free(m->layers);
	free(m->entries);
	free(m);
}

static int
check_config_type(const char *type, struct imgd_error **err)
{
	if (strcmp(type, MEDIA_DOCKER_CONFIG) == 0 ||
	    strcmp(type, MEDIA_OCI_CONFIG) == 0 || is_generic(type))
		return 0;
	if (strcmp(type, MEDIA_PLUGIN) == 0)
		return imgd_error_set(err, IMGD_E_MEDIATYPE,
		    "unsupported media type %s: this is a Docker plugin, not an image",
		    type);
	if (str_starts(type, MEDIA_AI_PREFIX))
		return imgd_error_set(err, IMGD_E_MEDIATYPE,
		    "unsupported media type %s: this is an AI model, not an image",
		    type);
	if (strcmp(type, MEDIA_OCI_EMPTY) == 0)
		return imgd_error_set(err, IMGD_E_MEDIATYPE,
		    "unsupported media type %s: this is an artifact, not an image",
		    type);
	return unsupported(type, err);
}

static int
check_layer_type(const char *type, struct imgd_error **err)
{
	if (is_generic(type))
		return 0;
	if ((str_starts(type, "application/vnd.oci.image.layer.") ||
		str_starts(type, "application/vnd.docker.image.rootfs.") ||
		str_starts(type, "application/vnd.docker.container.image.rootfs.")) &&
	    !str_ends(type, "+encrypted"))
		return 0;
	return unsupported(type, err);
}

static int
parse_image(struct manifest *m, struct json_object *root,
    struct imgd_error **err)
{
	struct json_object *config;
	const char *artifact;
	size_t i;
	int r;

	if (json_has(root, "manifests") || json_has(root, "fsLayers"))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "an image manifest with members of another kind");
	r = json_get_str(root, "artifactType", &artifact, err);
	if (r < 0)
		return r;
	if (artifact != NULL && *artifact != '\0')
		return imgd_error_set(err, IMGD_E_MEDIATYPE,
		    "unsupported media type %s: this is an artifact, not an image",
		    artifact);
	r = json_get_object(root, "config", &config, err);
	if (r < 0)
		return r;
	r = parse_descriptor(config, &m->config, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "config");
		return r;
	}
	r = check_config_type(m->config.media_type, err);
	if (r < 0)
		return r;
	if (m->config.size_bytes > LIMIT_CONFIG_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "image config longer than %u bytes", LIMIT_CONFIG_BYTES);
	r = parse_list(root, "layers", &m->layers, &m->n_layers, err);
	for (i = 0; r >= 0 && i < m->n_layers; i++)
		r = check_layer_type(m->layers[i].media_type, err);
	return r;
}

static int
parse_index(struct manifest *m, struct json_object *root,
    struct imgd_error **err)
{
	if (json_has(root, "config") || json_has(root, "layers") ||
	    json_has(root, "fsLayers"))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "an index with members of another kind");
	return parse_list(root, "manifests", &m->entries, &m->n_entries, err);
}

/* The type that the document itself shows. */
static const char *
sniff(struct json_object *root)
{
	if (json_has(root, "fsLayers"))
		return MEDIA_DOCKER_SCHEMA1_SIGNED;
	if (json_has(root, "config") || json_has(root, "layers"))
		return MEDIA_OCI_MANIFEST;
	if (json_has(root, "manifests"))
		return MEDIA_OCI_INDEX;
	return "";
}

/* Settle the document's type from what was said and what it says. */
static int
settle_type(struct manifest *m, struct json_object *root, const char *said,
    struct imgd_error **err)
{
	static const struct {
		const char *type;
		enum manifest_kind kind;
	} kinds[] = {
		{ MEDIA_DOCKER_MANIFEST, MANIFEST_IMAGE },
		{ MEDIA_OCI_MANIFEST, MANIFEST_IMAGE },
		{ MEDIA_DOCKER_LIST, MANIFEST_INDEX },
		{ MEDIA_OCI_INDEX, MANIFEST_INDEX },
	};
	const char *own, *type;
	size_t i;
	int r;

	r = json_get_str(root, "mediaType", &own, err);
	if (r < 0)
		return r;
	if (own == NULL)
		own = "";
	if (*own != '\0' && !is_generic(said) && strcmp(own, said) != 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "media type %s, but the document says %s", said, own);
	type = !is_generic(said) ? said : *own != '\0' ? own : sniff(root);
	for (i = 0; i < N_OF(kinds); i++) {
		if (strcmp(type, kinds[i].type) == 0) {
			m->media_type = kinds[i].type;
			m->kind = kinds[i].kind;
			return 0;
		}
	}
	if (media_type_is_schema1(type))
		return imgd_error_set(err, IMGD_E_MEDIATYPE,
		    "unsupported media type %s: Docker Image manifest version 2, schema 1 is not read",
		    type);
	if (strcmp(type, MEDIA_OCI_ARTIFACT) == 0)
		return imgd_error_set(err, IMGD_E_MEDIATYPE,
		    "unsupported media type %s: this is an artifact, not an image",
		    type);
	if (*type == '\0')
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "neither an image manifest nor an index");
	return unsupported(type, err);
}

static int
parse(struct manifest *m, const char *said, const void *data, size_t len,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	uint64_t version;
	int r;

	r = json_get_root(data, len, &root, err);
	if (r < 0)
		return r;
	r = settle_type(m, root, said, err);
	if (r < 0)
		return r;
	r = json_get_u64(root, "schemaVersion", &version, NULL, err);
	if (r < 0)
		return r;
	if (version != 2)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "schemaVersion is not 2");
	return m->kind == MANIFEST_IMAGE ? parse_image(m, root, err) :
					   parse_index(m, root, err);
}

int
manifest_parse(const char *media_type, const void *data, size_t len,
    struct manifest **ret, struct imgd_error **err)
{
	cleanup(manifest_freep) struct manifest *m = NULL;
	cleanup_free char *said = NULL;
	int r;

	if (len > LIMIT_MANIFEST_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "manifest longer than %u bytes", LIMIT_MANIFEST_BYTES);
	said = bare_type(media_type != NULL ? media_type : "");
	m = calloc(1, sizeof(*m));
	if (m == NULL || said == NULL)
		return no_memory(err);
	r = parse(m, said, data, len, err);
	if (r < 0) {
		if (r != -IMGD_E_MEDIATYPE)
			(void)imgd_error_prefix(err, "manifest");
		return r;
	}
	*ret = take_ptr(&m);
	return 0;
}

/* ---- choice ---- */

static bool
is_candidate(const struct descriptor *d)
{
	return !d->is_artifact &&
	    (is_generic(d->media_type) || media_type_is_index(d->media_type) ||
		media_type_is_schema1(d->media_type) ||
		strcmp(d->media_type, MEDIA_DOCKER_MANIFEST) == 0 ||
		strcmp(d->media_type, MEDIA_OCI_MANIFEST) == 0);
}

int
manifest_select(const struct manifest *index, const struct platform *want,
    const struct descriptor **ret_entry, struct imgd_error **err)
{
	const struct descriptor *d, *best = NULL;
	int rank, best_rank = INT_MAX;
	char text[PLATFORM_STR_SIZE];
	struct platform host;
	size_t i;

	platform_host(&host);
	for (i = 0; i < index->n_entries; i++) {
		d = &index->entries[i];
		if (!is_candidate(d))
			continue;
		/* Without a platform an entry fits, but less than any other. */
		rank = INT_MAX - 1;
		if (d->has_platform)
			rank = platform_rank(want != NULL ? want : &host,
			    &d->platform);
		if (rank >= 0 && rank < best_rank) {
			best = d;
			best_rank = rank;
		}
	}
	if (best == NULL) {
		/* The level of an amd64 CPU is nothing that anybody typed. */
		if (strcmp(host.arch, "amd64") == 0)
			host.variant[0] = '\0';
		return imgd_error_set(err, IMGD_E_PLATFORM,
		    "no matching manifest for %s in the manifest list entries",
		    platform_format(want != NULL ? want : &host, text));
	}
	*ret_entry = best;
	return 0;
}
