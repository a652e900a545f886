/* The list of an old image's layers. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/legacy.h"
#include "registry/manifest-impl.h"

static void
layer_done(struct legacy_layer *l)
{
	free(l->id);
	free(l->parent);
	free(l->json);
	free(l->payload_checksum);
	free(l->tarsum);
	memset(l, 0, sizeof(*l));
}

void
legacy_image_done(struct legacy_image *image)
{
	size_t i;

	for (i = 0; i < image->n_layers; i++)
		layer_done(&image->layers[i]);
	free(image->layers);
	*image = (struct legacy_image)LEGACY_IMAGE_INIT;
}

void
legacy_image_free(struct legacy_image *image)
{
	if (image == NULL)
		return;
	legacy_image_done(image);
	free(image);
}

/* An id, or "" where it may be absent. */
static int
get_id(struct json_object *root, const char *key, bool may_be_absent,
    char **ret, struct imgd_error **err)
{
	const char *s;
	int r;

	r = json_get_str(root, key, &s, err);
	if (r < 0)
		return r;
	if (s == NULL)
		s = "";
	if (!digest_is_hex(s) && !(may_be_absent && *s == '\0'))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "bad image id \"%.80s\" in \"%s\"", s, key);
	*ret = strdup(s);
	return *ret != NULL ? 0 : imgd_error_set(err, ENOMEM, "out of memory");
}

static int
parse(struct legacy_layer *l, const void *json, size_t len,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	int r;

	r = json_get_root(json, len, &root, err);
	if (r >= 0)
		r = get_id(root, "id", /* may_be_absent= */ false, &l->id, err);
	if (r >= 0)
		r = get_id(root, "parent", /* may_be_absent= */ true,
		    &l->parent, err);
	if (r >= 0)
		r = json_get_bool(root, "throwaway", &l->is_throwaway, err);
	if (r < 0)
		return r;
	l->json = malloc(len + 1);
	if (l->json == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	memcpy(l->json, json, len);
	l->json[len] = '\0';
	l->json_len = len;
	return 0;
}

int
legacy_add(struct legacy_image *image, const void *json, size_t len,
    struct legacy_layer **ret, struct imgd_error **err)
{
	struct legacy_layer *list, l = { .id = NULL };
	int r;

	if (image->n_layers == LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d layers", LIMIT_LAYERS);
	if (len > LIMIT_LEGACY_BYTES - image->n_bytes)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "the layers' image JSON is longer than %u bytes",
		    LIMIT_LEGACY_BYTES);
	list = reallocarray(image->layers, image->n_layers + 1, sizeof(*list));
	if (list == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	image->layers = list;
	r = parse(&l, json, len, err);
	if (r < 0) {
		layer_done(&l);
		(void)imgd_error_prefix(err, "image JSON");
		return r;
	}
	image->n_bytes += len;
	list[image->n_layers++] = l;
	if (ret != NULL)
		*ret = &list[image->n_layers - 1];
	return 0;
}

void
legacy_drop_last(struct legacy_image *image)
{
	struct legacy_layer *l = &image->layers[--image->n_layers];

	image->n_bytes -= l->json_len;
	layer_done(l);
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
check_unique(const struct legacy_image *image, struct imgd_error **err)
{
	cleanup_free const char **ids = calloc(image->n_layers + 1,
	    sizeof(*ids));
	size_t i;

	if (ids == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < image->n_layers; i++)
		ids[i] = image->layers[i].id;
	qsort(ids, image->n_layers, sizeof(*ids), compare_ids);
	for (i = 1; i < image->n_layers; i++)
		if (strcmp(ids[i - 1], ids[i]) == 0)
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "image %.12s is its own ancestor", ids[i]);
	return 0;
}

int
legacy_finish(struct legacy_image *image, struct imgd_error **err)
{
	struct legacy_layer swap;
	size_t i, n = image->n_layers;
	int r;

	if (n == 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "the image has no layers");
	for (i = 0; i < n / 2; i++) {
		swap = image->layers[i];
		image->layers[i] = image->layers[n - 1 - i];
		image->layers[n - 1 - i] = swap;
	}
	r = check_unique(image, err);
	for (i = 0; r >= 0 && i < n; i++) {
		const char *wanted = i > 0 ? image->layers[i - 1].id : "";
		const struct legacy_layer *l = &image->layers[i];

		if (strcmp(l->parent, wanted) != 0)
			r = imgd_error_set(err, IMGD_E_FORMAT,
			    "image %.12s has the parent \"%.12s\", expected \"%.12s\"",
			    l->id, l->parent, wanted);
	}
	return r;
}

int
legacy_check_platform(const struct legacy_image *image,
    const struct platform *want, struct imgd_error **err)
{
	const struct legacy_layer *top = &image->layers[image->n_layers - 1];
	cleanup(json_putp) struct json_object *root = NULL;
	char wanted[PLATFORM_STR_SIZE], actual[PLATFORM_STR_SIZE];
	struct platform have;
	int r;

	if (want == NULL)
		return 0;
	r = json_get_root(top->json, top->json_len, &root, err);
	if (r >= 0)
		r = manifest_get_platform(root, &have, err);
	if (r < 0 || have.arch[0] == '\0' || have.os[0] == '\0')
		return r;
	if (platform_rank(want, &have) >= 0)
		return 0;
	return imgd_error_set(err, IMGD_E_PLATFORM,
	    "the image is for %s, not for %s", platform_format(&have, actual),
	    platform_format(want, wanted));
}
