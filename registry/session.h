/*
 * A registry session: one repository of one registry, over HTTP.
 *
 * Used by worker processes only.  What protocol the registry speaks is behind
 * a table of operations (registry/session-impl.h); these functions are the
 * same for all.  A session may be used by several threads at once; each call
 * blocks its thread until it is done.
 */
#ifndef REGISTRY_SESSION_H
#define REGISTRY_SESSION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"
#include "lib/digest.h"
#include "registry/manifest.h"
#include "registry/reference.h"

struct registry_session;
struct legacy_image; /* registry/legacy.h */

struct registry_mirror {
	const char *url; /* "https://host[:port][/path]"; /v2/ is below it */
	bool with_ns;    /* add "?ns=DOMAIN" to requests, as containerd does */
};

#define REGISTRY_FOREVER UINT_MAX

/* NULL or 0: the default. */
struct registry_params {
	const struct reference *ref; /* required */

	/* Endpoints to try before the registry itself, in order.  They are
	 * for this reference's domain; the caller has chosen them. */
	const struct registry_mirror *mirrors;
	size_t n_mirrors;

	/* Registries that may be spoken to without verified TLS, or by plain
	 * http: "host", "host:port" or CIDR.  Loopback always may. */
	const char *const *insecure;
	size_t n_insecure;

	/* TLS.  All but ca_bundle are added to the system's or to it. */
	const char *ca_bundle; /* path of a PEM file; NULL: libcurl's own */
	const char *const *ca_files; /* paths of more PEM files */
	size_t n_ca_files;
	const char *ca_pem;          /* more certificates as PEM text */
	const char *client_cert_pem; /* for the registry's host alone */
	const char *client_key_pem;

	/* Credentials of the registry's host, never sent elsewhere but to its
	 * token server.  At most one kind: username and password, an identity
	 * token, or a bearer token that is used as it is. */
	const char *username;
	const char *password;
	const char *identity_token;
	const char *registry_token;

	/* URLs of proxies for requests by http and https; hosts that are asked
	 * without, beside loopback.  The environment counts for nothing. */
	const char *http_proxy, *https_proxy, *no_proxy;

	bool is_push;  /* asks for the right to push, too */
	bool is_login; /* asks for no right, but for an identity token */
	/* Speak version 1 of the protocol; else only to those who do not
	 * speak version 2. */
	bool is_v1;

	const char *user_agent; /* NULL: "imgd/VERSION" */

	uint64_t max_bytes_per_s; /* of all transfers together; 0 = no limit */

	/* Attempts per request, or per blob while nothing of it comes; 0 = 5.
	 * With REGISTRY_FOREVER also what a registry asks to put off for long
	 * is tried again. */
	unsigned n_attempts;
	/* The first pause, about; each further one is twice as long, up to a
	 * minute.  0 = 1000. */
	unsigned retry_pause_ms;
	unsigned connect_timeout_ms; /* 0 = 30 000 */
	unsigned stall_timeout_ms;   /* for each KiB; 0 = 60 000 */

	/* Called from any thread, often; true: stop with -ECANCELED. */
	bool (*cancelled)(void *ctx);
	/* Called before a pause: why, and how long it is. */
	void (*retrying)(void *ctx, const char *why, unsigned pause_ms);
	void *ctx; /* of both */
};

/*
 * Read all files of the machine that sessions take, but for those of
 * certificates: a worker that calls this may then go where there are none.
 * Without threads; not needed otherwise.
 */
int registry_prepare(struct imgd_error **err);
/* The files of certificates: a bundle, and a directory; each may be NULL. */
void registry_ca_paths(const char *ret[2]);

/*
 * Make a session.  Nothing is sent yet.
 *
 * params: copied, with all it points to.
 * The first session of a process must be made before other threads start
 * (curl_global_init).
 */
int registry_session_new(const struct registry_params *params,
    struct registry_session **ret, struct imgd_error **err);
/* No call may be running. */
void registry_session_free(struct registry_session *s);
static inline void
registry_session_freep(struct registry_session **s)
{
	registry_session_free(*s);
}

/* ---- resolve ---- */

enum registry_doc {
	REGISTRY_DOC_TOP,      /* what the name points to: index or manifest */
	REGISTRY_DOC_INDEX,    /* an index within the top index */
	REGISTRY_DOC_MANIFEST, /* the manifest chosen from an index */
	REGISTRY_DOC_CONFIG,
};

/*
 * One document, verified against digest (and size, where one was declared).
 *
 * They come in the order TOP, [INDEX…,] [MANIFEST,] CONFIG; MANIFEST only if
 * TOP was an index.  A manifest of schema 1 comes as its payload, as
 * MEDIA_DOCKER_SCHEMA1, and nothing after it.  media_type: what the server or
 * descriptor called it, possibly "".  Return 0 to go on, 1 to have registry_resolve return now, or
 * a negative code with *err set.
 */
typedef int registry_doc_cb(void *ctx, enum registry_doc kind,
    const char *media_type, const char *digest, const void *data, size_t len,
    struct imgd_error **err);

