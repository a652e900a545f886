/* Search, which only the protocol of version 1 has. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/json-get.h"
#include "registry/v1-impl.h"

static int
take_result(struct json_object *o, registry_found_cb *cb, void *ctx,
    struct imgd_error **err)
{
	struct registry_found f = { .description = "" };
	struct json_object *stars = NULL;
	const char *text = NULL;
	int r;

	r = json_get_str(o, "name", &f.name, err);
	if (r >= 0)
		r = json_get_str(o, "description", &text, err);
	if (r >= 0)
		r = json_get_bool(o, "is_official", &f.is_official, err);
	if (r >= 0)
		r = json_get_bool(o, "is_automated", &f.is_automated, err);
	if (r < 0)
		return r;
	if (f.name == NULL)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "a result without a name");
	if (text != NULL)
		f.description = text;
	if (json_object_object_get_ex(o, "star_count", &stars) &&
	    json_object_get_int64(stars) > 0)
		f.n_stars = (uint64_t)json_object_get_int64(stars);
	return cb(ctx, &f, err);
}

static int
take_results(const struct http_reply *reply, unsigned limit,
    registry_found_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup(json_putp) struct json_object *root = NULL;
	struct json_object *results = NULL;
	size_t i, n;
	int r;

	r = json_get_root(reply->body.data, reply->body.len, &root, err);
	if (r < 0)
		return r;
	if (!json_object_object_get_ex(root, "results", &results) ||
	    !json_object_is_type(results, json_type_array))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "the answer has no results");
	n = json_object_array_length(results);
	for (i = 0; i < n && i < limit && r >= 0; i++)
		r = take_result(json_object_array_get_idx(results, i), cb,
		    ctx, err);
	return r;
}

int
registry_search(struct registry_session *s, const char *term, unsigned limit,
    registry_found_cb *cb, void *ctx, struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	cleanup_free char *path = NULL;
	struct strbuf sb = STRBUF_INIT;
	int r;

	r = v1_start(s, /* is_asked= */ true, err);
	if (r >= 0 && s->username != NULL)
		r = auth_basic(s, &s->v1->basic, err);
	if (r < 0)
		return r;
	strbuf_puts(&sb, "/search?q=");
	url_encode(&sb, term);
	strbuf_printf(&sb, "&n=%u", limit);
	path = strbuf_take(&sb);
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = v1_document(s, &s->v1->indexes[s->v1->first], /* is_index= */ true,
	    path, "search", LIMIT_SEARCH_BYTES, &reply, err);
	if (r >= 0)
		r = take_results(&reply, limit, cb, ctx, err);
	return r;
}
