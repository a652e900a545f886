/* Which hosts to ask, in what order, and how far to trust their TLS. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/session-impl.h"

#define HUB_HOST "registry-1.docker.io"

/* An address, IPv4 as its mapped IPv6 form. */
struct address {
	uint8_t bytes[16];
};

static bool
address_parse(const char *s, struct address *ret)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, s, &v4) == 1) {
		memset(ret->bytes, 0, 10);
		memset(ret->bytes + 10, 0xff, 2);
		memcpy(ret->bytes + 12, &v4, 4);
		return true;
	}
	return inet_pton(AF_INET6, s, ret->bytes) == 1;
}

static bool
address_of(const struct sockaddr *sa, struct address *ret)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	if (sa->sa_family == AF_INET) {
		memset(ret->bytes, 0, 10);
		memset(ret->bytes + 10, 0xff, 2);
		memcpy(ret->bytes + 12, &v4->sin_addr, 4);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(ret->bytes, &v6->sin6_addr, 16);
	return true;
}

/* Whether address is in range, "ADDRESS/BITS". */
static bool
range_holds(const char *range, const struct address *address)
{
	const char *slash = strchr(range, '/');
	cleanup_free char *base = NULL;
	struct address from;
	uint64_t bits;
	unsigned i;

	if (slash == NULL)
		return false;
	base = strndup(range, (size_t)(slash - range));
	if (base == NULL || !address_parse(base, &from) ||
	    !str_to_u64(slash + 1, 128, &bits))
		return false;
	if (strchr(base, ':') == NULL)
		bits += 96;
	if (bits > 128)
		return false;
	for (i = 0; i < bits; i++)
		if (((from.bytes[i / 8] ^ address->bytes[i / 8]) &
			(0x80 >> (i % 8))) != 0)
			return false;
	return true;
}

static bool
is_loopback(const struct address *a)
{
	return range_holds("127.0.0.0/8", a) || range_holds("::1/128", a);
}

static bool
in_ranges(char *const *list, size_t n, const struct address *a)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (range_holds(list[i], a))
			return true;
	return is_loopback(a);
}

static bool
name_in_ranges(char *const *list, size_t n, const char *host)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *ai;
	struct address a;
	bool is_in = false;

	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return false;
	for (ai = found; ai != NULL && !is_in; ai = ai->ai_next)
		is_in = address_of(ai->ai_addr, &a) && in_ranges(list, n, &a);
	freeaddrinfo(found);
	return is_in;
}

/* Whether entry is host or host:port; IPv6 in brackets. */
static bool
entry_names(const char *entry, const char *host, unsigned port)
{
	bool is_v6 = strchr(host, ':') != NULL;
	size_t len = strlen(host);
	uint64_t n;

	if (strcasecmp(entry, host) == 0)
		return true;
	if (is_v6) {
		if (*entry++ != '[' || strncasecmp(entry, host, len) != 0 ||
		    entry[len] != ']')
			return false;
		entry++;
	} else if (strncasecmp(entry, host, len) != 0) {
		return false;
	}
	entry += len;
	if (*entry == '\0')
		return true;
	return *entry == ':' && str_to_u64(entry + 1, 65535, &n) && n == port;
}

bool
insecure_matches(char *const *insecure, size_t n_insecure, const char *host,
    unsigned port)
{
	bool has_range = false;
	struct address a;
	size_t i;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	for (i = 0; i < n_insecure; i++) {
		if (strchr(insecure[i], '/') != NULL)
			has_range = true;
		else if (entry_names(insecure[i], host, port))
			return true;
	}
	if (address_parse(host, &a))
		return in_ranges(insecure, n_insecure, &a);
	return has_range && name_in_ranges(insecure, n_insecure, host);
}

/* ---- the list ---- */

