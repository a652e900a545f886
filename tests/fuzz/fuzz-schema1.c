/* Manifests of schema 1, and the JSON of layers before there were configs. */
#include "config.h"

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/legacy.h"
#include "tests/fuzz/fuzz.h"

/* As a pull goes on when all layers are there. */
static void
make_config(const struct legacy_image *image)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free const char **ids = calloc(image->n_layers + 1,
	    sizeof(*ids));
	cleanup_free char *text = NULL;
	size_t i, n = 0, len;
	int r;

	MUST(ids != NULL && image->n_layers <= LIMIT_LAYERS);
	for (i = 0; i < image->n_layers; i++)
		if (!image->layers[i].is_throwaway)
			ids[n++] = "sha256:5555555555555555555555555555555"
				   "555555555555555555555555555555555";
	r = legacy_config(image, ids, n, &text, &len, &err);
	must_be_told(r, err);
	if (r < 0)
		return;
	/* It has what v1 layers said, of which not all may be in a config. */
	r = image_config_parse(text, len, &c, &err);
	must_be_told(r, err);
	MUST(r < 0 || c->n_diff_ids == n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_error struct imgd_error *err = NULL;
	struct legacy_image image = LEGACY_IMAGE_INIT;
	cleanup_free char *payload = NULL;
	struct legacy_layer *layer;
	size_t payload_len;
	int r;

	(void)schema1_is(NULL, data, len);
	r = schema1_payload(data, len, &payload, &payload_len, &err);
	must_be_told(r, err);
	if (r >= 0 && schema1_layers(payload, payload_len, &image, NULL) >= 0)
		make_config(&image);
	legacy_image_done(&image);
	image = (struct legacy_image)LEGACY_IMAGE_INIT;
	if (legacy_add(&image, data, len, &layer, NULL) >= 0 &&
	    legacy_finish(&image, NULL) >= 0)
		make_config(&image);
	legacy_image_done(&image);
	return 0;
}
