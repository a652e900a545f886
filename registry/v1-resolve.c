/* Version 1: from a name to an image: tags, ancestry, image JSON. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/json-get.h"
#include "registry/v1-impl.h"

/* An ancestry of LIMIT_LAYERS ids, each with quotes, comma and blanks. */
#define MAX_ANCESTRY_BYTES (LIMIT_LAYERS * 80u)

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static const char *
text_of(const struct http_reply *reply)
{
	return reply->body.data != NULL ? reply->body.data : "";
}

/* ---- tags ---- */

struct tags {
	const char *path;
	char *what;
	struct json_object *ids; /* tag → id */
};

static int
get_tags(struct registry_session *s, struct v1_place *p, void *ctx,
    struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	struct tags *t = ctx;
	int r;

	r = v1_document(s, p, /* is_index= */ false, t->path, t->what,
	    LIMIT_TAGS_BYTES, &reply, err);
	if (r < 0)
		return r;
	r = json_get_root(text_of(&reply), reply.body.len, &t->ids, err);
	return r < 0 ? imgd_error_prefix(err, "%s: tags", t->what) : 0;
}

static int
all_tags(struct registry_session *s, struct json_object **ret,
    struct imgd_error **err)
{
	cleanup_free char *path = NULL;
	cleanup_free char *what = NULL;
	struct tags t = { .ids = NULL };
	int r;

	r = v1_open(s, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "/repositories/%s/tags", s->v1->full) < 0 ||
	    asprintf(&what, "repository %s", s->name) < 0)
		return no_memory(err);
	t.path = path;
	t.what = what;
	r = v1_each_place(s, get_tags, &t, NULL, err);
	if (r >= 0)
		*ret = t.ids;
	return r;
}

static int
v1_tags(struct registry_session *s, registry_tag_cb *cb, void *ctx,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *tags = NULL;
	int r;

	r = all_tags(s, &tags, err);
	if (r < 0)
		return r;
	json_object_object_foreach(tags, tag, id) {
		(void)id;
		if (!reference_tag_is_valid(tag)) {
			log_debug("registry", "bad tag %s, ignoring", tag);
			continue;
		}
		r = cb(ctx, tag, err);
		if (r != 0)
			return r;
	}
	return 0;
}

/* The id of the session's tag; *ret is malloc'ed. */
static int
find_tag(struct registry_session *s, char **ret, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *tags = NULL;
	const char *id;
	int r;

	r = all_tags(s, &tags, err);
	if (r >= 0)
		r = json_get_str(tags, s->ref.tag, &id, err);
	if (r < 0)
		return r;
	if (id == NULL)
		return imgd_error_set(err, IMGD_E_UNKNOWN,
		    "%s not found: the repository has no such tag", s->target);
	if (!digest_is_hex(id))
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "tag %s: bad image id \"%.80s\"", s->ref.tag, id);
	*ret = strdup(id);
	return *ret != NULL ? 0 : no_memory(err);
}

/* ---- checksums ---- */

/* A checksum by its own words; the first of each kind is kept. */
static int
keep_checksum(struct legacy_layer *l, const char *sum)
{
	char **to = digest_is_valid(sum) ? &l->payload_checksum
	    : str_starts(sum, "tarsum")	 ? &l->tarsum
					 : NULL;

	if (to == NULL || *to != NULL)
		return 0;
	*to = strdup(sum);
	return *to != NULL ? 0 : -ENOMEM;
}

/* Servers have had three names for it. */
static int
take_checksums(struct legacy_layer *l, const struct http_reply *reply,
    struct imgd_error **err)
{
	size_t i;

	for (i = 0; i < reply->n_docker; i++) {
		const struct http_header *h = &reply->docker[i];

		if (strcasecmp(h->name, "X-Docker-Checksum-Payload") != 0 &&
		    strcasecmp(h->name, "X-Docker-Payload-Checksum") != 0 &&
		    strcasecmp(h->name, "X-Docker-Checksum") != 0)
			continue;
		if (keep_checksum(l, h->value) < 0)
			return no_memory(err);
	}
	return 0;
}

/* The index may know checksums, too. */
static int
take_index_checksum(struct json_object *images, struct legacy_layer *l,
    struct imgd_error **err)
{
	size_t i, n = json_object_array_length(images);

	for (i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(images, i);
		const char *id = NULL, *sum = NULL;

		if (!json_object_is_type(o, json_type_object) ||
		    json_get_str(o, "id", &id, NULL) < 0 || id == NULL ||
		    strcmp(id, l->id) != 0 ||
		    json_get_str(o, "checksum", &sum, NULL) < 0 || sum == NULL)
			continue;
		if (keep_checksum(l, sum) < 0)
			return no_memory(err);
	}
	return 0;
}

/* ---- one place's word of an image ---- */

struct search {
	const char *id; /* of the image */
	const struct platform *want;
	struct legacy_image *image;
};

static int
parse_ancestry(struct json_object *list, const char *id,
    struct imgd_error **err)
{
	size_t i, n = json_object_array_length(list);
	const char *s;
	int r;

