#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "registry/cookies.h"
#include "registry/http-impl.h"
#include "registry/throttle.h"

#define MAX_IDLE        8
#define BUFFER_BYTES    (64 << 10)
#define MIN_BUFFER_BYTES 1024 /* libcurl's own */
#define STALL_BYTES     1024 /* at least so much in a stall timeout */

struct http {
	struct http_params params;
	char *user_agent, *ca_bundle, *client_cert_pem, *client_key_pem;
	char *client_origin;
	char *ca_blob; /* the bundle with ca_pem behind it; NULL: no ca_pem */
	char *http_proxy, *https_proxy, *no_proxy;
	struct cookie_jar *cookies;
	struct throttle throttle;
	pthread_mutex_t lock; /* of idle */
	CURL *idle[MAX_IDLE]; /* with their open connections */
	size_t n_idle;
};

/* One exchange on its way. */
struct exchange {
	struct http *http;
	const struct http_request *req;
	struct http_reply *reply;
	CURL *curl;
	const char *origin;
	size_t n_header_bytes;
	bool has_begun;  /* req->begin was called */
	bool is_cut;     /* an error's body longer than anybody reads */
	bool is_stalled;
	bool is_cancelled;
	int r;           /* of a callback that failed */
	struct imgd_error *err;
	uint64_t stall_bytes; /* received since stall_ms */
	curl_off_t sent_bytes; /* when stall_ms was last set by sending */
	int64_t stall_ms;
};

static int64_t
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

/* ---- the client ---- */

void
http_free(struct http *h)
{
	if (h == NULL)
		return;
	while (h->n_idle > 0)
		curl_easy_cleanup(h->idle[--h->n_idle]);
	(void)pthread_mutex_destroy(&h->lock);
	free(h->user_agent);
	free(h->ca_bundle);
	free(h->client_cert_pem);
	free(h->client_key_pem);
	free(h->client_origin);
	free(h->ca_blob);
	free(h->http_proxy);
	free(h->https_proxy);
	free(h->no_proxy);
	cookie_jar_free(h->cookies);
	throttle_done(&h->throttle);
	free(h);
}

static bool
copy(char **to, const char *from)
{
	if (from == NULL)
		return true;
	*to = strdup(from);
	return *to != NULL;
}

/* Loopback is never asked through a proxy; libcurl would. */
static char *
no_proxy_list(const char *list)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_puts(&sb, "localhost,127.0.0.0/8,127.0.0.1,::1");
	if (list != NULL && strcmp(list, "*") == 0) {
		strbuf_done(&sb);
		strbuf_puts(&sb, "*");
	} else if (list != NULL && *list != '\0') {
		strbuf_printf(&sb, ",%s", list);
	}
	return strbuf_take(&sb);
}

