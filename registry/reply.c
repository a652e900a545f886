/* Answers that are no success, in docker's words. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "lib/cleanup.h"
#include "registry/json-get.h"
#include "registry/session-impl.h"

#define MAX_TEXT 300 /* of somebody else's words */

/* "MANIFEST_UNKNOWN" as "manifest unknown". */
static void
add_code(struct strbuf *sb, const char *code)
{
	for (; *code != '\0'; code++)
		strbuf_putc(sb, *code == '_' ? ' ' :
					       (char)tolower((unsigned char)*code));
}

/* {"errors":[{"code","message"}]}, {"details"} or version 1's {"error"}; the
 * first code goes to ret_code where it fits. */
static bool
words_of_json(struct json_object *root, struct strbuf *sb, char *ret_code,
    size_t code_size)
{
	struct json_object *errors = NULL, *first;
	const char *code = NULL, *message = NULL;

	if ((json_get_str(root, "details", &message, NULL) >= 0 &&
		message != NULL) ||
	    (json_get_str(root, "error", &message, NULL) >= 0 &&
		message != NULL)) {
		strbuf_printf(sb, "%.*s", MAX_TEXT, message);
		return true;
	}
	if (json_get_array(root, "errors", &errors, NULL) < 0 ||
	    errors == NULL || json_object_array_length(errors) == 0)
		return false;
	first = json_object_array_get_idx(errors, 0);
	if (!json_object_is_type(first, json_type_object) ||
	    json_get_str(first, "code", &code, NULL) < 0 ||
	    json_get_str(first, "message", &message, NULL) < 0)
		return false;
	if (code != NULL && strlen(code) < code_size) {
		memcpy(ret_code, code, strlen(code) + 1);
		add_code(sb, code);
	}
	if (message != NULL && *message != '\0')
		strbuf_printf(sb, "%s%.*s", sb->len > 0 ? ": " : "", MAX_TEXT,
		    message);
	return sb->len > 0;
}

/* The first line of a body that is plain text. */
static bool
words_of_text(const struct http_reply *reply, struct strbuf *sb)
{
	const char *text = reply->body.data;
	size_t len;

	if (text == NULL || reply->content_type == NULL ||
	    strncasecmp(reply->content_type, "text/plain", 10) != 0 ||
	    !str_is_utf8(text, reply->body.len))
		return false;
	text += strspn(text, " \t\r\n");
	len = strcspn(text, "\r\n");
	if (len == 0 || len > MAX_TEXT)
		return false;
	strbuf_append(sb, text, len);
	return true;
}

static char *
words(const struct http_reply *reply, char *ret_code, size_t code_size)
{
	cleanup(json_putp) struct json_object *root = NULL;
	struct strbuf sb = STRBUF_INIT;
	bool is_said = false;

	ret_code[0] = '\0';
	if (reply->body.len > 0 &&
	    json_get_root(reply->body.data, reply->body.len, &root,
		NULL) >= 0)
		is_said = words_of_json(root, &sb, ret_code, code_size);
	if (!is_said)
		is_said = words_of_text(reply, &sb);
	if (!is_said)
		strbuf_printf(&sb, "HTTP status %ld", reply->status);
	return strbuf_take(&sb);
}

char *
reply_text(const struct http_reply *reply)
{
	char code[64];

	return words(reply, code, sizeof(code));
}

long
reply_retry_after(const struct http_reply *reply)
{
	uint64_t seconds;
	time_t when;

	if (reply->retry_after == NULL)
		return -1;
	if (str_to_u64(reply->retry_after, 1u << 30, &seconds))
		return (long)seconds;
	when = curl_getdate(reply->retry_after, NULL);
	if (when == (time_t)-1)
		return -1;
	when -= time(NULL);
	return when < 0 ? 0 : (long)when;
}

static int
denied(struct registry_session *s, const char *text, struct imgd_error **err)
{
	return imgd_error_set(err, IMGD_E_DENIED,
	    "%s access denied for %s, repository does not exist or may require 'docker login': %s",
	    s->params.is_push ? "push" : "pull", s->name, text);
}

static int
too_many(const struct http_reply *reply, const char *code, const char *text,
    struct imgd_error **err)
{
	long seconds = reply_retry_after(reply);
	const char *prefix = *code != '\0' ? "" : "too many requests: ";

	if (seconds < 0)
		return imgd_error_set(err, IMGD_E_RATE, "%s%s", prefix, text);
	return imgd_error_set(err, IMGD_E_RATE,
	    "%s%s (try again in %ld seconds)", prefix, text, seconds);
}

int
reply_error(struct registry_session *s, const struct http_reply *reply,
    const char *what, struct imgd_error **err)
{
	cleanup_free char *text = NULL;
	char code[64];

	text = words(reply, code, sizeof(code));
	if (text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (reply->status == 429 || strcmp(code, "TOOMANYREQUESTS") == 0)
		return too_many(reply, code, text, err);
	if (reply->is_foreign)
		return imgd_error_set(err,
		    reply->status == 404 ? IMGD_E_UNKNOWN : IMGD_E_HTTP,
		    "%s: redirected to a server that answers: %s", what, text);
	if (reply->status == 401 || reply->status == 403 ||
	    strcmp(code, "DENIED") == 0 || strcmp(code, "UNAUTHORIZED") == 0)
		return denied(s, text, err);
	if (strcmp(code, "NAME_UNKNOWN") == 0)
		return imgd_error_set(err, IMGD_E_UNKNOWN,
		    "repository %s not found: %s", s->name, text);
	if (reply->status == 404)
		return imgd_error_set(err, IMGD_E_UNKNOWN, "%s not found: %s",
		    what, text);
	if (reply->status >= 300 && reply->status < 400)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "%s: redirect to nowhere (HTTP status %ld)", what,
		    reply->status);
	return imgd_error_set(err, IMGD_E_HTTP, "%s: %s", what, text);
}
