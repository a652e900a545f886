#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

static bool
is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool
is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
has_upper(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			return true;
	return false;
}

bool
reference_tag_is_valid(const char *s)
{
	size_t i, len = strlen(s);

	if (len == 0 || len > LIMIT_REF_TAG_BYTES ||
	    !(is_alnum(s[0]) || s[0] == '_'))
		return false;
	for (i = 1; i < len; i++)
		if (!is_alnum(s[i]) && strchr("_.-", s[i]) == NULL)
			return false;
	return true;
}

/* One component of a path: alnum runs with ".", "_", "__" or dashes between. */
static bool
component_is_valid(const char *s, size_t len)
{
	size_t i = 0, from;

	for (;;) {
		for (from = i; i < len && is_lower_alnum(s[i]);)
			i++;
		if (i == from)
			return false;
		if (i == len)
			return true;
		if (s[i] == '.')
			i++;
		else if (s[i] == '_')
			i += i + 1 < len && s[i + 1] == '_' ? 2 : 1;
		else if (s[i] == '-')
			while (i < len && s[i] == '-')
				i++;
		else
			return false;
	}
}

static bool
path_is_valid(const char *s)
{
	const char *slash;

	for (;; s = slash + 1) {
		slash = strchr(s, '/');
		if (slash == NULL)
			return component_is_valid(s, strlen(s));
		if (!component_is_valid(s, (size_t)(slash - s)))
			return false;
	}
}

static bool
port_is_valid(const char *s)
{
	uint64_t port;

	return is_digit(*s) && str_to_u64(s, 65535, &port);
}

static bool
dns_name_is_valid(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (is_alnum(s[i]))
			continue;
		/* A label neither begins nor ends with a dash. */
		if (i == 0 || i + 1 == len)
			return false;
		if (s[i] == '.' && is_alnum(s[i - 1]) && is_alnum(s[i + 1]))
			continue;
		if (s[i] == '-' && s[i - 1] != '.' && s[i + 1] != '.')
			continue;
		return false;
	}
	return len > 0;
}

static bool
domain_is_valid(const char *s)
{
	size_t len;

	if (s[0] == '[') {
		len = strspn(s + 1, "0123456789abcdefABCDEF:");
		if (len == 0 || s[1 + len] != ']')
			return false;
		s += len + 2;
		return *s == '\0' || (*s == ':' && port_is_valid(s + 1));
	}
	len = strcspn(s, ":");
	if (!dns_name_is_valid(s, len))
		return false;
	return s[len] == '\0' || port_is_valid(s + len + 1);
}

void
reference_done(struct reference *ref)
{
	free(ref->domain);
	free(ref->path);
	free(ref->tag);
	free(ref->digest);
	*ref = (struct reference)REFERENCE_INIT;
}

