/* docker save since 1.10: manifest.json says where everything is. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive-impl.h"
#include "lib/limits.h"
#include "registry/json-get.h"

#define MANIFEST "manifest.json"

static int
take_layers(struct archived_image *img, struct json_object *paths,
    struct imgd_error **err)
{
	size_t i, n = paths != NULL ? json_object_array_length(paths) : 0;
	const char *path;
	int r;

	img->layer_paths = calloc(n + 1, sizeof(*img->layer_paths));
	if (img->layer_paths == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < n; i++) {
		r = json_get_element_str(paths, i, "Layers", &path, err);
		if (r < 0)
			return r;
		img->layer_paths[i] = strdup(path);
		if (img->layer_paths[i] == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		img->n_layers++;
	}
	return 0;
}

static int
take_names(struct image_archive *a, struct archived_image *img,
    struct json_object *names, struct imgd_error **err)
{
	size_t i, n = names != NULL ? json_object_array_length(names) : 0;
	const char *name;
	int r = 0;

	for (i = 0; i < n && r >= 0; i++) {
		r = json_get_element_str(names, i, "RepoTags", &name, err);
		if (r >= 0)
			r = archive_add_name(a, img, name, err);
	}
	return r;
}

static int
take_image(struct image_archive *a, struct json_object *o,
    struct imgd_error **err)
{
	struct json_object *layers = NULL, *names = NULL;
	struct archived_image *img;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "an object is expected");
	r = archive_add_image(a, &img, err);
	if (r >= 0)
		r = json_get_str_dup(o, "Config", &img->config_path, err);
	if (r >= 0 && img->config_path == NULL)
		r = imgd_error_set(err, IMGD_E_FORMAT, "\"Config\" is missing");
	if (r >= 0)
		r = json_get_array(o, "Layers", &layers, err);
	if (r >= 0)
		r = take_layers(img, layers, err);
	if (r >= 0)
		r = json_get_array(o, "RepoTags", &names, err);
	return r < 0 ? r : take_names(a, img, names, err);
}

static int
docker_list(struct image_archive *a, const struct platform *want,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup_free char *text = NULL;
	size_t i, len;
	int r;

	(void)want;
	r = members_read(&a->members, MANIFEST, LIMIT_MANIFEST_BYTES, &text,
	    &len, err);
	if (r < 0)
		return r;
	r = json_get_root_array(text, len, &root, err);
	for (i = 0; r >= 0 && i < json_object_array_length(root); i++)
		r = take_image(a, json_object_array_get_idx(root, i), err);
	return r < 0 ? imgd_error_prefix(err, MANIFEST) : 0;
}

static int
docker_find(const struct image_archive *a, const struct archived_image *img,
    struct found_image *f, struct imgd_error **err)
{
	char *config = NULL;
	size_t i, len;
	int r;

	r = found_make_layers(f, img->n_layers, err);
	for (i = 0; r >= 0 && i < img->n_layers; i++)
		r = members_find(&a->members, img->layer_paths[i],
		    &f->layers[i].file, err);
	if (r >= 0)
		r = members_read(&a->members, img->config_path,
		    LIMIT_CONFIG_BYTES, &config, &len, err);
	if (r < 0)
		return r;
	r = found_take_config(f, config, len, err);
	return r < 0 ? imgd_error_prefix(err, "%.200s", img->config_path)
		     : 0;
}

const struct form_ops docker_form = {
	.list = docker_list,
	.find = docker_find,
};
