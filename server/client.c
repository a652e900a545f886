#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/module.h"
#include "lib/cleanup-json.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "server/client.h"

/* An answer being read: objects, each a line. */
struct answer {
	struct strbuf line; /* what came of the next one */
	job_output_cb *cb;
	void *ctx;
	int out_fd; /* the body goes there; -EBADF: it is objects */
	char *result;
	int code; /* of the failure that was told; 0: none */
	char *failure;
	bool has_end; /* the result was there */
};

static void
answer_done(struct answer *a)
{
	strbuf_done(&a->line);
	free(a->result);
	free(a->failure);
}

static int
code_of(unsigned int status)
{
	switch (status) {
	case 400:
		return EINVAL;
	case 401:
		return IMGD_E_DENIED;
	case 403:
		return EPERM;
	case 404:
		return ENOENT;
	case 409:
		return IMGD_E_CONFLICT;
	case 501:
		return EOPNOTSUPP;
	case 503:
		return IMGD_E_GOING;
	default:
		return EIO;
	}
}

static const char *
member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, key, &v) &&
		json_object_is_type(v, json_type_string)
	    ? json_object_get_string(v)
	    : NULL;
}

/* One line of a stream. */
static void
take_line(struct answer *a, const char *line)
{
	cleanup_json struct json_object *o = json_tokener_parse(line);
	const char *error = member(o, "error"), *result;

	if (error != NULL) {
		a->code = EIO;
		free(a->failure);
		a->failure = strdup(error);
		return;
	}
	result = member(o, "result");
	if (result != NULL && json_object_object_length(o) == 1) {
		free(a->result);
		a->result = strdup(result);
		a->has_end = true;
	} else if (a->cb != NULL && *line != '\0') {
		a->cb(a->ctx, line);
	}
}

static int
take_lines(struct answer *a, const char *data, size_t len)
{
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t n = end != NULL ? (size_t)(end - data) : len;

		if (a->line.len + n > LIMIT_CONFIG_BYTES + (64u << 10))
			return -EFBIG;
		strbuf_append(&a->line, data, n);
		if (a->line.is_failed)
			return -ENOMEM;
		if (end == NULL)
			return 0;
		while (a->line.len > 0 &&
		    a->line.data[a->line.len - 1] == '\r')
			strbuf_truncate(&a->line, a->line.len - 1);
		take_line(a, a->line.data != NULL ? a->line.data : "");
		strbuf_truncate(&a->line, 0);
		data = end + 1;
		len -= n + 1;
	}
	return 0;
}

static int
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int
take(void *ctx, unsigned int status, const void *data, size_t len)
{
	struct answer *a = ctx;

	/* A refusal is one object. */
	if (status >= 400) {
		if (a->line.len + len > LIMIT_ERROR_BODY_BYTES)
			return -EFBIG;
		strbuf_append(&a->line, data, len);
		return 0;
	}
	if (a->out_fd >= 0)
		return write_all(a->out_fd, data, len);
	return take_lines(a, data, len);
}

/* ---- the request ---- */

static void
add_json(struct strbuf *sb, bool *is_first, const char *text)
{
	if (!*is_first)
		strbuf_putc(sb, ',');
	*is_first = false;
	strbuf_json(sb, text);
}

static char *
job_body(const struct job_request *q)
{
	struct strbuf sb = STRBUF_INIT;
	bool is_first = true;
	size_t i;

	strbuf_puts(&sb, "{\"name\":");
	strbuf_json(&sb, q->name);
	strbuf_puts(&sb, ",\"args\":[");
	for (i = 0; i < q->n_args; i++)
		add_json(&sb, &is_first, q->args[i]);
	strbuf_puts(&sb, "],\"env\":{");
	is_first = true;
	for (i = 0; i < q->n_env; i++) {
		if (q->env[i][1] == NULL)
			continue;
		add_json(&sb, &is_first, q->env[i][0]);
		strbuf_putc(&sb, ':');
		strbuf_json(&sb, q->env[i][1]);
	}
	strbuf_puts(&sb, "}}");
	return strbuf_take(&sb);
}

static void
add_escaped(struct strbuf *sb, const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";

	for (; *value != '\0'; value++)
		if (strchr(plain, *value) != NULL)
			strbuf_putc(sb, *value);
		else
			strbuf_printf(sb, "%%%02X",
			    (unsigned int)(unsigned char)*value);
}

