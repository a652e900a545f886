/* The manifest of a pushed image. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "core/push.h"
#include "lib/cleanup.h"
#include "registry/manifest.h"

#define DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar"

/* Whether every layer is the blob that the image came with. */
static bool
is_unchanged(const struct push *p)
{
	size_t i;

	if (p->image.manifest_len == 0)
		return false;
	for (i = 0; i < p->image.n_layers; i++)
		if (strcmp(p->layers[i].digest,
			p->image.layers[i].blob_digest) != 0)
			return false;
	return strcmp(p->image.manifest_type, MEDIA_OCI_MANIFEST) == 0 ||
	    strcmp(p->image.manifest_type, MEDIA_DOCKER_MANIFEST) == 0;
}

/* What follows ".tar", in OCI's words. */
static const char *
suffix(const struct push *p, size_t i)
{
	const char *type = p->image.layers[i].media_type;

	if (p->layers[i].suffix != NULL)
		return p->layers[i].suffix;
	if (str_ends(type, "zstd"))
		return "+zstd";
	return str_ends(type, "gzip") ? "+gzip" : "";
}

/* Docker's schema 2 has no name for zstd. */
static bool
needs_oci(const struct push *p)
{
	size_t i;

	if (strcmp(p->image.manifest_type, MEDIA_OCI_MANIFEST) == 0)
		return true;
	for (i = 0; i < p->image.n_layers; i++)
		if (strcmp(suffix(p, i), "+zstd") == 0)
			return true;
	return false;
}

int
push_manifest(struct push *p, struct strbuf *ret, const char **ret_media_type,
    struct imgd_error **err)
{
	bool is_oci = needs_oci(p);
	size_t i;

	if (is_unchanged(p)) {
		strbuf_append(ret, p->image.manifest, p->image.manifest_len);
		*ret_media_type = p->image.manifest_type;
	} else {
		*ret_media_type = is_oci ? MEDIA_OCI_MANIFEST
					 : MEDIA_DOCKER_MANIFEST;
		strbuf_printf(ret,
		    "{\"schemaVersion\":2,\"mediaType\":\"%s\","
		    "\"config\":{\"mediaType\":\"%s\",\"size\":%zu,"
		    "\"digest\":\"%s\"},\"layers\":[",
		    *ret_media_type,
		    is_oci ? MEDIA_OCI_CONFIG : MEDIA_DOCKER_CONFIG,
		    p->image.config_len, p->image.id);
		for (i = 0; i < p->image.n_layers; i++) {
			const char *s = suffix(p, i);
			char type[80];

			(void)snprintf(type, sizeof(type), "%s%s",
			    is_oci ? OCI_LAYER : DOCKER_LAYER, s);
			if (!is_oci && *s != '\0')
				(void)snprintf(type, sizeof(type), "%s.gzip",
				    DOCKER_LAYER);
			strbuf_printf(ret,
			    "%s{\"mediaType\":\"%s\",\"size\":%ju,"
			    "\"digest\":\"%s\"}",
			    i > 0 ? "," : "", type,
			    (uintmax_t)p->layers[i].size_bytes,
			    p->layers[i].digest);
		}
		strbuf_puts(ret, "]}");
	}
	if (ret->is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}
