#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "lib/cleanup.h"
#include "registry/http.h"

static void
curlu_freep(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void
curl_freep(char **p)
{
	curl_free(*p);
}

static int
refuse(const char *url, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_PROTOCOL, "bad URL \"%s\"", url);
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static bool
is_http(const char *url)
{
	return strncasecmp(url, "http://", 7) == 0 ||
	    strncasecmp(url, "https://", 8) == 0;
}

static int
split(const char *url, char **ret_scheme, char **ret_host, char **ret_port,
    struct imgd_error **err)
{
	cleanup(curlu_freep) CURLU *u = curl_url();

	if (u == NULL)
		return no_memory(err);
	if (!is_http(url) || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, ret_scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, ret_host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, ret_port, CURLU_DEFAULT_PORT) !=
		CURLUE_OK)
		return refuse(url, err);
	return 0;
}

int
url_origin(const char *url, char **ret, struct imgd_error **err)
{
	cleanup(curl_freep) char *scheme = NULL;
	cleanup(curl_freep) char *host = NULL;
	cleanup(curl_freep) char *port = NULL;
	struct strbuf sb = STRBUF_INIT;
	size_t i;
	int r;

	r = split(url, &scheme, &host, &port, err);
	if (r < 0)
		return r;
	strbuf_printf(&sb, "%s://%s:%s", scheme, host, port);
	for (i = 0; i < sb.len; i++)
		sb.data[i] = (char)tolower((unsigned char)sb.data[i]);
	*ret = strbuf_take(&sb);
	return *ret != NULL ? 0 : no_memory(err);
}

int
url_host_port(const char *url, char **ret_host, unsigned *ret_port,
    struct imgd_error **err)
{
	cleanup(curl_freep) char *scheme = NULL;
	cleanup(curl_freep) char *host = NULL;
	cleanup(curl_freep) char *port = NULL;
	size_t len;
	int r;

	r = split(url, &scheme, &host, &port, err);
	if (r < 0)
		return r;
	len = strlen(host);
	*ret_host = host[0] == '[' && len > 2 ? strndup(host + 1, len - 2) :
						strdup(host);
	if (*ret_host == NULL)
		return no_memory(err);
	*ret_port = (unsigned)strtoul(port, NULL, 10);
	return 0;
}

int
url_resolve(const char *base, const char *location, char **ret,
    struct imgd_error **err)
{
	cleanup(curlu_freep) CURLU *u = NULL;
	cleanup(curl_freep) char *url = NULL;

	if (!is_http(location)) {
		u = curl_url();
		if (u == NULL)
			return no_memory(err);
		if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
		    curl_url_set(u, CURLUPART_URL, location, 0) != CURLUE_OK ||
		    curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK ||
		    !is_http(url))
			return refuse(location, err);
		location = url;
	}
	*ret = strdup(location);
	return *ret != NULL ? 0 : no_memory(err);
}

void
url_encode(struct strbuf *sb, const char *s)
{
	for (; *s != '\0'; s++) {
		if (isalnum((unsigned char)*s) || strchr("-._~", *s) != NULL)
			strbuf_putc(sb, *s);
		else
			strbuf_printf(sb, "%%%02X", (unsigned char)*s);
	}
}