static void
add_item(struct strbuf *sb, const char *key, const char *value)
{
	strbuf_putc(sb, memchr(sb->data, '?', sb->len) != NULL ? '&' : '?');
	strbuf_puts(sb, key);
	strbuf_putc(sb, '=');
	add_escaped(sb, value);
}

/* A tar alone: a filesystem is not written from front to back. */
static char *
export_target(const struct job_request *q)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	for (i = 0; i < q->n_env; i++)
		if (strcmp(q->env[i][0], "format") == 0 &&
		    q->env[i][1] != NULL)
			return NULL;
	strbuf_puts(&sb, "/containers/");
	add_escaped(&sb, q->args[0]);
	strbuf_puts(&sb, "/export");
	for (i = 0; i < q->n_env; i++)
		if (q->env[i][1] != NULL)
			add_item(&sb, q->env[i][0], q->env[i][1]);
	return strbuf_take(&sb);
}

/* Docker's routes for those whose descriptor is the body. */
static char *
file_target(const struct job_request *q)
{
	static const struct {
		const char *job, *path, *args[2];
	} routes[] = {
		{ "load", "/images/load", { NULL, NULL } },
		{ "save", "/images/get", { "names", "names" } },
		{ "import", "/images/create", { "fromSrc", "repo" } },
	};
	struct strbuf sb = STRBUF_INIT;
	size_t i, j;

	if (strcmp(q->name, "export") == 0)
		return export_target(q);
	for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (strcmp(routes[i].job, q->name) == 0)
			break;
	if (i == sizeof(routes) / sizeof(routes[0]))
		return NULL;
	strbuf_puts(&sb, routes[i].path);
	for (j = 0; j < q->n_args; j++)
		add_item(&sb, routes[i].args[j > 0], q->args[j]);
	for (j = 0; j < q->n_env; j++)
		if (q->env[j][1] != NULL)
			add_item(&sb, q->env[j][0], q->env[j][1]);
	return strbuf_take(&sb);
}

/* What the answer as a whole means. */
static int
conclude(struct answer *a, unsigned int status, bool is_job,
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	const char *message;

	if (status >= 400) {
		o = a->line.data != NULL ? json_tokener_parse(a->line.data)
					 : NULL;
		message = member(o, "message");
		if (message != NULL)
			return imgd_error_set(err, code_of(status), "%s",
			    message);
		return imgd_error_set(err, IMGD_E_HTTP,
		    "the daemon answers with status %u", status);
	}
	if (a->code != 0)
		return imgd_error_set(err, a->code, "%s",
		    a->failure != NULL ? a->failure : "failed");
	if (is_job && !a->has_end)
		return imgd_error_set(err, EPIPE,
		    "the daemon ended in the middle of the job");
	return 0;
}

int
server_client_run(const char *socket_path, const struct job_request *request,
    job_output_cb *cb, void *ctx, char **ret_result, struct imgd_error **err)
{
	const bool has_file = request->n_fds > 0;
	const bool is_get = strcmp(request->name, "save") == 0 ||
	    strcmp(request->name, "export") == 0;
	cleanup(answer_done) struct answer a = {
		.line = STRBUF_INIT,
		.cb = cb,
		.ctx = ctx,
		.out_fd = is_get && has_file ? request->fds[0] : -EBADF,
	};
	cleanup_free char *text = has_file ? file_target(request)
					   : job_body(request);
	struct http_call call = {
		.socket_path = socket_path,
		.method = is_get ? "GET" : "POST",
		.target = has_file ? text : "/imgd/jobs",
		.content_type = is_get ? NULL
		    : has_file		? "application/x-tar"
					: "application/json",
		.body = has_file ? NULL : text,
		.body_fd = has_file && !is_get ? request->fds[0] : -EBADF,
		.take = take,
		.ctx = &a,
	};
	http_call_fn *run;
	unsigned int status = 0;
	void *symbol;
	int r;

	if (text == NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "%s: not by --host, only with the store at hand",
		    request->name);
	r = module_symbol("http-client", HTTP_CALL_SYMBOL, &symbol, err);
	if (r < 0)
		return r;
	memcpy(&run, &symbol, sizeof(run));
	r = run(&call, &status, err);
	if (r < 0)
		return err != NULL && *err != NULL
		    ? r
		    : imgd_error_set(err, -r, "%s", strerror(-r));
	r = conclude(&a, status, !has_file, err);
	if (r >= 0 && ret_result != NULL) {
		*ret_result = strdup(a.result != NULL ? a.result : "");
		if (*ret_result == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
	}
	return r;
}
