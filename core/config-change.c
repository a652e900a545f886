#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/config-change.h"
#include "core/shell-word.h"
#include "lib/cleanup-json.h"
#include "lib/json-scan.h"
#include "lib/strbuf.h"

#define MAX_PORTS 65535

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *
skip_blanks(const char *s)
{
	while (is_blank(*s))
		s++;
	return s;
}

static struct json_object *
text(const char *s)
{
	return json_object_new_string(s);
}

static void
set_text(struct config_change *c, const char *key, const char *value)
{
	json_object_object_add(c->config, key, text(value));
}

/* The member of that name, made if it is not there. */
static struct json_object *
member(struct config_change *c, const char *key, bool is_array)
{
	struct json_object *o = NULL;
	enum json_type type = is_array ? json_type_array : json_type_object;

	if (json_object_object_get_ex(c->config, key, &o) &&
	    json_object_is_type(o, type))
		return o;
	o = is_array ? json_object_new_array() : json_object_new_object();
	json_object_object_add(c->config, key, o);
	return o;
}

/* ---- words ---- */

/* The rest of the line as a JSON array of strings; NULL: it is none. */
static struct json_object *
json_form(const char *s)
{
	cleanup_json struct json_object *o = NULL;
	size_t i;

	if (*s != '[' || json_scan(s, strlen(s), NULL) < 0)
		return NULL;
	o = json_tokener_parse(s);
	if (!json_object_is_type(o, json_type_array))
		return NULL;
	for (i = 0; i < json_object_array_length(o); i++)
		if (!json_object_is_type(json_object_array_get_idx(o, i),
			json_type_string))
			return NULL;
	return take_ptr(&o);
}

/* Take the next word off *s, with its quotes and backslashes; blanks inside of
 * quotes belong to it.  1, or 0 at the end of the line. */
static int
next_word(const char **s, struct strbuf *word, struct imgd_error **err)
{
	const char *p = skip_blanks(*s), *from = p;
	char quote = '\0';

	strbuf_truncate(word, 0);
	if (*p == '\0')
		return 0;
	for (; *p != '\0' && (quote != '\0' || !is_blank(*p)); p++) {
		if (quote == '\0' && (*p == '"' || *p == '\''))
			quote = *p;
		else if (*p == quote)
			quote = '\0';
		else if (*p == '\\' && quote != '\'' && p[1] != '\0')
			p++;
	}
	strbuf_append(word, from, (size_t)(p - from));
	*s = p;
	return word->is_failed ? imgd_error_set(err, ENOMEM, "out of memory")
			       : 1;
}

