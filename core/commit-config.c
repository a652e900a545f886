#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/commit-config.h"
#include "core/config-change.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"
#include "registry/manifest.h"

/* What tells of the base's own making. */
static const char *const stale[] = { "author", "comment", "container",
	"container_config", "docker_version", "id", "layer_id", "parent",
	"parent_id", "Size", "throwaway", NULL };

static struct json_object *
text(const char *s)
{
	return json_object_new_string(s);
}

static struct json_object *
member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, key, &v) &&
		json_object_is_type(v, type)
	    ? v
	    : NULL;
}

/* The member, made if it is not there or null. */
static struct json_object *
need(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = member(o, key, type);

	if (v != NULL)
		return v;
	v = type == json_type_array ? json_object_new_array()
				    : json_object_new_object();
	json_object_object_add(o, key, v);
	return v;
}

/* What would run, as one line: so Docker fills in what made a layer. */
static void
add_created_by(struct json_object *entry, struct json_object *config)
{
	struct json_object *cmd = member(config, "Cmd", json_type_array);
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	for (i = 0; cmd != NULL && i < json_object_array_length(cmd); i++) {
		const char *word = json_object_get_string(
		    json_object_array_get_idx(cmd, i));

		if (i > 0)
			strbuf_putc(&sb, ' ');
		strbuf_puts(&sb, word != NULL ? word : "");
	}
	if (sb.len > 0)
		json_object_object_add(entry, "created_by", text(sb.data));
	strbuf_done(&sb);
}

static struct json_object *
new_entry(struct json_object *config, const struct commit_words *w,
    bool has_layer)
{
	struct json_object *entry = json_object_new_object();

	json_object_object_add(entry, "created", text(w->created));
	if (w->author != NULL)
		json_object_object_add(entry, "author", text(w->author));
	add_created_by(entry, config);
	if (w->message != NULL)
		json_object_object_add(entry, "comment", text(w->message));
	if (!has_layer)
		json_object_object_add(entry, "empty_layer",
		    json_object_new_boolean(1));
	return entry;
}

static size_t
count_layers(struct json_object *history)
{
	size_t i, n = 0;

	for (i = 0; i < json_object_array_length(history); i++) {
		struct json_object *empty = member(
		    json_object_array_get_idx(history, i), "empty_layer",
		    json_type_boolean);

		n += empty == NULL || !json_object_get_boolean(empty);
	}
	return n;
}

/* The platform stands in every config that goes by the specification. */
static void
fill_platform(struct json_object *root)
{
	struct platform host;

	platform_host(&host);
	if (member(root, "architecture", json_type_string) == NULL)
		json_object_object_add(root, "architecture", text(host.arch));
	if (member(root, "os", json_type_string) == NULL)
		json_object_object_add(root, "os", text(host.os));
}

static void
add_layer(struct json_object *root, const struct commit_words *w,
    const char *diff_id)
{
	struct json_object *rootfs = need(root, "rootfs", json_type_object);
	struct json_object *ids = need(rootfs, "diff_ids", json_type_array);
	struct json_object *history = need(root, "history", json_type_array);
	size_t n = json_object_array_length(ids), i;

	for (i = count_layers(history); i < n; i++)
		(void)json_object_array_add(history, json_object_new_object());
	(void)json_object_array_add(history,
	    new_entry(member(root, "config", json_type_object), w,
		diff_id != NULL));
	if (diff_id != NULL)
		(void)json_object_array_add(ids, text(diff_id));
}

int
commit_config(const void *base, size_t len, const struct commit_words *w,
    const char *diff_id, char **ret, struct imgd_error **err)
{
	cleanup_json struct json_object *root = NULL;
	struct config_change change = { .has_cmd = false };
	size_t i;
	int r = json_get_root(base, len, &root, err);

	if (r < 0)
		return r;
	for (i = 0; stale[i] != NULL; i++)
		json_object_object_del(root, stale[i]);
	change.config = need(root, "config", json_type_object);
	/* Before the changes: the layer was made on the base. */
	add_layer(root, w, diff_id);
	if (w->changes != NULL)
		r = config_change_all(&change, w->changes, err);
	if (r < 0)
		return r;
	if (w->author != NULL)
		json_object_object_add(root, "author", text(w->author));
	json_object_object_add(root, "created", text(w->created));
	fill_platform(root);
	*ret = strdup(json_object_to_json_string_ext(root,
	    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}
