/* libcurl, behind server/client.h. */
#include "config.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "server/client.h"

struct exchange {
	const struct http_call *call;
	CURL *curl;
	int result; /* of take */
};

static size_t
on_data(char *data, size_t size, size_t n, void *ctx)
{
	struct exchange *x = ctx;
	long status = 0;

	(void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
	x->result = x->call->take(x->call->ctx, (unsigned int)status, data,
	    size * n);
	return x->result < 0 ? 0 : size * n;
}

static size_t
on_body(char *buf, size_t size, size_t n, void *ctx)
{
	const struct http_call *call = ctx;
	ssize_t got;

	do
		got = read(call->body_fd, buf, size * n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static void
set_body(struct exchange *x, struct curl_slist **headers)
{
	const struct http_call *call = x->call;
	char line[128];

	/* Nobody is asked before he is sent something. */
	*headers = curl_slist_append(*headers, "Expect:");
	if (call->content_type == NULL)
		return;
	(void)snprintf(line, sizeof(line), "Content-Type: %s",
	    call->content_type);
	*headers = curl_slist_append(*headers, line);
	(void)curl_easy_setopt(x->curl, CURLOPT_POST, 1L);
	if (call->body != NULL) {
		(void)curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS,
		    call->body);
		return;
	}
	*headers = curl_slist_append(*headers, "Transfer-Encoding: chunked");
	(void)curl_easy_setopt(x->curl, CURLOPT_READFUNCTION, on_body);
	(void)curl_easy_setopt(x->curl, CURLOPT_READDATA, call);
}

static int
perform(struct exchange *x, const char *url, unsigned int *ret_status,
    struct imgd_error **err)
{
	struct curl_slist *headers = NULL;
	char text[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code;

	set_body(x, &headers);
	(void)curl_easy_setopt(x->curl, CURLOPT_URL, url);
	(void)curl_easy_setopt(x->curl, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(x->curl, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(x->curl, CURLOPT_UNIX_SOCKET_PATH,
	    x->call->socket_path);
	(void)curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST,
	    x->call->method);
	(void)curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(x->curl, CURLOPT_ERRORBUFFER, text);
	(void)curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
	code = curl_easy_perform(x->curl);
	(void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	if (x->result < 0)
		return x->result;
	if (code != CURLE_OK)
		return imgd_error_set(err, IMGD_E_NET, "%s: %s",
		    x->call->socket_path,
		    *text != '\0' ? text : curl_easy_strerror(code));
	*ret_status = (unsigned int)status;
	return 0;
}

IMGD_EXPORT http_call_fn imgd_http_call;

int
imgd_http_call(const struct http_call *call, unsigned int *ret_status,
    struct imgd_error **err)
{
	struct exchange x = { .call = call };
	cleanup_free char *url = NULL;
	int r;

	if (asprintf(&url, "http://imgd%s", call->target) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK ||
	    (x.curl = curl_easy_init()) == NULL)
		return imgd_error_set(err, ENOMEM, "libcurl does not start");
	r = perform(&x, url, ret_status, err);
	curl_easy_cleanup(x.curl);
	curl_global_cleanup();
	return r;
}
