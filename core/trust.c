#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/trust.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- demands ---- */

static int
add_demand(struct trust *t, const struct reference *ref, bool is_any_name,
    struct trust_demand **ret, struct imgd_error **err)
{
	struct trust_demand *demands, *d;
	int r = 0;

	demands = reallocarray(t->demands, t->n + 1, sizeof(*demands));
	if (demands == NULL)
		return no_memory(err);
	t->demands = demands;
	d = &demands[t->n];
	*d = (struct trust_demand) { .ref = REFERENCE_INIT,
		.is_any_name = is_any_name };
	if (ref != NULL && ref->domain != NULL)
		r = reference_copy(ref, &d->ref, err);
	if (r < 0)
		return r;
	t->n++;
	*ret = d;
	return 0;
}

static int
read_key(struct trust_demand *d, const char *path, struct imgd_error **err)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *pem = NULL;
	size_t len;
	int r;

	r = fs_read_file(AT_FDCWD, path, LIMIT_KEY_BYTES, &pem, &len, err);
	return r < 0 ? r
		     : signature_keys_add(&d->keys,
			   slash != NULL ? slash + 1 : path, pem, len, err);
}

static int
demand_keys(struct trust *t, const struct signature_rule *rule,
    const struct reference *ref, struct imgd_error **err)
{
	struct trust_demand *d;
	size_t i;
	int r;

	r = add_demand(t, ref, rule->is_any_name, &d, err);
	for (i = 0; r >= 0 && i < rule->n_keys; i++)
		r = read_key(d, rule->keys[i], err);
	if (r < 0)
		(void)imgd_error_prefix(err, "signatures");
	return r;
}

int
trust_demand_policy(struct trust *t, const struct signature_policy *policy,
    const struct reference *ref, struct imgd_error **err)
{
	bool has_name = ref != NULL && ref->domain != NULL;
	const struct signature_rule *rule;
	cleanup_free char *name = has_name ? reference_name(ref) : strdup("");

	if (name == NULL)
		return no_memory(err);
	rule = signature_policy_match(policy, name);
	if (rule == NULL || rule->demand == SIGNATURE_ACCEPT ||
	    (rule->demand == SIGNATURE_DIGEST_ONLY && has_name &&
		ref->digest != NULL))
		return 0;
	if (rule->demand == SIGNATURE_KEY)
		return demand_keys(t, rule, ref, err);
	return imgd_error_set(err, EACCES,
	    rule->demand == SIGNATURE_REJECT
		? "the policy for %s rejects %s"
		: "the policy for %s takes %s by digest only",
	    rule->scope, has_name ? name : "images without a name");
}

int
trust_demand_key(struct trust *t, const struct reference *ref,
    const char *key_name, const char *pem, bool is_any_name,
    struct imgd_error **err)
{
	struct trust_demand *d;
	int r = add_demand(t, ref, is_any_name, &d, err);

	return r < 0 ? r
		     : signature_keys_add(&d->keys,
			   key_name != NULL ? key_name : "the given key", pem,
			   strlen(pem), err);
}

void
trust_done(struct trust *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		reference_done(&t->demands[i].ref);
		signature_keys_free(t->demands[i].keys);
	}
	free(t->demands);
	signed_docs_done(&t->docs);
	signature_list_done(&t->signatures);
	*t = (struct trust) { .n = 0 };
}

/* ---- verdict ---- */

void
trust_finding_done(struct trust_finding *f)
{
	free(f->reference);
	free(f->key);
	*f = (struct trust_finding) { .key = NULL };
}

static bool
is_equal_if_both(const char *a, const char *b)
{
	return a == NULL || b == NULL || strcmp(a, b) == 0;
}

/* The repository is the same one, and so is the tag where both have one. */
static bool
name_fits(const struct trust_demand *d, const struct signature_payload *p)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;

	if (d->is_any_name || d->ref.domain == NULL)
		return true;
	return reference_parse(p->reference, 0, &ref, NULL) >= 0 &&
	    strcmp(ref.domain, d->ref.domain) == 0 &&
	    strcmp(ref.path, d->ref.path) == 0 &&
	    is_equal_if_both(ref.tag, d->ref.tag) &&
	    is_equal_if_both(ref.digest, p->digest);
}

/* How far a signature got; the furthest of several is worth a word. */
enum stage { NONE_FOUND, MALFORMED, OTHER_IMAGE, OTHER_KEY, OTHER_NAME, GOOD };

static enum stage
try(const struct trust *t, const struct trust_demand *d,
    const struct signature *s, const char *image_id,
    struct trust_finding *ret, struct imgd_error **err)
{
	cleanup(signature_payload_done) struct signature_payload p = {
		.reference = NULL
	};
	const char *key;
	int r;

