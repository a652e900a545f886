/*
 * What is demanded of an image that comes into the store, what there is to
 * show for it, and the verdict.
 *
 * Documents and signatures come from workers and are hostile; the verdict is
 * the engine's.  A signature counts if one of the keys made it, if the name in
 * it fits, and if the digest in it leads to the image's config: by a manifest,
 * or by an index and a manifest, each read from bytes whose digest was
 * computed here.  The config holds the diff_ids of all layers.
 */
#ifndef CORE_TRUST_H
#define CORE_TRUST_H

#include "core/signature-policy.h"
#include "registry/reference.h"
#include "registry/signature.h"
#include "tagstore/signatures.h"

/* Of one name. */
struct trust_demand {
	struct reference ref; /* domain NULL: the image gets no name */
	struct signature_keys *keys;
	bool is_any_name;
};

struct trust {
	struct trust_demand *demands;
	size_t n;
	struct signed_docs docs;
	struct signature_list signatures;
};

/*
 * Ask of the policy what name demands.
 *
 * ref: NULL or without a domain: the image gets no name.
 * t: a demand is added if there is one that a signature can meet.
 * -EACCES if the policy lets nothing in under that name.
 */
int trust_demand_policy(struct trust *t, const struct signature_policy *policy,
    const struct reference *ref, struct imgd_error **err);
/* Demand a signature by keys of a PEM text; key_name: NULL if it has none. */
int trust_demand_key(struct trust *t, const struct reference *ref,
    const char *key_name, const char *pem, bool is_any_name,
    struct imgd_error **err);

/* Whether anything is demanded. */
static inline bool
trust_is_wanted(const struct trust *t)
{
	return t->n > 0;
}

/* A signature that meets a demand. */
struct trust_finding {
	char digest[DIGEST_STR_SIZE]; /* of what was signed */
	char *reference; /* the name in it */
	char *key;       /* the name of the key */
};

void trust_finding_done(struct trust_finding *f);

/*
 * Judge the image with that id.
 *
 * ret: for the first demand; NULL: not wanted.
 * Returns 0; -EKEYREJECTED, and *err says what came nearest.
 */
int trust_judge(const struct trust *t, const char *image_id,
    struct trust_finding *ret, struct imgd_error **err);

/* Drop signatures that are about something else than the image. */
void trust_keep_own(struct trust *t, const char *image_id);

/* Add what the store has for the image. */
int trust_load(struct trust *t, struct tagstore *ts, const char *image_id,
    struct imgd_error **err);
/* All as the store's rows, which point into t; ret: zeroed before, released
 * with trust_rows_done(). */
int trust_rows(const struct trust *t, struct image_signatures *ret,
    struct imgd_error **err);
void trust_rows_done(struct image_signatures *rows);

void trust_done(struct trust *t);

#endif
