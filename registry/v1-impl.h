/*
 * The registry protocol of version 1, which Docker 1.2 speaks: an index knows
 * repositories, and where their images are; registries have the images.  Often
 * one server is both.
 */
#ifndef REGISTRY_V1_IMPL_H
#define REGISTRY_V1_IMPL_H

#include "registry/legacy.h"
#include "registry/transfer.h"

/* A server: an index, or a place where images are. */
struct v1_place {
	char *url;    /* "https://host:port/v1", no slash at the end */
	char *origin; /* of url */
	bool is_mirror;     /* gets neither credentials nor token */
	bool may_fall_back; /* https, and behind it comes the same as http */
	bool is_standalone;
	atomic_bool has_answered;
	atomic_bool is_dead; /* no connection: not tried again */
	atomic_long last_status; /* of HTTP; 0 = no answer */
};

struct v1 {
	char *remote; /* the repository: "ubuntu", "user/name" */
	char *full;   /* with its namespace: "library/ubuntu" */
	struct v1_place *indexes; /* in the order of trial */
	size_t n_indexes;
	size_t first; /* index that answered */

	/* What the index says of the repository. */
	struct v1_place *places;
	size_t n_places;
	atomic_size_t current;  /* the place that did it last */
	char *token;            /* header value "Token …" */
	char *basic;            /* header value; NULL: none */
	const char *basic_origin; /* image routes there see basic, not token */
	struct json_object *images; /* with their checksums; NULL: none */
};

int v1_place_make(struct v1_place *p, const char *root,
    struct imgd_error **err);
void v1_places_free(struct v1_place *places, size_t n);

/*
 * Ask an index (or, for an image, a place) for path, which follows "/v1".
 *
 * req: url, authorization and cookies are set here.  ret: as with http_do.
 */
int v1_request(struct registry_session *s, struct v1_place *p, bool is_index,
    const char *path, struct http_request *req, struct http_reply *ret,
    struct imgd_error **err);
/* A whole document, with attempts; what: in errors. */
int v1_document(struct registry_session *s, struct v1_place *p, bool is_index,
    const char *path, const char *what, size_t max_bytes,
    struct http_reply *ret, struct imgd_error **err);

/* Whether no place, or index, is asked twice before all others were. */
bool v1_goes_round(const struct registry_session *s, bool is_index);

/* Do something at each place in turn until it succeeds; round after round if
 * there is patience without end.  body: what try transfers; NULL: nothing that
 * goes on elsewhere. */
typedef int v1_try(struct registry_session *s, struct v1_place *p, void *ctx,
    struct imgd_error **err);
int v1_each_place(struct registry_session *s, v1_try *try, void *ctx,
    const struct transfer *body, struct imgd_error **err);

/* Ask the index for the repository: places, token, images. */
int v1_open(struct registry_session *s, struct imgd_error **err);

int v1_layer(struct registry_session *s, const struct legacy_layer *layer,
    uint64_t max_bytes, struct imgd_sink *tar, registry_progress_cb *progress,
    void *ctx, struct registry_blob_stats *stats, struct imgd_error **err);

static inline void
v1_reply_donep(struct http_reply *r)
{
	http_reply_done(r);
}

#endif