struct registry_resolved {
	bool is_unchanged; /* known_digest still holds; nothing below is set */
	bool is_stopped;   /* the callback had enough */
	char top_digest[DIGEST_STR_SIZE]; /* for "repo@digest" */
	struct manifest *manifest;   /* the image's; NULL if stopped before */
	struct image_config *config; /* likewise */
	/* Instead of the two: an image that has no config yet, and layers
	 * that nobody has counted. */
	struct legacy_image *legacy;
};

#define REGISTRY_RESOLVED_INIT { .manifest = NULL }

void registry_resolved_done(struct registry_resolved *r);

/*
 * Find out what the session's reference is: manifest and config.
 *
 * want: the platform asked for by the user, NULL for the host's.  If it is
 * given, a config that names another one fails with -IMGD_E_PLATFORM.
 * known_digest: the digest the tag had last time, or NULL.
 * ret: REGISTRY_RESOLVED_INIT before; release with registry_resolved_done().
 * A reference with neither tag nor digest is taken as "latest".
 * Returns 0 or, beside errno's: -IMGD_E_UNKNOWN no such name; -IMGD_E_DENIED;
 * -IMGD_E_RATE; -IMGD_E_DIGEST; -IMGD_E_PLATFORM; -IMGD_E_MEDIATYPE;
 * -IMGD_E_FORMAT; -IMGD_E_LIMIT; -IMGD_E_NET; -IMGD_E_TLS; -IMGD_E_HTTP;
 * -IMGD_E_PROTOCOL.
 */
int registry_resolve(struct registry_session *s, const struct platform *want,
    const char *known_digest, registry_doc_cb *cb, void *ctx,
    struct registry_resolved *ret, struct imgd_error **err);

/* ---- blobs ---- */

/* Compressed bytes received so far; never goes back. */
typedef void registry_progress_cb(void *ctx, uint64_t bytes);

struct registry_blob_stats {
	uint64_t blob_bytes; /* compressed */
	uint64_t tar_bytes;  /* given to the sink */
	unsigned n_attempts;
	const char *format;  /* static: "gzip", "zstd", "none" … */
	/* What came over the network, and how long that was waited for. */
	uint64_t net_bytes, net_ms;
};

struct registry_spool; /* registry/spool.h */

/*
 * Fetch a layer and write it, decompressed, to a sink.
 *
 * blob: digest and size are verified; what the sink got is the true layer
 * only if this returns 0.
 * spool: where to keep the blob's bytes, and to find those of an earlier try;
 * NULL: nowhere.  One whose bytes turn out wrong is the caller's to empty.
 * progress: may be NULL.
 * stats: net_bytes and net_ms are right whenever progress is called, and
 * afterwards also if it failed; the rest only if it did not.
 * A broken transfer is resumed where it broke: the sink never sees a byte
 * twice.
 * Returns 0; what the sink returned; as registry_resolve.  The caller puts
 * the layer's name in front of the error.
 */
int registry_blob(struct registry_session *s, const struct descriptor *blob,
    struct registry_spool *spool, struct imgd_sink *tar,
    registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *stats, struct imgd_error **err);

struct legacy_layer;

/*
 * Fetch a layer that has no digest, from a registry of version 1.
 *
 * layer: of registry_resolved.legacy; its checksums are verified, where it has
 * some.  max_bytes: more must not come.  The rest is as with registry_blob.
 */
int registry_layer(struct registry_session *s,
    const struct legacy_layer *layer, uint64_t max_bytes,
    struct imgd_sink *tar, registry_progress_cb *progress, void *ctx,
    struct registry_blob_stats *stats, struct imgd_error **err);

/* ---- login ---- */

/*
 * See whether the registry takes the credentials of a session with is_login.
 *
 * ret_identity_token: what to keep in the password's place, "" if it gives no
 * such thing; the session's.
 */
int registry_login(struct registry_session *s,
    const char **ret_identity_token, struct imgd_error **err);

/* ---- search ---- */

/* A repository that was found.  Strings are the caller's until the callback
 * returns. */
struct registry_found {
	const char *name, *description;
	uint64_t n_stars;
	bool is_official, is_automated;
};

/* Nonzero stops; a negative code needs *err set. */
typedef int registry_found_cb(void *ctx, const struct registry_found *f,
    struct imgd_error **err);

/* Ask the registry of the session for up to limit repositories. */
int registry_search(struct registry_session *s, const char *term,
    unsigned limit, registry_found_cb *cb, void *ctx,
    struct imgd_error **err);

/* ---- signatures ---- */

struct signature; /* registry/signature.h */

/* One signature, borrowed.  Nonzero stops; a negative code needs *err set. */
typedef int registry_signature_cb(void *ctx, const struct signature *s,
    struct imgd_error **err);

/*
 * Fetch the signatures that the registry has for a manifest or index: those
 * under the tag that cosign gives them, and those among its referrers.
 *
 * What they say is not looked at.  One that cannot be read is passed over; a
 * registry that fails is an error.
 */
int registry_signatures(struct registry_session *s, const char *digest,
    registry_signature_cb *cb, void *ctx, struct imgd_error **err);

/* ---- tags ---- */

/* One tag.  Nonzero stops; a negative code needs *err set. */
typedef int registry_tag_cb(void *ctx, const char *tag,
    struct imgd_error **err);

/* List the repository's tags, in the registry's order. */
int registry_tags(struct registry_session *s, registry_tag_cb *cb, void *ctx,
    struct imgd_error **err);

#endif
