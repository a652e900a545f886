/*
 * Which images need a signature, and by whom: the configuration's key
 * "signatures".  imgd-daemon.json(5).
 */
#ifndef CORE_SIGNATURE_POLICY_H
#define CORE_SIGNATURE_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json.h>

#include "imgd/error.h"

enum signature_demand {
	SIGNATURE_ACCEPT,      /* no demand */
	SIGNATURE_REJECT,      /* nothing comes in */
	SIGNATURE_DIGEST_ONLY, /* only what is named by its digest */
	SIGNATURE_KEY          /* one of the keys has signed it */
};

struct signature_rule {
	char *scope; /* "*", or what a canonical name begins with */
	enum signature_demand demand;
	char **keys; /* paths of PEM files */
	size_t n_keys;
	/* The name that was signed may be another one. */
	bool is_any_name;
};

struct signature_policy {
	struct signature_rule *rules;
	size_t n;
};

/* Read the list.  -EINVAL for a rule that is unknown, twice, or that could
 * never match. */
int signature_policy_parse(struct json_object *list,
    struct signature_policy *ret, struct imgd_error **err);
void signature_policy_done(struct signature_policy *p);

/* The rule with the longest scope that holds for a canonical name without tag
 * and digest; "": of an image without a name.  NULL: there is none. */
const struct signature_rule *signature_policy_match(
    const struct signature_policy *p, const char *name);

/* "reject" … */
const char *signature_demand_name(enum signature_demand d);

#endif
