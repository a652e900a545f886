#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/manifest-impl.h"

void
image_config_free(struct image_config *c)
{
	size_t i;

	if (c == NULL)
		return;
	for (i = 0; i < c->n_history; i++) {
		free(c->history[i].created);
		free(c->history[i].created_by);
		free(c->history[i].author);
		free(c->history[i].comment);
	}
	free(c->history);
	free(c->diff_ids);
	free(c->os_version);
	free(c->created);
	free(c->author);
	free(c->comment);
	free(c->docker_version);
	free(c->container);
	free(c->parent);
	free(c->config_json);
	free(c->container_config_json);
	free(c);
}

static int
get_history(struct image_config *c, struct json_object *root,
    struct imgd_error **err)
{
	struct json_object *array, *o;
	struct image_history *h;
	size_t i, n;
	int r;

	r = json_get_array(root, "history", &array, err);
	if (r < 0 || array == NULL)
		return r;
	n = json_object_array_length(array);
	if (n == 0)
		return 0;
	c->history = calloc(n, sizeof(*c->history));
	if (c->history == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	c->n_history = n;
	for (i = 0; i < n; i++) {
		o = json_object_array_get_idx(array, i);
		h = &c->history[i];
		if (!json_object_is_type(o, json_type_object))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "history entry %zu is not an object", i);
		if ((r = json_get_str_dup(o, "created", &h->created,
			 err)) < 0 ||
		    (r = json_get_str_dup(o, "created_by", &h->created_by,
			 err)) < 0 ||
		    (r = json_get_str_dup(o, "author", &h->author, err)) < 0 ||
		    (r = json_get_str_dup(o, "comment", &h->comment,
			 err)) < 0 ||
		    (r = json_get_bool(o, "empty_layer", &h->is_empty_layer,
			 err)) < 0)
			return r;
	}
	return 0;
}

static int
get_rootfs(struct image_config *c, struct json_object *root,
    struct imgd_error **err)
{
	struct json_object *rootfs, *array;
	const char *s;
	size_t i, n;
	int r;

	r = json_get_object(root, "rootfs", &rootfs, err);
	if (r < 0)
		return r;
	if (rootfs == NULL)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "\"rootfs\" is missing");
	r = json_get_str(rootfs, "type", &s, err);
	if (r < 0)
		return r;
	if (s != NULL && strcmp(s, "layers") != 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "unknown rootfs type \"%s\"", s);
	r = json_get_array(rootfs, "diff_ids", &array, err);
	if (r < 0)
		return r;
	n = array != NULL ? json_object_array_length(array) : 0;
	if (n > LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d layers", LIMIT_LAYERS);
	if (n == 0)
		return 0;
	c->diff_ids = calloc(n, sizeof(*c->diff_ids));
	if (c->diff_ids == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < n; i++) {
		r = json_get_element_str(array, i, "diff_ids", &s, err);
		if (r < 0)
			return r;
		if (!digest_is_valid(s))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "bad diff_id \"%s\"", s);
		memcpy(c->diff_ids[i], s, DIGEST_STR_SIZE);
	}
	c->n_diff_ids = n;
	return 0;
}

/* An object member as JSON text; NULL if it is absent. */
static int
get_text(struct json_object *root, const char *key, char **ret,
    struct imgd_error **err)
{
	struct json_object *o;
	const char *text;
	int r;

	r = json_get_object(root, key, &o, err);
	if (r < 0 || o == NULL)
		return r;
	text = json_object_to_json_string_ext(o,
	    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	*ret = text != NULL ? strdup(text) : NULL;
	if (*ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

static int
get_all(struct image_config *c, struct json_object *root,
    struct imgd_error **err)
{
	int r;

	if ((r = manifest_get_platform(root, &c->platform, err)) < 0 ||
	    (r = json_get_str_dup(root, "os.version", &c->os_version,
		 err)) < 0 ||
	    (r = json_get_str_dup(root, "created", &c->created, err)) < 0 ||
	    (r = json_get_str_dup(root, "author", &c->author, err)) < 0 ||
	    (r = json_get_str_dup(root, "comment", &c->comment, err)) < 0 ||
	    (r = json_get_str_dup(root, "docker_version", &c->docker_version,
		 err)) < 0 ||
	    (r = json_get_str_dup(root, "container", &c->container,
		 err)) < 0 ||
	    (r = json_get_str_dup(root, "parent", &c->parent, err)) < 0 ||
	    (r = get_text(root, "config", &c->config_json, err)) < 0 ||
	    (r = get_text(root, "container_config",
		 &c->container_config_json, err)) < 0 ||
	    (r = get_history(c, root, err)) < 0)
		return r;
	return get_rootfs(c, root, err);
}

int
image_config_check_platform(const struct image_config *c, const char *wanted,
    struct imgd_error **err)
{
	char text[PLATFORM_STR_SIZE];
	struct platform want;
	int r;

	if (c->platform.os[0] == '\0')
		return 0;
	r = platform_parse(wanted, &want, err);
	if (r < 0)
		return r;
	if (platform_rank(&want, &c->platform) < 0)
		return imgd_error_set(err, IMGD_E_PLATFORM,
		    "the image is for %s, not for %s",
		    platform_format(&c->platform, text), wanted);
	return 0;
}

int
image_config_parse(const void *data, size_t len, struct image_config **ret,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup(image_config_freep) struct image_config *c = NULL;
	int r;

	if (len > LIMIT_CONFIG_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "image config longer than %u bytes", LIMIT_CONFIG_BYTES);
	r = json_get_root(data, len, &root, err);
	if (r >= 0) {
		c = calloc(1, sizeof(*c));
		r = c != NULL ? get_all(c, root, err) :
				imgd_error_set(err, ENOMEM, "out of memory");
	}
	if (r < 0) {
		(void)imgd_error_prefix(err, "image config");
		return r;
	}
	*ret = take_ptr(&c);
	return 0;
}

int
manifest_check_config(const struct manifest *m,
    const struct image_config *config, struct imgd_error **err)
{
	if (m->kind == MANIFEST_IMAGE && m->n_layers == config->n_diff_ids)
		return 0;
	return imgd_error_set(err, IMGD_E_FORMAT,
	    "layers from manifest don't match image configuration");
}
