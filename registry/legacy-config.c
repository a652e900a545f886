/*
 * From v1 image JSON to an image config, as Docker 1.10 and later do it: the
 * top layer's JSON less what a config has not, with rootfs and history.  Ids
 * of converted images agree with Docker's where the bytes do.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-raw.h"
#include "registry/legacy.h"

#define ZERO_TIME "0001-01-01T00:00:00Z"
#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Docker before this version wrote JSON that is not taken as it stands. */
static const unsigned first_good_version[] = { 1, 8, 3 };

/* ---- values, written as Go writes them ---- */

static struct json_object *
parsed(const struct json_raw_member *m)
{
	struct json_tokener *tok = m != NULL ?
	    json_tokener_new_ex(LIMIT_JSON_DEPTH + 1) : NULL;
	struct json_object *o;

	if (tok == NULL)
		return NULL;
	o = json_tokener_parse_ex(tok, m->value, (int)m->len);
	json_tokener_free(tok);
	return o;
}

static void
put_text(struct strbuf *sb, struct json_object *o)
{
	if (!json_object_is_type(o, json_type_string)) {
		strbuf_puts(sb, "\"\"");
		return;
	}
	json_raw_string(sb, json_object_get_string(o),
	    (size_t)json_object_get_string_len(o));
}

/* A list of strings; one string alone is a list of one. */
static void
put_list(struct strbuf *sb, struct json_object *o)
{
	size_t i, n;

	if (json_object_is_type(o, json_type_string)) {
		strbuf_putc(sb, '[');
		put_text(sb, o);
		strbuf_putc(sb, ']');
		return;
	}
	if (!json_object_is_type(o, json_type_array)) {
		strbuf_puts(sb, "null");
		return;
	}
	n = json_object_array_length(o);
	strbuf_putc(sb, '[');
	for (i = 0; i < n; i++) {
		if (i > 0)
			strbuf_putc(sb, ',');
		put_text(sb, json_object_array_get_idx(o, i));
	}
	strbuf_putc(sb, ']');
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* An object with its keys in order; values are strings, or all {}. */
static void
put_map(struct strbuf *sb, struct json_object *o, bool is_set)
{
	cleanup_free const char **keys = NULL;
	size_t i, n = 0;

	if (!json_object_is_type(o, json_type_object)) {
		strbuf_puts(sb, "null");
		return;
	}
	keys = calloc((size_t)json_object_object_length(o) + 1, sizeof(*keys));
	if (keys == NULL) {
		sb->is_failed = true;
		return;
	}
	{
		json_object_object_foreach(o, key, value) {
			(void)value;
			keys[n++] = key;
		}
	}
	qsort(keys, n, sizeof(*keys), compare_keys);
	strbuf_putc(sb, '{');
	for (i = 0; i < n; i++) {
		if (i > 0)
			strbuf_putc(sb, ',');
		json_raw_string(sb, keys[i], strlen(keys[i]));
		strbuf_putc(sb, ':');
		if (is_set)
			strbuf_puts(sb, "{}");
		else
			put_text(sb, json_object_object_get(o, keys[i]));
	}
	strbuf_putc(sb, '}');
}

/* Go's RFC3339Nano of a time in that form: no zeros at the end of the
 * fraction, UTC as Z. */
static void
put_time(struct strbuf *sb, struct json_object *o)
{
	const char *s = json_object_is_type(o, json_type_string) ?
	    json_object_get_string(o) : "";
	size_t seconds = strcspn(s, "."), frac, zone;

	if (*s == '\0') {
		strbuf_puts(sb, "\"" ZERO_TIME "\"");
		return;
	}
	strbuf_putc(sb, '"');
	if (s[seconds] == '\0')
		seconds = strlen("2006-01-02T15:04:05") < strlen(s) ?
		    strlen("2006-01-02T15:04:05") : strlen(s);
	strbuf_append(sb, s, seconds);
	zone = seconds;
	if (s[zone] == '.') {
		zone += 1 + strspn(s + zone + 1, "0123456789");
		frac = zone;
		while (frac > seconds + 1 && s[frac - 1] == '0')
			frac--;
		if (frac > seconds + 1)
			strbuf_append(sb, s + seconds, frac - seconds);
	}
	if (strcmp(s + zone, "+00:00") == 0)
		strbuf_putc(sb, 'Z');
	else
		/* Digits, sign, colon, Z: what else is there is no time. */
		strbuf_append(sb, s + zone, strspn(s + zone, "+-:Z0123456789"));
	strbuf_putc(sb, '"');
}

/* ---- the normalised form of old JSON ---- */

enum kind { TEXT, FLAG, LIST, SET, MAP, TIME, CONFIG };

struct field {
	const char *name;
	enum kind kind;
	bool omit_empty;
};

/* docker 1.10, engine-api types/container.Config */
static const struct field config_fields[] = {
	{ "Hostname", TEXT, false },
	{ "Domainname", TEXT, false },
	{ "User", TEXT, false },
	{ "AttachStdin", FLAG, false },
	{ "AttachStdout", FLAG, false },
	{ "AttachStderr", FLAG, false },
	{ "ExposedPorts", SET, true },
	{ "PublishService", TEXT, true },
	{ "Tty", FLAG, false },
	{ "OpenStdin", FLAG, false },
	{ "StdinOnce", FLAG, false },
	{ "Env", LIST, false },
	{ "Cmd", LIST, false },
	{ "ArgsEscaped", FLAG, true },
	{ "Image", TEXT, false },
	{ "Volumes", SET, false },
	{ "WorkingDir", TEXT, false },
	{ "Entrypoint", LIST, false },
	{ "NetworkDisabled", FLAG, true },
	{ "MacAddress", TEXT, true },
	{ "OnBuild", LIST, false },
	{ "Labels", MAP, false },
	{ "StopSignal", TEXT, true },
};

/* docker 1.10, image.V1Image, less id, parent and Size; in the order of keys,
 * as the last step of the conversion writes a map. */
static const struct field image_fields[] = {
	{ "architecture", TEXT, true },
	{ "author", TEXT, true },
	{ "comment", TEXT, true },
	{ "config", CONFIG, true },
	{ "container", TEXT, true },
	{ "container_config", CONFIG, false },
	{ "created", TIME, false },
	{ "docker_version", TEXT, true },
	{ "os", TEXT, true },
};

static bool
is_empty(struct json_object *o, enum kind kind)
{
	switch (kind) {
	case TEXT:
		return !json_object_is_type(o, json_type_string) ||
		    json_object_get_string_len(o) == 0;
	case FLAG:
		return !json_object_get_boolean(o);
	case SET:
	case MAP:
		return !json_object_is_type(o, json_type_object) ||
		    json_object_object_length(o) == 0;
	default:
		return o == NULL;
	}
}

static int put_fields(struct strbuf *sb, const char *text, size_t len,
    const struct field *fields, size_t n, bool is_first,
    struct imgd_error **err);

static int
put_config(struct strbuf *sb, const struct json_raw_member *m,
    struct imgd_error **err)
{
	int r;

	strbuf_putc(sb, '{');
	r = put_fields(sb, m != NULL ? m->value : "{}", m != NULL ? m->len : 2,
	    config_fields, N_OF(config_fields), /* is_first= */ true, err);
	strbuf_putc(sb, '}');
	return r;
}

static int
put_field(struct strbuf *sb, const struct json_raw_member *m,
    struct json_object *o, enum kind kind, struct imgd_error **err)
{
	switch (kind) {
	case TEXT:
		put_text(sb, o);
		return 0;
	case FLAG:
		strbuf_puts(sb, json_object_get_boolean(o) ? "true" : "false");
		return 0;
	case LIST:
		put_list(sb, o);
		return 0;
	case SET:
	case MAP:
		put_map(sb, o, kind == SET);
		return 0;
	case TIME:
		put_time(sb, o);
		return 0;
	default:
		return put_config(sb, m, err);
	}
}

/* The members of the object in text that are in the table, in its order. */
static int
put_fields(struct strbuf *sb, const char *text, size_t len,
    const struct field *fields, size_t n, bool is_first,
    struct imgd_error **err)
{
	cleanup(json_raw_done) struct json_raw raw = JSON_RAW_INIT;
	size_t i;
	int r;

	r = json_raw_parse(text, len, &raw, err);
	for (i = 0; r >= 0 && i < n; i++) {
		const struct json_raw_member *m = json_raw_find(&raw,
		    fields[i].name);
		struct json_object *o = parsed(m);

		if (!fields[i].omit_empty || !is_empty(o, fields[i].kind)) {
			strbuf_printf(sb, "%s\"%s\":", is_first ? "" : ",",
			    fields[i].name);
			is_first = false;
			r = put_field(sb, m, o, fields[i].kind, err);
		}
		json_object_put(o);
	}
	return r;
}

/* ---- members of JSON that is taken as it stands ---- */

static bool
is_dropped(const char *key)
{
	static const char *const dropped[] = { "id", "parent", "Size",
		"parent_id", "layer_id", "throwaway", "rootfs", "history" };
	size_t i;

	for (i = 0; i < N_OF(dropped); i++)
		if (strcmp(key, dropped[i]) == 0)
			return true;
	return false;
}

static int
compare_members(const void *a, const void *b)
{
	const struct json_raw_member *x = a, *y = b;

	return strcmp(x->key, y->key);
}

/* ---- history and rootfs ---- */

static void
put_optional(struct strbuf *sb, const char *key,
    const struct json_raw_member *m)
{
	struct json_object *o = parsed(m);

	if (!is_empty(o, TEXT)) {
		strbuf_printf(sb, ",\"%s\":", key);
		put_text(sb, o);
	}
	json_object_put(o);
}

/* The command of container_config, joined by blanks. */
static int
put_created_by(struct strbuf *sb, const struct json_raw_member *container,
    struct imgd_error **err)
{
	cleanup(json_raw_done) struct json_raw raw = JSON_RAW_INIT;
	struct strbuf text = STRBUF_INIT;
	struct json_object *o;
	size_t i;
	int r;

	if (container == NULL)
		return 0;
	r = json_raw_parse(container->value, container->len, &raw, err);
	if (r < 0)
		return r;
	o = parsed(json_raw_find(&raw, "Cmd"));
	if (json_object_is_type(o, json_type_string))
		strbuf_puts(&text, json_object_get_string(o));
	for (i = 0; json_object_is_type(o, json_type_array) &&
	     i < json_object_array_length(o);
	     i++) {
		struct json_object *word = json_object_array_get_idx(o, i);

		strbuf_puts(&text, i > 0 ? " " : "");
		if (json_object_is_type(word, json_type_string))
			strbuf_puts(&text, json_object_get_string(word));
	}
	json_object_put(o);
	if (text.len > 0) {
		strbuf_puts(sb, ",\"created_by\":");
		json_raw_string(sb, text.data, text.len);
	}
	if (text.is_failed)
		sb->is_failed = true;
	strbuf_done(&text);
	return 0;
}

static int
put_history(struct strbuf *sb, const struct legacy_layer *l,
    struct imgd_error **err)
{
	cleanup(json_raw_done) struct json_raw raw = JSON_RAW_INIT;
	struct json_object *created;
	int r;

	r = json_raw_parse(l->json, l->json_len, &raw, err);
	if (r < 0)
		return r;
	strbuf_puts(sb, "{\"created\":");
	created = parsed(json_raw_find(&raw, "created"));
	put_time(sb, created);
	json_object_put(created);
	put_optional(sb, "author", json_raw_find(&raw, "author"));
	r = put_created_by(sb, json_raw_find(&raw, "container_config"), err);
	put_optional(sb, "comment", json_raw_find(&raw, "comment"));
	if (l->is_throwaway)
		strbuf_puts(sb, ",\"empty_layer\":true");
	strbuf_putc(sb, '}');
	return r;
}

struct made {
	struct strbuf history, rootfs;
};

static int
make_parts(const struct legacy_image *image, const char *const *diff_ids,
    size_t n_diff_ids, struct made *made, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	strbuf_putc(&made->history, '[');
	for (i = 0; r >= 0 && i < image->n_layers; i++) {
		if (i > 0)
			strbuf_putc(&made->history, ',');
		r = put_history(&made->history, &image->layers[i], err);
	}
	strbuf_putc(&made->history, ']');
	strbuf_puts(&made->rootfs, "{\"type\":\"layers\"");
	for (i = 0; i < n_diff_ids; i++)
		strbuf_printf(&made->rootfs, "%s\"%s\"",
		    i > 0 ? "," : ",\"diff_ids\":[", diff_ids[i]);
	strbuf_puts(&made->rootfs, n_diff_ids > 0 ? "]}" : "}");
	return r;
}

/* ---- all of it ---- */

/* Whether the JSON is from a Docker whose JSON is taken as it stands. */
static bool
is_modern(const struct json_raw *raw)
{
	struct json_object *o = parsed(json_raw_find(raw, "docker_version"));
	const char *s = json_object_is_type(o, json_type_string) ?
	    json_object_get_string(o) : "";
	bool is_good = true;
	size_t i;

	for (i = 0; i < N_OF(first_good_version); i++) {
		size_t len = strcspn(s, ".");
		unsigned long n = 0;
		char *end;

		n = strtoul(s, &end, 10);
		/* "3-cs1" counts as 0: so does Docker. */
		if (end != s + len || len == 0)
			n = 0;
		if (n != first_good_version[i]) {
			is_good = n > first_good_version[i];
			break;
		}
		s += len + (s[len] == '.');
	}
	json_object_put(o);
	return is_good;
}

static void
put_made(struct strbuf *sb, const struct made *made, bool is_history)
{
	const struct strbuf *part = is_history ? &made->history : &made->rootfs;

	strbuf_printf(sb, "%s\"%s\":", sb->len > 1 ? "," : "",
	    is_history ? "history" : "rootfs");
	strbuf_append(sb, part->data != NULL ? part->data : "", part->len);
}

/* The members as they stand, in the order of keys. */
static void
put_modern(struct strbuf *sb, struct json_raw *raw, const struct made *made)
{
	bool has_history = false, has_rootfs = false;
	const char *key;
	size_t i;

	qsort(raw->members, raw->n, sizeof(*raw->members), compare_members);
	for (i = 0; i < raw->n; i++) {
		key = raw->members[i].key;
		if (is_dropped(key))
			continue;
		if (!has_history && strcmp(key, "history") > 0) {
			put_made(sb, made, /* is_history= */ true);
			has_history = true;
		}
		if (!has_rootfs && strcmp(key, "rootfs") > 0) {
			put_made(sb, made, /* is_history= */ false);
			has_rootfs = true;
		}
		if (sb->len > 1)
			strbuf_putc(sb, ',');
		json_raw_string(sb, key, strlen(key));
		strbuf_putc(sb, ':');
		json_raw_compact(sb, raw->members[i].value,
		    raw->members[i].len);
	}
	if (!has_history)
		put_made(sb, made, /* is_history= */ true);
	if (!has_rootfs)
		put_made(sb, made, /* is_history= */ false);
}

static int
put_all(struct strbuf *sb, const struct legacy_layer *top,
    const struct made *made, struct imgd_error **err)
{
	cleanup(json_raw_done) struct json_raw raw = JSON_RAW_INIT;
	size_t n_before;
	int r;

	r = json_raw_parse(top->json, top->json_len, &raw, err);
	if (r < 0)
		return r;
	strbuf_putc(sb, '{');
	if (is_modern(&raw)) {
		put_modern(sb, &raw, made);
	} else {
		/* "history" stands between docker_version and os. */
		n_before = N_OF(image_fields) - 1;
		r = put_fields(sb, top->json, top->json_len, image_fields,
		    n_before, /* is_first= */ true, err);
		put_made(sb, made, /* is_history= */ true);
		if (r >= 0)
			r = put_fields(sb, top->json, top->json_len,
			    image_fields + n_before, 1, /* is_first= */ false,
			    err);
		put_made(sb, made, /* is_history= */ false);
	}
	strbuf_putc(sb, '}');
	return r;
}

int
legacy_config(const struct legacy_image *image, const char *const *diff_ids,
    size_t n_diff_ids, char **ret, size_t *ret_len, struct imgd_error **err)
{
	struct made made = { STRBUF_INIT, STRBUF_INIT };
	struct strbuf sb = STRBUF_INIT;
	size_t i, n = 0, len;
	int r;

	for (i = 0; i < image->n_layers; i++)
		n += !image->layers[i].is_throwaway;
	if (n != n_diff_ids)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%zu diff_ids for %zu layers", n_diff_ids, n);
	r = make_parts(image, diff_ids, n_diff_ids, &made, err);
	if (r >= 0)
		r = put_all(&sb, &image->layers[image->n_layers - 1], &made,
		    err);
	if (made.history.is_failed || made.rootfs.is_failed)
		sb.is_failed = true;
	strbuf_done(&made.history);
	strbuf_done(&made.rootfs);
	len = sb.len;
	if (r >= 0 && len > LIMIT_CONFIG_BYTES)
		r = imgd_error_set(err, IMGD_E_LIMIT,
		    "image config longer than %u bytes", LIMIT_CONFIG_BYTES);
	if (r < 0) {
		strbuf_done(&sb);
		return r;
	}
	*ret = strbuf_take(&sb);
	if (*ret == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret_len = len;
	return 0;
}
