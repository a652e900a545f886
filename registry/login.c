/* Whether a registry takes the session's credentials. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/v1-impl.h"

#define DENIED "unauthorized: incorrect username or password"

static int
login_at(struct registry_session *s, struct endpoint *e,
    struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "GET",
		.max_body = LIMIT_ERROR_BODY_BYTES };
	int r;

	r = v2_ping(s, e, err);
	if (r >= 0)
		r = v2_request(s, e, "/", &req, &reply, err);
	if (r >= 0 && reply.status == 401)
		return imgd_error_set(err, IMGD_E_DENIED, DENIED);
	if (r >= 0 && reply.status != 200)
		return reply_error(s, &reply, e->origin, err);
	return r;
}

/* A registry of version 1 tells by the user's page. */
static int
login_v1(struct registry_session *s, struct imgd_error **err)
{
	cleanup(v1_reply_donep) struct http_reply reply = { .status = 0 };
	struct http_request req = { .method = "GET",
		.max_body = LIMIT_ERROR_BODY_BYTES };
	struct v1_place *index;
	int r;

	r = v1_start(s, s->params.is_v1, err);
	if (r >= 0)
		r = auth_basic(s, &s->v1->basic, err);
	if (r < 0)
		return r;
	index = &s->v1->indexes[s->v1->first];
	r = v1_request(s, index, /* is_index= */ true, "/users/", &req,
	    &reply, err);
	if (r >= 0 && reply.status == 401)
		return imgd_error_set(err, IMGD_E_DENIED, DENIED);
	if (r >= 0 && reply.status != 200)
		return reply_error(s, &reply, index->origin, err);
	return r;
}

int
registry_login(struct registry_session *s, const char **ret_identity_token,
    struct imgd_error **err)
{
	size_t i;
	int r = -IMGD_E_NET;

	*ret_identity_token = "";
	if (s->params.is_v1)
		return login_v1(s, err);
	for (i = 0; i < s->n_endpoints; i++) {
		cleanup_error struct imgd_error *why = NULL;
		struct endpoint *e = &s->endpoints[i];

		r = login_at(s, e, &why);
		if (r < 0 && i + 1 < s->n_endpoints &&
		    endpoint_falls_through(e, r))
			continue;
		/* It does not speak version 2. */
		if (r == -IMGD_E_PROTOCOL)
			return login_v1(s, err);
		if (r < 0)
			return imgd_error_set(err, -r, "%s",
			    imgd_error_msg(why));
		if (e->refresh_token != NULL)
			*ret_identity_token = e->refresh_token;
		return 0;
	}
	return r;
}