/* Without quotes, and with the values of variables; *ret is malloc'ed. */
static int
expand(const struct config_change *c, const char *word, char **ret,
    struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;
	int r = shell_word_expand(word, c->env, &sb, err);

	if (r >= 0) {
		*ret = strbuf_take(&sb);
		if (*ret == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
	}
	strbuf_done(&sb);
	return r;
}

typedef int take_fn(struct config_change *c, const char *word,
    struct imgd_error **err);

static int
expand_and_take(struct config_change *c, const char *word, take_fn *take,
    struct imgd_error **err)
{
	cleanup_free char *expanded = NULL;
	int r = expand(c, word, &expanded, err);

	return r < 0 ? r : take(c, expanded, err);
}

/* Call take for each word, or each string of the JSON form. */
static int
each_word(struct config_change *c, const char *s, take_fn *take,
    struct imgd_error **err)
{
	cleanup_json struct json_object *list = json_form(s);
	struct strbuf word = STRBUF_INIT;
	size_t i;
	int r = 0;

	if (list != NULL) {
		for (i = 0; i < json_object_array_length(list) && r >= 0; i++)
			r = expand_and_take(c,
			    json_object_get_string(
				json_object_array_get_idx(list, i)),
			    take, err);
		return r;
	}
	while ((r = next_word(&s, &word, err)) > 0) {
		r = expand_and_take(c, word.data, take, err);
		if (r < 0)
			break;
	}
	strbuf_done(&word);
	return r;
}

/* ---- commands ---- */

/* A command: the JSON form as it is, anything else for the shell. */
static struct json_object *
command(const char *s)
{
	struct json_object *o = json_form(s);

	if (o != NULL)
		return o;
	o = json_object_new_array();
	(void)json_object_array_add(o, text("/bin/sh"));
	(void)json_object_array_add(o, text("-c"));
	(void)json_object_array_add(o, text(s));
	return o;
}

static int
change_cmd(struct config_change *c, const char *s, struct imgd_error **err)
{
	(void)err;
	json_object_object_add(c->config, "Cmd", command(s));
	c->has_cmd = true;
	return 0;
}

static int
change_entrypoint(struct config_change *c, const char *s,
    struct imgd_error **err)
{
	(void)err;
	json_object_object_add(c->config, "Entrypoint", command(s));
	/* The arguments of another one make no sense. */
	if (!c->has_cmd)
		json_object_object_del(c->config, "Cmd");
	return 0;
}

/* ---- pairs ---- */

static void
set_env(struct config_change *c, const char *key, size_t key_len,
    const char *pair)
{
	struct json_object *env = member(c, "Env", /* is_array= */ true);
	size_t i;

	for (i = 0; i < json_object_array_length(env); i++) {
		const char *have = json_object_get_string(
		    json_object_array_get_idx(env, i));

		if (have != NULL && strncmp(have, key, key_len) == 0 &&
		    have[key_len] == '=') {
			(void)json_object_array_put_idx(env, i, text(pair));
			return;
		}
	}
	(void)json_object_array_add(env, text(pair));
}

static int
take_pair(struct config_change *c, bool is_label, const char *raw_key,
    const char *raw_value, struct imgd_error **err)
{
	cleanup_free char *key = NULL, *value = NULL, *pair = NULL;
	int r = expand(c, raw_key, &key, err);

	if (r >= 0)
		r = expand(c, raw_value, &value, err);
	if (r < 0)
		return r;
	if (*key == '\0')
		return imgd_error_set(err, EINVAL, "\"=%s\" is not KEY=VALUE",
		    value);
	if (is_label) {
		json_object_object_add(member(c, "Labels", false), key,
		    text(value));
		return 0;
	}
	if (asprintf(&pair, "%s=%s", key, value) < 0) {
		pair = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	set_env(c, key, strlen(key), pair);
	return 0;
}

/* KEY=VALUE words, or, where the first has no "=", KEY and the rest. */
static int
change_pairs(struct config_change *c, bool is_label, const char *s,
    struct imgd_error **err)
{
	struct strbuf word = STRBUF_INIT;
	const char *rest = s;
	int r = next_word(&rest, &word, err);

	if (r > 0 && strchr(word.data, '=') == NULL) {
		cleanup_free char *key = strndup(s, strcspn(s, " \t"));

		rest = skip_blanks(s + strcspn(s, " \t"));
		if (key == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
		else if (*rest == '\0')
			r = imgd_error_set(err, EINVAL,
			    "it needs two arguments");
		else
			r = take_pair(c, is_label, key, rest, err);
		strbuf_done(&word);
		return r;
	}
	while (r > 0) {
		char *value = strchr(word.data, '=');

		if (value == NULL) {
			r = imgd_error_set(err, EINVAL,
			    "\"%s\" is not KEY=VALUE", word.data);
			break;
		}
		*value++ = '\0';
		r = take_pair(c, is_label, word.data, value, err);
		if (r >= 0)
			r = next_word(&rest, &word, err);
	}
	strbuf_done(&word);
	return r;
}

static int
change_env(struct config_change *c, const char *s, struct imgd_error **err)
{
	return change_pairs(c, /* is_label= */ false, s, err);
}

static int
change_label(struct config_change *c, const char *s, struct imgd_error **err)
{
	return change_pairs(c, /* is_label= */ true, s, err);
}

/* ---- sets ---- */

static int
take_port(struct config_change *c, const char *word, struct imgd_error **err)
{
	struct json_object *ports = member(c, "ExposedPorts", false);
	char buf[64], *protocol, *last;
	uint64_t from, to;

	(void)snprintf(buf, sizeof(buf), "%s", word);
	protocol = strchr(buf, '/');
	if (protocol != NULL)
		*protocol++ = '\0';
	else
		protocol = (char *)(uintptr_t) "tcp";
	last = strchr(buf, '-');
	if (last != NULL)
		*last++ = '\0';
	if (strlen(word) >= sizeof(buf) ||
	    !str_to_u64(buf, MAX_PORTS, &from) ||
	    !str_to_u64(last != NULL ? last : buf, MAX_PORTS, &to) ||
	    from > to ||
	    (strcasecmp(protocol, "tcp") != 0 &&
		strcasecmp(protocol, "udp") != 0 &&
		strcasecmp(protocol, "sctp") != 0))
		return imgd_error_set(err, EINVAL,
		    "invalid containerPort: %s", word);
	for (; from <= to; from++) {
		char key[32], *p;

		(void)snprintf(key, sizeof(key), "%ju/%.8s", (uintmax_t)from,
		    protocol);
		for (p = key; *p != '\0'; p++)
			*p = (char)tolower((unsigned char)*p);
		json_object_object_add(ports, key, json_object_new_object());
	}
	return 0;
}

static int
change_expose(struct config_change *c, const char *s, struct imgd_error **err)
{
	return each_word(c, s, take_port, err);
}

static int
take_volume(struct config_change *c, const char *word,
    struct imgd_error **err)
{
	if (*word == '\0')
		return imgd_error_set(err, EINVAL,
		    "a volume cannot be an empty string");
	json_object_object_add(member(c, "Volumes", false), word,
	    json_object_new_object());
	return 0;
}

static int
change_volume(struct config_change *c, const char *s, struct imgd_error **err)
{
	return each_word(c, s, take_volume, err);
}

/* ---- texts ---- */

static int
change_user(struct config_change *c, const char *s, struct imgd_error **err)
{
	(void)err;
	set_text(c, "User", s);
	return 0;
}

/* Append path, without "." and "..". */
static void
append_path(struct strbuf *sb, const char *path)
{
	while (*path != '\0') {
		size_t n = strcspn(path, "/");

		if (n == 2 && strncmp(path, "..", 2) == 0) {
			size_t len = sb->len;

			while (len > 0 && sb->data[--len] != '/')
				;
			strbuf_truncate(sb, len);
		} else if (n > 0 && !(n == 1 && *path == '.')) {
			strbuf_putc(sb, '/');
			strbuf_append(sb, path, n);
		}
		path += n;
		path += strspn(path, "/");
	}
}

static int
change_workdir(struct config_change *c, const char *s, struct imgd_error **err)
{
	struct json_object *old = NULL;
	struct strbuf sb = STRBUF_INIT;

	if (*s != '/' &&
	    json_object_object_get_ex(c->config, "WorkingDir", &old) &&
	    json_object_is_type(old, json_type_string))
		append_path(&sb, json_object_get_string(old));
	append_path(&sb, s);
	if (sb.is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	set_text(c, "WorkingDir", sb.len > 0 ? sb.data : "/");
	strbuf_done(&sb);
	return 0;
}

static int
change_stopsignal(struct config_change *c, const char *s,
    struct imgd_error **err)
{
	const char *name = strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s;
	uint64_t n;

	if (!str_to_u64(s, 64, &n) &&
	    (!isalpha((unsigned char)*name) ||
		name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "abcdefghijklmnopqrstuvwxyz"
				  "0123456789+-")] != '\0'))
		return imgd_error_set(err, EINVAL, "invalid signal: %s", s);
	set_text(c, "StopSignal", s);
	return 0;
}

static int
change_onbuild(struct config_change *c, const char *s, struct imgd_error **err)
{
	static const char *const refused[] = { "ONBUILD", "FROM",
		"MAINTAINER" };
	size_t i, n = strcspn(s, " \t");

	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (strlen(refused[i]) == n &&
		    strncasecmp(s, refused[i], n) == 0)
			return imgd_error_set(err, EINVAL,
			    "%s isn't allowed as an ONBUILD trigger",
			    refused[i]);
	(void)json_object_array_add(member(c, "OnBuild", true), text(s));
	return 0;
}

/* ---- health checks ---- */

/* "1m30s" in nanoseconds, as Go reads it. */
static bool
parse_duration(const char *s, int64_t *ret)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {
		{ "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 },
		{ "m", 60e9 }, { "h", 3600e9 },
	};
	double sum = 0;
	size_t i, n;

	if (*s == '\0')
		return false;
	while (*s != '\0') {
		char *end;
		double value;

		if (!isdigit((unsigned char)*s) && *s != '.')
			return false;
		value = strtod(s, &end);
		n = strspn(end, "abcdefghijklmnopqrstuvwxyz");
		for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strlen(units[i].unit) == n &&
			    strncmp(units[i].unit, end, n) == 0)
				break;
		if (i == sizeof(units) / sizeof(units[0]))
			return false;
		sum += value * units[i].ns;
		s = end + n;
	}
	if (sum > 9e18)
		return false;
	*ret = (int64_t)sum;
	return true;
}

static int
take_health_option(struct json_object *check, const char *option,
    struct imgd_error **err)
{
	static const struct {
		const char *option, *key;
	} durations[] = {
		{ "--interval=", "Interval" },
		{ "--timeout=", "Timeout" },
		{ "--start-period=", "StartPeriod" },
	};
	uint64_t retries;
	int64_t ns;
	size_t i;

	for (i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
		const char *name = durations[i].option;

		if (!str_starts(option, name) ||
		    !parse_duration(option + strlen(name), &ns))
			continue;
		json_object_object_add(check, durations[i].key,
		    json_object_new_int64(ns));
		return 0;
	}
	if (!str_starts(option, "--retries=") ||
	    !str_to_u64(option + strlen("--retries="), INT32_MAX, &retries))
		return imgd_error_set(err, EINVAL, "bad option %s", option);
	json_object_object_add(check, "Retries",
	    json_object_new_int64((int64_t)retries));
	return 0;
}

/* What is to be run: the JSON form, or a line for the shell. */
static struct json_object *
health_test(const char *s)
{
	cleanup_json struct json_object *list = json_form(s);
	struct json_object *test = json_object_new_array();
	size_t i;

	(void)json_object_array_add(test,
	    text(list != NULL ? "CMD" : "CMD-SHELL"));
	if (list == NULL)
		(void)json_object_array_add(test, text(s));
	for (i = 0; list != NULL && i < json_object_array_length(list); i++)
		(void)json_object_array_add(test,
		    json_object_get(json_object_array_get_idx(list, i)));
	return test;
}

static int
change_healthcheck(struct config_change *c, const char *s,
    struct imgd_error **err)
{
	cleanup_json struct json_object *check = json_object_new_object();
	struct json_object *none;
	int r;

	while (str_starts(s, "--")) {
		size_t n = strcspn(s, " \t");
		cleanup_free char *option = strndup(s, n);

		r = option == NULL
		    ? imgd_error_set(err, ENOMEM, "out of memory")
		    : take_health_option(check, option, err);
		if (r < 0)
			return r;
		s = skip_blanks(s + n);
	}
	if (strcasecmp(s, "NONE") == 0) {
		none = json_object_new_array();
		(void)json_object_array_add(none, text("NONE"));
		json_object_object_add(check, "Test", none);
	} else if (strncasecmp(s, "CMD", 3) == 0 && is_blank(s[3])) {
		json_object_object_add(check, "Test",
		    health_test(skip_blanks(s + 3)));
	} else {
		return imgd_error_set(err, EINVAL,
		    "neither NONE nor CMD and a command");
	}
	json_object_object_add(c->config, "Healthcheck", take_ptr(&check));
	return 0;
}

/* ---- all of them ---- */

static const struct instruction {
	const char *name;
	take_fn *change;
	bool is_word; /* all of the line is one, to be expanded */
} instructions[] = {
	{ "CMD", change_cmd, false },
	{ "ENTRYPOINT", change_entrypoint, false },
	{ "ENV", change_env, false },
	{ "EXPOSE", change_expose, false },
	{ "HEALTHCHECK", change_healthcheck, false },
	{ "LABEL", change_label, false },
	{ "ONBUILD", change_onbuild, false },
	{ "STOPSIGNAL", change_stopsignal, true },
	{ "USER", change_user, true },
	{ "VOLUME", change_volume, false },
	{ "WORKDIR", change_workdir, true },
	{ NULL, NULL, false },
};

/* What variables are for a whole line: as they were before it. */
static struct json_object *
environment(const struct config_change *c)
{
	struct json_object *env = NULL, *copy = json_object_new_array();
	size_t i;

	if (!json_object_object_get_ex(c->config, "Env", &env) ||
	    !json_object_is_type(env, json_type_array))
		return copy;
	for (i = 0; i < json_object_array_length(env); i++)
		(void)json_object_array_add(copy,
		    json_object_get(json_object_array_get_idx(env, i)));
	return copy;
}

static int
apply(struct config_change *c, const struct instruction *in, const char *s,
    struct imgd_error **err)
{
	cleanup_json struct json_object *env = environment(c);
	int r;

	if (env == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	c->env = env;
	r = in->is_word ? expand_and_take(c, s, in->change, err)
			: in->change(c, s, err);
	c->env = NULL;
	return r;
}

int
config_change(struct config_change *c, const char *line,
    struct imgd_error **err)
{
	const struct instruction *in;
	cleanup_free char *copy = NULL;
	const char *rest;
	size_t n, len;
	int r;

	line = skip_blanks(line);
	n = strcspn(line, " \t");
	for (in = instructions; in->name != NULL; in++)
		if (strlen(in->name) == n &&
		    strncasecmp(in->name, line, n) == 0)
			break;
	if (in->name == NULL)
		return imgd_error_set(err, EINVAL,
		    "%.*s is not a valid change command", (int)n, line);
	copy = strdup(skip_blanks(line + n));
	if (copy == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	len = strlen(copy);
	while (len > 0 && isspace((unsigned char)copy[len - 1]))
		copy[--len] = '\0';
	rest = copy;
	if (*rest == '\0')
		r = imgd_error_set(err, EINVAL, "it needs an argument");
	else if (!str_is_utf8(rest, len))
		r = imgd_error_set(err, EINVAL, "it is no UTF-8");
	else
		r = apply(c, in, rest, err);
	return r < 0 ? imgd_error_prefix(err, "%s", in->name) : 0;
}

int
config_change_all(struct config_change *c, const char *lines,
    struct imgd_error **err)
{
	int r = 0;

	while (*lines != '\0' && r >= 0) {
		size_t n = strcspn(lines, "\n");
		cleanup_free char *line = strndup(lines, n);

		if (line == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		if (*skip_blanks(line) != '\0')
			r = config_change(c, line, err);
		lines += n + (lines[n] == '\n');
	}
	return r;
}
