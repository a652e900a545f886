/*
 * A registry's documents: the first byte says what it is said to be, the rest
 * is the document.
 */
#include "config.h"

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/limits.h"
#include "registry/manifest.h"
#include "registry/signature.h"
#include "tests/fuzz/fuzz.h"

static void
check_manifest(const struct manifest *m)
{
	const struct descriptor *entry;
	size_t i;

	MUST(m->n_layers <= LIMIT_LAYERS && m->n_entries <= LIMIT_LAYERS);
	for (i = 0; i < m->n_layers; i++)
		MUST(digest_is_valid(m->layers[i].digest));
	if (m->kind == MANIFEST_IMAGE)
		MUST(digest_is_valid(m->config.digest));
	else if (manifest_select(m, NULL, &entry, NULL) >= 0)
		MUST(digest_is_valid(entry->digest));
}

static void
read_manifest(const char *type, const uint8_t *data, size_t len)
{
	cleanup(manifest_freep) struct manifest *m = NULL;
	cleanup_error struct imgd_error *err = NULL;
	int r = manifest_parse(type, data, len, &m, &err);

	must_be_told(r, err);
	if (r >= 0)
		check_manifest(m);
}

static void
read_config(const uint8_t *data, size_t len)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	cleanup_error struct imgd_error *err = NULL;
	size_t i;
	int r = image_config_parse(data, len, &c, &err);

	must_be_told(r, err);
	for (i = 0; r >= 0 && i < c->n_diff_ids; i++)
		MUST(digest_is_valid(c->diff_ids[i]));
}

static void
read_signatures(const uint8_t *data, size_t len)
{
	struct signature_payload payload = { 0 };
	struct signature_layers layers = { 0 };
	char(*digests)[DIGEST_STR_SIZE] = NULL;
	size_t n;

	if (signature_payload_parse(data, len, &payload, NULL) >= 0)
		signature_payload_done(&payload);
	if (signature_manifest_parse(data, len, &layers, NULL) >= 0)
		signature_layers_done(&layers);
	if (signature_referrers_parse(data, len, &digests, &n, NULL) >= 0)
		free(digests);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const types[] = { NULL, "",
		"application/vnd.oci.image.manifest.v1+json",
		"application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json",
		"application/vnd.docker.distribution.manifest.list.v2+json" };
	const size_t n_types = sizeof(types) / sizeof(types[0]);
	size_t which;

	if (len == 0)
		return 0;
	which = data[0] % (n_types + 2);
	if (which < n_types)
		read_manifest(types[which], data + 1, len - 1);
	else if (which == n_types)
		read_config(data + 1, len - 1);
	else
		read_signatures(data + 1, len - 1);
	return 0;
}