static int
refuse(const char *s, const char *why, struct imgd_error **err)
{
	return imgd_error_set(err, EINVAL, "invalid reference \"%s\": %s", s,
	    why);
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* Whether what stands before the first slash is a domain. */
static bool
is_domain(const char *s, size_t len)
{
	return (len == strlen("localhost") && memcmp(s, "localhost", len) == 0) ||
	    memchr(s, '.', len) != NULL || memchr(s, ':', len) != NULL ||
	    has_upper(s, len);
}

/* Split a name without tag and digest into domain and path. */
static int
split_name(const char *name, struct reference *ref, struct imgd_error **err)
{
	const char *slash = strchr(name, '/'), *path = name;
	size_t len = slash != NULL ? (size_t)(slash - name) : 0;
	struct strbuf sb = STRBUF_INIT;

	if (slash != NULL && is_domain(name, len)) {
		ref->domain = strndup(name, len);
		path = slash + 1;
		if (ref->domain != NULL &&
		    strcmp(ref->domain, "index.docker.io") == 0) {
			free(ref->domain);
			ref->domain = NULL;
		}
	}
	if (ref->domain == NULL)
		ref->domain = strdup(REFERENCE_DEFAULT_DOMAIN);
	if (ref->domain == NULL)
		return no_memory(err);
	if (strcmp(ref->domain, REFERENCE_DEFAULT_DOMAIN) == 0 &&
	    strchr(path, '/') == NULL)
		strbuf_puts(&sb, "library/");
	strbuf_puts(&sb, path);
	ref->path = strbuf_take(&sb);
	return ref->path != NULL ? 0 : no_memory(err);
}

/* Cut "@DIGEST" and ":TAG" off name and keep them in ref. */
static int
cut_tail(const char *s, char *name, struct reference *ref,
    struct imgd_error **err)
{
	char *at = strchr(name, '@'), *slash, *colon;

	if (at != NULL) {
		*at++ = '\0';
		if (!digest_is_valid(at))
			return refuse(s, str_starts(at, "sha256:") ?
				    "the digest is no SHA-256 in lower-case hex" :
				    "the digest is not a sha256 one", err);
		ref->digest = strdup(at);
		if (ref->digest == NULL)
			return no_memory(err);
	}
	slash = strrchr(name, '/');
	colon = strrchr(slash != NULL ? slash : name, ':');
	if (colon != NULL) {
		*colon++ = '\0';
		if (!reference_tag_is_valid(colon))
			return refuse(s, "bad tag", err);
		ref->tag = strdup(colon);
		if (ref->tag == NULL)
			return no_memory(err);
	}
	return 0;
}

static int
check(const char *s, const struct reference *ref, struct imgd_error **err)
{
	if (strlen(ref->path) > LIMIT_REF_PATH_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "invalid reference \"%s\": the repository name is longer than %d bytes",
		    s, LIMIT_REF_PATH_BYTES);
	if (has_upper(ref->path, strlen(ref->path)))
		return refuse(s, "repository name must be lowercase", err);
	if (!path_is_valid(ref->path))
		return refuse(s, "bad repository name", err);
	if (!domain_is_valid(ref->domain))
		return refuse(s, "bad registry host", err);
	if (strcmp(ref->domain, REFERENCE_DEFAULT_DOMAIN) == 0 &&
	    strcmp(ref->path, "library/scratch") == 0)
		return imgd_error_set(err, EINVAL,
		    "'scratch' is a reserved name");
	return 0;
}

static void
reference_donep(struct reference *ref)
{
	reference_done(ref);
}

int
reference_parse(const char *s, unsigned flags, struct reference *ret,
    struct imgd_error **err)
{
	cleanup(reference_donep) struct reference ref = REFERENCE_INIT;
	cleanup_free char *name = NULL;
	int r;

	if (*s == '\0')
		return imgd_error_set(err, EINVAL, "invalid reference: empty");
	if (strlen(s) > LIMIT_REF_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "invalid reference: longer than %d bytes", LIMIT_REF_BYTES);
	if (digest_is_hex(s))
		return refuse(s,
		    "cannot specify 64-byte hexadecimal strings", err);
	name = strdup(s);
	if (name == NULL)
		return no_memory(err);
	r = cut_tail(s, name, &ref, err);
	if (r < 0)
		return r;
	r = split_name(name, &ref, err);
	if (r < 0)
		return r;
	r = check(s, &ref, err);
	if (r < 0)
		return r;
	if ((flags & REFERENCE_DEFAULT_TAG) != 0 && ref.tag == NULL &&
	    ref.digest == NULL) {
		ref.tag = strdup(REFERENCE_DEFAULT_TAG_NAME);
		if (ref.tag == NULL)
			return no_memory(err);
	}
	*ret = ref;
	ref = (struct reference)REFERENCE_INIT;
	return 0;
}

int
reference_copy(const struct reference *ref, struct reference *ret,
    struct imgd_error **err)
{
	struct reference copy = REFERENCE_INIT;

	copy.domain = strdup(ref->domain);
	copy.path = strdup(ref->path);
	copy.tag = ref->tag != NULL ? strdup(ref->tag) : NULL;
	copy.digest = ref->digest != NULL ? strdup(ref->digest) : NULL;
	if (copy.domain == NULL || copy.path == NULL ||
	    (ref->tag != NULL && copy.tag == NULL) ||
	    (ref->digest != NULL && copy.digest == NULL)) {
		reference_done(&copy);
		return no_memory(err);
	}
	*ret = copy;
	return 0;
}

/* Whether the domain can be left out: a path may begin as another domain
 * does, and would then be taken for that one's. */
static bool
is_implied(const struct reference *ref)
{
	const char *slash = strchr(ref->path, '/');

	return strcmp(ref->domain, REFERENCE_DEFAULT_DOMAIN) == 0 &&
	    (slash == NULL ||
		!is_domain(ref->path, (size_t)(slash - ref->path)));
}

static char *
format(const struct reference *ref, bool is_familiar, bool has_tail)
{
	struct strbuf sb = STRBUF_INIT;
	const char *path = ref->path;

	if (!is_familiar || !is_implied(ref))
		strbuf_printf(&sb, "%s/", ref->domain);
	else if (str_starts(path, "library/") &&
	    strchr(path + strlen("library/"), '/') == NULL)
		path += strlen("library/");
	strbuf_puts(&sb, path);
	if (has_tail && ref->tag != NULL)
		strbuf_printf(&sb, ":%s", ref->tag);
	if (has_tail && ref->digest != NULL)
		strbuf_printf(&sb, "@%s", ref->digest);
	return strbuf_take(&sb);
}

char *
reference_name(const struct reference *ref)
{
	return format(ref, /* is_familiar= */ false, /* has_tail= */ false);
}

char *
reference_canonical(const struct reference *ref)
{
	return format(ref, /* is_familiar= */ false, /* has_tail= */ true);
}

char *
reference_familiar_name(const struct reference *ref)
{
	return format(ref, /* is_familiar= */ true, /* has_tail= */ false);
}

char *
reference_familiar(const struct reference *ref)
{
	return format(ref, /* is_familiar= */ true, /* has_tail= */ true);
}