	if (n > LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "ancestry of more than %d images", LIMIT_LAYERS);
	for (i = 0; i < n; i++) {
		r = json_get_element_str(list, i, "ancestry", &s, err);
		if (r < 0)
			return r;
		if (!digest_is_hex(s))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "ancestry: bad image id \"%.80s\"", s);
		if (i == 0 && strcmp(s, id) != 0)
			break;
	}
	if (n == 0 || i < n)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "ancestry does not begin with the image");
	return 0;
}

/* The ids, top first, no one twice: before anything is asked of them. */
static int
get_ancestry(struct registry_session *s, struct v1_place *p, const char *id,
    struct json_object **ret, struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	cleanup(json_putp) struct json_object *list = NULL;
	cleanup(json_putp) struct json_object *seen = NULL;
	char path[128];
	size_t i;
	int r;

	(void)snprintf(path, sizeof(path), "/images/%s/ancestry", id);
	r = v1_document(s, p, /* is_index= */ false, path, "ancestry",
	    MAX_ANCESTRY_BYTES, &reply, err);
	if (r >= 0)
		r = json_get_root_array(text_of(&reply), reply.body.len, &list,
		    err);
	if (r >= 0)
		r = parse_ancestry(list, id, err);
	if (r < 0)
		return r;
	seen = json_object_new_object();
	if (seen == NULL)
		return no_memory(err);
	for (i = 0; i < json_object_array_length(list); i++) {
		const char *one = json_object_get_string(
		    json_object_array_get_idx(list, i));

		if (json_object_object_get_ex(seen, one, NULL))
			return imgd_error_set(err, IMGD_E_FORMAT,
			    "ancestry: image %.12s is its own ancestor", one);
		if (json_object_object_add(seen, one, NULL) < 0)
			return no_memory(err);
	}
	*ret = take_ptr(&list);
	return 0;
}

/* "X-Docker-Size": of the layer as it is transferred. */
static int
take_size(struct legacy_layer *l, const struct http_reply *reply,
    struct imgd_error **err)
{
	const char *size = http_reply_docker(reply, "X-Docker-Size");

	if (size != NULL && *size != '\0' &&
	    !str_to_u64(size, INT64_MAX, &l->size_bytes))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "bad layer size \"%.40s\"", size);
	return 0;
}

static int
get_json(struct registry_session *s, struct v1_place *p, const char *id,
    struct legacy_image *image, struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	size_t left = LIMIT_LEGACY_BYTES - image->n_bytes;
	struct legacy_layer *l;
	char path[128];
	int r;

	(void)snprintf(path, sizeof(path), "/images/%s/json", id);
	r = v1_document(s, p, /* is_index= */ false, path, "image JSON", left,
	    &reply, err);
	if (r >= 0)
		r = legacy_add(image, text_of(&reply), reply.body.len, &l,
		    err);
	if (r < 0)
		return r;
	/* Every image of version 1 has a layer, whatever it says. */
	l->is_throwaway = false;
	if (strcmp(l->id, id) != 0)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "image JSON: it is of %.12s", l->id);
	r = take_size(l, &reply, err);
	if (r >= 0)
		r = take_checksums(l, &reply, err);
	if (r >= 0)
		r = take_index_checksum(s->v1->images, l, err);
	return r;
}

/* Ancestry and JSON, all from the same place. */
static int
get_image(struct registry_session *s, struct v1_place *p, void *ctx,
    struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *list = NULL;
	struct search *q = ctx;
	size_t i, n = 0;
	int r;

	legacy_image_done(q->image);
	r = get_ancestry(s, p, q->id, &list, err);
	if (r >= 0)
		n = json_object_array_length(list);
	for (i = 0; r >= 0 && i < n; i++) {
		const char *id = json_object_get_string(
		    json_object_array_get_idx(list, i));

		r = get_json(s, p, id, q->image, err);
		if (r < 0)
			(void)imgd_error_prefix(err, "%.12s", id);
	}
	if (r >= 0)
		r = legacy_finish(q->image, err);
	return r < 0 ? imgd_error_prefix(err, "image %.12s", q->id) : 0;
}

static int
v1_resolve(struct registry_session *s, const struct platform *want,
    const char *known_digest, registry_doc_cb *cb, void *ctx,
    struct registry_resolved *ret, struct imgd_error **err)
{
	cleanup_free char *id = NULL;
	struct legacy_image *image;
	struct search q = { .want = want };
	int r;

	/* There are no documents that a digest could name. */
	(void)known_digest;
	(void)cb;
	(void)ctx;
	r = find_tag(s, &id, err);
	if (r < 0)
		return r;
	image = calloc(1, sizeof(*image));
	if (image == NULL)
		return no_memory(err);
	q.id = id;
	q.image = image;
	r = v1_each_place(s, get_image, &q, NULL, err);
	if (r >= 0)
		r = legacy_check_platform(image, want, err);
	if (r < 0) {
		legacy_image_free(image);
		return r;
	}
	ret->legacy = image;
	return 0;
}

const struct registry_ops registry_v1_ops = {
	.name = "v1",
	.resolve = v1_resolve,
	.layer = v1_layer,
	.tags = v1_tags,
};