void
endpoints_free(struct registry_session *s)
{
	struct endpoint *e;
	size_t i;

	for (i = 0; i < s->n_endpoints; i++) {
		e = &s->endpoints[i];
		free(e->url);
		free(e->origin);
		free(e->query);
		challenge_done(&e->challenge);
		free(e->authorization);
		if (e->refresh_token != NULL)
			explicit_bzero(e->refresh_token,
			    strlen(e->refresh_token));
		free(e->refresh_token);
		(void)pthread_mutex_destroy(&e->lock);
	}
	free(s->endpoints);
}

/* root: "https://host[:port][/path]". */
static int
add(struct registry_session *s, const char *root, const char *ns,
    struct endpoint **ret, struct imgd_error **err)
{
	struct endpoint *e = &s->endpoints[s->n_endpoints++];
	struct strbuf url = STRBUF_INIT, query = STRBUF_INIT;
	size_t len = strlen(root);
	int r;

	(void)pthread_mutex_init(&e->lock, NULL);
	while (len > 0 && root[len - 1] == '/')
		len--;
	strbuf_append(&url, root, len);
	if (url.data == NULL || !str_ends(url.data, "/v2"))
		strbuf_puts(&url, "/v2");
	if (ns != NULL) {
		strbuf_puts(&query, "?ns=");
		url_encode(&query, ns);
	}
	e->url = strbuf_take(&url);
	e->query = strbuf_take(&query);
	if (e->url == NULL || e->query == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = url_origin(e->url, &e->origin, err);
	if (r >= 0 && ret != NULL)
		*ret = e;
	return r;
}

static int
add_mirror(struct registry_session *s, const struct registry_mirror *m,
    struct imgd_error **err)
{
	struct endpoint *e;
	int r;

	if (strpbrk(m->url, "?#@") != NULL)
		return imgd_error_set(err, EINVAL,
		    "mirror \"%s\": no query, fragment or user is allowed",
		    m->url);
	r = add(s, m->url, m->with_ns ? s->ref.domain : NULL, &e, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "mirror");
		return r;
	}
	e->is_mirror = true;
	return 0;
}

static int
add_registry(struct registry_session *s, struct imgd_error **err)
{
	cleanup_free char *host = NULL;
	struct strbuf https = STRBUF_INIT, http = STRBUF_INIT;
	cleanup_free char *https_url = NULL;
	cleanup_free char *http_url = NULL;
	const char *domain = s->ref.domain;
	struct endpoint *e;
	unsigned port;
	int r;

	if (strcmp(domain, REFERENCE_DEFAULT_DOMAIN) == 0)
		domain = HUB_HOST;
	strbuf_printf(&https, "https://%s", domain);
	strbuf_printf(&http, "http://%s", domain);
	https_url = strbuf_take(&https);
	http_url = strbuf_take(&http);
	if (https_url == NULL || http_url == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = add(s, https_url, NULL, &e, err);
	if (r >= 0)
		r = url_host_port(https_url, &host, &port, err);
	if (r < 0)
		return r;
	if (!insecure_matches(s->insecure, s->n_insecure, host, port))
		return 0;
	e->may_fall_back = true;
	return add(s, http_url, NULL, NULL, err);
}

int
endpoints_make(struct registry_session *s,
    const struct registry_params *params, struct imgd_error **err)
{
	size_t i;
	int r;

	s->endpoints = calloc(params->n_mirrors + 2, sizeof(*s->endpoints));
	if (s->endpoints == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < params->n_mirrors; i++) {
		r = add_mirror(s, &params->mirrors[i], err);
		if (r < 0)
			return r;
	}
	return add_registry(s, err);
}

bool
endpoint_falls_through(struct endpoint *e, int r)
{
	if (r == -ECANCELED || r == -ENOMEM)
		return false;
	if (e->is_mirror)
		return true;
	/* Once TLS was seen to work there, plain http is not tried. */
	return e->may_fall_back && !e->is_pinged &&
	    (r == -IMGD_E_TLS || r == -IMGD_E_NET);
}
