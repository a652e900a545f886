#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/signature-policy.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"
#include "registry/reference.h"

#define SCOPE_ALL "*"

static const char *const demand_names[] = {
	[SIGNATURE_ACCEPT] = "accept",
	[SIGNATURE_REJECT] = "reject",
	[SIGNATURE_DIGEST_ONLY] = "digest-only",
	[SIGNATURE_KEY] = "key",
};

const char *
signature_demand_name(enum signature_demand d)
{
	return demand_names[d];
}

/* ---- reading ---- */

static int
parse_demand(const char *text, enum signature_demand *ret,
    struct imgd_error **err)
{
	size_t i;

	for (i = 0; text != NULL &&
	    i < sizeof(demand_names) / sizeof(demand_names[0]); i++)
		if (strcmp(text, demand_names[i]) == 0) {
			*ret = (enum signature_demand)i;
			return 0;
		}
	return imgd_error_set(err, EINVAL,
	    "policy is not \"reject\", \"digest-only\", \"key\" or \"accept\"");
}

/* A scope that no name can begin with would guard nothing: it has to be a
 * registry, or a name as it is after all defaults are filled in. */
static int
check_scope(const char *scope, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *whole = NULL, *name = NULL;
	const char *slash;
	int r;

	if (scope == NULL || *scope == '\0')
		return imgd_error_set(err, EINVAL, "scope is missing");
	if (strcmp(scope, SCOPE_ALL) == 0)
		return 0;
	slash = strchr(scope, '/');
	if (asprintf(&whole, "%s%s", scope, slash == NULL ? "/x/x" : "") < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = reference_parse(whole, 0, &ref, err);
	if (r == -ENOMEM)
		return r;
	name = r >= 0 ? reference_name(&ref) : NULL;
	if (r >= 0 && ref.tag == NULL && ref.digest == NULL && name != NULL &&
	    (strcmp(name, whole) == 0 ||
		/* "docker.io/library" alone is a namespace. */
		strcmp(whole, "docker.io/library") == 0))
		return 0;
	if (err != NULL && *err != NULL) {
		imgd_error_free(*err);
		*err = NULL;
	}
	return imgd_error_set(err, EINVAL,
	    "scope %s: neither \"*\" nor a registry, or what follows it in whole names, as in docker.io/library",
	    scope);
}

static int
take_keys(struct json_object *list, struct signature_rule *rule,
    struct imgd_error **err)
{
	size_t i, n = list != NULL ? json_object_array_length(list) : 0;
	const char *path;
	int r;

	rule->keys = calloc(n + 1, sizeof(*rule->keys));
	if (rule->keys == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < n; i++) {
		r = json_get_element_str(list, i, "keys", &path, err);
		if (r < 0)
			return r;
		if (path[0] != '/')
			return imgd_error_set(err, EINVAL,
			    "keys: %s is not an absolute path", path);
		rule->keys[i] = strdup(path);
		if (rule->keys[i] == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		rule->n_keys++;
	}
	return 0;
}

static int
check_members(struct json_object *o, struct imgd_error **err)
{
	json_object_object_foreach(o, key, value) {
		(void)value;
		if (strcmp(key, "scope") != 0 && strcmp(key, "policy") != 0 &&
		    strcmp(key, "keys") != 0 && strcmp(key, "any-name") != 0)
			return imgd_error_set(err, EINVAL, "unknown key %s",
			    key);
	}
	return 0;
}

static int
parse_rule(struct json_object *o, struct signature_rule *rule,
    struct imgd_error **err)
{
	const char *scope = NULL, *policy = NULL;
	struct json_object *keys = NULL;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return imgd_error_set(err, EINVAL, "not an object");
	r = check_members(o, err);
	if (r >= 0)
		r = json_get_str(o, "scope", &scope, err);
	if (r >= 0)
		r = json_get_str(o, "policy", &policy, err);
	if (r >= 0)
		r = json_get_array(o, "keys", &keys, err);
	if (r >= 0)
		r = json_get_bool(o, "any-name", &rule->is_any_name, err);
	if (r >= 0)
		r = check_scope(scope, err);
	if (r >= 0)
		r = parse_demand(policy, &rule->demand, err);
	if (r >= 0)
		r = take_keys(keys, rule, err);
	if (r < 0)
		return r;
	if ((rule->demand == SIGNATURE_KEY) != (rule->n_keys > 0))
		return imgd_error_set(err, EINVAL,
		    "keys belong to the policy \"key\", which needs some");
	rule->scope = strdup(scope);
	return rule->scope != NULL
	    ? 0
	    : imgd_error_set(err, ENOMEM, "out of memory");
}

static bool
has_scope(const struct signature_policy *p, const char *scope)
{
	size_t i;

	/* The last one is the one that is asked about. */
	for (i = 0; i + 1 < p->n; i++)
		if (strcmp(p->rules[i].scope, scope) == 0)
			return true;
	return false;
}

int
signature_policy_parse(struct json_object *list, struct signature_policy *ret,
    struct imgd_error **err)
{
	cleanup(signature_policy_done) struct signature_policy p = { .n = 0 };
	size_t i, len;
	int r;

	if (!json_object_is_type(list, json_type_array))
		return imgd_error_set(err, EINVAL, "not a list");
	len = json_object_array_length(list);
	p.rules = calloc(len + 1, sizeof(*p.rules));
	if (p.rules == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < len; i++) {
		p.n++;
		r = parse_rule(json_object_array_get_idx(list, i),
		    &p.rules[i], err);
		if (r >= 0 && has_scope(&p, p.rules[i].scope))
			r = imgd_error_set(err, EINVAL,
			    "scope %s is there twice", p.rules[i].scope);
		if (r < 0) {
			(void)imgd_error_prefix(err, "item %zu", i);
			return r;
		}
	}
	signature_policy_done(ret);
	*ret = p;
	p = (struct signature_policy) { .n = 0 };
	return 0;
}

void
signature_policy_done(struct signature_policy *p)
{
	size_t i;

	for (i = 0; i < p->n; i++) {
		free(p->rules[i].scope);
		str_list_free(p->rules[i].keys, p->rules[i].n_keys);
	}
	free(p->rules);
	*p = (struct signature_policy) { .n = 0 };
}

/* ---- matching ---- */

/* How much of name the scope holds for: 0 for "*", -1 for none.  A namespace
 * ends at a slash: r.io/team is not r.io/teams. */
static int64_t
match_length(const char *scope, const char *name)
{
	size_t len = strlen(scope);

	if (strcmp(scope, SCOPE_ALL) == 0)
		return 0;
	return strncmp(scope, name, len) == 0 &&
		(name[len] == '\0' || name[len] == '/')
	    ? (int64_t)len
	    : -1;
}

const struct signature_rule *
signature_policy_match(const struct signature_policy *p, const char *name)
{
	const struct signature_rule *best = NULL;
	int64_t len, best_len = -1;
	size_t i;

	for (i = 0; i < p->n; i++) {
		len = match_length(p->rules[i].scope, name);
		if (len <= best_len)
			continue;
		best = &p->rules[i];
		best_len = len;
	}
	return best;
}