/* "" where there is none: NULL would be the environment's. */
static void
set_proxy(const struct http *h, CURL *c, const char *url)
{
	const char *proxy = strncasecmp(url, "https:", 6) == 0
	    ? h->https_proxy
	    : h->http_proxy;

	(void)curl_easy_setopt(c, CURLOPT_PROXY, proxy != NULL ? proxy : "");
	(void)curl_easy_setopt(c, CURLOPT_NOPROXY, h->no_proxy);
	/* What a proxy says of a tunnel is no answer of the registry. */
	(void)curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

/* libcurl takes one bundle: make it of the usual one and what is added. */
static int
make_ca_blob(struct http *h, const char *ca_pem, struct imgd_error **err)
{
	const char *path = h->ca_bundle;
	cleanup_fclose FILE *f = NULL;
	struct strbuf sb = STRBUF_INIT;
	char buf[4096];
	size_t n;

	if (path == NULL)
		path = curl_version_info(CURLVERSION_NOW)->cainfo;
	if (path != NULL)
		f = fopen(path, "re");
	while (f != NULL && (n = fread(buf, 1, sizeof(buf), f)) > 0)
		strbuf_append(&sb, buf, n);
	strbuf_putc(&sb, '\n');
	strbuf_puts(&sb, ca_pem);
	h->ca_blob = strbuf_take(&sb);
	return h->ca_blob != NULL ? 0 : no_memory(err);
}

int
http_new(const struct http_params *params, struct http **ret,
    struct imgd_error **err)
{
	struct http *h = calloc(1, sizeof(*h));
	int r = 0;

	if (h == NULL)
		return no_memory(err);
	h->params = *params;
	(void)pthread_mutex_init(&h->lock, NULL);
	throttle_init(&h->throttle, params->max_bytes_per_s);
	h->no_proxy = no_proxy_list(params->no_proxy);
	h->cookies = cookie_jar_new();
	if (!copy(&h->user_agent, params->user_agent) ||
	    !copy(&h->ca_bundle, params->ca_bundle) ||
	    !copy(&h->client_cert_pem, params->client_cert_pem) ||
	    !copy(&h->client_key_pem, params->client_key_pem) ||
	    !copy(&h->client_origin, params->client_origin) ||
	    !copy(&h->http_proxy, params->http_proxy) ||
	    !copy(&h->https_proxy, params->https_proxy) ||
	    h->no_proxy == NULL || h->cookies == NULL)
		r = no_memory(err);
	if (r >= 0 && params->ca_pem != NULL)
		r = make_ca_blob(h, params->ca_pem, err);
	if (r < 0) {
		http_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

static CURL *
take_handle(struct http *h)
{
	CURL *curl = NULL;

	(void)pthread_mutex_lock(&h->lock);
	if (h->n_idle > 0)
		curl = h->idle[--h->n_idle];
	(void)pthread_mutex_unlock(&h->lock);
	return curl != NULL ? curl : curl_easy_init();
}

static void
give_handle(struct http *h, CURL *curl)
{
	curl_easy_reset(curl); /* keeps its connections */
	(void)pthread_mutex_lock(&h->lock);
	if (h->n_idle < MAX_IDLE) {
		h->idle[h->n_idle++] = curl;
		curl = NULL;
	}
	(void)pthread_mutex_unlock(&h->lock);
	if (curl != NULL)
		curl_easy_cleanup(curl);
}

static bool
is_cancelled(struct http *h)
{
	return h->params.cancelled != NULL &&
	    h->params.cancelled(h->params.cancelled_ctx);
}

int
http_pause(struct http *h, unsigned ms, struct imgd_error **err)
{
	int64_t until = now_ms() + ms, left;
	struct timespec t;

	while (!is_cancelled(h)) {
		left = until - now_ms();
		if (left <= 0)
			return 0;
		if (left > 100)
			left = 100;
		t = (struct timespec){ .tv_nsec = left * 1000000 };
		(void)nanosleep(&t, NULL);
	}
	return imgd_error_set(err, ECANCELED, "cancelled");
}

/* ---- replies ---- */

/* A header line of this exchange. */
static int
keep_header(struct exchange *x, const char *name, size_t name_len,
    const char *value, size_t len)
{
	cleanup_free char *text = NULL;

	if (name_len != 10 || strncasecmp(name, "Set-Cookie", 10) != 0)
		return http_reply_keep(x->reply, name, name_len, value, len);
	text = strndup(value, len);
	if (text == NULL)
		return -ENOMEM;
	if (x->req->with_cookies)
		cookie_jar_keep(x->http->cookies, x->origin, text);
	return 0;
}

static size_t
on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct exchange *x = ctx;
	size_t len = size * n, name_len;
	const char *colon, *value, *end = line + len;

	x->n_header_bytes += len;
	if (x->n_header_bytes > LIMIT_HEADER_BYTES) {
		x->r = imgd_error_set(&x->err, IMGD_E_LIMIT,
		    "the answer's headers are longer than %u bytes",
		    LIMIT_HEADER_BYTES);
		return 0;
	}
	/* A status line: what came before was an interim answer. */
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
		http_reply_forget(x->reply);
		return len;
	}
	colon = memchr(line, ':', len);
	if (colon == NULL)
		return len;
	name_len = (size_t)(colon - line);
	value = colon + 1;
	while (value < end && isspace((unsigned char)*value))
		value++;
	while (end > value && isspace((unsigned char)end[-1]))
		end--;
	if (keep_header(x, line, name_len, value,
		(size_t)(end - value)) < 0) {
		x->r = no_memory(&x->err);
		return 0;
	}
	return len;
}

/* ---- bodies ---- */

static void
learn_status(struct exchange *x)
{
	(void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE,
	    &x->reply->status);
}

static bool
goes_to_sink(const struct exchange *x)
{
	return x->req->data != NULL && x->reply->status >= 200 &&
	    x->reply->status < 300;
}

static int
begin_body(struct exchange *x)
{
	x->has_begun = true;
	if (x->req->begin == NULL)
		return 0;
	return x->req->begin(x->req->ctx, x->reply, &x->err);
}

static int
take_body(struct exchange *x, const char *data, size_t len)
{
	struct http_reply *reply = x->reply;
	bool is_good = reply->status >= 200 && reply->status < 300;
	size_t max = is_good ? x->req->max_body : LIMIT_ERROR_BODY_BYTES;

	if (len > max - reply->body.len) {
		if (is_good)
			return imgd_error_set(&x->err, IMGD_E_LIMIT,
			    "the answer is longer than %zu bytes", max);
		x->is_cut = true;
		len = max - reply->body.len;
	}
	strbuf_append(&reply->body, data, len);
	return reply->body.is_failed ? no_memory(&x->err) : 0;
}

static size_t
on_data(char *data, size_t size, size_t n, void *ctx)
{
	struct exchange *x = ctx;
	size_t len = size * n;
	int64_t before = now_ms();

	learn_status(x);
	if (goes_to_sink(x)) {
		if (!x->has_begun)
			x->r = begin_body(x);
		if (x->r >= 0)
			x->r = x->req->data(x->req->ctx, data, len, &x->err);
	} else {
		x->r = take_body(x, data, len);
	}
	if (x->r >= 0)
		x->r = http_pause(x->http,
		    throttle_take(&x->http->throttle, len), &x->err);
	/* Time that the sink took is not the network's. */
	x->stall_ms += now_ms() - before;
	x->stall_bytes += len;
	if (x->stall_bytes >= STALL_BYTES) {
		x->stall_bytes = 0;
		x->stall_ms = now_ms();
	}
	return x->r < 0 || x->is_cut ? 0 : len;
}

static size_t
on_send(char *buf, size_t size, size_t n, void *ctx)
{
	struct exchange *x = ctx;
	int64_t before = now_ms();
	int64_t len = x->req->send(x->req->send_ctx, buf, size * n, &x->err);

	if (len > 0)
		(void)http_pause(x->http,
		    throttle_take(&x->http->throttle, (size_t)len), NULL);
	/* Nor is time that the source took. */
	x->stall_ms += now_ms() - before;
	if (len < 0) {
		x->r = (int)len;
		return CURL_READFUNC_ABORT;
	}
	return (size_t)len;
}

static int
on_progress(void *ctx, curl_off_t dl_total, curl_off_t dl_now,
    curl_off_t ul_total, curl_off_t ul_now)
{
	struct exchange *x = ctx;

	(void)dl_total;
	(void)dl_now;
	(void)ul_total;
	/* Buffers fill at once, so what counts is that some of it left. */
	if (ul_now >= x->sent_bytes + STALL_BYTES) {
		x->sent_bytes = ul_now;
		x->stall_ms = now_ms();
	}
	if (is_cancelled(x->http)) {
		x->is_cancelled = true;
		return 1;
	}
	if (now_ms() - x->stall_ms >
	    (int64_t)x->http->params.stall_timeout_ms) {
		x->is_stalled = true;
		return 1;
	}
	return 0;
}

/* ---- one exchange ---- */

static struct curl_slist *
add_line(struct curl_slist **list, const char *name, const char *value)
{
	struct strbuf sb = STRBUF_INIT;
	cleanup_free char *line = NULL;
	struct curl_slist *longer = NULL;

	strbuf_printf(&sb, "%s%s", name, value);
	line = strbuf_take(&sb);
	if (line != NULL)
		longer = curl_slist_append(*list, line);
	if (longer != NULL)
		*list = longer;
	return longer;
}

/* Methods of an upload; forms say themselves what they are. */
static bool
has_body(const struct http_request *req)
{
	return req->form == NULL && strcmp(req->method, "GET") != 0 &&
	    strcmp(req->method, "HEAD") != 0 &&
	    strcmp(req->method, "DELETE") != 0;
}

/* Method and body. */
static void
set_method(struct exchange *x)
{
	const struct http_request *req = x->req;
	CURL *c = x->curl;

	if (strcmp(req->method, "HEAD") == 0) {
		(void)curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	} else if (req->send != NULL) {
		(void)curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
		(void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
		(void)curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
		(void)curl_easy_setopt(c, CURLOPT_READDATA, x);
		(void)curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE,
		    req->has_send_length ? (curl_off_t)req->send_length
					 : (curl_off_t)-1);
	} else if (strcmp(req->method, "GET") != 0) {
		/* libcurl would wait for a body without this. */
		if (strcmp(req->method, "DELETE") != 0)
			(void)curl_easy_setopt(c, CURLOPT_POSTFIELDS,
			    req->form != NULL ? req->form : "");
		(void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
	}
}

static int
set_headers(struct exchange *x, const char *authorization,
    struct curl_slist **list)
{
	const struct http_request *req = x->req;
	cleanup_free char *cookies = NULL;
	size_t i;

	if (add_line(list, "User-Agent: ", x->http->user_agent) == NULL)
		return -ENOMEM;
	if (req->accept != NULL &&
	    add_line(list, "Accept: ", req->accept) == NULL)
		return -ENOMEM;
	if (authorization != NULL &&
	    add_line(list, "Authorization: ", authorization) == NULL)
		return -ENOMEM;
	for (i = 0; req->headers != NULL && req->headers[i] != NULL; i++)
		if (add_line(list, req->headers[i], "") == NULL)
			return -ENOMEM;
	if (req->with_cookies)
		cookies = cookie_jar_for(x->http->cookies, x->origin);
	if (cookies != NULL && add_line(list, "Cookie: ", cookies) == NULL)
		return -ENOMEM;
	if (has_body(req) &&
	    add_line(list, "Content-Type: ",
		req->send_type != NULL ? req->send_type
				       : "application/octet-stream") == NULL)
		return -ENOMEM;
	if (req->has_range) {
		char range[32];

		(void)snprintf(range, sizeof(range), "bytes=%llu-",
		    (unsigned long long)req->range_from);
		if (add_line(list, "Range: ", range) == NULL)
			return -ENOMEM;
	}
	(void)curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, *list);
	return 0;
}

static int
set_tls(struct exchange *x, const char *url, struct imgd_error **err)
{
	cleanup_free char *host = NULL;
	cleanup_free char *origin = NULL;
	struct http *h = x->http;
	struct curl_blob blob = { .flags = CURL_BLOB_NOCOPY };
	unsigned port;
	int r;

	r = url_host_port(url, &host, &port, err);
	if (r >= 0)
		r = url_origin(url, &origin, err);
	if (r < 0)
		return r;
	if (h->params.is_insecure(h->params.insecure_ctx, host, port)) {
		(void)curl_easy_setopt(x->curl, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)curl_easy_setopt(x->curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (h->ca_bundle != NULL)
		(void)curl_easy_setopt(x->curl, CURLOPT_CAINFO, h->ca_bundle);
#if LIBCURL_VERSION_NUM >= 0x074d00
	if (h->ca_blob != NULL) {
		blob.data = h->ca_blob;
		blob.len = strlen(h->ca_blob);
		(void)curl_easy_setopt(x->curl, CURLOPT_CAINFO_BLOB, &blob);
	}
#else
	if (h->ca_blob != NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "certificates of one's own need libcurl 7.77");
#endif
	if (h->client_cert_pem == NULL || h->client_key_pem == NULL ||
	    h->client_origin == NULL || strcmp(origin, h->client_origin) != 0)
		return 0;
	blob.data = h->client_cert_pem;
	blob.len = strlen(h->client_cert_pem);
	(void)curl_easy_setopt(x->curl, CURLOPT_SSLCERT_BLOB, &blob);
	(void)curl_easy_setopt(x->curl, CURLOPT_SSLCERTTYPE, "PEM");
	blob.data = h->client_key_pem;
	blob.len = strlen(h->client_key_pem);
	(void)curl_easy_setopt(x->curl, CURLOPT_SSLKEY_BLOB, &blob);
	(void)curl_easy_setopt(x->curl, CURLOPT_SSLKEYTYPE, "PEM");
	return 0;
}

/* Under a limit small enough that a pause is never long. */
static long
buffer_bytes(const struct throttle *t)
{
	uint64_t bytes = t->bytes_per_s / 8;

	if (t->bytes_per_s == 0 || bytes > BUFFER_BYTES)
		return BUFFER_BYTES;
	return bytes < MIN_BUFFER_BYTES ? MIN_BUFFER_BYTES : (long)bytes;
}

static void
set_options(struct exchange *x, const char *url, char *text)
{
	CURL *c = x->curl;

	(void)curl_easy_setopt(c, CURLOPT_URL, url);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	/* HTTP/2 where TLS agrees on it; libcurl may be built without. */
	(void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION,
	    (long)CURL_HTTP_VERSION_2TLS);
#if LIBCURL_VERSION_NUM >= 0x075500
	(void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	(void)curl_easy_setopt(c, CURLOPT_PROTOCOLS,
	    (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	set_proxy(x->http, c, url);
	(void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE,
	    buffer_bytes(&x->http->throttle));
	(void)curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 4L);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
	    (long)x->http->params.connect_timeout_ms);
	if (x->req->timeout_ms != 0)
		(void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS,
		    (long)x->req->timeout_ms);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
	(void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, x);
	set_method(x);
}

/* Put libcurl's failure into words. */
static int
curl_failure(struct exchange *x, CURLcode code, const char *text,
    const char *origin, struct imgd_error **err)
{
	if (*text == '\0')
		text = curl_easy_strerror(code);
	/* libcurl wanted to note who the peer is, and it was gone.  With TLS
	 * 1.3 the lack of a certificate is told that late. */
	if (str_starts(text, "getpeername()"))
		text = str_starts(origin, "https:")
		    ? "closed at once, as by a server that misses a client's "
		      "certificate"
		    : "closed at once";
	if (x->is_cancelled)
		return imgd_error_set(err, ECANCELED, "cancelled");
	if (x->is_stalled)
		return imgd_error_set(err, IMGD_E_NET,
		    "%s: nothing came for %u ms", origin,
		    x->http->params.stall_timeout_ms);
	switch (code) {
	case CURLE_OUT_OF_MEMORY:
		return no_memory(err);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return imgd_error_set(err, IMGD_E_TLS, "%s: %s", origin, text);
	default:
		return imgd_error_set(err, IMGD_E_NET, "%s: %s", origin, text);
	}
}

static int
run_exchange(struct exchange *x, const char *url, const char *origin,
    const char *authorization, struct imgd_error **err)
{
	char text[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers = NULL;
	CURLcode code;
	int r;

	set_options(x, url, text);
	r = set_tls(x, url, err);
	if (r < 0)
		return r;
	if (set_headers(x, authorization, &headers) < 0) {
		curl_slist_free_all(headers);
		return no_memory(err);
	}
	x->stall_ms = now_ms();
	if (x->req->restart != NULL) {
		r = x->req->restart(x->req->send_ctx, err);
		if (r < 0) {
			curl_slist_free_all(headers);
			return r;
		}
	}
	log_debug("registry", "%s %s%s", x->req->method, origin,
	    authorization != NULL ? " with authorization" : "");
	code = curl_easy_perform(x->curl);
	curl_slist_free_all(headers);
	learn_status(x);
	if (x->r < 0) {
		if (err != NULL)
			*err = take_ptr(&x->err);
		return x->r;
	}
	if (code != CURLE_OK && !x->is_cut)
		return curl_failure(x, code, text, origin, err);
	if (goes_to_sink(x) && !x->has_begun)
		return x->req->begin != NULL ?
		    x->req->begin(x->req->ctx, x->reply, err) :
		    0;
	return 0;
}

static int
exchange(struct http *h, const struct http_request *req, const char *url,
    const char *authorization, struct http_reply *reply,
    struct imgd_error **err)
{
	struct exchange x = { .http = h, .req = req, .reply = reply };
	cleanup_free char *origin = NULL;
	int r;

	if (is_cancelled(h))
		return imgd_error_set(err, ECANCELED, "cancelled");
	r = url_origin(url, &origin, err);
	if (r < 0)
		return r;
	x.origin = origin;
	x.curl = take_handle(h);
	if (x.curl == NULL)
		return no_memory(err);
	r = run_exchange(&x, url, origin, authorization, err);
	imgd_error_free(x.err);
	give_handle(h, x.curl);
	return r;
}

/* ---- redirects ---- */

static bool
is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 ||
	    status == 307 || status == 308;
}

/* Where the redirect of reply to url leads; NULL if it is none. */
static int
next_url(const struct http_request *req, const struct http_reply *reply,
    const char *url, char **ret, struct imgd_error **err)
{
	cleanup_free char *next = NULL;
	int r;

	if (!is_redirect(reply->status) || reply->location == NULL ||
	    (strcmp(req->method, "GET") != 0 &&
		strcmp(req->method, "HEAD") != 0)) {
		*ret = NULL;
		return 0;
	}
	r = url_resolve(url, reply->location, &next, err);
	if (r < 0) {
		(void)imgd_error_prefix(err, "redirect");
		return r;
	}
	if (strncasecmp(url, "https:", 6) == 0 &&
	    strncasecmp(next, "https:", 6) != 0)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "redirect from https to http refused");
	*ret = take_ptr(&next);
	return 0;
}

int
http_do(struct http *h, const struct http_request *req,
    struct http_reply *ret, struct imgd_error **err)
{
	cleanup_free char *first = NULL;
	cleanup_free char *url = strdup(req->url);
	const char *authorization = req->authorization;
	int r, n;

	if (url == NULL)
		return no_memory(err);
	r = url_origin(url, &first, err);
	if (r < 0)
		return r;
	for (n = 0; n <= LIMIT_REDIRECTS; n++) {
		cleanup_free char *next = NULL;
		cleanup_free char *origin = NULL;
		bool was_foreign = ret->is_foreign;

		http_reply_done(ret);
		ret->is_foreign = was_foreign;
		r = exchange(h, req, url, authorization, ret, err);
		if (r < 0)
			return r;
		r = next_url(req, ret, url, &next, err);
		if (r < 0)
			return r;
		if (next == NULL) {
			ret->url = take_ptr(&url);
			return 0;
		}
		r = url_origin(next, &origin, err);
		if (r < 0)
			return r;
		/* Whoever a redirect leads to has no right to the secret, and
		 * signed URLs fail when they see one. */
		if (strcmp(origin, first) != 0) {
			authorization = NULL;
			ret->is_foreign = true;
		}
		free(url);
		url = take_ptr(&next);
	}
	return imgd_error_set(err, IMGD_E_PROTOCOL,
	    "more than %d redirects", LIMIT_REDIRECTS);
}
