#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "core/protocol.h"
#include "core/puller-legacy.h"
#include "lib/cleanup.h"
#include "registry/session.h"

const struct legacy_layer *
puller_legacy_layer(const struct legacy_image *image, uint32_t index)
{
	size_t i;

	for (i = 0; i < image->n_layers; i++)
		if (!image->layers[i].is_throwaway && index-- == 0)
			return &image->layers[i];
	return NULL;
}

int
puller_legacy_tell(const struct legacy_image *image, puller_tell_cb *tell,
    void *ctx, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < image->n_layers; i++) {
		const struct legacy_layer *l = &image->layers[i];
		struct message m;

		if (l->is_throwaway)
			continue;
		message_init(&m, PULLER_LEGACY_LAYER);
		message_put_str(&m, l->id);
		message_put_str(&m, l->blob_digest);
		message_put_u64(&m, l->size_bytes);
		/* What has a digest needs no other name. */
		message_put_bytes(&m, l->json,
		    l->blob_digest[0] != '\0' ? 0 : l->json_len);
		r = tell(ctx, &m, err);
	}
	return r;
}

int
puller_legacy_config(const struct legacy_image *image, struct message *order,
    puller_tell_cb *tell, void *ctx, struct imgd_error **err)
{
	cleanup_free const char **diff_ids = NULL;
	cleanup_free char *config = NULL;
	char digest[DIGEST_STR_SIZE];
	uint32_t i, n = message_get_u32(order);
	struct message m;
	size_t len = 0;
	int r;

	if (n > image->n_layers)
		order->is_bad = true;
	else
		diff_ids = calloc((size_t)n + 1, sizeof(*diff_ids));
	for (i = 0; diff_ids != NULL && i < n; i++) {
		diff_ids[i] = message_get_str(order);
		if (!digest_is_valid(diff_ids[i]))
			order->is_bad = true;
	}
	r = message_end(order, err);
	if (r >= 0 && diff_ids == NULL)
		r = imgd_error_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = legacy_config(image, diff_ids, n, &config, &len, err);
	if (r >= 0)
		r = digest_of(config, len, digest, err);
	if (r < 0)
		return r;
	message_init(&m, PULLER_DOC);
	message_put_u32(&m, REGISTRY_DOC_CONFIG);
	message_put_str(&m, MEDIA_DOCKER_CONFIG);
	message_put_str(&m, digest);
	message_put_bytes(&m, config, len);
	return tell(ctx, &m, err);
}