	if (signature_payload_parse(s->payload, s->payload_len, &p, err) < 0)
		return MALFORMED;
	r = signature_check(d->keys, s, &key, err);
	if (r < 0)
		return MALFORMED;
	if (!signed_docs_bind(&t->docs, p.digest, image_id)) {
		(void)imgd_error_set(err, EKEYREJECTED,
		    "it is for %s, which is not this image", p.digest);
		return OTHER_IMAGE;
	}
	if (r == 0) {
		(void)imgd_error_set(err, EKEYREJECTED,
		    "none of the keys made it");
		return OTHER_KEY;
	}
	if (!name_fits(d, &p)) {
		(void)imgd_error_set(err, EKEYREJECTED,
		    "it is for the name %s", p.reference);
		return OTHER_NAME;
	}
	*ret = (struct trust_finding) { .reference = take_ptr(&p.reference),
		.key = strdup(key) };
	memcpy(ret->digest, p.digest, DIGEST_STR_SIZE);
	return GOOD;
}

static int
judge(const struct trust *t, const struct trust_demand *d,
    const char *image_id, struct trust_finding *ret, struct imgd_error **err)
{
	cleanup_error struct imgd_error *best = NULL;
	enum stage furthest = NONE_FOUND;
	size_t i, n = t->signatures.n;

	for (i = 0; i < n; i++) {
		struct imgd_error *why = NULL;
		enum stage stage = try(t, d, &t->signatures.items[i],
		    image_id, ret, &why);

		if (stage == GOOD)
			return 0;
		if (stage > furthest) {
			imgd_error_free(best);
			best = take_ptr(&why);
			furthest = stage;
		}
		imgd_error_free(why);
	}
	if (n == 0)
		return imgd_error_set(err, EKEYREJECTED,
		    "signature: there is none");
	if (n == 1)
		return imgd_error_set(err, EKEYREJECTED, "signature: %s",
		    imgd_error_msg(best));
	return imgd_error_set(err, EKEYREJECTED,
	    "signature: none of %zu is right; of one: %s", n,
	    imgd_error_msg(best));
}

int
trust_judge(const struct trust *t, const char *image_id,
    struct trust_finding *ret, struct imgd_error **err)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < t->n; i++) {
		cleanup(trust_finding_done) struct trust_finding f = {
			.key = NULL
		};

		r = judge(t, &t->demands[i], image_id, &f, err);
		if (r >= 0 && i == 0 && ret != NULL) {
			*ret = f;
			f = (struct trust_finding) { .key = NULL };
		}
	}
	return r;
}

void
trust_keep_own(struct trust *t, const char *image_id)
{
	struct signature_list own = { .n = 0 };
	size_t i;

	for (i = 0; i < t->signatures.n; i++) {
		cleanup(signature_payload_done) struct signature_payload p = {
			.reference = NULL
		};
		const struct signature *s = &t->signatures.items[i];

		if (signature_payload_parse(s->payload, s->payload_len, &p,
			NULL) >= 0 &&
		    signed_docs_bind(&t->docs, p.digest, image_id))
			(void)signature_list_add(&own, s->payload,
			    s->payload_len, s->text, NULL);
	}
	signature_list_done(&t->signatures);
	t->signatures = own;
}

/* ---- the store ---- */

static int
take_signature(void *ctx, const struct image_signature *s,
    struct imgd_error **err)
{
	struct trust *t = ctx;

	return signature_list_add(&t->signatures, s->payload, s->payload_len,
	    s->text, err);
}

static int
take_document(void *ctx, const struct image_document *d,
    struct imgd_error **err)
{
	struct trust *t = ctx;

	return signed_docs_add(&t->docs, d->data, d->len, err);
}

int
trust_load(struct trust *t, struct tagstore *ts, const char *image_id,
    struct imgd_error **err)
{
	return tagstore_signatures(ts, image_id, take_signature,
	    take_document, t, err);
}

int
trust_rows(const struct trust *t, struct image_signatures *ret,
    struct imgd_error **err)
{
	size_t i;

	ret->items = calloc(t->signatures.n + 1, sizeof(*ret->items));
	ret->documents = calloc(t->docs.n + 1, sizeof(*ret->documents));
	if (ret->items == NULL || ret->documents == NULL)
		return no_memory(err);
	for (i = 0; i < t->signatures.n; i++) {
		const struct signature *s = &t->signatures.items[i];

		ret->items[ret->n++] = (struct image_signature) {
			s->payload, s->payload_len, s->text
		};
	}
	/* Without a signature there is nothing to lead to the image. */
	for (i = 0; ret->n > 0 && i < t->docs.n; i++) {
		const struct signed_doc *d = &t->docs.items[i];

		ret->documents[ret->n_documents++] = (struct image_document) {
			d->digest, d->data, d->len
		};
	}
	return 0;
}

void
trust_rows_done(struct image_signatures *rows)
{
	free(rows->items);
	free(rows->documents);
}
